# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""Microsoft's clients take every type through its life: created, found, listed, changed, deleted, missed.

The other `test_sdk_*` files look at what is particular to a type; this one leaves none out.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import ResourceNotFoundError
from azure.mgmt.authorization.v2022_04_01 import models as authorization
from azure.mgmt.dns import models as dns
from azure.mgmt.monitor.v2021_05_01_preview import models as monitor
from azure.mgmt.msi import models as identities

from tests.lab.azure import typedata
from tests.lab.azure.testing import Running
from tests.lab.tests import backup
from tests.lab.tests.sdk import LOCATION, Clients, InGroup, account_body, cluster_body, made, vault_body, vnet_body
from tests.lab.tests.test_sdk_dns import PRIVATE_RECORDS, PUBLIC_RECORDS, ZONE

READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
TAGGED = {"tags": {"a": "b"}}


def unique(prefix: str) -> str:
    return prefix + uuid.uuid4().hex[:10]


def call(operations: Any, name: str, *arguments: Any) -> Any:
    """Call an operation under its plain name, or as the long-running one that it is, to its end."""
    begin = getattr(operations, f"begin_{name}", None)
    return begin(*arguments).result(30) if begin else getattr(operations, name)(*arguments)


@dataclass(frozen=True, kw_only=True)
class Life:
    """One resource: the client's operations, its name among their arguments, and two bodies.

    `changed` is the path of an attribute of the client's model that the second body changes, with its value then.
    `create`, `get`, `list` and `delete` are the names of the operations where they are unusual. `listed` are the
    arguments of the list: all of the name but its last part where nothing is said.
    """

    operations: Any
    name: tuple[str, ...]
    body: Any
    second: Any
    changed: tuple[str, Any] = ("tags", TAGGED["tags"])
    create: str = "create_or_update"
    get: str = "get"
    list: str = "list"
    delete: str = "delete"
    listed: tuple[str, ...] | None = None

    def written(self, body: Any) -> Any:
        return call(self.operations, self.create, *self.name, body)

    def found(self) -> Any:
        return call(self.operations, self.get, *self.name)

    def ids(self) -> set[str]:
        scope = self.name[:-1] if self.listed is None else self.listed
        return {one.id.lower() for one in call(self.operations, self.list, *scope)}

    def end(self) -> None:
        call(self.operations, self.delete, *self.name)


@dataclass
class World(InGroup):
    """A resource group of the test's own, and what the resources in it stand on, made when it is asked for."""

    @cached_property
    def network(self) -> Any:
        return made(self.sdk.network.virtual_networks, self.rg, "hub", vnet_body(endpoints="10.0.1.0/24"))

    @cached_property
    def account(self) -> Any:
        return call(self.sdk.storage.storage_accounts, "create", self.rg, unique("st"), account_body())

    @cached_property
    def container(self) -> str:
        self.sdk.storage.blob_containers.create(self.rg, self.account.name, "kept", {})
        return "kept"

    @cached_property
    def vault(self) -> Any:
        return made(self.sdk.vaults.vaults, self.rg, unique("kv"), vault_body(self.azure, enablePurgeProtection=True))

    @cached_property
    def identity(self) -> Any:
        body = identities.Identity(location=LOCATION)
        return self.sdk.identities.user_assigned_identities.create_or_update(self.rg, "one", body)

    @cached_property
    def cluster(self) -> str:
        return str(made(self.sdk.clusters.managed_clusters, self.rg, "aks", cluster_body()).name)

    @cached_property
    def private_zone(self) -> Any:
        return made(self.sdk.private_dns.private_zones, self.rg, ZONE, {"location": "global"})

    @cached_property
    def public_zone(self) -> str:
        return str(self.sdk.dns.zones.create_or_update(self.rg, ZONE, dns.Zone(location="global")).name)

    @cached_property
    def workspace(self) -> Any:
        return made(self.sdk.workspaces.workspaces, self.rg, "logs", {"location": LOCATION, "properties": {}})

    @cached_property
    def endpoint(self) -> Any:
        return made(self.sdk.network.private_endpoints, self.rg, "blob", self.endpoint_body())

    @cached_property
    def protection(self) -> backup.Protection:
        return backup.Protection(self.azure, self.sdk, self.group).ready()

    def endpoint_body(self) -> dict[str, Any]:
        connection = {"name": "blob", "properties": {"privateLinkServiceId": self.account.id, "groupIds": ["blob"]}}
        subnet = {"id": self.network.subnets[0].id}
        return {
            "location": LOCATION,
            "properties": {"subnet": subnet, "privateLinkServiceConnections": [connection]},
        }

    def role(self, name: str) -> str:
        return f"{self.azure.subscription}/providers/Microsoft.Authorization/roleDefinitions/{name}"


