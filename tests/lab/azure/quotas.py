"""Quotas: what `locations/usages` tells, and what refuses a create when it is used up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.lab.azure import rules, vmsizes
from tests.lab.azure.arm_id import ArmId
from tests.lab.azure.errors import ArmError
from tests.lab.azure.typedata import TypeData

if TYPE_CHECKING:
    from tests.lab.azure.engine import Engine

RECORD = "quota"
AGENT_POOL_TYPE = "microsoft.containerservice/managedclusters/agentpools"
CLUSTER_TYPE = "microsoft.containerservice/managedclusters"


@dataclass(frozen=True, slots=True)
class Quota:
    """One row of usages. `counts` is the type that is counted; empty: vCPUs."""

    namespace: str
    name: str
    label: str
    limit: int
    counts: str = ""


# Limits: https://learn.microsoft.com/azure/azure-resource-manager/management/azure-subscription-service-limits#azure-networking-limits
# Names: https://learn.microsoft.com/rest/api/virtualnetwork/usages/list and https://learn.microsoft.com/rest/api/compute/usage/list
QUOTAS = (
    Quota("Microsoft.Network", "VirtualNetworks", "Virtual Networks", 1000, "microsoft.network/virtualnetworks"),
    Quota(
        "Microsoft.Network",
        "NetworkSecurityGroups",
        "Network Security Groups",
        5000,
        "microsoft.network/networksecuritygroups",
    ),
    Quota("Microsoft.Network", "PublicIPAddresses", "Public IP Addresses", 1000, "microsoft.network/publicipaddresses"),
    Quota("Microsoft.Network", "RouteTables", "Route Tables", 200, "microsoft.network/routetables"),
    Quota("Microsoft.Network", "NatGateways", "Nat Gateways", 1000, "microsoft.network/natgateways"),
    Quota("Microsoft.Network", "PrivateEndpoints", "Private Endpoints", 65536, "microsoft.network/privateendpoints"),
    Quota("Microsoft.Compute", "cores", "Total Regional vCPUs", 100),
    *(
        Quota("Microsoft.Compute", family, f"Standard {label} Family vCPUs", 100)
        for family, label in vmsizes.FAMILIES.items()
    ),
)


def limit_of(engine: Engine, location: str, quota: Quota) -> int:
    """The limit in a region: as set through the control API, else the default."""
    raw = engine.store.record(RECORD, _key(location, quota.namespace, quota.name))
    return int(raw["limit"]) if raw else quota.limit


def set_limit(engine: Engine, location: str, namespace: str, name: str, limit: int) -> None:
    """Set a limit; raises KeyError for a quota nobody knows."""
    known = {(quota.namespace.lower(), quota.name.lower()): quota for quota in QUOTAS}
    quota = known[(namespace.lower(), name.lower())]
    engine.store.put_record(RECORD, _key(location, quota.namespace, quota.name), {"limit": limit})


def _key(location: str, namespace: str, name: str) -> str:
    return f"{location}/{namespace}/{name}".lower()


def used(engine: Engine, subscription: str, location: str, quota: Quota) -> int:
    """How much is in use in a region."""
    if quota.counts:
        found = engine.store.find(quota.counts, subscription=subscription)
        return sum(1 for resource in found if resource.body.get("location") == location)
    return sum(
        cores
        for family, cores in cores_by_family(engine, subscription, location).items()
        if quota.name in ("cores", family)
    )


def cores_by_family(engine: Engine, subscription: str, location: str, *, without: str = "") -> dict[str, int]:
    """vCPUs of all agent pools in a region; `without` is the key of a cluster or pool to leave out."""
    out: dict[str, int] = {}
    for pool in engine.store.find(AGENT_POOL_TYPE, subscription=subscription):
        cluster = engine.store.get(pool.id.parent)
        if cluster is None or cluster.body.get("location") != location or without in (pool.key, cluster.key):
            continue
        family, cores = cores_of(pool.body.get("properties", {}))
        out[family] = out.get(family, 0) + cores
    return out


def cores_of(pool: Mapping[str, Any]) -> tuple[str, int]:
    """(family, vCPUs) of an agent pool's properties: nodes now, or the least its autoscaler keeps."""
    size = vmsizes.size(str(pool.get("vmSize") or vmsizes.DEFAULT))
    count = int(pool.get("count") or pool.get("minCount") or 1)
    return (size.family, size.cores * count) if size else ("unknown", 0)


def usages(engine: Engine, subscription: str, location: str, namespace: str) -> list[dict[str, Any]]:
    """The body of `locations/usages`."""
    return [
        {
            "id": f"/subscriptions/{subscription}/providers/{quota.namespace}/locations/{location}/usages/{quota.name}",
            "unit": "Count",
            "currentValue": used(engine, subscription, location, quota),
            "limit": limit_of(engine, location, quota),
            "name": {"value": quota.name, "localizedValue": quota.label},
        }
        for quota in QUOTAS
        if quota.namespace.lower() == namespace.lower()
    ]


def check_limits(engine: Engine, arm_id: ArmId, data: TypeData, api_version: str, body: Mapping[str, Any]) -> None:
    """Refuse a create for which there is no quota left, by the table above and by the type's `limit` rules."""
    location = str(body.get("location") or "").replace(" ", "").lower()
    for quota in QUOTAS:
        if quota.counts != data.key or not location:
            continue
        current, limit = used(engine, arm_id.subscription, location, quota), limit_of(engine, location, quota)
        if current >= limit:
            raise ArmError(
                400,
                "QuotaExceeded",
                f"Cannot create more than {limit} {quota.label.lower()} for this subscription in region '{location}' "
                f"(quota {quota.name}, "
                f"current usage {current}).",
            )
    for rule in data.of_kind("limit", api_version=api_version):
        where = {
            "subscription": {"subscription": arm_id.subscription},
            "resource_group": {"subscription": arm_id.subscription, "resource_group": arm_id.resource_group},
            "parent": {"parent": arm_id.parent.text},
        }[rule.options.get("per", "parent")]
        if len(engine.store.find(data.key, **where)) >= int(rule.subject):
            values = {"id": arm_id.text, "name": arm_id.name, "value": rule.subject, "parent_name": arm_id.parent.name}
            message = rule.message or "No more than {value} resources of this type are allowed."
            raise ArmError(rule.status or 400, rule.code or "QuotaExceeded", rules.say(message, values))
