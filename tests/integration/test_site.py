"""The main path: predict, create, repeat. One lab, in this order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.integration.conftest import Creation
from tests.integration.support.changes import weaken_tls
from tests.integration.support.lab import Lab
from tests.integration.support.playbook import PlaybookRun, run_playbook
from tests.integration.support.sabotage import BREAKS, collection_with

LAYERS = ("arm_resources", "k8s_applyset")
SET_ITSELF = "configmap/kube-system/platform"  # holds the set together; planned like its members, no document of ours


def assert_quiet(run: PlaybookRun, writes: int) -> None:
    """Hold a check run against what it must be when nothing differs."""
    run.ok()
    assert run.changed == 0, [task["task"] for task in run.tasks if task["result"].get("changed")]
    assert run.findings() == []
    assert_no_writes(writes)


def assert_no_writes(writes: int) -> None:
    """Hold the counter of the lab against what check mode may do."""
    assert writes == 0, f"check mode sent {writes} writing requests"


def test_check_mode_predicts_the_whole_creation_from_nothing(creation: Creation) -> None:
    check = creation.check.ok()
    for layer in LAYERS:
        result = check.convergences[layer]
        assert result["changed"]
        verdicts = {finding["verdict"] for finding in result["findings"]} - {"not_verifiable"}
        assert verdicts == {"missing"}, layer
        assert {action["action"] for action in result["plan"]} == {"create"}, layer


def test_the_prediction_names_every_resource_that_is_then_created(creation: Creation) -> None:
    for layer in LAYERS:
        predicted = {action["resource"].lower() for action in creation.check.convergences[layer]["plan"]}
        created = {key.lower() for key in creation.real.ok().convergences[layer]["resources"]}
        assert created, layer
        assert predicted - {SET_ITSELF} == created, layer


def test_objects_are_marked_unverified_while_there_is_no_cluster(creation: Creation) -> None:
    assert all(action["unverified"] for action in creation.check.convergences["k8s_applyset"]["plan"])


def test_deferred_values_read_known_after_apply(creation: Creation) -> None:
    assert "known after apply" in creation.check.output


def test_check_mode_writes_nothing(creation: Creation) -> None:
    assert_no_writes(creation.check_writes)


def test_the_real_run_follows_the_predicted_plan(creation: Creation) -> None:
    creation.real.ok()
    assert set(creation.real.digests) >= set(LAYERS)
    assert creation.check.digests == creation.real.digests
    assert creation.real_writes > 0


def test_long_steps_say_what_they_wait_for(creation: Creation) -> None:
    """The control plane takes a while: the lines in between come from the module, through the action plugin."""
    lines = [line for line in creation.real.output.splitlines() if re.search(r"managedClusters|cluster", line)]
    assert len(lines) > 3


def test_a_second_run_changes_nothing(converged_lab: Lab) -> None:
    run = run_playbook(converged_lab, "site").ok()
    assert run.changed == 0, [task["task"] for task in run.tasks if task["result"].get("changed")]
    assert run.findings() == []


def test_a_check_run_of_what_is_converged_is_quiet(converged_lab: Lab) -> None:
    before = converged_lab.writes()
    run = run_playbook(converged_lab, "site", "--check", "--diff")
    assert_quiet(run, converged_lab.writes() - before)


@pytest.mark.parametrize("playbook", ["preflight", "verify"])
def test_a_reading_playbook_writes_nothing(converged_lab: Lab, playbook: str) -> None:
    before = converged_lab.writes()
    run = run_playbook(converged_lab, playbook).ok()
    assert run.changed == 0
    assert converged_lab.writes() == before


def test_one_layer_can_be_checked_alone(converged_lab: Lab) -> None:
    run = run_playbook(converged_lab, "site", "--check", "--tags", "network")
    assert_quiet(run, 0)
    resources = run.convergences["arm_resources"]["resources"]
    assert resources
    assert all("/Microsoft.Network/" in name or "resourceGroups" in name for name in resources)


def test_a_part_that_is_a_chart_is_corrected_alone(converged_lab: Lab) -> None:
    scale = ("scale", "deployment", "openmrs-frontend", "-n", "openmrs", "--replicas=3")
    converged_lab.kubectl(*scale)
    check = run_playbook(converged_lab, "deploy", "--check", "--tags", "openmrs").ok()
    assert [(found["path"], found["live"]) for found in check.findings()] == [("spec.replicas", 3)]
    assert run_playbook(converged_lab, "deploy", "--tags", "openmrs").ok().changed == 1
    assert run_playbook(converged_lab, "deploy", "--tags", "openmrs").ok().changed == 0


@pytest.mark.sabotage
def test_a_check_mode_that_writes_is_noticed(converged_lab: Lab, tmp_path: Path) -> None:
    """Sabotage: the module believes that it is never in check mode. The counter has to see it."""
    broken = collection_with(BREAKS["check mode is ignored"], tmp_path)
    weaken_tls(converged_lab)
    before = converged_lab.writes()
    run = run_playbook(converged_lab, "audioprothese.platform.provision", "--check", collections=broken)
    with pytest.raises(AssertionError, match="check mode sent"):
        assert_no_writes(converged_lab.writes() - before)
    assert run.findings()
