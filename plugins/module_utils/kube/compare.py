# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare objects by path, and say who wrote what."""

from __future__ import annotations

import dataclasses
import json
import re
import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.references import is_deferred

__all__ = ["Difference", "Owner", "differences", "fill_deferred", "owners", "path_of_cause", "uncovered"]

_KEYS = ("name", "containerPort", "port", "mountPath", "devicePath", "topologyKey", "ip", "type", "key", "uid")
"""Fields that tell list items apart, tried in this order (the merge keys of the built-in types)."""

_ABSENT: t.Any = object()
_PLAIN_KEY = re.compile(r"[^.\[\]]+")


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One step of a path: a C(key) of a mapping, an C(index) or the item C(where) a field has a value."""

    kind: str
    name: t.Any
    value: t.Any = None

    def __str__(self) -> str:
        if self.kind == "index":
            return f"[{self.name}]"
        if self.kind == "where":
            return f"[{self.name}={self.value}]"
        return f".{self.name}" if _PLAIN_KEY.fullmatch(self.name) else f'["{self.name}"]'


Place = tuple[Step, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """One place where two objects differ; None stands for "not there"."""

    place: Place
    desired: t.Any
    live: t.Any

    @property
    def path(self) -> str:
        """The place in the notation of deferred values: C(spec.containers[name=app].image)."""
        return "".join(map(str, self.place)).removeprefix(".")


@dataclasses.dataclass(frozen=True, slots=True)
class Owner:
    """An entry of C(metadata.managedFields).

    Attributes:
        manager: name of the field manager.
        operation: C(Apply) or C(Update).
        time: when it last wrote, as the API server tells it.
        subresource: C(scale), C(status) or empty.
    """

    manager: str
    operation: str
    time: str
    subresource: str

    def __str__(self) -> str:
        return f"{self.manager} ({self.operation}{f' {self.time}' if self.time else ''})"


def differences(desired: t.Any, live: t.Any) -> list[Difference]:
    """Every place where two whole objects differ, sorted by path; C(status) is nobody's desired state."""
    without = ({k: v for k, v in obj.items() if k != "status"} for obj in (desired, live))
    return sorted(_walk((), *without, exact=True), key=lambda found: found.path)


def uncovered(desired: t.Any, live: t.Any) -> list[Difference]:
    """Every place a manifest declares that the live object has not got; what only the live one has is ignored."""
    return sorted(_walk((), desired, live, exact=False), key=lambda found: found.path)


def owners(live: Mapping[str, t.Any], place: Place) -> list[Owner]:
    """Who owns a place, the latest writer first."""
    found = []
    for entry in (live.get("metadata") or {}).get("managedFields") or ():
        if _covers(entry.get("fieldsV1") or {}, place):
            found.append(
                Owner(
                    entry.get("manager", "unknown"),
                    entry.get("operation", ""),
                    entry.get("time", ""),
                    entry.get("subresource", ""),
                )
            )
    return sorted(found, key=lambda owner: owner.time, reverse=True)


def path_of_cause(field: str) -> str:
    """A field of a Status (C(.spec.containers[name="app"].image)) in our notation."""
    return re.sub(r'\[(\w+)="([^"]*)"', r"[\1=\2", field).removeprefix(".")


def fill_deferred(body: t.Any, live: t.Any) -> tuple[t.Any, list[str]]:
    """The body with values that are not known yet taken from the live object, so that they compare as equal.

    Returns:
        The body, and the paths still deferred because the live object has nothing there.
    """
    unfilled: list[str] = []

    def fill(place: Place, wanted: t.Any, actual: t.Any) -> t.Any:
        if isinstance(wanted, Mapping):
            there = actual if isinstance(actual, Mapping) else {}
            return {k: fill((*place, Step("key", k)), v, there.get(k, _ABSENT)) for k, v in wanted.items()}
        if isinstance(wanted, list):
            items = actual if isinstance(actual, list) else []
            steps = _steps_of(wanted, _list_key(wanted, items))
            return [fill((*place, step), item, _pick(items, step)) for step, item in steps]
        if not is_deferred(wanted):
            return wanted
        if actual is _ABSENT:
            unfilled.append(Difference(place, None, None).path)
            return wanted
        return actual

    return fill((), body, live), unfilled


