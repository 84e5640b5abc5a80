"""Entra ID, driven by the unmodified azure-identity and by plain HTTP where that says more."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import jwt
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ClientAssertionCredential, ClientSecretCredential
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.lab.azure.testing import Running
from tests.lab.azure.tokens import AKS_AUDIENCE

ISSUER = "https://issuer.example/oidc"
SUBJECT = "system:serviceaccount:openmrs:openmrs"
AUDIENCE = "api://AzureADTokenExchange"


def secret_credential(azure: Running, **changes: str) -> ClientSecretCredential:
    known = {
        "tenant_id": azure.settings.tenant_id,
        "client_id": azure.settings.client_id,
        "client_secret": azure.settings.client_secret,
    }
    return ClientSecretCredential(**(known | changes), authority=azure.base_url, disable_instance_discovery=True)


@pytest.mark.parametrize(
    ("scope", "audience"),
    [
        ("{base}/.default", "{base}"),
        ("https://management.azure.com/.default", "https://management.azure.com"),
        ("https://management.core.windows.net//.default", "https://management.core.windows.net/"),
        ("https://vault.azure.net/.default", "https://vault.azure.net"),
        (f"{AKS_AUDIENCE}/.default", AKS_AUDIENCE),
    ],
)
def test_a_secret_gets_a_token(azure: Running, scope: str, audience: str) -> None:
    token = secret_credential(azure).get_token(scope.format(base=azure.base_url))
    keys = jwt.PyJWKSet.from_dict(
        httpx.get(f"{azure.base_url}/{azure.settings.tenant_id}/discovery/keys", verify=azure.context()).json()
    )
    claims = jwt.decode(
        token.token, keys.keys[0].key, algorithms=["RS256"], audience=audience.format(base=azure.base_url)
    )
    assert claims["oid"] == azure.settings.object_id
    assert claims["appid"] == azure.settings.client_id
    assert claims["iss"] == f"{azure.base_url}/{azure.settings.tenant_id}/"
    assert claims["tid"] == azure.settings.tenant_id
    assert claims["groups"] == [azure.settings.admin_group_id]
    assert abs(token.expires_on - claims["exp"]) < 10


def test_the_configuration_leads_to_the_keys(azure: Running) -> None:
    for version in ("", "/v2.0"):
        found = httpx.get(
            f"{azure.base_url}/{azure.settings.tenant_id}{version}/.well-known/openid-configuration",
            verify=azure.context(),
        ).json()
        assert found["issuer"] == f"{azure.base_url}/{azure.settings.tenant_id}{version or '/'}"
        assert httpx.get(found["jwks_uri"], verify=azure.context()).json()["keys"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"client_secret": "wrong"}, "AADSTS7000215"),
        ({"client_id": "99999999-0000-4000-8000-000000000000"}, "AADSTS700016"),
        ({"tenant_id": "99999999-0000-4000-8000-000000000000"}, "Unable to get authority configuration"),
    ],
)
def test_wrong_credentials(azure: Running, changes: dict[str, str], code: str) -> None:
    with pytest.raises((ClientAuthenticationError, ValueError), match=code):
        secret_credential(azure, **changes).get_token(f"{azure.base_url}/.default")


def test_an_unknown_resource(azure: Running) -> None:
    with pytest.raises(ClientAuthenticationError, match="AADSTS500011"):
        secret_credential(azure).get_token("https://nobody.example/.default")


def test_an_expired_secret(azure: Running) -> None:
    path = f"/lab/principals/{azure.settings.client_id}"
    azure.control("POST", path, {"secret_expired": True})
    try:
        with pytest.raises(ClientAuthenticationError, match="AADSTS7000222"):
            secret_credential(azure).get_token(f"{azure.base_url}/.default")
    finally:
        azure.control("POST", path, {"secret_expired": False})
    assert secret_credential(azure).get_token(f"{azure.base_url}/.default").token


class Issuer:
    """Somebody who signs ServiceAccount tokens."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def jwks(self) -> dict[str, Any]:
        return {"keys": [{**jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True), "kid": "one"}]}

    def token(self, *, key: rsa.RSAPrivateKey | None = None, **claims: Any) -> str:
        now = int(time.time())
        known = {"iss": ISSUER, "sub": SUBJECT, "aud": [AUDIENCE], "iat": now, "exp": now + 600}
        return jwt.encode(known | claims, key or self.key, algorithm="RS256", headers={"kid": "one"})


