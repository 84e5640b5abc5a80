# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run is going to do: actions in an order that respects what depends on what."""

from __future__ import annotations

import dataclasses
import heapq
import typing as t
from collections.abc import Hashable, Iterable, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.digest import digest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import CycleError, PlanMismatch
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.redaction import FINGERPRINT
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.references import present

__all__ = ["Action", "Change", "check_expected", "diff_of", "order", "plan_digest"]

K = t.TypeVar("K", bound=Hashable)


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One place that an update changes; both values redacted, a deferred one as its marker."""

    path: str
    desired: t.Any
    live: t.Any

    def to_dict(self) -> dict[str, t.Any]:
        """The change as a person reads it."""
        return {"path": self.path, "desired": present(self.desired), "live": self.live}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One step of the plan.

    Attributes:
        verb: C(create), C(update) or C(delete).
        resource: what it is done to.
        type: the resource's type.
        changes: for an update, the places that change.
        document: for a create, the desired document with its markers, redacted.
        live: for a delete, what goes away, redacted.
        unverified: the service could not be asked yet whether it would accept this.
    """

    verb: str
    resource: str
    type: str
    changes: Sequence[Change] = ()
    document: Mapping[str, t.Any] | None = None
    live: Mapping[str, t.Any] | None = None
    unverified: bool = False

    def to_dict(self) -> dict[str, t.Any]:
        """The action as the result and a report show it."""
        return {
            "action": self.verb,
            "resource": self.resource,
            "type": self.type,
            "changes": [change.to_dict() for change in self.changes],
            "unverified": self.unverified,
        }


def order[K: Hashable](items: Iterable[K], depends_on: Mapping[K, Iterable[K]]) -> list[K]:
    """The items, each after all it depends on, otherwise in the order given.

    Dependencies outside of the items are ignored: they are not this plan's to order.

    Raises:
        CycleError: naming the circle.
    """
    rank = {item: index for index, item in enumerate(items)}
    waits_for = {item: {dep for dep in depends_on.get(item, ()) if dep in rank and dep != item} for item in rank}
    needed_by: dict[K, list[K]] = {item: [] for item in rank}
    for item, dependencies in waits_for.items():
        for dependency in dependencies:
            needed_by[dependency].append(item)
    open_count = {item: len(dependencies) for item, dependencies in waits_for.items()}
    ready = [(rank[item], item) for item, count in open_count.items() if not count]
    heapq.heapify(ready)
    done: list[K] = []
    while ready:
        _index, item = heapq.heappop(ready)
        done.append(item)
        for dependent in needed_by[item]:
            open_count[dependent] -= 1
            if not open_count[dependent]:
                heapq.heappush(ready, (rank[dependent], dependent))
    if len(done) < len(rank):
        circle = _circle({item: deps for item, deps in waits_for.items() if open_count[item]})
        raise CycleError(
            f"these documents depend on each other in a circle: {' -> '.join(map(str, circle))}",
            remedy="Remove one of these references",
        )
    return done


def _circle[K: Hashable](waits_for: Mapping[K, set[K]]) -> list[K]:
    item = next(iter(waits_for))
    path: list[K] = []
    while item not in path:
        path.append(item)
        item = next(dependency for dependency in waits_for[item] if dependency in waits_for)
    return [*path[path.index(item) :], item]


def plan_digest(actions: Iterable[Action], *, stable_fingerprints: bool = True) -> str:
    """A digest that is equal exactly for equal plans.

    It covers markers, not the values behind them, so that a plan made before a resource exists equals the plan of
    the run that creates it. With fingerprints of this run only, secrets count as present, not by value.
    """

    def plain(obj: t.Any) -> t.Any:
        if isinstance(obj, Mapping):
            return {key: plain(item) for key, item in obj.items()}
        if isinstance(obj, (list, tuple)):
            return [plain(item) for item in obj]
        return FINGERPRINT.sub("<secret>", obj) if isinstance(obj, str) and not stable_fingerprints else obj

    return digest(
        [
            {
                "verb": action.verb,
                "resource": action.resource.lower(),
                "changes": [[change.path, plain(change.desired), plain(change.live)] for change in action.changes],
                "document": plain(action.document) if action.verb == "create" else None,
            }
            for action in actions
        ]
    )


def check_expected(actual: str, expected: str | None) -> None:
    """Refuse to run anything but the approved plan.

    Raises:
        PlanMismatch: C(expected) is given and differs.
    """
    if expected and actual != expected:
        raise PlanMismatch(
            f"the plan is {actual}, the approved one was {expected}",
            remedy="Something changed since the approval: run in check mode again and approve the new plan",
        )


def diff_of(actions: Iterable[Action]) -> dict[str, t.Any]:
    """Before and after as Ansible's C(--diff) prints them, also for what is created or deleted."""
    before: dict[str, t.Any] = {}
    after: dict[str, t.Any] = {}
    for action in actions:
        if action.verb == "create":
            after[action.resource] = present(dict(action.document or {}))
        elif action.verb == "delete":
            before[action.resource] = dict(action.live or {})
        else:
            before[action.resource] = {change.path: change.live for change in action.changes}
            after[action.resource] = {change.path: present(change.desired) for change in action.changes}
    return {"before": before, "after": after, "before_header": "live", "after_header": "desired"}
