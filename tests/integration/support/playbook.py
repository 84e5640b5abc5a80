"""Run the real ansible-playbook and read what its tasks returned."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.support.lab import ROOT, Lab

BIN = Path(sys.executable).parent
NAMESPACE = "audioprothese.platform"
RUN_TIMEOUT = 900
CONVERGING = (
    "arm_resources",
    "registry_images",
    "key_vault_secrets",
    "key_vault_rotation",
    "key_vault_acme_certificate",
    "k8s_applyset",
    "mariadb_accounts",
    "mariadb_replication",
)


@dataclass(frozen=True, kw_only=True)
class PlaybookRun:
    """The outcome of one run."""

    arguments: list[str]
    returncode: int
    output: str
    seconds: float
    tasks: list[dict[str, Any]]
    totals: dict[str, int]

    def ok(self) -> PlaybookRun:
        """Return this run, or fail with its output."""
        messages = [f"{task['task']}: {task['result'].get('msg')}" for task in self.tasks if task["status"] == "failed"]
        assert self.returncode == 0, "\n".join(
            [f"{' '.join(self.arguments)} exited {self.returncode}", self.output[-8000:], *messages]
        )
        return self

    def failure(self) -> str:
        """Return the message of the one task that failed the run."""
        assert self.returncode != 0, f"the run was expected to fail\n{self.output[-6000:]}"
        failed = [task for task in self.tasks if task["status"] in ("failed", "unreachable")]
        assert failed, f"no task failed, yet the run did\n{self.output[-6000:]}"
        return str(failed[-1]["result"].get("msg", ""))

    def results_of(self, module: str) -> list[dict[str, Any]]:
        """Return the results of every task of one of our modules."""
        return [task["result"] for task in self.tasks if task["action"] in (module, f"{NAMESPACE}.{module}")]

    def converged_by(self, module: str) -> list[dict[str, Any]]:
        """Return the results of the tasks of a converging module that made a plan, in order."""
        return [result for result in self.results_of(module) if "plan_digest" in result]

    @property
    def convergences(self) -> dict[str, dict[str, Any]]:
        """The first result of each converging module, by its name."""
        return {module: results[0] for module in CONVERGING if (results := self.converged_by(module))}

    @property
    def digests(self) -> dict[str, str]:
        """The plan digest of each converging module."""
        return {module: result["plan_digest"] for module, result in self.convergences.items()}

    @property
    def changed(self) -> int:
        """How many tasks changed something."""
        return self.totals.get("changed", 0)

    def findings(self, *, different: bool = True) -> list[dict[str, Any]]:
        """Return all findings; by default only those that are not equal and not merely unverifiable."""
        quiet = ("equal", "not_verifiable")
        return [
            finding
            for module in CONVERGING
            for result in self.converged_by(module)
            for finding in result["findings"]
            if not (different and finding["verdict"] in quiet)
        ]


def environment(lab: Lab | None, *, collections: Path | None = None) -> dict[str, str]:
    """Return what a person's shell would hold: the environment of the repository, and where the lab is."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "AZURE_", "K8S_"))}
    found = {
        **kept,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_HOME": os.environ.get("ANSIBLE_HOME", str(ROOT / ".ansible" / "home")),
        "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests" / "integration" / "plugins"),
        "ANSIBLE_CALLBACKS_ENABLED": "recorder",
        "ANSIBLE_NOCOLOR": "1",
    }
    if collections:
        found["ANSIBLE_COLLECTIONS_PATH"] = str(collections)
    if lab:
        found["LAB_HOME"] = str(lab.home)
    return found


def start_playbook(
    lab: Lab | None,
    playbook: str,
    *arguments: str,
    record: Path,
    inventory: str = "lab",
    extra: Mapping[str, Any] | None = None,
    variables: Mapping[str, str] | None = None,
    collections: Path | None = None,
    directory: Path = ROOT,
    output: Any = subprocess.PIPE,
) -> subprocess.Popen[str]:
    """Start ansible-playbook; `playbook` is a name in playbooks/, a path, or a name inside the installed collection."""
    target = playbook if "/" in playbook or "." in playbook else f"playbooks/{playbook}.yml"
    command = [str(BIN / "ansible-playbook"), "-i", str(ROOT / "inventories" / inventory), target, *arguments]
    for key, value in (extra or {}).items():
        command += ["-e", json.dumps({key: value})]
    return subprocess.Popen(
        command,
        cwd=directory,
        env={**environment(lab, collections=collections), "RECORDER_PATH": str(record), **(variables or {})},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(
    process: subprocess.Popen[str], record: Path, *, started: float, timeout: float = RUN_TIMEOUT
) -> PlaybookRun:
    """Wait for a started run and read its record."""
    try:
        output, _nothing = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _nothing = process.communicate()
        output += f"\n[killed by the test after {timeout} s]"
    lines = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()] if record.exists() else []
    totals: dict[str, int] = {}
    for line in lines:
        if line["status"] == "stats":
            for summary in line["hosts"].values():
                totals = {key: totals.get(key, 0) + value for key, value in summary.items()}
    return PlaybookRun(
        arguments=[str(argument) for argument in process.args],  # type: ignore[union-attr]
        returncode=process.returncode,
        output=output or "",
        seconds=time.monotonic() - started,
        tasks=[line for line in lines if line["status"] != "stats"],
        totals=totals,
    )


def run_playbook(
    lab: Lab | None, playbook: str, *arguments: str, timeout: float = RUN_TIMEOUT, **options: Any
) -> PlaybookRun:
    """Run ansible-playbook to its end."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record.jsonl"
        started = time.monotonic()
        process = start_playbook(lab, playbook, *arguments, record=record, **options)
        run = finish(process, record, started=started, timeout=timeout)
    summary = re.findall(r"^\S+ +: ok=.*$", run.output, flags=re.MULTILINE)
    print(f"\n$ {' '.join(run.arguments[1:])}  # {run.seconds:.1f} s, exit {run.returncode} {summary}")
    return run


def kill_playbook(process: subprocess.Popen[str], record: Path) -> None:
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
