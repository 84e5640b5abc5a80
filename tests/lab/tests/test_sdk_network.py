# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""azure-mgmt-network drives networks, security groups, routes, addresses, NAT gateways and private endpoints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from tests.lab.azure.testing import Running
from tests.lab.tests.sdk import LOCATION, Clients, account_body, code, made, vault_body, vnet_body


@pytest.fixture
def sdk(azure: Running) -> Clients:
    return Clients(azure)


@pytest.fixture
def rg(group: str) -> Iterator[str]:
    yield group.rsplit("/", 1)[-1]


def names(items: Any) -> list[str]:
    return [item.name for item in items]


def test_virtual_network_is_created_read_listed_tagged_and_deleted(sdk: Clients, rg: str) -> None:
    networks = sdk.network.virtual_networks
    created = made(networks, rg, "hub", vnet_body(nodes="10.0.0.0/24", endpoints="10.0.1.0/24"))
    assert created.provisioning_state == "Succeeded"
    assert names(created.subnets) == ["nodes", "endpoints"]
    found = networks.get(rg, "hub")
    assert (found.id, found.etag) == (created.id, created.etag)
    assert found.subnets[0].private_endpoint_network_policies == "Disabled"
    assert names(networks.list(rg)) == ["hub"]
    assert "hub" in names(networks.list_all())
    assert networks.update_tags(rg, "hub", {"tags": {"env": "lab"}}).tags == {"env": "lab"}
    networks.begin_delete(rg, "hub").result(30)
    with pytest.raises(ResourceNotFoundError):
        networks.get(rg, "hub")


