# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backups of the database, and the proof that they come back."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard

from roles.grafana.dashboards.shared import (
    Query,
    Row,
    at_least,
    at_most,
    bars,
    limit,
    lines,
    made,
    none_at_all,
    stat,
    states,
)


def backup() -> dashboard.Dashboard:
    """Return the dashboard."""
    still, old, proof = limit("BackupArchiveStandsStill"), limit("BackupFullTooOld"), limit("BackupProofTooOld")
    return made(
        "plateforme-sauvegarde",
        "Sauvegarde : ce qui peut être restauré, et la preuve",
        "L'archive de MariaDB (sauvegardes complètes et journal), puis les essais de restauration. "
        "Azure Backup a ses propres tableaux dans le portail Azure.",
        Row(
            "L'archive",
            [
                stat(
                    "Dernier instant restaurable",
                    "Âge des dernières écritures sauvegardées : la perte maximale aujourd'hui (RPO).",
                    '(time() - max(mariadb_archive_reached_seconds{job="mariadb-archive"})) / 60',
                    unit="suffix: min",
                    decimals=1,
                    steps=at_most(still / 2, still),
                    span=6,
                ),
                stat(
                    "Dernière sauvegarde complète",
                    "Âge de la plus récente ; seuil de l'alerte BackupFullTooOld.",
                    '(time() - max(mariadb_archive_full_time_seconds{job="mariadb-archive"})) / 3600',
                    unit="suffix: h",
                    decimals=1,
                    steps=at_most(old),
                    span=6,
                ),
                stat(
                    "Problèmes au dernier passage",
                    "Ce que l'archive n'a pas pu faire.",
                    'max(mariadb_archive_problems{job="mariadb-archive"})',
                    unit="none",
                    steps=none_at_all("orange"),
                    span=6,
                ),
                stat(
                    "Serveurs archivés",
                    "Serveurs qui acceptent des écritures et que l'archive suit ; il en faut un.",
                    'sum(mariadb_archive_idle{job="mariadb-archive"} == bool 0)',
                    unit="none",
                    steps=at_least(1),
                    span=6,
                ),
                lines(
                    "Âge du dernier instant restaurable",
                    "En dents de scie : il retombe à chaque envoi du journal. Une pente continue est une panne.",
                    Query(
                        '(time() - max by (pod) (mariadb_archive_reached_seconds{job="mariadb-archive"} > 0)) / 60',
                        "{{pod}}",
                    ),
                    unit="suffix: min",
                    steps=at_most(still / 2, still),
                ),
                lines(
                    "Âge de la dernière sauvegarde complète",
                    "Retombe une fois par nuit.",
                    Query(
                        '(time() - max by (pod) (mariadb_archive_full_time_seconds{job="mariadb-archive"} > 0)) / 3600',
                        "{{pod}}",
                    ),
                    unit="suffix: h",
                    steps=at_most(old),
                ),
            ],
        ),
        Row(
            "La preuve",
            [
                stat(
                    "Dernier essai de restauration",
                    "Les données sont-elles revenues ?",
                    'min(mariadb_restore_check_success{job="run-reports"})',
                    unit="none",
                    steps=at_least(1),
                    texts={0: ("Échec", "red"), 1: ("Réussi", "green")},
                    empty="jamais essayé",
                    span=6,
                ),
                stat(
                    "Âge de cet essai",
                    "Seuil de l'alerte BackupProofTooOld.",
                    '(time() - max(mariadb_restore_check_time_seconds{job="run-reports"})) / 3600',
                    unit="suffix: h",
                    decimals=1,
                    steps=at_most(proof),
                    empty="jamais essayé",
                    span=6,
                ),
                stat(
                    "Durée de la restauration",
                    "Somme des étapes : le temps qu'il faudrait (RTO) avec ces données.",
                    'sum(mariadb_restore_check_duration_seconds{job="run-reports"})',
                    unit="dtdhms",
                    empty="jamais essayé",
                    span=6,
                ),
                stat(
                    "Lignes revenues",
                    "Lignes comptées dans toutes les tables restaurées.",
                    'sum(mariadb_restore_check_rows{job="run-reports"})',
                    unit="locale",
                    steps=at_least(1),
                    empty="jamais essayé",
                    span=6,
                ),
                bars(
                    "Durée de chaque étape de la restauration",
                    "Où passe le temps au dernier essai.",
                    Query('max by (step) (mariadb_restore_check_duration_seconds{job="run-reports"})', "{{step}}"),
                    unit="s",
                    decimals=1,
                    empty="Aucun essai connu",
                ),
                states(
                    "Résultat des essais dans le temps",
                    "Le dernier résultat connu à chaque instant.",
                    Query('min by (instance) (mariadb_restore_check_success{job="run-reports"})', "{{instance}}"),
                    texts={0: ("Échec", "red"), 1: ("Réussi", "green")},
                    height=8,
                    empty="Aucun essai connu",
                ),
            ],
        ),
        since="now-2d",
    )
