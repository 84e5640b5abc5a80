# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Roll-outs as a second reader saw them: ready, not ready and why, or impossible to tell."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.findings import Finding

__all__ = ["SIMULATED", "is_simulated", "judge_rollouts"]

Object = Mapping[str, t.Any]

SIMULATED: t.Final = "kwok.x-k8s.io/node"
"""Label or annotation of a node without a kubelet. Source: https://kwok.sigs.k8s.io/docs/user/configuration/"""

_EVENTS: t.Final = 5
_UNTOLD: t.Final = "its pods are on simulated nodes, which run no container and no probe"


def is_simulated(node: Object) -> bool:
    """Whether a node only pretends to run pods."""
    metadata = node.get("metadata") or {}
    return SIMULATED in {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}


def judge_rollouts(wanted: Iterable[Mapping[str, str]], objects: Sequence[Object]) -> list[Finding]:
    """One finding for each workload, gateway or route that must be there.

    Args:
        wanted: C(kind), C(namespace) and C(name) of each.
        objects: nodes, workloads, pods, events, gateways and routes as they were read.
    """
    live = _Live(objects)
    return [live.judge(entry["kind"], entry["namespace"], entry["name"]) for entry in wanted]


class _Live:
    """What was read, by kind."""

    def __init__(self, objects: Sequence[Object]) -> None:
        self._objects = objects
        self._simulated = {_name(node) for node in self._all("Node") if is_simulated(node)}
        self._only_simulated = bool(self._simulated) and all(is_simulated(node) for node in self._all("Node"))

    def _all(self, kind: str) -> Iterator[Object]:
        return (obj for obj in self._objects if obj.get("kind") == kind)

    def judge(self, kind: str, namespace: str, name: str) -> Finding:
        """The finding about one object."""
        found = [obj for obj in self._all(kind) if (_namespace(obj), _name(obj)) == (namespace, name)]
        verdict, message = ("missing", "it does not exist") if not found else self._state(kind, found[0])
        return Finding(
            source="kubernetes",
            resource=f"{kind}/{namespace}/{name}",
            type=f"{found[0].get('apiVersion', '')}/{kind}" if found else kind,
            verdict=verdict,
            message=message,
        )

    def _state(self, kind: str, obj: Object) -> tuple[str, str]:
        if kind in ("Deployment", "StatefulSet"):
            return self._workload(obj)
        return self._condition(obj, "Programmed" if kind == "Gateway" else "Accepted")

    def _workload(self, obj: Object) -> tuple[str, str]:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        wanted = int(spec.get("replicas", 1))
        ready = int(status.get("readyReplicas") or 0)
        pods = self._pods(obj)
        seen = status.get("observedGeneration", 0) >= (obj.get("metadata") or {}).get("generation", 0)
        if not seen or ready < wanted:
            reasons = [reason for pod in pods for reason in self._reasons(pod)] or ["no pod of it is there"]
            return "error", f"{ready} of {wanted} pods are ready: " + "; ".join(reasons)
        if any(((pod.get("spec") or {}).get("nodeName")) in self._simulated for pod in pods):
            return "not_verifiable", f"{ready} of {wanted} pods are said to be ready, but {_UNTOLD}"
        return "equal", f"{ready} of {wanted} pods are ready"

    def _pods(self, workload: Object) -> list[Object]:
        wanted = ((workload.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
        return [
            pod
            for pod in self._all("Pod")
            if _namespace(pod) == _namespace(workload)
            and wanted.items() <= ((pod.get("metadata") or {}).get("labels") or {}).items()
        ]

    def _reasons(self, pod: Object) -> list[str]:
        status = pod.get("status") or {}
        if any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or []):
            return []
        told = [*_unscheduled(status), *_containers(status)] or [f"phase {status.get('phase', 'unknown')}"]
        told += self._warnings(pod)
        return [f"pod {_name(pod)}: {', '.join(told)}"]

    def _warnings(self, pod: Object) -> list[str]:
        events = [
            event
            for event in self._all("Event")
            if event.get("type") == "Warning"
            and (event.get("involvedObject") or {}).get("name") == _name(pod)
            and _namespace(event) == _namespace(pod)
        ]
        events.sort(key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
        return [f"{event.get('reason')}: {' '.join(str(event.get('message')).split())}" for event in events[-_EVENTS:]]

    def _condition(self, obj: Object, wanted: str) -> tuple[str, str]:
        status = obj.get("status") or {}
        conditions = list(status.get("conditions") or [])
        for parent in status.get("parents") or []:
            conditions += parent.get("conditions") or []
        told = [condition for condition in conditions if condition.get("type") == wanted]
        if any(condition.get("status") == "True" for condition in told):
            return "equal", f"{wanted}"
        reason = "; ".join(f"{c.get('reason')}: {c.get('message')}" for c in told if c.get("reason") != "Pending")
        if self._only_simulated and (not reason or reason.startswith("NotReconciled")):
            return "not_verifiable", f"no controller says {wanted}: {_UNTOLD}"
        return "error", f"not {wanted}: {reason or 'no controller has looked at it'}"


def _unscheduled(status: Object) -> list[str]:
    return [
        f"not scheduled ({condition.get('message')})"
        for condition in status.get("conditions") or []
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False"
    ]


def _containers(status: Object) -> list[str]:
    told = []
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        state = container.get("state") or {}
        if waiting := state.get("waiting"):
            told.append(f"{container.get('name')} waits ({_reason(waiting)})")
        ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated")
        if ended and ended.get("exitCode"):
            told.append(f"{container.get('name')} ended with {ended['exitCode']} ({_reason(ended)})")
        if "running" in state and not container.get("ready"):
            told.append(f"{container.get('name')} runs but is not ready")
    return told


def _reason(state: Object) -> str:
    return ": ".join(str(state[key]) for key in ("reason", "message") if state.get(key))


def _name(obj: Object) -> str:
    return str((obj.get("metadata") or {}).get("name") or "")


def _namespace(obj: Object) -> str:
    return str((obj.get("metadata") or {}).get("namespace") or "")
