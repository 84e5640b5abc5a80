# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One screen for whoever is called at three in the morning: can the centres work, since when, and where to look next."""

from __future__ import annotations

import re

from grafana_foundation_sdk.models import dashboard

from roles.grafana.dashboards.shared import (
    DATABASE_UP,
    DATABASE_WRITABLE,
    RUNBOOKS,
    YES_OR_NO,
    Query,
    Row,
    at_least,
    at_most,
    limit,
    made,
    none_at_all,
    rows,
    rules,
    stat,
    states,
)

# What the rule `platform:care:state` counts (roles/prometheus/files/rules/openmrs.yml).
CARE = {
    0: ("Aucun centre ne peut travailler", "red"),
    1: ("Les centres consultent, mais rien ne s'enregistre", "red"),
    2: ("Les centres travaillent, au ralenti", "orange"),
    3: ("Tous les centres peuvent travailler", "green"),
}
SEVERITIES = {"critical": ("Critique", "red"), "warning": ("À surveiller", "orange")}
# The time since the state was last another one, as far as a week goes back; or since it is known at all.
SINCE = """
time() - (
  max_over_time(timestamp(platform:care:state != (platform:care:state @ end()))[7d:1m])
  or min_over_time(timestamp(platform:care:state)[7d:1m])
)
"""
# Labels of alerts that say where; what fires has at most a few of them.
PLACE = "instance, namespace, pod, persistentvolumeclaim, node, job, layer"
ALERTS = f"""
max by (severity, summary, alertname, {PLACE}) (
  label_replace(
    time() - ALERTS_FOR_STATE{{severity!=""}} and ignoring (alertstate) ALERTS{{alertstate="firing", severity!=""}},
    "summary", "$1", "alertname", "(.*)"
  )
)
"""


def summaries() -> dict[str, tuple[str, str]]:
    """Return what each alert says in French, without the names that it would fill in."""
    found = {}
    for rule in rules():
        told = re.sub(r"{{.*?}}(/{{.*?}})*", "…", rule["annotations"]["summary"])
        found[rule["alert"]] = (told, "")
    return found


