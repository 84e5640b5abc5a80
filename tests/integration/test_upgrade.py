"""A newer minor version of Kubernetes: the plan, the roll of the nodes within the budgets, and what is refused."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import SharedLab, State
from tests.integration.support.lab import Lab
from tests.integration.support.playbook import finish, run_playbook, start_playbook
from tests.integration.support.waiting import until

NEWER = {"cluster_kubernetes_version": "1.36"}
BLOCKED = ("openmrs", "openmrs-frontend")
SECONDS = 300


def nodes(lab: Lab) -> dict[str, dict[str, Any]]:
    """Return the nodes by name."""
    return {node["metadata"]["name"]: node for node in json.loads(lab.kubectl("get", "nodes", "-o", "json"))["items"]}


def versions(lab: Lab) -> set[str]:
    """Return the versions that the kubelets say."""
    return {node["status"]["nodeInfo"]["kubeletVersion"] for node in nodes(lab).values()}


def keep_available(lab: Lab, least: int) -> None:
    """Change how many of the two pods of the frontend must stay."""
    namespace, name = BLOCKED
    change = json.dumps({"spec": {"minAvailable": least}})
    lab.kubectl("patch", "poddisruptionbudget", name, "-n", namespace, "--type=merge", "-p", change)


def blocked_pods(lab: Lab) -> dict[str, str]:
    """Return the pods of the frontend, each with its node."""
    found = json.loads(
        lab.kubectl("get", "pods", "-n", "openmrs", "-l", "app.kubernetes.io/component=frontend", "-o", "json")
    )
    return {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in found["items"]}


@pytest.mark.parametrize("version", ["1.37", "1.34"])
def test_a_version_is_neither_skipped_nor_taken_back(converged_lab: Lab, version: str) -> None:
    before = converged_lab.writes()
    message = run_playbook(converged_lab, "provision", extra={"cluster_kubernetes_version": version}).failure()
    assert f"desired {version}" in message
    assert "one minor at a time" in message
    assert converged_lab.writes() == before


@pytest.mark.spoils
def test_the_nodes_are_rolled_within_the_budgets(shared_lab: SharedLab, tmp_path: Path) -> None:
    """While a budget allows nothing, a node of its pods stays; then all of them get the new version, one by one."""
    lab = shared_lab.converged()
    shared_lab.state = State.SPOILT
    assert versions(lab) == {"v1.35.4"}
    names = set(nodes(lab))
    keep_available(lab, 2)
    pods = blocked_pods(lab)
    record, started = tmp_path / "record.jsonl", time.monotonic()
    process = start_playbook(lab, "provision", record=record, extra=NEWER)
    try:
        until(
            lambda: any(nodes(lab)[node]["spec"].get("unschedulable") for node in pods.values()),
            "a node drains",
            SECONDS,
            every=0.3,
        )
        assert set(nodes(lab)) > names, "no node came first"
        time.sleep(3)
        assert blocked_pods(lab) == pods
        assert process.poll() is None
        keep_available(lab, 1)
    finally:
        run = finish(process, record, started=started, timeout=SECONDS)
    run.ok()
    assert versions(lab) == {"v1.36.1"}
    assert set(nodes(lab)) == names
    assert not blocked_pods(lab).keys() & pods.keys()
    assert run_playbook(lab, "site", extra=NEWER).ok().changed == 0
