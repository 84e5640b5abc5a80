"""Keys of backups: the program's wrapper and a vault of the simulated Azure, through the unmodified client."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from azure.identity import ClientSecretCredential
from mariadb_archive.errors import BackupError
from mariadb_archive.keys import KeyVaultWrapper

from tests.lab.azure.testing import Running
from tests.lab.tests.sdk import Clients, made, vault_body

CRYPTO_OFFICER = "14b46e9e-c2b7-41b4-b07b-48a6ebf60603"
KEY = b"k" * 32


@pytest.fixture
def key(azure: Running, group: str) -> Any:
    """Make a key whose officer is the main principal."""
    sdk, resource_group = Clients(azure), group.rsplit("/", 1)[-1]
    vault = made(sdk.vaults.vaults, resource_group, f"kv{uuid.uuid4().hex[:10]}", vault_body(azure))
    sdk.grant(azure.settings.object_id, CRYPTO_OFFICER, vault.id)
    sdk.vaults.keys.create_if_not_exist(resource_group, vault.name, "backups", {"properties": {"kty": "RSA"}})
    return sdk.keys(vault.properties.vault_uri)


def wrapper(azure: Running, key: Any, *, second: bool = False) -> KeyVaultWrapper:
    settings = azure.settings
    identity = (settings.client_id, settings.client_secret)
    if second:
        identity = (settings.second_client_id, settings.second_client_secret)
    credential = ClientSecretCredential(
        settings.tenant_id, *identity, authority=azure.base_url, disable_instance_discovery=True
    )
    return KeyVaultWrapper(f"{key.vault_url.rstrip('/')}/keys/backups", credential, verify_challenge_resource=False)


def test_a_key_comes_back_also_after_the_wrapping_key_was_rotated(azure: Running, key: Any) -> None:
    keys = wrapper(azure, key)
    key_id, wrapped = keys.wrap(KEY)
    assert key_id == key.get_key("backups").id
    assert KEY not in wrapped
    key.rotate_key("backups")
    newer, _ = keys.wrap(KEY)
    assert newer != key_id
    assert keys.unwrap(key_id, wrapped) == KEY


def test_who_may_not_use_the_key_is_told(azure: Running, key: Any) -> None:
    key_id, wrapped = wrapper(azure, key).wrap(KEY)
    with pytest.raises(BackupError, match="does not unwrap the key of a backup"):
        wrapper(azure, key, second=True).unwrap(key_id, wrapped)
    with pytest.raises(BackupError, match="does not wrap a key"):
        wrapper(azure, key, second=True).wrap(KEY)


def test_another_version_does_not_unwrap(azure: Running, key: Any) -> None:
    keys = wrapper(azure, key)
    _, wrapped = keys.wrap(KEY)
    with pytest.raises(BackupError, match="does not unwrap the key of a backup"):
        keys.unwrap(key.rotate_key("backups").id, wrapped)
