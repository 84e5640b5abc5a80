# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Drift from the code, and the proofs that an auditor asks for."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard

from roles.grafana.dashboards.shared import (
    Query,
    Row,
    at_least,
    at_most,
    limit,
    lines,
    made,
    none_at_all,
    rows,
    stat,
)

VERDICTS = {
    "drift": ("Différent", "orange"),
    "missing": ("Absent", "orange"),
    "unexpected": ("En trop", "orange"),
    "not_verifiable": ("Non vérifiable", "blue"),
    "error": ("En erreur", "red"),
}
LAYERS = {
    "azure": ("Azure", ""),
    "kubernetes": ("Kubernetes", ""),
    "mariadb": ("Comptes et réplication MariaDB", ""),
    "secrets": ("Secrets et certificats", ""),
}
# Containers of running pods, and what they were given.
CONTAINERS = 'kube_pod_container_info{namespace=~"openmrs|mariadb|gateway|monitoring|node-monitoring"}'


def drift() -> dashboard.Dashboard:
    """Return the dashboard."""
    checked = limit("PlatformNotChecked")
    return made(
        "plateforme-derive",
        "Dérive et conformité : la plateforme est-elle celle du code ?",
        "Résultat de drift.yml, qui compare sans rien changer, puis les preuves à montrer lors d'un audit (HDS, ISO 27001).",
        Row(
            "Dérive",
            [
                stat(
                    "Écarts avec le code",
                    "Constats de la dernière comparaison : différent, absent, en trop ou en erreur.",
                    'sum(platform_findings{job="run-reports", verdict=~"drift|missing|unexpected|error"})',
                    unit="none",
                    steps=none_at_all("orange"),
                    empty="jamais comparé",
                    span=6,
                ),
                stat(
                    "Non vérifiables",
                    "Ce que la comparaison n'a pas pu voir : ni bon, ni mauvais.",
                    'sum(platform_findings{job="run-reports", verdict="not_verifiable"})',
                    unit="none",
                    steps=none_at_all("yellow"),
                    empty="jamais comparé",
                    span=6,
                ),
                stat(
                    "Âge de la dernière comparaison",
                    "Seuil de l'alerte PlatformNotChecked.",
                    '(time() - max(platform_run_time_seconds{job="run-reports", playbook="drift"})) / 3600',
                    unit="suffix: h",
                    decimals=1,
                    steps=at_most(checked / 2, checked),
                    empty="jamais comparé",
                    span=6,
                ),
                stat(
                    "Alertes sur la dérive",
                    "PlatformDrifted et PlatformNotChecked en cours.",
                    'count(ALERTS{alertname=~"PlatformDrifted|PlatformNotChecked", alertstate="firing"}) or vector(0)',
                    unit="none",
                    steps=none_at_all("orange"),
                    span=6,
                ),
                rows(
                    "Constats par couche",
                    "Ce que la dernière comparaison a trouvé, couche par couche. Le détail est dans le rapport du passage (drift.yml).",
                    'max by (layer, verdict) (platform_findings{job="run-reports"}) > 0',
                    {"layer": "Couche", "verdict": "Constat", "Value": "Nombre"},
                    unit="none",
                    steps=none_at_all("orange"),
                    texts={"layer": LAYERS, "verdict": VERDICTS},
                    height=9,
                    empty="Aucun constat",
                ),
                lines(
                    "Écarts dans le temps",
                    "Une marche qui monte est un changement fait à la main, ou du code qui n'est pas encore appliqué.",
                    Query(
                        'sum by (layer) (platform_findings{job="run-reports", verdict=~"drift|missing|unexpected|error"})',
                        "{{layer}}",
                    ),
                    unit="none",
                    steps=none_at_all("orange"),
                    names={name: told for name, (told, _) in LAYERS.items()},
                    height=9,
                    empty="Aucune comparaison connue",
                ),
            ],
        ),
        Row(
            "Preuves pour l'audit",
            [
                stat(
                    "Preuve de restauration",
                    "Âge du dernier essai de restauration ; seuil de l'alerte BackupProofTooOld.",
                    '(time() - max(mariadb_restore_check_time_seconds{job="run-reports"})) / 3600',
                    unit="suffix: h",
                    decimals=1,
                    steps=at_most(limit("BackupProofTooOld")),
                    empty="jamais essayé",
                ),
                stat(
                    "Certificat",
                    "Jours avant la fin du certificat public.",
                    '(min(probe_ssl_earliest_cert_expiry{job="blackbox-openmrs"}) - time()) / 86400',
                    unit="suffix: j",
                    steps=at_least(limit("GatewayCertificateEnds"), limit("GatewayCertificateEndsSoon")),
                ),
                stat(
                    "Disponibilité sur 30 jours",
                    "Sondes réussies ; objectif 99,5 %.",
                    "1 - front_door:probe_failures:ratio30d",
                    unit="percentunit",
                    decimals=2,
                    steps=at_least(0.99, 0.995),
                ),
                stat(
                    "Cibles surveillées",
                    "Part des cibles de la supervision qui répondent.",
                    "sum(up) / count(up)",
                    unit="percentunit",
                    steps=at_least(0.9, 1),
                ),
                stat(
                    "Sans limite de mémoire",
                    "Conteneurs de la plateforme auxquels rien ne limite la mémoire ; il ne doit y en avoir aucun.",
                    f"count({CONTAINERS} unless on (namespace, pod, container) "
                    'kube_pod_container_resource_limits{resource="memory"}) or vector(0)',
                    unit="none",
                    steps=none_at_all(),
                ),
                stat(
                    "Images sans empreinte",
                    "Images en service désignées par une étiquette seule, sans empreinte (digest).",
                    f'count(count by (image_spec) ({CONTAINERS[:-1]}, image_spec!~".+@sha256:.+"}})) or vector(0)',
                    unit="none",
                    steps=none_at_all("orange"),
                ),
            ],
        ),
        since="now-7d",
    )
