# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""The clients of Key Vault, Storage, Container Registry, Log Analytics, Monitor, identities, roles and locks."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mgmt.authorization.v2022_04_01 import models as authorization
from azure.mgmt.monitor.v2021_05_01_preview import models as monitor
from azure.mgmt.msi import models as identities

from tests.lab.azure.testing import Running
from tests.lab.tests.sdk import LOCATION, Clients, account_body, code, made, vault_body, vnet_body

READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"


@pytest.fixture
def sdk(azure: Running) -> Clients:
    return Clients(azure)


@pytest.fixture
def rg(group: str) -> str:
    return group.rsplit("/", 1)[-1]


def unique(prefix: str) -> str:
    return prefix + uuid.uuid4().hex[:10]


def test_vault_is_created_updated_listed_deleted_and_recovered(azure: Running, sdk: Clients, rg: str) -> None:
    vaults, name = sdk.vaults.vaults, unique("kv")
    created = made(vaults, rg, name, vault_body(azure, enablePurgeProtection=True))
    assert created.properties.enable_soft_delete is True
    assert (created.properties.soft_delete_retention_in_days, created.properties.public_network_access) == (
        90,
        "Enabled",
    )
    assert created.properties.vault_uri.startswith("https://127.10.0.")
    patched = vaults.update(rg, name, {"properties": {"publicNetworkAccess": "Disabled"}})
    assert patched.properties.public_network_access == "Disabled"
    assert patched.properties.enable_purge_protection is True
    assert name in [vault.name for vault in vaults.list_by_resource_group(rg)]
    vaults.delete(rg, name)
    assert name in [vault.name for vault in vaults.list_deleted()]
    with pytest.raises(HttpResponseError) as taken:
        made(vaults, rg, name, vault_body(azure))
    assert code(taken.value) == "ConflictError"
    back = made(vaults, rg, name, vault_body(azure, createMode="recover"))
    assert back.properties.vault_uri == created.properties.vault_uri


def test_backups_are_kept_and_go_by_policies(sdk: Clients, rg: str) -> None:
    name = unique("st")
    sdk.storage.storage_accounts.begin_create(rg, name, account_body()).result(30)
    sdk.storage.blob_containers.create(rg, name, "backups", {})
    kept = {"properties": {"immutabilityPeriodSinceCreationInDays": 30, "allowProtectedAppendWrites": False}}
    policy = sdk.storage.blob_containers.create_or_update_immutability_policy(rg, name, "backups", parameters=kept)
    assert (policy.state, policy.immutability_period_since_creation_in_days) == ("Unlocked", 30)
    delete = {"delete": {"daysAfterCreationGreaterThan": 36}}
    rule = {"name": "backups", "type": "Lifecycle", "definition": {"actions": {"baseBlob": delete, "version": delete}}}

    def put(*rules: dict[str, Any]) -> Any:
        properties = {"properties": {"policy": {"rules": list(rules)}}}
        return sdk.storage.management_policies.create_or_update(rg, name, "default", properties)

    made_rule = put(rule).policy.rules[0]
    assert (made_rule.enabled, made_rule.definition.actions.version.delete.days_after_creation_greater_than) == (
        True,
        36,
    )
    for refused in ([rule, rule], [{**rule, "type": "Other"}], [{"name": "backups", "type": "Lifecycle"}]):
        with pytest.raises(HttpResponseError) as caught:
            put(*refused)
        assert caught.value.status_code == 400


