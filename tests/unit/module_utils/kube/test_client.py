# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import http.server
import json
import threading
import time
import typing as t
import urllib.parse
from collections.abc import Iterator

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.progress import Progress
from ansible_collections.audioprothese.platform.plugins.module_utils.kube import client as module
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.client import KubeClient
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.errors import (
    ApiError,
    ConflictError,
    ConnectionFailed,
    KubeError,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.objects import ObjectId
from kubernetes.client import Configuration

Answer = tuple[int, dict[str, t.Any], dict[str, str]]

CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n", "uid": "u"}}


def entry(plural: str, kind: str, scope: str = "Namespaced") -> dict[str, t.Any]:
    return {"resource": plural, "scope": scope, "responseKind": {"kind": kind}, "verbs": ["get"]}


def group(name: str, *versions: str, resources: list[dict[str, t.Any]]) -> dict[str, t.Any]:
    return {"metadata": {"name": name}, "versions": [{"version": v, "resources": resources} for v in versions]}


DISCOVERY = {
    "/api": [group("", "v1", resources=[entry("configmaps", "ConfigMap"), entry("events", "Event")])],
    "/apis": [group("x.io", "v2", "v1", resources=[entry("things", "Thing", "Cluster")])],
}


class Server(http.server.ThreadingHTTPServer):
    """Answers what a test queued, in order, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.queue: list[Answer] = []
        self.seen: list[tuple[str, str, dict[str, list[str]], t.Any]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        server = t.cast("Server", self.server)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urllib.parse.urlsplit(self.path)
        server.seen.append(
            (self.command, url.path, urllib.parse.parse_qs(url.query), json.loads(body) if body else None)
        )
        if url.path in DISCOVERY:
            aggregated = "APIGroupDiscoveryList" in self.headers.get("Accept", "")
            kind = "APIGroupDiscoveryList" if aggregated else "APIGroupList"
            status, payload, headers = t.cast("Answer", (200, {"kind": kind, "items": DISCOVERY[url.path]}, {}))
        else:
            status, payload, headers = server.queue.pop(0)
        content = json.dumps(payload).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content)), "Content-Type": "application/json"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PATCH = do_DELETE = answer

    def log_message(self, format: str, *args: t.Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield running
        running.shutdown()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


def connect(address: str, **options: t.Any) -> KubeClient:
    return KubeClient(Configuration(host=address), **options)


@pytest.fixture
def client(server: Server, pauses: list[float]) -> Iterator[KubeClient]:
    made = connect(server.address)
    made.discover()
    server.seen.clear()
    yield made
    made.close()


def config_maps(client: KubeClient) -> t.Any:
    return client.resource("v1", "ConfigMap")


def refusal(status: int, **fields: t.Any) -> Answer:
    return status, {"kind": "Status", "message": f"message {status}", **fields}, {}


def test_discovery_takes_two_requests_and_no_file(client: KubeClient) -> None:
    assert client.requests["DISCOVERY"] == 2
    assert config_maps(client).namespaced is True
    assert repr(client.resource("x.io/v1", "Thing")) == "<Resource(x.io/v1/things)>"
    assert repr(client.preferred("x.io", "Thing")) == "<Resource(x.io/v2/things)>"
    assert client.resource("x.io/v3", "Thing") is None
    assert client.scopes() == {("", "ConfigMap"): True, ("", "Event"): True, ("x.io", "Thing"): False}


def test_a_server_without_aggregated_discovery_is_too_old(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ACCEPT", "application/json")
    with pytest.raises(KubeError, match=r"1\.30 or later is needed"):
        connect(server.address).discover()


def test_what_is_not_found_is_none(client: KubeClient, server: Server) -> None:
    server.queue = [refusal(404), (200, CONFIG_MAP, {})]
    assert client.get(config_maps(client), "a", "n") is None
    assert client.get(config_maps(client), "a", "n") == CONFIG_MAP
    assert server.seen[0][:2] == ("GET", "/api/v1/namespaces/n/configmaps/a")


def test_a_list_is_read_to_its_end(client: KubeClient, server: Server) -> None:
    page = {"items": [{"metadata": {"name": "a"}}], "metadata": {"continue": "next"}}
    server.queue = [(200, page, {}), (200, {"items": [{"metadata": {"name": "b"}}], "metadata": {}}, {})]
    found = client.find(config_maps(client), selector="app=x")
    assert [(obj["kind"], obj["metadata"]["name"]) for obj in found] == [("ConfigMap", "a"), ("ConfigMap", "b")]
    assert server.seen[0][2]["labelSelector"] == ["app=x"]
    assert server.seen[1][2]["continue"] == ["next"]
    assert client.requests["LIST"] == 2


def test_a_list_that_fails_on_the_way_fails_as_a_whole(client: KubeClient, server: Server) -> None:
    page = {"items": [{"metadata": {"name": "a"}}], "metadata": {"continue": "next"}}
    server.queue = [(200, page, {}), refusal(410)]
    with pytest.raises(ApiError, match="message 410"):
        client.find(config_maps(client))


@pytest.mark.parametrize(("dry_run", "counted"), [(True, "DRY_RUN"), (False, "PATCH")])
def test_apply(client: KubeClient, server: Server, dry_run: bool, counted: str) -> None:
    server.queue = [(200, CONFIG_MAP, {})]
    assert client.apply(config_maps(client), CONFIG_MAP, dry_run=dry_run, force=True) == CONFIG_MAP
    verb, path, query, body = server.seen[0]
    assert (verb, path, body) == ("PATCH", "/api/v1/namespaces/n/configmaps/a", CONFIG_MAP)
    assert query.get("dryRun") == (["All"] if dry_run else None)
    assert (query["fieldManager"], query["fieldValidation"]) == (["audioprothese.platform"], ["Strict"])
    assert query["force"][0].lower() == "true"
    assert {verb: n for verb, n in client.requests.items() if n} == {counted: 1, "DISCOVERY": 2}


def test_a_dry_deletion_says_so_twice(client: KubeClient, server: Server) -> None:
    server.queue = [(200, {}, {}), (200, {}, {}), refusal(404)]
    client.delete(config_maps(client), CONFIG_MAP, dry_run=True)
    client.delete(config_maps(client), CONFIG_MAP, dry_run=False)
    client.delete(config_maps(client), CONFIG_MAP, dry_run=False)
    (_, _, dry_query, dry_body), (_, _, query, body), _gone = server.seen
    assert (dry_query["dryRun"], dry_body["dryRun"]) == (["All"], ["All"])
    assert ("dryRun" in query, "dryRun" in body, body["preconditions"]) == (False, False, {"uid": "u"})
    assert (client.requests["DRY_RUN"], client.requests["DELETE"]) == (1, 2)


def test_a_conflict_names_manager_and_field(client: KubeClient, server: Server) -> None:
    cause = {"reason": "FieldManagerConflict", "field": ".data.a", "message": 'conflict with "kubectl" using v1'}
    server.queue = [refusal(409, reason="Conflict", details={"causes": [cause]})]
    with pytest.raises(ConflictError) as caught:
        client.apply(config_maps(client), CONFIG_MAP, dry_run=True)
    assert [(c.field, c.message) for c in caught.value.causes] == [(".data.a", 'conflict with "kubectl" using v1')]


def test_throttling_is_waited_out_as_the_server_asks(client: KubeClient, server: Server, pauses: list[float]) -> None:
    busy = (429, {"message": "slow down"}, {"Retry-After": "7"})
    server.queue = [busy, (429, {}, {"Retry-After": "900"}), (503, {}, {}), (200, CONFIG_MAP, {})]
    assert client.get(config_maps(client), "a", "n") == CONFIG_MAP
    assert pauses[:2] == [7.0, 30.0]
    assert 0 < pauses[2] < 5
    assert (client.requests["GET"], client.requests["retries"], client.requests["throttled"]) == (1, 3, 2)


def test_throttling_without_end_is_an_error(client: KubeClient, server: Server) -> None:
    server.queue = [(429, {"message": "slow down"}, {"Retry-After": "1"})] * 6
    with pytest.raises(ApiError, match=r"slow down.*overloaded"):
        client.get(config_maps(client), "a", "n")
    assert server.queue == []


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (refusal(401), ConnectionFailed, "does not accept the credentials"),
        (refusal(403, reason="Forbidden", message='User "x" cannot get'), ApiError, "Azure Kubernetes Service RBAC"),
        ((400, {}, {}), ApiError, "Bad Request"),
    ],
)
def test_refusals_are_sentences(
    client: KubeClient, server: Server, answer: Answer, kind: type[KubeError], message: str
) -> None:
    server.queue = [answer]
    with pytest.raises(kind, match=message):
        client.get(config_maps(client), "a", "n")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://127.0.0.1:1", "refuses the connection. Ask the network team"),
        ("https://nowhere.invalid", "does not resolve. Ask the network team"),
    ],
)
def test_an_unreachable_server_is_one_sentence(address: str, message: str, pauses: list[float]) -> None:
    with pytest.raises(ConnectionFailed, match=message):
        connect(address, hint="Ask the network team").discover()


def test_several_calls_keep_their_order_and_fail_as_one(client: KubeClient) -> None:
    assert client.all(lambda n: n * 2, range(50)) == [n * 2 for n in range(50)]

    def picky(number: int) -> int:
        if number == 3:
            raise KubeError("three")
        return number

    mixed = client.gather(picky, range(5))
    assert [type(item) for item in mixed] == [int, int, int, KubeError, int]
    with pytest.raises(KubeError, match="three"):
        client.all(picky, range(5))


def test_events_that_may_not_be_read_are_no_error(client: KubeClient, server: Server) -> None:
    server.queue = [refusal(403), (200, {"items": [{"reason": "B", "lastTimestamp": "2"}, {"reason": "A"}]}, {})]
    about = ObjectId("apps", "Deployment", "n", "web")
    assert client.events(about) == []
    assert [event["reason"] for event in client.events(about)] == ["A", "B"]
    assert "involvedObject.name=web" in server.seen[-1][2]["fieldSelector"][0]


def test_requests_are_shown_when_asked_for(server: Server, tmp_path: t.Any) -> None:
    said = tmp_path / "said"
    shown = connect(server.address, progress=Progress(str(said)), verbosity=1)
    shown.discover()
    server.queue = [refusal(404)]
    shown.get(config_maps(shown), "a", "n")
    assert "GET ConfigMap/n/a 404" in said.read_text()
