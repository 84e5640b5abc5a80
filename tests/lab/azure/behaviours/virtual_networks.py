# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual networks and subnets: prefixes lie inside the network and do not overlap; addresses are handed out from them.

Sources: https://learn.microsoft.com/azure/virtual-network/virtual-networks-faq (five reserved addresses, smallest
subnet /29) and https://learn.microsoft.com/azure/virtual-network/manage-subnet-delegation.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from tests.lab.azure.arm_id import ArmId
from tests.lab.azure.behaviour import ArmError, Behaviour, Read, Write, behaviour
from tests.lab.azure.store import Resource, Store

SUBNETS = "microsoft.network/virtualnetworks/subnets"
PRIVATE_ENDPOINTS = "microsoft.network/privateendpoints"
SMALLEST_IPV4 = 29
RESERVED_FIRST = 4

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@behaviour("Microsoft.Network/virtualNetworks")
class VirtualNetworks(Behaviour):
    """Checks all subnets of a network together, because one PUT may move several."""

    def before_put(self, ctx: Write) -> None:
        spaces = _networks(ctx.body["properties"]["addressSpace"]["addressPrefixes"])
        for index, space in enumerate(spaces):
            for other in spaces[:index]:
                if _overlap(space, other):
                    raise ArmError(
                        400,
                        "NetcfgInvalidVirtualNetworkSite",
                        f"The address prefixes {other} and {space} of virtual network '{ctx.id.name}' overlap.",
                    )

    def after_put(self, ctx: Write) -> None:
        subnets = ctx.store.children(ctx.id, SUBNETS)
        for index, subnet in enumerate(subnets):
            check_prefixes(network=ctx.id, space=ctx.body, subnet=subnet.id, body=subnet.body, others=subnets[:index])


@behaviour("Microsoft.Network/virtualNetworks/subnets")
class Subnets(Behaviour):
    """A subnet written on its own is checked against its network and its neighbours."""

    def before_put(self, ctx: Write) -> None:
        if ctx.embedded:
            return
        network = ctx.store.get(ctx.id.parent)
        others = [other for other in ctx.store.children(ctx.id.parent, SUBNETS) if other.key != ctx.id.key]
        if network is not None:
            check_prefixes(network=network.id, space=network.body, subnet=ctx.id, body=ctx.body, others=others)
        if ctx.stored is not None:
            _check_used_addresses(ctx)

    def show(self, ctx: Read) -> None:
        properties = ctx.body.get("properties", {})
        for delegation in properties.get("delegations", []):
            _complete_delegation(ctx, delegation)
        configurations = [
            {"id": f"{endpoint.private['interface']}/ipConfigurations/privateEndpointIpConfig.{number}"}
            for endpoint in private_endpoints(ctx.store, ctx.id)
            for number, _ in enumerate(endpoint.private.get("addresses", []))
        ]
        if configurations:
            properties["ipConfigurations"] = configurations


def check_prefixes(
    *, network: ArmId, space: dict[str, Any], subnet: ArmId, body: dict[str, Any], others: Iterable[Resource]
) -> None:
    """Refuse a subnet outside of its network, too small, or on top of another one."""
    spaces = _networks(space["properties"]["addressSpace"]["addressPrefixes"])
    for prefix in prefixes(body):
        if not any(_inside(prefix, wide) for wide in spaces):
            raise ArmError(
                400, "NetcfgInvalidSubnet", f"Subnet '{subnet.name}' is not valid in virtual network '{network.name}'."
            )
        if prefix.version == 4 and prefix.prefixlen > SMALLEST_IPV4:
            raise ArmError(
                400,
                "NetcfgSubnetTooSmall",
                f"Subnet '{subnet.name}' with prefix {prefix} is too small: the smallest subnet is a /{SMALLEST_IPV4}.",
            )
        for other in others:
            if any(_overlap(prefix, taken) for taken in prefixes(other.body)):
                raise ArmError(
                    400,
                    "NetcfgSubnetRangesOverlap",
                    f"Subnet '{subnet.name}' is not valid because its IP address range overlaps with that of an "
                    f"existing subnet in virtual network '{network.name}'.",
                )


def prefixes(subnet: dict[str, Any]) -> list[Network]:
    """Address prefixes of a subnet's body, whichever of the two properties holds them."""
    properties = subnet.get("properties", {})
    return _networks(properties.get("addressPrefixes") or [properties["addressPrefix"]])


def private_endpoints(store: Store, subnet: ArmId) -> list[Resource]:
    """Private endpoints whose interface is in the subnet, oldest first."""
    return [found for found in store.referrers(subnet) if found.type == PRIVATE_ENDPOINTS]


def free_addresses(store: Store, subnet: Resource, count: int, *, besides: str = "") -> list[str]:
    """The lowest free addresses of a subnet; `besides` is an endpoint whose own addresses count as free.

    Raises ArmError SubnetIsFull.
    """
    used = {
        address
        for endpoint in private_endpoints(store, subnet.id)
        if endpoint.key != besides
        for address in endpoint.private.get("addresses", [])
    }
    range_ = prefixes(subnet.body)[0]
    found: list[str] = []
    for offset in range(RESERVED_FIRST, range_.num_addresses - 1):
        if len(found) == count:
            break
        address = str(range_[offset])
        if address not in used:
            found.append(address)
    if len(found) < count:
        raise ArmError(
            400,
            "SubnetIsFull",
            f"Subnet {subnet.id.name} with address prefix {range_} does not have enough capacity for {count} IP "
            "addresses.",
        )
    return found


def _check_used_addresses(ctx: Write) -> None:
    held = [
        address
        for endpoint in private_endpoints(ctx.store, ctx.id)
        for address in endpoint.private.get("addresses", [])
    ]
    ranges = prefixes(ctx.body)
    for address in held:
        if not any(ipaddress.ip_address(address) in range_ for range_ in ranges):
            raise ArmError(
                400,
                "InUsePrefixCannotBeDeleted",
                f"IpPrefix of subnet {ctx.id.name} cannot be changed: the address {address} in it is in use.",
            )


def _complete_delegation(ctx: Read, delegation: dict[str, Any]) -> None:
    delegation["id"] = f"{ctx.id.text}/delegations/{delegation['name']}"
    delegation["etag"] = ctx.body.get("etag")
    delegation["type"] = "Microsoft.Network/virtualNetworks/subnets/delegations"
    details = delegation.setdefault("properties", {})
    details["provisioningState"] = "Succeeded"
    details.setdefault("actions", ["Microsoft.Network/virtualNetworks/subnets/join/action"])


def _networks(texts: Iterable[str]) -> list[Network]:
    return [ipaddress.ip_network(text) for text in texts]


def _inside(prefix: Network, wide: Network) -> bool:
    return prefix.version == wide.version and prefix.subnet_of(wide)  # type: ignore[arg-type]


def _overlap(left: Network, right: Network) -> bool:
    return left.version == right.version and left.overlaps(right)
