"""Alertmanager's own tool reads the configuration of many settings: who is told of what, and in which words."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleError

from tests.contract.monitoring_tools import run
from tests.contract.rendered import templated
from tests.contract.test_prometheus_rules import ALERTS, SYSTEMS

ROLE = Path(__file__).resolve().parents[2] / "roles" / "prometheus"
MAIL: dict[str, Any] = {"name": "exploitation", "email": ["a@example.fr", "b@example.fr"]}
TEAMS = {"name": "astreinte", "teams": "teams-astreinte", "severities": ["critical"]}
DATABASE = {"name": "base", "webhook": "webhook-base", "systems": ["mariadb", "backup"], "severities": ["critical"]}
SMTP: dict[str, str] = {
    "smarthost": "smtp.example.fr:587",
    "from": "alertes@example.fr",
    "user": "u",
    "password_file": "smtp-password",
}
DEAD_MAN = "https://dead.example.fr/ping/1"
ALL = {"prometheus_receivers": [MAIL, TEAMS, DATABASE], "prometheus_smtp": SMTP, "prometheus_dead_man_url": DEAD_MAN}


def configuration(**variables: Any) -> str:
    """The role's template with its defaults and what an inventory says otherwise."""
    return templated("prometheus", "alertmanager.yml.j2", **variables)


def written(text: str, folder: Path) -> Path:
    """The configuration beside its templates of messages."""
    shutil.copy(ROLE / "files" / "notifications.tmpl", folder)
    (folder / "alertmanager.yml").write_text(text, encoding="utf-8")
    return folder / "alertmanager.yml"


def told(file: Path, **labels: str) -> set[str]:
    """The receivers of an alert with these labels, whatever the hour."""
    arguments = [f"{name}={value}" for name, value in labels.items()]
    done = run("amtool", "config", "routes", "test", f"--config.file={file}", *arguments)
    assert done.returncode == 0, done.stdout
    return set(done.stdout.strip().split(","))


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"prometheus_receivers": [MAIL], "prometheus_smtp": SMTP},
        {"prometheus_receivers": [MAIL], "prometheus_smtp": SMTP | {"user": ""}},
        {"prometheus_receivers": [TEAMS]},
        {"prometheus_receivers": [{**MAIL, "teams": "teams-exploitation"}], "prometheus_smtp": SMTP},
        {"prometheus_dead_man_url": DEAD_MAN},
        ALL,
    ],
    ids=["nobody", "mail", "mail without sign-in", "teams", "both", "dead man", "all"],
)
def test_alertmanager_takes_the_configuration(variables: dict[str, Any], tmp_path: Path) -> None:
    done = run("amtool", "check-config", written(configuration(**variables), tmp_path))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("receiver", "reason"),
    [
        ({"name": "personne"}, "personne has no way to be told: give it email, teams or webhook"),
        (MAIL, "exploitation is told by mail: set prometheus_smtp.smarthost and prometheus_smtp.from"),
        (
            {**TEAMS, "severities": ["urgent"]},
            "astreinte is told of severities that prometheus_severities does not have",
        ),
    ],
)
def test_a_receiver_that_would_not_be_told_is_refused(receiver: dict[str, Any], reason: str) -> None:
    with pytest.raises(AnsibleError, match=re.escape(reason)):
        configuration(prometheus_receivers=[receiver])


ROUTES = [
    ({"alertname": "OpenMRSDown", "severity": "critical", "system": "openmrs"}, {"exploitation", "astreinte"}),
    ({"alertname": "OpenMRSSlow", "severity": "warning", "system": "openmrs"}, {"exploitation"}),
    ({"alertname": "MariaDBDown", "severity": "critical", "system": "mariadb"}, {"exploitation", "astreinte", "base"}),
    ({"alertname": "MariaDBReplicationLags", "severity": "warning", "system": "mariadb"}, {"exploitation"}),
    ({"alertname": "Watchdog", "system": "monitoring"}, {"dead-man"}),
    ({"alertname": "SomebodysOwn"}, {"nobody"}),
]


