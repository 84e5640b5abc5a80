"""A run that dies in the middle, and two runs at once."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from tests.integration.conftest import SharedLab, State
from tests.integration.support.azure import resource_ids
from tests.integration.support.lab import Lab
from tests.integration.support.playbook import finish, kill_playbook, run_playbook, start_playbook

# What reads back writes nothing that could be interrupted.
BUILDING = ("--skip-tags", "verify")


def wait_for_writes(lab: Lab, process: subprocess.Popen[str], service: str, count: int, timeout: float = 300) -> None:
    """Wait until a run has sent that many writing requests to one service."""
    deadline = time.monotonic() + timeout
    while writes(lab, service) < count:
        assert process.poll() is None, "the run ended before it could be interrupted"
        assert time.monotonic() < deadline, f"no {count} writes to {service} in {timeout} s"
        time.sleep(0.1)


def writes(lab: Lab, service: str) -> int:
    """Count the writing requests to one service; those to Azure without the lab's command, which a run outpaces."""
    requests = lab.control("GET", "/lab/requests") if service == "azure" else lab.status()["requests"]
    return int(requests[service]["write"])


def test_killed_runs_are_completed_by_the_next(shared_lab: SharedLab, tmp_path: Path) -> None:
    lab = shared_lab.emptied()
    for service, count in (("azure", 12), ("azure", 45), ("kubernetes", 1)):
        record = tmp_path / f"{service}-{count}"
        process = start_playbook(lab, "site", *BUILDING, record=record)
        wait_for_writes(lab, process, service, count)
        kill_playbook(process, record)
        if count == 12:
            assert len(resource_ids(lab)) < 80, "the run was not interrupted in the middle"
    run_playbook(lab, "site", *BUILDING).ok()
    shared_lab.state = State.CONVERGED
    check = run_playbook(lab, "site", *BUILDING, "--check").ok()
    assert check.findings() == []
    assert check.changed == 0


def test_a_second_run_waits_or_names_the_holder(empty_lab: Lab, tmp_path: Path) -> None:
    record = tmp_path / "first"
    started = time.monotonic()
    first = start_playbook(empty_lab, "provision", record=record, output=subprocess.PIPE)
    wait_for_writes(empty_lab, first, "azure", 5)
    second = run_playbook(empty_lab, "provision")
    done = finish(first, record, started=started)
    done.ok()
    if second.returncode:
        message = second.failure()
        assert "lease" in message.lower() or "another run" in message.lower(), message
        assert str(first.pid) in message or "pid" in message.lower(), message
    else:
        assert second.seconds > 1
    converged = run_playbook(empty_lab, "provision", "--check").ok()
    assert converged.findings() == []
