"""Daemons of the lab: started on their own, known by a file, stopped for good."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.control.home import LabError, write_private

__all__ = ["Daemon", "stop_all"]

_children: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """One program that outlives whoever starts it.

    `folder` gets `run/NAME.json` (process id and start time: an id alone may have
    been given to somebody else since) and `log/NAME.log`. When the content of one
    of its `inputs` changes, `start` replaces the running process.
    """

    name: str
    command: list[str]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[Path, ...] = ()

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self.folder / "log" / f"{self.name}.log"

    @property
    def _run_file(self) -> Path:
        return self.folder / "run" / f"{self.name}.json"

    def _digest(self) -> str:
        digest = hashlib.sha256(json.dumps([self.command, dict(self.environment)], sort_keys=True).encode())
        for path in self.inputs:
            digest.update(str(path).encode() + b"\0" + path.read_bytes())
        return digest.hexdigest()

    def _known(self) -> dict[str, str | int]:
        try:
            known: dict[str, str | int] = json.loads(self._run_file.read_text())
        except (OSError, ValueError):
            return {}
        return known

    def pid(self) -> int | None:
        """Return the id of the running process, or None."""
        _reap()
        known = self._known()
        pid = int(known.get("pid", 0))
        return pid if pid and _start_time(pid) == known.get("started") else None

    def start(self) -> bool:
        """Start it unless it runs as described; one that runs otherwise is replaced. True when it was started."""
        if self.pid() is not None:
            if self._known().get("digest") == self._digest():
                return False
            self.stop()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env={**_inherited(), **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _children.append(process)
        described = {"pid": process.pid, "started": _start_time(process.pid), "digest": self._digest()}
        write_private(self._run_file, json.dumps(described))
        return True

    def stop(self, *, patience: float = 5.0) -> None:
        """Ask it to end, and end it after `patience` seconds; return when it is gone."""
        stop_all([self], patience=patience)

    def await_ready(self, problem: Callable[[], str], seconds: float, *, name: str) -> None:
        """Wait until nothing is wrong with it.

        Args:
            problem: says what is; empty when nothing is.
            seconds: how long that may take.
            name: what people call it.

        Raises:
            LabError: it ended, or takes longer.
        """
        deadline = time.monotonic() + seconds
        while why := problem():
            if self.pid() is None or time.monotonic() > deadline:
                raise LabError(f"{name} is not ready: {why}; {self.log} ends with:\n{self.last_words()}")
            time.sleep(0.05)

    def last_words(self, lines: int = 5) -> str:
        """Return the end of its log, for a message about why it does not run."""
        try:
            text = self.log.read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def _signal(self, number: signal.Signals) -> None:
        pid = self.pid()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)


def stop_all(daemons: Iterable[Daemon], *, patience: float = 5.0) -> None:
    """Stop several daemons at once; with no patience they are killed right away."""
    waiting = [daemon for daemon in daemons if daemon.pid() is not None]
    for daemon in waiting:
        daemon._signal(signal.SIGTERM if patience else signal.SIGKILL)
    deadline = time.monotonic() + patience
    killed = not patience
    while waiting := [daemon for daemon in waiting if daemon.pid() is not None]:
        if not killed and time.monotonic() > deadline:
            killed = True
            for daemon in waiting:
                daemon._signal(signal.SIGKILL)
        time.sleep(0.02)


def _inherited() -> dict[str, str]:
    """What daemons see of our environment: no proxy, no credential, no pointer at somebody's cluster."""
    kept = ("HOME", "PATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR", "USER", "PLATFORM_CACHE", "XDG_CACHE_HOME")
    return {name: os.environ[name] for name in kept if name in os.environ}


def _start_time(pid: int) -> int | None:
    """Return when a process started (clock ticks since boot); None when it is gone or only a zombie."""
    try:
        # The name may hold spaces and brackets; the fields after the last bracket do not.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def _reap() -> None:
    _children[:] = [child for child in _children if child.poll() is None]
