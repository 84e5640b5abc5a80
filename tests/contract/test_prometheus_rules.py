"""Every alert fires when it should and not a moment before, and leads to what is to be done."""

from __future__ import annotations

import copy
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contract.monitoring_tools import run

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "roles" / "prometheus" / "files" / "rules"
TESTS = ROOT / "tests" / "contract" / "prometheus"
RUNBOOK = ROOT / "docs" / "alerts.md"
SUBJECTS = sorted(path.stem for path in RULES.glob("*.yml"))
Rule = dict[str, Any]
UNKNOWN = "labels that may hold anything:"

SYSTEMS = {"openmrs", "mariadb", "gateway", "kubernetes", "backup", "monitoring", "argocd"}
# Names of machines and of what we declare. A label that is not here could hold what somebody typed: no user, no address
# of a client, no path of a request reaches a mail.
HARMLESS = {
    *("severity", "system", "job", "instance", "probe", "namespace", "pod", "container", "node", "mountpoint"),
    *("deployment", "statefulset", "daemonset", "job_name", "persistentvolumeclaim", "resource", "condition"),
    *("layer", "verdict", "playbook", "rule_group", "integration", "operation"),
    # Of an Application, and of the cluster that it is delivered to.
    *("name", "server"),
}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def alerts(subject: str) -> list[Rule]:
    return [rule for group in read(RULES / f"{subject}.yml")["groups"] for rule in group["rules"] if "alert" in rule]


