"""Playbooks about backups where no pod really runs: nothing is said to have come back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.support.lab import Lab
from tests.integration.support.playbook import run_playbook

MOMENT = "2026-01-01T00:00:00+01:00"
CONSENT = {"estate_allow_other_volumes": ["StatefulSet/mariadb/mariadb"]}


@pytest.mark.parametrize(
    ("playbook", "module"),
    [("backup", "mariadb_archive"), ("restore_check", "mariadb_archive"), ("restore", "mariadb_restore")],
)
def test_on_simulated_nodes_nothing_can_be_told(converged_lab: Lab, tmp_path: Path, playbook: str, module: str) -> None:
    report = tmp_path / "report.json"
    extra = {"mariadb_restore_check_report": str(report), "restore_to": MOMENT, "restore_switch": True}
    run = run_playbook(converged_lab, playbook, extra=extra).ok()
    [result] = run.results_of(module)
    assert [finding["verdict"] for finding in result["findings"]] == ["not_verifiable"]
    assert (run.changed, result["report"], report.exists()) == (0, {}, False)


@pytest.mark.parametrize("arguments", [(), ("--check",)])
@pytest.mark.parametrize(
    ("extra", "why"),
    [
        ({}, "is no moment"),
        ({"restore_to": "2026-01-01T00:00:00"}, "has no offset from UTC"),
        ({"restore_to": "2126-01-01T00:00:00Z"}, "is in the future"),
        ({"restore_to": MOMENT, "restore_volume": "Old_Data"}, "is no name for a volume"),
    ],
)
def test_a_restore_to_nowhere_is_refused(
    converged_lab: Lab, extra: dict[str, object], why: str, arguments: tuple[str, ...]
) -> None:
    before = converged_lab.writes()
    run = run_playbook(converged_lab, "restore", *arguments, extra={**extra, "restore_switch": True})
    assert why in run.failure()
    assert converged_lab.writes() == before


def claim_of_the_pod(lab: Lab) -> str:
    path = "jsonpath={.spec.volumes[*].persistentVolumeClaim.claimName}"
    return lab.kubectl("get", "pod", "mariadb-0", "-n", "mariadb", "-o", path)


@pytest.fixture
def other_claim(converged_lab: Lab) -> Iterator[Lab]:
    """Give the lab with a claim that MariaDB's servers could be put on, as a restore leaves it."""
    live = json.loads(converged_lab.kubectl("get", "pvc", "data-mariadb-0", "-n", "mariadb", "-o", "json"))
    spec = {key: live["spec"][key] for key in ("accessModes", "resources", "storageClassName")}
    about = {"name": "other-mariadb-0", "namespace": "mariadb"}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": about, "spec": spec}
    converged_lab.kubectl("create", "-f", "-", stdin=json.dumps(claim))
    yield converged_lab
    converged_lab.kubectl("delete", "pvc", "other-mariadb-0", "-n", "mariadb", "--wait=false")


def test_servers_are_put_on_another_volume_and_back(other_claim: Lab) -> None:
    lab, tags = other_claim, ("--tags", "mariadb")
    old = lab.kubectl("get", "pvc", "data-mariadb-0", "-n", "mariadb", "-o", "jsonpath={.metadata.uid}")
    wanted, writes = {"mariadb_volume": "other"}, lab.writes()
    refused = "its pods would start on other volumes, {} instead of {}"
    assert refused.format("other", "data") in run_playbook(lab, "deploy", *tags, extra=wanted).failure()
    assert refused.format("other", "data") in run_playbook(lab, "deploy", *tags, "--check", extra=wanted).failure()
    shown = run_playbook(lab, "deploy", *tags, "--check", "--diff", extra={**wanted, **CONSENT}).ok()
    assert "no claim is touched" in str(shown.findings())
    assert (lab.writes(), claim_of_the_pod(lab)) == (writes, "data-mariadb-0")
    assert run_playbook(lab, "deploy", *tags, extra={**wanted, **CONSENT}).ok().changed
    assert claim_of_the_pod(lab) == "other-mariadb-0"
    assert run_playbook(lab, "deploy", *tags, extra=wanted).ok().changed == 0
    assert refused.format("data", "other") in run_playbook(lab, "deploy", *tags).failure()
    assert run_playbook(lab, "deploy", *tags, extra=CONSENT).ok().changed
    assert claim_of_the_pod(lab) == "data-mariadb-0"
    assert lab.kubectl("get", "pvc", "data-mariadb-0", "-n", "mariadb", "-o", "jsonpath={.metadata.uid}") == old
