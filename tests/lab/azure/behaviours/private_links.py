# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""What private endpoints lead to: the names behind a target's groups, and the connections a target shows.

Names and zones: https://learn.microsoft.com/azure/private-link/private-endpoint-dns
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.lab.azure.arm_id import ArmId
from tests.lab.azure.behaviour import Read
from tests.lab.azure.store import Resource, Store

CONNECTION_RULE = "private-link-target"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One address that an endpoint takes: its public name, and its record in the private zone."""

    fqdn: str
    record: str
    zone: str


def members(target: ArmId, group: str, location: str) -> list[Member]:
    """The names behind one group of a target; empty when the lab does not know them."""
    name = target.name.lower()
    if target.type == "microsoft.keyvault/vaults":
        return [Member(fqdn=f"{name}.vault.azure.net", record=name, zone="privatelink.vaultcore.azure.net")]
    if target.type == "microsoft.storage/storageaccounts":
        service = f"{group.lower().removesuffix('_secondary')}.core.windows.net"
        account = f"{name}-secondary" if group.lower().endswith("_secondary") else name
        return [Member(fqdn=f"{account}.{service}", record=account, zone=f"privatelink.{service}")]
    if target.type == "microsoft.containerregistry/registries":
        data = f"{name}.{location}.data"
        zone = "privatelink.azurecr.io"
        return [
            Member(fqdn=f"{data}.azurecr.io", record=data, zone=zone),
            Member(fqdn=f"{name}.azurecr.io", record=name, zone=zone),
        ]
    return []


def approval(target: ArmId) -> dict[str, str]:
    """The state of a connection that was approved at once; vaults leave the description empty (recorded 2 of 2)."""
    words = "" if target.namespace.lower() == "microsoft.keyvault" else "Auto-Approved"
    return {"status": "Approved", "description": words, "actionsRequired": "None"}


def connections(ctx: Read) -> list[dict[str, Any]]:
    """`privateEndpointConnections` of a target, as far as they are the same for all types."""
    found = []
    for link in ctx.store.links_to(ctx.id):
        endpoint = ctx.store.get(link.source)
        if link.rule != CONNECTION_RULE or endpoint is None:
            continue
        for connection in connection_list(endpoint):
            details = connection["properties"]
            if details["privateLinkServiceId"].lower() != ctx.id.key:
                continue
            name = f"{endpoint.id.name}.{endpoint.body['properties']['resourceGuid']}"
            state = {key: value for key, value in details["privateLinkServiceConnectionState"].items() if value}
            found.append(
                {
                    "id": f"{ctx.id.text}/privateEndpointConnections/{name}",
                    "name": name,
                    "properties": {
                        "provisioningState": "Succeeded",
                        "privateEndpoint": {"id": endpoint.id.text},
                        "privateLinkServiceConnectionState": state,
                    },
                }
            )
    return found


def connection_list(endpoint: Resource) -> list[dict[str, Any]]:
    """All connections of an endpoint, automatic ones first."""
    properties = endpoint.body["properties"]
    return [
        *properties.get("privateLinkServiceConnections", []),
        *properties.get("manualPrivateLinkServiceConnections", []),
    ]


def location_of(store: Store, target: ArmId) -> str:
    """The region of a target, empty when it is not there."""
    found = store.get(target)
    return str(found.body.get("location", "")) if found else ""
