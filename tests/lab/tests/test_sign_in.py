"""How people sign in to an application: a code for who they are, and tokens for the code, as Entra ID has it."""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest

from tests.lab.azure.principals import hash_secret
from tests.lab.azure.testing import Running

REDIRECT = "https://prometheus.lab.audioprothese.example/oauth2/callback"
OPERATOR = "operator@lab.audioprothese.example"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


def ask(azure: Running, login: str = "", **changes: str) -> httpx.Response:
    """Ask for a code; with `login` say who it is."""
    asked = {
        "client_id": azure.settings.application_id,
        "redirect_uri": REDIRECT,
        "response_type": "code",
        "scope": "openid",
        "state": "s",
        "nonce": "n",
        **changes,
    }
    url = f"{azure.base_url}/{azure.settings.tenant_id}/oauth2/v2.0/authorize"
    with httpx.Client(verify=azure.context(), trust_env=False, params=asked) as client:
        return client.post(url, data={"login": login}) if login else client.get(url)


def told(answer: httpx.Response) -> dict[str, str]:
    """What the application is told by the address that somebody is led back to."""
    assert answer.status_code == 302, answer.text
    where = urlsplit(answer.headers["location"])
    assert f"{where.scheme}://{where.netloc}{where.path}" == REDIRECT
    return {key: values[0] for key, values in parse_qs(where.query).items()}


def redeem(azure: Running, granted: str, **changes: str) -> tuple[int, dict[str, Any]]:
    """Exchange a code, with a client secret that the application is given here."""
    directory = azure.simulator.directory
    application = directory.by_client_id(azure.settings.application_id)
    assert application
    directory.save(type(application)(**{**vars(application), "secret_hash": hash_secret("s3cret")}))
    form = {
        "grant_type": "authorization_code",
        "client_id": azure.settings.application_id,
        "client_secret": "s3cret",
        "redirect_uri": REDIRECT,
        "code": granted,
        **changes,
    }
    url = f"{azure.base_url}/{azure.settings.tenant_id}/oauth2/v2.0/token"
    answer = httpx.post(url, data=form, verify=azure.context(), trust_env=False)
    return answer.status_code, answer.json()


def test_somebody_signs_in(azure: Running) -> None:
    assert "<form" in ask(azure).text
    back = told(ask(azure, OPERATOR))
    assert back["state"] == "s"
    status, tokens = redeem(azure, back["code"])
    assert status == 200
    settings = azure.settings
    claims = jwt.decode(
        tokens["id_token"],
        azure.simulator.tokens.keys.public,
        algorithms=["RS256"],
        audience=settings.application_id,
        issuer=f"{azure.base_url}/{settings.tenant_id}/v2.0",
    )
    assert (claims["preferred_username"], claims["groups"]) == (OPERATOR, [settings.admin_group_id])
    assert (claims["nonce"], claims["tid"], claims["oid"]) == ("n", settings.tenant_id, settings.operator_object_id)


@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ({"client_id": "11111111-2222-4333-8444-555555555555"}, 700016),
        ({"redirect_uri": "https://evil.example/oauth2/callback"}, 50011),
        ({"redirect_uri": "https://grafana.lab.audioprothese.example/oauth2/callback"}, 50011),
        ({"redirect_uri": f"{REDIRECT}/"}, 50011),
        ({"redirect_uri": "http://prometheus.lab.audioprothese.example/oauth2/callback"}, 50011),
    ],
)
def test_nobody_is_led_to_an_unknown_address(azure: Running, changes: dict[str, str], number: int) -> None:
    answer = ask(azure, OPERATOR, **changes)
    assert (answer.status_code, answer.headers.get("location")) == (400, None)
    assert f"AADSTS{number}" in answer.text


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "email"}, "invalid_request"),
        ({"code_challenge": VERIFIER, "code_challenge_method": "plain"}, "invalid_request"),
    ],
)
def test_the_application_is_told_what_it_asked_wrongly(azure: Running, changes: dict[str, str], error: str) -> None:
    back = told(ask(azure, OPERATOR, **changes))
    assert (back["error"], back["state"]) == (error, "s")


def test_an_unknown_person_gets_no_code(azure: Running) -> None:
    answer = ask(azure, "nobody@lab.audioprothese.example")
    assert answer.status_code == 400
    assert "AADSTS50034" in answer.text


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code": "x"}, "invalid_grant"),
        ({"client_secret": "wrong"}, "invalid_client"),
        ({"client_secret": ""}, "invalid_client"),
        ({"redirect_uri": f"{REDIRECT}/"}, "invalid_client"),
        ({"code_verifier": "w" * 43}, "invalid_grant"),
        ({}, "invalid_grant"),
    ],
)
def test_a_code_is_for_who_asked_for_it(azure: Running, changes: dict[str, str], error: str) -> None:
    code = told(ask(azure, OPERATOR, code_challenge=CHALLENGE, code_challenge_method="S256"))["code"]
    status, body = redeem(azure, code, **changes)
    assert status in (400, 401)
    assert body["error"] == error


def test_a_code_counts_once(azure: Running) -> None:
    code = told(ask(azure, OPERATOR, code_challenge=CHALLENGE, code_challenge_method="S256"))["code"]
    assert redeem(azure, code, code_verifier=VERIFIER)[0] == 200
    assert redeem(azure, code, code_verifier=VERIFIER)[1]["error"] == "invalid_grant"
