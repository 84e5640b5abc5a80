# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cluster: machines, pods, disks, and what they are short of."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard

from roles.grafana.dashboards.shared import (
    Query,
    Row,
    at_least,
    at_most,
    bars,
    choice,
    limit,
    lines,
    made,
    none_at_all,
    rows,
    stat,
)

CHOSEN = 'namespace=~"$namespace"'
READY = 'kube_node_status_condition{condition="Ready", status="true"}'


def kubernetes() -> dashboard.Dashboard:
    """Return the dashboard."""
    restarts = limit("ContainerRestarts")
    return made(
        "plateforme-kubernetes",
        "Kubernetes : machines, pods et disques",
        "Ce qui tourne, sur quoi, et ce qui manque. Le choix d'espace vaut pour les pods, les quotas et les disques.",
        Row(
            "Maintenant",
            [
                stat(
                    "Machines perdues",
                    "Machines du cluster qui ne sont pas prêtes.",
                    f"sum({READY} == bool 0)",
                    unit="none",
                    steps=none_at_all(),
                ),
                stat(
                    "Machines en manque",
                    "Machines qui signalent un manque de mémoire, de disque ou de processus.",
                    'sum(kube_node_status_condition{condition=~"(Memory|Disk|PID)Pressure", status="true"})',
                    unit="none",
                    steps=none_at_all("orange"),
                ),
                stat(
                    "Pods qui attendent",
                    "Pods sans place, sans disque ou sans image, dans les espaces choisis.",
                    f'sum(kube_pod_status_phase{{{CHOSEN}, phase="Pending"}})',
                    unit="none",
                    steps=none_at_all("orange"),
                ),
                stat(
                    "Pods pas prêts",
                    "Pods qui tournent et ne reçoivent pas de requêtes.",
                    f'sum((kube_pod_status_phase{{{CHOSEN}, phase="Running"}} == 1) '
                    f'* on (namespace, pod) (kube_pod_status_ready{{{CHOSEN}, condition="true"}} == bool 0))',
                    unit="none",
                    steps=none_at_all("orange"),
                ),
                stat(
                    "Redémarrages en une heure",
                    "Conteneur qui redémarre le plus ; seuil de l'alerte ContainerRestarts.",
                    f"max(increase(kube_pod_container_status_restarts_total{{{CHOSEN}}}[1h]))",
                    unit="none",
                    decimals=0,
                    steps=at_most(restarts),
                ),
                stat(
                    "Travaux en échec",
                    "Jobs que Kubernetes a abandonnés et que personne n'a encore supprimés.",
                    f'sum(kube_job_failed{{{CHOSEN}, condition="true"}}) or vector(0)',
                    unit="none",
                    steps=none_at_all("orange"),
                ),
            ],
        ),
        Row(
            "Machines",
            [
                lines(
                    "Processeur utilisé",
                    "Part du processeur de chaque machine.",
                    Query(
                        '1 - avg by (instance) (rate(node_cpu_seconds_total{job="node-exporter", mode="idle"}[$__rate_interval]))',
                        "{{instance}}",
                    ),
                    unit="percentunit",
                    most=1,
                    steps=at_most(0.9),
                    span=8,
                ),
                lines(
                    "Mémoire libre",
                    "Part encore disponible ; seuil de l'alerte NodeMemoryAlmostUsed.",
                    Query(
                        'min by (instance) (node_memory_MemAvailable_bytes{job="node-exporter"}) '
                        '/ max by (instance) (node_memory_MemTotal_bytes{job="node-exporter"})',
                        "{{instance}}",
                    ),
                    unit="percentunit",
                    most=1,
                    steps=at_least(limit("NodeMemoryAlmostUsed")),
                    span=8,
                ),
                lines(
                    "Place libre sur les disques des machines",
                    "Images, journaux et fichiers temporaires ; seuil de l'alerte NodeDiskAlmostFull.",
                    Query(
                        'min by (instance, mountpoint) (node_filesystem_avail_bytes{job="node-exporter", fstype=~"ext4|xfs|btrfs"}) '
                        '/ max by (instance, mountpoint) (node_filesystem_size_bytes{job="node-exporter", fstype=~"ext4|xfs|btrfs"})',
                        "{{instance}} {{mountpoint}}",
                    ),
                    unit="percentunit",
                    most=1,
                    steps=at_least(limit("NodeDiskAlmostFull")),
                    span=8,
                ),
                bars(
                    "Processeur réservé par machine",
                    "Part réservée par les pods ; au seuil de l'alerte NodeAlmostFull, un pod de plus ne trouve plus de place.",
                    Query(_reserved("cpu"), "{{node}}"),
                    unit="percentunit",
                    most=1,
                    steps=at_most(limit("NodeAlmostFull")),
                ),
                bars(
                    "Mémoire réservée par machine",
                    "Part réservée par les pods ; seuil de l'alerte NodeAlmostFull.",
                    Query(_reserved("memory"), "{{node}}"),
                    unit="percentunit",
                    most=1,
                    steps=at_most(limit("NodeAlmostFull")),
                ),
            ],
        ),
        Row(
            "Pods",
            [
                lines(
                    "Pods par état",
                    "Dans les espaces choisis.",
                    Query(f"sum by (phase) (kube_pod_status_phase{{{CHOSEN}}})", "{{phase}}"),
                    unit="none",
                    stacked=True,
                    names={
                        "Running": "En marche",
                        "Pending": "En attente",
                        "Succeeded": "Terminés",
                        "Failed": "En échec",
                        "Unknown": "Inconnus",
                    },
                ),
                rows(
                    "Conteneurs qui ont redémarré en 24 h",
                    "Les vingt premiers ; une mise à jour n'y compte pas, elle crée d'autres pods.",
                    f"topk(20, sum by (namespace, pod, container) (increase(kube_pod_container_status_restarts_total{{{CHOSEN}}}[1d])) > 0.5)",
                    {"namespace": "Espace", "pod": "Pod", "container": "Conteneur", "Value": "Redémarrages"},
                    unit="none",
                    steps=at_most(restarts),
                    empty="Aucun redémarrage",
                ),
                lines(
                    "Mémoire par espace",
                    "Mémoire que les conteneurs utilisent.",
                    Query(
                        f'sum by (namespace) (container_memory_working_set_bytes{{{CHOSEN}, container!=""}})',
                        "{{namespace}}",
                    ),
                    unit="bytes",
                    stacked=True,
                ),
                lines(
                    "Processeur par espace",
                    "Cœurs que les conteneurs utilisent.",
                    Query(
                        f'sum by (namespace) (rate(container_cpu_usage_seconds_total{{{CHOSEN}, container!=""}}[$__rate_interval]))',
                        "{{namespace}}",
                    ),
                    unit="suffix: cœurs",
                    stacked=True,
                ),
            ],
        ),
        Row(
            "Quotas et disques",
            [
                bars(
                    "Quotas consommés",
                    "Part du quota de chaque espace, ressource la plus prise ; seuil de l'alerte QuotaAlmostUsed.",
                    Query(
                        f'max by (namespace) (kube_resourcequota{{{CHOSEN}, type="used", resource=~"(requests|limits)[.].+|pods|persistentvolumeclaims"}} '
                        f'/ ignoring (type) (kube_resourcequota{{{CHOSEN}, type="hard"}} > 0))',
                        "{{namespace}}",
                    ),
                    unit="percentunit",
                    most=1,
                    steps=at_most(limit("QuotaAlmostUsed")),
                ),
                bars(
                    "Disques remplis",
                    "Part prise de chaque volume ; seuils des alertes VolumeAlmostFull et VolumeFull.",
                    Query(
                        f"1 - min by (namespace, persistentvolumeclaim) (kubelet_volume_stats_available_bytes{{{CHOSEN}}}) "
                        f"/ max by (namespace, persistentvolumeclaim) (kubelet_volume_stats_capacity_bytes{{{CHOSEN}}})",
                        "{{namespace}} {{persistentvolumeclaim}}",
                    ),
                    unit="percentunit",
                    most=1,
                    steps=at_most(1 - limit("VolumeAlmostFull"), 1 - limit("VolumeFull")),
                ),
            ],
        ),
        variables=[
            choice("namespace", "Espace", "Espaces de noms à montrer.", "label_values(kube_pod_info, namespace)"),
        ],
    )


def _reserved(resource: str) -> str:
    return (
        f'sum by (node) (kube_pod_container_resource_requests{{resource="{resource}"}} * on (namespace, pod) group_left () '
        '(max by (namespace, pod) (kube_pod_status_phase{phase=~"Pending|Running"}) == 1)) '
        f'/ max by (node) (kube_node_status_allocatable{{resource="{resource}"}})'
    )
