# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of a vault and disk encryption sets, through the clients of Key Vault and Compute."""

from __future__ import annotations

import datetime
import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import ClientSecretCredential
from azure.keyvault.keys import KeyRotationLifetimeAction, KeyRotationPolicy
from azure.keyvault.keys.crypto import KeyWrapAlgorithm

from tests.lab.azure import vault_keys
from tests.lab.azure.arm_id import ArmId
from tests.lab.azure.behaviours import disk_encryption_sets
from tests.lab.azure.errors import ArmError
from tests.lab.azure.store import Resource
from tests.lab.azure.testing import Running
from tests.lab.tests.sdk import LOCATION, Clients, InGroup, code, made, vault_body

CRYPTO_OFFICER = "14b46e9e-c2b7-41b4-b07b-48a6ebf60603"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
ENCRYPTION_USER = "e147488a-f6f5-4113-8e2d-b22465e65bf6"
ROTATION = {
    "attributes": {"expiryTime": "P2Y"},
    "lifetimeActions": [
        {"action": {"type": "rotate"}, "trigger": {"timeAfterCreate": "P1Y"}},
        {"action": {"type": "notify"}, "trigger": {"timeBeforeExpiry": "P30D"}},
    ],
}


def refusal(call: Callable[[], Any]) -> tuple[int | None, str, str]:
    """Status, code and message of what a call is refused with; of the data plane the inner code."""
    with pytest.raises(HttpResponseError) as caught:
        call()
    inner = caught.value.error.innererror if caught.value.error else None
    inner_code = str(inner.get("code", "")) if isinstance(inner, dict) else ""
    return caught.value.status_code, inner_code or code(caught.value), str(caught.value)


@dataclass
class World(InGroup):
    """A vault whose keys the main principal manages, and an identity for disk encryption."""

    vault: Any
    identity: Any

    @property
    def data(self) -> Any:
        return self.sdk.keys(self.vault.properties.vault_uri)

    def key(self, name: str = "disks", **properties: Any) -> Any:
        """Make a key through ARM."""
        body = {"properties": {"kty": "RSA", **properties}}
        return self.sdk.vaults.keys.create_if_not_exist(self.rg, self.vault.name, name, body)

    def set_body(self, url: str, *, vault: Any = None, **more: Any) -> dict[str, Any]:
        """A disk encryption set with the user-assigned identity."""
        return {
            "location": LOCATION,
            "identity": {"type": "UserAssigned", "userAssignedIdentities": {self.identity.id: {}}},
            "properties": {"activeKey": {"keyUrl": url, "sourceVault": {"id": (vault or self.vault).id}}},
        } | more

    def make_set(self, name: str, body: dict[str, Any]) -> Any:
        return made(self.sdk.compute.disk_encryption_sets, self.rg, name, body)


@pytest.fixture
def world(azure: Running, group: str) -> World:
    sdk, rg = Clients(azure), group.rsplit("/", 1)[-1]
    vault = made(sdk.vaults.vaults, rg, unique("kv"), vault_body(azure, enablePurgeProtection=True))
    identity = sdk.identities.user_assigned_identities.create_or_update(rg, unique("id"), {"location": LOCATION})
    world = World(azure, sdk, group, vault, identity)
    world.sdk.grant(azure.settings.object_id, CRYPTO_OFFICER, vault.id)
    return world


def unique(prefix: str) -> str:
    return prefix + uuid.uuid4().hex[:10]


@pytest.fixture(autouse=True)
def addresses(azure: Running) -> None:
    """Vaults of earlier tests give their addresses back: these are protected against a purge."""
    store = azure.simulator.engine.store
    with store.transaction():
        for vault in store.find("microsoft.keyvault/vaults"):
            for found in (*store.below(vault.id), vault):
                store.delete(found.id)


# --- keys in ARM


