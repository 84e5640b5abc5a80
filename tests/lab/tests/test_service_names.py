"""Vaults and storage accounts by the names that pods call them by."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import httpx
import pytest

from tests.lab.azure.blob import AUDIENCE
from tests.lab.azure.testing import Running
from tests.lab.azure.tokens import VAULT_AUDIENCE
from tests.lab.blob.testing import Storage, storage_account
from tests.lab.tests.sdk import Clients, made, vault_body

DOMAIN = "azure.test"
CRYPTO_OFFICER = "14b46e9e-c2b7-41b4-b07b-48a6ebf60603"
VAULT = "kv-names"


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """Give an account with a container, and a vault with a key."""
    with storage_account(tmp_path_factory.mktemp("storage"), service_domain=DOMAIN) as account:
        account.container("named")
        sdk = Clients(account.azure)
        vault = made(sdk.vaults.vaults, "backups", VAULT, vault_body(account.azure))
        role = f"{account.azure.subscription}/providers/Microsoft.Authorization/roleDefinitions/{CRYPTO_OFFICER}"
        properties = {"roleDefinitionId": role, "principalId": account.azure.settings.object_id}
        sdk.authorization.role_assignments.create(vault.id, str(uuid.uuid4()), {"properties": properties})
        sdk.vaults.keys.create_if_not_exist("backups", VAULT, "disks", {"properties": {"kty": "RSA"}})
        yield account


def ask(azure: Running, host: str, path: str, audience: str, method: str = "GET", **more: str) -> httpx.Response:
    """Ask as whoever found the simulator's address under that name."""
    known = azure.simulator.directory.by_object_id(azure.settings.object_id)
    assert known is not None
    token, _ = azure.simulator.tokens.issue(known, audience)
    headers = {"Host": host, "Authorization": f"Bearer {token}", "x-ms-version": "2024-11-04", **more}
    with azure.client() as client:
        return client.request(method, path, headers=headers, content=b"content" if method == "PUT" else None)


def test_a_vault_answers_by_its_name_and_with_it(storage: Storage) -> None:
    host = f"{VAULT}.vault.{DOMAIN}:443"
    answer = ask(storage.azure, host, "/keys/disks?api-version=7.4", VAULT_AUDIENCE)
    assert answer.json()["key"]["kid"].startswith(f"https://{host}/keys/disks/")
    assert ask(storage.azure, f"none.vault.{DOMAIN}", "/keys?api-version=7.4", VAULT_AUDIENCE).status_code == 404


def test_entra_answers_whoever_asks_about_a_name_with_that_name(storage: Storage) -> None:
    azure, host = storage.azure, f"{DOMAIN}:18443"
    asked = {"authorization_endpoint": f"https://{host}/{azure.settings.tenant_id}/oauth2/v2.0/authorize"}
    for about, params, base in (
        ("login.microsoftonline.com", asked, f"https://{host}"),
        ("login.microsoftonline.com", {}, azure.base_url),
        (host, {}, f"https://{host}"),
    ):
        with azure.client() as client:
            told = client.get("/common/discovery/instance", params=params, headers={"Host": about}).json()
        assert told["tenant_discovery_endpoint"].startswith(f"{base}/{azure.settings.tenant_id}/")
    with azure.client() as client:
        where = f"/{azure.settings.tenant_id}/v2.0/.well-known/openid-configuration"
        named = client.get(where, headers={"Host": host}).json()
        usual = client.get(where).json()
    for key in ("issuer", "token_endpoint"):
        assert named[key].startswith(f"https://{host}/")
        assert usual[key].startswith(azure.base_url)


def test_an_account_answers_by_its_name(storage: Storage) -> None:
    host, kind = f"stbackups.blob.{DOMAIN}", {"x-ms-blob-type": "BlockBlob"}
    assert ask(storage.azure, host, "/named/a%20b", AUDIENCE, "PUT", **kind).status_code == 201
    assert ask(storage.azure, host, "/named/a%20b", AUDIENCE).content == b"content"
    assert ask(storage.azure, f"none.blob.{DOMAIN}", "/named/a", AUDIENCE).status_code == 404


@pytest.mark.parametrize("host", ["stbackups.blob.other.test", f"stbackups.file.{DOMAIN}", f"blob.{DOMAIN}"])
def test_another_name_is_no_account(storage: Storage, host: str) -> None:
    assert ask(storage.azure, host, "/named/a", AUDIENCE).status_code == 404


def test_the_use_of_a_key_is_counted_as_no_write(storage: Storage) -> None:
    before = storage.azure.control("GET", "/lab/requests")["vault"]
    path = "/keys/disks/wrapkey?api-version=7.4"
    assert ask(storage.azure, f"{VAULT}.vault.{DOMAIN}", path, VAULT_AUDIENCE, "POST").status_code != 404
    after = storage.azure.control("GET", "/lab/requests")["vault"]
    assert (after["write"], after["read"]) == (before["write"], before["read"] + 1)
