# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private endpoints take addresses of their subnet; their zone groups keep A records in private zones.

Sources: 38 recorded endpoints and 5 recorded zone groups; https://learn.microsoft.com/azure/private-link/private-endpoint-dns
"""

from __future__ import annotations

import uuid
from typing import Any

from tests.lab.azure.arm_id import ArmId
from tests.lab.azure.behaviour import Behaviour, Read, Write, behaviour
from tests.lab.azure.behaviours.private_links import Member, approval, location_of, members
from tests.lab.azure.behaviours.virtual_networks import free_addresses
from tests.lab.azure.store import Resource

ENDPOINT = "Microsoft.Network/privateEndpoints"
LISTS = ("privateLinkServiceConnections", "manualPrivateLinkServiceConnections")
RECORD_TTL = 10


@behaviour(ENDPOINT)
class PrivateEndpoints(Behaviour):
    """Addresses, the network interface, and the state of connections."""

    def before_put(self, ctx: Write) -> None:
        properties = ctx.body["properties"]
        for name in LISTS:
            for connection in properties.get(name, []):
                details = connection.setdefault("properties", {})
                target = ArmId.parse(details.get("privateLinkServiceId", "/"))
                details["provisioningState"] = "Succeeded"
                if name == LISTS[0]:
                    details["privateLinkServiceConnectionState"] = approval(target)
                else:
                    details.setdefault(
                        "privateLinkServiceConnectionState",
                        {"status": "Pending", "description": "", "actionsRequired": "None"},
                    )
        names = _members(ctx)
        subnet = ctx.store.get(properties["subnet"]["id"])
        if subnet is not None and len(ctx.private.get("addresses", [])) != max(1, len(names)):
            ctx.private["addresses"] = free_addresses(ctx.store, subnet, max(1, len(names)), besides=ctx.id.key)
        ctx.private.setdefault("interface", _interface(ctx))
        properties["networkInterfaces"] = [{"id": ctx.private["interface"]}]
        # Names and addresses are known once somebody approved the connection.
        pairs = zip(names, ctx.private.get("addresses", []), strict=False)
        ctx.private["members"] = [
            {"record": name.record, "zone": name.zone, "address": address} for name, address in pairs
        ]
        properties["customDnsConfigs"] = [
            {"fqdn": name.fqdn, "ipAddresses": [address]}
            for name, address in zip(names, ctx.private.get("addresses", []), strict=False)
        ]

    def show(self, ctx: Read) -> None:
        properties = ctx.body["properties"]
        for name in LISTS:
            for connection in properties.get(name, []):
                connection["id"] = f"{ctx.id.text}/{name}/{connection['name']}"
                connection["etag"] = ctx.body.get("etag")
                connection["type"] = f"{ENDPOINT}/{name}"


@behaviour(f"{ENDPOINT}/privateDnsZoneGroups")
class ZoneGroups(Behaviour):
    """Keeps one A record for each name of the endpoint in the zone that fits."""

    def before_put(self, ctx: Write) -> None:
        endpoint = ctx.store.get(ctx.id.parent)
        known = endpoint.private.get("members", []) if endpoint else []
        for config in ctx.body["properties"].get("privateDnsZoneConfigs", []):
            details = config["properties"]
            zone = ArmId.parse(details["privateDnsZoneId"])
            details["provisioningState"] = "Succeeded"
            details["recordSets"] = [
                {
                    "recordType": "A",
                    "recordSetName": member["record"],
                    "fqdn": f"{member['record']}.{zone.name}",
                    "ttl": RECORD_TTL,
                    "provisioningState": "Succeeded",
                    "ipAddresses": [member["address"]],
                }
                for member in known
                if member["zone"].lower() == zone.name.lower()
            ]

    def after_put(self, ctx: Write) -> None:
        wanted = _records(ctx.id, ctx.body, ctx)
        for key in ctx.private.get("records", []):
            if key not in wanted:
                ctx.store.delete(key)
        for record in wanted.values():
            ctx.store.save(record)
        ctx.private["records"] = list(wanted)

    def after_delete(self, ctx: Write) -> None:
        for key in ctx.private.get("records", []):
            ctx.store.delete(key)

    def show(self, ctx: Read) -> None:
        for config in ctx.body["properties"].get("privateDnsZoneConfigs", []):
            config["id"] = f"{ctx.id.text}/privateDnsZoneConfigs/{config['name']}"
            config["etag"] = ctx.body.get("etag")
            config["type"] = f"{ENDPOINT}/privateDnsZoneGroups/privateDnsZoneConfigs"


def _members(ctx: Write) -> list[Member]:
    found = []
    for connection in ctx.body["properties"].get(LISTS[0], []):
        details = connection["properties"]
        target = ArmId.parse(details.get("privateLinkServiceId", "/"))
        for group in details.get("groupIds", []):
            found += members(target, group, location_of(ctx.store, target))
    return found


def _interface(ctx: Write) -> str:
    name = ctx.body["properties"].get("customNetworkInterfaceName") or f"{ctx.id.name}.nic.{uuid.uuid4()}"
    return f"{ctx.id.parent.text}/providers/Microsoft.Network/networkInterfaces/{name}"


def _records(group: ArmId, body: dict[str, Any], ctx: Write) -> dict[str, Resource]:
    endpoint = ctx.store.get(group.parent)
    creator = f"created by private endpoint {group.parent.name}"
    if endpoint is not None:
        creator += f" with resource guid {endpoint.body['properties'].get('resourceGuid')}"
    records: dict[str, Resource] = {}
    for config in body["properties"].get("privateDnsZoneConfigs", []):
        zone = ctx.store.get(config["properties"]["privateDnsZoneId"])
        if zone is None:
            continue
        for entry in config["properties"].get("recordSets", []):
            record = Resource(
                id=zone.id.child("A", entry["recordSetName"]),
                body={
                    "etag": str(uuid.uuid4()),
                    "properties": {
                        "metadata": {"creator": creator},
                        "ttl": entry["ttl"],
                        "aRecords": [{"ipv4Address": address} for address in entry["ipAddresses"]],
                        "isAutoRegistered": False,
                    },
                },
            )
            records[record.key] = record
    return records