@pytest.fixture
def world(azure: Running, group: str) -> Iterator[World]:
    yield World(azure, Clients(azure), group)
    # Those of a deleted vault keep its address, and there are not many.
    store = azure.simulator.engine.store
    with store.transaction():
        for vault in store.find("microsoft.keyvault/vaults"):
            for found in (*store.below(vault.id), vault):
                store.delete(found.id)


def tagged(operations: Any, name: tuple[str, ...], body: dict[str, Any], **more: Any) -> Life:
    """A resource with tags."""
    return Life(operations=operations, name=name, body=body, second=body | TAGGED, **more)


def child(operations: Any, name: tuple[str, ...], first: Any, second: Any, **more: Any) -> Life:
    """A resource without tags: two sets of its properties."""
    second_body = {"properties": first | second}
    return Life(operations=operations, name=name, body={"properties": first}, second=second_body, **more)


# --- one row for each type

LIVES: dict[str, Callable[[World], Life]] = {}


def life(type_name: str) -> Callable[[Callable[[World], Life]], Callable[[World], Life]]:
    """Register a row."""

    def register(row: Callable[[World], Life]) -> Callable[[World], Life]:
        LIVES[type_name.lower()] = row
        return row

    return register


@life("Microsoft.Resources/resourceGroups")
def resource_group(w: World) -> Life:
    return tagged(w.sdk.resources.resource_groups, (unique("rg-"),), {"location": LOCATION})


@life("Microsoft.Authorization/locks")
def lock(w: World) -> Life:
    first = {"level": "CanNotDelete"}
    return Life(
        operations=w.sdk.locks.management_locks,
        name=(w.group.lstrip("/"), "keep"),
        body=first,
        second=first | {"notes": "kept"},
        changed=("notes", "kept"),
        create="create_or_update_by_scope",
        get="get_by_scope",
        list="list_by_scope",
        delete="delete_by_scope",
    )


@life("Microsoft.Authorization/roleDefinitions")
def role_definition(w: World) -> Life:
    def body(description: str) -> Any:
        return authorization.RoleDefinition(
            role_name=f"role of {w.rg}",
            description=description,
            role_type="CustomRole",
            permissions=[authorization.Permission(actions=["Microsoft.Network/*/read"])],
            assignable_scopes=[w.azure.subscription],
        )

    return Life(
        operations=w.sdk.authorization.role_definitions,
        name=(w.azure.subscription, str(uuid.uuid4())),
        body=body("before"),
        second=body("after"),
        changed=("description", "after"),
    )


@life("Microsoft.Authorization/roleAssignments")
def role_assignment(w: World) -> Life:
    def body(description: str) -> Any:
        return authorization.RoleAssignmentCreateParameters(
            role_definition_id=w.role(READER),
            principal_id=w.identity.principal_id,
            principal_type="ServicePrincipal",
            description=description,
        )

    return Life(
        operations=w.sdk.authorization.role_assignments,
        name=(w.group, str(uuid.uuid4())),
        body=body("before"),
        second=body("after"),
        changed=("description", "after"),
        create="create",
        list="list_for_scope",
    )


@life("Microsoft.Insights/diagnosticSettings")
def diagnostic_setting(w: World) -> Life:
    def body(*categories: str) -> Any:
        logs = [monitor.LogSettings(category_group=name, enabled=True) for name in categories]
        return monitor.DiagnosticSettingsResource(workspace_id=w.workspace.id, logs=logs)

    return Life(
        operations=w.sdk.monitor.diagnostic_settings,
        name=(w.network.id, "to-logs"),
        body=body("allLogs"),
        second=body("audit"),
        changed=("logs.0.category_group", "audit"),
    )


