# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.errors import explain, retry_after
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)


class _Response:
    def __init__(self, status: int, body: t.Any, headers: dict[str, str] | None = None) -> None:
        self.status_code, self.headers, self.reason, self.request = status, headers or {}, "Reason", None
        self._body = body

    def json(self) -> t.Any:
        return json.loads(self._body) if isinstance(self._body, str) else self._body

    def text(self) -> str:
        return str(self._body)

    def body(self) -> bytes:
        return str(self._body).encode()


def _error(status: int, body: t.Any, **headers: str) -> HttpResponseError:
    return HttpResponseError(response=t.cast("t.Any", _Response(status, body, headers)))


ANSWERS = [
    pytest.param(
        403,
        {"error": {"code": "AuthorizationFailed", "message": "The client has no\nauthorization"}},
        "/x: cannot read: Azure answered 403 AuthorizationFailed: The client has no authorization. Give the",
        id="code and remedy",
    ),
    pytest.param(403, {"error": {"code": "Odd", "message": "m"}}, "Give the identity a role", id="403 in general"),
    pytest.param(
        400,
        {"error": {"code": "Bad", "message": "failed", "details": [{"code": "In", "message": "subnet is in use"}]}},
        "Bad: failed: In subnet is in use",
        id="details",
    ),
    pytest.param(400, {"code": "Flat", "message": "m"}, "Azure answered 400 Flat: m", id="without an error object"),
    pytest.param(502, "<html>", "Azure answered 502 Reason", id="a page of a proxy"),
    pytest.param(500, {"error": {"code": "E", "message": ""}}, "Azure answered 500 E", id="only a code"),
    pytest.param(
        409,
        {"error": {"code": "ConflictError", "message": "exists in deleted state."}},
        "exists in deleted state. Set createMode to recover",
        id="deleted vault",
    ),
    pytest.param(
        409,
        {"error": {"code": "ErrCode_InsufficientVCPUQuota", "message": "left 0"}},
        "Ask for more vCPU quota",
        id="quota",
    ),
]


@pytest.mark.parametrize(("status", "body", "expected"), ANSWERS)
def test_answers_become_one_sentence(status: int, body: t.Any, expected: str) -> None:
    found = explain(_error(status, body), doing="read", where="/x")
    assert expected in str(found)
    assert "\n" not in str(found)
    assert found.status == status


CONNECTIONS = [
    (ServiceRequestError("Failed to resolve 'management.azure.com'"), "does not resolve"),
    (ServiceRequestError("[Errno 111] Connection refused"), "refuses the connection"),
    (ServiceRequestError("CERTIFICATE_VERIFY_FAILED: self-signed"), "REQUESTS_CA_BUNDLE"),
    (ServiceRequestError("Connection to x timed out"), "did not answer in time"),
    (ServiceResponseError("Connection aborted"), "the connection to https://arm failed"),
]


@pytest.mark.parametrize(("error", "expected"), CONNECTIONS)
def test_connections_that_fail(error: t.Any, expected: str) -> None:
    assert expected in str(explain(error, doing="read", where="/x", host="https://arm"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("AADSTS7000215: Invalid client secret", "the client secret is wrong (AADSTS7000215)"),
        ("AADSTS700016: not found in the directory", "does not exist in this tenant"),
        ("AADSTS90002: Tenant not found", "the tenant does not exist"),
        ("AADSTS700024: Client assertion is not within its valid time range", "the federated token has expired"),
        ("Azure CLI not found on path", "Set AZURE_CLIENT_ID, AZURE_SECRET and AZURE_TENANT"),
        ("something else", "cannot get a token: something else"),
    ],
)
def test_refused_tokens(text: str, expected: str) -> None:
    assert expected in str(explain(ClientAuthenticationError(text), doing="get a token", where="app"))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({}, 0), ({"retry-after": "7"}, 7), ({"x-ms-retry-after-ms": "500"}, 0.5), ({"retry-after": "soon"}, 0)],
)
def test_retry_after(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(headers) == seconds