def test_arm_makes_a_key_once_and_never_changes_it(world: World) -> None:
    key = world.key(keySize=3072, keyOps=["wrapKey", "unwrapKey"], rotationPolicy=ROTATION)
    shown = key.properties
    assert (shown.kty, shown.key_size, shown.key_ops) == ("RSA", 3072, ["wrapKey", "unwrapKey"])
    assert (shown.attributes.enabled, shown.attributes.recovery_level) == (True, "Recoverable")
    assert shown.key_uri == f"{world.vault.properties.vault_uri}keys/disks"
    assert shown.key_uri_with_version.startswith(f"{shown.key_uri}/")
    assert shown.rotation_policy.attributes.expiry_time == "P2Y"
    assert [action.action.type for action in shown.rotation_policy.lifetime_actions] == ["rotate", "notify"]
    assert (key.location, key.type) == (LOCATION, "Microsoft.KeyVault/vaults/keys")
    again = world.key(kty="EC", keySize=2048)
    assert again.properties.key_uri_with_version == shown.key_uri_with_version
    assert again.properties.key_size == 3072
    keys = world.sdk.vaults.keys
    assert [one.name for one in keys.list(world.rg, world.vault.name)] == ["disks"]
    with pytest.raises(ResourceNotFoundError):
        keys.get(world.rg, world.vault.name, "absent")


def test_both_planes_show_the_same_keys_and_versions(world: World) -> None:
    first = world.key()
    assert world.data.get_key("disks").id == first.properties.key_uri_with_version
    newer = world.data.rotate_key("disks")
    keys = world.sdk.vaults.keys
    assert keys.get(world.rg, world.vault.name, "disks").properties.key_uri_with_version == newer.id
    versions = [one.name for one in keys.list_versions(world.rg, world.vault.name, "disks")]
    assert sorted(versions) == sorted(one.version for one in world.data.list_properties_of_key_versions("disks"))
    old = first.properties.key_uri_with_version.rsplit("/", 1)[-1]
    assert keys.get_version(world.rg, world.vault.name, "disks", old).properties.key_uri_with_version.endswith(old)
    world.data.create_rsa_key("elsewhere", size=2048)
    assert keys.get(world.rg, world.vault.name, "elsewhere").properties.key_size == 2048
    assert {one.name for one in world.data.list_properties_of_keys()} == {"disks", "elsewhere"}


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"kty": "oct-HSM"}, "kty has an invalid value"),
        ({"kty": "RSA-HSM"}, "premium"),
        ({"keySize": 1024}, "2048, 3072 or 4096"),
        ({"kty": "EC", "curveName": "P-1"}, "crv has an invalid value"),
        ({"keyOps": ["fold"]}, "key_ops has an invalid value"),
        ({"rotationPolicy": {"attributes": {"expiryTime": "P27D"}}}, "at least 28 days"),
        ({"rotationPolicy": {"lifetimeActions": [
            {"action": {"type": "rotate"}, "trigger": {"timeAfterCreate": "P6D"}}]}}, "at least 7 days"),
        ({"rotationPolicy": {"lifetimeActions": [
            {"action": {"type": "notify"}, "trigger": {"timeAfterCreate": "P60D"}}]}}, "only applies to rotate"),
        ({"rotationPolicy": {"lifetimeActions": [
            {"action": {"type": "rotate"}, "trigger": {"timeBeforeExpiry": "P60D"}}]}}, "needs an expiryTime"),
        ({"rotationPolicy": {"attributes": {"expiryTime": "2 years"}}}, "ISO 8601"),
    ],
)  # fmt: skip
def test_a_key_that_no_vault_makes_is_refused(world: World, properties: dict[str, Any], message: str) -> None:
    status, found, text = refusal(lambda: world.key(**properties))
    assert (status, found) == (400, "BadRequest")
    assert message in text


def test_keys_of_a_deleted_vault_come_back_with_it(world: World) -> None:
    key = world.key()
    world.sdk.vaults.vaults.delete(world.rg, world.vault.name)
    made(world.sdk.vaults.vaults, world.rg, world.vault.name, vault_body(world.azure, createMode="recover"))
    back = world.sdk.vaults.keys.get(world.rg, world.vault.name, "disks")
    assert back.properties.key_uri_with_version == key.properties.key_uri_with_version


