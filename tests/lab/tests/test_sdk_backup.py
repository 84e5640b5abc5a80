# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""Azure Backup for AKS through Microsoft's clients: the whole path, and everything that it is refused for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from tests.lab.azure.behaviours import backup_checks
from tests.lab.azure.deletion import Deletion
from tests.lab.azure.testing import Running, serve
from tests.lab.tests.backup import (
    BLOB_CONTRIBUTOR,
    DATASOURCE,
    DISK_DATA_OPERATOR,
    EXTENSION,
    OPERATOR,
    SNAPSHOT_CONTRIBUTOR,
    Protection,
    policy_body,
    vault_body,
)
from tests.lab.tests.sdk import LOCATION, Clients, cluster_body, code, made

GENERIC = "UserErrorGenericResourceNotFound"
INVALID = "BMSUserErrorInvalidInput"
SNAPSHOTS = "UserErrorMissingMSIPermissionsOnSnapshotResourceGroup"


@pytest.fixture
def world(azure: Running, group: str) -> Iterator[Protection]:
    yield Protection(azure, Clients(azure), group)
    # The pools of earlier tests use up the quota.
    store = azure.simulator.engine.store
    with store.transaction():
        for pool in store.find("microsoft.containerservice/managedclusters/agentpools"):
            store.delete(pool.id)


def refusal(call: Callable[[], Any]) -> tuple[int | None, str]:
    """Status and code of what a call is refused with."""
    with pytest.raises(HttpResponseError) as caught:
        call()
    return caught.value.status_code, code(caught.value)


