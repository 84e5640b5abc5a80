# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Objects that pass between a set and Argo CD: each has one owner at a time, and none is deleted on the way.

An Application of the set says in an annotation which members it takes over. They leave the set once Argo CD has marked
them as its own. When no Application is left that they could belong to, they are taken back.

Source: https://argo-cd.readthedocs.io/en/stable/user-guide/resource_tracking/ and, for the name under which Argo CD
applies, https://argo-cd.readthedocs.io/en/stable/user-guide/sync-options/#server-side-apply
"""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Iterable, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.kube.objects import Manifest, ObjectId

__all__ = [
    "APPLICATION",
    "ARGO_CD",
    "TRACKING",
    "application_of",
    "bare",
    "deliverers",
    "is_handed_back",
    "is_taken_over",
    "marks_of",
    "split",
    "sync_request",
    "takes_along",
    "undelivered",
]

# Field manager of Argo CD's server-side apply.
ARGO_CD: t.Final = "argocd-controller"
APPLICATION: t.Final = ("argoproj.io", "Application")
TRACKING: t.Final = "argocd.argoproj.io/tracking-id"

_ASKS = "audioprothese.platform"
_CASCADE = "resources-finalizer.argocd.argoproj.io"
_SHORT = 12
_INSTANCE = "argocd.argoproj.io/instance"
_TAKES_OVER = "platform.audioprothese/takes-over"

Object = Mapping[str, t.Any]


def application_of(live: Object | None) -> str:
    """Name of the Application that an object is marked with; empty without a mark."""
    metadata = (live or {}).get("metadata") or {}
    mark = (metadata.get("annotations") or {}).get(TRACKING)
    if mark:
        return str(mark).partition(":")[0]
    return str((metadata.get("labels") or {}).get(_INSTANCE) or "")


def deliverers(manifests: Iterable[Manifest]) -> list[Manifest]:
    """The Applications that take something over."""
    return [one for one in manifests if (one.id.group, one.id.kind) == APPLICATION and _takes_over(one)]


def sync_request(application: Manifest) -> dict[str, t.Any]:
    """What asks Argo CD to sync now. By itself it syncs nothing that is as declared, and so marks nothing.

    Source: https://argo-cd.readthedocs.io/en/stable/user-guide/sync-kubectl/
    """
    options = (application.body["spec"].get("syncPolicy") or {}).get("syncOptions") or []
    sync: dict[str, t.Any] = {"syncStrategy": {"hook": {}}, "syncOptions": options}
    return {**bare(application.body), "operation": {"initiatedBy": {"username": _ASKS}, "sync": sync}}


def split(surplus: Iterable[Object], manifests: Sequence[Manifest]) -> tuple[list[Object], list[Object]]:
    """Members that are not declared any more: those that an Application takes over, and those that are to go."""
    patterns = [pattern.strip() for one in deliverers(manifests) for pattern in _takes_over(one).split(",")]
    taken: list[Object] = []
    doomed: list[Object] = []
    for obj in surplus:
        (taken if ObjectId.of(obj).matches(patterns) else doomed).append(obj)
    return taken, doomed


def is_taken_over(live: Object) -> bool:
    """Whether Argo CD has marked an object, and holds what it wants of it: nothing of that goes when we let go."""
    managers = (live.get("metadata") or {}).get("managedFields") or ()
    held = any((entry.get("manager"), entry.get("operation")) == (ARGO_CD, "Apply") for entry in managers)
    return held and bool(application_of(live))


def marks_of(applications: Iterable[Object]) -> set[str]:
    """Names that objects of these Applications are marked with; elsewhere than Argo CD itself, with their namespace."""
    names = [(obj["metadata"]["namespace"], obj["metadata"]["name"]) for obj in applications]
    return {name for _namespace, name in names} | {f"{namespace}_{name}" for namespace, name in names}


def is_handed_back(live: Object | None, marks: Collection[str]) -> bool:
    """Whether an object is marked with an Application, and with none of these."""
    mark = application_of(live)
    return bool(mark) and mark not in marks


def takes_along(live: Object) -> bool:
    """Whether an Application deletes what it delivers when it is deleted."""
    finalizers = (live.get("metadata") or {}).get("finalizers") or ()
    identity = ObjectId.of(live)
    return (identity.group, identity.kind) == APPLICATION and any(f.startswith(_CASCADE) for f in finalizers)


def undelivered(live: Object | None) -> list[tuple[str, str, str]]:
    """What Argo CD says of the objects of an Application that are not as Git has them: kind, name and its words."""
    body = live or {}
    identity = ObjectId.of(body) if body else None
    if identity is None or (identity.group, identity.kind) != APPLICATION:
        return []
    status = body.get("status") or {}
    revision = str((status.get("sync") or {}).get("revision") or "")[:_SHORT]
    found = []
    for row in status.get("resources") or ():
        if row.get("status") in (None, "Synced"):
            continue
        name = "/".join(part for part in (row["kind"], row.get("namespace", ""), row["name"]) if part)
        kind = "/".join(part for part in (row.get("group", ""), row.get("version", ""), row["kind"]) if part)
        prune = ", and Git has it no more" if row.get("requiresPruning") else ""
        found.append((name, kind, f"Argo CD: {row['status']} at revision {revision or 'none'}{prune}"))
    return found


def bare(live: Object) -> dict[str, t.Any]:
    """What a manager applies that wants nothing of an object any more: what only it wanted goes."""
    identity = ObjectId.of(live)
    metadata = {"name": identity.name, **({"namespace": identity.namespace} if identity.namespace else {})}
    return {"apiVersion": live["apiVersion"], "kind": live["kind"], "metadata": metadata}


def _takes_over(application: Manifest) -> str:
    return str((application.body["metadata"].get("annotations") or {}).get(_TAKES_OVER) or "")
