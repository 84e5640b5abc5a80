"""What containers really use, as the kubelet counts it, beside what they ask for and may use at most."""

from __future__ import annotations

import json
from dataclasses import dataclass

from kubernetes.utils.quantity import parse_quantity

from tests.end_to_end.support.pods import PLATFORM, pods
from tests.integration.support.lab import Lab

__all__ = ["Container", "containers", "quotas", "shown"]

MEBIBYTE = 1 << 20


@dataclass
class Container:
    """One container: memory that it asks for, may use and uses (bytes), processor that it asks for and uses."""

    namespace: str
    pod: str
    name: str
    request: int
    limit: int
    millicores: int
    memory: int = 0
    cpu: int = 0


def containers(lab: Lab) -> list[Container]:
    """Return every container of the platform with what it uses now."""
    nodes = _real_nodes(lab)
    used, found = _summary(lab, nodes), []
    for namespace in PLATFORM:
        for pod in pods(lab, namespace):
            if pod["spec"].get("nodeName") not in nodes:
                continue
            spec, name = pod["spec"], pod["metadata"]["name"]
            beside = [each for each in spec.get("initContainers", []) if each.get("restartPolicy") == "Always"]
            for each in [*beside, *spec["containers"]]:
                asked, most = each["resources"].get("requests", {}), each["resources"].get("limits", {})
                memory, cpu = used.get((namespace, name, each["name"]), (0, 0))
                found.append(
                    Container(
                        namespace,
                        name,
                        each["name"],
                        request=int(parse_quantity(asked.get("memory", "0"))),
                        limit=int(parse_quantity(most.get("memory", "0"))),
                        millicores=int(parse_quantity(asked.get("cpu", "0")) * 1000),
                        memory=memory,
                        cpu=cpu,
                    )
                )
    return found


def quotas(lab: Lab) -> dict[str, dict[str, int]]:
    """Return the memory that the quota of each namespace lets its containers ask for and use."""
    found = {}
    for namespace in PLATFORM:
        hard = json.loads(lab.kubectl("get", "resourcequota", "namespace", "-n", namespace, "-o", "json"))["spec"][
            "hard"
        ]
        found[namespace] = {key: int(parse_quantity(hard[key])) for key in ("requests.memory", "limits.memory")}
    return found


def _real_nodes(lab: Lab) -> set[str]:
    """Return the nodes that have a kubelet: on the others nothing runs that could use anything."""
    nodes = json.loads(lab.kubectl("get", "nodes", "-o", "json"))["items"]
    named = (node["metadata"] for node in nodes)
    return {about["name"] for about in named if "kwok.x-k8s.io/node" not in about.get("annotations", {})}


def _summary(lab: Lab, nodes: set[str]) -> dict[tuple[str, str, str], tuple[int, int]]:
    """Return memory and processor of each container as the kubelet counts them (/stats/summary)."""
    found = {}
    for node in sorted(nodes):
        stats = json.loads(lab.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/stats/summary"))
        for pod in stats["pods"]:
            for each in pod.get("containers", []):
                key = (pod["podRef"]["namespace"], pod["podRef"]["name"], each["name"])
                cpu = each.get("cpu", {}).get("usageNanoCores", 0) // 1_000_000
                found[key] = (each.get("memory", {}).get("workingSetBytes", 0), cpu)
    return found


def shown(found: list[Container]) -> str:
    """Write them as a table."""
    rows = [
        f"{c.namespace}/{c.pod}/{c.name}: {c.memory // MEBIBYTE} MiB of {c.request // MEBIBYTE} asked and "
        f"{c.limit // MEBIBYTE} at most, {c.cpu}m of {c.millicores}m"
        for c in found
    ]
    return "\n".join(rows)
