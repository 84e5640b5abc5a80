# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hold a desired ARM body against the live one, and say what to send to make them alike. Pure: no Azure, no Ansible.

A document says what it cares about: what it does not name is not compared, and kept when something is written. The
exception are lists whose items have a name: there an item that nobody declared is a difference of its own.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
import typing as t
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.arm.catalogue import TypeFacts, facts_of
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.ids import looks_like_id

__all__ = ["ABSENT", "Difference", "compare", "compare_documents", "merge"]

ABSENT: t.Final = None
"""How a place that does not exist reads in a difference."""

_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_PLAIN_KEY = re.compile(r"[\w$@-]+")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
# Key Vault writes the port of HTTPS into some of its addresses and leaves it out of others.
_KEY_VERSION = re.compile(r"(https://[^/]+?)(:443)?(/keys/[^/]+)/[0-9a-f]{32}", re.IGNORECASE)
# Role and policy definitions of Azure itself are named with or without the subscription they are seen from.
_DEFINITION = re.compile(
    r"(/subscriptions/[^/]+)?(/providers/microsoft\.authorization/(role|policy|policyset)definitions/.*)"
)
_MASKS: t.Final = ("", "***", "<redacted>", "*****")
_EVERY_LEVEL: t.Final = ("provisioningstate", "etag")
_REGION_NAMES: t.Final = ("location", "locationname")
_AUTOSCALER: t.Final = "autoscaler"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One place where desired and live are not alike.

    Attributes:
        path: dotted path for people and references: C(properties.subnets[name=nodes].properties.addressPrefix).
        pattern: the same place as the catalogue writes it.
        verdict: C(drift), C(unexpected) or C(not_verifiable).
        desired: the value in the document, ABSENT for something nobody declared.
        live: the value read, ABSENT when there is none.
        kept: a resource of its own that nobody declared: it is reported, and removed only with consent.
        child: for such an item, the rest of its id, C(subnets/nodes).
        origin: who made the difference, where that is known.
        message: what to know about it.
    """

    path: str
    pattern: str
    verdict: str
    desired: t.Any = ABSENT
    live: t.Any = ABSENT
    kept: bool = False
    child: str = ""
    origin: str = ""
    message: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class _Place:
    """Where we are, for people and for the catalogue."""

    path: str
    pattern: str

    def key(self, key: str, facts: TypeFacts) -> _Place:
        shown = key if _PLAIN_KEY.fullmatch(key) else f'["{key}"]'
        dot = "." if self.path and not shown.startswith("[") else ""
        below = "*" if self.pattern in facts.maps else key.lower()
        return _Place(f"{self.path}{dot}{shown}", f"{self.pattern}.{below}" if self.pattern else below)

    def item(self, label: str) -> _Place:
        return _Place(f"{self.path}[{label}]", f"{self.pattern}[]")


def compare_documents(
    type_name: str, desired: Mapping[str, t.Any], live: Mapping[str, t.Any]
) -> list[dict[str, t.Any]]:
    """The comparison as plain data, for tools that measure it.

    Args:
        type_name: ARM type.
        desired: body that was sent.
        live: body that was read.

    Returns:
        One mapping a difference, with the fields of Difference.
    """
    return [dataclasses.asdict(difference) for difference in compare(desired, live, facts_of(type_name))]


def compare(
    desired: Mapping[str, t.Any],
    live: Mapping[str, t.Any],
    facts: TypeFacts,
    *,
    declared: Collection[str] = (),
) -> list[Difference]:
    """All places where the live body is not what the document asks for.

    Args:
        desired: ARM body, deferred values as markers.
        live: ARM body as read.
        facts: what is known about the type.
        declared: lower-case C(segment/name) of embedded children that have a document of their own.

    Returns:
        Differences in the order of the document.
    """
    return list(_Comparison(facts, frozenset(declared)).mapping(desired, live, _Place("", "")))


def merge(
    desired: Mapping[str, t.Any],
    live: Mapping[str, t.Any],
    facts: TypeFacts,
    *,
    declared: Collection[str] = (),
    removable: Callable[[str], bool] = lambda child: False,
) -> dict[str, t.Any]:
    """The body to PUT: the desired one laid over what is live, so that nothing the document leaves out is lost.

    A PUT replaces. So what only the service knows about (a sibling setting, a subnet that another document
    declares) is sent back as it was read; read-only values and undeclared list items are not.

    Args:
        desired: ARM body without deferred values.
        live: the body read last.
        facts: what is known about the type.
        declared: as for compare.
        removable: whether an undeclared embedded child, C(segment/name), may go.
    """
    merged = _Merge(facts, frozenset(declared), removable).mapping(desired, live, _Place("", ""))
    assert isinstance(merged, dict)  # noqa: S101  (for the type checker)
    return merged


class _Comparison:
    def __init__(self, facts: TypeFacts, declared: frozenset[str]) -> None:
        self.facts, self.declared = facts, declared

    def value(self, desired: t.Any, live: t.Any, place: _Place) -> Iterator[Difference]:
        facts = self.facts
        if desired is None or _is_read_only(place.pattern, facts):
            return
        if place.pattern in facts.write_only or _below_write_only(place.pattern, facts):
            if not _same_secret(desired, live):
                yield self._differs(
                    place, "not_verifiable", _hidden(desired, place, facts), None, "the service never shows it"
                )
            return
        if live is None and self._counts_as_absent(desired, place):
            return
        if live is None and isinstance(desired, Mapping):
            # A section that is not shown at all may hold nothing but what is never shown.
            inner = list(self.mapping(desired, {}, place))
            hidden = all(difference.verdict == "not_verifiable" for difference in inner)
            yield from inner if hidden else [self._differs(place, "drift", desired, ABSENT)]
            return
        if isinstance(desired, Mapping) and isinstance(live, Mapping):
            yield from self.mapping(desired, live, place)
        elif isinstance(desired, Sequence) and not isinstance(desired, str) and isinstance(live, list):
            yield from self._sequence(list(desired), live, place)
        elif not _same(desired, live, place, facts):
            yield self._differs(place, "drift", desired, live)

    def mapping(self, desired: Mapping[str, t.Any], live: Mapping[str, t.Any], place: _Place) -> Iterator[Difference]:
        names = _spelling(live, place)
        for key, wanted in desired.items():
            below = place.key(key, self.facts)
            if _handed_over(self.facts.autoscaled, below, desired, live, names):
                continue
            found = _of(live, names, key)
            following = _handed_over(self.facts.followed, below, desired, live, names)
            yield from self.value(_with_versions_of(found, wanted) if following else wanted, found, below)
        if place.pattern in self.facts.owned_maps:
            wanted_keys = {key.lower() for key in desired}
            for key, extra in live.items():
                if key.lower() not in wanted_keys:
                    yield self._differs(place.key(key, self.facts), "unexpected", ABSENT, extra)

    def _sequence(self, desired: list[t.Any], live: list[t.Any], place: _Place) -> Iterator[Difference]:
        if not desired and not live:
            return
        objects = [item for item in (*desired, *live) if isinstance(item, Mapping)]
        if len(objects) != len(desired) + len(live):
            yield from self._plain_list(desired, live, place)
            return
        pairs = _pair(desired, live, place, self.facts, self._alike)
        for wanted, found, label in pairs:
            here = place.item(label)
            if found is None:
                yield self._differs(here, "drift", wanted, ABSENT, "the item is missing")
            elif wanted is None:
                yield from self._extra(found, here, place)
            else:
                yield from self.value(wanted, found, here)

    def _plain_list(self, desired: list[t.Any], live: list[t.Any], place: _Place) -> Iterator[Difference]:
        item = place.item("")
        left = list(live)
        for wanted in desired:
            match = next((i for i, found in enumerate(left) if _same(wanted, found, item, self.facts)), None)
            if match is None:
                yield self._differs(place, "drift", desired, live)
                return
            del left[match]
        if left and place.pattern not in self.facts.extended:
            yield self._differs(place, "unexpected" if desired else "drift", desired, live, "live holds more items")
        elif place.pattern not in self.facts.unordered and not left:
            in_order = all(_same(a, b, item, self.facts) for a, b in zip(desired, live, strict=True))
            if not in_order:
                yield self._differs(place, "drift", desired, live, "only the order differs")

    def _extra(self, found: Mapping[str, t.Any], here: _Place, list_place: _Place) -> Iterator[Difference]:
        facts = self.facts
        if list_place.pattern in facts.extended:
            return
        switch = facts.inert.get(list_place.pattern)
        if switch and found.get(switch) is False:
            return
        embedded = facts.embedded.get(list_place.pattern)
        if embedded is None:
            yield self._differs(here, "unexpected", ABSENT, found)
            return
        child = f"{embedded.segment}/{found.get('name', '')}"
        if child.lower() not in self.declared:
            yield dataclasses.replace(
                self._differs(here, "unexpected", ABSENT, found), kept=embedded.guarded, child=child
            )

    def _alike(self, desired: t.Any, live: t.Any, place: _Place) -> bool:
        return not any(d.verdict != "not_verifiable" for d in self.value(desired, live, place))

    def _counts_as_absent(self, desired: t.Any, place: _Place) -> bool:
        if _is_empty(desired) or desired is False or (desired == 0 and not isinstance(desired, (bool, str))):
            return True
        listed = self.facts.defaults.get(place.pattern, ()) + self.facts.sentinels.get(place.pattern, ())
        return any(desired == value and type(desired) is type(value) for value in listed)

    @staticmethod
    def _differs(place: _Place, verdict: str, desired: t.Any, live: t.Any, message: str = "") -> Difference:
        return Difference(
            path=place.path, pattern=place.pattern, verdict=verdict, desired=desired, live=live, message=message
        )


class _Merge:
    def __init__(self, facts: TypeFacts, declared: frozenset[str], removable: Callable[[str], bool]) -> None:
        self.facts, self.declared, self.removable = facts, declared, removable
        self.comparison = _Comparison(facts, declared)

    def value(self, desired: t.Any, live: t.Any, place: _Place) -> t.Any:
        if desired is None or _is_read_only(place.pattern, self.facts):
            return self.clean(live, place)
        if isinstance(desired, Mapping) and isinstance(live, Mapping):
            if set(desired) == {"id"}:
                return {"id": desired["id"]}
            return self.mapping(desired, live, place)
        if isinstance(desired, list) and isinstance(live, list):
            return self._sequence(desired, live, place)
        if live is not None and not isinstance(desired, (Mapping, list)) and _same(desired, live, place, self.facts):
            return live
        return self.clean(desired, place)

    def mapping(self, desired: Mapping[str, t.Any], live: Mapping[str, t.Any], place: _Place) -> dict[str, t.Any]:
        names = _spelling(live, place)
        wanted = {names.get(_folded(key, place), key): (key, value) for key, value in desired.items()}
        owned = place.pattern in self.facts.owned_maps
        out: dict[str, t.Any] = {}
        for key in dict.fromkeys([*live, *wanted]):
            below = place.key(key, self.facts)
            if _is_read_only(below.pattern, self.facts):
                continue
            if key not in wanted:
                if not owned and live[key] is not None:
                    out[key] = self.clean(live[key], below)
                continue
            _written, value = wanted[key]
            if key in live and _handed_over(self.facts.autoscaled, below, desired, live, names):
                value = None
            if _handed_over(self.facts.followed, below, desired, live, names):
                value = _with_versions_of(live.get(key), value)
            merged = self.value(value, live.get(key), below)
            if merged is not None:
                out[key] = merged
        return out

    def _sequence(self, desired: list[t.Any], live: list[t.Any], place: _Place) -> list[t.Any]:
        if not all(isinstance(item, Mapping) for item in (*desired, *live)):
            if place.pattern in self.facts.extended:
                return [*desired, *(item for item in live if item not in desired)]
            return list(desired)
        out: list[t.Any] = []
        for wanted, found, label in _pair(desired, live, place, self.facts, self.comparison._alike):
            here = place.item(label)
            if wanted is None:
                if self._stays(found, place):
                    out.append(self.clean(found, here))
            elif found is None:
                out.append(self.clean(wanted, here))
            else:
                out.append(self.value(wanted, found, here))
        return out

    def _stays(self, found: Mapping[str, t.Any], place: _Place) -> bool:
        if place.pattern in self.facts.extended:
            return True
        embedded = self.facts.embedded.get(place.pattern)
        if embedded is None:
            return False
        child = f"{embedded.segment}/{found.get('name', '')}"
        return child.lower() in self.declared or (embedded.guarded and not self.removable(child))

    def clean(self, value: t.Any, place: _Place) -> t.Any:
        """The value without what only the service may write."""
        if isinstance(value, Mapping):
            cleaned = {}
            for key, item in value.items():
                below = place.key(key, self.facts)
                if not _is_read_only(below.pattern, self.facts) and item is not None:
                    cleaned[key] = self.clean(item, below)
            return cleaned
        if isinstance(value, list):
            return [self.clean(item, place.item("")) for item in value]
        return value


def _pair(
    desired: list[t.Any],
    live: list[t.Any],
    place: _Place,
    facts: TypeFacts,
    alike: Callable[[t.Any, t.Any, _Place], bool],
) -> list[tuple[t.Any, t.Any, str]]:
    """Items that belong together: by their key where they have one, else equal ones first and the rest in order."""
    fields = _key_fields(desired, live, place, facts)
    if fields:
        left = {_key_of(item, fields, place, facts): item for item in live}
        out = []
        for item in desired:
            found = left.pop(_key_of(item, fields, place, facts), None)
            out.append((item, found, _label(item, fields)))
        return [*out, *((None, item, _label(item, fields)) for item in left.values())]
    rest = list(range(len(live)))
    pairs: list[tuple[t.Any, t.Any, str]] = []
    open_items = []
    for index, item in enumerate(desired):
        match = next((i for i in rest if alike(item, live[i], place.item(str(index)))), None)
        if match is None:
            open_items.append((index, item))
        else:
            rest.remove(match)
            pairs.append((item, live[match], str(index)))
    for index, item in open_items:
        pairs.append((item, live[rest.pop(0)] if rest else None, str(index)))
    return [*pairs, *((None, live[i], str(i)) for i in rest)]


def _key_fields(desired: list[t.Any], live: list[t.Any], place: _Place, facts: TypeFacts) -> tuple[str, ...]:
    if place.pattern in facts.keys:
        return facts.keys[place.pattern]
    for field in ("name", "id"):
        unique = all(
            all(isinstance(item.get(field), str) for item in items)
            and len({item[field].lower() for item in items}) == len(items)
            for items in (desired, live)
        )
        if unique and (desired or live):
            return (field,)
    return ()


def _key_of(item: Mapping[str, t.Any], fields: tuple[str, ...], place: _Place, facts: TypeFacts) -> tuple[str, ...]:
    def text(field: str) -> str:
        value = str(item.get(field) or "").lower()
        return value.removesuffix("/32") if f"{place.pattern}[].{field.lower()}" in facts.hosts else value

    return tuple(map(text, fields))


def _label(item: Mapping[str, t.Any], fields: tuple[str, ...]) -> str:
    field = next((field for field in fields if item.get(field)), fields[0])
    return f"{field}={item.get(field, '')}"


def _same(desired: t.Any, live: t.Any, place: _Place, facts: TypeFacts) -> bool:  # noqa: PLR0911  (one return per rule)
    if isinstance(desired, bool) or isinstance(live, bool):
        return desired is live
    if _listed(facts.sentinels, place.pattern, desired):
        return live is not None
    if isinstance(desired, (int, float)) and isinstance(live, (int, float)):
        return desired == live
    if isinstance(desired, Mapping) and isinstance(live, Mapping):
        return not list(_Comparison(facts, frozenset()).mapping(desired, live, place))
    if desired == live:
        return True
    if isinstance(desired, (int, float)) != isinstance(live, (int, float)):
        return _same_number(desired, live)
    if not isinstance(desired, str) or not isinstance(live, str):
        return False
    return _same_text(desired, live, place, facts)


def _same_text(desired: str, live: str, place: _Place, facts: TypeFacts) -> bool:  # noqa: PLR0911
    pattern = place.pattern
    if pattern in facts.aliases:
        return live.startswith(f"{desired}.") or desired.lower() == live.lower()
    if pattern in facts.enums or looks_like_id(desired) or looks_like_id(live):
        return _bare(desired) == _bare(live)
    if pattern in facts.locations or pattern.rpartition(".")[2] in _REGION_NAMES or pattern.endswith("region"):
        return _region(desired) == _region(live)
    if pattern in facts.hosts:
        return desired.removesuffix("/32") == live.removesuffix("/32")
    if _GUID.fullmatch(desired) and _GUID.fullmatch(live):
        return desired.lower() == live.lower()
    if _INSTANT.fullmatch(desired) and _INSTANT.fullmatch(live):
        return datetime.datetime.fromisoformat(desired) == datetime.datetime.fromisoformat(live)
    return False


def _handed_over(
    switches: Mapping[str, str],
    place: _Place,
    desired: Mapping[str, t.Any],
    live: Mapping[str, t.Any],
    names: Mapping[str, str],
) -> bool:
    """Whether a sibling, as desired or else as live, leaves the value at a place to the service."""
    switch = switches.get(place.pattern)
    return switch is not None and desired.get(switch, _of(live, names, switch)) is True


def _with_versions_of(live: t.Any, desired: t.Any) -> t.Any:
    """The desired object with the live version of every key that is the same one."""
    if not isinstance(desired, Mapping) or not isinstance(live, Mapping):
        return desired
    names = {key.lower(): value for key, value in live.items()}
    return {
        key: names[key.lower()] if _same_key(value, names.get(key.lower())) else value for key, value in desired.items()
    }


def _same_key(desired: t.Any, live: t.Any) -> bool:
    if not isinstance(desired, str) or not isinstance(live, str):
        return False
    matches = _KEY_VERSION.fullmatch(desired), _KEY_VERSION.fullmatch(live)
    wanted, found = (match.group(1, 3) if match else None for match in matches)
    return wanted is not None and found is not None and [*map(str.lower, wanted)] == [*map(str.lower, found)]


def _bare(text: str) -> str:
    lowered = text.lower().rstrip("/")
    definition = _DEFINITION.fullmatch(lowered)
    return definition.group(2) if definition else lowered


def _region(text: str) -> str:
    return text.replace(" ", "").lower()


def _same_number(desired: t.Any, live: t.Any) -> bool:
    text, number = (desired, live) if isinstance(desired, str) else (live, desired)
    return (
        isinstance(text, str)
        and isinstance(number, (int, float))
        and bool(_NUMBER.fullmatch(text))
        and float(text) == number
    )


def _same_secret(desired: t.Any, live: t.Any) -> bool:
    return live is not None and live not in _MASKS and live == desired


def _hidden(desired: t.Any, place: _Place, facts: TypeFacts) -> t.Any:
    return "<secret>" if place.pattern in facts.secrets or _below(place.pattern, facts.secrets) else desired


def _below_write_only(pattern: str, facts: TypeFacts) -> bool:
    return bool(facts.write_only) and _below(pattern, facts.write_only)


def _below(pattern: str, patterns: frozenset[str]) -> bool:
    return any(pattern.startswith((f"{prefix}.", f"{prefix}[")) for prefix in patterns)


def _is_read_only(pattern: str, facts: TypeFacts) -> bool:
    if pattern in facts.read_only:
        return True
    head, _dot, last = pattern.rpartition(".")
    return last in _EVERY_LEVEL and bool(head) and head not in facts.maps and not head.endswith("tags")


def _is_empty(value: t.Any) -> bool:
    """Nothing but empty containers, empty text and nulls."""
    if isinstance(value, Mapping):
        return all(map(_is_empty, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_is_empty, value))
    return value is None or value == ""


def _listed(table: Mapping[str, tuple[t.Any, ...]], pattern: str, value: t.Any) -> bool:
    return any(value == listed and type(value) is type(listed) for listed in table.get(pattern, ()))


def _folded(key: str, place: _Place) -> str:
    # Tag names are the user's own, and two of them may differ by case on other resources than this one.
    return key if place.pattern.rpartition(".")[2] == "tags" else key.lower()


def _spelling(live: Mapping[str, t.Any], place: _Place) -> dict[str, str]:
    return {_folded(key, place): key for key in live}


def _of(live: Mapping[str, t.Any], names: Mapping[str, str], key: str) -> t.Any:
    return live.get(key, live.get(names.get(key.lower(), key)))
