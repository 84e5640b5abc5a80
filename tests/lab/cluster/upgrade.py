"""Simulated nodes that get another version the way AKS does it: surge, cordon, drain, reimage, one after the other.

https://learn.microsoft.com/azure/aks/upgrade-conceptual
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.lab.cluster.manager import ClusterError
from tests.lab.cluster.nodes import is_real, surge_nodes
from tests.lab.cluster.objects import Api

__all__ = ["upgrade_nodes"]

Node = dict[str, Any]
EVERY_SECONDS = 0.2
# https://learn.microsoft.com/azure/aks/upgrade-aks-cluster (node drain timeout)
DRAIN_MINUTES = 30


def upgrade_nodes(api: Api, cluster: dict[str, Any], nodes: list[Node], add: Callable[[list[Node]], None]) -> None:
    """Bring the nodes that run another version to the wanted one, pool by pool.

    `add` makes nodes and returns when they are ready.
    """
    live = {node["metadata"]["name"]: _version(node) for node in api.list("v1", "Node") if not is_real(node)}
    for pool in cluster["properties"].get("agentPoolProfiles") or []:
        members = [node for node in nodes if node["metadata"]["labels"]["agentpool"] == pool["name"]]
        old = [node for node in members if live.get(node["metadata"]["name"], _version(node)) != _version(node)]
        if not old:
            continue
        surged = surge_nodes(cluster, pool["name"])
        add(surged)
        for node in old:
            _drain(api, node, pool)
            add([node])
        for node in surged:
            _drain(api, node, pool)


def _version(node: Node) -> str:
    return str(node["status"]["nodeInfo"]["kubeletVersion"])


def _drain(api: Api, node: Node, pool: dict[str, Any]) -> None:
    """Move the pods away as far as their budgets allow, then take the machine away."""
    name = node["metadata"]["name"]
    minutes = (pool.get("upgradeSettings") or {}).get("drainTimeoutInMinutes") or DRAIN_MINUTES
    deadline = time.monotonic() + float(minutes) * 60
    api.merge("v1", "Node", name, {"spec": {"unschedulable": True}})
    while pods := [pod for pod in api.list("v1", "Pod", fieldSelector=f"spec.nodeName={name}") if _leaves(pod)]:
        staying = [pod for pod in pods if not api.evict(pod)]
        if staying and time.monotonic() > deadline:
            raise _undrainable(name, staying[0])
        time.sleep(EVERY_SECONDS)
    api.drain(name)
    api.delete("v1", "Node", name)


def _leaves(pod: dict[str, Any]) -> bool:
    return all(owner["kind"] not in ("DaemonSet", "Node") for owner in pod["metadata"].get("ownerReferences", []))


def _undrainable(node: str, pod: dict[str, Any]) -> ClusterError:
    """https://learn.microsoft.com/troubleshoot/azure/azure-kubernetes/create-upgrade-delete/error-code-poddrainfailure"""
    return ClusterError(
        f"Drain node {node} failed when evicting pod {pod['metadata']['name']} failed with Too Many Requests error. "
        "This is often caused by a restrictive Pod Disruption Budget (PDB) policy. See "
        "https://aka.ms/aks/debugdrainfailures.",
        code="UpgradeFailed",
        status=400,
    )
