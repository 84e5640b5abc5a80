# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The shape of what is known about one resource type."""

from __future__ import annotations

import dataclasses
import re
import typing as t
from collections.abc import Iterable, Mapping

__all__ = ["EVERYWHERE", "Embedded", "Settling", "TypeFacts", "facts", "under", "under_keys"]


@dataclasses.dataclass(frozen=True, slots=True)
class Embedded:
    """Items of a list that are resources of their own.

    Attributes:
        segment: the child's type name in an id, C(subnets).
        guarded: an item nobody declared is reported and kept, not removed, unless the task names its id.
    """

    segment: str
    guarded: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settling:
    """What a service still does with a resource when its operation has ended. Paths are as the service writes them.

    Attributes:
        path: where its state stands.
        through: states on the way.
        end: the one it must come to.
        why: where the service says why it came to another.
    """

    path: str
    through: frozenset[str]
    end: str
    why: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TypeFacts:
    """What ARM does with one type.

    Paths are dotted, lower case, with C([]) for every item of a list and C(*) for every key of a map.

    Attributes:
        type: canonical casing; empty for a type that is not in the catalogue.
        api_version: pinned; empty for a type that is not in the catalogue.
        write: how a change is sent: C(PUT), C(PATCH) or C(register).
        lookup: other means to find it when its name is not there: C(role_assignment).
        enums: text compared without regard to case.
        locations: C(West Europe) equals C(westeurope).
        write_only: never shown by the service, so that nothing can be said about it.
        secrets: those of write_only whose value must never be reported.
        read_only: set by the service; what a document says there is ignored and not sent.
        immutable: cannot change once the resource exists.
        keys: list path to the fields that tell its items apart; otherwise C(name), else C(id), is tried.
        unordered: lists of plain values whose order means nothing.
        extended: lists to which the service adds items of its own.
        inert: list path to a field whose C(false) makes an item that nobody declared meaningless.
        defaults: path to values that the service takes but does not show.
        sentinels: path to values that leave the choice to the service.
        aliases: versions where C(1.33) means any C(1.33.x).
        stepwise: those of aliases that go up by one minor version at a time, and never back.
        autoscaled: path to the sibling switch that hands the value to an autoscaler.
        followed: path of an object to the sibling switch with which the service replaces addresses of a key's version
            in it by newer versions of the same key.
        owned_maps: maps whose keys are all ours: one that nobody declared is unexpected.
        hosts: C(10.0.0.1) equals C(10.0.0.1/32).
        embedded: list path to what its items are.
        settles: what is waited for after its operation.
        serial: ids whose writes exclude each other: C(self), C(parent), C(root), or C(root:<path of an id>).
        stateful: holds data or an address that would be lost: deletion needs consent.
        replaceable: holds nothing, so that an immutable change is made by deleting and creating it.
        deletable: whether it can be deleted by itself; otherwise it goes with its parent, or stays.
        made_once: where the service makes it once and ignores every later write, what changes it instead.
        oldest: api-version before which the type behaves in a way that loses data.
        maps: paths whose keys are names that users choose; patterns hold C(*) below them.
    """

    type: str = ""
    api_version: str = ""
    write: str = "PUT"
    lookup: str = ""
    enums: frozenset[str] = frozenset()
    locations: frozenset[str] = frozenset()
    write_only: frozenset[str] = frozenset()
    secrets: frozenset[str] = frozenset()
    read_only: frozenset[str] = frozenset()
    immutable: frozenset[str] = frozenset()
    keys: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    unordered: frozenset[str] = frozenset()
    extended: frozenset[str] = frozenset()
    inert: Mapping[str, str] = dataclasses.field(default_factory=dict)
    defaults: Mapping[str, tuple[t.Any, ...]] = dataclasses.field(default_factory=dict)
    sentinels: Mapping[str, tuple[t.Any, ...]] = dataclasses.field(default_factory=dict)
    aliases: frozenset[str] = frozenset()
    stepwise: frozenset[str] = frozenset()
    autoscaled: Mapping[str, str] = dataclasses.field(default_factory=dict)
    followed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    owned_maps: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()
    embedded: Mapping[str, Embedded] = dataclasses.field(default_factory=dict)
    settles: Settling | None = None
    serial: tuple[str, ...] = ()
    stateful: bool = False
    replaceable: bool = False
    deletable: bool = True
    made_once: str = ""
    oldest: str = ""
    maps: frozenset[str] = frozenset()


