# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""Public IP addresses get an address when they are static, and are deleted only when nothing uses them.

Source: https://learn.microsoft.com/azure/virtual-network/ip-services/public-ip-addresses
"""

from __future__ import annotations

from tests.lab.azure.behaviour import ArmError, Behaviour, Write, behaviour
from tests.lab.azure.rules import same

TYPE = "microsoft.network/publicipaddresses"


@behaviour("Microsoft.Network/publicIPAddresses")
class PublicIPAddresses(Behaviour):
    """Allocation and the names of addresses."""

    def before_put(self, ctx: Write) -> None:
        properties = ctx.body["properties"]
        sku = ctx.body.get("sku", {}).get("name", "Basic")
        static = properties["publicIPAllocationMethod"] == "Static"
        if sku != "Basic" and not static:
            raise ArmError(
                400,
                "PublicIPAddressInStandardSkuMustBeStatic",
                f"Standard sku publicIp {ctx.id.text} must have AllocationMethod set to Static.",
            )
        self._check_label(ctx)
        kept = ((ctx.stored or {}).get("properties") or {}).get("ipAddress")
        if static:
            properties["ipAddress"] = kept or self._address(ctx)
        else:
            properties.pop("ipAddress", None)

    def _address(self, ctx: Write) -> str:
        if ctx.body["properties"].get("publicIPAddressVersion") == "IPv6":
            return f"2603:1020:805::{ctx.engine.next_number('public_ipv6'):x}"
        return str(ctx.engine.make("public_ip"))

    def _check_label(self, ctx: Write) -> None:
        label = (ctx.body["properties"].get("dnsSettings") or {}).get("domainNameLabel")
        if not label:
            return
        for other in ctx.store.find(TYPE):
            taken = (other.body["properties"].get("dnsSettings") or {}).get("domainNameLabel")
            if other.key != ctx.id.key and same(taken, label) and other.body["location"] == ctx.body["location"]:
                raise ArmError(
                    400,
                    "DnsRecordInUse",
                    f"DNS record {label}.{ctx.body['location']}.cloudapp.azure.com is already used by another "
                    "public IP.",
                )
