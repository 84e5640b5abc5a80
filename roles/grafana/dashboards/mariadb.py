# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MariaDB: is it there, does it take writes, is there room, do the replicas follow."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard

from roles.grafana.dashboards.shared import (
    DATABASE_WRITABLE,
    YES_OR_NO,
    Query,
    Row,
    at_least,
    at_most,
    limit,
    lines,
    made,
    stat,
    states,
)
from roles.grafana.dashboards.usage import memory, processor, room


def mariadb() -> dashboard.Dashboard:
    """Return the dashboard."""
    lag = limit("MariaDBReplicationLags")
    return made(
        "plateforme-mariadb",
        "MariaDB : la base des dossiers",
        "Disponibilité, écriture, connexions, charge, copies et place. Aucune mesure ne contient de données de patients.",
        Row(
            "Maintenant",
            [
                stat(
                    "Serveurs joignables",
                    "Serveurs MariaDB qui répondent à la supervision.",
                    'sum(mysql_up{job="mysqld"})',
                    unit="none",
                    steps=at_least(1),
                ),
                stat(
                    "Enregistrement possible",
                    "Au moins un serveur accepte les écritures.",
                    DATABASE_WRITABLE,
                    unit="none",
                    steps=at_least(1),
                    texts=YES_OR_NO,
                ),
                stat(
                    "En marche depuis",
                    "Temps depuis le dernier démarrage du serveur démarré en dernier (jours, heures:minutes:secondes).",
                    'min(mysql_global_status_uptime{job="mysqld"})',
                    unit="dtdhms",
                ),
                stat(
                    "Connexions prises",
                    "Part du maximum, serveur le plus chargé ; seuil de l'alerte MariaDBConnectionsAlmostUsed.",
                    'max(mysql_global_status_threads_connected{job="mysqld"} / mysql_global_variables_max_connections{job="mysqld"})',
                    unit="percentunit",
                    steps=at_most(limit("MariaDBConnectionsAlmostUsed")),
                ),
                stat(
                    "Lectures en mémoire",
                    "Part des lectures d'InnoDB qui n'attendent pas le disque, en cinq minutes.",
                    '1 - sum(rate(mysql_global_status_innodb_buffer_pool_reads{job="mysqld"}[5m])) '
                    '/ (sum(rate(mysql_global_status_innodb_buffer_pool_read_requests{job="mysqld"}[5m])) > 0)',
                    unit="percentunit",
                    decimals=1,
                    steps=at_least(0.8, 0.95),
                    empty="aucune lecture",
                    empty_colour="blue",
                ),
                stat(
                    "Retard des copies",
                    "Copie la plus en retard ; seuil de l'alerte MariaDBReplicationLags.",
                    'max(mysql_slave_status_seconds_behind_master{job="mysqld"})',
                    unit="suffix: s",
                    steps=at_most(lag),
                    empty="aucune copie",
                    empty_colour="blue",
                ),
            ],
        ),
        Row(
            "Disponibilité",
            [
                states(
                    "Serveurs dans le temps",
                    "Réponse de chaque serveur à la supervision.",
                    Query('min by (instance) (mysql_up{job="mysqld"})', "{{instance}}"),
                    texts={0: ("En panne", "red"), 1: ("En service", "green")},
                    height=6,
                ),
                lines(
                    "Retard de chaque copie",
                    "Secondes de retard sur le serveur principal ; vide quand il n'y a pas de copie.",
                    Query('max by (instance) (mysql_slave_status_seconds_behind_master{job="mysqld"})', "{{instance}}"),
                    unit="s",
                    steps=at_most(lag),
                    height=6,
                    empty="Aucune copie dans cet environnement",
                ),
            ],
        ),
        Row(
            "Charge",
            [
                lines(
                    "Instructions par seconde",
                    "Par type d'instruction, tous serveurs.",
                    Query(
                        'sum by (command) (rate(mysql_global_status_commands_total{job="mysqld", '
                        'command=~"select|insert|update|delete|commit"}[$__rate_interval]))',
                        "{{command}}",
                    ),
                    unit="ops",
                    stacked=True,
                ),
                lines(
                    "Connexions",
                    "Ouvertes, et parmi elles celles qui exécutent une instruction.",
                    Query(
                        'sum by (instance) (mysql_global_status_threads_connected{job="mysqld"})',
                        "{{instance}} ouvertes",
                    ),
                    Query(
                        'sum by (instance) (mysql_global_status_threads_running{job="mysqld"})', "{{instance}} actives"
                    ),
                    unit="none",
                ),
                lines(
                    "Instructions lentes par minute",
                    "Plus longues que long_query_time.",
                    Query(
                        '60 * sum by (instance) (rate(mysql_global_status_slow_queries{job="mysqld"}[$__rate_interval]))',
                        "{{instance}}",
                    ),
                    unit="none",
                ),
                lines(
                    "Connexions refusées en 15 minutes",
                    "Mots de passe, certificats ou adresses refusés ; seuil de l'alerte MariaDBConnectionsRefused.",
                    Query(
                        'sum by (instance) (increase(mysql_global_status_aborted_connects{job="mysqld"}[15m]))',
                        "{{instance}}",
                    ),
                    unit="none",
                    steps=at_most(limit("MariaDBConnectionsRefused")),
                ),
                lines(
                    "Attentes du journal par seconde",
                    "Le tampon du journal est plein ou le disque trop lent ; seuil de l'alerte MariaDBLogWaits.",
                    Query(
                        'sum by (instance) (rate(mysql_global_status_innodb_log_waits{job="mysqld"}[15m]))',
                        "{{instance}}",
                    ),
                    unit="ops",
                    steps=at_most(limit("MariaDBLogWaits")),
                ),
                lines(
                    "Lignes lues et écrites par seconde",
                    "Ce que les instructions demandent au moteur, tous serveurs : beaucoup de lectures pour peu d'instructions est un index qui manque.",
                    Query(
                        'sum(rate(mysql_global_status_handlers_total{job="mysqld", handler=~"read_.+"}[$__rate_interval]))',
                        "Lues",
                    ),
                    Query(
                        'sum(rate(mysql_global_status_handlers_total{job="mysqld", handler=~"write|update|delete"}[$__rate_interval]))',
                        "Écrites",
                    ),
                    unit="ops",
                ),
            ],
        ),
        Row(
            "Place et mémoire",
            [
                room(
                    "mariadb",
                    "Place libre sur les disques",
                    "Part encore libre ; seuils des alertes VolumeAlmostFull et VolumeFull.",
                ),
                lines(
                    "Tampon d'InnoDB",
                    "Octets du tampon, et ce qui contient des données : plein, il garde en mémoire ce qui sert souvent.",
                    Query(
                        'sum by (instance) (mysql_global_variables_innodb_buffer_pool_size{job="mysqld"})',
                        "{{instance}} taille",
                    ),
                    Query(
                        'sum by (instance) (mysql_global_status_innodb_buffer_pool_bytes_data{job="mysqld"})',
                        "{{instance}} données",
                    ),
                    unit="bytes",
                ),
                memory(
                    "mariadb",
                    "Mémoire que le noyau ne peut pas reprendre ; seuil de l'alerte ContainerMemoryAlmostUsed.",
                ),
                processor("mariadb", "Cœurs utilisés dans l'espace mariadb."),
            ],
        ),
    )
