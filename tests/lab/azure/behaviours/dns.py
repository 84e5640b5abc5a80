# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""DNS zones, public and private: their records at the apex, their counts, and what record sets may not do.

Sources: https://learn.microsoft.com/azure/dns/dns-zones-records, 350 recorded record sets; the refusals of CNAMEs as
quoted in github.com/kubernetes-sigs/external-dns/issues/5358 and
github.com/rcl-letsencrypt-auto-ssl/Lets-Encrypt-Auto/issues/26.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from typing import Any

from tests.lab.azure.arm_id import ArmId
from tests.lab.azure.behaviour import ArmError, Behaviour, Listing, Read, Write, behaviour, collection
from tests.lab.azure.store import Resource, Store

APEX = "@"
PRIVATE = "microsoft.network/privatednszones"
PUBLIC = "microsoft.network/dnszones"
PRIVATE_TYPES = ("A", "AAAA", "CNAME", "MX", "PTR", "SOA", "SRV", "TXT")
PUBLIC_TYPES = ("A", "AAAA", "CAA", "CNAME", "DS", "MX", "NAPTR", "NS", "PTR", "SOA", "SRV", "TLSA", "TXT")
NAME_SERVER_POOLS = 9
#: The member that holds the records of a type, where a new empty set shows an empty list.
PUBLIC_MEMBERS = {
    "A": "ARecords",
    "AAAA": "AAAARecords",
    "CAA": "caaRecords",
    "DS": "DSRecords",
    "MX": "MXRecords",
    "NAPTR": "NAPTRRecords",
    "NS": "NSRecords",
    "PTR": "PTRRecords",
    "SRV": "SRVRecords",
    "TLSA": "TLSARecords",
    "TXT": "TXTRecords",
}
LINKS = f"{PRIVATE}/virtualnetworklinks"


class _Zones(Behaviour):
    types: tuple[str, ...] = ()

    @collection("recordsets")
    def record_sets(self, ctx: Listing) -> list[Resource]:
        """GET …/recordsets."""
        return _record_sets(ctx.store, ctx.id, self.key, self.types)

    @collection("all")
    def all_record_sets(self, ctx: Listing) -> list[Resource]:
        """GET …/all, the same."""
        return _record_sets(ctx.store, ctx.id, self.key, self.types)


@behaviour("Microsoft.Network/privateDnsZones")
class PrivateZones(_Zones):
    """Counts what is in the zone."""

    types = PRIVATE_TYPES

    def show(self, ctx: Read) -> None:
        links = ctx.store.children(ctx.id, LINKS)
        properties = ctx.body.setdefault("properties", {})
        properties["numberOfRecordSets"] = len(_record_sets(ctx.store, ctx.id, self.key, self.types))
        properties["numberOfVirtualNetworkLinks"] = len(links)
        properties["numberOfVirtualNetworkLinksWithRegistration"] = sum(
            1 for link in links if link.body["properties"].get("registrationEnabled")
        )
        if ctx.api_version >= "2024-06-01":
            identity = uuid.uuid5(uuid.NAMESPACE_URL, ctx.id.key)
            properties["internalId"] = base64.b64encode(f"ImmutableZoneIdentity;{identity};0".encode()).decode()


@behaviour("Microsoft.Network/privateDnsZones/virtualNetworkLinks")
class VirtualNetworkLinks(Behaviour):
    """A network registers its machines in one zone at most."""

    def before_put(self, ctx: Write) -> None:
        properties = ctx.body["properties"]
        if not properties.get("registrationEnabled"):
            return
        network = properties["virtualNetwork"]["id"].lower()
        for link in ctx.store.find(LINKS):
            other = link.body["properties"]
            if (
                link.key != ctx.id.key
                and other.get("registrationEnabled")
                and other["virtualNetwork"]["id"].lower() == network
            ):
                raise ArmError(
                    409,
                    "Conflict",
                    f"The virtual network '{properties['virtualNetwork']['id']}' is already linked to the private DNS "
                    f"zone '{link.id.parent.name}' with automatic registration; a network has one such link.",
                )


@behaviour("Microsoft.Network/dnsZones")
class PublicZones(_Zones):
    """Gives a zone its name servers and the records at its apex."""

    types = PUBLIC_TYPES

    def before_put(self, ctx: Write) -> None:
        if ctx.stored is None:
            pool = int(hashlib.sha256(ctx.id.key.encode()).hexdigest(), 16) % NAME_SERVER_POOLS + 1
            domains = ("com", "net", "org", "info")
            servers = [f"ns{number}-{pool:02}.azure-dns.{domain}." for number, domain in enumerate(domains, start=1)]
            ctx.body.setdefault("properties", {})["nameServers"] = servers

    def after_put(self, ctx: Write) -> None:
        if ctx.stored is not None:
            return
        servers = ctx.body["properties"]["nameServers"]
        soa = {
            "host": servers[0],
            "email": "azuredns-hostmaster.microsoft.com",
            "serialNumber": 1,
            "refreshTime": 3600,
            "retryTime": 300,
            "expireTime": 2419200,
            "minimumTTL": 300,
        }
        _add(
            ctx.store,
            ctx.id.child("NS", APEX),
            {"TTL": 172800, "NSRecords": [{"nsdname": server} for server in servers]},
        )
        _add(ctx.store, ctx.id.child("SOA", APEX), {"TTL": 3600, "SOARecord": soa})

    def show(self, ctx: Read) -> None:
        properties = ctx.body.setdefault("properties", {})
        properties["numberOfRecordSets"] = len(_record_sets(ctx.store, ctx.id, self.key, self.types))
        _spell(ctx)