@pytest.fixture
def issuer(azure: Running) -> Issuer:
    found = Issuer()
    azure.control("POST", "/lab/issuers", {"issuer": ISSUER, "jwks": found.jwks()})
    return found


@pytest.fixture
def exchange(azure: Running, group: str) -> Callable[[str], str]:
    """Make an identity with a federated credential; trades an assertion for a token's text."""
    identity = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/openmrs"
    with azure.client() as client:
        made = client.put(f"{identity}?api-version=2023-01-31", json={"location": "francecentral"})
        assert made.status_code == 201, made.text
        body = {"properties": {"issuer": ISSUER, "subject": SUBJECT, "audiences": [AUDIENCE]}}
        credential = client.put(f"{identity}/federatedIdentityCredentials/openmrs?api-version=2023-01-31", json=body)
        assert credential.status_code == 201, credential.text
    client_id = made.json()["properties"]["clientId"]

    def get(assertion: str) -> str:
        found = ClientAssertionCredential(
            azure.settings.tenant_id,
            client_id,
            lambda: assertion,
            authority=azure.base_url,
            disable_instance_discovery=True,
        )
        return found.get_token("https://vault.azure.net/.default").token

    return get


def test_a_service_account_becomes_the_identity(azure: Running, issuer: Issuer, exchange: Callable[[str], str]) -> None:
    claims = jwt.decode(exchange(issuer.token()), options={"verify_signature": False})
    known = azure.simulator.directory.by_object_id(claims["oid"])
    assert known is not None
    assert known.kind == "ManagedIdentity"


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"sub": "system:serviceaccount:openmrs:other"}, "AADSTS700213"),
        ({"sub": SUBJECT.upper()}, "AADSTS7002138"),
        ({"iss": "https://other.example"}, "AADSTS700211"),
        ({"aud": ["other"]}, "AADSTS700212"),
        ({"exp": 1_000_000, "iat": 900_000}, "AADSTS700024"),
    ],
)
def test_a_token_for_something_else(
    issuer: Issuer, exchange: Callable[[str], str], claims: dict[str, Any], code: str
) -> None:
    with pytest.raises(ClientAuthenticationError, match=code):
        exchange(issuer.token(**claims))


def test_a_token_signed_by_somebody_else(issuer: Issuer, exchange: Callable[[str], str]) -> None:
    with pytest.raises(ClientAuthenticationError, match="AADSTS700027"):
        exchange(issuer.token(key=Issuer().key))


def test_a_deleted_credential_ends_it(
    azure: Running, group: str, issuer: Issuer, exchange: Callable[[str], str]
) -> None:
    identity = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/openmrs"
    path = f"{identity}/federatedIdentityCredentials/openmrs"
    with azure.client() as client:
        assert client.delete(f"{path}?api-version=2023-01-31").status_code == 200
    with pytest.raises(ClientAuthenticationError, match="AADSTS700211"):
        exchange(issuer.token())


def test_metadata_in_every_shape(azure: Running) -> None:
    def get(version: str) -> Any:
        return httpx.get(f"{azure.base_url}/metadata/endpoints?api-version={version}", verify=azure.context()).json()

    assert get("2015-01-01")["authentication"]["loginEndpoint"] == f"{azure.base_url}/"
    assert get("2019-05-01")[0]["resourceManager"] == azure.base_url
    assert get("2022-09-01")["authentication"]["loginEndpoint"] == azure.base_url
    assert get("1999-01-01")["error"]["code"] == "InvalidApiVersionParameter"