def settled(world: Protection, name: str = "aks") -> Any:
    """The instance, once its protection is no longer being configured."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = world.sdk.backup.backup_instances.get(world.rg, world.vault.name, name)
        if found.properties.current_protection_state not in ("ConfiguringProtection", "UpdatingProtection"):
            return found
        time.sleep(0.02)
    raise AssertionError("the protection is still being configured")


def older_vault(world: Protection, body: dict[str, Any], name: str = "vault", *, patch: bool = False) -> Any:
    """Write a vault in the last version that takes soft delete which can be turned off.

    The client for Data Protection makes no vaults in older versions than 2025-09-01; the one for any resource does.
    """
    resources, place = world.sdk.resources.resources, f"{world.group}/providers/Microsoft.DataProtection/backupVaults"
    write = resources.begin_update_by_id if patch else resources.begin_create_or_update_by_id
    write(f"{place}/{name}", body, api_version="2025-07-01").result(30)
    return world.sdk.backup.backup_vaults.get(world.rg, name)


# --- the whole path


def test_a_cluster_is_protected_a_while_after_the_operation_has_ended(world: Protection) -> None:
    world.ready()
    world.azure.control("POST", "/lab/settings", {"time_scale": 2})
    try:
        asked = world.protect()
    finally:
        world.azure.control("POST", "/lab/settings", {"time_scale": 0.1})
    assert asked.properties.provisioning_state == "Succeeded"
    assert asked.properties.protection_status.status == "ConfiguringProtection"
    found = settled(world).properties
    assert (found.protection_status.status, found.current_protection_state) == ("ProtectionConfigured",) * 2
    parameters = found.policy_info.policy_parameters.backup_datasource_parameters_list[0]
    assert (parameters.included_namespaces, parameters.excluded_namespaces) == (["openmrs"], [])
    assert parameters["labelSelectors"] is None
    assert [one.name for one in world.sdk.backup.backup_instances.list(world.rg, world.vault.name)] == ["aks"]


def test_a_vault_and_its_policy_are_shown_as_azure_shows_them(world: Protection) -> None:
    shown = world.vault.properties
    assert (shown.provisioning_state, shown.secure_score, shown.bcdr_security_level) == (
        "Succeeded",
        "Adequate",
        "Good",
    )
    assert (shown.is_vault_protected_by_resource_guard, shown.replicated_regions) == (False, [])
    assert world.azure.simulator.directory.by_object_id(world.vault.identity.principal_id) is not None
    rules = world.policy.properties.policy_rules
    assert rules[0].trigger.tagging_criteria[0].tag_info.id == "Default_"
    found = world.sdk.backup.backup_vaults.get_in_subscription()
    assert world.vault.id in [one.id for one in found]


def test_validation_says_the_same_without_making_anything(world: Protection) -> None:
    request = {"backupInstance": world.ready().instance_body()["properties"]}
    ask = world.sdk.backup.backup_instances.begin_validate_for_backup
    assert ask(world.rg, world.vault.name, request).result(30).object_type == "OperationJobExtendedInfo"
    world.sdk.authorization.role_assignments.delete_by_id(world.grants["extension writes blobs"].id)
    expected = "UserErrorExtensionMSIMissingPermissionsOnBackupStorageLocation"
    assert refusal(lambda: ask(world.rg, world.vault.name, request).result(30))[1] == expected
    assert list(world.sdk.backup.backup_instances.list(world.rg, world.vault.name)) == []


# --- what a new instance is refused for


def another_vault(world: Protection, name: str = "other", **body: Any) -> Any:
    return made(world.sdk.backup.backup_vaults, world.rg, name, vault_body() | body)


def policy_of_another_vault(world: Protection) -> None:
    vault = another_vault(world)
    world.policy = world.sdk.backup.backup_policies.create_or_update(world.rg, vault.name, "daily", policy_body())


def policy_for_disks(world: Protection) -> None:
    body = policy_body(datasource="Microsoft.Compute/disks")
    world.policy = world.sdk.backup.backup_policies.create_or_update(world.rg, world.vault.name, "disks", body)


def no_policy(world: Protection) -> None:
    world.sdk.backup.backup_policies.delete(world.rg, world.vault.name, world.policy.name)


def no_cluster(world: Protection) -> None:
    world.sdk.clusters.managed_clusters.begin_delete(world.rg, world.cluster.name).result(30)


def cluster_elsewhere(world: Protection) -> None:
    body = cluster_body() | {"location": "westeurope"}
    world.cluster = made(world.sdk.clusters.managed_clusters, world.rg, "far", body)


def without(grant: str) -> Callable[[Protection], None]:
    def take(world: Protection) -> None:
        world.sdk.authorization.role_assignments.delete_by_id(world.grants[grant].id)

    return take


def no_extension(world: Protection) -> None:
    world.sdk.extensions.extensions.begin_delete(*world.place, EXTENSION).result(30)


def broken_extension(world: Protection) -> None:
    fault = {"fault": "fail-operation", "match": "PUT .*extensions", "code": "ExtensionOperationFailed"}
    world.azure.control("POST", "/lab/faults", fault)
    body = world.extension_body(more="memory")
    with pytest.raises(HttpResponseError):
        world.sdk.extensions.extensions.begin_create(*world.place, EXTENSION, body).result(30)


def no_binding(world: Protection) -> None:
    world.sdk.clusters.trusted_access_role_bindings.begin_delete(world.rg, world.cluster.name, "backup").result(30)


def binding_of_another_vault(world: Protection) -> None:
    no_binding(world)
    body = {"properties": {"sourceResourceId": another_vault(world).id, "roles": [OPERATOR]}}
    made(world.sdk.clusters.trusted_access_role_bindings, world.rg, world.cluster.name, "backup", body)


def no_snapshot_group(world: Protection) -> None:
    world.sdk.resources.resource_groups.begin_delete(world.snapshots.rsplit("/", 1)[-1]).result(30)


def locked_snapshots(world: Protection) -> None:
    place = world.snapshots.lstrip("/")
    world.sdk.locks.management_locks.create_or_update_by_scope(place, "keep", {"level": "CanNotDelete"})


def copies_to_the_vault(world: Protection) -> None:
    body = policy_body(in_vault=True)
    world.policy = world.sdk.backup.backup_policies.create_or_update(world.rg, world.vault.name, "copies", body)


def protected_already(world: Protection) -> None:
    world.protect("first")


def deleted_before(world: Protection) -> None:
    world.protect("first")
    world.sdk.backup.backup_instances.begin_delete(world.rg, world.vault.name, "first").result(30)


REFUSALS: dict[str, tuple[Callable[[Protection], None], str | None, tuple[int, str]]] = {
    # what is wrong, the check that sees it (None: a rule of the data, or a look that cannot be left out), the answer
    "the policy does not exist": (no_policy, None, (404, GENERIC)),
    "the policy is another vault's": (policy_of_another_vault, None, (400, INVALID)),
    "the policy is for disks": (policy_for_disks, "policy_fits", (400, INVALID)),
    "the cluster does not exist": (no_cluster, None, (404, GENERIC)),
    "the cluster is in another region": (cluster_elsewhere, None, (400, INVALID)),
    "the vault cannot read the cluster": (
        without("vault reads cluster"),
        "vault_reads_cluster",
        (400, "KubernetesBackupListExtensionsError"),
    ),
    "no extension": (no_extension, "extension_works", (400, "UserErrorKubernetesBackupExtensionNotFoundError")),
    "a failed extension": (broken_extension, "extension_works", (400, "UserErrorKubernetesBackupExtensionHasErrors")),
    "no trusted access": (
        no_binding,
        "trusted_access_given",
        (400, "UserErrorTrustedAccessGatewayReturnedForbidden"),
    ),
    "trusted access of another vault": (
        binding_of_another_vault,
        "trusted_access_given",
        (400, "UserErrorTrustedAccessGatewayReturnedForbidden"),
    ),
    "no group for snapshots": (no_snapshot_group, None, (404, GENERIC)),
    "a lock on the snapshots": (locked_snapshots, "snapshots_can_go", (400, "UserErrorSnapshotResourceGroupHasLocks")),
    "the vault cannot read the snapshots": (without("vault reads snapshots"), "snapshots_permitted", (400, SNAPSHOTS)),
    "the cluster cannot make snapshots": (without("cluster makes snapshots"), "snapshots_permitted", (400, SNAPSHOTS)),
    "the vault cannot copy snapshots": (copies_to_the_vault, "snapshots_permitted", (400, SNAPSHOTS)),
    "protected already": (
        protected_already,
        "once",
        (400, "UserErrorMultiProtectionNotAllowedWithSameVaultAndSamePolicy"),
    ),
    "soft-deleted": (deleted_before, "once", (400, "UserErrorDppDatasourceAlreadyProtected")),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_an_instance_is_refused(world: Protection, case: str) -> None:
    spoil, _, expected = REFUSALS[case]
    spoil(world.ready())
    assert refusal(world.protect) == expected


@pytest.mark.sabotage
@pytest.mark.parametrize("case", [name for name, (_, check, _) in REFUSALS.items() if check])
def test_without_the_check_it_is_made(world: Protection, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil, name, _ = REFUSALS[case]
    spoil(world.ready())
    left = tuple(check for check in backup_checks.VALIDATION if check.__name__ != name)
    assert len(left) == len(backup_checks.VALIDATION) - 1
    monkeypatch.setattr(backup_checks, "VALIDATION", left)
    assert world.protect().properties.provisioning_state == "Succeeded"


def test_a_vault_that_copies_snapshots_needs_two_more_roles(world: Protection) -> None:
    copies_to_the_vault(world.ready())
    for role in (SNAPSHOT_CONTRIBUTOR, DISK_DATA_OPERATOR):
        assert refusal(world.protect) == (400, SNAPSHOTS)
        world.sdk.grant(world.vault.identity.principal_id, role, world.snapshots)
    assert world.protect().properties.provisioning_state == "Succeeded"


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("objectType", None, INVALID),
        ("friendlyName", "", INVALID),
        ("dataSourceInfo.resourceID", None, INVALID),
        ("dataSourceInfo.datasourceType", "Microsoft.Compute/disks", INVALID),
        ("dataSourceInfo.resourceLocation", "westeurope", INVALID),
        ("policyInfo.policyId", None, INVALID),
        ("policyInfo.policyParameters.dataStoreParametersList", [], INVALID),
        (
            "policyInfo.policyParameters.backupDatasourceParametersList",
            [],
            "UserErrorInvalidBackupDatasourceParameters",
        ),
    ],
)
def test_an_incomplete_instance_is_refused(world: Protection, path: str, value: Any, expected: str) -> None:
    body = world.ready().instance_body()
    at, parts = body["properties"], path.split(".")
    for part in parts[:-1]:
        at = at[part]
    at[parts[-1]] = value
    ask = world.sdk.backup.backup_instances.begin_create_or_update
    assert refusal(lambda: ask(world.rg, world.vault.name, "aks", body)) == (400, expected)


# --- what is seen later


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (
            without("extension writes blobs"),
            "UserErrorExtensionMSIMissingPermissionsOnBackupStorageLocation",
        ),
        (
            lambda world: world.sdk.storage.blob_containers.delete(world.rg, world.account.name, "backups"),
            "UserErrorNoDefaultBackupStorageLocationFound",
        ),
    ],
)
def test_the_instance_says_when_the_storage_is_out_of_reach(
    world: Protection, spoil: Callable[[Protection], None], expected: str
) -> None:
    spoil(world.ready())
    assert world.protect().properties.provisioning_state == "Succeeded"
    found = settled(world).properties
    assert found.current_protection_state == found.protection_status.status == "ConfiguringProtectionFailed"
    assert found.protection_status.error_details.code == found.protection_error_details.code == expected


def test_what_was_repaired_is_tried_again(world: Protection) -> None:
    without("extension writes blobs")(world.ready())
    world.protect()
    assert settled(world).properties.current_protection_state == "ConfiguringProtectionFailed"
    extension = world.extension.properties.aks_assigned_identity.principal_id
    world.sdk.grant(extension, BLOB_CONTRIBUTOR, world.account.id)
    world.sdk.backup.backup_instances.begin_sync_backup_instance(world.rg, world.vault.name, "aks", {}).result(30)
    assert settled(world).properties.current_protection_state == "ProtectionConfigured"


@pytest.mark.sabotage
def test_without_the_look_at_storage_protection_is_configured(
    world: Protection, monkeypatch: pytest.MonkeyPatch
) -> None:
    without("extension writes blobs")(world.ready())
    monkeypatch.setattr(backup_checks, "CONFIGURATION", ())
    world.protect()
    assert settled(world).properties.current_protection_state == "ProtectionConfigured"


# --- deletion


def test_what_protects_is_deleted_after_the_instance(world: Protection) -> None:
    world.ready().protect()
    backup, name = world.sdk.backup, world.vault.name
    in_use = "UserErrorDppPolicyObjectInUse"
    assert refusal(lambda: backup.backup_policies.delete(world.rg, name, world.policy.name)) == (400, in_use)
    not_empty = (400, "ServiceResourceNotEmptyWithBackendMessage")
    assert refusal(lambda: backup.backup_vaults.begin_delete(world.rg, name)) == not_empty
    backup.backup_instances.begin_delete(world.rg, name, "aks").result(30)
    with pytest.raises(ResourceNotFoundError):
        backup.backup_instances.get(world.rg, name, "aks")
    [deleted] = backup.deleted_backup_instances.list(world.rg, name)
    assert (deleted.name, deleted.properties.current_protection_state) == ("aks", "SoftDeleted")
    assert deleted.properties.deletion_info.scheduled_purge_time
    held = "UserErrorPolicyAssociatedWithSoftDeletedItems"
    assert refusal(lambda: backup.backup_policies.delete(world.rg, name, world.policy.name)) == (400, held)
    assert refusal(lambda: backup.backup_vaults.begin_delete(world.rg, name)) == not_empty


def test_with_soft_delete_off_everything_goes(world: Protection) -> None:
    world.vault, backup = older_vault(world, vault_body("Off"), "bvault"), world.sdk.backup
    world.ready().protect()
    backup.backup_instances.begin_delete(world.rg, "bvault", "aks").result(30)
    assert list(backup.deleted_backup_instances.list(world.rg, "bvault")) == []
    backup.backup_policies.delete(world.rg, "bvault", world.policy.name)
    backup.backup_vaults.begin_delete(world.rg, "bvault").result(30)
    assert world.azure.simulator.directory.by_object_id(world.vault.identity.principal_id) is None


def test_a_deleted_instance_comes_back_and_is_protected_again(world: Protection) -> None:
    world.ready().protect()
    instances, deleted = world.sdk.backup.backup_instances, world.sdk.backup.deleted_backup_instances
    instances.begin_delete(world.rg, world.vault.name, "aks").result(30)
    deleted.begin_undelete(world.rg, world.vault.name, "aks").result(30)
    assert list(deleted.list(world.rg, world.vault.name)) == []
    assert settled(world).properties.current_protection_state == "ProtectionStopped"
    instances.begin_resume_protection(world.rg, world.vault.name, "aks").result(30)
    assert settled(world).properties.current_protection_state == "ProtectionConfigured"


def delete_group(world: Protection) -> str:
    """Delete the resource group; the code of the failure."""
    try:
        world.sdk.resources.resource_groups.begin_delete(world.rg).result(30)
    except HttpResponseError as exc:
        return code(exc)
    return ""


def test_a_group_stays_while_its_vault_protects_something(world: Protection) -> None:
    world.ready().protect()
    assert delete_group(world) == "ResourceGroupDeletionBlocked"
    assert settled(world).properties.current_protection_state == "ProtectionConfigured"


def test_a_group_goes_with_an_unused_vault(world: Protection) -> None:
    assert world.policy
    assert delete_group(world) == ""


@pytest.mark.sabotage
def test_without_the_look_at_what_is_inside_a_group_goes(world: Protection, monkeypatch: pytest.MonkeyPatch) -> None:
    world.ready().protect()
    monkeypatch.setattr(Deletion, "_check_children", lambda *_anything, **_more: None)
    assert delete_group(world) == ""


def test_extension_and_cluster_take_the_identity_along(world: Protection) -> None:
    directory = world.azure.simulator.directory
    identity = world.extension.properties.aks_assigned_identity
    assert (identity.tenant_id, identity["type"]) == (world.azure.settings.tenant_id, None)
    assert directory.by_object_id(identity.principal_id) is not None
    no_extension(world)
    assert directory.by_object_id(identity.principal_id) is None
    del world.extension
    again = world.extension.properties.aks_assigned_identity.principal_id
    no_cluster(world)
    assert directory.by_object_id(again) is None


# --- vaults


@pytest.mark.parametrize("state", ["On", "Off", None])
def test_new_versions_want_soft_delete_always_on(world: Protection, state: str | None) -> None:
    body = vault_body(state or "On")
    if state is None:
        del body["properties"]["securitySettings"]["softDeleteSettings"]
    create = world.sdk.backup.backup_vaults.begin_create_or_update
    assert refusal(lambda: create(world.rg, "vault", body)) == (400, "DppAlwaysOnSoftDeleteStateMandatory")
    assert older_vault(world, body).properties.security_settings.soft_delete_settings.state == (state or "On")


@pytest.mark.sabotage
def test_without_the_rule_new_versions_take_soft_delete_on(tmp_path: Path) -> None:
    rule = "Microsoft.DataProtection/backupVaults#always-on-soft-delete"
    with serve(tmp_path, without_rules=(rule,)) as azure:
        sdk = Clients(azure)
        sdk.resources.resource_groups.create_or_update("r", {"location": LOCATION})
        assert made(sdk.backup.backup_vaults, "r", "vault", vault_body("On")).name == "vault"


ONE_WAY: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "soft delete": (
        {"softDeleteSettings": {"state": "AlwaysOn"}},
        {"softDeleteSettings": {"state": "On"}},
        "DppAlwaysOnSoftDeleteStateMandatory",
    ),
    "immutability": (
        {"immutabilitySettings": {"state": "Locked"}},
        {"immutabilitySettings": {"state": "Unlocked"}},
        "UserErrorUnsupportedVaultImmutabilityStateChange",
    ),
}


@pytest.mark.parametrize("what", ONE_WAY)
def test_what_is_locked_stays_locked(world: Protection, what: str) -> None:
    locked, open_again, expected = ONE_WAY[what]
    older_vault(world, vault_body(securitySettings=locked))
    body = vault_body(securitySettings=open_again)
    assert refusal(lambda: older_vault(world, body)) == (400, expected)
    patch = {"properties": {"securitySettings": open_again}}
    assert refusal(lambda: older_vault(world, patch, patch=True)) == (400, expected)
    body = vault_body()
    del body["properties"]["securitySettings"]
    kept = older_vault(world, body).properties.security_settings
    assert kept[next(iter(locked))]["state"] == next(iter(locked.values()))["state"]


def test_tags_are_patched_alone(world: Protection) -> None:
    assert world.vault
    vaults = world.sdk.backup.backup_vaults
    patched = vaults.begin_update(world.rg, "bvault", {"tags": {"a": "b"}}).result(30)
    assert (patched.tags, patched.properties.secure_score) == ({"a": "b"}, "Adequate")
    assert patched.identity.principal_id == world.vault.identity.principal_id


def redundancy(kind: str) -> list[dict[str, str]]:
    return [{"datastoreType": "VaultStore", "type": kind}]


def test_redundancy_changes_until_something_is_protected(world: Protection) -> None:
    vaults = world.sdk.backup.backup_vaults
    body = vault_body(storageSettings=redundancy("LocallyRedundant"))
    assert world.vault
    made(vaults, world.rg, "bvault", body)
    made(vaults, world.rg, "bvault", vault_body())
    world.ready().protect()
    assert refusal(lambda: vaults.begin_create_or_update(world.rg, "bvault", body)) == (400, INVALID)


CROSS_REGION = {"crossRegionRestoreSettings": {"state": "Enabled"}}


@pytest.mark.parametrize(
    "properties",
    [
        {"storageSettings": []},
        {"storageSettings": redundancy("Somewhere")},
        {"securitySettings": {"softDeleteSettings": {"state": "AlwaysOn", "retentionDurationInDays": 7}}},
        {"featureSettings": CROSS_REGION},
    ],
)
def test_an_impossible_vault_is_refused(world: Protection, properties: dict[str, Any]) -> None:
    create = world.sdk.backup.backup_vaults.begin_create_or_update
    assert refusal(lambda: create(world.rg, "vault", vault_body(**properties))) == (400, INVALID)


@pytest.mark.parametrize("name", ["v", "1vault", "vault-", "a_vault", "v" * 51])
def test_an_impossible_name_is_refused(world: Protection, name: str) -> None:
    place = f"{world.group}/providers/Microsoft.DataProtection/backupVaults/{name}?api-version=2026-06-01"
    with world.azure.client() as http:
        answer = http.put(place, json=vault_body())
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, INVALID)


# --- policies, extensions, trust


def edited(change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    body = policy_body()
    change(body["properties"])
    return body


@pytest.mark.parametrize(
    "change",
    [
        lambda it: it.update(objectType="Policy"),
        lambda it: it.update(datasourceTypes=[]),
        lambda it: it["policyRules"].pop(1),
        lambda it: it["policyRules"][0].pop("trigger"),
        lambda it: it["policyRules"][0]["trigger"]["schedule"].update(repeatingTimeIntervals=["daily"]),
        lambda it: it["policyRules"][0]["trigger"]["taggingCriteria"][0]["tagInfo"].update(tagName="Weekly"),
        lambda it: it["policyRules"][1]["lifecycles"][0]["deleteAfter"].update(duration="7 days"),
        lambda it: it["policyRules"][1]["lifecycles"][0].pop("sourceDataStore"),
    ],
)
def test_an_impossible_policy_is_refused(world: Protection, change: Callable[[dict[str, Any]], None]) -> None:
    place = f"{world.vault.id}/backupPolicies/daily?api-version=2026-06-01"
    with world.azure.client() as http:
        answer = http.put(place, json=edited(change))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, INVALID)


def test_an_extension_of_a_namespace_that_is_not_registered_is_refused(tmp_path: Path) -> None:
    known = ("Microsoft.ContainerService", "Microsoft.Storage", "Microsoft.Compute", "Microsoft.Network")
    with serve(tmp_path, preregistered=known) as azure:
        sdk = Clients(azure)
        group = sdk.resources.resource_groups.create_or_update("r", {"location": LOCATION})
        world = Protection(azure, sdk, group.id)
        assert refusal(lambda: world.vault) == (409, "MissingSubscriptionRegistration")
        assert refusal(lambda: world.extension) == (409, "MissingSubscriptionRegistration")
        for namespace in ("Microsoft.DataProtection", "Microsoft.KubernetesConfiguration"):
            sdk.resources.providers.register(namespace)
        assert world.vault.name
        assert world.extension.name == EXTENSION


def test_an_extension_keeps_its_type_and_hides_secrets(world: Protection) -> None:
    extensions = world.sdk.extensions.extensions
    assert world.extension.properties.extension_type == "microsoft.dataprotection.kubernetes"
    assert world.extension.properties.current_version
    patch = {"properties": {"configurationProtectedSettings": {"password": "x"}}}
    patched = extensions.begin_update(*world.place, EXTENSION, patch).result(30).properties
    assert patched.configuration_protected_settings == {"password": ""}
    assert patched.aks_assigned_identity.principal_id == world.extension.properties.aks_assigned_identity.principal_id
    body = world.extension_body()
    body["properties"]["extensionType"] = "microsoft.flux"
    assert refusal(lambda: extensions.begin_create(*world.place, EXTENSION, body))[0] == 400
    body = world.extension_body()
    body["properties"]["version"] = "1.0.0"
    assert refusal(lambda: extensions.begin_create(*world.place, EXTENSION, body))[0] == 400


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        ("backup", ["backup-operator"]),
        ("backup", ["Microsoft.DataProtection/backupVaults/restore-operator"]),
        ("backup", [f"{DATASOURCE}/backup-operator"]),
        ("backup", []),
        ("azurebackup-trustedaccess", [OPERATOR]),
    ],
)
def test_an_impossible_trust_is_refused(world: Protection, name: str, roles: list[str]) -> None:
    place = f"{world.cluster.id}/trustedAccessRoleBindings/{name}?api-version=2026-06-01"
    with world.azure.client() as http:
        answer = http.put(place, json={"properties": {"sourceResourceId": world.vault.id, "roles": roles}})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidParameter")
