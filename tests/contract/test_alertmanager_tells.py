"""A real Alertmanager with the role's configuration: who is told at which hour, and what a cause silences."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.contract.programs import program
from tests.contract.serving import QuietHandler, serving
from tests.contract.stand_in import until
from tests.contract.test_alertmanager import configuration, written
from tests.lab.build.builder import built

ALWAYS = {"name": "always", "time_intervals": [{"weekdays": ["sunday:saturday"]}]}
LONG_AGO = {"name": "long-ago", "time_intervals": [{"years": ["1999"]}]}
# Long enough for what was sent together to arrive together.
WAIT = "1s"
SECONDS = 20
SECONDS_OF_SILENCE = 2.5


@dataclass
class Ears:
    """What arrived, by the path that it was sent to."""

    heard: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def alerts(self, path: str) -> set[tuple[str, str]]:
        """Name and place of each alert that a webhook got."""
        told = [alert["labels"] for where, body in self.heard if where == path for alert in body["alerts"]]
        return {(labels["alertname"], labels.get("node", labels.get("instance", ""))) for labels in told}


@contextlib.contextmanager
def listening(port: int) -> Iterator[Ears]:
    ears = Ears()

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            ears.heard.append((self.path, body))
            self.send_response(200)
            self.end_headers()

    with serving(port, Handler):
        yield ears


def ask(port: int, method: str, path: str, body: str | None = None) -> int:
    """The status of an answer; 0 where nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


@contextlib.contextmanager
def alertmanager(text: str, folder: Path, port: int) -> Iterator[Callable[..., None]]:
    """Run it; gives a function that sends it alerts, as Prometheus does."""
    command = [
        str(built("alertmanager").binary),
        f"--config.file={written(text, folder)}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]

    def send(*labels: dict[str, str]) -> None:
        notes = {
            "summary": "OpenMRS ne répond plus",
            "description": "La sonde échoue.",
            "runbook_url": "https://e.fr/#x",
        }
        body = json.dumps([{"labels": label, "annotations": notes} for label in labels])
        assert ask(port, "POST", "/api/v2/alerts", body) == 200

    with program(command, folder / "log"):
        until(lambda: ask(port, "GET", "/-/ready") == 200, "Alertmanager is ready", SECONDS)
        yield send


@dataclass
class Running:
    """Alertmanager with a receiver that is told everything by a webhook, and another what is critical by Teams."""

    send: Callable[..., None]
    ears: Ears

    def told(self, *labels: dict[str, str], at_least: set[tuple[str, str]]) -> set[tuple[str, str]]:
        """What arrives of these alerts: what has to, and whatever else does soon after."""
        self.send(*labels)
        until(lambda: at_least <= self.ears.alerts("/all"), f"{at_least} arrive", SECONDS)
        time.sleep(SECONDS_OF_SILENCE)
        return self.ears.alerts("/all")


@contextlib.contextmanager
def running(folder: Path, free_port: Callable[[], int], hours: str = "always", **variables: Any) -> Iterator[Running]:
    ears_port, port = free_port(), free_port()
    for name in ("all", "teams"):
        (folder / name).write_text(f"http://127.0.0.1:{ears_port}/{name}")
    text = configuration(
        prometheus_receivers=[
            {"name": "everything", "webhook": "all"},
            {"name": "duty", "teams": "teams", "severities": ["critical"]},
        ],
        prometheus_receivers_folder=str(folder),
        prometheus_dead_man_url=f"http://127.0.0.1:{ears_port}/dead-man",
        prometheus_time_intervals=[ALWAYS, LONG_AGO],
        prometheus_severities={
            "critical": {"wait": WAIT, "repeat": "1h"},
            "warning": {"wait": WAIT, "repeat": "1d", "only": [hours]},
        },
        **variables,
    )
    with listening(ears_port) as ears, alertmanager(text, folder, port) as send:
        yield Running(send, ears)


def critical(name: str, **labels: str) -> dict[str, str]:
    return {"alertname": name, "severity": "critical", "system": "kubernetes", **labels}


def warning(name: str, **labels: str) -> dict[str, str]:
    return {**critical(name, **labels), "severity": "warning"}


def test_a_warning_waits_for_its_hours_and_a_critical_alert_for_nothing(
    tmp_path: Path, free_port: Callable[[], int], hours: str = "long-ago"
) -> None:
    with running(tmp_path, free_port, hours) as found:
        alerts = critical("OpenMRSDown"), warning("JobFailed")
        assert found.told(*alerts, at_least={("OpenMRSDown", "")}) == {("OpenMRSDown", "")}


@pytest.mark.sabotage
def test_a_warning_at_any_hour_is_noticed(tmp_path: Path, free_port: Callable[[], int]) -> None:
    with pytest.raises(AssertionError, match="JobFailed"):
        test_a_warning_waits_for_its_hours_and_a_critical_alert_for_nothing(tmp_path, free_port, hours="always")


# A node is lost, and with it what ran there; elsewhere something else is wrong.
LOST = (
    critical("NodeNotReady", node="node-1", instance="node-1"),
    warning("PodNotReady", node="node-1"),
    warning("TargetDown", instance="node-1"),
    warning("PodNotReady", node="node-2"),
    critical("MariaDBDown", instance="mariadb-0"),
    critical("OpenMRSBackendNotReady"),
    critical("OpenMRSDown"),
)
HEARD = {
    ("NodeNotReady", "node-1"),
    ("PodNotReady", "node-2"),
    ("MariaDBDown", "mariadb-0"),
    ("OpenMRSDown", ""),
}


def test_a_cause_silences_what_follows_from_it_and_nothing_else(
    tmp_path: Path, free_port: Callable[[], int], **variables: Any
) -> None:
    with running(tmp_path, free_port, **variables) as found:
        assert found.told(*LOST, at_least=HEARD) == HEARD


@pytest.mark.sabotage
def test_what_follows_and_is_told_all_the_same_is_noticed(tmp_path: Path, free_port: Callable[[], int]) -> None:
    with pytest.raises(AssertionError, match="OpenMRSBackendNotReady"):
        test_a_cause_silences_what_follows_from_it_and_nothing_else(tmp_path, free_port, prometheus_inhibitions=[])


def test_teams_gets_a_card_in_french_and_the_dead_man_his_sign_of_life(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    with running(tmp_path, free_port) as found:
        found.send(critical("OpenMRSDown", uid="0b1c"), {"alertname": "Watchdog", "system": "monitoring"})
        paths = {"/teams", "/dead-man", "/all"}
        until(lambda: paths <= {path for path, _body in found.ears.heard}, f"{paths} are asked", SECONDS)
        assert found.ears.alerts("/dead-man") == {("Watchdog", "")}
        assert found.ears.alerts("/all") == {("OpenMRSDown", "")}
        card = json.dumps(next(body for path, body in found.ears.heard if path == "/teams"), ensure_ascii=False)
    assert "[CRITIQUE] kubernetes : OpenMRS ne répond plus" in card
    assert "[Que faire](https://e.fr/#x)" in card
    assert "0b1c" not in card
