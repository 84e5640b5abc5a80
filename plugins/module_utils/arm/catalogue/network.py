# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Microsoft.Network, from the REST reference and the recorded answers of the service.

Sources, by short name:
    rest: learn.microsoft.com/rest/api/virtualnetwork, .../dns, .../private-dns, .../privatelink (2025-05-01).
    rec: answers recorded from the service in the test suites of Azure/azure-cli and Azure/azure-service-operator.
    sub: "VNet PUT without subnets" of Azure/azure-quickstart-templates#2786.
"""

from __future__ import annotations

import typing as t

from ansible_collections.audioprothese.platform.plugins.module_utils.arm.catalogue.model import (
    Embedded,
    TypeFacts,
    facts,
    under,
    under_keys,
)

__all__ = ["TYPES"]

_NETWORK: t.Final = "2025-05-01"

# rest: Subnet
_SUBNET_ENUMS: t.Final = (
    "properties.privateEndpointNetworkPolicies",
    "properties.privateLinkServiceNetworkPolicies",
    "properties.sharingScope",
)
_SUBNET_READ_ONLY: t.Final = (
    "etag",
    "properties.ipConfigurations",
    "properties.ipConfigurationProfiles",
    "properties.privateEndpoints",
    "properties.provisioningState",
    "properties.purpose",
    "properties.resourceNavigationLinks",
    "properties.serviceAssociationLinks",
    "properties.delegations[].etag",
    "properties.delegations[].properties.actions",
    "properties.delegations[].properties.provisioningState",
    "properties.serviceEndpoints[].provisioningState",
)
# rest: the region list of a service endpoint is filled in by the service, both regions of a pair.
_SUBNET_EXTENDED: t.Final = ("properties.serviceEndpoints[].locations",)
_SUBNET_KEYS: t.Final = {"properties.serviceEndpoints": ("service",)}
# rec: service endpoints send no location or "*", the service writes the regions.
_SUBNET_SENTINELS: t.Final = {"properties.serviceEndpoints[].locations": (["*"],)}

# rest: SecurityRule
_RULE_ENUMS: t.Final = ("properties.access", "properties.direction", "properties.protocol")
_RULE_UNORDERED: t.Final = (
    "properties.sourceAddressPrefixes",
    "properties.destinationAddressPrefixes",
    "properties.sourcePortRanges",
    "properties.destinationPortRanges",
)
_RULE_READ_ONLY: t.Final = ("etag", "properties.provisioningState")

_ROUTE_ENUMS: t.Final = ("properties.nextHopType",)
_ROUTE_READ_ONLY: t.Final = ("etag", "properties.provisioningState", "properties.hasBgpOverride")

_RECORD_TYPES: t.Final = ("A", "AAAA", "CAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT", "DS", "NAPTR", "TLSA")


def _records(zone: str, api_version: str) -> list[TypeFacts]:
    # rest: RecordSet; a zone's SOA cannot be deleted. rec: the serial of an SOA is the service's.
    return [
        facts(
            f"Microsoft.Network/{zone}/{record}",
            api_version,
            read_only=(
                "properties.fqdn",
                "properties.SOARecord.serialNumber",
                "properties.SOARecord.host",
                "properties.isAutoRegistered",
            ),
            unordered=("properties.TXTRecords[].value",) if record != "TXT" else (),
            deletable=record != "SOA",
        )
        for record in _RECORD_TYPES
    ]


TYPES: t.Final[tuple[TypeFacts, ...]] = (
    # sub: before 2023-09-01 a PUT without "subnets" deletes them; we always send them, and pin a later version.
    facts(
        "Microsoft.Network/virtualNetworks",
        _NETWORK,
        enums=(
            "properties.encryption.enforcement",
            "properties.privateEndpointVNetPolicies",
            *under("properties.subnets[]", _SUBNET_ENUMS),
        ),
        read_only=(
            "properties.resourceGuid",
            "properties.defaultPublicNatGateway",
            "properties.flowLogs",
            "properties.virtualNetworkPeerings[].etag",
            *under("properties.subnets[]", _SUBNET_READ_ONLY),
        ),
        unordered=("properties.addressSpace.addressPrefixes", "properties.subnets[].properties.addressPrefixes"),
        extended=under("properties.subnets[]", _SUBNET_EXTENDED),
        keys=under_keys("properties.subnets[]", _SUBNET_KEYS),
        sentinels=under_keys("properties.subnets[]", _SUBNET_SENTINELS),
        embedded={
            "properties.subnets": Embedded("subnets", guarded=True),
            "properties.virtualNetworkPeerings": Embedded("virtualNetworkPeerings", guarded=True),
        },
        oldest="2023-09-01",
        stateful=True,
    ),
    facts(
        "Microsoft.Network/virtualNetworks/subnets",
        _NETWORK,
        enums=_SUBNET_ENUMS,
        read_only=_SUBNET_READ_ONLY,
        unordered=("properties.addressPrefixes",),
        extended=_SUBNET_EXTENDED,
        keys=_SUBNET_KEYS,
        sentinels=_SUBNET_SENTINELS,
        serial=("root",),
        stateful=True,
    ),
    facts(
        "Microsoft.Network/virtualNetworks/virtualNetworkPeerings",
        _NETWORK,
        read_only=("properties.peeringState", "properties.peeringSyncLevel", "properties.resourceGuid"),
        serial=("root", "root:properties.remoteVirtualNetwork.id"),
    ),
    facts(
        "Microsoft.Network/networkSecurityGroups",
        _NETWORK,
        enums=under("properties.securityRules[]", _RULE_ENUMS),
        read_only=(
            "properties.resourceGuid",
            "properties.defaultSecurityRules",
            "properties.networkInterfaces",
            "properties.subnets",
            "properties.flowLogs",
            *under("properties.securityRules[]", _RULE_READ_ONLY),
        ),
        unordered=under("properties.securityRules[]", _RULE_UNORDERED),
        embedded={"properties.securityRules": Embedded("securityRules")},
    ),
    facts(
        "Microsoft.Network/networkSecurityGroups/securityRules",
        _NETWORK,
        enums=_RULE_ENUMS,
        read_only=_RULE_READ_ONLY,
        unordered=_RULE_UNORDERED,
        serial=("root",),
    ),
    facts(
        "Microsoft.Network/routeTables",
        _NETWORK,
        enums=under("properties.routes[]", _ROUTE_ENUMS),
        read_only=("properties.resourceGuid", "properties.subnets", *under("properties.routes[]", _ROUTE_READ_ONLY)),
        embedded={"properties.routes": Embedded("routes")},
    ),
    facts(
        "Microsoft.Network/routeTables/routes",
        _NETWORK,
        enums=_ROUTE_ENUMS,
        read_only=_ROUTE_READ_ONLY,
        serial=("root",),
    ),
    # rest: sku, allocation and version are fixed at creation ("Upgrade a public IP address" lists what can change).
    facts(
        "Microsoft.Network/publicIPAddresses",
        _NETWORK,
        enums=(
            "sku.name",
            "properties.publicIPAllocationMethod",
            "properties.publicIPAddressVersion",
            "properties.ddosSettings.protectionMode",
            "properties.deleteOption",
        ),
        read_only=(
            "properties.resourceGuid",
            "properties.ipAddress",
            "properties.ipConfiguration",
            "properties.natGateway",
        ),
        immutable=("sku.name", "properties.publicIPAddressVersion", "zones"),
        stateful=True,
    ),
    facts(
        "Microsoft.Network/natGateways",
        _NETWORK,
        enums=("sku.name",),
        read_only=("properties.resourceGuid", "properties.subnets", "properties.serviceGateway"),
        immutable=("sku.name", "zones"),
        keys={"properties.publicIpAddresses": ("id",), "properties.publicIpPrefixes": ("id",)},
    ),
    facts(
        "Microsoft.Network/privateDnsZones",
        "2024-06-01",
        read_only=(
            "properties.maxNumberOfRecordSets",
            "properties.numberOfRecordSets",
            "properties.maxNumberOfVirtualNetworkLinks",
            "properties.numberOfVirtualNetworkLinks",
            "properties.maxNumberOfVirtualNetworkLinksWithRegistration",
            "properties.numberOfVirtualNetworkLinksWithRegistration",
            "properties.internalId",
        ),
        stateful=True,
    ),
    facts(
        "Microsoft.Network/privateDnsZones/virtualNetworkLinks",
        "2024-06-01",
        enums=("properties.resolutionPolicy",),
        read_only=("properties.virtualNetworkLinkState",),
        immutable=("properties.virtualNetwork.id",),
        serial=("parent",),
    ),
    *_records("privateDnsZones", "2024-06-01"),
    facts(
        "Microsoft.Network/dnsZones",
        "2018-05-01",
        enums=("properties.zoneType",),
        read_only=("properties.maxNumberOfRecordSets", "properties.numberOfRecordSets", "properties.nameServers"),
        immutable=("properties.zoneType",),
        stateful=True,
    ),
    *_records("dnsZones", "2018-05-01"),
    # rest: an endpoint is tied to its subnet and target; the service writes the interface into the subnet, and so
    # two endpoints of one network cannot be written at once.
    facts(
        "Microsoft.Network/privateEndpoints",
        _NETWORK,
        # rec: what a document says about the subnet beyond its id is not taken.
        read_only=(
            "properties.subnet.properties",
            "properties.networkInterfaces",
            "properties.customDnsConfigs",
            "properties.privateLinkServiceConnections[].etag",
            "properties.privateLinkServiceConnections[].properties.provisioningState",
            "properties.privateLinkServiceConnections[].properties.privateLinkServiceConnectionState",
            "properties.manualPrivateLinkServiceConnections[].properties.provisioningState",
            "properties.manualPrivateLinkServiceConnections[].properties.privateLinkServiceConnectionState",
        ),
        immutable=(
            "properties.subnet.id",
            "properties.privateLinkServiceConnections[].properties.privateLinkServiceId",
            "properties.privateLinkServiceConnections[].properties.groupIds",
        ),
        unordered=("properties.privateLinkServiceConnections[].properties.groupIds",),
        serial=("self", "root:properties.subnet.id"),
    ),
    facts(
        "Microsoft.Network/privateEndpoints/privateDnsZoneGroups",
        _NETWORK,
        read_only=("properties.privateDnsZoneConfigs[].properties.recordSets",),
        serial=("parent",),
    ),
)
