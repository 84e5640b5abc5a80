"""The nodes that the agent pools of a managed cluster stand for."""

from __future__ import annotations

import hashlib
import ipaddress
import math
from collections.abc import Iterator
from typing import Any

from tests.lab.azure import vmsizes
from tests.lab.cluster.control_plane import Network, node_resource_group
from tests.lab.cluster.manager import ClusterError

__all__ = ["csi_node", "desired_nodes", "is_real", "real_node", "surge_nodes"]

# https://kwok.sigs.k8s.io/docs/user/kwok-in-cluster/ uses the same taint for the same purpose.
FAKE_TAINT = {"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}
BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
KUBELET_EVICTION_MEBIBYTES = 100
DEFAULT_MAX_PODS = 250
# What AKS keeps of a node's processor for itself, in millicores by vCPUs:
# https://learn.microsoft.com/azure/aks/node-resource-reservations
RESERVED_MILLICORES = {1: 60, 2: 100, 4: 140, 8: 180, 16: 260, 32: 420, 64: 740}


def _size(pool: dict[str, Any]) -> vmsizes.Size:
    name = str(pool.get("vmSize") or vmsizes.DEFAULT)
    if found := vmsizes.size(name):
        return found
    raise ClusterError(
        f"The VM size of {name} is not allowed in your subscription in location.", code="BadRequest", status=400
    )


def desired_nodes(cluster: dict[str, Any], *, version: str, containers: bool = False) -> list[dict[str, Any]]:
    """Return the Node of every machine that the pools of the cluster ask for.

    An autoscaled pool has as many as it must have at least: nothing here is busy.
    With `containers` the first node of the first pool for applications is a real one,
    and pods get to the others only when they tolerate that nothing runs there.
    """
    nodes: list[dict[str, Any]] = []
    for number, pool in enumerate(cluster["properties"].get("agentPoolProfiles") or []):
        for index in range(_count(pool)):
            nodes.append(_node(cluster, pool, number, index, _version(pool, version)))
    if containers and nodes:
        modes = [node["metadata"]["labels"]["kubernetes.azure.com/mode"] for node in nodes]
        real = nodes[modes.index("user") if "user" in modes else 0]
        del real["metadata"]["annotations"]
        for node in nodes:
            if node is not real:
                node["spec"].setdefault("taints", []).append(FAKE_TAINT)
        # Fixed, because the network of its pods is set up before the cluster could assign one.
        pods = str(next(ipaddress.ip_network(Network.of(cluster).pods).subnets(new_prefix=24)))
        real["spec"] |= {"podCIDR": pods, "podCIDRs": [pods]}
    return nodes


def surge_nodes(cluster: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the nodes that a pool gets for the time of an upgrade: https://learn.microsoft.com/azure/aks/upgrade-aks-cluster"""
    for number, pool in enumerate(cluster["properties"]["agentPoolProfiles"]):
        if pool["name"] == name:
            count, asked = _count(pool), str((pool.get("upgradeSettings") or {}).get("maxSurge") or "10%")
            surge = math.ceil(count * int(asked[:-1]) / 100) if asked.endswith("%") else int(asked)
            version = _version(pool, "")
            return [_node(cluster, pool, number, count + index, version) for index in range(surge)]
    return []


def _version(pool: dict[str, Any], served: str) -> str:
    return str(pool.get("currentOrchestratorVersion") or served)


def is_real(node: dict[str, Any]) -> bool:
    """Whether a kubelet stands behind a node."""
    return "kwok.x-k8s.io/node" not in node["metadata"].get("annotations", {})


def real_node(nodes: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the node behind which a kubelet stands."""
    return next((node for node in nodes if is_real(node)), None)


def _count(pool: dict[str, Any]) -> int:
    if (pool.get("powerState") or {}).get("code") == "Stopped":
        return 0
    count = pool.get("count")
    if pool.get("enableAutoScaling"):
        least, most = int(pool.get("minCount") or 0), int(pool.get("maxCount") or 1000)
        return min(max(least, int(count or 0) if count is not None else least), most)
    return int(count if count is not None else 1)


def _node(cluster: dict[str, Any], pool: dict[str, Any], number: int, index: int, version: str) -> dict[str, Any]:
    digits = int(hashlib.sha256(f"{cluster['id']}/{pool['name']}".lower().encode()).hexdigest(), 16) % 10**8
    scale_set = f"aks-{pool['name']}-{digits:08d}-vmss"
    name = scale_set + _base36(index)
    group = node_resource_group(cluster)
    address = f"10.224.{number}.{index + 4}"
    subscription = str(cluster["id"]).split("/")[2]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": dict(_labels(cluster, pool, name, index, group)),
            # Says to whoever asks that no kubelet is behind it: https://kwok.sigs.k8s.io/docs/user/configuration/
            "annotations": {"kwok.x-k8s.io/node": "fake"},
        },
        "spec": {
            "providerID": f"azure:///subscriptions/{subscription}/resourceGroups/{group.lower()}/providers/"
            f"Microsoft.Compute/virtualMachineScaleSets/{scale_set}/virtualMachines/{index}",
            **({"taints": list(_taints(pool))} if pool.get("nodeTaints") else {}),
        },
        "status": {
            **_resources(pool),
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
            "nodeInfo": {
                "architecture": "amd64",
                "bootID": "",
                "containerRuntimeVersion": "containerd://2.0.0",
                "kernelVersion": "6.8.0-azure",
                "kubeProxyVersion": "",
                "kubeletVersion": f"v{version}",
                "machineID": "",
                "operatingSystem": "linux",
                "osImage": "simulated by kwok",
                "systemUUID": "",
            },
        },
    }


def _base36(index: int) -> str:
    text = ""
    for _ in range(6):
        index, rest = divmod(index, 36)
        text = BASE36[rest] + text
    return text


def _labels(
    cluster: dict[str, Any], pool: dict[str, Any], name: str, index: int, group: str
) -> Iterator[tuple[str, str]]:
    """Yield the labels of a node of AKS: https://learn.microsoft.com/azure/aks/use-labels and what its nodes show."""
    location = str(cluster.get("location", "")).replace(" ", "").lower()
    zones = pool.get("availabilityZones") or []
    zone = f"{location}-{zones[index % len(zones)]}" if zones else "0"
    size = _size(pool).name
    yield "agentpool", pool["name"]
    yield "kubernetes.azure.com/agentpool", pool["name"]
    yield "kubernetes.azure.com/cluster", group
    yield "kubernetes.azure.com/mode", str(pool.get("mode") or "User").lower()
    yield "kubernetes.azure.com/os-sku", str(pool.get("osSKU") or "Ubuntu")
    yield "kubernetes.azure.com/role", "agent"
    yield "kubernetes.io/arch", "amd64"
    yield "kubernetes.io/os", "linux"
    yield "kubernetes.io/hostname", name
    yield "beta.kubernetes.io/arch", "amd64"
    yield "beta.kubernetes.io/os", "linux"
    yield "beta.kubernetes.io/instance-type", size
    yield "node.kubernetes.io/instance-type", size
    yield "failure-domain.beta.kubernetes.io/region", location
    yield "failure-domain.beta.kubernetes.io/zone", zone
    yield "topology.kubernetes.io/region", location
    yield "topology.kubernetes.io/zone", zone
    yield "topology.disk.csi.azure.com/zone", zone if zones else ""
    if pool.get("scaleSetPriority") == "Spot":
        yield "kubernetes.azure.com/scalesetpriority", "spot"
    yield from (pool.get("nodeLabels") or {}).items()


def _taints(pool: dict[str, Any]) -> Iterator[dict[str, str]]:
    for text in pool.get("nodeTaints") or []:
        pair, _, effect = text.rpartition(":")
        key, _, value = pair.partition("=")
        yield {"key": key, "effect": effect} | ({"value": value} if value else {})


def _resources(pool: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Return what a node has and what is left of it for pods: https://learn.microsoft.com/azure/aks/node-resource-reservations"""
    size = _size(pool)
    pods = int(pool.get("maxPods") or DEFAULT_MAX_PODS)
    millicores = max(kept for vcpus, kept in RESERVED_MILLICORES.items() if vcpus <= size.cores)
    mebibytes = round(size.memory_gib * 1024)
    kept = min(20 * pods + 50, mebibytes // 4) + KUBELET_EVICTION_MEBIBYTES
    disk = int(pool.get("osDiskSizeGB") or 128)
    common = {"pods": str(pods), "hugepages-1Gi": "0", "hugepages-2Mi": "0"}
    return {
        "capacity": {"cpu": str(size.cores), "memory": f"{mebibytes}Mi", "ephemeral-storage": f"{disk}Gi", **common},
        "allocatable": {
            "cpu": f"{size.cores * 1000 - millicores}m",
            "memory": f"{mebibytes - kept}Mi",
            "ephemeral-storage": f"{disk * 9 // 10}Gi",
            **common,
        },
    }


def csi_node(node: dict[str, Any], uid: str) -> dict[str, Any]:
    """Return the CSINode by which a node says which drivers it has and how many disks it takes."""
    disks = vmsizes.data_disks(int(node["status"]["capacity"]["cpu"]))
    name = node["metadata"]["name"]
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "CSINode",
        "metadata": {
            "name": name,
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}],
        },
        "spec": {
            "drivers": [
                {
                    "name": "disk.csi.azure.com",
                    "nodeID": name,
                    "topologyKeys": ["topology.disk.csi.azure.com/zone"],
                    "allocatable": {"count": disks},
                },
                {"name": "file.csi.azure.com", "nodeID": name, "topologyKeys": []},
            ]
        },
    }