# True of every type. Source: "Common resource properties" of the ARM RPC contract (Azure/azure-resource-manager-rpc,
# v1.0/resource-api-reference.md) and, for identity, "ARM managed identity" there.
EVERYWHERE: t.Final = TypeFacts(
    enums=frozenset({"identity.type", "extendedlocation.type", "sku.tier", "kind"}),
    locations=frozenset({"location"}),
    read_only=frozenset(
        {
            "id",
            "name",
            "type",
            "etag",
            "systemdata",
            "managedby",
            "properties.provisioningstate",
            "identity.principalid",
            "identity.tenantid",
            "identity.userassignedidentities.*.principalid",
            "identity.userassignedidentities.*.clientid",
        }
    ),
    owned_maps=frozenset({"identity.userassignedidentities"}),
    maps=frozenset({"identity.userassignedidentities"}),
    unordered=frozenset({"zones"}),
)


def facts(
    type_name: str,
    api_version: str,
    *,
    write: str = "PUT",
    lookup: str = "",
    enums: Iterable[str] = (),
    locations: Iterable[str] = (),
    write_only: Iterable[str] = (),
    secrets: Iterable[str] = (),
    read_only: Iterable[str] = (),
    immutable: Iterable[str] = (),
    keys: Mapping[str, tuple[str, ...]] | None = None,
    unordered: Iterable[str] = (),
    extended: Iterable[str] = (),
    inert: Mapping[str, str] | None = None,
    defaults: Mapping[str, tuple[t.Any, ...]] | None = None,
    sentinels: Mapping[str, tuple[t.Any, ...]] | None = None,
    aliases: Iterable[str] = (),
    stepwise: Iterable[str] = (),
    autoscaled: Mapping[str, str] | None = None,
    followed: Mapping[str, str] | None = None,
    owned_maps: Iterable[str] = (),
    hosts: Iterable[str] = (),
    embedded: Mapping[str, Embedded] | None = None,
    settles: Settling | None = None,
    serial: tuple[str, ...] = ("self",),
    stateful: bool = False,
    replaceable: bool = False,
    deletable: bool = True,
    made_once: str = "",
    oldest: str = "",
) -> TypeFacts:
    """Facts of one type, with those of every type added. Paths are written as in the documentation."""

    def folded(paths: Iterable[str], common: frozenset[str] = frozenset()) -> frozenset[str]:
        return common | {path.lower() for path in paths}

    def folded_keys[V](table: Mapping[str, V] | None) -> dict[str, V]:
        return {path.lower(): value for path, value in (table or {}).items()}

    owned = folded(owned_maps, EVERYWHERE.owned_maps)
    patterns = [*enums, *write_only, *secrets, *read_only, *immutable, *unordered, *(keys or ()), *(defaults or ())]
    return TypeFacts(
        type=type_name,
        api_version=api_version,
        write=write,
        lookup=lookup,
        enums=folded(enums, EVERYWHERE.enums),
        locations=folded(locations, EVERYWHERE.locations),
        write_only=folded([*write_only, *secrets]),
        secrets=folded(secrets),
        read_only=folded(read_only, EVERYWHERE.read_only),
        immutable=folded(immutable, frozenset({"location"})),
        keys=folded_keys(keys),
        unordered=folded(unordered, EVERYWHERE.unordered),
        extended=folded(extended),
        inert=folded_keys(inert),
        defaults=folded_keys(defaults),
        sentinels=folded_keys(sentinels),
        aliases=folded(aliases),
        stepwise=folded(stepwise),
        autoscaled=folded_keys(autoscaled),
        followed=folded_keys(followed),
        owned_maps=owned,
        maps=owned | _map_parents(path.lower() for path in patterns),
        hosts=folded(hosts),
        embedded=folded_keys(embedded),
        settles=settles,
        serial=serial,
        stateful=stateful,
        replaceable=replaceable,
        deletable=deletable,
        made_once=made_once,
        oldest=oldest,
    )


def under(prefix: str, paths: Iterable[str]) -> list[str]:
    """The same places for a child's body embedded in its parent."""
    return [f"{prefix}.{path}" for path in paths]


def under_keys[V](prefix: str, table: Mapping[str, V]) -> dict[str, V]:
    """The same table for a child's body embedded in its parent."""
    return {f"{prefix}.{path}": value for path, value in table.items()}


def _map_parents(patterns: Iterable[str]) -> frozenset[str]:
    return frozenset(
        pattern[: match.start()] for pattern in patterns for match in re.finditer(r"\.\*(?=\.|$|\[)", pattern)
    )
