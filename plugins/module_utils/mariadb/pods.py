# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pods of a StatefulSet that run a server, and those of which nothing can be told."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.kube.errors import KubeError
from ansible_collections.audioprothese.platform.plugins.module_utils.verify.rollout import is_simulated

if t.TYPE_CHECKING:
    from ansible_collections.audioprothese.platform.plugins.module_utils.kube.client import KubeClient

__all__ = ["ROLE_LABEL", "Pod", "find_pods", "judge_pod", "set_role"]

ROLE_LABEL: t.Final = "platform.audioprothese/mariadb-role"
UNTOLD: t.Final = "its pod is on a simulated node, which runs no container: nobody can be asked"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod that should run a server.

    Attributes:
        untold: why nothing can be told about its server; empty for one that can be asked.
        missing: there is no running container.
        role: what its label says it is: C(primary), C(replica) or nothing.
    """

    namespace: str
    name: str
    untold: str = ""
    missing: bool = False
    role: str = ""

    @property
    def place(self) -> str:
        """Part of the names of all that is inside."""
        return f"{self.namespace}/{self.name}"


def judge_pod(
    namespace: str, name: str, container: str, pod: Mapping[str, t.Any] | None, node: Mapping[str, t.Any] | None
) -> Pod:
    """What the pod and its node say about whether the server can be asked."""
    if pod is None:
        return Pod(namespace=namespace, name=name, untold="its pod does not exist", missing=True)
    if node is not None and is_simulated(node):
        return Pod(namespace=namespace, name=name, untold=UNTOLD)
    # A sidecar is an init container that goes on running.
    kinds = ("containerStatuses", "initContainerStatuses")
    statuses = [status for kind in kinds for status in (pod.get("status") or {}).get(kind) or []]
    running = any(status.get("name") == container and "running" in (status.get("state") or {}) for status in statuses)
    if not running:
        phase = (pod.get("status") or {}).get("phase", "unknown")
        untold = f"its container {container} does not run (phase {phase})"
        return Pod(namespace=namespace, name=name, untold=untold, missing=True)
    labels = (pod.get("metadata") or {}).get("labels") or {}
    return Pod(namespace=namespace, name=name, role=str(labels.get(ROLE_LABEL) or ""))


def set_role(client: KubeClient, pod: Pod, role: str) -> None:
    """Label a pod with what its server is.

    Raises:
        KubeError: refused.
    """
    pods = client.resource("v1", "Pod")
    if pods is None:
        raise KubeError("the cluster does not serve pods")
    metadata = {"name": pod.name, "namespace": pod.namespace, "labels": {ROLE_LABEL: role}}
    client.apply(pods, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}, dry_run=False, force=True)


def find_pods(client: KubeClient, namespace: str, statefulset: str, container: str) -> list[Pod]:
    """The pods of a StatefulSet in their order; none while there is no StatefulSet.

    Raises:
        KubeError: anything of it cannot be read.
    """
    resources = {
        kind: client.resource(version, kind)
        for kind, version in {"StatefulSet": "apps/v1", "Pod": "v1", "Node": "v1"}.items()
    }
    sets, pods, nodes = resources["StatefulSet"], resources["Pod"], resources["Node"]
    if sets is None or pods is None or nodes is None:
        raise KubeError("the cluster does not serve StatefulSets, pods and nodes")
    owner = client.get(sets, statefulset, namespace)
    if owner is None:
        return []
    found = []
    for ordinal in range(int(owner["spec"].get("replicas", 1))):
        name = f"{statefulset}-{ordinal}"
        pod = client.get(pods, name, namespace)
        place = ((pod or {}).get("spec") or {}).get("nodeName")
        node = client.get(nodes, place) if place else None
        found.append(judge_pod(namespace, name, container, pod, node))
    return found
