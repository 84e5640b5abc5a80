"""Entra ID's sign-in of people: a page that asks who it is, a code for the application, and an ID token for the code.

https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow
"""

from __future__ import annotations

import base64
import hashlib
import html
import secrets
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from tests.lab.azure.principals import Directory, Principal
from tests.lab.azure.tokens import Tokens

__all__ = ["Refusal", "SignIn"]

# https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow#successful-response
CODE_SECONDS = 600
TOKEN_SECONDS = 3600


class Refusal(Exception):
    """Why nobody is signed in; `number` is the AADSTS code."""

    def __init__(self, error: str, number: int, text: str) -> None:
        super().__init__(text)
        self.error, self.number, self.text = error, number, text


@dataclass(frozen=True)
class Grant:
    """What a code stands for; it counts once."""

    client_id: str
    user: Principal
    redirect_uri: str
    nonce: str
    challenge: str
    issuer: str
    ends: float


class SignIn:
    """The two steps of a sign-in: a code for a person, then tokens for the code."""

    def __init__(self, directory: Directory, tokens: Tokens, tenant: str) -> None:
        self._directory = directory
        self._tokens = tokens
        self._tenant = tenant
        self._grants: dict[str, Grant] = {}

    async def authorize(self, request: Request, issuer: str) -> Response:
        """Ask who it is; with `login`, lead back to the application with a code."""
        asked = {key: value for key, value in request.query_params.items() if value}
        try:
            application = self._application(asked)
        except Refusal as refusal:
            # Nobody is led to an address that the application did not register.
            return HTMLResponse(f"AADSTS{refusal.number}: {html.escape(refusal.text)}", status_code=400)
        redirect = asked["redirect_uri"]
        state = {"state": asked["state"]} if "state" in asked else {}
        try:
            self._check(asked)
        except Refusal as refusal:
            told = {"error": refusal.error, "error_description": f"AADSTS{refusal.number}: {refusal.text}"}
            return RedirectResponse(f"{redirect}?{urlencode(told | state)}", status_code=302)
        if request.method == "GET":
            return HTMLResponse(_PAGE)
        login = parse_qs((await request.body()).decode()).get("login", [""])[0]
        user = self._user(login)
        if user is None:
            return HTMLResponse(f"AADSTS50034: The user account {html.escape(login)} does not exist.", status_code=400)
        code = secrets.token_urlsafe(32)
        self._grants[code] = Grant(
            client_id=application.client_id,
            user=user,
            redirect_uri=redirect,
            nonce=asked.get("nonce", ""),
            challenge=asked.get("code_challenge", ""),
            issuer=issuer,
            ends=time.monotonic() + CODE_SECONDS,
        )
        return RedirectResponse(f"{redirect}?{urlencode({'code': code} | state)}", status_code=302)

    def redeem(self, form: dict[str, str]) -> dict[str, Any]:
        """Return the tokens for a code; the application is known by then."""
        grant = self._grants.pop(form.get("code", ""), None)
        if grant is None or grant.client_id != form.get("client_id") or grant.ends < time.monotonic():
            raise Refusal("invalid_grant", 70008, "The provided authorization code or refresh token has expired.")
        if grant.redirect_uri != form.get("redirect_uri"):
            raise Refusal("invalid_client", 500112, "The reply address does not match the one that was asked for.")
        if grant.challenge and grant.challenge != _challenge(form.get("code_verifier", "")):
            raise Refusal("invalid_grant", 501481, "The Code_Verifier does not match the code_challenge.")
        now = int(time.time())
        claims = {
            "aud": grant.client_id,
            "iss": grant.issuer,
            "iat": now,
            "nbf": now,
            "exp": now + TOKEN_SECONDS,
            "name": grant.user.name,
            "preferred_username": grant.user.name,
            "oid": grant.user.object_id,
            "sub": hashlib.sha256(f"{grant.client_id}|{grant.user.object_id}".encode()).hexdigest(),
            "tid": self._tenant,
            "groups": list(grant.user.groups),
            "ver": "2.0",
            **({"nonce": grant.nonce} if grant.nonce else {}),
        }
        access, _ = self._tokens.issue(grant.user, "https://graph.microsoft.com")
        return {
            "token_type": "Bearer",
            "scope": "openid",
            "expires_in": TOKEN_SECONDS,
            "access_token": access,
            "id_token": self._tokens.sign(claims),
        }

    def _application(self, asked: dict[str, str]) -> Principal:
        found = self._directory.by_client_id(asked.get("client_id", ""))
        if found is None:
            raise Refusal(
                "unauthorized_client",
                700016,
                f"Application with identifier '{asked.get('client_id', '')}' was not found in the directory.",
            )
        redirect = asked.get("redirect_uri", "")
        if redirect not in found.redirect_uris:
            raise Refusal(
                "invalid_request",
                50011,
                f"The redirect URI '{redirect}' specified in the request does not match the redirect URIs configured "
                f"for the application '{found.client_id}'.",
            )
        return found

    @staticmethod
    def _check(asked: dict[str, str]) -> None:
        if asked.get("response_type") != "code":
            raise Refusal("unsupported_response_type", 700054, "The response_type is not enabled for the application.")
        if "openid" not in asked.get("scope", "").split():
            raise Refusal("invalid_request", 900144, "The request must contain the scope 'openid'.")
        if asked.get("code_challenge") and asked.get("code_challenge_method") != "S256":
            raise Refusal("invalid_request", 501491, "The code_challenge_method is not supported.")

    def _user(self, name: str) -> Principal | None:
        users = (found for found in self._directory.all() if found.kind == "User")
        return next((found for found in users if found.name.lower() == name.lower()), None)


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


_PAGE = """<!DOCTYPE html><html lang="fr"><title>Se connecter</title>
<form method="post"><label>Compte <input name="login" autofocus></label> <button>Suivant</button></form></html>"""