def test_who_is_told_of_what(tmp_path: Path, break_it: Callable[[str], str] = str) -> None:
    file = written(break_it(configuration(**ALL)), tmp_path)
    for labels, receivers in ROUTES:
        assert told(file, **labels) == receivers, labels


def test_the_watchdog_bothers_nobody_where_nobody_waits_for_it(tmp_path: Path) -> None:
    file = written(configuration(**{**ALL, "prometheus_dead_man_url": ""}), tmp_path)
    assert told(file, alertname="Watchdog", system="monitoring") == {"nobody"}


@pytest.mark.sabotage
@pytest.mark.parametrize("receiver", ["exploitation", "astreinte", "base", "dead-man"])
def test_a_route_that_is_taken_out_is_noticed(receiver: str, tmp_path: Path) -> None:
    def without_route(text: str) -> str:
        known = yaml.safe_load(text)
        known["route"]["routes"] = [route for route in known["route"]["routes"] if route["receiver"] != receiver]
        return yaml.safe_dump(known)

    with pytest.raises(AssertionError):
        test_who_is_told_of_what(tmp_path, without_route)


def test_warnings_wait_for_the_working_day_and_critical_alerts_for_nothing() -> None:
    known = yaml.safe_load(configuration(**ALL))
    intervals = {interval["name"]: interval["time_intervals"] for interval in known["time_intervals"]}
    routes = [route for route in known["route"]["routes"] if route["receiver"] != "dead-man"]
    assert {
        (route["matchers"][0], *route["active_time_intervals"], *route["mute_time_intervals"]) for route in routes
    } == {
        ('severity="critical"',),
        ('severity="warning"', "working-hours"),
    }
    assert [(span["location"], span["weekdays"]) for span in intervals["working-hours"]] == [
        ("Europe/Paris", ["monday:friday"])
    ]


def test_other_hours_are_data(tmp_path: Path) -> None:
    night = {"name": "night", "time_intervals": [{"times": [{"start_time": "22:00", "end_time": "24:00"}]}]}
    severities = {
        "critical": {"wait": "0s", "repeat": "10m"},
        "warning": {"wait": "1m", "repeat": "1d", "never": ["night"]},
    }
    text = configuration(**ALL, prometheus_severities=severities, prometheus_time_intervals=[night])
    assert run("amtool", "check-config", written(text, tmp_path)).returncode == 0
    routes = [route for route in yaml.safe_load(text)["route"]["routes"] if route["receiver"] == "exploitation"]
    assert [route["mute_time_intervals"] for route in routes] == [[], ["night"]]


def strangers(inhibitions: list[dict[str, Any]]) -> set[str]:
    """What inhibitions name that no alert is called, and what a text of a matcher alone cannot name."""
    found = set()
    for inhibition in inhibitions:
        for matcher in (*inhibition["source_matchers"], *inhibition["target_matchers"]):
            operator, pattern = re.fullmatch(r'alertname(=~?)"(.+)"', matcher).groups()  # type: ignore[union-attr]
            meant = {name for name in ALERTS if re.fullmatch(pattern if operator == "=~" else re.escape(pattern), name)}
            alternatives = pattern.count("|") + 1
            found |= set() if len(meant) == alternatives else {pattern}
    return found


def test_inhibitions_name_alerts_that_there_are_and_spare_what_centres_notice() -> None:
    inhibitions = yaml.safe_load(configuration())["inhibit_rules"]
    assert strangers(inhibitions) == set()
    silenced = {matcher for inhibition in inhibitions for matcher in inhibition["target_matchers"]}
    for name in ("OpenMRSDown", "GatewayPageDown", "MariaDBDown", "BackupArchiveStandsStill", "Watchdog"):
        assert not any(name in matcher for matcher in silenced)


