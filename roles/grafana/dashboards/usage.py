# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the containers of one namespace use, and the room that is left on its disks."""

from __future__ import annotations

from roles.grafana.dashboards.shared import Panel, Query, at_least, at_most, limit, lines


def memory(namespace: str, about: str) -> Panel:
    """Draw the memory of each container as a part of its limit."""
    return lines(
        "Mémoire par conteneur, part de sa limite",
        about,
        Query(
            f'max by (pod, container) (container_memory_rss{{namespace="{namespace}", container!=""}}) / max by (pod, container) '
            f'(kube_pod_container_resource_limits{{namespace="{namespace}", resource="memory"}})',
            "{{pod}} {{container}}",
        ),
        unit="percentunit",
        most=1,
        steps=at_most(limit("ContainerMemoryAlmostUsed")),
    )


def processor(namespace: str, about: str) -> Panel:
    """Draw the cores that each container uses."""
    return lines(
        "Processeur par conteneur",
        about,
        Query(
            f"sum by (pod, container) (rate(container_cpu_usage_seconds_total"
            f'{{namespace="{namespace}", container!=""}}[$__rate_interval]))',
            "{{pod}} {{container}}",
        ),
        unit="suffix: cœurs",
    )


def room(namespace: str, title: str, about: str) -> Panel:
    """Draw the part of each disk that is free."""
    return lines(
        title,
        about,
        Query(
            f'min by (persistentvolumeclaim) (kubelet_volume_stats_available_bytes{{namespace="{namespace}"}}) / '
            f'max by (persistentvolumeclaim) (kubelet_volume_stats_capacity_bytes{{namespace="{namespace}"}})',
            "{{persistentvolumeclaim}}",
        ),
        unit="percentunit",
        most=1,
        steps=at_least(limit("VolumeFull"), limit("VolumeAlmostFull")),
    )