# --- keys in the data plane


def test_what_was_wrapped_is_unwrapped_by_the_same_version_only(world: World) -> None:
    world.key(keySize=2048)
    secret, algorithm = secrets.token_bytes(32), KeyWrapAlgorithm.rsa_oaep_256
    old = world.data.get_key("disks")
    wrapped = world.sdk.cryptography(old).wrap_key(algorithm, secret)  # with the public half, on this machine
    assert wrapped.encrypted_key != secret
    assert world.sdk.cryptography(old).unwrap_key(algorithm, wrapped.encrypted_key).key == secret
    new = world.data.rotate_key("disks")
    assert world.sdk.cryptography(old.id).unwrap_key(algorithm, wrapped.encrypted_key).key == secret
    assert refusal(lambda: world.sdk.cryptography(new.id).unwrap_key(algorithm, wrapped.encrypted_key))[0] == 400


def test_the_vault_wraps_for_whoever_may_not_read_the_key(world: World) -> None:
    """Without `get` the client cannot wrap by itself and asks the vault."""
    key, algorithm = world.data.create_rsa_key("backups", size=2048), "RSA-OAEP-256"
    path = f"{key.id}/{{}}?api-version=7.4"
    value = vault_keys.encode(b"a data key")
    with client(world) as http:
        wrapped = http.post(path.format("wrapkey"), json={"alg": algorithm, "value": value})
        assert wrapped.status_code == 200, wrapped.text
        body = {"alg": algorithm, "value": wrapped.json()["value"]}
        assert http.post(path.format("unwrapkey"), json=body).json() == {"kid": key.id, "value": value}
        assert http.post(path.format("unwrapkey"), json=body | {"value": value}).status_code == 400
        assert http.post(path.format("wrapkey"), json={"alg": "A256KW", "value": value}).status_code == 400


def client(world: World) -> Any:
    """HTTP to vaults, as the main principal."""
    principal = world.azure.simulator.directory.by_object_id(world.azure.settings.object_id)
    assert principal is not None
    token, _ = world.azure.simulator.tokens.issue(principal, "https://vault.azure.net")
    return world.azure.client(token=token)


def test_a_key_that_is_disabled_expired_or_for_other_operations_refuses(world: World) -> None:
    algorithm = KeyWrapAlgorithm.rsa_oaep_256
    key = world.data.create_rsa_key("k", size=2048)
    wrapped = world.sdk.cryptography(key).wrap_key(algorithm, b"x" * 32).encrypted_key
    vault = world.sdk.cryptography(key.id)
    world.data.update_key_properties("k", enabled=False)
    assert refusal(lambda: vault.unwrap_key(algorithm, wrapped))[:2] == (403, "KeyDisabled")
    past = time.time() - 60
    world.data.update_key_properties("k", enabled=True, expires_on=moment(past))
    assert vault.unwrap_key(algorithm, wrapped).key == b"x" * 32  # recovery of old data goes on
    assert post(world, key.id, "encrypt") == (403, "KeyExpired")
    world.data.update_key_properties("k", expires_on=moment(past + 3600), key_operations=["unwrapKey"])
    assert post(world, key.id, "encrypt") == (403, "KeyOperationForbidden")


def moment(seconds: float) -> Any:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def post(world: World, key_id: str, operation: str) -> tuple[int, str]:
    with client(world) as http:
        body = {"alg": "RSA-OAEP-256", "value": vault_keys.encode(b"x")}
        answer = http.post(f"{key_id}/{operation}?api-version=7.4", json=body)
    return answer.status_code, answer.json()["error"]["innererror"]["code"]