def test_subnets_left_out_stay_today_and_go_with_an_old_version(azure: Running, sdk: Clients, rg: str) -> None:
    networks, body = sdk.network.virtual_networks, vnet_body(nodes="10.0.0.0/24")
    made(networks, rg, "hub", body)
    bare = {"location": LOCATION, "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}}
    assert names(made(networks, rg, "hub", bare).subnets) == ["nodes"]
    url = f"{azure.subscription}/resourceGroups/{rg}/providers/Microsoft.Network/virtualNetworks/hub"
    with azure.client() as client:
        assert client.put(f"{url}?api-version=2023-06-01", json=bare).status_code == 200
    assert networks.get(rg, "hub").subnets == []


def test_subnet_of_its_own_is_written_listed_and_deleted(sdk: Clients, rg: str) -> None:
    made(sdk.network.virtual_networks, rg, "hub", vnet_body())
    subnet = made(sdk.network.subnets, rg, "hub", "nodes", {"properties": {"addressPrefix": "10.0.2.0/24"}})
    assert subnet.private_link_service_network_policies == "Enabled"
    assert names(sdk.network.subnets.list(rg, "hub")) == ["nodes"]
    assert names(sdk.network.virtual_networks.get(rg, "hub").subnets) == ["nodes"]
    sdk.network.subnets.begin_delete(rg, "hub", "nodes").result(30)
    assert list(sdk.network.subnets.list(rg, "hub")) == []


def test_delegation_is_completed(sdk: Clients, rg: str) -> None:
    delegated = {
        "addressPrefix": "10.0.3.0/28",
        "delegations": [{"name": "aks", "properties": {"serviceName": "Microsoft.ContainerService/managedClusters"}}],
    }
    network = made(sdk.network.virtual_networks, rg, "hub", vnet_body(api=delegated))
    delegation = network.subnets[0].delegations[0]
    assert delegation.id.endswith("/subnets/api/delegations/aks")
    assert delegation.provisioning_state == "Succeeded"


def test_security_group_has_default_rules_and_rules_of_its_own(sdk: Clients, rg: str) -> None:
    rule: dict[str, Any] = {
        "name": "https",
        "properties": {
            "protocol": "tcp",
            "access": "allow",
            "direction": "inbound",
            "priority": 100,
            "sourceAddressPrefix": "Internet",
            "sourcePortRange": "*",
            "destinationAddressPrefix": "*",
            "destinationPortRange": "443",
        },
    }
    groups = sdk.network.network_security_groups
    created = made(groups, rg, "web", {"location": LOCATION, "properties": {"securityRules": [rule]}})
    assert len(created.default_security_rules) == 6
    assert (created.security_rules[0].protocol, created.security_rules[0].access) == ("Tcp", "Allow")
    ssh = {**rule["properties"], "priority": 110, "destinationPortRange": "22", "access": "Deny"}
    made(sdk.network.security_rules, rg, "web", "ssh", {"properties": ssh})
    assert names(sdk.network.security_rules.list(rg, "web")) == ["https", "ssh"]
    sdk.network.security_rules.begin_delete(rg, "web", "ssh").result(30)
    assert names(groups.get(rg, "web").security_rules) == ["https"]
    groups.begin_delete(rg, "web").result(30)


def test_two_rules_may_exchange_their_priorities_in_one_request(sdk: Clients, rg: str) -> None:
    def body(*priorities: int) -> dict[str, Any]:
        fixed = {"protocol": "*", "access": "Allow", "direction": "Inbound"}
        wide = {
            "sourceAddressPrefix": "*",
            "sourcePortRange": "*",
            "destinationAddressPrefix": "*",
            "destinationPortRange": "*",
        }
        rules = [{"name": f"r{n}", "properties": {**fixed, **wide, "priority": p}} for n, p in enumerate(priorities)]
        return {"location": LOCATION, "properties": {"securityRules": rules}}

    made(sdk.network.network_security_groups, rg, "web", body(100, 110))
    changed = made(sdk.network.network_security_groups, rg, "web", body(110, 100))
    assert [rule.priority for rule in changed.security_rules] == [110, 100]


def test_route_table_with_routes(sdk: Clients, rg: str) -> None:
    route = {"addressPrefix": "0.0.0.0/0", "nextHopType": "VirtualAppliance", "nextHopIpAddress": "10.0.0.4"}
    body = {"location": LOCATION, "properties": {"routes": [{"name": "default", "properties": route}]}}
    table = made(sdk.network.route_tables, rg, "egress", body)
    assert table.disable_bgp_route_propagation is False
    assert table.routes[0].has_bgp_override is False
    made(
        sdk.network.routes,
        rg,
        "egress",
        "none",
        {"properties": {"addressPrefix": "10.9.0.0/16", "nextHopType": "None"}},
    )
    assert names(sdk.network.routes.list(rg, "egress")) == ["default", "none"]
    sdk.network.route_tables.begin_delete(rg, "egress").result(30)


def test_nat_gateway_holds_its_address_and_its_subnet(sdk: Clients, rg: str) -> None:
    address = made(
        sdk.network.public_ip_addresses,
        rg,
        "egress",
        {"location": LOCATION, "sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}},
    )
    assert address.ip_address
    assert address.sku.tier == "Regional"
    body = {
        "location": LOCATION,
        "sku": {"name": "Standard"},
        "properties": {"publicIpAddresses": [{"id": address.id}]},
    }
    gateway = made(sdk.network.nat_gateways, rg, "egress", body)
    network = made(
        sdk.network.virtual_networks,
        rg,
        "hub",
        vnet_body(nodes={"addressPrefix": "10.0.0.0/24", "natGateway": {"id": gateway.id}}),
    )
    assert sdk.network.nat_gateways.get(rg, "egress").subnets[0].id == network.subnets[0].id
    assert sdk.network.public_ip_addresses.get(rg, "egress").nat_gateway.id == gateway.id
    with pytest.raises(HttpResponseError) as held:
        sdk.network.public_ip_addresses.begin_delete(rg, "egress")
    assert code(held.value) == "PublicIPAddressCannotBeDeleted"
    with pytest.raises(HttpResponseError) as used:
        sdk.network.nat_gateways.begin_delete(rg, "egress")
    assert code(used.value) == "InUseNatGatewayCannotBeDeleted"
    sdk.network.virtual_networks.begin_delete(rg, "hub").result(30)
    sdk.network.nat_gateways.begin_delete(rg, "egress").result(30)
    sdk.network.public_ip_addresses.begin_delete(rg, "egress").result(30)


def test_address_keeps_its_number_over_updates(sdk: Clients, rg: str) -> None:
    addresses = sdk.network.public_ip_addresses
    body = {"location": LOCATION, "sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}}
    first = made(addresses, rg, "a", body)
    again = made(addresses, rg, "a", body | {"tags": {"x": "1"}})
    other = made(addresses, rg, "b", body)
    assert (again.ip_address, again.resource_guid) == (first.ip_address, first.resource_guid)
    assert other.ip_address != first.ip_address
    assert {"a", "b"} <= set(names(addresses.list(rg)))


def test_private_endpoint_is_approved_and_its_zone_group_writes_records(azure: Running, sdk: Clients, rg: str) -> None:
    network = made(sdk.network.virtual_networks, rg, "hub", vnet_body(endpoints="10.0.1.0/24"))
    vault = made(sdk.vaults.vaults, rg, "kv-endpoint-test", vault_body(azure))
    zone = made(sdk.private_dns.private_zones, rg, "privatelink.vaultcore.azure.net", {"location": "global"})
    connection = {"name": "vault", "properties": {"privateLinkServiceId": vault.id, "groupIds": ["vault"]}}
    body = {
        "location": LOCATION,
        "properties": {"subnet": {"id": network.subnets[0].id}, "privateLinkServiceConnections": [connection]},
    }
    endpoint = made(sdk.network.private_endpoints, rg, "kv", body)
    state = endpoint.private_link_service_connections[0].private_link_service_connection_state
    assert state.status == "Approved"
    assert endpoint.custom_dns_configs[0].as_dict() == {
        "fqdn": "kv-endpoint-test.vault.azure.net",
        "ipAddresses": ["10.0.1.4"],
    }
    shown = sdk.vaults.vaults.get(rg, "kv-endpoint-test").properties.private_endpoint_connections
    assert shown[0].private_endpoint.id == endpoint.id
    configs = {
        "properties": {"privateDnsZoneConfigs": [{"name": "vault", "properties": {"privateDnsZoneId": zone.id}}]}
    }
    made(sdk.network.private_dns_zone_groups, rg, "kv", "default", configs)
    record = sdk.private_dns.record_sets.get(rg, zone.name, "A", "kv-endpoint-test")
    assert record.a_records[0].ipv4_address == "10.0.1.4"
    sdk.network.private_endpoints.begin_delete(rg, "kv").result(30)
    with pytest.raises(ResourceNotFoundError):
        sdk.private_dns.record_sets.get(rg, zone.name, "A", "kv-endpoint-test")
    assert sdk.network.subnets.get(rg, "hub", "endpoints").private_endpoints is None


def test_endpoints_take_different_addresses_and_blob_has_its_zone(sdk: Clients, rg: str) -> None:
    network = made(sdk.network.virtual_networks, rg, "hub", vnet_body(endpoints="10.0.1.0/24"))
    account = sdk.storage.storage_accounts.begin_create(rg, "stendpoints", account_body()).result(30)
    taken = []
    for name in ("one", "two"):
        connection = {"name": "blob", "properties": {"privateLinkServiceId": account.id, "groupIds": ["blob"]}}
        properties = {"subnet": {"id": network.subnets[0].id}, "privateLinkServiceConnections": [connection]}
        endpoint = made(sdk.network.private_endpoints, rg, name, {"location": LOCATION, "properties": properties})
        assert endpoint.custom_dns_configs[0].fqdn == "stendpoints.blob.core.windows.net"
        taken += endpoint.custom_dns_configs[0].ip_addresses
    assert taken == ["10.0.1.4", "10.0.1.5"]


def test_usages_count_what_is_there(sdk: Clients, rg: str) -> None:
    def networks() -> tuple[int, int]:
        rows = {row.name.value: row for row in sdk.network.usages.list(LOCATION)}
        return rows["VirtualNetworks"].current_value, rows["VirtualNetworks"].limit

    before, limit = networks()
    made(sdk.network.virtual_networks, rg, "counted", vnet_body())
    assert networks() == (before + 1, limit)