def overview() -> dashboard.Dashboard:
    """Return the dashboard."""
    fired = 'count(ALERTS{{alertstate="firing", severity="{}"}}) or vector(0)'
    return made(
        "plateforme-vue-ensemble",
        "Vue d'ensemble : les centres peuvent-ils travailler ?",
        "À lire de haut en bas : le verdict pour les centres, la chaîne qui les sert, les sauvegardes, puis ce qui est en cours. "
        "Chaque case mène au tableau qui en dit plus.",
        Row(
            "",
            [
                stat(
                    "Maintenant, pour les centres",
                    "Verdict d'après les sondes de la page et de la session OpenMRS, la base de données (présente, en écriture) et le temps de réponse. "
                    "« Inconnu » : plus rien n'est mesuré, à traiter comme une panne.",
                    "platform:care:state",
                    unit="none",
                    steps=at_least(2, 3),
                    texts=CARE,
                    empty="Inconnu : plus personne ne mesure",
                    span=16,
                    height=5,
                    to="plateforme-openmrs",
                ),
                stat(
                    "Depuis (jours, heures:minutes:secondes)",
                    "Temps écoulé depuis que ce verdict est le même, une semaine au plus.",
                    SINCE,
                    unit="dtdhms",
                    span=8,
                    height=5,
                ),
            ],
        ),
        Row(
            "La chaîne, de la porte d'entrée à la base de données",
            [
                stat(
                    "La page s'ouvre",
                    "Sonde de la page d'accueil, par le nom public et en TLS, comme un centre la demande.",
                    'min(probe_success{job="blackbox-openmrs", probe="page"})',
                    unit="none",
                    steps=at_least(1),
                    texts=YES_OR_NO,
                    to="plateforme-passerelle",
                ),
                stat(
                    "OpenMRS répond",
                    "Sonde de la session : la requête traverse la passerelle, OpenMRS et la base de données.",
                    'min(probe_success{job="blackbox-openmrs", probe="session"})',
                    unit="none",
                    steps=at_least(1),
                    texts=YES_OR_NO,
                    to="plateforme-openmrs",
                ),
                stat(
                    "Temps de réponse",
                    "Moyenne des sondes sur cinq minutes ; orange au seuil de l'alerte OpenMRSSlow.",
                    'max(avg_over_time(probe_duration_seconds{job="blackbox-openmrs"}[5m]))',
                    unit="suffix: s",
                    decimals=2,
                    steps=at_most(limit("OpenMRSSlow")),
                    to="plateforme-openmrs",
                ),
                stat(
                    "Serveur OpenMRS prêt",
                    "Nombre de pods openmrs-backend qui reçoivent des requêtes.",
                    'max(kube_statefulset_status_replicas_ready{statefulset="openmrs-backend"})',
                    unit="none",
                    steps=at_least(1),
                    to="plateforme-openmrs",
                ),
                stat(
                    "Base de données joignable",
                    "« Non » dès qu'un serveur MariaDB ne répond plus à la supervision.",
                    DATABASE_UP,
                    unit="none",
                    steps=at_least(1),
                    texts=YES_OR_NO,
                    to="plateforme-mariadb",
                ),
                stat(
                    "Enregistrement possible",
                    "Au moins un serveur MariaDB accepte les écritures.",
                    DATABASE_WRITABLE,
                    unit="none",
                    steps=at_least(1),
                    texts=YES_OR_NO,
                    to="plateforme-mariadb",
                ),
            ],
        ),
        Row(
            "Ce qui protège demain",
            [
                stat(
                    "Dernier instant restaurable",
                    "Âge des dernières écritures déjà sauvegardées : ce qui serait perdu avec le disque. Rouge au seuil de l'alerte.",
                    '(time() - max(mariadb_archive_reached_seconds{job="mariadb-archive"})) / 60',
                    unit="suffix: min",
                    steps=at_most(limit("BackupArchiveStandsStill") / 2, limit("BackupArchiveStandsStill")),
                    to="plateforme-sauvegarde",
                ),
                stat(
                    "Dernière sauvegarde complète",
                    "Âge de la plus récente ; orange au seuil de l'alerte BackupFullTooOld.",
                    '(time() - max(mariadb_archive_full_time_seconds{job="mariadb-archive"})) / 3600',
                    unit="suffix: h",
                    decimals=1,
                    steps=at_most(limit("BackupFullTooOld")),
                    to="plateforme-sauvegarde",
                ),
                stat(
                    "Dernier essai de restauration",
                    "Les données sont-elles revenues au dernier passage de restore_check.yml ?",
                    'min(mariadb_restore_check_success{job="run-reports"})',
                    unit="none",
                    steps=at_least(1),
                    texts={0: ("Échec", "red"), 1: ("Réussi", "green")},
                    empty="jamais essayé",
                    to="plateforme-sauvegarde",
                ),
                stat(
                    "Âge de cet essai",
                    "Orange au seuil de l'alerte BackupProofTooOld : la preuve est à refaire.",
                    '(time() - max(mariadb_restore_check_time_seconds{job="run-reports"})) / 3600',
                    unit="suffix: h",
                    decimals=1,
                    steps=at_most(limit("BackupProofTooOld")),
                    empty="jamais essayé",
                    to="plateforme-sauvegarde",
                ),
                stat(
                    "Certificat",
                    "Jours avant la fin du certificat de la porte d'entrée ; seuils des alertes.",
                    '(min(probe_ssl_earliest_cert_expiry{job="blackbox-openmrs"}) - time()) / 86400',
                    unit="suffix: j",
                    steps=at_least(limit("GatewayCertificateEnds"), limit("GatewayCertificateEndsSoon")),
                    to="plateforme-passerelle",
                ),
                stat(
                    "Écarts avec le code",
                    "Constats de la dernière comparaison (drift.yml) : différent, absent, en trop, ou en erreur.",
                    'sum(platform_findings{job="run-reports", verdict=~"drift|missing|unexpected|error"})',
                    unit="none",
                    steps=none_at_all("orange"),
                    empty="jamais comparé",
                    to="plateforme-derive",
                ),
            ],
        ),
        Row(
            "En cours",
            [
                stat(
                    "Alertes critiques",
                    "Elles appellent quelqu'un tout de suite.",
                    fired.format("critical"),
                    unit="none",
                    steps=none_at_all(),
                    span=3,
                    height=8,
                ),
                stat(
                    "Alertes à surveiller",
                    "Elles attendent les heures ouvrées.",
                    fired.format("warning"),
                    unit="none",
                    steps=none_at_all("orange"),
                    span=3,
                    height=8,
                ),
                rows(
                    "Alertes en cours",
                    "Ce qui est signalé, où, et depuis combien de temps. Le nom de l'alerte ouvre la marche à suivre.",
                    ALERTS,
                    {
                        "severity": "Gravité",
                        "summary": "Ce qui se passe",
                        "instance": "Où",
                        "namespace": "Espace",
                        "pod": "Pod",
                        "Value": "Depuis",
                        "alertname": "Que faire",
                    },
                    unit="dtdhms",
                    texts={"severity": SEVERITIES, "summary": summaries()},
                    wide="summary",
                    links={"alertname": ("Ouvrir la marche à suivre", f"{RUNBOOKS}docs/alerts.md#${{__value.raw}}")},
                    span=18,
                    height=8,
                    empty="Aucune alerte",
                ),
            ],
        ),
        Row(
            "Les dernières 24 heures",
            [
                states(
                    "La chaîne dans le temps",
                    "Ce qui allait et ce qui n'allait pas ; la première ligne qui vire au rouge est souvent la cause.",
                    Query(
                        'min(min_over_time(probe_success{job="blackbox-openmrs", probe="page"}[$__rate_interval]))',
                        "Page",
                    ),
                    Query(
                        'min(min_over_time(probe_success{job="blackbox-openmrs", probe="session"}[$__rate_interval]))',
                        "Session OpenMRS",
                    ),
                    Query(
                        'min(kube_statefulset_status_replicas_ready{statefulset="openmrs-backend"}) > bool 0',
                        "Serveur OpenMRS",
                    ),
                    Query(DATABASE_UP, "Base de données"),
                    Query(DATABASE_WRITABLE, "Écriture"),
                    Query('min(kube_node_status_condition{condition="Ready", status="true"})', "Machines"),
                    texts={0: ("En panne", "red"), 1: ("En service", "green")},
                    span=24,
                    height=7,
                ),
            ],
        ),
        since="now-24h",
    )