def test_storage_account_with_its_blob_service_and_containers(sdk: Clients, rg: str) -> None:
    accounts, name = sdk.storage.storage_accounts, unique("st")
    created = accounts.begin_create(rg, name, account_body(allowSharedKeyAccess=False)).result(30)
    assert (created.minimum_tls_version, created.access_tier, created.sku.tier) == ("TLS1_2", "Hot", "Standard")
    assert created.primary_endpoints.blob == f"https://{name}.blob.core.windows.net/"
    kept = accounts.begin_create(rg, name, account_body(minimumTlsVersion="TLS1_3")).result(30)
    assert (kept.minimum_tls_version, kept.allow_shared_key_access) == ("TLS1_3", False)
    assert accounts.update(rg, name, {"tags": {"a": "b"}}).tags == {"a": "b"}
    assert len(accounts.list_keys(rg, name).keys_property) == 2
    assert not accounts.check_name_availability(
        {"name": name, "type": "Microsoft.Storage/storageAccounts"}
    ).name_available
    service = sdk.storage.blob_services.get_service_properties(rg, name)
    assert service.delete_retention_policy.enabled is False
    wanted = {"properties": {"isVersioningEnabled": True, "deleteRetentionPolicy": {"enabled": True, "days": 30}}}
    assert sdk.storage.blob_services.set_service_properties(rg, name, wanted).is_versioning_enabled
    containers = sdk.storage.blob_containers
    container = containers.create(rg, name, "lease", {})
    assert (container.public_access, container.lease_state) == ("None", None) or container.lease_state == "Available"
    assert [found.name for found in containers.list(rg, name)] == ["lease"]
    assert containers.update(rg, name, "lease", {"properties": {"metadata": {"a": "b"}}}).metadata == {"a": "b"}
    containers.delete(rg, name, "lease")
    accounts.delete(rg, name)
    with pytest.raises(ResourceNotFoundError):
        accounts.get_properties(rg, name)


def test_replicated_account_shows_its_second_region(sdk: Clients, rg: str) -> None:
    body = account_body() | {"sku": {"name": "Standard_RAGZRS"}}
    name = unique("st")
    account = sdk.storage.storage_accounts.begin_create(rg, name, body).result(30)
    assert account.secondary_location == "francesouth"
    assert account.secondary_endpoints.blob == f"https://{name}-secondary.blob.core.windows.net/"


def test_registry_imports_images_once(sdk: Clients, rg: str) -> None:
    registries, name = sdk.registries.registries, unique("acr")
    body = {"location": LOCATION, "sku": {"name": "Premium"}, "properties": {"publicNetworkAccess": "Disabled"}}
    created = registries.begin_create(rg, name, body).result(30)
    assert (created.login_server, created.sku.tier) == (f"{name}.azurecr.io", "Premium")
    assert created.policies.export_policy.status == "enabled"
    image = {
        "source": {"registryUri": "docker.io", "sourceImage": "library/mariadb:11.8"},
        "targetTags": ["mariadb:11.8"],
        "mode": "NoForce",
    }
    registries.begin_import_image(rg, name, image).result(30)
    with pytest.raises(HttpResponseError) as twice:
        registries.begin_import_image(rg, name, image).result(30)
    assert "already exists" in str(twice.value)
    registries.begin_import_image(rg, name, image | {"mode": "Force"}).result(30)
    assert registries.begin_update(rg, name, {"tags": {"a": "b"}}).result(30).tags == {"a": "b"}
    assert [found.name for found in registries.list_by_resource_group(rg)] == [name]
    assert not registries.check_name_availability(
        {"name": name, "type": "Microsoft.ContainerRegistry/registries"}
    ).name_available
    with pytest.raises(HttpResponseError) as no_admin:
        registries.list_credentials(rg, name)
    assert code(no_admin.value) == "UnAuthorizedForCredentialOperations"
    registries.begin_delete(rg, name).result(30)