# Loki looks at the lines itself (test_loki.py).
LOGS = ROOT / "roles" / "loki" / "files" / "rules"
OF_LOGS = [rule for path in LOGS.glob("*.yml") for group in read(path)["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in [*(rule for subject in SUBJECTS for rule in alerts(subject)), *OF_LOGS]}


def cases(subject: str, alert: str) -> Iterator[dict[str, Any]]:
    """What the tests of a subject ask about an alert."""
    for test in read(TESTS / f"{subject}.test.yml")["tests"]:
        yield from (case for case in test["alert_rule_test"] if case["alertname"] == alert)


def sections(text: str) -> dict[str, str]:
    """The alerts of the runbook by their anchors, each with what is said of it."""
    parts = re.split(r"^### (\w+)\n", text, flags=re.MULTILINE)
    return {name.lower(): said for name, said in zip(parts[1::2], parts[2::2], strict=True)}


def untested(alert: str, asked: list[dict[str, Any]]) -> list[str]:
    """What the tests leave open: that it fires, and that it does not."""
    found = []
    if not any(case["exp_alerts"] for case in asked):
        found.append("no test sees it fire")
    if alert != "Watchdog" and all(case["exp_alerts"] for case in asked):
        found.append("no test sees it keep quiet")
    return found


def flaws(rule: Rule, runbook: dict[str, str]) -> list[str]:
    """What somebody who is woken up by the alert would miss."""
    found = []
    name, labels, notes = rule["alert"], rule["labels"], rule["annotations"]
    severity = labels.get("severity")
    if severity not in ({None} if name == "Watchdog" else {"critical", "warning"}):
        found.append(f"severity {severity}")
    if labels.get("system") not in SYSTEMS:
        found.append(f"system {labels.get('system')}")
    if not re.fullmatch(r"\d+[smhd]", str(rule.get("for"))):
        found.append("no delay to override")
    if set(notes) != {"summary", "description", "runbook_url"}:
        found.append(f"annotations {sorted(notes)}")
    if "\n" in notes["summary"] or not notes["summary"][0].isupper():
        found.append("the summary is not one sentence")
    if "?" in notes["summary"] + notes["description"]:
        found.append("room for a query string")
    used = set(labels) | set(re.findall(r"\$labels\.(\w+)", str([labels, notes])))
    if used - HARMLESS:
        found.append(f"{UNKNOWN} {sorted(used - HARMLESS)}")
    if notes["runbook_url"] != f"docs/alerts.md#{name.lower()}":
        found.append(f"it leads to {notes['runbook_url']}")
    said = runbook.get(name.lower())
    if said is None:
        found.append("it leads nowhere")
        return found
    quoted = re.sub(r"{{.*?}}(/{{.*?}})*", "…", notes["summary"])
    if not said.startswith(f"« {quoted} » — {severity or 'no severity'}"):
        found.append("the runbook tells it otherwise")
    if not all(part in said for part in ("```console\n$ ", "\nDo: ", "\nCall: ")):
        found.append("the runbook has no command, nothing to do or nobody to call")
    return found


@pytest.mark.parametrize("subject", SUBJECTS)
def test_prometheus_takes_the_rules(subject: str) -> None:
    done = run("promtool", "check", "rules", "--lint=all", "--lint-fatal", RULES / f"{subject}.yml")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("subject", SUBJECTS)
def test_alerts_fire_when_they_should_and_not_before(subject: str) -> None:
    done = run("promtool", "test", "rules", TESTS / f"{subject}.test.yml")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_alert_is_seen_to_fire_and_to_keep_quiet(subject: str) -> None:
    asked = {rule["alert"]: [*cases(subject, rule["alert"])] for rule in alerts(subject)}
    assert {alert: left for alert, found in asked.items() if (left := untested(alert, found))} == {}


def test_every_alert_says_what_is_wrong_and_leads_to_what_to_do() -> None:
    runbook = sections(RUNBOOK.read_text(encoding="utf-8"))
    assert {name: found for name, rule in ALERTS.items() if (found := flaws(rule, runbook))} == {}
    assert set(runbook) == {name.lower() for name in ALERTS}, "the runbook tells of alerts that there are not"


def test_what_fires_has_harmless_labels_only() -> None:
    tests = (test for subject in SUBJECTS for test in read(TESTS / f"{subject}.test.yml")["tests"])
    fired = (alert for test in tests for case in test["alert_rule_test"] for alert in case["exp_alerts"])
    assert {label for alert in fired for label in alert["exp_labels"]} <= HARMLESS


def test_no_name_is_given_twice() -> None:
    assert repeated([rule["alert"] for rule in [*(rule for name in SUBJECTS for rule in alerts(name)), *OF_LOGS]]) == []
    assert repeated([group["name"] for subject in SUBJECTS for group in read(RULES / f"{subject}.yml")["groups"]]) == []


def repeated(names: list[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


OPPOSITE = {"==": "!=", "!=": "==", ">": "<=", "<": ">=", ">=": "<", "<=": ">"}
# A comparison, or what may look like one: the matchers of a selector.
TOKEN = re.compile(r"{[^}]*}|(?P<comparison>[=!<>]=|[<>])")


def turned(expression: str) -> Iterator[str]:
    """The expression with each of its comparisons turned around in turn, or without its only `absent`."""
    found = [match for match in TOKEN.finditer(expression) if match["comparison"]]
    for match in found:
        yield expression[: match.start()] + OPPOSITE[match["comparison"]] + expression[match.end() :]
    if not found:
        yield expression.replace("absent", "", 1) if "absent" in expression else f"{expression} == 0"


def spoilt(rule: Rule) -> Iterator[Rule]:
    """The rule with one fault each."""
    for expression in turned(rule["expr"]):
        yield {**rule, "expr": expression}
    if rule["for"] != "0s":
        yield {**rule, "for": "0s"}


def noticed(subject: str, faults: dict[str, Rule], folder: Path) -> set[str]:
    """Names of the alerts whose tests fail when other rules are in the place of some."""
    rules, tests = read(RULES / f"{subject}.yml"), read(TESTS / f"{subject}.test.yml")
    for group in rules["groups"]:
        group["rules"] = [faults.get(rule.get("alert", ""), rule) for rule in group["rules"]]
    tests["rule_files"] = [str(folder / "rules.yml")]
    (folder / "rules.yml").write_text(yaml.safe_dump(rules), encoding="utf-8")
    (folder / "test.yml").write_text(yaml.safe_dump(tests), encoding="utf-8")
    done = run("promtool", "test", "rules", folder / "test.yml")
    assert done.returncode == int(bool(faults)), done.stdout
    return set(re.findall(r"alertname: (\w+),", done.stdout))


@pytest.mark.sabotage
# Those of the gateway look back over a month, which takes promtool as long as all others.
@pytest.mark.parametrize(
    "subject", [pytest.param(name, marks=[pytest.mark.soak] * (name == "gateway")) for name in SUBJECTS]
)
def test_a_rule_that_is_turned_around_or_does_not_wait_is_noticed(subject: str, tmp_path: Path) -> None:
    assert noticed(subject, {}, tmp_path) == set()
    # One fault of each alert at a time: a run of promtool costs more than what it finds.
    for faults in itertools.zip_longest(*map(spoilt, alerts(subject))):
        by_name = {rule["alert"]: rule for rule in faults if rule}
        left = by_name.keys() - noticed(subject, by_name, tmp_path)
        assert not left, [by_name[name] for name in left]


@pytest.mark.sabotage
@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (lambda rule: rule["labels"].pop("severity"), "severity None"),
        (lambda rule: rule["labels"].update(system="network"), "system network"),
        (
            lambda rule: rule["labels"].update(client="{{ $labels.client }}"),
            f"{UNKNOWN} ['client']",
        ),
        (
            lambda rule: rule["annotations"].update(description="{{ $labels.user }}"),
            f"{UNKNOWN} ['user']",
        ),
        (
            lambda rule: rule["annotations"].update(runbook_url="docs/alerts.md"),
            "it leads to docs/alerts.md",
        ),
        (lambda rule: rule["annotations"].update(summary="OpenMRS ?q=Dupont"), "room for a query string"),
        (lambda rule: rule["annotations"].update(summary="OpenMRS va bien"), "the runbook tells it otherwise"),
        (lambda rule: rule.pop("for"), "no delay to override"),
    ],
)
def test_an_alert_that_tells_too_little_or_too_much_is_noticed(fault: Callable[[Rule], Any], seen: str) -> None:
    rule = copy.deepcopy(ALERTS["OpenMRSDown"])
    runbook = sections(RUNBOOK.read_text(encoding="utf-8"))
    assert flaws(rule, runbook) == []
    fault(rule)
    assert seen in flaws(rule, runbook)


@pytest.mark.sabotage
def test_a_missing_heading_is_noticed() -> None:
    text = RUNBOOK.read_text(encoding="utf-8").replace("### MariaDBDown\n", "")
    assert flaws(ALERTS["MariaDBDown"], sections(text)) == ["it leads nowhere"]


@pytest.mark.sabotage
def test_an_alert_that_is_not_tested_is_noticed() -> None:
    fires: dict[str, Any] = {"exp_alerts": [{}]}
    quiet: dict[str, Any] = {"exp_alerts": []}
    assert untested("OpenMRSDown", [fires, quiet]) == []
    assert untested("OpenMRSDown", [quiet]) == ["no test sees it fire"]
    assert untested("OpenMRSDown", [fires]) == ["no test sees it keep quiet"]
    assert repeated(["OpenMRSDown", "MariaDBDown", "OpenMRSDown"]) == ["OpenMRSDown"]