def test_rotation_policy_is_kept_and_dates_new_versions(world: World) -> None:
    world.data.create_rsa_key("k", size=2048)
    unset = world.data.get_key_rotation_policy("k")
    assert [(one.action, one.time_before_expiry) for one in unset.lifetime_actions] == [("Notify", "P30D")]
    actions = [KeyRotationLifetimeAction("Rotate", time_after_create="P60D")]
    set_to = world.data.update_key_rotation_policy("k", KeyRotationPolicy(lifetime_actions=actions, expires_in="P90D"))
    assert set_to.expires_in == "P90D"
    assert world.data.get_key_rotation_policy("k").lifetime_actions[0].time_after_create == "P60D"
    assert world.data.get_key("k").properties.expires_on is None  # the policy is for the next versions
    assert world.data.rotate_key("k").properties.expires_on is not None
    wrong = KeyRotationPolicy(lifetime_actions=[KeyRotationLifetimeAction("Rotate", time_after_create="P1D")])
    assert refusal(lambda: world.data.update_key_rotation_policy("k", wrong))[:2] == (400, "BadParameter")


def test_a_deleted_key_keeps_its_name_and_cannot_be_purged(world: World) -> None:
    key = world.key()
    deleted = world.data.begin_delete_key("disks").result()
    assert deleted.recovery_id.endswith("/deletedkeys/disks")
    with pytest.raises(ResourceNotFoundError):
        world.sdk.vaults.keys.get(world.rg, world.vault.name, "disks")
    assert refusal(lambda: world.data.get_key("disks"))[:2] == (404, "KeyNotFound")
    assert refusal(world.key)[:2] == (409, "Conflict")
    assert refusal(lambda: world.data.create_rsa_key("disks"))[:2] == (409, "ObjectIsDeletedButRecoverable")
    assert refusal(lambda: world.data.purge_deleted_key("disks"))[:2] == (403, "ForbiddenByPolicy")
    assert [one.name for one in world.data.list_deleted_keys()] == ["disks"]
    assert world.data.begin_recover_deleted_key("disks").result().id == key.properties.key_uri_with_version


def test_data_actions_of_a_role_decide(world: World) -> None:
    key = world.data.create_rsa_key("k", size=2048)
    other = World(world.azure, Clients(world.azure), world.group, world.vault, world.identity)
    second = world.azure.settings
    other.sdk.__dict__["credential"] = secondary(second, world.azure.base_url)
    assert refusal(lambda: other.data.get_key("k"))[:2] == (403, "ForbiddenByRbac")
    world.sdk.grant(second.second_object_id, ENCRYPTION_USER, f"{world.vault.id}/keys/k")
    assert other.data.get_key("k").id == key.id
    algorithm = KeyWrapAlgorithm.rsa_oaep_256
    wrapped = other.sdk.cryptography(key).wrap_key(algorithm, b"x" * 32).encrypted_key
    assert other.sdk.cryptography(key.id).unwrap_key(algorithm, wrapped).key == b"x" * 32
    for call in (
        lambda: other.data.rotate_key("k"),
        lambda: other.data.get_key_rotation_policy("k"),
        lambda: other.data.create_rsa_key("new"),
        lambda: other.data.begin_delete_key("k"),
        lambda: other.data.update_key_properties("k", enabled=False),
    ):
        assert refusal(call)[:2] == (403, "ForbiddenByRbac")


def secondary(settings: Any, authority: str) -> Any:
    return ClientSecretCredential(
        settings.tenant_id,
        settings.second_client_id,
        settings.second_client_secret,
        authority=authority,
        disable_instance_discovery=True,
    )


# --- disk encryption sets


