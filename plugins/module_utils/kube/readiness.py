# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When an object is ready: one pure function per kind, from the object to a verdict and its reason."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "FAILED",
    "READY",
    "RESOURCE_PREDICATES",
    "WAITING",
    "Readiness",
    "binds_late",
    "blocks_rollout",
    "readiness",
]

READY, WAITING, FAILED = "ready", "waiting", "failed"

Object = Mapping[str, t.Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Readiness:
    """A verdict about one object.

    Attributes:
        state: C(ready), C(waiting) or C(failed); waiting on a failed object is pointless.
        reason: what it waits for or what went wrong; empty when ready.
    """

    state: str
    reason: str = ""


_READY = Readiness(READY)
# Reasons for which a container waits, and goes on waiting until its pod is made anew.
_STUCK = frozenset(
    {
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
    }
)
_COMMIT = 40
_EMPTY: t.Final[tuple[t.Any, ...]] = (None, {}, [], "")
_LEFT_OUT: t.Final[tuple[t.Any, ...]] = (*_EMPTY, False)
_UNSEEN = "the controller has not seen the change yet"


def readiness(obj: Object) -> Readiness:
    """Whether an object does what it was made for. Kinds without a rule are ready as soon as they exist."""
    if (obj.get("metadata") or {}).get("deletionTimestamp"):
        return Readiness(WAITING, "it is being deleted")
    predicate = RESOURCE_PREDICATES.get((str(obj.get("apiVersion", "")).rpartition("/")[0], str(obj.get("kind"))))
    return predicate(obj) if predicate else _READY


def blocks_rollout(pod: Object, statefulset: Object) -> str:
    """Why a pod keeps the rollout of its StatefulSet from ever going on; empty when it does not.

    The controller waits until a pod of an older revision is ready before it replaces it, also when what is wrong with
    it is what the new revision corrects.
    Source: https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback
    """
    spec, status = _spec(statefulset), _status(statefulset)
    strategy = (spec.get("updateStrategy") or {}).get("type", "RollingUpdate")
    if spec.get("podManagementPolicy") == "Parallel" or strategy != "RollingUpdate" or _stale(statefulset):
        return ""
    metadata = pod.get("metadata") or {}
    revision = (metadata.get("labels") or {}).get("controller-revision-hash")
    if metadata.get("deletionTimestamp") or not revision or revision == status.get("updateRevision"):
        return ""
    if _condition(pod, "Ready").get("status") == "True":
        return ""
    containers = (_status(pod).get(key) or () for key in ("initContainerStatuses", "containerStatuses"))
    states = (state for listed in containers for state in listed)
    reasons = (((state.get("state") or {}).get("waiting") or {}).get("reason") for state in states)
    return next((reason for reason in reasons if reason in _STUCK), "")


def _namespace(obj: Object) -> Readiness:
    phase = _status(obj).get("phase", "")
    return _READY if phase == "Active" else Readiness(WAITING, f"phase {phase or 'unknown'}")


def _deployment(obj: Object) -> Readiness:
    spec, status = _spec(obj), _status(obj)
    progressing, failure = _condition(obj, "Progressing"), _condition(obj, "ReplicaFailure")
    wanted = _count(spec, "replicas", 1)
    updated, total = _count(status, "updatedReplicas"), _count(status, "replicas")
    available = _count(status, "availableReplicas")
    rules = (
        (_stale(obj), WAITING, _UNSEEN),
        (
            progressing.get("reason") == "ProgressDeadlineExceeded",
            FAILED,
            progressing.get("message") or "its progress deadline has passed",
        ),
        (
            failure.get("status") == "True" and updated < wanted,
            FAILED,
            failure.get("message") or "its pods are refused",
        ),
        (updated < wanted, WAITING, f"{updated} of {wanted} replicas updated"),
        (total > updated, WAITING, f"{total - updated} old replicas still running"),
        (available < wanted, WAITING, f"{available} of {wanted} replicas available"),
    )
    return next((Readiness(state, reason) for holds, state, reason in rules if holds), _READY)


def _stateful_set(obj: Object) -> Readiness:
    spec, status = _spec(obj), _status(obj)
    if _stale(obj):
        return Readiness(WAITING, _UNSEEN)
    wanted = _count(spec, "replicas", 1)
    ready = _count(status, "readyReplicas")
    strategy = spec.get("updateStrategy") or {}
    if ready < wanted:
        return Readiness(WAITING, f"{ready} of {wanted} replicas ready")
    if (surplus := _count(status, "replicas") - wanted) > 0:
        return Readiness(WAITING, f"{surplus} replicas too many still running")
    if strategy.get("type") == "OnDelete":
        return _READY
    partition = _count(strategy.get("rollingUpdate") or {}, "partition")
    updated = _count(status, "updatedReplicas")
    # One made anew around its pods says equal revisions at once, with pods of the old one.
    behind = not partition and status.get("updateRevision") != status.get("currentRevision")
    if behind or updated < wanted - partition:
        return Readiness(WAITING, f"{updated} of {wanted - partition} replicas updated")
    return _READY


def _daemon_set(obj: Object) -> Readiness:
    status = _status(obj)
    if _stale(obj):
        return Readiness(WAITING, _UNSEEN)
    wanted = _count(status, "desiredNumberScheduled")
    on_delete = (_spec(obj).get("updateStrategy") or {}).get("type") == "OnDelete"
    updated = wanted if on_delete else _count(status, "updatedNumberScheduled")
    available = _count(status, "numberAvailable")
    if updated < wanted:
        return Readiness(WAITING, f"{updated} of {wanted} pods updated")
    return _READY if available >= wanted else Readiness(WAITING, f"{available} of {wanted} pods available")


def _job(obj: Object) -> Readiness:
    failed, complete = _condition(obj, "Failed"), _condition(obj, "Complete")
    if failed.get("status") == "True":
        return Readiness(FAILED, failed.get("message") or failed.get("reason") or "it failed")
    if complete.get("status") == "True" or _spec(obj).get("suspend"):
        return _READY
    done, wanted = _count(_status(obj), "succeeded"), _count(_spec(obj), "completions", 1)
    return Readiness(WAITING, f"{done} of {wanted} completions")


def _pod(obj: Object) -> Readiness:
    phase = _status(obj).get("phase", "")
    if phase == "Failed":
        return Readiness(FAILED, _status(obj).get("message") or _status(obj).get("reason") or "it failed")
    if phase == "Succeeded" or _condition(obj, "Ready").get("status") == "True":
        return _READY
    return Readiness(WAITING, _condition(obj, "Ready").get("message") or f"phase {phase or 'unknown'}")


def _claim(obj: Object) -> Readiness:
    phase = _status(obj).get("phase", "")
    if phase == "Lost":
        return Readiness(FAILED, "its volume is lost")
    # Whether a pending claim only waits for its first pod is told by its class, which is not part of the object:
    # the runner asks with `binds_late`.
    return _READY if phase == "Bound" else Readiness(WAITING, f"phase {phase or 'unknown'}")


def _definition(obj: Object) -> Readiness:
    refused = _condition(obj, "NamesAccepted")
    if refused.get("status") == "False":
        return Readiness(FAILED, refused.get("message") or "its names are taken")
    established = _condition(obj, "Established").get("status") == "True"
    return _READY if established else Readiness(WAITING, "not established yet")


def _gateway(obj: Object) -> Readiness:
    if _stale_condition(obj, "Programmed"):
        return Readiness(WAITING, "the gateway controller has not seen the change yet")
    accepted, programmed = _condition(obj, "Accepted"), _condition(obj, "Programmed")
    if accepted.get("status") == "False" and accepted.get("reason") != "Pending":
        return Readiness(FAILED, accepted.get("message") or str(accepted.get("reason")))
    if programmed.get("status") == "True":
        return _READY
    return Readiness(WAITING, programmed.get("message") or "not programmed yet")


def _route(obj: Object) -> Readiness:
    wanted = len(_spec(obj).get("parentRefs") or ())
    parents = _status(obj).get("parents") or ()
    for parent in parents:
        for condition in parent.get("conditions") or ():
            if condition.get("status") == "False" and condition.get("type") in ("Accepted", "ResolvedRefs"):
                return Readiness(WAITING, condition.get("message") or str(condition.get("reason")))
    accepted = sum(_condition({"status": parent}, "Accepted").get("status") == "True" for parent in parents)
    return _READY if accepted >= wanted else Readiness(WAITING, f"accepted by {accepted} of {wanted} gateways")


def _application(obj: Object) -> Readiness:
    """Synced, healthy, and both of what is declared now.

    Source: https://argo-cd.readthedocs.io/en/stable/operator-manual/health/ and the kind's Go types.
    """
    spec, status = _spec(obj), _status(obj)
    sync, operation = status.get("sync") or {}, status.get("operationState") or {}
    revision, wanted = str(sync.get("revision") or ""), str((spec.get("source") or {}).get("targetRevision") or "")
    told = {str(condition.get("type")): condition.get("message") for condition in status.get("conditions") or ()}
    # That a failed sync is not tried again is told as an error, too.
    refused = told.pop("SyncError", "")
    problem = next((message for kind, message in told.items() if "Error" in kind), "")
    health, result = status.get("health") or {}, operation.get("syncResult") or {}
    # A failure of other settings, or of another revision, is not one of what is declared now.
    tried = _same(result, spec, "source", "sources") and _same(result, sync, "revision", "revisions")
    rules = (
        (
            not _same(sync.get("comparedTo") or {}, spec, "source", "sources", "destination"),
            WAITING,
            problem or "Argo CD has not seen the change yet",
        ),
        (bool(problem), WAITING, problem),
        (bool(obj.get("operation")), WAITING, "a sync is asked for"),
        (
            _is_commit(wanted) and revision != wanted,
            WAITING,
            f"at revision {revision or 'none'}, not {wanted}",
        ),
        (operation.get("phase") == "Running", WAITING, operation.get("message") or "a sync is under way"),
        (
            operation.get("phase") in ("Failed", "Error") and tried and sync.get("status") != "Synced",
            FAILED,
            operation.get("message") or "its sync failed",
        ),
        (
            sync.get("status") != "Synced",
            WAITING,
            refused or f"{sync.get('status') or 'not compared'} at revision {revision or 'none'}",
        ),
        (
            health.get("status") != "Healthy",
            WAITING,
            f"{health.get('status') or 'of unknown health'} {health.get('message') or ''}".strip(),
        ),
    )
    return next((Readiness(state, str(reason)) for holds, state, reason in rules if holds), _READY)


def _is_commit(revision: str) -> bool:
    return len(revision) == _COMMIT and set(revision) <= set("0123456789abcdef")


def _same(one: Object, other: Object, *parts: str) -> bool:
    return bool(_bare({part: one.get(part) for part in parts}) == _bare({part: other.get(part) for part in parts}))


def _bare(value: t.Any, left_out: Sequence[t.Any] = _LEFT_OUT) -> t.Any:
    """Without what is empty, which Argo CD leaves out of its copy; a chart's values are not its own."""
    if isinstance(value, Mapping):
        inner = {key: _bare(item, _EMPTY if key == "valuesObject" else left_out) for key, item in value.items()}
        return {key: item for key, item in inner.items() if item not in left_out}
    return [_bare(item, left_out) for item in value] if isinstance(value, list) else value


def _by_condition(kind: str) -> Callable[[Object], Readiness]:
    def predicate(obj: Object) -> Readiness:
        if _stale_condition(obj, kind):
            return Readiness(WAITING, _UNSEEN)
        condition = _condition(obj, kind)
        if condition.get("status") == "True":
            return _READY
        return Readiness(WAITING, condition.get("message") or f"condition {kind} is not true yet")

    return predicate


RESOURCE_PREDICATES: dict[tuple[str, str], Callable[[Object], Readiness]] = {
    ("", "Namespace"): _namespace,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "Pod"): _pod,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _definition,
    ("apiregistration.k8s.io", "APIService"): _by_condition("Available"),
    ("apps", "DaemonSet"): _daemon_set,
    ("apps", "Deployment"): _deployment,
    ("apps", "StatefulSet"): _stateful_set,
    ("argoproj.io", "Application"): _application,
    ("batch", "Job"): _job,
    ("cert-manager.io", "Certificate"): _by_condition("Ready"),
    ("cert-manager.io", "ClusterIssuer"): _by_condition("Ready"),
    ("cert-manager.io", "Issuer"): _by_condition("Ready"),
    ("external-secrets.io", "ExternalSecret"): _by_condition("Ready"),
    ("gateway.networking.k8s.io", "Gateway"): _gateway,
    ("gateway.networking.k8s.io", "GatewayClass"): _by_condition("Accepted"),
    ("gateway.networking.k8s.io", "GRPCRoute"): _route,
    ("gateway.networking.k8s.io", "HTTPRoute"): _route,
    ("k8s.mariadb.com", "MariaDB"): _by_condition("Ready"),
}


