# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Azure refuses, the lab refuses, with Azure's code; and each refusal hangs on one rule.

Every case is run twice. As it is, the client gets the error. With its one rule taken out of the loaded data (or its
hook out of the behaviour) the same request must get another answer: a case that still passes then proves nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.mgmt.dns import models as dns

from tests.lab.azure.behaviours import dns as dns_behaviour
from tests.lab.azure.behaviours import virtual_networks
from tests.lab.azure.testing import Running
from tests.lab.azure.typedata import load
from tests.lab.tests.sdk import LOCATION, Clients, account_body, cluster_body, code, made, vault_body, vnet_body

NETWORK = "Microsoft.Network"
AKS = "Microsoft.ContainerService/managedClusters"
ABSENT = "/subscriptions/10000000-0000-4000-8000-000000000002/resourceGroups/none/providers"


@dataclass(frozen=True)
class World:
    """A client and an empty resource group."""

    sdk: Clients
    azure: Running
    rg: str
    unique: str = field(default_factory=lambda: uuid.uuid4().hex[:10])

    def network(self, **subnets: Any) -> Any:
        return made(self.sdk.network.virtual_networks, self.rg, "hub", vnet_body(**subnets))

    def rules(self, *rules: dict[str, Any]) -> Any:
        items = [{"name": f"rule{number}", "properties": rule} for number, rule in enumerate(rules)]
        body = {"location": LOCATION, "properties": {"securityRules": items}}
        return made(self.sdk.network.network_security_groups, self.rg, "nsg", body)

    def cluster(self, **properties: Any) -> Any:
        return made(self.sdk.clusters.managed_clusters, self.rg, "aks", cluster_body(**properties))

    def pool(self, **properties: Any) -> Any:
        wanted = {"mode": "User", "count": 1, "vmSize": "Standard_D2s_v5", **properties}
        return made(self.sdk.clusters.agent_pools, self.rg, "aks", "user", {"properties": wanted})

    def account(self, **more: Any) -> Any:
        name = f"st{self.unique}"
        return self.sdk.storage.storage_accounts.begin_create(self.rg, name, account_body() | more).result(30)

    def vault(self, **properties: Any) -> Any:
        return made(self.sdk.vaults.vaults, self.rg, f"kv{self.unique}", vault_body(self.azure, **properties))


def rule(priority: int = 100, **more: Any) -> dict[str, Any]:
    """A security rule."""
    wide = {"sourceAddressPrefix": "*", "sourcePortRange": "*", "destinationAddressPrefix": "*"}
    fixed = {"protocol": "Tcp", "access": "Allow", "direction": "Inbound", "destinationPortRange": "443"}
    return {**wide, **fixed, "priority": priority, **more}


@dataclass(frozen=True)
class Case:
    """One refusal. `given` prepares, `asked` is refused; `without` names the rule, or a hook as (owner, name)."""

    code: str
    asked: Callable[[World], Any]
    without: str | tuple[Any, str]
    given: Callable[[World], Any] = lambda world: None


def _group(world: World) -> Any:
    return made(world.sdk.network.network_security_groups, world.rg, "nsg", {"location": LOCATION})


def _held_group(world: World) -> None:
    group = _group(world)
    world.network(nodes={"addressPrefix": "10.0.0.0/24", "networkSecurityGroup": {"id": group.id}})


def _held_table(world: World) -> None:
    table = made(world.sdk.network.route_tables, world.rg, "rt", {"location": LOCATION})
    world.network(nodes={"addressPrefix": "10.0.0.0/24", "routeTable": {"id": table.id}})


def _private_endpoint(world: World, target: str = "") -> Any:
    network = world.network(endpoints="10.0.1.0/24")
    link = {"privateLinkServiceId": target or world.vault().id, "groupIds": ["vault"]}
    properties = {
        "subnet": {"id": network.subnets[0].id},
        "privateLinkServiceConnections": [{"name": "vault", "properties": link}],
    }
    return made(world.sdk.network.private_endpoints, world.rg, "pe", {"location": LOCATION, "properties": properties})


def _zone(world: World) -> Any:
    return world.sdk.dns.zones.create_or_update(world.rg, "a.example.org", dns.Zone(location="global"))


