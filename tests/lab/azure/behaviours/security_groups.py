# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""Network security groups show six default rules that nobody can change."""

from __future__ import annotations

from typing import Any

from tests.lab.azure.behaviour import Behaviour, Read, behaviour

#: name, description, access, direction, priority, source, destination; as in 17 of 17 recorded answers.
DEFAULT_RULES = (
    (
        "AllowVnetInBound",
        "Allow inbound traffic from all VMs in VNET",
        "Allow",
        "Inbound",
        65000,
        "VirtualNetwork",
        "VirtualNetwork",
    ),
    (
        "AllowAzureLoadBalancerInBound",
        "Allow inbound traffic from azure load balancer",
        "Allow",
        "Inbound",
        65001,
        "AzureLoadBalancer",
        "*",
    ),
    ("DenyAllInBound", "Deny all inbound traffic", "Deny", "Inbound", 65500, "*", "*"),
    (
        "AllowVnetOutBound",
        "Allow outbound traffic from all VMs to all VMs in VNET",
        "Allow",
        "Outbound",
        65000,
        "VirtualNetwork",
        "VirtualNetwork",
    ),
    (
        "AllowInternetOutBound",
        "Allow outbound traffic from all VMs to Internet",
        "Allow",
        "Outbound",
        65001,
        "*",
        "Internet",
    ),
    ("DenyAllOutBound", "Deny all outbound traffic", "Deny", "Outbound", 65500, "*", "*"),
)
#: Since this version rules have lists beside their single prefixes and ports.
PLURALS_SINCE = "2017-06-01"


@behaviour("Microsoft.Network/networkSecurityGroups")
class NetworkSecurityGroups(Behaviour):
    """Adds the default rules to every answer."""

    def show(self, ctx: Read) -> None:
        properties = ctx.body.setdefault("properties", {})
        properties["defaultSecurityRules"] = [_default_rule(ctx, row) for row in DEFAULT_RULES]


def _default_rule(ctx: Read, row: tuple[str, str, str, str, int, str, str]) -> dict[str, Any]:
    name, description, access, direction, priority, source, destination = row
    properties: dict[str, Any] = {
        "provisioningState": "Succeeded",
        "description": description,
        "protocol": "*",
        "sourcePortRange": "*",
        "destinationPortRange": "*",
        "sourceAddressPrefix": source,
        "destinationAddressPrefix": destination,
        "access": access,
        "priority": priority,
        "direction": direction,
    }
    if ctx.api_version >= PLURALS_SINCE:
        properties |= {
            plural: []
            for plural in (
                "sourcePortRanges",
                "destinationPortRanges",
                "sourceAddressPrefixes",
                "destinationAddressPrefixes",
            )
        }
    return {
        "name": name,
        "id": f"{ctx.id.text}/defaultSecurityRules/{name}",
        "etag": ctx.body.get("etag"),
        "type": "Microsoft.Network/networkSecurityGroups/defaultSecurityRules",
        "properties": properties,
    }