def test_a_set_with_a_user_assigned_identity_needs_its_access_first(world: World) -> None:
    key = world.key(keySize=3072)
    body = world.set_body(key.properties.key_uri_with_version)
    status, found, message = refusal(lambda: world.make_set("des", body))
    assert (status, found) == (403, "KeyVaultAccessForbidden")
    assert world.identity.id in message
    world.sdk.grant(world.identity.principal_id, ENCRYPTION_USER, key.id)
    created = world.make_set("des", body)
    assert created.provisioning_state == "Succeeded"
    assert created.encryption_type == "EncryptionAtRestWithCustomerKey"
    assert created.active_key.key_url == key.properties.key_uri_with_version
    assert created.rotation_to_latest_key_version_enabled is None
    assert list(created.identity.user_assigned_identities) == [world.identity.id]
    sets = world.sdk.compute.disk_encryption_sets
    assert [one.name for one in sets.list_by_resource_group(world.rg)] == ["des"]
    assert "des" in [one.name for one in sets.list()]
    assert list(sets.list_associated_resources(world.rg, "des")) == []
    patched = sets.begin_update(world.rg, "des", {"tags": {"a": "b"}}).result(30)
    assert (patched.tags, patched.active_key.key_url) == ({"a": "b"}, created.active_key.key_url)
    sets.begin_delete(world.rg, "des").result(30)
    with pytest.raises(ResourceNotFoundError):
        sets.get(world.rg, "des")


def test_a_set_with_an_identity_of_its_own_is_made_before_it_has_access(world: World) -> None:
    key = world.key()
    body = world.set_body(key.properties.key_uri_with_version, identity={"type": "SystemAssigned"})
    created = world.make_set("des", body)
    sets = world.sdk.compute.disk_encryption_sets
    change = {"properties": {"rotationToLatestKeyVersionEnabled": True}}
    assert refusal(lambda: sets.begin_update(world.rg, "des", change).result(30))[1] == "KeyVaultAccessForbidden"
    world.sdk.grant(created.identity.principal_id, ENCRYPTION_USER, world.vault.id)
    assert sets.begin_update(world.rg, "des", change).result(30).rotation_to_latest_key_version_enabled is True


def test_a_set_follows_its_key_only_where_it_was_told_to(world: World) -> None:
    key = world.key()
    world.sdk.grant(world.identity.principal_id, ENCRYPTION_USER, key.id)
    body = world.set_body(key.properties.key_uri_with_version)
    world.make_set("still", body)
    following = {**body, "properties": {**body["properties"], "rotationToLatestKeyVersionEnabled": True}}
    world.make_set("following", following)
    newer = world.data.rotate_key("disks").id
    sets = world.sdk.compute.disk_encryption_sets
    assert sets.get(world.rg, "still").active_key.key_url == key.properties.key_uri_with_version
    moved = sets.get(world.rg, "following")
    assert moved.active_key.key_url == newer
    assert moved.last_key_rotation_timestamp is not None
    # Switched on later, it takes the newest version at once.
    change = {"properties": {"rotationToLatestKeyVersionEnabled": True}}
    assert sets.begin_update(world.rg, "still", change).result(30).active_key.key_url == newer


def test_a_set_that_lost_its_access_says_so_and_stays(world: World) -> None:
    key = world.key()
    world.sdk.grant(world.identity.principal_id, ENCRYPTION_USER, key.id)
    body = world.set_body(key.properties.key_uri_with_version)
    body["properties"]["rotationToLatestKeyVersionEnabled"] = True
    world.make_set("des", body)
    assignments = world.sdk.authorization.role_assignments
    for one in assignments.list_for_scope(key.id, filter="atScope()"):
        if one.principal_id == world.identity.principal_id:
            assignments.delete_by_id(one.id)
    world.data.rotate_key("disks")
    found = world.sdk.compute.disk_encryption_sets.get(world.rg, "des")
    assert found.auto_key_rotation_error.code == "KeyVaultAccessForbidden"
    assert found.active_key.key_url == key.properties.key_uri_with_version


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda body, world: body.pop("identity"), "identity"),
        (lambda body, world: body["properties"].pop("activeKey"), "activeKey.keyUrl"),
        (lambda body, world: url(body, world.key().properties.key_uri), "version segment is required"),
        (lambda body, world: url(body, "https://kv-elsewhere.vault.azure.net/keys/k/0"), "vault of the key"),
        (lambda body, world: body.update(location="westeurope"), "same region"),
        (lambda body, world: body["properties"].update(encryptionType="Rot13"), "Rot13"),
        (lambda body, world: url(body, world.key("ec", kty="EC").properties.key_uri_with_version), "only RSA"),
        (lambda body, world: url(body, f"{world.key().properties.key_uri}/{'0' * 32}"), "was not found"),
        (lambda body, world: world.data.update_key_properties("disks", enabled=False), "is not enabled"),
    ],
    ids=["identity", "key", "version", "vault", "region", "type", "kind", "unknown", "disabled"],
)
def test_a_set_that_azure_refuses(world: World, spoil: Callable[..., Any], message: str) -> None:
    world.sdk.grant(world.identity.principal_id, ENCRYPTION_USER, world.vault.id)
    body = world.set_body(world.key().properties.key_uri_with_version)
    spoil(body, world)
    status, _found, text = refusal(lambda: world.make_set("des", body))
    assert status in (400, 404)
    assert message in text


