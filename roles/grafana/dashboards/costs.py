# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What drives the bill: machines, what is reserved on them and not used, disks, traffic and measurements."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard

from roles.grafana.dashboards.shared import Query, Row, bars, lines, made, stat

REQUESTS = 'kube_pod_container_resource_requests{{resource="{}"}}'


def costs() -> dashboard.Dashboard:
    """Return the dashboard."""
    return made(
        "plateforme-couts",
        "Coûts : ce qui fait la facture",
        "Les quantités qui sont facturées, sans prix : machines, ce qui y est réservé et ne sert pas, disques, trafic, mesures. "
        "Les montants sont dans Azure Cost Management.",
        Row(
            "Machines",
            [
                stat(
                    "Machines",
                    "Machines du cluster, toutes réserves confondues.",
                    "count(kube_node_info)",
                    unit="none",
                ),
                stat(
                    "Cœurs payés",
                    "Processeurs de toutes les machines.",
                    'sum(kube_node_status_capacity{resource="cpu"})',
                    unit="suffix: cœurs",
                ),
                stat(
                    "Mémoire payée",
                    "Mémoire de toutes les machines.",
                    'sum(kube_node_status_capacity{resource="memory"})',
                    unit="bytes",
                ),
                stat(
                    "Processeur réservé",
                    "Part réservée par les pods : basse, il y a trop de machines ; haute, la prochaine arrive.",
                    f'sum({REQUESTS.format("cpu")}) / sum(kube_node_status_allocatable{{resource="cpu"}})',
                    unit="percentunit",
                    steps=[(None, "orange"), (0.3, "green"), (0.9, "orange")],
                ),
                stat(
                    "Mémoire réservée",
                    "Part réservée par les pods : basse, il y a trop de machines ; haute, la prochaine arrive.",
                    f'sum({REQUESTS.format("memory")}) / sum(kube_node_status_allocatable{{resource="memory"}})',
                    unit="percentunit",
                    steps=[(None, "orange"), (0.3, "green"), (0.9, "orange")],
                ),
                stat(
                    "Mémoire réservée qui sert",
                    "Mémoire utilisée, part de ce qui est réservé. Basse, les réservations peuvent baisser.",
                    f'sum(container_memory_working_set_bytes{{container!=""}}) / sum({REQUESTS.format("memory")})',
                    unit="percentunit",
                    steps=[(None, "orange"), (0.3, "green")],
                ),
                lines(
                    "Machines par groupe",
                    "Le groupe est lu dans le nom de la machine (aks-GROUPE-…). Une marche est l'autoscaler, ou une mise à jour.",
                    Query(
                        'count by (pool) (label_replace(kube_node_info, "pool", "$1", "node", "aks-([^-]+)-.+"))',
                        "{{pool}}",
                    ),
                    unit="none",
                    stacked=True,
                ),
                lines(
                    "Processeur : payé, réservé, utilisé",
                    "L'écart entre payé et réservé est de la place ; entre réservé et utilisé, de la prudence.",
                    Query('sum(kube_node_status_allocatable{resource="cpu"})', "Payé"),
                    Query(f"sum({REQUESTS.format('cpu')})", "Réservé"),
                    Query('sum(rate(container_cpu_usage_seconds_total{container!=""}[$__rate_interval]))', "Utilisé"),
                    unit="suffix: cœurs",
                ),
                bars(
                    "Processeur réservé et inutilisé, par espace",
                    "Cœurs réservés moins cœurs utilisés, en moyenne sur une heure.",
                    Query(
                        f"sum by (namespace) ({REQUESTS.format('cpu')}) - "
                        'sum by (namespace) (rate(container_cpu_usage_seconds_total{container!=""}[1h])) > 0',
                        "{{namespace}}",
                    ),
                    unit="suffix: cœurs",
                    decimals=2,
                ),
                bars(
                    "Mémoire réservée et inutilisée, par espace",
                    "Octets réservés moins octets utilisés.",
                    Query(
                        f"sum by (namespace) ({REQUESTS.format('memory')}) - "
                        'sum by (namespace) (container_memory_working_set_bytes{container!=""}) > 0',
                        "{{namespace}}",
                    ),
                    unit="bytes",
                ),
            ],
        ),
        Row(
            "Disques, trafic et mesures",
            [
                stat(
                    "Disques payés",
                    "Taille demandée de tous les volumes : un disque est payé en entier, plein ou vide.",
                    "sum(kube_persistentvolumeclaim_resource_requests_storage_bytes)",
                    unit="bytes",
                    span=6,
                ),
                stat(
                    "Disques utilisés",
                    "Part de ces volumes qui contient des données.",
                    "sum(kubelet_volume_stats_used_bytes) / sum(kubelet_volume_stats_capacity_bytes)",
                    unit="percentunit",
                    steps=[(None, "green"), (0.85, "orange")],
                    span=6,
                ),
                stat(
                    "Trafic envoyé en 24 h",
                    "Octets envoyés par les pods de la passerelle : surtout vers les centres, ce qui est facturé.",
                    'sum(increase(container_network_transmit_bytes_total{namespace="gateway"}[1d]))',
                    unit="bytes",
                    span=6,
                ),
                stat(
                    "Séries de mesures",
                    "Séries que Prometheus tient en mémoire : elles font la taille de son disque et de sa mémoire.",
                    "sum(prometheus_tsdb_head_series)",
                    unit="locale",
                    span=6,
                ),
                bars(
                    "Disques par espace",
                    "Taille demandée des volumes.",
                    Query(
                        "sum by (namespace) (kube_persistentvolumeclaim_resource_requests_storage_bytes)",
                        "{{namespace}}",
                    ),
                    unit="bytes",
                ),
                bars(
                    "Mesures par source",
                    "Mesures relevées à chaque passage, par travail de Prometheus.",
                    Query("topk(10, sum by (job) (scrape_samples_post_metric_relabeling))", "{{job}}"),
                    unit="locale",
                ),
            ],
        ),
        since="now-7d",
    )
