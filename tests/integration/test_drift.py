"""Changes behind the platform's back are reported place by place and corrected; nothing else is touched."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.integration.support.azure import resource_ids
from tests.integration.support.changes import AZURE, KUBERNETES, Change
from tests.integration.support.lab import Lab
from tests.integration.support.playbook import PlaybookRun, run_playbook
from tests.integration.support.sabotage import BREAKS, collection_with

Made = list[tuple[Change, str]]
WATCHED = (
    "configmaps,deployments,limitranges,networkpolicies,persistentvolumeclaims,poddisruptionbudgets,resourcequotas,"
    "secrets,serviceaccounts,services,statefulsets"
)


def assert_reported(run: PlaybookRun, made: Made) -> None:
    """Hold the findings of a run against the changes that were made: these, and no others."""
    run.ok()
    found = {(finding["resource"].lower(), finding["path"]): finding for finding in differences(run)}
    expected = {(resource.lower(), change.path) for change, resource in made}
    assert set(found) == expected
    for change, resource in made:
        finding = found[resource.lower(), change.path]
        if not change.path:
            assert (finding["verdict"], finding["action"]) == ("missing", "create"), change.what
            continue
        assert (finding["verdict"], finding["action"]) == ("drift", "update"), change.what
        assert finding["live"] == change.live, change.what
        if change.desired is None:
            assert finding["desired"] not in (None, change.live), change.what
        else:
            assert finding["desired"] == change.desired, change.what


def differences(run: PlaybookRun) -> list[dict[str, Any]]:
    """Return what a run found of the platform; the report that it leaves is new with each."""
    return [found for found in run.findings() if "run-report-" not in found["resource"]]


def objects(lab: Lab) -> dict[str, Any]:
    """Return what every object of the platform's namespaces is, without what the cluster itself keeps in it."""
    found = {}
    for namespace in ("gateway", "mariadb", "openmrs"):
        for item in json.loads(lab.kubectl("get", WATCHED, "-n", namespace, "-o", "json"))["items"]:
            body = {key: value for key, value in item.items() if key not in ("metadata", "status")}
            kept = {key: item["metadata"].get(key) for key in ("labels", "uid")}
            found[f"{item['kind']}/{namespace}/{item['metadata']['name']}"] = {**body, "metadata": kept}
    return found


@pytest.fixture(scope="module")
def made() -> Made:
    """Hold the changes once they are made, for all tests of this file."""
    return []


@pytest.fixture
def changed_lab(converged_lab: Lab, made: Made) -> Lab:
    """Give the converged lab after the ten changes."""
    if not made:
        made.extend((change, change.make(converged_lab)) for change in (*AZURE, *KUBERNETES))
    return converged_lab


def test_each_change_is_reported_and_people_are_shown_both_values(changed_lab: Lab, made: Made) -> None:
    before = changed_lab.writes()
    run = run_playbook(changed_lab, "site", "--check", "--diff")
    assert len(made) == 10
    assert_reported(run, made)
    assert changed_lab.writes() == before
    assert "TLS1_0" in run.output
    assert "TLS1_2" in run.output


def test_the_playbook_for_drift_leaves_its_report_and_writes_nothing_else(changed_lab: Lab, made: Made) -> None:
    before = changed_lab.status()["requests"], objects(changed_lab)
    run = run_playbook(changed_lab, "drift")
    assert_reported(run, made)
    [text] = [
        value
        for item in json.loads(changed_lab.kubectl("get", "configmap", "-n", "monitoring", "-o", "json"))["items"]
        for key, value in (item.get("data") or {}).items()
        if key == "drift.prom"
    ]
    told = {
        match[1]: int(match[2])
        for match in re.finditer(r'^platform_findings{layer="(\w+",verdict="\w+)"} (\d+)$', text, re.MULTILINE)
    }
    different = {place: count for place, count in told.items() if count and "not_verifiable" not in place}
    assert sum(different.values()) == len(made), told
    after = changed_lab.status()["requests"], objects(changed_lab)
    assert (after[0]["azure"]["write"], after[1]) == (before[0]["azure"]["write"], before[1])
    # The report and the set that it is alone in.
    assert 0 < after[0]["kubernetes"]["write"] - before[0]["kubernetes"]["write"] <= 4


def test_the_page_for_people_shows_where_what_differs(changed_lab: Lab, made: Made, tmp_path: Path) -> None:
    before = changed_lab.writes()
    page = tmp_path / "status.html"
    assert_reported(run_playbook(changed_lab, "status", extra={"status_page_path": str(page)}), made)
    text = page.read_text(encoding="utf-8")
    assert all(resource.rpartition("/")[2] in text for _, resource in made)
    states = dict(re.findall(r'<article id="(\w+)">.*?class="state (\w+)"', text, re.DOTALL))
    assert {states[key] for key in ("network", "storage", "key_vault", "cluster")} == {"differs"}
    assert states["registry"] == "running"
    assert changed_lab.writes() == before


@pytest.mark.sabotage
@pytest.mark.parametrize("broken", ["every ARM body is equal", "every object is equal"])
def test_a_comparison_that_always_says_equal_is_noticed(
    changed_lab: Lab, made: Made, tmp_path: Path, broken: str
) -> None:
    collections = collection_with(BREAKS[broken], tmp_path)
    skipped = ("--skip-tags", "verify")
    run = run_playbook(changed_lab, "audioprothese.platform.site", "--check", *skipped, collections=collections).ok()
    with pytest.raises(AssertionError):
        assert_reported(run, made)


def test_the_next_run_corrects_them_and_touches_nothing_else(changed_lab: Lab, made: Made) -> None:
    touched = {resource.lower() for _change, resource in made}
    objects_before, resources_before = objects(changed_lab), set(resource_ids(changed_lab))
    run = run_playbook(changed_lab, "site", "--skip-tags", "verify")
    assert_reported(run, made)
    planned = {action["resource"].lower() for result in run.convergences.values() for action in result["plan"]}
    assert planned == touched
    objects_after = objects(changed_lab)
    differing = {
        name.lower()
        for name in objects_before.keys() | objects_after.keys()
        if objects_before.get(name) != objects_after.get(name)
    }
    assert differing <= touched
    assert set(resource_ids(changed_lab)) - resources_before == {
        resource for change, resource in made if not change.path and resource.startswith("/")
    }


def test_then_nothing_differs(converged_lab: Lab) -> None:
    run = run_playbook(converged_lab, "site", "--check", "--skip-tags", "verify").ok()
    assert run.findings() == []
    assert run.changed == 0