def binds_late(claim: Object, classes: Mapping[str, Object]) -> bool:
    """Whether a pending claim is as ready as it gets before a pod uses it.

    Args:
        claim: the PersistentVolumeClaim.
        classes: StorageClasses by name.
    """
    name = _spec(claim).get("storageClassName")
    if name is None:
        marked = "storageclass.kubernetes.io/is-default-class"
        name = next(
            (n for n, c in classes.items() if ((c["metadata"].get("annotations") or {}).get(marked)) == "true"), ""
        )
    return (classes.get(str(name)) or {}).get("volumeBindingMode") == "WaitForFirstConsumer"


def _spec(obj: Object) -> Mapping[str, t.Any]:
    return obj.get("spec") or {}


def _status(obj: Object) -> Mapping[str, t.Any]:
    return obj.get("status") or {}


def _count(part: Mapping[str, t.Any], field: str, default: int = 0) -> int:
    value = part.get(field)
    return default if value is None else int(value)


def _stale(obj: Object) -> bool:
    generation = (obj.get("metadata") or {}).get("generation") or 0
    return _count(_status(obj), "observedGeneration") < int(generation)


def _condition(obj: Object, kind: str) -> Mapping[str, t.Any]:
    return next((c for c in _status(obj).get("conditions") or () if c.get("type") == kind), {})


def _stale_condition(obj: Object, kind: str) -> bool:
    generation = int((obj.get("metadata") or {}).get("generation") or 0)
    condition = _condition(obj, kind)
    return bool(condition) and int(condition.get("observedGeneration") or generation) < generation
