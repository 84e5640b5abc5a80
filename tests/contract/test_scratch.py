"""What a killed run of the tests leaves behind: nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.contract.conftest import ROOT

RUN = """
import subprocess, time
from tests.contract.scratch import scratch_folder
with scratch_folder("scratch-") as folder:
    (folder / "file").touch()
    daemon = subprocess.Popen(["sleep", "300"], env={"HOME": f"{folder}/home"}, start_new_session=True)
    print(folder, daemon.pid, flush=True)
    time.sleep(300)
"""


def test_a_killed_run_leaves_no_process_and_no_folder() -> None:
    run = subprocess.Popen([sys.executable, "-c", RUN], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert run.stdout
    folder, daemon = run.stdout.readline().split()
    assert running(daemon)
    run.kill()
    run.wait(timeout=10)
    deadline = time.monotonic() + 20
    while running(daemon) or Path(folder).exists():
        assert time.monotonic() < deadline, f"{daemon} or {folder} stays"
        time.sleep(0.1)


def running(process: str) -> bool:
    status = Path(f"/proc/{process}/status")
    return status.exists() and "State:\tZ" not in status.read_text()