@life("Microsoft.Compute/diskEncryptionSets")
def encryption_set(w: World) -> Life:
    officer = {"properties": {"roleDefinitionId": w.role("14b46e9e-c2b7-41b4-b07b-48a6ebf60603")}}
    officer["properties"]["principalId"] = w.azure.settings.object_id
    w.sdk.authorization.role_assignments.create(w.vault.id, str(uuid.uuid4()), officer)
    key = w.sdk.vaults.keys.create_if_not_exist(w.rg, w.vault.name, "disks", {"properties": {"kty": "RSA"}})
    active = {"keyUrl": key.properties.key_uri_with_version, "sourceVault": {"id": w.vault.id}}
    first = {"location": LOCATION, "identity": {"type": "SystemAssigned"}, "properties": {"activeKey": active}}
    operations = w.sdk.compute.disk_encryption_sets
    row = tagged(operations, (w.rg, "des"), first, list="list_by_resource_group")
    # Its own identity exists once it does, and a later write needs its access.
    user = {"properties": {"roleDefinitionId": w.role("e147488a-f6f5-4113-8e2d-b22465e65bf6")}}
    user["properties"]["principalId"] = row.written(first).identity.principal_id
    w.sdk.authorization.role_assignments.create(w.vault.id, str(uuid.uuid4()), user)
    return row


@life("Microsoft.ContainerRegistry/registries")
def registry(w: World) -> Life:
    body = {"location": LOCATION, "sku": {"name": "Premium"}, "properties": {}}
    operations = w.sdk.registries.registries
    return tagged(operations, (w.rg, unique("acr")), body, create="create", list="list_by_resource_group")


@life("Microsoft.ContainerService/managedClusters")
def managed_cluster(w: World) -> Life:
    operations = w.sdk.clusters.managed_clusters
    return tagged(operations, (w.rg, "other"), cluster_body(), list="list_by_resource_group")


@life("Microsoft.ContainerService/managedClusters/agentPools")
def agent_pool(w: World) -> Life:
    first = {"mode": "User", "count": 1, "vmSize": "Standard_D2s_v5"}
    return child(w.sdk.clusters.agent_pools, (w.rg, w.cluster, "more"), first, {"count": 2}, changed=("count", 2))


@life("Microsoft.ContainerService/managedClusters/maintenanceConfigurations")
def maintenance(w: World) -> Life:
    def window(hours: int) -> dict[str, Any]:
        schedule = {"weekly": {"intervalWeeks": 1, "dayOfWeek": "sunday"}}
        return {"maintenanceWindow": {"schedule": schedule, "durationHours": hours, "startTime": "01:00"}}

    operations, name = w.sdk.clusters.maintenance_configurations, (w.rg, w.cluster, "aksManagedAutoUpgradeSchedule")
    changed = ("maintenance_window.duration_hours", 6)
    return child(operations, name, window(4), window(6), changed=changed, list="list_by_managed_cluster")


@life("Microsoft.ContainerService/managedClusters/trustedAccessRoleBindings")
def trusted_access(w: World) -> Life:
    kind = "Microsoft.MachineLearningServices/workspaces"
    source = f"{w.group}/providers/{kind}/one"
    first, second = [f"{kind}/mlworkload"], [f"{kind}/mlworkload", f"{kind}/inference-v1"]
    operations = w.sdk.clusters.trusted_access_role_bindings
    properties = {"sourceResourceId": source, "roles": first}
    return child(operations, (w.rg, w.cluster, "ml"), properties, {"roles": second}, changed=("roles", second))


@life("Microsoft.KubernetesConfiguration/extensions")
def cluster_extension(w: World) -> Life:
    place = (w.rg, "Microsoft.ContainerService", "managedClusters", w.cluster, "flux")
    first, second = {"extensionType": "microsoft.flux"}, {"configurationSettings": {"a": "b"}}
    changed = ("configuration_settings", {"a": "b"})
    return child(w.sdk.extensions.extensions, place, first, second, changed=changed, create="create")


# Backup


@life("Microsoft.DataProtection/backupVaults")
def backup_vault(w: World) -> Life:
    operations = w.sdk.backup.backup_vaults
    return tagged(operations, (w.rg, "bvault"), backup.vault_body(), list="get_in_resource_group")


