"""A run that dies in the middle, and two runs at once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from tests.integration.conftest import SharedLab, State
from tests.integration.support.azure import resource_ids
from tests.integration.support.lab import Lab
from tests.integration.support.playbook import finish, run_playbook, start_playbook


def wait_for_writes(lab: Lab, process: subprocess.Popen[str], service: str, count: int, timeout: float = 300) -> None:
    """Wait until a run has sent that many writing requests to one service."""
    deadline = time.monotonic() + timeout
    while lab.status()["requests"][service]["write"] < count:
        assert process.poll() is None, "the run ended before it could be interrupted"
        assert time.monotonic() < deadline, f"no {count} writes to {service} in {timeout} s"
        time.sleep(0.3)


def kill(process: subprocess.Popen[str], record: Path) -> None:
    """Kill a run and all its processes at once, as the kernel would for lack of memory.

    Ansible's workers lead sessions of their own and would wait for the dead for ever: they are known by their record.
    The keeper of the lease stays: it has to notice by itself that its run is gone.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            ours = f"RECORDER_PATH={record}".encode() in (folder / "environ").read_bytes().split(b"\0")
            if ours and b"lease_keeper" not in (folder / "cmdline").read_bytes():
                os.kill(int(folder.name), signal.SIGKILL)


def test_killed_runs_are_completed_by_the_next(shared_lab: SharedLab, tmp_path: Path) -> None:
    lab = shared_lab.emptied()
    for service, count in (("azure", 12), ("azure", 45), ("kubernetes", 1)):
        record = tmp_path / f"{service}-{count}"
        process = start_playbook(lab, "site", record=record)
        wait_for_writes(lab, process, service, count)
        kill(process, record)
        if count == 12:
            assert len(resource_ids(lab)) < 60, "the run was not interrupted in the middle"
    run_playbook(lab, "site").ok()
    shared_lab.state = State.CONVERGED
    check = run_playbook(lab, "site", "--check").ok()
    assert check.findings() == []
    assert check.changed == 0


def test_a_second_run_waits_or_names_the_holder(shared_lab: SharedLab, tmp_path: Path) -> None:
    lab = shared_lab.emptied()
    record = tmp_path / "first"
    started = time.monotonic()
    first = start_playbook(lab, "provision", record=record, output=subprocess.PIPE)
    wait_for_writes(lab, first, "azure", 5)
    second = run_playbook(lab, "provision")
    done = finish(first, record, started=started)
    done.ok()
    if second.returncode:
        message = second.failure()
        assert "lease" in message.lower() or "another run" in message.lower(), message
        assert str(first.pid) in message or "pid" in message.lower(), message
    else:
        assert second.seconds > 1
    converged = run_playbook(lab, "provision", "--check").ok()
    assert converged.findings() == []
