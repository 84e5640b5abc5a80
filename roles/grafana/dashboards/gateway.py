# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The front door: the public name, its certificate, what was promised of it, and the proxies behind it."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard

from roles.grafana.dashboards.shared import (
    PHASES,
    Query,
    Row,
    at_least,
    at_most,
    bars,
    limit,
    lines,
    made,
    stat,
    states,
)


def gateway() -> dashboard.Dashboard:
    """Return the dashboard."""
    return made(
        "plateforme-passerelle",
        "Passerelle : la porte d'entrée des centres",
        "Nom public, certificat, promesse de disponibilité (99,5 % par mois) et serveurs mandataires de la passerelle.",
        Row(
            "Promesse de disponibilité",
            [
                stat(
                    "Sondes réussies sur 30 jours",
                    "Objectif : 99,5 %. Aussi loin que Prometheus garde ses mesures.",
                    "1 - front_door:probe_failures:ratio30d",
                    unit="percentunit",
                    decimals=2,
                    steps=at_least(0.99, 0.995),
                    span=6,
                ),
                stat(
                    "Marge du mois encore disponible",
                    "Part des échecs permis (0,5 %) qui n'est pas consommée ; négative, la promesse du mois est rompue.",
                    "front_door:error_budget_left:ratio30d",
                    unit="percentunit",
                    steps=at_least(0, 0.25),
                    span=6,
                ),
                stat(
                    "Échecs de la dernière heure",
                    "Rouge quand l'alerte GatewayErrorBudgetBurnsFast se déclenche (7,2 %).",
                    "front_door:probe_failures:ratio1h",
                    unit="percentunit",
                    decimals=1,
                    steps=at_most(0.005, 0.072),
                    span=6,
                ),
                stat(
                    "Certificat",
                    "Jours avant sa fin ; seuils des alertes GatewayCertificateEndsSoon et GatewayCertificateEnds.",
                    '(min(probe_ssl_earliest_cert_expiry{job="blackbox-openmrs"}) - time()) / 86400',
                    unit="suffix: j",
                    steps=at_least(limit("GatewayCertificateEnds"), limit("GatewayCertificateEndsSoon")),
                    span=6,
                ),
                lines(
                    "Part des sondes en échec",
                    "Sur une heure, six heures et un jour ; la promesse du mois est 0,5 %.",
                    Query("front_door:probe_failures:ratio1h", "1 heure"),
                    Query("front_door:probe_failures:ratio6h", "6 heures"),
                    Query("front_door:probe_failures:ratio1d", "1 jour"),
                    unit="percentunit",
                    steps=at_most(0.005, 0.072),
                ),
                states(
                    "Pages demandées par les sondes",
                    "La page s'ouvre sans le serveur OpenMRS, la session non : ce qui échoue seul désigne la panne.",
                    Query('min by (probe) (probe_success{job="blackbox-openmrs"})', "{{probe}}"),
                    texts={0: ("Échec", "red"), 1: ("Réussie", "green")},
                    height=8,
                ),
            ],
        ),
        Row(
            "Réponses",
            [
                lines(
                    "Où passe le temps d'une page",
                    "Nom, connexion, TLS, attente, transfert.",
                    Query(
                        'max by (phase) (probe_http_duration_seconds{job="blackbox-openmrs", probe="page"})',
                        "{{phase}}",
                    ),
                    unit="s",
                    stacked=True,
                    names=PHASES,
                ),
                bars(
                    "Dernier code HTTP",
                    "200 est attendu ; 0 veut dire qu'aucune réponse n'est venue.",
                    Query('max by (probe) (probe_http_status_code{job="blackbox-openmrs"})', "{{probe}}"),
                    unit="none",
                    steps=[(None, "red"), (200, "green"), (300, "orange"), (400, "red")],
                ),
            ],
        ),
        Row(
            "Serveurs mandataires",
            [
                lines(
                    "Serveurs de la passerelle",
                    "Pods Envoy de la passerelle et nginx devant OpenMRS qui sont prêts.",
                    Query('sum(kube_pod_status_ready{namespace="gateway", condition="true"})', "Passerelle (Envoy)"),
                    Query(
                        'max(kube_deployment_status_replicas_available{deployment="openmrs-gateway"})',
                        "nginx devant OpenMRS",
                    ),
                    unit="none",
                    steps=at_least(1),
                ),
                lines(
                    "Trafic de la passerelle",
                    "Octets par seconde reçus et envoyés par les pods de l'espace gateway.",
                    Query(
                        'sum(rate(container_network_receive_bytes_total{namespace="gateway"}[$__rate_interval]))',
                        "Reçus",
                    ),
                    Query(
                        'sum(rate(container_network_transmit_bytes_total{namespace="gateway"}[$__rate_interval]))',
                        "Envoyés",
                    ),
                    unit="Bps",
                ),
            ],
        ),
    )