@life("Microsoft.DataProtection/backupVaults/backupPolicies")
def backup_policy(w: World) -> Life:
    return Life(
        operations=w.sdk.backup.backup_policies,
        name=(w.rg, w.protection.vault.name, "more"),
        body=backup.policy_body("P7D"),
        second=backup.policy_body("P14D"),
        changed=("properties.policy_rules.1.lifecycles.0.delete_after.duration", "P14D"),
    )


@life("Microsoft.DataProtection/backupVaults/backupInstances")
def backup_instance(w: World) -> Life:
    return Life(
        operations=w.sdk.backup.backup_instances,
        name=(w.rg, w.protection.vault.name, "aks"),
        body=w.protection.instance_body(),
        second=w.protection.instance_body(friendlyName="renamed"),
        changed=("properties.friendly_name", "renamed"),
    )


@life("Microsoft.DataProtection/backupVaults/deletedBackupInstances")
def deleted_backup_instance(w: World) -> Life:
    class Deleted:
        """What is left of an instance."""

        instances, deleted = w.sdk.backup.backup_instances, w.sdk.backup.deleted_backup_instances

        def create(self, *arguments: Any) -> Any:
            made(self.instances, *arguments)
            self.instances.begin_delete(*arguments[:-1]).result(30)
            return self.deleted.get(*arguments[:-1])

        def __getattr__(self, name: str) -> Any:
            return getattr(self.deleted, name)

    name, body = (w.rg, w.protection.vault.name, "aks"), w.protection.instance_body()
    return Life(operations=Deleted(), name=name, body=body, second=None, create="create")


@life("Microsoft.KeyVault/vaults")
def vault(w: World) -> Life:
    operations, body = w.sdk.vaults.vaults, vault_body(w.azure)
    return tagged(operations, (w.rg, unique("kv")), body, list="list_by_resource_group")


@life("Microsoft.ManagedIdentity/userAssignedIdentities")
def identity(w: World) -> Life:
    return Life(
        operations=w.sdk.identities.user_assigned_identities,
        name=(w.rg, "other"),
        body=identities.Identity(location=LOCATION),
        second=identities.Identity(location=LOCATION, tags=TAGGED["tags"]),
        list="list_by_resource_group",
    )


@life("Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials")
def federated_credential(w: World) -> Life:
    def body(subject: str) -> Any:
        return identities.FederatedIdentityCredential(
            issuer="https://issuer.example.org/", subject=subject, audiences=["api://AzureADTokenExchange"]
        )

    return Life(
        operations=w.sdk.identities.federated_identity_credentials,
        name=(w.rg, w.identity.name, "openmrs"),
        body=body("system:serviceaccount:openmrs:web"),
        second=body("system:serviceaccount:openmrs:other"),
        changed=("subject", "system:serviceaccount:openmrs:other"),
    )


@life("Microsoft.OperationalInsights/workspaces")
def workspace(w: World) -> Life:
    body = {"location": LOCATION, "properties": {"retentionInDays": 90}}
    return tagged(w.sdk.workspaces.workspaces, (w.rg, "others"), body, list="list_by_resource_group")


# Storage


@life("Microsoft.Storage/storageAccounts")
def storage_account(w: World) -> Life:
    operations = w.sdk.storage.storage_accounts
    more = {"create": "create", "get": "get_properties", "list": "list_by_resource_group"}
    return tagged(operations, (w.rg, unique("st")), account_body(), **more)


@life("Microsoft.Storage/storageAccounts/blobServices")
def blob_service(w: World) -> Life:
    operations, name = w.sdk.storage.blob_services, (w.rg, w.account.name)
    more: dict[str, Any] = {"create": "set_service_properties", "get": "get_service_properties", "listed": name}
    return child(operations, name, {}, {"isVersioningEnabled": True}, changed=("is_versioning_enabled", True), **more)


@life("Microsoft.Storage/storageAccounts/blobServices/containers")
def blob_container(w: World) -> Life:
    operations, name = w.sdk.storage.blob_containers, (w.rg, w.account.name, "made")
    return child(operations, name, {}, {"metadata": {"a": "b"}}, changed=("metadata", {"a": "b"}), create="create")


