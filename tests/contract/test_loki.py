"""Loki itself reads its configuration: what it keeps, for how long, and what it tells Alertmanager of."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.contract.conftest import find
from tests.contract.loki import Loki, configuration, rules, running, verified
from tests.contract.rendered import INVENTORIES, Documents
from tests.contract.serving import QuietHandler, serving

FreePort = Callable[[], int]
SECONDS = 60
REFUSED = "[Warning] Access denied for user 'x'@'10.244.0.9' (using password: YES)"
# For each alert lines of which it fires, and lines beside them of which it does not: of somebody else, or fewer.
LINES: dict[str, tuple[tuple[str, str, list[str]], tuple[str, str, list[str]]]] = {
    "OpenMRSOutOfMemory": (
        ("openmrs", "backend", ["java.lang.OutOfMemoryError: Java heap space"]),
        ("openmrs", "frontend", ["java.lang.OutOfMemoryError: Java heap space"]),
    ),
    "OpenMRSChangeLogLocked": (
        ("openmrs", "backend", ["liquibase: Could not acquire change log lock. Currently locked by openmrs-backend-0"]),
        ("openmrs", "backend", ["liquibase: Successfully acquired change log lock"]),
    ),
    "OpenMRSSearchIndexFails": (
        ("openmrs", "backend", ["ERROR - Failed to update the search index |2026-11-27T08:00:00,001|"]),
        ("openmrs", "backend", ["INFO - updated the search index"]),
    ),
    "MariaDBLoginsRefused": (
        ("mariadb", "mariadb", [REFUSED] * 11),
        ("mariadb", "mariadb", [REFUSED] * 10),
    ),
}


@pytest.mark.parametrize("inventory", INVENTORIES)
def test_the_program_takes_the_configuration(
    inventory: str, rendered: Callable[[str], Documents], tmp_path: Path
) -> None:
    done = verified(configuration(rendered(inventory)), tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def production(rendered: Callable[[str], Documents]) -> Documents:
    return rendered("production")


@pytest.mark.sabotage
@pytest.mark.parametrize(
    ("what", "into"),
    [
        ("retention_enabled: true", "retention_enable: true"),
        ("delete_request_store: azure", "delete_request_store: ''"),
        ("period: 24h", "period: 48h"),
        ('{log_class="security"}', "log_class=security"),
    ],
)
def test_a_configuration_that_it_does_not_understand_is_refused(
    what: str, into: str, production: Documents, tmp_path: Path
) -> None:
    text = configuration(production)
    assert what in text
    assert verified(text.replace(what, into), tmp_path).returncode == 1


def test_security_logs_are_kept_for_a_year_and_longer_than_others(production: Documents) -> None:
    assert kept(yaml.safe_load(configuration(production))) == (31, 366)


def kept(known: dict[str, Any]) -> tuple[int, int]:
    """Days for which lines are kept, and those of security."""
    limits = known["limits_config"]
    [stream] = limits["retention_stream"]
    assert stream["selector"] == '{log_class="security"}'
    assert known["compactor"]["retention_enabled"] is True
    days = [int(value.removesuffix("h")) // 24 for value in (limits["retention_period"], stream["period"])]
    return days[0], days[1]


def test_it_signs_in_with_workload_identity_and_holds_no_key(production: Documents) -> None:
    pod = find(production["kubernetes"], "StatefulSet", "loki")["spec"]["template"]
    account = find(production["kubernetes"], "ServiceAccount", "loki")
    assert pod["metadata"]["labels"]["azure.workload.identity/use"] == "true"
    client = account["metadata"]["annotations"]["azure.workload.identity/client-id"]
    assert client.endswith("/id-audioprothese-prod-loki#properties.clientId}")
    storage = yaml.safe_load(configuration(production))["storage_config"]
    # The other client stops to renew its token once that failed.
    assert storage["use_thanos_objstore"] is True
    assert set(storage["object_store"]["azure"]) == {"account_name", "endpoint_suffix", "container_name"}


@pytest.fixture(scope="module")
def loki(production: Documents, tmp_path_factory: pytest.TempPathFactory, free_port: FreePort) -> Iterator[Loki]:
    """One without rules."""
    with running(configuration(production), tmp_path_factory.mktemp("loki"), free_port) as found:
        yield found


def test_streams_have_few_labels_and_are_told_apart_by_how_long_they_are_kept(loki: Loki) -> None:
    for log_class in ("security", "operations"):
        loki.push([log_class], namespace="labels", container="gateway", log_class=log_class)
    wanted = {"k8s_namespace_name": "labels", "k8s_container_name": "gateway"}

    def streams() -> list[dict[str, str]]:
        found: list[dict[str, str]] = loki.ask("series", **{"match[]": '{k8s_namespace_name="labels"}'})
        return sorted(found, key=lambda labels: labels["log_class"])

    await_(lambda: len(streams()) == 2)
    assert streams() == [{**wanted, "log_class": "operations"}, {**wanted, "log_class": "security"}]
    security = loki.ask("query_range", query='{log_class="security", k8s_namespace_name="labels"}')
    assert [line for stream in security["result"] for _, line in stream["values"]] == ["security"]


def test_nobody_removes_a_line_before_its_time(loki: Loki) -> None:
    for method in ("POST", "DELETE"):
        answer = httpx.request(
            method,
            f"{loki.address}/loki/api/v1/delete",
            params={"query": '{log_class="security"}', "start": "1"},
            timeout=10,
            trust_env=False,
        )
        assert answer.status_code in (403, 404), answer.text


def await_(holds: Callable[[], Any], seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@contextlib.contextmanager
def alerting(
    documents: Documents, folder: Path, free_port: FreePort, change: Callable[[dict[str, Any]], Any] = bool
) -> Iterator[tuple[Loki, list[dict[str, Any]]]]:
    """Loki with its rules, looked at every second; and what it tells Alertmanager."""
    told: list[dict[str, Any]] = []

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            told.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

    files = {}
    for name, content in rules(documents).items():
        known = yaml.safe_load(content)
        change(known)
        files[name] = yaml.safe_dump(known)
    port = free_port()
    often = {"alertmanager_url": f"http://127.0.0.1:{port}", "evaluation_interval": "1s", "poll_interval": "1s"}
    with serving(port, Handler), running(configuration(documents), folder, free_port, files=files, **often) as found:
        yield found, told


def names(told: list[dict[str, Any]]) -> set[str]:
    return {alert["labels"]["alertname"] for alert in told}


def listed(known: dict[str, Any]) -> list[dict[str, Any]]:
    return [rule for group in known["groups"] for rule in group["rules"]]


def fired(found: tuple[Loki, list[dict[str, Any]]], which: int, wanted: set[str]) -> set[str]:
    """Hand Loki the lines that have to fire (0) or those beside them (1); what fires, once that is what is wanted."""
    loki, told = found
    for both in LINES.values():
        namespace, container, lines = both[which]
        loki.push(lines, namespace=namespace, container=container)
    if not wanted:
        time.sleep(5)
    with contextlib.suppress(AssertionError):
        await_(lambda: names(told) == wanted, seconds=20)
    return names(told)


def test_alerts_fire_of_their_lines_and_of_no_others(
    production: Documents, tmp_path: Path, free_port: FreePort
) -> None:
    assert {rule["alert"] for rule in listed(yaml.safe_load(rules(production)["logs.yml"]))} == set(LINES)
    with alerting(production, tmp_path, free_port) as found:
        assert fired(found, 1, set()) == set()
        assert fired(found, 0, set(LINES)) == set(LINES)
    # Where it comes from, how bad it is, and nothing of the line.
    labels = {frozenset(alert["labels"]) for alert in found[1]}
    assert labels == {frozenset({"alertname", "cluster", "severity", "system"})}


DEAF = {" > 0": " > 1", "> 10": "> 100"}
TOO_MUCH = {
    '="backend"} |= "java.lang.Out': '=~".+"} |= "java.lang.Out',
    "Could not acquire change": "change",
    "Failed to update the": "the",
    "> 10": "> 8",
}


@pytest.mark.sabotage
@pytest.mark.parametrize(("faults", "which"), [(DEAF, 0), (TOO_MUCH, 1)])
def test_rules_that_look_for_something_else_are_noticed(
    production: Documents, tmp_path: Path, free_port: FreePort, faults: dict[str, str], which: int
) -> None:
    def change(known: dict[str, Any]) -> None:
        for rule in listed(known):
            before = rule["expr"]
            for what, into in faults.items():
                rule["expr"] = rule["expr"].replace(what, into)
            assert rule["expr"] != before

    seen = set(LINES) if which else set()
    with alerting(production, tmp_path, free_port, change) as found:
        assert fired(found, which, seen) == seen