def _address_record(world: World) -> None:
    _zone(world)
    record = dns.RecordSet(ttl=60, a_records=[dns.ARecord(ipv4_address="192.0.2.1")])
    world.sdk.dns.record_sets.create_or_update(world.rg, "a.example.org", "www", "A", record)


def _alias_record(world: World) -> Any:
    record = dns.RecordSet(ttl=60, cname_record=dns.CnameRecord(cname="b.example.org"))
    return world.sdk.dns.record_sets.create_or_update(world.rg, "a.example.org", "www", "CNAME", record)


CASES = {
    "network without prefixes": Case(
        "InvalidRequestFormat",
        lambda w: made(
            w.sdk.network.virtual_networks,
            w.rg,
            "hub",
            {"location": LOCATION, "properties": {"addressSpace": {"addressPrefixes": []}}},
        ),
        f"{NETWORK}/virtualNetworks#value:properties.addressSpace.addressPrefixes",
    ),
    "subnet of a broken prefix": Case(
        "InvalidAddressPrefixFormat",
        lambda w: w.network(nodes="10.0.0.5/24"),
        f"{NETWORK}/virtualNetworks/subnets#value:properties.addressPrefix",
    ),
    "subnet outside of its network": Case(
        "NetcfgInvalidSubnet", lambda w: w.network(nodes="10.9.0.0/24"), (virtual_networks, "check_prefixes")
    ),
    "subnets on top of each other": Case(
        "NetcfgSubnetRangesOverlap",
        lambda w: made(w.sdk.network.subnets, w.rg, "hub", "b", {"properties": {"addressPrefix": "10.0.0.128/25"}}),
        (virtual_networks, "check_prefixes"),
        given=lambda w: w.network(a="10.0.0.0/24"),
    ),
    "subnet with a security group that is not there": Case(
        "InvalidResourceReference",
        lambda w: w.network(
            nodes={
                "addressPrefix": "10.0.0.0/24",
                "networkSecurityGroup": {"id": f"{ABSENT}/Microsoft.Network/networkSecurityGroups/x"},
            }
        ),
        f"{NETWORK}/virtualNetworks/subnets#reference:properties.networkSecurityGroup.id",
    ),
    "security group in use": Case(
        "InUseNetworkSecurityGroupCannotBeDeleted",
        lambda w: w.sdk.network.network_security_groups.begin_delete(w.rg, "nsg").result(30),
        f"{NETWORK}/virtualNetworks/subnets#reference:properties.networkSecurityGroup.id",
        given=_held_group,
    ),
    "route table in use": Case(
        "InUseRouteTableCannotBeDeleted",
        lambda w: w.sdk.network.route_tables.begin_delete(w.rg, "rt").result(30),
        f"{NETWORK}/virtualNetworks/subnets#reference:properties.routeTable.id",
        given=_held_table,
    ),
    "subnet in use": Case(
        "InUseSubnetCannotBeDeleted",
        lambda w: w.sdk.network.subnets.begin_delete(w.rg, "hub", "endpoints").result(30),
        f"{NETWORK}/privateEndpoints#reference:properties.subnet.id",
        given=_private_endpoint,
    ),
    "two rules of one priority": Case(
        "SecurityRuleConflict",
        lambda w: w.rules(rule(100), rule(100)),
        f"{NETWORK}/networkSecurityGroups/securityRules#unique:properties.priority",
    ),
    "a second rule of the same priority": Case(
        "SecurityRuleConflict",
        lambda w: made(w.sdk.network.security_rules, w.rg, "nsg", "other", {"properties": rule(100)}),
        f"{NETWORK}/networkSecurityGroups/securityRules#unique:properties.priority",
        given=lambda w: w.rules(rule(100)),
    ),
    "priority out of range": Case(
        "SecurityRuleInvalidPriority",
        lambda w: w.rules(rule(5000)),
        f"{NETWORK}/networkSecurityGroups/securityRules#value:properties.priority",
    ),
    "unknown protocol": Case(
        "InvalidParameter",
        lambda w: w.rules(rule(protocol="Smtp")),
        f"{NETWORK}/networkSecurityGroups/securityRules#enum:properties.protocol",
    ),
    "sku of an address": Case(
        "ResourceSkuCannotBeChanged",
        lambda w: made(
            w.sdk.network.public_ip_addresses,
            w.rg,
            "ip",
            {"location": LOCATION, "sku": {"name": "StandardV2"}, "properties": {"publicIPAllocationMethod": "Static"}},
        ),
        f"{NETWORK}/publicIPAddresses#immutable:sku.name",
        given=lambda w: made(
            w.sdk.network.public_ip_addresses,
            w.rg,
            "ip",
            {"location": LOCATION, "sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}},
        ),
    ),
    "endpoint to a target that is not there": Case(
        "PrivateLinkServiceIdNotFound",
        lambda w: _private_endpoint(w, f"{ABSENT}/Microsoft.KeyVault/vaults/x"),
        f"{NETWORK}/privateEndpoints#private-link-target",
    ),
    "link to a network that is not there": Case(
        "BadRequest",
        lambda w: made(
            w.sdk.private_dns.virtual_network_links,
            w.rg,
            "a.example.org",
            "link",
            {
                "location": "global",
                "properties": {"virtualNetwork": {"id": f"{ABSENT}/Microsoft.Network/virtualNetworks/x"}},
            },
        ),
        f"{NETWORK}/privateDnsZones/virtualNetworkLinks#reference:properties.virtualNetwork.id",
        given=lambda w: made(w.sdk.private_dns.private_zones, w.rg, "a.example.org", {"location": "global"}),
    ),
    "alias beside another record": Case(
        "Conflict", _alias_record, (dns_behaviour, "_check_cname"), given=_address_record
    ),
    "vault name of somebody else": Case(
        "VaultAlreadyExists",
        lambda w: made(w.sdk.vaults.vaults, f"{w.rg}-2", f"kv{w.unique}", vault_body(w.azure)),
        "Microsoft.KeyVault/vaults#unique_name",
        given=lambda w: (
            w.vault(),
            w.sdk.resources.resource_groups.create_or_update(f"{w.rg}-2", {"location": LOCATION}),
        ),
    ),
    "purge protection off again": Case(
        "BadRequest",
        lambda w: w.vault(enablePurgeProtection=False),
        "Microsoft.KeyVault/vaults#forbid:properties.enablePurgeProtection",
    ),
    "retention of a vault": Case(
        "BadRequest",
        lambda w: w.vault(softDeleteRetentionInDays=7),
        "Microsoft.KeyVault/vaults#immutable:properties.softDeleteRetentionInDays",
        given=lambda w: w.vault(),
    ),
    "account name of somebody else": Case(
        "StorageAccountAlreadyTaken",
        lambda w: w.sdk.storage.storage_accounts.begin_create(f"{w.rg}-2", f"st{w.unique}", account_body()).result(30),
        "Microsoft.Storage/storageAccounts#unique_name",
        given=lambda w: (
            w.account(),
            w.sdk.resources.resource_groups.create_or_update(f"{w.rg}-2", {"location": LOCATION}),
        ),
    ),
    "account name with capitals": Case(
        "AccountNameInvalid",
        lambda w: w.sdk.storage.storage_accounts.begin_create(w.rg, f"ST{w.unique}", account_body()).result(30),
        "Microsoft.Storage/storageAccounts#name",
    ),
    "hierarchical namespace": Case(
        "AccountPropertyCannotBeUpdated",
        lambda w: w.account(properties={"isHnsEnabled": True}),
        "Microsoft.Storage/storageAccounts#immutable:properties.isHnsEnabled",
        given=lambda w: w.account(properties={"isHnsEnabled": False}),
    ),
    "closed registry below Premium": Case(
        "NetworkRuleNotAllowed",
        lambda w: w.sdk.registries.registries.begin_create(
            w.rg,
            f"acr{w.unique}",
            {"location": LOCATION, "sku": {"name": "Basic"}, "properties": {"publicNetworkAccess": "Disabled"}},
        ).result(30),
        "Microsoft.ContainerRegistry/registries#forbid:properties.publicNetworkAccess",
    ),
    "retention of a workspace": Case(
        "InvalidParameter",
        lambda w: made(
            w.sdk.workspaces.workspaces, w.rg, "logs", {"location": LOCATION, "properties": {"retentionInDays": 9999}}
        ),
        "Microsoft.OperationalInsights/workspaces#value:properties.retentionInDays",
    ),
    "prefix of a cluster": Case(
        "PropertyChangeNotAllowed",
        lambda w: w.cluster(dnsPrefix="other"),
        f"{AKS}#immutable",
        given=lambda w: w.cluster(),
    ),
    "service range of a cluster": Case(
        "PropertyChangeNotAllowed",
        lambda w: w.cluster(networkProfile={"serviceCidr": "10.2.0.0/16"}),
        f"{AKS}#immutable-network",
        given=lambda w: w.cluster(),
    ),
    "Kubernetes version of long ago": Case(
        "K8sVersionNotSupported", lambda w: w.cluster(kubernetesVersion="1.25"), f"{AKS}#supported-kubernetes-versions"
    ),
    "private cluster with authorised ranges": Case(
        "InvalidParameter",
        lambda w: w.cluster(
            apiServerAccessProfile={"enablePrivateCluster": True, "authorizedIPRanges": ["192.0.2.0/24"]}
        ),
        f"{AKS}#private-without-authorized-ranges",
    ),
    "workspace of a cluster that is not there": Case(
        "WorkspaceNotFound",
        lambda w: w.cluster(
            addonProfiles={
                "omsagent": {
                    "enabled": True,
                    "config": {
                        "logAnalyticsWorkspaceResourceID": f"{ABSENT}/Microsoft.OperationalInsights/workspaces/x"
                    },
                }
            }
        ),
        f"{AKS}#workspace",
    ),
    "size of a pool": Case(
        "PropertyChangeNotAllowed",
        lambda w: w.pool(vmSize="Standard_D4s_v5"),
        f"{AKS}/agentPools#immutable",
        given=lambda w: (w.cluster(), w.pool()),
    ),
    "zones of a pool that do not exist": Case(
        "AvailabilityZoneNotSupported",
        lambda w: w.pool(availabilityZones=["4"]),
        f"{AKS}/agentPools#enum:properties.availabilityZones[]",
        given=lambda w: w.cluster(),
    ),
    "autoscaled pool without bounds": Case(
        "InvalidParameter",
        lambda w: w.pool(enableAutoScaling=True),
        f"{AKS}/agentPools#required:properties.minCount",
        given=lambda w: w.cluster(),
    ),
    "name of a pool": Case(
        "InvalidParameter",
        lambda w: made(
            w.sdk.clusters.agent_pools,
            w.rg,
            "aks",
            "UserPool",
            {"properties": {"vmSize": "Standard_D2s_v5", "count": 1}},
        ),
        f"{AKS}/agentPools#name",
        given=lambda w: w.cluster(),
    ),
    "name of a maintenance window": Case(
        "InvalidParameter",
        lambda w: w.sdk.clusters.maintenance_configurations.create_or_update(w.rg, "aks", "weekly", {"properties": {}}),
        f"{AKS}/maintenanceConfigurations#name",
        given=lambda w: w.cluster(),
    ),
}


@pytest.fixture
def world(azure: Running, group: str) -> World:
    return World(sdk=Clients(azure), azure=azure, rg=group.rsplit("/", 1)[-1])


def refused_with(case: Case, world: World) -> str:
    """The code of the refusal, empty when the request was accepted."""
    try:
        case.asked(world)
    except HttpResponseError as error:
        return code(error)
    return ""


@pytest.mark.parametrize("name", CASES)
def test_refused(world: World, name: str) -> None:
    case = CASES[name]
    case.given(world)
    assert refused_with(case, world) == case.code


@pytest.mark.parametrize("name", CASES)
def test_refusal_hangs_on_its_rule(world: World, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    if isinstance(case.without, str):
        monkeypatch.setattr(world.azure.simulator.engine, "types", load(without=[case.without]))
    else:
        owner, hook = case.without
        monkeypatch.setattr(owner, hook, lambda *arguments, **named: None)
    case.given(world)
    assert refused_with(case, world) != case.code
