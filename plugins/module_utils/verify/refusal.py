# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections that must be refused, as a pod tried them that nobody allowed anything. Pure: data in, findings out."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.findings import Finding

__all__ = ["judge_refusals"]

Object = Mapping[str, t.Any]

# What the container of a connection ends with: roles/verify/templates/stranger.yml.j2.
_REFUSED: t.Final = 0
_CONNECTED: t.Final = 10
_UNRESOLVED: t.Final = 11


def judge_refusals(
    wanted: Iterable[Mapping[str, t.Any]], pods: Sequence[Object], *, untried: str = ""
) -> list[Finding]:
    """One finding for each connection.

    Args:
        wanted: C(name), C(host) and C(port) of each; the container that tried it has the same name.
        pods: the pod that tried all of them, or nothing when it never came.
        untried: why nobody tried, for a person; empty when somebody did.
    """
    return [_judge(entry, pods[0] if pods else {}, untried) for entry in wanted]


def _judge(entry: Mapping[str, t.Any], pod: Object, untried: str) -> Finding:
    verdict, message = ("not_verifiable", untried) if untried else _ending(entry["name"], pod)
    namespace = (pod.get("metadata") or {}).get("namespace")
    return Finding(
        source="kubernetes",
        resource=f"{entry['host']}:{entry['port']}",
        type="connection",
        path=f"from namespace {namespace}" if namespace else "",
        verdict=verdict,
        message=message,
    )


def _ending(name: str, pod: Object) -> tuple[str, str]:
    status = pod.get("status") or {}
    states = {c.get("name"): c.get("state") or {} for c in status.get("containerStatuses") or []}
    state = states.get(name, {})
    code = (state.get("terminated") or {}).get("exitCode")
    if code == _REFUSED:
        return "equal", "a pod that nobody allowed is refused"
    if code == _CONNECTED:
        return "error", "a pod that nobody allowed gets through: its NetworkPolicy is missing, or not enforced"
    if code == _UNRESOLVED:
        return "error", "nobody can tell whether it is refused: the pod that should try found no address of that name"
    return "error", f"nobody can tell whether it is refused: the pod that should try it {_stuck(pod, state)}"


def _stuck(pod: Object, state: Object) -> str:
    if not pod:
        return "was not made"
    if ended := state.get("terminated"):
        return f"ended with {ended.get('exitCode')} ({ended.get('reason')})"
    status = pod.get("status") or {}
    told = [state["waiting"].get(key) for key in ("reason", "message")] if state.get("waiting") else []
    told += [c.get("message") for c in status.get("conditions") or [] if c.get("status") == "False"]
    return (
        f"is {status.get('phase', 'unknown')}: {', '.join(str(text) for text in told if text) or 'no reason is given'}"
    )
