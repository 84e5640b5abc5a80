# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import pathlib
import time
import typing as t
from collections.abc import Callable

import pytest
import requests
from ansible_collections.audioprothese.platform.plugins.module_utils.arm import client as module
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.client import ArmClient
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.credentials import Cloud, SharedToken
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.errors import ArmError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.progress import Progress
from azure.core.credentials import AccessToken
from azure.core.pipeline.transport import RequestsTransport
from requests.structures import CaseInsensitiveDict

CLOUD = Cloud(
    name="test",
    resource_manager="https://arm.test",
    authority="https://login.test",
    audience="https://arm.test",
    vault_audience="https://vault.test",
)
Reply = tuple[int, t.Any, dict[str, str]]


class _Wire(requests.adapters.BaseAdapter):
    """Answers in order; the last answer stays."""

    def __init__(self, *replies: Reply) -> None:
        super().__init__()
        self.replies = list(replies)
        self.sent: list[t.Any] = []

    def send(self, request: t.Any, *args: t.Any, **kwargs: t.Any) -> requests.Response:
        self.sent.append(request)
        status, body, headers = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        response = requests.Response()
        response.status_code, response.request, response.url = status, request, request.url
        response.headers = CaseInsensitiveDict({"content-type": "application/json", **headers})
        response._content = json.dumps(body).encode() if body is not None else b""
        response.raw = _Raw(response._content)
        return response

    def close(self) -> None:
        pass


class _Raw:
    enforce_content_length = True

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, *args: t.Any, **kwargs: t.Any) -> t.Iterator[bytes]:
        yield self._content

    def close(self) -> None:
        pass


class _Credential:
    def get_token(self, *scopes: str, **kwargs: t.Any) -> AccessToken:
        return AccessToken(f"token-for-{scopes[0]}", int(time.time()) + 3600)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_POLL_AT_MOST_EVERY", 0.0)
    monkeypatch.setattr(module, "_BACKOFF", {"retry_backoff_factor": 0.0})


@pytest.fixture
def connect() -> Callable[..., tuple[ArmClient, _Wire]]:
    def make(*replies: Reply, **options: t.Any) -> tuple[ArmClient, _Wire]:
        wire, session = _Wire(*replies), requests.Session()
        session.mount("https://", wire)
        transport = RequestsTransport(session=session, session_owner=False)
        token = SharedToken(lambda: t.cast("t.Any", _Credential()))
        return ArmClient(cloud=CLOUD, token=token, transport=t.cast("t.Any", transport), **options), wire

    return make


Connect = Callable[..., tuple[ArmClient, _Wire]]


def test_a_read_carries_token_and_version(connect: Connect) -> None:
    client, wire = connect((200, {"id": "/a"}, {}))
    assert client.get("/a b", "2025-01-01") == {"id": "/a"}
    assert wire.sent[0].url == "https://arm.test/a%20b?api-version=2025-01-01"
    assert wire.sent[0].headers["Authorization"] == "Bearer token-for-https://arm.test/.default"
    assert client.requests() == {"GET": 1, "TOKEN": 1, "retries": 0, "throttled": 0}


def test_another_service_gets_its_own_token(connect: Connect) -> None:
    client, wire = connect((200, {"value": "s"}, {}))
    client.request("GET", "https://kv.test/secrets/a", api_version="7.4", scope=CLOUD.vault_scope)
    assert wire.sent[0].headers["Authorization"] == "Bearer token-for-https://vault.test/.default"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_hiccups_are_retried_and_counted(connect: Connect, status: int) -> None:
    client, _wire = connect((status, {}, {}), (status, {}, {}), (200, {"ok": 1}, {}))
    assert client.get("/a", "v") == {"ok": 1}
    counts = client.requests()
    assert (counts["GET"], counts["retries"], counts["throttled"]) == (3, 2, 2 if status == 429 else 0)


def test_retry_after_is_honoured(connect: Connect) -> None:
    client, _wire = connect((429, {}, {"Retry-After": "1"}), (200, {}, {}))
    started = time.monotonic()
    client.get("/a", "v")
    assert time.monotonic() - started >= 1


def test_a_refusal_is_an_error_with_code_and_wait(connect: Connect) -> None:
    client, _wire = connect((409, {"error": {"code": "Busy", "message": "m"}}, {"x-ms-retry-after-ms": "20"}))
    with pytest.raises(ArmError) as caught:
        client.put("/a", "v", {})
    assert (caught.value.status, caught.value.code, caught.value.wait) == (409, "Busy", 0.02)


def test_a_long_running_write_tells_its_states(connect: Connect) -> None:
    operation = {"Azure-AsyncOperation": "https://arm.test/operations/1", "Retry-After": "0"}
    client, wire = connect(
        (201, {"properties": {"provisioningState": "Updating"}}, operation),
        (200, {"status": "InProgress"}, {}),
        (200, {"status": "Succeeded"}, {}),
        (200, {"id": "/a", "properties": {"provisioningState": "Succeeded"}}, {}),
    )
    states: list[str] = []
    assert client.put("/a", "v", {"x": 1}, on_state=states.append)["id"] == "/a"
    assert states == ["Updating", "Succeeded"]
    assert [r.method for r in wire.sent] == ["PUT", "GET", "GET", "GET"]


def test_a_failed_operation_is_an_error(connect: Connect) -> None:
    client, _wire = connect(
        (202, None, {"Azure-AsyncOperation": "https://arm.test/operations/1"}),
        (200, {"status": "Failed", "error": {"code": "Conflict", "message": "another operation"}}, {}),
    )
    with pytest.raises(ArmError, match=r"the operation failed with Conflict: another operation"):
        client.put("/a", "v", {})


def test_waiting_ends_with_the_timeout(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_POLL_AT_MOST_EVERY", 0.05)
    client, _wire = connect(
        (202, None, {"Azure-AsyncOperation": "https://arm.test/operations/1"}), (200, {"status": "InProgress"}, {})
    )
    with pytest.raises(ArmError, match=r"still InProgress after .* Run again"):
        client.put("/a", "v", {}, timeout=0.3)


def test_deleting_what_is_not_there_is_fine(connect: Connect) -> None:
    client, _wire = connect((404, {"error": {"code": "ResourceNotFound", "message": "m"}}, {}))
    client.delete("/a", "v")


def test_each_request_is_shown_when_asked_for(connect: Connect, tmp_path: pathlib.Path) -> None:
    for verbosity, lines in ((0, 0), (1, 1)):
        path = tmp_path / str(verbosity)
        path.touch()
        client, _wire = connect((200, {}, {}), progress=Progress(str(path)), verbosity=verbosity)
        client.get("/a", "v")
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) == lines
        assert "token" not in text
    assert text.startswith("GET /a 200 ")


def test_the_import_costs_little() -> None:
    import subprocess  # noqa: PLC0415
    import sys  # noqa: PLC0415

    program = (
        "import sys; import ansible_collections.audioprothese.platform.plugins.modules.arm_resources;"
        "print([m for m in ('requests', 'azure.core', 'azure.identity', 'msal') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": ".ansible/collections"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]", "heavy libraries are to be loaded when the first request is due"
