# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Quota that documents will take, against what a region still has."""

from __future__ import annotations

import collections
import dataclasses
import re
import typing as t
from collections.abc import Iterable, Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.preflight.variables import Problem

__all__ = ["Demand", "MachineSize", "counted", "demands", "parse_size", "shortages"]

_CLUSTER: t.Final = "microsoft.containerservice/managedclusters"
# Counted types and the name of their quota in Network's list of usages.
# Source: https://learn.microsoft.com/rest/api/virtualnetwork/usages/list
_COUNTED: t.Final = {
    "microsoft.network/virtualnetworks": "VirtualNetworks",
    "microsoft.network/networksecuritygroups": "NetworkSecurityGroups",
    "microsoft.network/publicipaddresses": "PublicIPAddresses",
    "microsoft.network/natgateways": "NatGateways",
    "microsoft.network/privateendpoints": "PrivateEndpoints",
}
# Standard_D4ds_v5, Standard_E8-4as_v5, Standard_DS2_v2.
# Source: https://learn.microsoft.com/azure/virtual-machines/vm-naming-conventions
_SIZE: t.Final = re.compile(r"standard_([a-z]+)(\d+)(?:-\d+)?([a-z]*)(?:_(v\d+))?", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, slots=True)
class MachineSize:
    """A size of virtual machines: the family its quota is counted in, and its virtual CPUs."""

    family: str
    cores: int


@dataclasses.dataclass(frozen=True, slots=True)
class Demand:
    """What documents ask of one quota.

    Attributes:
        provider: resource provider whose list of usages holds it.
        location: region, as in the document.
        name: name of the quota, letter case as Azure writes it.
        amount: units still to be created.
        by: resources that ask for them.
    """

    provider: str
    location: str
    name: str
    amount: int
    by: tuple[str, ...]


def parse_size(name: str) -> MachineSize | None:
    """The family and the virtual CPUs that the name of a size tells, or None if it tells neither."""
    match = _SIZE.fullmatch(name)
    if not match:
        return None
    series, cores, features, version = match.groups()
    return MachineSize(f"standard{series}{features}{version or ''}Family".upper(), int(cores))


def counted(document: Mapping[str, t.Any]) -> bool:
    """Whether a document asks for something that has a quota."""
    kind = _type_of(str(document["id"]))
    return kind in _COUNTED or kind == _CLUSTER


def demands(documents: Iterable[Mapping[str, t.Any]], live: Mapping[str, Mapping[str, t.Any]]) -> list[Demand]:
    """What is still to be created.

    Args:
        documents: ARM documents.
        live: what exists, by lower-case id.
    """
    totals: dict[tuple[str, str, str], list[tuple[int, str]]] = collections.defaultdict(list)
    for document in documents:
        resource_id = str(document["id"])
        kind, name = _type_of(resource_id), resource_id.rpartition("/")[2]
        location = str(document.get("location") or "")
        existing = live.get(resource_id.lower())
        if kind in _COUNTED and existing is None:
            totals["Microsoft.Network", location, _COUNTED[kind]].append((1, name))
        if kind == _CLUSTER:
            for pool, quota, cores in _cores(document, existing or {}):
                totals["Microsoft.Compute", location, quota].append((cores, f"{name}/{pool}"))
    return [
        Demand(provider, location, quota, sum(amount for amount, _ in parts), tuple(who for _, who in parts))
        for (provider, location, quota), parts in sorted(totals.items())
    ]


def _type_of(resource_id: str) -> str:
    provider = resource_id.lower().rpartition("/providers/")[2].split("/")
    return "/".join([provider[0], *provider[1::2]])


def _pools(body: Mapping[str, t.Any]) -> list[Mapping[str, t.Any]]:
    return list((body.get("properties") or {}).get("agentPoolProfiles") or [])


def _cores(document: Mapping[str, t.Any], existing: Mapping[str, t.Any]) -> Iterable[tuple[str, str, int]]:
    running = {pool["name"]: pool for pool in _pools(existing)}
    for pool in _pools(document):
        size = parse_size(str(pool.get("vmSize") or ""))
        now = running.get(pool["name"], {})
        wanted = int(pool.get("minCount") or pool.get("count") or 0)
        missing = wanted - int(now.get("count") or 0)
        if size is None or missing <= 0:
            continue
        yield pool["name"], "cores", missing * size.cores
        yield pool["name"], size.family, missing * size.cores


def shortages(
    wanted: Iterable[Demand], usages: Mapping[tuple[str, str], Iterable[Mapping[str, t.Any]]]
) -> list[Problem]:
    """Quotas that do not suffice. A quota that Azure does not list is not judged.

    Args:
        wanted: what is to be created.
        usages: the answers of C(locations/usages), by provider and location.
    """
    problems = []
    for demand in wanted:
        listed = {str(row["name"]["value"]).lower(): row for row in usages.get((demand.provider, demand.location), ())}
        row = listed.get(demand.name.lower())
        if row is None:
            continue
        left = int(row["limit"]) - int(row["currentValue"])
        if demand.amount > left:
            label = (row["name"].get("localizedValue") or row["name"]["value"]).strip()
            problems.append(
                Problem(
                    where=f"{demand.provider} quota {label} in {demand.location}",
                    what=f"{demand.amount} needed by {', '.join(demand.by)}, {max(left, 0)} of {row['limit']} left",
                    remedy="Ask for more under Subscriptions > Usage + quotas, or choose a smaller or another size",
                )
            )
    return problems
