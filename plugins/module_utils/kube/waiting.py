# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Wait until objects do their work, saying what is waited for, and stop as soon as waiting has no point."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.progress import HEARTBEAT, Progress
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.client import KubeClient
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.errors import KubeError
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.objects import ObjectId
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.readiness import (
    FAILED,
    READY,
    WAITING,
    Readiness,
    binds_late,
    blocks_rollout,
    readiness,
)

__all__ = ["evidence", "wait_gone", "wait_ready"]

_SLOWEST_POLL = 3.0
_SHOWN = 5
_EVENTS = 3

Object = Mapping[str, t.Any]


def wait_ready(
    client: KubeClient,
    objects: Mapping[ObjectId, Object],
    *,
    timeout: float,
    progress: Progress,
    replace: Callable[[Object], None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[ObjectId, Object]:
    """Wait until every object is ready.

    Args:
        client: the cluster.
        objects: the objects as last seen.
        timeout: seconds.
        progress: told each change of state, and every 30 s what is still waited for and why.
        replace: deletes a pod that keeps the rollout of its StatefulSet from going on; without it, nobody does.
        sleep: for tests.

    Returns:
        The objects as seen when they were ready.

    Raises:
        KubeError: one failed, or the time is over; the message carries the reasons and the pods' own words.
    """
    seen = dict(objects)
    classes = _storage_classes(client, objects)
    said: dict[ObjectId, str] = {}
    started = spoken = time.monotonic()
    pause = 0.25
    verdicts = {identity: _verdict(obj, classes) for identity, obj in seen.items()}
    while True:
        failed = {i: v for i, v in verdicts.items() if v.state == FAILED}
        waiting = {i: v for i, v in verdicts.items() if v.state == WAITING}
        now = time.monotonic()
        for identity, verdict in verdicts.items():
            text = f"{identity} is {verdict.state}" + (f": {verdict.reason}" if verdict.reason else "")
            first_sight = identity not in said and verdict.state == READY
            if said.get(identity) != text and not first_sight:
                progress.say(text)
                spoken = now
            said[identity] = text
        if failed:
            raise _failure("failed", failed, client, seen, after=now - started)
        if not waiting:
            return seen
        if now - started >= timeout:
            raise _failure("not ready", waiting, client, seen, after=now - started)
        if now - spoken >= HEARTBEAT:
            first = next(iter(waiting))
            why = "; ".join([waiting[first].reason, *_states_of_pods(client, seen[first])])
            progress.say(f"waiting for {_names(waiting)} ({now - started:.0f} s): {why}")
            spoken = now
        if replace:
            _replace_blocking(client, [seen[identity] for identity in waiting], replace, progress)
        sleep(min(pause, max(0.0, timeout - (now - started))))
        pause = min(_SLOWEST_POLL, pause * 1.5)
        _refresh(client, waiting, seen)
        verdicts |= {identity: _verdict(seen[identity], classes) for identity in waiting}


def wait_gone(
    client: KubeClient,
    objects: Sequence[Object],
    *,
    timeout: float,
    progress: Progress,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until deleted objects are really gone.

    Raises:
        KubeError: the time is over; the message names the finalizers that hold them.
    """
    left = {ObjectId.of(obj): obj for obj in objects}
    started = spoken = time.monotonic()
    pause = 0.1
    while True:
        found = client.all(lambda item: _current(client, item[1]), list(left.items()))
        left = {
            identity: obj
            for (identity, before), obj in zip(list(left.items()), found, strict=True)
            if obj is not None and obj["metadata"].get("uid") == before["metadata"].get("uid")
        }
        now = time.monotonic()
        if not left:
            return
        if now - started >= timeout:
            held = sorted({f for obj in left.values() for f in obj["metadata"].get("finalizers") or ()})
            raise KubeError(
                f"still being deleted after {now - started:.0f} s" + (f", held by {', '.join(held)}" if held else ""),
                where=_names(left),
                remedy="Check that the controllers behind the finalizers run; a larger wait_timeout waits longer",
            )
        if now - spoken >= HEARTBEAT or now - started < pause:
            progress.say(f"waiting until {_names(left)} is gone ({now - started:.0f} s)")
            spoken = now
        sleep(pause)
        pause = min(_SLOWEST_POLL, pause * 1.5)


def evidence(client: KubeClient, obj: Object) -> list[str]:
    """What the cluster says about an object that is not well: its pods' states and the latest warnings."""
    identity = ObjectId.of(obj)
    lines: list[str] = []
    for pod in _pods(client, obj):
        name = pod["metadata"]["name"]
        lines += [f"pod {name}: {line}" for line in pod_troubles(pod)]
        about = ObjectId("", "Pod", identity.namespace, name)
        lines += [f"pod {name}: {_event(event)}" for event in client.events(about)[-_EVENTS:]]
    lines += [_event(event) for event in client.events(identity)[-_EVENTS:]]
    return list(dict.fromkeys(lines))


def pod_troubles(pod: Object) -> list[str]:
    """Why a pod does not run, in the words of its status."""
    status = pod.get("status") or {}
    lines = []
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            lines.append(f"{condition.get('reason')}: {condition.get('message', '')}".rstrip(": "))
    for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            text = f"container {container['name']} {waiting['reason']}: {waiting.get('message', '')}"
            lines.append(text.rstrip(": "))
        ended = (container.get("lastState") or {}).get("terminated") or (container.get("state") or {}).get("terminated")
        if ended and ended.get("exitCode"):
            code, why = ended["exitCode"], ended.get("message") or ended.get("reason") or ""
            lines.append(f"container {container['name']} ended with code {code} {why}".rstrip())
    return lines


def _states_of_pods(client: KubeClient, obj: Object) -> list[str]:
    """Why pods do not run, in one word each: what containers say themselves is for the error, which is redacted."""
    found = []
    for pod in _pods(client, obj):
        status = pod.get("status") or {}
        for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
            reason = ((container.get("state") or {}).get("waiting") or {}).get("reason")
            if reason:
                found.append(f"pod {pod['metadata']['name']}: container {container['name']} {reason}")
    return found


def _replace_blocking(
    client: KubeClient, waiting: Sequence[Object], replace: Callable[[Object], None], progress: Progress
) -> None:
    for obj in waiting:
        status = obj.get("status") or {}
        if obj.get("kind") != "StatefulSet" or status.get("updateRevision") == status.get("currentRevision"):
            continue
        for pod in _pods(client, obj):
            if reason := blocks_rollout(pod, obj):
                progress.say(f"{ObjectId.of(pod)} is {reason} in an older revision and would never be replaced")
                replace(pod)


def _verdict(obj: Object, classes: Mapping[str, Object]) -> Readiness:
    verdict = readiness(obj)
    pending = verdict.state == WAITING and obj.get("kind") == "PersistentVolumeClaim"
    return Readiness(READY) if pending and binds_late(obj, classes) else verdict


def _storage_classes(client: KubeClient, objects: Mapping[ObjectId, Object]) -> dict[str, Object]:
    resource = client.resource("storage.k8s.io/v1", "StorageClass")
    pending = [obj for i, obj in objects.items() if i.kind == "PersistentVolumeClaim"]
    if resource is None or not any(readiness(obj).state == WAITING for obj in pending):
        return {}
    return {obj["metadata"]["name"]: obj for obj in client.find(resource)}


def _current(client: KubeClient, obj: Object) -> dict[str, t.Any] | None:
    identity = ObjectId.of(obj)
    resource = client.resource(obj["apiVersion"], identity.kind)
    return None if resource is None else client.get(resource, identity.name, identity.namespace)


def _refresh(client: KubeClient, waiting: Mapping[ObjectId, Readiness], seen: dict[ObjectId, Object]) -> None:
    identities = list(waiting)
    for identity, obj in zip(identities, client.all(lambda i: _current(client, seen[i]), identities), strict=True):
        if obj is None:
            raise KubeError("it was deleted while it was waited for", where=str(identity), remedy="Run again")
        seen[identity] = obj


def _failure(
    what: str,
    troubled: Mapping[ObjectId, Readiness],
    client: KubeClient,
    seen: Mapping[ObjectId, Object],
    *,
    after: float,
) -> KubeError:
    parts = []
    for identity in list(troubled)[:_SHOWN]:
        lines = [troubled[identity].reason, *evidence(client, seen[identity])]
        parts.append(f"{identity}: {'; '.join(line for line in lines if line)}")
    more = len(troubled) - len(parts)
    parts += [f"and {more} more"] if more > 0 else []
    return KubeError(
        f"{what} after {after:.0f} s: {' | '.join(parts)}",
        remedy="Correct what the messages name and run again; a larger wait_timeout waits longer"
        if what != "failed"
        else "Correct what the messages name and run again",
    )


def _names(objects: Mapping[ObjectId, t.Any]) -> str:
    names = [str(identity) for identity in objects]
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _pods(client: KubeClient, obj: Object) -> list[dict[str, t.Any]]:
    resource = client.resource("v1", "Pod")
    labels = ((obj.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
    if resource is None or not labels or obj.get("kind") not in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
        return []
    selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    try:
        return client.find(resource, namespace=obj["metadata"]["namespace"], selector=selector)[:_SHOWN]
    except KubeError:
        return []


def _event(event: Object) -> str:
    return f"{event.get('reason')}: {event.get('message', '')}".strip()
