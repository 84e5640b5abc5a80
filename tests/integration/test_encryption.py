"""Disks are encrypted with a key of the vault: what makes that so is built, followed and guarded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.keyvault.keys import KeyClient, KeyRotationLifetimeAction, KeyRotationPolicy
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.keyvault import KeyVaultManagementClient

from tests.integration.support.azure import client, credential, resource_ids, trusted
from tests.integration.support.lab import Lab
from tests.integration.support.playbook import PlaybookRun, run_playbook
from tests.integration.support.sabotage import BREAKS, collection_with
from tests.integration.test_refusals import assert_refused, without_writes

CRYPTO_OFFICER = "14b46e9e-c2b7-41b4-b07b-48a6ebf60603"
OFFICER = "e4c0ffee-0000-4000-8000-000000000001"
KEY = "disk-encryption"
CLASS = "platform-premium-zrs"


class Encryption:
    """What is there, by Microsoft's clients."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        (self.id,) = resource_ids(lab, "Microsoft.Compute/diskEncryptionSets")
        (self.vault,) = resource_ids(lab, "Microsoft.KeyVault/vaults")
        self.group = self.id.split("/")[4]
        self.sets: Any = client(lab, ComputeManagementClient).disk_encryption_sets
        vaults: Any = client(lab, KeyVaultManagementClient)
        self.arm_keys = vaults.keys
        uri = vaults.vaults.get(self.group, _name(self.vault)).properties.vault_uri
        self.keys: Any = KeyClient(
            uri, credential(lab), verify_challenge_resource=False, connection_verify=lab.info["ca_file"]
        )

    @property
    def set(self) -> Any:
        return self.sets.get(self.group, _name(self.id))

    def change_set(self, **properties: Any) -> None:
        self.sets.begin_update(self.group, _name(self.id), {"properties": properties}).result()

    @property
    def newest(self) -> str:
        url: str = self.arm_keys.get(self.group, _name(self.vault), KEY).properties.key_uri_with_version
        return url


def _name(resource_id: str) -> str:
    return resource_id.rsplit("/", 1)[1]


@pytest.fixture
def encryption(converged_lab: Lab) -> Iterator[Encryption]:
    """Let the main client manage keys as an operator would, and take that away again: nobody declared it."""
    with trusted(converged_lab):
        found = Encryption(converged_lab)
        roles: Any = client(converged_lab, AuthorizationManagementClient, api_version="2022-04-01").role_assignments
        # For the whole subscription: in the group of the vault a lock keeps what was assigned.
        scope = f"/subscriptions/{converged_lab.info['subscription_id']}"
        body = {
            "roleDefinitionId": f"{scope}/providers/Microsoft.Authorization/roleDefinitions/{CRYPTO_OFFICER}",
            "principalId": converged_lab.info["object_id"],
        }
        roles.create(scope, OFFICER, {"properties": body})
        yield found
        roles.delete(scope, OFFICER)


def only(run: PlaybookRun) -> dict[str, Any]:
    """Return the one finding of a run."""
    (finding,) = run.ok().findings()
    return dict(finding)


def test_the_class_of_the_platform_names_a_set_that_uses_the_key(converged_lab: Lab) -> None:
    with trusted(converged_lab):
        found = Encryption(converged_lab)
        shown = found.set
        assert shown.active_key.key_url == found.newest
    assert shown.rotation_to_latest_key_version_enabled is True
    storage_class = json.loads(converged_lab.kubectl("get", "storageclass", CLASS, "-o", "json"))
    assert storage_class["parameters"]["diskEncryptionSetID"].lower() == found.id.lower()
    volumes = json.loads(converged_lab.kubectl("get", "persistentvolumes", "-o", "json"))["items"]
    mine = [one["spec"] for one in volumes if one["spec"].get("storageClassName") == CLASS]
    assert {spec["claimRef"]["namespace"] for spec in mine} == {"logging", "mariadb", "monitoring", "openmrs"}
    for spec in mine:
        assert spec["csi"]["volumeAttributes"]["diskEncryptionSetID"].lower() == found.id.lower()