def test_workspace_and_diagnostic_settings(sdk: Clients, rg: str) -> None:
    workspace = made(
        sdk.workspaces.workspaces, rg, "logs", {"location": LOCATION, "properties": {"retentionInDays": 90}}
    )
    assert (workspace.sku.name, workspace.retention_in_days) == ("PerGB2018", 90)
    assert workspace.customer_id
    network = made(sdk.network.virtual_networks, rg, "hub", vnet_body())
    settings = sdk.monitor.diagnostic_settings
    wanted = monitor.DiagnosticSettingsResource(
        workspace_id=workspace.id, logs=[monitor.LogSettings(category_group="allLogs", enabled=True)]
    )
    created = settings.create_or_update(network.id, "to-logs", wanted)
    assert created.logs[0].category_group == "allLogs"
    assert [found.name for found in settings.list(network.id)] == ["to-logs"]
    assert settings.get(network.id, "to-logs").workspace_id == workspace.id
    with pytest.raises(HttpResponseError) as again:
        settings.create_or_update(network.id, "twice", wanted)
    assert again.value.status_code == 409
    with pytest.raises(HttpResponseError) as nowhere:
        settings.create_or_update(network.id, "nowhere", monitor.DiagnosticSettingsResource(logs=wanted.logs))
    assert nowhere.value.status_code == 400
    settings.delete(network.id, "to-logs")
    assert list(settings.list(network.id)) == []
    sdk.workspaces.workspaces.begin_delete(rg, "logs").result(30)


def test_identity_with_federated_credential_and_role(azure: Running, sdk: Clients, rg: str) -> None:
    identity = sdk.identities.user_assigned_identities.create_or_update(
        rg, "workload", identities.Identity(location=LOCATION)
    )
    wanted = identities.FederatedIdentityCredential(
        issuer="https://issuer.example.org/",
        subject="system:serviceaccount:openmrs:web",
        audiences=["api://AzureADTokenExchange"],
    )
    credentials = sdk.identities.federated_identity_credentials
    credentials.create_or_update(rg, "workload", "openmrs", wanted)
    assert [found.subject for found in credentials.list(rg, "workload")] == [wanted.subject]
    scope = f"{azure.subscription}/resourceGroups/{rg}"
    assignment = sdk.authorization.role_assignments.create(
        scope,
        str(uuid.uuid4()),
        authorization.RoleAssignmentCreateParameters(
            role_definition_id=f"{azure.subscription}/providers/Microsoft.Authorization/roleDefinitions/{READER}",
            principal_id=identity.principal_id,
            principal_type="ServicePrincipal",
        ),
    )
    found = sdk.authorization.role_assignments.list_for_scope(scope, filter=f"principalId eq '{identity.principal_id}'")
    assert [entry.id.lower() for entry in found] == [assignment.id.lower()]
    sdk.authorization.role_assignments.delete_by_id(assignment.id)
    credentials.delete(rg, "workload", "openmrs")
    sdk.identities.user_assigned_identities.delete(rg, "workload")


def test_lock_refuses_the_deletion_until_it_is_gone(sdk: Clients, rg: str) -> None:
    made(sdk.network.virtual_networks, rg, "hub", vnet_body())
    sdk.locks.management_locks.create_or_update_at_resource_group_level(rg, "keep", {"level": "CanNotDelete"})
    with pytest.raises(HttpResponseError) as locked:
        sdk.network.virtual_networks.begin_delete(rg, "hub")
    assert (locked.value.status_code, code(locked.value)) == (409, "ScopeLocked")
    sdk.locks.management_locks.delete_at_resource_group_level(rg, "keep")
    sdk.network.virtual_networks.begin_delete(rg, "hub").result(30)


def test_resource_group_goes_with_everything_in_it(sdk: Clients, azure: Running) -> None:
    groups: Any = sdk.resources.resource_groups
    name = unique("rg-")
    assert (
        groups.create_or_update(name, {"location": LOCATION, "tags": {"a": "b"}}).properties.provisioning_state
        == "Succeeded"
    )
    assert groups.check_existence(name)
    made(sdk.network.virtual_networks, name, "hub", vnet_body())
    assert [found.name for found in sdk.resources.resources.list_by_resource_group(name)] == ["hub"]
    groups.begin_delete(name).result(30)
    assert not groups.check_existence(name)
    with pytest.raises(ResourceNotFoundError) as gone:
        sdk.network.virtual_networks.get(name, "hub")
    assert code(gone.value) == "ResourceGroupNotFound"