@life("Microsoft.Storage/storageAccounts/blobServices/containers/immutabilityPolicies")
def immutability_policy(w: World) -> Life:
    class Policies:
        """The client has these operations beside those of containers, with the body by its name, and no list."""

        containers = w.sdk.storage.blob_containers

        def create_or_update(self, *arguments: Any) -> Any:
            return self.containers.create_or_update_immutability_policy(*arguments[:-1], parameters=arguments[-1])

        def get(self, *name: str) -> Any:
            return self.containers.get_immutability_policy(*name)

        def list(self, *name: str) -> list[Any]:
            return [self.get(*name)]

        def delete(self, *name: str) -> Any:
            return self.containers.delete_immutability_policy(
                *name, etag=self.get(*name).etag, match_condition=MatchConditions.IfNotModified
            )

    name, days = (w.rg, w.account.name, w.container), "immutabilityPeriodSinceCreationInDays"
    changed = ("immutability_period_since_creation_in_days", 40)
    return child(Policies(), name, {days: 30}, {days: 40}, changed=changed, listed=name)


@life("Microsoft.Storage/storageAccounts/managementPolicies")
def management_policy(w: World) -> Life:
    def policy(days: int) -> dict[str, Any]:
        actions = {"baseBlob": {"delete": {"daysAfterCreationGreaterThan": days}}}
        return {"policy": {"rules": [{"name": "old", "type": "Lifecycle", "definition": {"actions": actions}}]}}

    class Policies:
        """An account has one, which the client does not list."""

        operations = w.sdk.storage.management_policies

        def __getattr__(self, name: str) -> Any:
            return getattr(self.operations, name)

        def list(self, *name: str) -> list[Any]:
            return [self.operations.get(*name)]

    name = (w.rg, w.account.name, "default")
    changed = "policy.rules.0.definition.actions.base_blob.delete.days_after_creation_greater_than"
    return child(Policies(), name, policy(30), policy(40), changed=(changed, 40), listed=name)


# Keys: ARM makes one and never changes nor deletes it.


@life("Microsoft.KeyVault/vaults/keys")
def key(w: World) -> Life:
    body = {"properties": {"kty": "RSA"}}
    name = (w.rg, w.vault.name, "one")
    return Life(operations=w.sdk.vaults.keys, name=name, body=body, second=None, create="create_if_not_exist")


@life("Microsoft.KeyVault/vaults/keys/versions")
def key_version(w: World) -> Life:
    class Versions:
        """The first one comes with its key."""

        keys = w.sdk.vaults.keys

        def create(self, *name: Any) -> Any:
            self.keys.create_if_not_exist(*name)
            [version] = self.keys.list_versions(*name[:-1])
            return version

        def get(self, *name: str) -> Any:
            [version] = self.keys.list_versions(*name)
            return self.keys.get_version(*name, version.name)

        def list(self, *name: str) -> Any:
            return self.keys.list_versions(*name)

    name = (w.rg, w.vault.name, "one")
    body = {"properties": {"kty": "RSA"}}
    return Life(operations=Versions(), name=name, body=body, second=None, create="create", listed=name)


# Network


@life("Microsoft.Network/virtualNetworks")
def virtual_network(w: World) -> Life:
    return tagged(w.sdk.network.virtual_networks, (w.rg, "spoke"), vnet_body("10.2.0.0/16"))


@life("Microsoft.Network/virtualNetworks/subnets")
def subnet(w: World) -> Life:
    first, second = {"addressPrefix": "10.0.9.0/24"}, {"privateEndpointNetworkPolicies": "Enabled"}
    changed = ("private_endpoint_network_policies", "Enabled")
    return child(w.sdk.network.subnets, (w.rg, w.network.name, "more"), first, second, changed=changed)


@life("Microsoft.Network/networkSecurityGroups")
def security_group(w: World) -> Life:
    return tagged(w.sdk.network.network_security_groups, (w.rg, "nsg"), {"location": LOCATION})


@life("Microsoft.Network/networkSecurityGroups/securityRules")
def security_rule(w: World) -> Life:
    made(w.sdk.network.network_security_groups, w.rg, "nsg", {"location": LOCATION})
    anything = {"sourceAddressPrefix": "*", "sourcePortRange": "*", "destinationAddressPrefix": "*"}
    first = anything | {"priority": 100, "direction": "Inbound", "access": "Allow", "protocol": "Tcp"}
    first["destinationPortRange"] = "443"
    return child(
        w.sdk.network.security_rules, (w.rg, "nsg", "https"), first, {"priority": 200}, changed=("priority", 200)
    )


