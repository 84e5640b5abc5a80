"""Each strictness that other proofs lean on: it holds, and with its guard taken out the same proof turns red."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from tests.lab.azure import quotas, rules
from tests.lab.azure.authorization import Authorization
from tests.lab.azure.behaviours.authorization import RoleAssignments
from tests.lab.azure.behaviours.vaults import Vaults
from tests.lab.azure.content import Content
from tests.lab.azure.deletion import Deletion
from tests.lab.azure.engine import Engine
from tests.lab.azure.entra import Entra
from tests.lab.azure.running import Running as RunningWrites
from tests.lab.azure.testing import Running, serve
from tests.lab.azure.tokens import Tokens
from tests.lab.tests.test_engine_arm import VERSION, VNET, make, nsg, vnet, with_nsg
from tests.lab.tests.test_engine_entra import AUDIENCE, ISSUER, SUBJECT, Issuer

Proof = Callable[[Running, httpx.Client, str], None]


def unauthorized(azure: Running, client: httpx.Client, group: str) -> None:
    with azure.client(second=True) as other:
        assert other.get(f"{group}?api-version=2021-04-01").status_code == 403


def wrong_audience(azure: Running, client: httpx.Client, group: str) -> None:
    known = azure.simulator.directory.by_object_id(azure.settings.object_id)
    assert known is not None
    token, _ = azure.simulator.tokens.issue(known, "https://vault.azure.net")
    with azure.client(token=token) as other:
        assert other.get(f"{group}?api-version=2021-04-01").status_code == 401


def unregistered(azure: Running, client: httpx.Client, group: str) -> None:
    path = f"{azure.subscription}/providers/Microsoft.Storage/unregister?api-version=2021-04-01"
    assert client.post(path).status_code == 200
    account = f"{group}/providers/Microsoft.Storage/storageAccounts/anything?api-version=2024-01-01"
    assert client.put(account, json={"location": "francecentral"}).status_code == 409


def locked(azure: Running, client: httpx.Client, group: str) -> None:
    lock = f"{group}/providers/Microsoft.Authorization/locks/keep?api-version=2020-05-01"
    assert client.put(lock, json={"properties": {"level": "CanNotDelete"}}).status_code == 201
    assert client.delete(f"{group}?api-version=2021-04-01").status_code == 409


def in_use(azure: Running, client: httpx.Client, group: str) -> None:
    make(client, f"{nsg(group)}?api-version={VERSION}", {"location": "francecentral"})
    make(client, vnet(group), with_nsg(nsg(group)))
    assert client.delete(f"{nsg(group)}?api-version={VERSION}").status_code == 400


def dangling(azure: Running, client: httpx.Client, group: str) -> None:
    assert client.put(vnet(group), json=with_nsg(nsg(group))).status_code == 400


def moved(azure: Running, client: httpx.Client, group: str) -> None:
    make(client, vnet(group), VNET)
    assert client.put(vnet(group), json=VNET | {"location": "westeurope"}).status_code == 409


def orphan(azure: Running, client: httpx.Client, group: str) -> None:
    subnet = {"properties": {"addressPrefix": "10.0.0.0/24"}}
    assert client.put(vnet(group, "missing", tail="/subnets/s"), json=subnet).status_code == 404


def at_once(azure: Running, client: httpx.Client, group: str) -> None:
    azure.control("POST", "/lab/settings", {"time_scale": 2})
    assert client.put(vnet(group), json=VNET).status_code == 201
    assert client.put(vnet(group), json=VNET).status_code == 429


def full(azure: Running, client: httpx.Client, group: str) -> None:
    azure.control("PUT", "/lab/quota/francecentral/Microsoft.Network/VirtualNetworks", {"limit": 0})
    assert client.put(vnet(group), json=VNET).status_code == 400


def lacking(azure: Running, client: httpx.Client, group: str) -> None:
    assert client.put(vnet(group), json={"location": "francecentral", "properties": {}}).status_code == 400


def repeated_assignment(azure: Running, client: httpx.Client, group: str) -> None:
    role = (
        f"{azure.subscription}/providers/Microsoft.Authorization/roleDefinitions/acdd72a7-3385-48ef-bd42-f606fba81ae7"
    )
    wanted = {"properties": {"roleDefinitionId": role, "principalId": azure.settings.second_object_id}}
    answers = [
        client.put(
            f"{group}/providers/Microsoft.Authorization/roleAssignments/{number * 8}-0000-4000-8000-000000000000"
            "?api-version=2022-04-01",
            json=wanted,
        ).status_code
        for number in ("7", "8")
    ]
    assert answers == [201, 409]


def identity_with_credential(client: httpx.Client, group: str) -> str:
    identity = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/openmrs"
    made = client.put(f"{identity}?api-version=2023-01-31", json={"location": "francecentral"})
    body = {"properties": {"issuer": ISSUER, "subject": SUBJECT, "audiences": [AUDIENCE]}}
    assert client.put(f"{identity}/federatedIdentityCredentials/one?api-version=2023-01-31", json=body).is_success
    client_id: str = made.json()["properties"]["clientId"]
    return client_id


def forged_assertion(azure: Running, client: httpx.Client, group: str) -> None:
    honest, forger = Issuer(), Issuer()
    azure.control("POST", "/lab/issuers", {"issuer": ISSUER, "jwks": honest.jwks()})
    form = {
        "grant_type": "client_credentials",
        "client_id": identity_with_credential(client, group),
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": forger.token(),
        "scope": "https://vault.azure.net/.default",
    }
    answer = client.post(f"/{azure.settings.tenant_id}/oauth2/v2.0/token", data=form)
    assert answer.status_code == 401


def credentials_at_once(azure: Running, client: httpx.Client, group: str) -> None:
    identity_with_credential(client, group)
    azure.control("POST", "/lab/settings", {"time_scale": 10})
    base = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/openmrs/federatedIdentityCredentials"

    def write(name: str) -> int:
        body = {"properties": {"issuer": ISSUER, "subject": name, "audiences": [AUDIENCE]}}
        return client.put(f"{base}/{name}?api-version=2023-01-31", json=body).status_code

    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(write, ["first", "second"])) == [201, 409]


def name_of_a_deleted_vault(azure: Running, client: httpx.Client, group: str) -> None:
    path = f"{group}/providers/Microsoft.KeyVault/vaults/sabotage?api-version=2023-07-01"
    properties = {
        "tenantId": azure.settings.tenant_id,
        "sku": {"family": "A", "name": "standard"},
        "enableRbacAuthorization": True,
    }
    body = {"location": "francecentral", "properties": properties}
    assert client.put(path, json=body).is_success
    assert client.delete(path).status_code == 200
    assert client.put(path, json=body).status_code == 409


def unsigned_claims(self: Any, token: str, *audiences: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def nothing(*_: Any, **__: Any) -> None:
    return None


GUARDS: dict[str, tuple[Proof, type[Any] | Any, str, Any]] = {
    "authorization": (unauthorized, Engine, "authorize", nothing),
    "role assignments": (unauthorized, Authorization, "allowed", lambda *_, **__: True),
    "audience of tokens": (wrong_audience, Tokens, "check", unsigned_claims),
    "registration": (unregistered, Engine, "require_registration", nothing),
    "locks": (locked, Engine, "check_locks", nothing),
    "use by others": (in_use, Deletion, "_check_blockers", nothing),
    "references": (dangling, Content, "_check_references", lambda *_, **__: []),
    "location": (moved, Content, "_location", lambda self, arm_id, data, body, stored: body.get("location")),
    "parents": (orphan, Engine, "require_parent", nothing),
    "concurrency": (at_once, RunningWrites, "_check_concurrency", nothing),
    "quota": (full, quotas, "check_limits", nothing),
    "required properties": (lacking, rules, "check_required", nothing),
    "one assignment": (repeated_assignment, RoleAssignments, "_refuse_second", nothing),
    "signature of assertions": (forged_assertion, Entra, "_check_assertion", nothing),
    "one credential at a time": (credentials_at_once, RunningWrites, "_check_concurrency", nothing),
    "soft delete": (name_of_a_deleted_vault, Vaults, "after_delete", nothing),
}


def prove(folder: Path, proof: Proof) -> None:
    with serve(folder) as azure, azure.client() as client:
        group = f"{azure.subscription}/resourceGroups/r"
        assert client.put(f"{group}?api-version=2021-04-01", json={"location": "francecentral"}).status_code == 201
        proof(azure, client, group)


@pytest.mark.parametrize("name", GUARDS)
def test_the_guard_holds(name: str, tmp_path: Path) -> None:
    prove(tmp_path, GUARDS[name][0])


@pytest.mark.sabotage
@pytest.mark.parametrize("name", GUARDS)
def test_without_the_guard_its_proof_turns_red(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proof, owner, attribute, instead = GUARDS[name]
    monkeypatch.setattr(owner, attribute, instead)
    with pytest.raises(AssertionError):
        prove(tmp_path, proof)
