"""Playbooks about backups where no pod really runs: nothing is said to have come back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.support.lab import Lab
from tests.integration.support.playbook import run_playbook


@pytest.mark.parametrize("playbook", ["backup", "restore_check"])
def test_on_simulated_nodes_nothing_can_be_told(converged_lab: Lab, tmp_path: Path, playbook: str) -> None:
    report = tmp_path / "report.json"
    run = run_playbook(converged_lab, playbook, extra={"mariadb_restore_check_report": str(report)}).ok()
    [result] = run.results_of("mariadb_archive")
    assert [finding["verdict"] for finding in result["findings"]] == ["not_verifiable"]
    assert (run.changed, result["report"], report.exists()) == (0, {}, False)
