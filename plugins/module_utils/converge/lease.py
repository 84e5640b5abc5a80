# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run at a time per environment.

Before its first write a module asks for the environment's lease. A keeper process takes it (a lock file on this
machine, and the lease of a blob container as soon as that exists) and holds it until the C(ansible-playbook) process
that started the run is gone, however it ended: the next task of the same run finds it held, another run waits or is
told who holds it, and nothing is left behind by a crash.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import subprocess
import sys
import typing as t
from collections.abc import Callable, Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import LeaseError

__all__ = [
    "Lease",
    "LeaseOptions",
    "LockFile",
    "Run",
    "describe",
    "hold",
    "lease_argument_spec",
    "open_lease",
    "process_started",
]


def process_started(pid: int) -> int:
    """Start time of a process in clock ticks since boot; 0 when there is none, or only its exit status is left.

    Source: proc(5), C(/proc/PID/stat), fields 3 (state) and 22 (starttime).
    """
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LeaseOptions:
    """What the user says about the lease.

    Attributes:
        environment: name of what is protected; runs with different names do not see each other.
        container_id: ARM id of the blob container whose lease protects the environment across machines, or empty.
        timeout: seconds to wait for another run to end.
        break_lease: end the other holder's lease.
    """

    environment: str
    container_id: str = ""
    timeout: float = 0.0
    break_lease: bool = False

    @classmethod
    def from_option(cls, option: Mapping[str, t.Any]) -> LeaseOptions:
        """From the module option C(lease)."""
        return cls(
            environment=option["environment"],
            container_id=option.get("container_id") or "",
            timeout=float(option.get("timeout") or 0),
            break_lease=bool(option.get("break")),
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One C(ansible-playbook) run, as the action plugin saw it.

    Attributes:
        id: unique per run.
        pid: its process, and C(started) that process's start time in clock ticks: pids are used again.
        holder: who runs it, for people.
        since: when it began, ISO 8601.
        keeper: path of the keeper program on the controller.
        python_path: where the keeper finds the collection.
    """

    id: str
    pid: int
    started: int
    holder: str
    since: str
    keeper: str
    python_path: str


class LockFile:
    """The lease on this machine: a locked file that says who holds it.

    Args:
        environment: name of what is protected.
        directory: folder of the lock files; by default in the user's state folder.
    """

    def __init__(self, environment: str, directory: str | None = None) -> None:
        state = os.environ.get("XDG_STATE_HOME") or str(pathlib.Path.home() / ".local" / "state")
        folder = pathlib.Path(directory or pathlib.Path(state) / "audioprothese-platform")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = folder / f"{''.join(c if c.isalnum() or c in '-_' else '_' for c in environment)}.lease"

    def try_lock(self) -> t.IO[str] | None:
        """The locked file, or None while another process holds it."""
        stream = self.path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stream.close()
            return None
        return stream

    def is_locked(self) -> bool:
        """Whether any process holds it."""
        stream = self.try_lock()
        if stream is None:
            return True
        stream.close()
        return False

    def read(self) -> dict[str, t.Any]:
        """What the holder wrote: its run, its keeper's pid and, once lost, why."""
        with contextlib.suppress(OSError, ValueError):
            content = json.loads(self.path.read_text(encoding="utf-8"))
            return content if isinstance(content, dict) else {}
        return {}

    @staticmethod
    def write(stream: t.IO[str], content: Mapping[str, t.Any]) -> None:
        """Replace what the file says; only its holder may."""
        stream.seek(0)
        stream.truncate()
        stream.write(json.dumps(dict(content)))
        stream.flush()


def describe(holder: Mapping[str, t.Any]) -> str:
    """The holder in words: C(anna@bastion (ansible-playbook 4711) since 2026-11-23T10:02:11+01:00)."""
    since = f" since {holder['since']}" if holder.get("since") else ""
    return f"{holder.get('holder') or 'another run'}{since}"


class Lease:
    """A lease held by this run."""

    def __init__(self, lock: LockFile, run: Run) -> None:
        self._lock, self._run = lock, run

    def check(self) -> None:
        """Ask before each write: raises LeaseError when the lease was broken or its keeper is gone."""
        content = self._lock.read()
        if content.get("lost"):
            raise LeaseError(f"the lease was lost: {content['lost']}", remedy="Run again; nothing more was written")
        if content.get("id") != self._run.id or not self._lock.is_locked():
            raise LeaseError(
                "the process that kept the lease is gone", remedy="Run again; nothing more was written by this run"
            )


def hold(
    options: LeaseOptions,
    run: Run,
    *,
    say: Callable[[str], None],
    connection: Mapping[str, t.Any] | None = None,
    directory: str | None = None,
) -> Lease:
    """Make sure that this run holds the environment's lease.

    Args:
        options: what to hold and how long to wait for it.
        run: the run that asks.
        say: progress.
        connection: options of the Azure client, for the container's lease.
        directory: where the lock files are.

    Raises:
        LeaseError: another run holds it; the message names the holder.
    """
    lock = LockFile(options.environment, directory)
    if lock.read().get("id") == run.id and lock.is_locked():
        lease = Lease(lock, run)
        lease.check()
        return lease
    request = {
        "options": dataclasses.asdict(options),
        "run": dataclasses.asdict(run),
        "connection": dict(connection or {}),
        "directory": str(lock.path.parent),
    }
    log = lock.path.with_suffix(".log")
    with log.open("w", encoding="utf-8") as errors:
        keeper = subprocess.Popen(  # noqa: S603 - our own program, named by the action plugin
            [sys.executable, run.keeper],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": run.python_path},
        )
    assert keeper.stdin is not None  # noqa: S101 - for mypy: PIPE was asked for
    assert keeper.stdout is not None  # noqa: S101
    keeper.stdin.write(json.dumps(request))
    keeper.stdin.close()
    for line in keeper.stdout:
        answer = json.loads(line)
        if answer["state"] == "held":
            return Lease(lock, run)
        if answer["state"] == "waiting":
            say(f"environment {options.environment} is being changed by {answer['holder']}: waiting")
        else:
            raise LeaseError(answer["message"], where=f"environment {options.environment}", remedy=answer["remedy"])
    raise LeaseError(
        "the process that should keep the lease ended without an answer",
        where=f"environment {options.environment}",
        remedy=f"Its messages are in {log}",
    )


def lease_argument_spec() -> dict[str, dict[str, t.Any]]:
    """The option C(lease), and the hidden one by which an action plugin says which run it is."""
    options = {
        "environment": {"type": "str", "required": True},
        "container_id": {"type": "str"},
        "timeout": {"type": "int", "default": 0},
        "break": {"type": "bool", "default": False},
    }
    return {"lease": {"type": "dict", "options": options}, "_run": {"type": "dict"}}


def open_lease(
    params: Mapping[str, t.Any], *, say: Callable[[str], None], connection: Mapping[str, t.Any]
) -> Callable[[], None]:
    """Hold the lease that a module's parameters ask for, if they ask for one.

    Args:
        params: the module's parameters.
        say: progress.
        connection: options of the Azure client.

    Returns:
        What to call before each write: it raises LeaseError once the lease is lost.

    Raises:
        LeaseError: another run holds it.
    """
    if not params["lease"] or not params["_run"]:
        return lambda: None
    return hold(LeaseOptions.from_option(params["lease"]), Run(**params["_run"]), say=say, connection=connection).check