class _Records(Behaviour):
    zone = ""

    def before_put(self, ctx: Write) -> None:
        _check_cname(ctx, self.zone, PRIVATE_TYPES if self.zone == PRIVATE else PUBLIC_TYPES)

    def before_delete(self, ctx: Write) -> None:
        if ctx.id.name == APEX and ctx.id.type.rsplit("/", 1)[-1] in ("ns", "soa"):
            raise ArmError(
                400, "BadRequest", f"The record set of type '{_kind(ctx.id)}' at the zone apex cannot be deleted."
            )


@behaviour(*(f"Microsoft.Network/privateDnsZones/{kind}" for kind in PRIVATE_TYPES))
class PrivateRecords(_Records):
    """Record sets of private zones."""

    zone = PRIVATE

    def show(self, ctx: Read) -> None:
        ctx.body.setdefault("properties", {})["fqdn"] = _fqdn(ctx.id)
        _spell(ctx)


@behaviour(*(f"Microsoft.Network/dnsZones/{kind}" for kind in PUBLIC_TYPES))
class PublicRecords(_Records):
    """Record sets of public zones."""

    zone = PUBLIC

    def before_put(self, ctx: Write) -> None:
        super().before_put(ctx)
        member = PUBLIC_MEMBERS.get(_kind(ctx.id))
        if member is not None:
            ctx.body["properties"].setdefault(member, [])
        if _kind(ctx.id) == "NS" and ctx.id.name == APEX and ctx.stored is not None:
            zone = ctx.store.get(ctx.id.parent)
            named = {entry["nsdname"].rstrip(".").lower() for entry in ctx.body["properties"]["NSRecords"]}
            own = {server.rstrip(".").lower() for server in zone.body["properties"]["nameServers"]} if zone else set()
            if not own <= named:
                raise ArmError(
                    400,
                    "BadRequest",
                    "The name servers of the zone cannot be removed from the NS record set at its apex.",
                )

    def show(self, ctx: Read) -> None:
        ctx.body.setdefault("properties", {})["fqdn"] = _fqdn(ctx.id)
        if ctx.api_version >= "2018-05-01":
            ctx.body["properties"].setdefault("provisioningState", "Succeeded")
            ctx.body["properties"].setdefault("targetResource", {})
        if ctx.api_version >= "2023-07-01-preview":
            ctx.body["properties"].setdefault("trafficManagementProfile", {})
        _spell(ctx)


def _check_cname(ctx: Write, zone: str, types: tuple[str, ...]) -> None:
    kind = _kind(ctx.id)
    if kind == "CNAME" and ctx.id.name == APEX:
        raise ArmError(400, "BadRequest", "A CNAME record set cannot be at the zone apex.")
    others = types if kind == "CNAME" else ("CNAME",)
    for other in others:
        if other == kind or not ctx.store.exists(ctx.id.parent.child(other, ctx.id.name)):
            continue
        words = "another record" if kind == "CNAME" else "a CNAME record"
        raise ArmError(
            409,
            "Conflict",
            f"The {kind} record could not be created because {words} with the same name already exists in this zone.",
        )


def _record_sets(store: Store, zone: ArmId, key: str, types: tuple[str, ...]) -> list[Resource]:
    wanted = {f"{key}/{kind}".lower() for kind in types}
    return [child for child in store.children(zone) if child.type in wanted]


def _add(store: Store, record: ArmId, properties: dict[str, Any]) -> None:
    store.save(Resource(id=record, body={"etag": str(uuid.uuid4()), "properties": properties}))


def _kind(record: ArmId) -> str:
    return record.types[-1].upper()


def _fqdn(record: ArmId) -> str:
    zone = record.parent.name
    return f"{zone}." if record.name == APEX else f"{record.name}.{zone}."


def _spell(ctx: Read) -> None:
    """Answers spell types as the service does, whatever the request said: `dnszones`, and record types in capitals."""
    spelled = ctx.type.full_name.split("/")[1:]
    parts = list(ctx.id.segments)
    first = len(parts) - 2 * len(spelled)
    for number, name in enumerate(spelled):
        parts[first + 2 * number] = name
    ctx.body["id"] = "/" + "/".join(parts)
