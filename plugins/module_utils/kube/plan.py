# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From what was read to what will be done, and what must not be done."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import GuardError, PlatformError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.findings import Finding
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.plan import Action, Change
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.redaction import Redactor
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.applyset import (
    PART_OF,
    ApplySet,
    foreign_owner,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.compare import (
    Difference,
    Owner,
    Step,
    differences,
    owners,
    path_of_cause,
    uncovered,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.errors import (
    NOT_IN_SCHEMA,
    ApiError,
    Cause,
    KubeError,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.handover import (
    TRACKING,
    application_of,
    takes_along,
    undelivered,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.objects import (
    Manifest,
    ObjectId,
    disclose,
    rank,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.volumes import Exchange

__all__ = [
    "SOURCE",
    "Conflict",
    "State",
    "conflicts_of",
    "deletion_order",
    "deletion_problems",
    "deliveries",
    "explain_refusal",
    "join",
    "may_take_over",
    "plan_claims",
    "plan_deletion",
    "plan_object",
    "plan_release",
    "state_problems",
    "upgrade_problems",
    "volume_problems",
]

SOURCE = "kubernetes"

_INVALID = 422
_SHOWN = 10
_TAKES_ALONG = "all that it delivers with it (resources-finalizer.argocd.argoproj.io)"
_DATA_SERIES = "platform.audioprothese/data-series"
_MANAGER = re.compile(r'conflict with "([^"]*)"')
_UNKNOWN_FIELD = re.compile(rf"(\.\S+): {re.escape(NOT_IN_SCHEMA)}")
_STATEFUL = frozenset(
    {
        ("", "Namespace"),
        ("", "PersistentVolume"),
        ("", "PersistentVolumeClaim"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("k8s.mariadb.com", "MariaDB"),
        ("snapshot.storage.k8s.io", "VolumeSnapshot"),
        ("snapshot.storage.k8s.io", "VolumeSnapshotContent"),
    }
)


@dataclasses.dataclass(frozen=True, slots=True)
class Conflict:
    """A field that another manager holds with another value."""

    manager: str
    path: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is known about one desired object.

    Attributes:
        manifest: the desired object.
        body: what is sent, deferred values resolved.
        live: the object as read, None when there is none.
        predicted: what the API server would make of it; None while it cannot be asked.
        conflicts: fields the prediction takes from other managers.
        refused: why the API server would not accept it.
        unknown: paths whose deferred value is not known yet.
        grown: for a StatefulSet, names of the claim templates that ask for more than the live ones.
        claims: its claims that ask for less, each with its new size.
        exchange: for a StatefulSet, the volumes that others would take the place of.
        handed_back: it bears the mark of an Application that is gone, or goes in this run.
    """

    manifest: Manifest
    body: Mapping[str, t.Any]
    live: Mapping[str, t.Any] | None = None
    predicted: Mapping[str, t.Any] | None = None
    conflicts: tuple[Conflict, ...] = ()
    refused: PlatformError | None = None
    unknown: tuple[str, ...] = ()
    grown: tuple[str, ...] = ()
    claims: tuple[tuple[Mapping[str, t.Any], str], ...] = ()
    exchange: Exchange | None = None
    handed_back: bool = False


def conflicts_of(causes: Iterable[Cause]) -> tuple[Conflict, ...]:
    """The conflicts a Status names."""
    found = []
    for cause in causes:
        manager = _MANAGER.search(cause.message)
        found.append(Conflict(manager.group(1) if manager else "unknown", path_of_cause(cause.field)))
    return tuple(found)


def may_take_over(conflicts: Iterable[Conflict], managers: Iterable[str], *, force: bool) -> bool:
    """Whether all these fields may be taken: by force, or because their managers are people's tools."""
    patterns = list(managers)
    return force or all(any(fnmatch.fnmatchcase(c.manager, p) for p in patterns) for c in conflicts)


def plan_object(state: State, redactor: Redactor) -> tuple[Action | None, list[Finding]]:
    """The action that makes one object as desired, and what is reported about it."""
    manifest, name = state.manifest, str(state.manifest.id)
    if state.live is None:
        unverified = state.predicted is None
        action = Action(
            verb="create",
            resource=name,
            type=manifest.type,
            document=disclose(manifest.body, redactor),
            unverified=unverified,
        )
        message = "it does not exist" + (
            " (the API server cannot be asked yet whether it accepts it)" if unverified else ""
        )
        finding = Finding(
            source=SOURCE, resource=name, type=manifest.type, verdict="missing", action="create", message=message
        )
        return action, [finding]
    live = disclose(state.live, redactor)
    if state.predicted is not None:
        found = differences(disclose(state.predicted, redactor), live)
    else:
        found = uncovered(disclose(state.body, redactor), live)
    if state.handed_back:
        found = [*found, Difference(_place("metadata", "annotations", TRACKING), None, application_of(state.live))]
    if not found:
        return None, []
    action = Action(
        verb="update",
        resource=name,
        type=manifest.type,
        changes=[Change(difference.path, difference.desired, difference.live) for difference in found],
        unverified=state.predicted is None,
    )
    return action, [_drift(state, difference) for difference in found]


def deliveries(state: State) -> list[Finding]:
    """What Argo CD finds different of what an Application delivers, which is not ours to correct."""
    return [
        Finding(source="argocd", resource=name, type=kind, verdict="drift", message=message)
        for name, kind, message in undelivered(state.live)
    ]


def plan_claims(state: State) -> list[tuple[Action, Finding]]:
    """The claims that grow with their StatefulSet."""
    found = []
    for claim, size in state.claims:
        name, path = str(ObjectId.of(claim)), "spec.resources.requests.storage"
        live = claim["spec"]["resources"]["requests"]["storage"]
        action = Action(
            verb="update", resource=name, type="v1/PersistentVolumeClaim", changes=[Change(path, size, live)]
        )
        finding = Finding(
            source=SOURCE,
            resource=name,
            type="v1/PersistentVolumeClaim",
            path=path,
            verdict="drift",
            action="update",
            desired=size,
            live=live,
            message=f"it grows with {state.manifest.id}",
        )
        found.append((action, finding))
    return found


def plan_deletion(live: Mapping[str, t.Any], redactor: Redactor, *, message: str) -> tuple[Action, Finding]:
    """The action that removes a live object, and what is reported about it."""
    name, kind = str(ObjectId.of(live)), f"{live['apiVersion']}/{live['kind']}"
    action = Action(verb="delete", resource=name, type=kind, live=disclose(live, redactor))
    finding = Finding(source=SOURCE, resource=name, type=kind, verdict="unexpected", action="delete", message=message)
    return action, finding


def plan_release(live: Mapping[str, t.Any], applyset: ApplySet) -> tuple[Action, Finding]:
    """The action by which a member leaves the set and stays, and what is reported about it."""
    name, kind = str(ObjectId.of(live)), f"{live['apiVersion']}/{live['kind']}"
    path = Difference(_place("metadata", "labels", PART_OF), None, applyset.id).path
    action = Action(verb="update", resource=name, type=kind, changes=[Change(path, None, applyset.id)])
    finding = Finding(
        source=SOURCE,
        resource=name,
        type=kind,
        path=path,
        verdict="drift",
        action="update",
        desired=None,
        live=applyset.id,
        message="Argo CD delivers it from now on: it leaves the set, and stays",
    )
    return action, finding


def deletion_order(live: Iterable[Mapping[str, t.Any]]) -> list[Mapping[str, t.Any]]:
    """Objects in the reverse of the order of creation."""
    return sorted(live, key=lambda obj: (-rank(obj["kind"]), ObjectId.of(obj)))


def state_problems(
    state: State, applyset: ApplySet, redactor: Redactor, *, take_over: Sequence[str], force: bool
) -> list[PlatformError]:
    """Why this object must not or cannot be written."""
    where = str(state.manifest.id)
    if state.live is not None:
        owner = foreign_owner(state.live, applyset, handed_back=state.handed_back)
        if owner:
            return [
                GuardError(
                    f"it is managed by {owner}",
                    where=where,
                    remedy="Remove it from this set, or let the other owner release it first",
                )
            ]
        if (state.live.get("metadata") or {}).get("deletionTimestamp"):
            held = ", ".join(state.live["metadata"].get("finalizers") or ())
            return [
                KubeError(
                    "it is being deleted" + (f", held by {held}" if held else ""),
                    where=where,
                    remedy="Run again once it is gone",
                )
            ]
    if state.refused is not None:
        return [explain_refusal(state, state.refused, redactor)]
    if state.conflicts and not may_take_over(state.conflicts, take_over, force=force):
        held = ", ".join(
            f"{conflict.path} is held by the field manager {conflict.manager}" for conflict in state.conflicts[:_SHOWN]
        )
        return [
            GuardError(
                held,
                where=where,
                remedy="Leave the field out of the document if that manager decides it, or set force_conflicts",
            )
        ]
    return []


def upgrade_problems(state: State, allow_upgrade: Sequence[str]) -> list[PlatformError]:
    """Why the data behind this object must not be rewritten by another version of its program.

    Args:
        state: the object.
        allow_upgrade: patterns (C(Kind/namespace/name)) of what may be.
    """
    live, wanted = _data_series(state.live), _data_series(state.body)
    if not live or not wanted or live == wanted or state.manifest.id.matches(allow_upgrade):
        return []
    return [
        GuardError(
            f"its data is of {live} and would be rewritten for {wanted}, which nothing but a restore undoes",
            where=str(state.manifest.id),
            remedy=f"Take a backup and prove that it restores, then name it in allow_upgrade ({state.manifest.id})",
        )
    ]


def volume_problems(state: State, allow_other_volumes: Sequence[str]) -> list[PlatformError]:
    """Why the pods of this object must not start on other volumes.

    Args:
        state: the object.
        allow_other_volumes: patterns (C(Kind/namespace/name)) of those whose pods may.
    """
    found, where = state.exchange, str(state.manifest.id)
    if found is None:
        return []
    left, taken = ", ".join(found.left), ", ".join(found.taken)
    if not state.manifest.id.matches(allow_other_volumes):
        what = f"its pods would start on other volumes, {taken} instead of {left}, with the data that is there"
        remedy = f"Declare {left} again, or name it in allow_other_volumes ({where})"
    elif found.empty:
        what = f"its pods would start on empty volumes: there is no claim {found.empty[0]}-{state.manifest.id.name}-0"
        remedy = "Restore into one first, or correct the name"
    elif found.unfinished:
        what = f"its pods would start on half a restore: {found.unfinished[0]} was never found to be whole"
        remedy = "Run the restore again"
    elif found.discards:
        what = f"the claims of {left} would be deleted with it (persistentVolumeClaimRetentionPolicy.whenDeleted)"
        remedy = "Set that to Retain first"
    else:
        return []
    return [GuardError(what, where=where, remedy=remedy)]


def deletion_problems(
    live: Iterable[Mapping[str, t.Any]], applyset: ApplySet, allow_delete: Sequence[str], *, empty_set: bool
) -> list[PlatformError]:
    """Why these objects must not be deleted.

    Args:
        live: the objects.
        applyset: the set that would delete them.
        allow_delete: patterns (C(Kind/namespace/name)) of what may be deleted although it holds state.
        empty_set: nothing is declared at all: then every deletion needs consent.
    """
    problems: list[PlatformError] = []
    for obj in live:
        identity = ObjectId.of(obj)
        owner = foreign_owner(obj, applyset)
        if owner:
            problems.append(
                GuardError(
                    f"it would be deleted, but it is managed by {owner}",
                    where=str(identity),
                    remedy="Let its owner remove it",
                )
            )
        elif not identity.matches(allow_delete) and (empty_set or _is_stateful(obj) or takes_along(obj)):
            why = "the set is empty" if empty_set else "it holds state" if _is_stateful(obj) else _TAKES_ALONG
            problems.append(
                GuardError(
                    f"it would be deleted, and {why}",
                    where=str(identity),
                    remedy=f"Declare it again, or name it in allow_delete ({identity})",
                )
            )
    return problems


def explain_refusal(state: State, error: PlatformError, redactor: Redactor) -> PlatformError:
    """The API server's refusal, with the path that is to blame and without any secret."""
    if not isinstance(error, ApiError):
        return error
    where = str(state.manifest.id)
    fields = [path_of_cause(cause.field) for cause in error.causes if cause.field]
    secret = state.manifest.type == "v1/Secret"
    said = "" if secret else str(redactor.redact(error.what))
    unknown = _UNKNOWN_FIELD.findall(error.what)
    if unknown:
        named = ", ".join(path_of_cause(field) for field in unknown)
        text = f"{named} is no field of {state.manifest.type}"
        return ApiError(text, status=error.status, reason=error.reason, where=where, remedy="Correct the document")
    if error.status != _INVALID:
        text = said or f"the API server refuses it ({error.reason or error.status})"
        return ApiError(text, status=error.status, reason=error.reason, where=where, remedy=error.remedy)
    immutable = "immutable" in error.what or "are forbidden" in error.what
    if immutable and state.live is not None:
        blamed = _blame(state, fields, redactor)
        return GuardError(
            f"{', '.join(blamed) or 'a field'} cannot be changed in place",
            where=where,
            remedy="Declare the live value again, or delete the object by an explicit step and let it be made anew",
        )
    named = ", ".join(fields) or "the object"
    return GuardError(
        f"{named} is not valid" + (f": {said}" if said else ""), where=where, remedy="Correct the document"
    )


def join(problems: Sequence[PlatformError]) -> PlatformError:
    """Several problems as one error, the first kind deciding."""
    if len(problems) == 1:
        return problems[0]
    lines = [str(problem) for problem in problems[:_SHOWN]]
    more = len(problems) - len(lines)
    rest = [f"And {more} more"] if more else []
    kind = GuardError if any(isinstance(problem, GuardError) for problem in problems) else KubeError
    return kind(f"{len(problems)} problems. " + " ".join([*lines, *rest]))


def _place(*keys: str) -> tuple[Step, ...]:
    return tuple(Step("key", key) for key in keys)


def _drift(state: State, difference: Difference) -> Finding:
    taken = next((c for c in state.conflicts if _overlaps(c.path, difference.path)), None)
    writer = _origin(state.live or {}, difference)
    return Finding(
        source=SOURCE,
        resource=str(state.manifest.id),
        type=state.manifest.type,
        path=difference.path,
        verdict="drift",
        action="update",
        desired=difference.desired,
        live=difference.live,
        origin=str(writer) if writer else (taken.manager if taken else ""),
        message=_message(state, difference, taken),
    )


def _message(state: State, difference: Difference, taken: Conflict | None) -> str:
    if state.grown and difference.path.startswith("spec.volumeClaimTemplates"):
        return "it is made anew around its running pods"
    if state.handed_back and difference.place[-1].name == TRACKING:
        return "its Application is no longer there, or goes now: it is taken back"
    if state.exchange and difference.path.startswith("spec.volumeClaimTemplates"):
        return "it is stopped, deleted with its pods, and made anew on the other volumes; no claim is touched"
    return f"taken over from the field manager {taken.manager}" if taken else ""


def _origin(live: Mapping[str, t.Any], difference: Difference) -> Owner | None:
    # What is missing has no owner any more; of what is there the latest writer is the likeliest author.
    return next(iter(owners(live, difference.place)), None) if difference.live is not None else None


def _overlaps(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def _blame(state: State, fields: Sequence[str], redactor: Redactor) -> list[str]:
    """Where the manifest differs from the live object, inside of the fields the server names."""
    desired, live = disclose(state.body, redactor), disclose(state.live or {}, redactor)

    def inside(found: Sequence[Difference]) -> list[str]:
        return [difference.path for difference in found if any(_overlaps(difference.path, field) for field in fields)]

    declared = uncovered(desired, live)
    # Where all that is declared is there, something that was declared before is not any more.
    return (
        inside(declared)
        or inside(differences(desired, live))
        or list(fields)
        or [difference.path for difference in declared]
    )


def _data_series(body: Mapping[str, t.Any] | None) -> str:
    return str((((body or {}).get("metadata") or {}).get("annotations") or {}).get(_DATA_SERIES) or "")


def _is_stateful(live: Mapping[str, t.Any]) -> bool:
    identity = ObjectId.of(live)
    has_claims = identity.kind == "StatefulSet" and bool((live.get("spec") or {}).get("volumeClaimTemplates"))
    return has_claims or (identity.group, identity.kind) in _STATEFUL