def url(body: dict[str, Any], text: str) -> None:
    body["properties"]["activeKey"]["keyUrl"] = text


def test_a_vault_without_purge_protection_encrypts_no_disk(world: World) -> None:
    vault = made(world.sdk.vaults.vaults, world.rg, unique("kv"), vault_body(world.azure))
    key = world.sdk.vaults.keys.create_if_not_exist(world.rg, vault.name, "disks", {"properties": {"kty": "RSA"}})
    world.sdk.grant(world.identity.principal_id, ENCRYPTION_USER, vault.id)
    body = world.set_body(key.properties.key_uri_with_version, vault=vault)
    assert "purge protection" in refusal(lambda: world.make_set("des", body))[2]


def test_a_cluster_that_may_read_a_usable_set_has_disks_encrypted_with_it(world: World) -> None:
    engine = world.azure.simulator.engine
    made_for = world.sdk.identities.user_assigned_identities
    principal = made_for.create_or_update(world.rg, unique("aks"), {"location": LOCATION}).principal_id
    identity = {"type": "UserAssigned", "userAssignedIdentities": {"id": {"principalId": principal}}}
    place = ArmId.parse(f"{world.group}/providers/Microsoft.ContainerService/managedClusters/aks")
    cluster = Resource(id=place, body={"identity": identity})
    key = world.key()
    world.sdk.grant(world.identity.principal_id, ENCRYPTION_USER, key.id)
    found = world.make_set("des", world.set_body(key.properties.key_uri_with_version))

    def refused(set_id: str = found.id) -> str:
        try:
            disk_encryption_sets.require_usable_by(engine, cluster, set_id)
        except ArmError as exc:
            return exc.code
        return ""

    assert refused(f"{found.id}2") == refused(world.vault.id) == "ResourceNotFound"
    assert refused() == "LinkedAuthorizationFailed"
    world.sdk.grant(principal, READER, found.id)
    assert refused() == ""
    world.data.update_key_properties(key.name, enabled=False)
    assert refused() == "KeyVaultKeyNotEnabled"


# --- sabotage: with one guard taken out the same proof turns red


@pytest.mark.sabotage
def test_without_the_look_at_permissions_a_set_is_made(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_encryption_sets, "_permitted", lambda *_anything: True)
    body = world.set_body(world.key().properties.key_uri_with_version)
    assert world.make_set("des", body).provisioning_state == "Succeeded"


@pytest.mark.sabotage
def test_without_the_look_at_its_state_a_disabled_key_unwraps(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm = KeyWrapAlgorithm.rsa_oaep_256
    key = world.data.create_rsa_key("k", size=2048)
    wrapped = world.sdk.cryptography(key).wrap_key(algorithm, b"x" * 32).encrypted_key
    world.data.update_key_properties("k", enabled=False)
    monkeypatch.setattr(vault_keys, "allow", lambda *_anything: None)
    assert world.sdk.cryptography(key.id).unwrap_key(algorithm, wrapped).key == b"x" * 32