@pytest.mark.sabotage
def test_an_inhibition_of_an_alert_that_is_gone_is_noticed() -> None:
    gone = {"source_matchers": ['alertname="NodeGone"'], "target_matchers": ['alertname=~"VolumeFull|VolumeLost"']}
    assert strangers([gone]) == {"NodeGone", "VolumeFull|VolumeLost"}


RUNBOOK = "https://example.fr/docs/alerts.md#openmrsdown"


def notification(*states: str, severity: str = "critical") -> dict[str, Any]:
    """What Alertmanager hands to the template; each alert with labels that must not show."""
    labels = {"alertname": "OpenMRSDown", "severity": severity, "system": "openmrs", "uid": "0b1c-secret"}
    notes = {"summary": "OpenMRS ne répond plus", "description": "La sonde échoue : 503.", "runbook_url": RUNBOOK}
    times = {"startsAt": "2026-11-27T05:11:00Z", "endsAt": "2026-11-27T06:30:00Z"}
    return {
        "receiver": "exploitation",
        "status": "firing" if "firing" in states else "resolved",
        "alerts": [{"status": state, "labels": labels, "annotations": notes, **times} for state in states],
        "groupLabels": {"alertname": "OpenMRSDown"},
        "commonLabels": labels,
        "commonAnnotations": notes,
        "externalURL": "https://alertmanager.example.fr",
    }


def message(template: str, data: dict[str, Any], folder: Path) -> str:
    (folder / "data.json").write_text(json.dumps(data), encoding="utf-8")
    done = run(
        *("amtool", "template", "render", f"--template.glob={ROLE / 'files' / 'notifications.tmpl'}"),
        *(f'--template.text={{{{ template "platform.{template}" . }}}}', f"--template.data={folder / 'data.json'}"),
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize(
    ("data", "title"),
    [
        (notification("firing"), "[CRITIQUE] openmrs : OpenMRS ne répond plus"),
        (notification("firing", severity="warning"), "[À SURVEILLER] openmrs : OpenMRS ne répond plus"),
        (notification("resolved"), "[RÉTABLI] openmrs : OpenMRS ne répond plus"),
        (notification("firing", "resolved"), "[CRITIQUE] openmrs : OpenMRS ne répond plus (et 1 autre)"),
        (notification("firing", "firing", "firing"), "[CRITIQUE] openmrs : OpenMRS ne répond plus (et 2 autres)"),
    ],
)
def test_the_title_is_one_line_in_french(data: dict[str, Any], title: str, tmp_path: Path) -> None:
    assert message("title", data, tmp_path) == title


def test_a_mail_says_what_since_when_and_what_to_do(tmp_path: Path) -> None:
    assert message("text", notification("firing", "resolved"), tmp_path).strip().splitlines() == [
        "CRITIQUE — openmrs : OpenMRS ne répond plus",
        "La sonde échoue : 503.",
        "Depuis : 27/11/2026 06:11",
        f"Que faire : {RUNBOOK}",
        "",
        "RÉTABLI — openmrs : OpenMRS ne répond plus",
        "La sonde échoue : 503.",
        "Depuis : 27/11/2026 06:11, jusqu'à : 27/11/2026 07:30",
        f"Que faire : {RUNBOOK}",
    ]


@pytest.mark.parametrize("template", ["title", "text", "markdown"])
def test_no_message_dumps_labels(template: str, tmp_path: Path) -> None:
    text = message(template, notification("firing", "resolved"), tmp_path)
    assert "OpenMRS ne répond plus" in text
    assert "0b1c-secret" not in text
    assert template == "title" or RUNBOOK in text


def test_every_system_can_be_asked_for() -> None:
    file = ROLE / "meta" / "alertmanager_specs.yml"
    if file.exists():
        options = yaml.safe_load(file.read_text(encoding="utf-8"))
    else:
        options = yaml.safe_load(file.with_name("argument_specs.yml").read_text(encoding="utf-8"))
        options = options["argument_specs"]["main"]["options"]
    assert set(options["prometheus_receivers"]["options"]["systems"]["choices"]) == SYSTEMS