def _walk(place: Place, desired: t.Any, live: t.Any, *, exact: bool) -> Iterator[Difference]:
    # Of labels, data and the like each entry is a place of its own, even when the other side has none at all.
    if desired is _ABSENT and _is_flat_map(place, live):
        desired = {}
    elif live is _ABSENT and _is_flat_map(place, desired):
        live = {}
    if isinstance(desired, Mapping) and isinstance(live, Mapping):
        for key in sorted({*desired, *live} if exact else desired):
            yield from _walk((*place, Step("key", key)), desired.get(key, _ABSENT), live.get(key, _ABSENT), exact=exact)
    elif isinstance(desired, list) and isinstance(live, list):
        yield from _walk_list(place, desired, live, exact=exact)
    elif not _same(desired, live):
        yield Difference(place, None if desired is _ABSENT else desired, None if live is _ABSENT else live)


def _walk_list(place: Place, desired: list[t.Any], live: list[t.Any], *, exact: bool) -> Iterator[Difference]:
    field = _list_key(desired, live)
    if field is None and not _mappings([*desired, *live]):
        if not _same(desired, live):
            yield Difference(place, desired, live)
        return
    wanted, actual = dict(_steps_of(desired, field)), dict(_steps_of(live, field))
    shared = [step for step in wanted if step in actual]
    for step in [*wanted, *(step for step in actual if exact and step not in wanted)]:
        yield from _walk((*place, step), wanted.get(step, _ABSENT), actual.get(step, _ABSENT), exact=exact)
    if shared != [step for step in actual if step in wanted]:
        yield Difference(place, [step.value for step in wanted], [step.value for step in actual])


def _is_flat_map(place: Place, value: t.Any) -> bool:
    named = bool(place) and place[-1].kind == "key"
    return named and _mappings([value]) and bool(value) and not any(isinstance(v, (dict, list)) for v in value.values())


def _same(desired: t.Any, live: t.Any) -> bool:
    if isinstance(desired, bool) != isinstance(live, bool):
        return False
    if isinstance(desired, list) and isinstance(live, list):
        return len(desired) == len(live) and all(map(_same, desired, live))
    return bool(desired == live)


def _mappings(items: Sequence[t.Any]) -> bool:
    return bool(items) and all(isinstance(item, Mapping) for item in items)


def _list_key(*lists: Sequence[t.Any]) -> str | None:
    if not _mappings([item for items in lists for item in items]):
        return None

    def tells_apart(field: str) -> bool:
        values = [[item.get(field) for item in items] for items in lists]
        return all(
            all(isinstance(v, (str, int)) for v in column) and len(set(column)) == len(column) for column in values
        )

    return next((field for field in _KEYS if tells_apart(field)), None)


def _steps_of(items: Sequence[t.Any], field: str | None) -> list[tuple[Step, t.Any]]:
    if field is None:
        return [(Step("index", index), item) for index, item in enumerate(items)]
    return [(Step("where", field, item[field]), item) for item in items]


def _pick(items: Sequence[t.Any], step: Step) -> t.Any:
    if step.kind == "index":
        return items[step.name] if step.name < len(items) else _ABSENT
    return next((item for item in items if item.get(step.name) == step.value), _ABSENT)


def _covers(fields: Mapping[str, t.Any], place: Place) -> bool:
    """Whether a C(fieldsV1) tree owns a place, the whole of which it is part, or part of it."""
    for step in place:
        if set(fields) <= {"."}:
            return True
        found = next((sub for key, sub in fields.items() if _matches(key, step)), None)
        if found is None:
            return False
        fields = found
    return True


def _matches(key: str, step: Step) -> bool:
    kind, _colon, rest = key.partition(":")
    if kind == "f":
        return step.kind == "key" and rest == step.name
    if kind == "k" and step.kind == "where":
        return bool(json.loads(rest).get(step.name) == step.value)
    return kind == "i" and step.kind == "index" and rest == str(step.name)
