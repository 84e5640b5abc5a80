"""Signing and checking of the lab's tokens (RS256, keys kept in the database)."""

from __future__ import annotations

import base64
import hashlib
import time
import uuid
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.lab.azure.principals import Principal
from tests.lab.azure.settings import Settings
from tests.lab.azure.store import Store

ARM_AUDIENCES = ("https://management.azure.com", "https://management.core.windows.net")
VAULT_AUDIENCE = "https://vault.azure.net"
AKS_AUDIENCE = "6dae42f8-4368-4678-94ff-3960e28e3630"  # https://learn.microsoft.com/azure/aks/kubelogin-authentication
OTHER_AUDIENCES = (
    "https://storage.azure.com",
    "https://containerregistry.azure.net",
    "https://graph.microsoft.com",
    "https://graph.windows.net",
    "https://monitor.azure.com",
    "https://api.loganalytics.io",
)

# Signatures are checked once per token: a client sends the same one with each request.
_REMEMBERED = 256


class TokenError(Exception):
    """A token that does not count; `code` is ARM's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Keys:
    """One RSA key by purpose (`entra`), made at first use."""

    def __init__(self, store: Store, purpose: str) -> None:
        name = f"key:{purpose}"
        pem = store.meta(name)
        if pem is None:
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            pem = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ).decode()
            store.set_meta(name, pem)
        private = serialization.load_pem_private_key(pem.encode(), password=None)
        if not isinstance(private, rsa.RSAPrivateKey):
            raise TypeError(f"{name} is not an RSA key")
        self.private = private
        self.public = private.public_key()
        der = self.public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.key_id = base64.urlsafe_b64encode(hashlib.sha256(der).digest()[:20]).rstrip(b"=").decode()

    def jwks(self) -> dict[str, Any]:
        """The public key as a JSON Web Key Set."""
        numbers = self.public.public_numbers()
        key = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.key_id, "x5t": self.key_id}
        return {"keys": [{**key, "n": _number(numbers.n), "e": _number(numbers.e)}]}


def _number(value: int) -> str:
    raw = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Tokens:
    """Makes and checks access tokens of the one tenant."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._settings = settings
        self._checked: dict[str, dict[str, Any]] = {}
        self.keys = Keys(store, "entra")

    @property
    def issuer(self) -> str:
        """Issuer of every access token (v1 style)."""
        return f"{self._settings.base_url}/{self._settings.tenant_id}/"

    def audience(self, resource: str) -> str | None:
        """The audience that tokens for `resource` carry; None when nobody knows the resource."""
        plain = resource.rstrip("/")
        if plain.lower() in {self._settings.base_url.lower(), *ARM_AUDIENCES}:
            return resource
        if plain.lower() in {AKS_AUDIENCE, f"api://{AKS_AUDIENCE}"}:
            return AKS_AUDIENCE
        if plain.lower() in {VAULT_AUDIENCE, *OTHER_AUDIENCES}:
            return plain
        return None

    def issue(self, principal: Principal, audience: str, *, lifetime: int | None = None) -> tuple[str, int]:
        """A signed access token and its lifetime in seconds."""
        seconds = self._settings.token_seconds if lifetime is None else lifetime
        now = int(time.time())
        claims = {
            "aud": audience,
            "iss": self.issuer,
            "iat": now,
            "nbf": now - 5,
            "exp": now + seconds,
            "appid": principal.client_id,
            "appidacr": "1",
            "idp": self.issuer,
            "idtyp": "app",
            "oid": principal.object_id,
            "sub": principal.object_id,
            "tid": self._settings.tenant_id,
            "groups": list(principal.groups),
            "uti": uuid.uuid4().hex,
            "ver": "1.0",
        }
        if principal.kind == "ManagedIdentity":
            claims["xms_mirid"] = principal.resource
        return self.sign(claims), seconds

    def sign(self, claims: dict[str, Any]) -> str:
        """Sign any claims with the tenant's key."""
        return jwt.encode(
            claims, self.keys.private, algorithm="RS256", headers={"kid": self.keys.key_id, "x5t": self.keys.key_id}
        )

    def check(self, token: str, *audiences: str) -> dict[str, Any]:
        """The claims of a valid token for one of `audiences`; raises TokenError."""
        claims = self._checked.get(token)
        if claims is None or claims["exp"] <= time.time():
            claims = self._decode(token)
            if len(self._checked) >= _REMEMBERED:
                self._checked.clear()
            self._checked[token] = claims
        wanted = {audience.rstrip("/").lower() for audience in audiences}
        if str(claims["aud"]).rstrip("/").lower() not in wanted:
            allowed = ", ".join(sorted(repr(entry) for entry in wanted))
            raise TokenError(
                "InvalidAuthenticationTokenAudience",
                f"The access token has been obtained for wrong audience or resource '{claims['aud']}'. "
                f"It should exactly match with one of the allowed audiences {allowed}.",
            )
        return claims

    def _decode(self, token: str) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self.keys.public,
                algorithms=["RS256"],
                issuer=self.issuer,
                options={"verify_aud": False, "require": ["exp", "iss", "aud", "oid"]},
            )
        except jwt.ExpiredSignatureError as exc:
            raise TokenError(
                "ExpiredAuthenticationToken", "The access token expiry UTC time is earlier than now."
            ) from exc
        except jwt.InvalidIssuerError as exc:
            raise TokenError("InvalidAuthenticationTokenTenant", "The access token is from the wrong issuer.") from exc
        except jwt.PyJWTError as exc:
            raise TokenError("InvalidAuthenticationToken", f"The access token is invalid: {exc}.") from exc
        return claims