@life("Microsoft.Network/routeTables")
def route_table(w: World) -> Life:
    return tagged(w.sdk.network.route_tables, (w.rg, "routes"), {"location": LOCATION})


@life("Microsoft.Network/routeTables/routes")
def route(w: World) -> Life:
    made(w.sdk.network.route_tables, w.rg, "routes", {"location": LOCATION})
    first, second = {"addressPrefix": "10.8.0.0/16", "nextHopType": "None"}, {"addressPrefix": "10.9.0.0/16"}
    name = (w.rg, "routes", "out")
    return child(w.sdk.network.routes, name, first, second, changed=("address_prefix", "10.9.0.0/16"))


@life("Microsoft.Network/publicIPAddresses")
def public_address(w: World) -> Life:
    body = {"location": LOCATION, "sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}}
    return tagged(w.sdk.network.public_ip_addresses, (w.rg, "ip"), body)


@life("Microsoft.Network/natGateways")
def nat_gateway(w: World) -> Life:
    body = {"location": LOCATION, "sku": {"name": "Standard"}, "properties": {}}
    return tagged(w.sdk.network.nat_gateways, (w.rg, "nat"), body)


@life("Microsoft.Network/privateEndpoints")
def private_endpoint(w: World) -> Life:
    return tagged(w.sdk.network.private_endpoints, (w.rg, "other"), w.endpoint_body())


@life("Microsoft.Network/privateEndpoints/privateDnsZoneGroups")
def zone_group(w: World) -> Life:
    zones = [
        made(w.sdk.private_dns.private_zones, w.rg, f"privatelink.{name}", {"location": "global"})
        for name in ("blob.core.windows.net", "web.core.windows.net")
    ]

    def configured(zone: Any) -> dict[str, Any]:
        return {"privateDnsZoneConfigs": [{"name": "blob", "properties": {"privateDnsZoneId": zone.id}}]}

    name = (w.rg, w.endpoint.name, "default")
    changed = ("private_dns_zone_configs.0.private_dns_zone_id", zones[1].id)
    bodies = (configured(zones[0]), configured(zones[1]))
    # This client has the group last in its list.
    return child(w.sdk.network.private_dns_zone_groups, name, *bodies, changed=changed, listed=(name[1], name[0]))


# Names


@life("Microsoft.Network/privateDnsZones")
def private_zone(w: World) -> Life:
    operations, body = w.sdk.private_dns.private_zones, {"location": "global"}
    return tagged(operations, (w.rg, "other.example.org"), body, list="list_by_resource_group")


@life("Microsoft.Network/privateDnsZones/virtualNetworkLinks")
def network_link(w: World) -> Life:
    properties = {"virtualNetwork": {"id": w.network.id}, "registrationEnabled": False}
    body = {"location": "global", "properties": properties}
    return tagged(w.sdk.private_dns.virtual_network_links, (w.rg, w.private_zone.name, "hub"), body)


@life("Microsoft.Network/dnsZones")
def public_zone(w: World) -> Life:
    return Life(
        operations=w.sdk.dns.zones,
        name=(w.rg, "other.example.org"),
        body=dns.Zone(location="global"),
        second=dns.Zone(location="global", tags=TAGGED["tags"]),
        list="list_by_resource_group",
    )


def private_record(kind: str, record: dict[str, Any], name: str = "one") -> Callable[[World], Life]:
    def row(w: World) -> Life:
        place, operations = (w.rg, w.private_zone.name, kind, name), w.sdk.private_dns.record_sets
        return child(operations, place, {"ttl": 300, **record}, {"ttl": 600}, changed=("ttl", 600), list="list_by_type")

    return row


def public_record(kind: str, record: Any, name: str = "one") -> Callable[[World], Life]:
    def row(w: World) -> Life:
        def body(ttl: int) -> Any:
            return dns.RecordSet(**{**record, "ttl": ttl})

        return Life(
            operations=w.sdk.dns.record_sets,
            name=(w.rg, w.public_zone, name, kind),
            body=body(300),
            second=body(600),
            changed=("ttl", 600),
            list="list_by_type",
            listed=(w.rg, w.public_zone, kind),
        )

    return row


class ById:
    """Kinds of records that are newer than the client for DNS: the one that takes any resource by its id."""

    version = "2023-07-01-preview"

    def __init__(self, w: World) -> None:
        self.resources, self.place = w.sdk.resources.resources, f"{w.group}/providers/Microsoft.Network/dnsZones"

    def create_or_update(self, zone: str, kind: str, name: str, body: Any) -> Any:
        return self._call("begin_create_or_update_by_id", zone, kind, name, body).result(30)

    def get(self, zone: str, kind: str, name: str) -> Any:
        return self._call("get_by_id", zone, kind, name)

    def list(self, zone: str, kind: str) -> list[Any]:
        # There is no list by an id.
        return [self.get(zone, kind, "one")]

    def delete(self, zone: str, kind: str, name: str) -> None:
        self._call("begin_delete_by_id", zone, kind, name).result(30)

    def _call(self, operation: str, zone: str, kind: str, name: str, *body: Any) -> Any:
        place = f"{self.place}/{zone}/{kind}/{name}"
        return getattr(self.resources, operation)(place, *body, api_version=self.version)


def newer_record(kind: str, record: dict[str, Any]) -> Callable[[World], Life]:
    def row(w: World) -> Life:
        name = (w.public_zone, kind, "one")
        return Life(
            operations=ById(w),
            name=name,
            body={"properties": {"TTL": 300, **record}},
            second={"properties": {"TTL": 600, **record}},
            changed=("properties.TTL", 600),
        )

    return row


NEWER_PUBLIC: dict[str, dict[str, Any]] = {
    "DS": {"DSRecords": [{"keyTag": 1, "algorithm": 13, "digest": {"algorithmType": 2, "value": "ab" * 32}}]},
    "NAPTR": {
        "NAPTRRecords": [
            {
                "order": 1,
                "preference": 1,
                "flags": "U",
                "services": "SIP",
                "regexp": "!^.*$!sip:a@b.c!",
                "replacement": "",
            }
        ]
    },
    "TLSA": {
        "TLSARecords": [{"usage": 3, "selector": 1, "matchingType": 1, "certAssociationData": "ab" * 32}],
    },
}
for kind, record in PRIVATE_RECORDS.items():
    life(f"Microsoft.Network/privateDnsZones/{kind}")(private_record(kind, record))
soa = {"soaRecord": {"email": "azureprivatedns-host.microsoft.com"}}
life("Microsoft.Network/privateDnsZones/SOA")(private_record("SOA", soa, "@"))
for kind, known in PUBLIC_RECORDS.items():
    members = {key: value for key, value in vars(known).items() if key.endswith(("records", "record")) and value}
    life(f"Microsoft.Network/dnsZones/{kind}")(public_record(kind, members))
public_soa = {"soa_record": dns.SoaRecord(email="azuredns-hostmaster.microsoft.com")}
life("Microsoft.Network/dnsZones/SOA")(public_record("SOA", public_soa, "@"))
for kind, record in NEWER_PUBLIC.items():
    life(f"Microsoft.Network/dnsZones/{kind}")(newer_record(kind, record))


# --- what each of them goes through


def attribute(model: Any, path: str) -> Any:
    """The value at a path of attributes, keys and numbers."""

    def step(at: Any, part: str) -> Any:
        if part.isdigit():
            return at[int(part)]
        return at[part] if isinstance(at, dict) else getattr(at, part)

    return reduce(step, path.split("."), model)


def test_no_type_is_left_out() -> None:
    assert set(LIVES) == set(typedata.load())


@pytest.mark.parametrize("type_name", sorted(LIVES))
def test_life(world: World, type_name: str) -> None:
    one, methods = LIVES[type_name](world), typedata.load()[type_name].methods
    created = one.written(one.body)
    assert one.found().id.lower() == created.id.lower()
    assert created.id.lower() in one.ids()
    if one.second is not None:
        path, value = one.changed
        assert attribute(one.found(), path) != value
        one.written(one.second)
        assert attribute(one.found(), path) == value
    if "DELETE" in methods:
        one.end()
        with pytest.raises(ResourceNotFoundError):
            one.found()