def test_a_set_that_no_longer_follows_its_key_is_corrected(converged_lab: Lab, encryption: Encryption) -> None:
    encryption.change_set(rotationToLatestKeyVersionEnabled=False)
    before = converged_lab.writes()
    finding = only(run_playbook(converged_lab, "provision", "--check"))
    assert converged_lab.writes() == before
    assert (finding["resource"].lower(), finding["path"]) == (
        encryption.id.lower(),
        "properties.rotationToLatestKeyVersionEnabled",
    )
    assert (finding["desired"], finding["live"], finding["action"]) == (True, False, "update")
    only(run_playbook(converged_lab, "provision"))
    assert encryption.set.rotation_to_latest_key_version_enabled is True
    assert run_playbook(converged_lab, "provision").ok().findings() == []


def assert_unchanged(run: PlaybookRun) -> None:
    """Expect a run that had nothing to say."""
    run.ok()
    assert (run.changed, run.findings()) == (0, [])


@pytest.fixture
def slow_azure(converged_lab: Lab) -> Iterator[None]:
    """Let sets take their time to follow a key, as they do in Azure."""
    converged_lab.control("POST", "/lab/settings", {"keys_followed": False})
    yield
    converged_lab.control("POST", "/lab/settings", {"keys_followed": True})


@pytest.mark.usefixtures("slow_azure")
def test_a_rotated_key_is_no_drift_before_azure_has_moved_the_set(converged_lab: Lab, encryption: Encryption) -> None:
    encryption.keys.rotate_key(KEY)
    assert encryption.set.active_key.key_url != encryption.newest
    assert_unchanged(run_playbook(converged_lab, "provision"))


@pytest.mark.sabotage
@pytest.mark.usefixtures("slow_azure")
def test_a_comparison_that_does_not_know_of_rotation_is_noticed(
    converged_lab: Lab, encryption: Encryption, tmp_path: Path
) -> None:
    encryption.keys.rotate_key(KEY)
    collections = collection_with(BREAKS["a key's version is compared"], tmp_path)
    run = run_playbook(converged_lab, "audioprothese.platform.provision", "--check", collections=collections)
    with pytest.raises(AssertionError):
        assert_unchanged(run)


def test_a_rotated_key_is_followed_and_is_no_drift(converged_lab: Lab, encryption: Encryption) -> None:
    encryption.keys.rotate_key(KEY)
    assert encryption.set.active_key.key_url == encryption.newest
    assert_unchanged(run_playbook(converged_lab, "provision"))


def test_what_azure_never_changes_of_a_key_is_reported_and_left(converged_lab: Lab, encryption: Encryption) -> None:
    policy = encryption.keys.get_key_rotation_policy(KEY)
    lazy = [KeyRotationLifetimeAction("Rotate", time_after_create="P3Y"), policy.lifetime_actions[1]]
    encryption.keys.update_key_rotation_policy(KEY, KeyRotationPolicy(lifetime_actions=lazy, expires_in="P2Y"))
    before = converged_lab.writes()
    run = run_playbook(converged_lab, "provision").ok()
    finding = only(run)
    assert (run.changed, converged_lab.writes()) == (0, before)
    assert finding["path"].endswith("trigger.timeAfterCreate")
    assert (finding["desired"], finding["live"], finding["action"]) == ("P1Y", "P3Y", "")
    assert "az keyvault key" in finding["message"]
    encryption.keys.update_key_rotation_policy(KEY, policy)
    assert_unchanged(run_playbook(converged_lab, "provision"))


def test_a_key_of_another_size_is_refused(converged_lab: Lab) -> None:
    with without_writes(converged_lab):
        extra = {"key_vault_keys": {"disks": {"size": 4096}, "backups": {"size": 3072}}}
        assert_refused(run_playbook(converged_lab, "provision", extra=extra), "keySize", KEY, "3072", "4096")


def test_a_class_in_use_does_not_change_its_encryption(converged_lab: Lab) -> None:
    extra = {"namespaces_storage_classes": [{"name": CLASS, "sku": "Premium_ZRS", "reclaim_policy": "Retain"}]}
    with without_writes(converged_lab):
        assert_refused(
            run_playbook(converged_lab, "site", extra=extra), CLASS, "diskEncryptionSetID", "cannot be changed"
        )
    assert "diskEncryptionSetID" in converged_lab.kubectl("get", "storageclass", CLASS, "-o", "yaml")


def test_a_vault_that_disk_storage_cannot_use_is_refused(converged_lab: Lab) -> None:
    with without_writes(converged_lab):
        run = run_playbook(converged_lab, "site", extra={"key_vault_network_bypass": "None"})
        assert_refused(run, "key_vault_network_bypass", "AzureServices")
