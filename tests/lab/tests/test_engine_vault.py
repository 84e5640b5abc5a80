"""Key Vault: the vault in ARM, its secrets through the unmodified azure-keyvault-secrets."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.identity import ClientSecretCredential
from azure.keyvault.secrets import SecretClient

from tests.lab.azure.testing import Running

VERSION = "2023-07-01"
OFFICER = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"
USER = "4633458b-17de-408a-b874-0445c86b69e6"
ADMINISTRATOR = "00482a5a-887f-4fb3-b363-3b7fe8e74483"


def body(azure: Running, **properties: Any) -> dict[str, Any]:
    known = {
        "tenantId": azure.settings.tenant_id,
        "sku": {"family": "A", "name": "standard"},
        "enableRbacAuthorization": True,
    }
    return {"location": "francecentral", "properties": known | properties}


def assign(azure: Running, scope: str, role: str, principal: str, name: str) -> None:
    path = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{name}?api-version=2022-04-01"
    definition = f"{azure.subscription}/providers/Microsoft.Authorization/roleDefinitions/{role}"
    with azure.client() as client:
        answer = client.put(path, json={"properties": {"roleDefinitionId": definition, "principalId": principal}})
    assert answer.status_code == 201, answer.text


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return "kv" + format(abs(hash(request.node.name)) % 16**12, "x")


@pytest.fixture
def vault(azure: Running, group: str, name: str):
    """A vault of which the main principal is an officer; purged afterwards."""
    scope = f"{group}/providers/Microsoft.KeyVault/vaults/{name}"
    with azure.client() as client:
        made = client.put(f"{scope}?api-version={VERSION}", json=body(azure, softDeleteRetentionInDays=7))
        assert made.status_code in (200, 201), made.text
        assign(azure, scope, ADMINISTRATOR, azure.settings.object_id, "30000000-0000-4000-8000-000000000001")
        yield made.json()
        client.delete(f"{scope}?api-version={VERSION}")
        client.post(purge_path(azure, name))


def purge_path(azure: Running, name: str) -> str:
    location = f"{azure.subscription}/providers/Microsoft.KeyVault/locations/francecentral"
    return f"{location}/deletedVaults/{name}/purge?api-version={VERSION}"


def secrets(azure: Running, vault: dict[str, Any], *, second: bool = False, version: str = "7.6") -> SecretClient:
    known = azure.settings
    client_id, secret = (
        (known.second_client_id, known.second_client_secret) if second else (known.client_id, known.client_secret)
    )
    credential = ClientSecretCredential(
        known.tenant_id, client_id, secret, authority=azure.base_url, disable_instance_discovery=True
    )
    return SecretClient(
        vault["properties"]["vaultUri"], credential, verify_challenge_resource=False, api_version=version
    )


def refused(call: Callable[[], Any]) -> tuple[int | None, str]:
    with pytest.raises(HttpResponseError) as caught:
        call()
    error = caught.value.error
    inner = error.innererror if error else None
    return caught.value.status_code, str((inner or {}).get("code", "")) if inner else str(error.code if error else "")


@pytest.mark.parametrize("version", ["7.4", "7.5", "7.6", "2025-07-01"])
def test_the_life_of_a_secret(azure: Running, vault: dict[str, Any], version: str) -> None:
    client = secrets(azure, vault, version=version)
    expires = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    first = client.set_secret(
        "password", "one", content_type="text/plain", tags={"owner": "platform"}, expires_on=expires
    )
    second = client.set_secret("password", "two")
    assert client.get_secret("password").value == "two"
    old = client.get_secret("password", first.properties.version)
    assert (old.value, old.properties.content_type, old.properties.tags) == ("one", "text/plain", {"owner": "platform"})
    assert old.properties.expires_on == expires
    versions = {item.version for item in client.list_properties_of_secret_versions("password")}
    assert versions == {first.properties.version, second.properties.version}
    assert [item.name for item in client.list_properties_of_secrets()] == ["password"]
    client.update_secret_properties("password", second.properties.version, tags={"a": "b"})
    assert client.get_secret("password").properties.tags == {"a": "b"}
    client.begin_delete_secret("password").wait()
    with pytest.raises(ResourceNotFoundError):
        client.get_secret("password")
    assert [item.name for item in client.list_deleted_secrets()] == ["password"]
    with pytest.raises(ResourceExistsError) as caught:
        client.set_secret("password", "three")
    assert "deleted but recoverable" in caught.value.message
    client.begin_recover_deleted_secret("password").wait()
    assert client.get_secret("password").value == "two"
    client.begin_delete_secret("password").wait()
    client.purge_deleted_secret("password")
    assert client.set_secret("password", "four").value == "four"


def test_a_disabled_secret_is_not_read(azure: Running, vault: dict[str, Any]) -> None:
    client = secrets(azure, vault)
    client.set_secret("off", "x", enabled=False)
    assert refused(lambda: client.get_secret("off"))[0] == 403


def test_many_secrets_come_in_pages(azure: Running, vault: dict[str, Any]) -> None:
    client = secrets(azure, vault)
    names = {f"s{number:02d}" for number in range(30)}
    for entry in names:
        client.set_secret(entry, "x")
    assert {item.name for item in client.list_properties_of_secrets()} == names


def test_role_assignments_decide(azure: Running, vault: dict[str, Any]) -> None:
    owner, other = secrets(azure, vault), secrets(azure, vault, second=True)
    owner.set_secret("mine", "1")
    owner.set_secret("shared", "2")
    assert refused(lambda: other.get_secret("shared")) == (403, "ForbiddenByRbac")
    assign(
        azure,
        f"{vault['id']}/secrets/shared",
        USER,
        azure.settings.second_object_id,
        "30000000-0000-4000-8000-000000000002",
    )
    assert other.get_secret("shared").value == "2"
    assert refused(lambda: other.get_secret("mine")) == (403, "ForbiddenByRbac")
    assert refused(lambda: other.set_secret("shared", "3")) == (403, "ForbiddenByRbac")
    assert refused(lambda: list(other.list_properties_of_secrets())) == (403, "ForbiddenByRbac")


def test_an_owner_has_no_data_plane_rights(azure: Running, group: str, name: str) -> None:
    scope = f"{group}/providers/Microsoft.KeyVault/vaults/{name}"
    with azure.client() as client:
        made = client.put(f"{scope}?api-version={VERSION}", json=body(azure)).json()
    assert refused(lambda: secrets(azure, made).set_secret("a", "b")) == (403, "ForbiddenByRbac")
    with azure.client() as client:
        client.delete(f"{scope}?api-version={VERSION}")
        client.post(purge_path(azure, name))


def test_the_challenge_names_authority_and_resource(azure: Running, vault: dict[str, Any]) -> None:
    answer = httpx.get(f"{vault['properties']['vaultUri']}secrets?api-version=7.6", verify=azure.context())
    assert answer.status_code == 401
    challenge = answer.headers["www-authenticate"]
    assert f'authorization="{azure.base_url}/{azure.settings.tenant_id}"' in challenge
    assert 'resource="https://vault.azure.net"' in challenge
    with azure.client() as client:
        wrong = client.get(f"{vault['properties']['vaultUri']}secrets?api-version=7.6")
    assert wrong.status_code == 401, "a token for ARM is no token for the vault"


def test_a_deleted_vault_holds_its_name_and_comes_back_with_its_secrets(
    azure: Running, group: str, vault: dict[str, Any]
) -> None:
    path = f"{vault['id']}?api-version={VERSION}"
    secrets(azure, vault).set_secret("kept", "safe")
    deleted = f"{azure.subscription}/providers/Microsoft.KeyVault/deletedVaults?api-version={VERSION}"
    with azure.client() as client:
        assert client.delete(path).status_code == 200
        assert [entry["name"] for entry in client.get(deleted).json()["value"]] == [vault["name"]]
        conflict = client.put(path, json=body(azure))
        assert (conflict.status_code, conflict.json()["error"]["code"]) == (409, "ConflictError")
        recovered = client.put(path, json=body(azure, createMode="recover"))
        assert recovered.status_code in (200, 201), recovered.text
        assert recovered.json()["properties"]["vaultUri"] == vault["properties"]["vaultUri"]
    assign(azure, vault["id"], ADMINISTRATOR, azure.settings.object_id, "30000000-0000-4000-8000-000000000003")
    assert secrets(azure, vault).get_secret("kept").value == "safe"
    with azure.client() as client:
        client.delete(path)
        assert client.post(purge_path(azure, vault["name"])).status_code == 200
        assert client.put(path, json=body(azure)).status_code in (200, 201)
    assign(azure, vault["id"], ADMINISTRATOR, azure.settings.object_id, "30000000-0000-4000-8000-000000000004")
    with pytest.raises(ResourceNotFoundError):
        secrets(azure, vault).get_secret("kept")


def test_purge_protection_holds(azure: Running, group: str, name: str) -> None:
    path = f"{group}/providers/Microsoft.KeyVault/vaults/{name}?api-version={VERSION}"
    with azure.client() as client:
        assert client.put(path, json=body(azure, enablePurgeProtection=True)).status_code in (200, 201)
        client.delete(path)
        assert client.post(purge_path(azure, name)).status_code == 400


def test_vault_names_are_unique(azure: Running, group: str, vault: dict[str, Any]) -> None:
    other = f"{group}-other"
    with azure.client() as client:
        client.put(f"{other}?api-version=2021-04-01", json={"location": "francecentral"})
        answer = client.put(
            f"{other}/providers/Microsoft.KeyVault/vaults/{vault['name']}?api-version={VERSION}", json=body(azure)
        )
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "VaultAlreadyExists")
