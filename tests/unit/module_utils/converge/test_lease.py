# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import LeaseError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.lease import (
    LeaseOptions,
    LockFile,
    Run,
    hold,
    process_started,
)

ROOT = pathlib.Path(__file__).parents[4]
OPTIONS = LeaseOptions(environment="lab")


@pytest.fixture
def start_run(tmp_path: pathlib.Path) -> Iterator[Callable[[str], tuple[Run, subprocess.Popen[bytes]]]]:
    """Starts a process that stands for ansible-playbook."""
    processes = []

    def start(name: str) -> tuple[Run, subprocess.Popen[bytes]]:
        process = subprocess.Popen(["sleep", "60"])
        processes.append(process)
        run = Run(
            id=name,
            pid=process.pid,
            started=process_started(process.pid),
            holder=f"{name}@host",
            since="2026-11-23T10:00:00+01:00",
            keeper=str(ROOT / "plugins" / "plugin_utils" / "lease_keeper.py"),
            python_path=os.pathsep.join(sys.path),
        )
        return run, process

    yield start
    for process in processes:
        process.kill()
        process.wait()
    deadline = time.monotonic() + 5
    while LockFile("lab", str(tmp_path)).is_locked() and time.monotonic() < deadline:
        time.sleep(0.1)


def take(run: Run, directory: pathlib.Path, options: LeaseOptions = OPTIONS, lines: list[str] | None = None):
    return hold(options, run, say=(lines if lines is not None else []).append, directory=str(directory))


def test_the_next_task_of_the_same_run_finds_it_held(start_run, tmp_path: pathlib.Path) -> None:
    run, _process = start_run("anna")
    take(run, tmp_path).check()
    take(run, tmp_path).check()


def test_another_run_is_told_who_holds_it(start_run, tmp_path: pathlib.Path) -> None:
    take(start_run("anna")[0], tmp_path)
    with pytest.raises(LeaseError, match=r"anna@host since 2026-11-23T10:00:00\+01:00"):
        take(start_run("bert")[0], tmp_path)


def test_another_run_waits_until_the_first_is_killed(start_run, tmp_path: pathlib.Path) -> None:
    _run, process = start_run("anna")
    take(_run, tmp_path)
    process.kill()
    lines: list[str] = []
    options = LeaseOptions(environment="lab", timeout=20)
    take(start_run("bert")[0], tmp_path, options, lines).check()
    assert all("anna@host" in line for line in lines)


def test_it_is_broken_only_by_the_explicit_option(start_run, tmp_path: pathlib.Path) -> None:
    first = take(start_run("anna")[0], tmp_path)
    take(start_run("bert")[0], tmp_path, LeaseOptions(environment="lab", break_lease=True)).check()
    with pytest.raises(LeaseError, match="gone"):
        first.check()


def test_a_killed_keeper_stops_the_writes(start_run, tmp_path: pathlib.Path) -> None:
    lease = take(start_run("anna")[0], tmp_path)
    os.kill(LockFile("lab", str(tmp_path)).read()["keeper"], signal.SIGKILL)
    time.sleep(0.2)
    with pytest.raises(LeaseError, match="gone"):
        lease.check()


def test_environments_do_not_see_each_other(start_run, tmp_path: pathlib.Path) -> None:
    take(start_run("anna")[0], tmp_path)
    other = LeaseOptions(environment="../production")
    hold(other, start_run("bert")[0], say=print, directory=str(tmp_path)).check()
    assert {path.parent for path in tmp_path.rglob("*.lease")} == {tmp_path}
