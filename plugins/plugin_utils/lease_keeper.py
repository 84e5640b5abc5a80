# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Program that holds an environment's lease for as long as an ansible-playbook process lives.

It reads one JSON request from standard input, answers with JSON lines on standard output (C(waiting)..., then C(held)
or C(refused)) and stays in the background until the process named in the request is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
import typing as t

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import LeaseError, PlatformError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.lease import (
    LeaseOptions,
    LockFile,
    Run,
    describe,
    process_started,
)

RENEW = 20.0
"""Seconds between renewals of the container's lease, which lasts 60 s."""
POLL = 0.5


class RemoteLease(t.Protocol):
    """The lease that other machines see."""

    def acquire(self, *, break_lease: bool) -> str | None:
        """Take or renew it: None when held (or when there is no container yet), else the other holder in words."""

    def release(self) -> None:
        """Give it back."""


class NoRemoteLease:
    """No container is named: this machine's lock is all there is."""

    def acquire(self, *, break_lease: bool) -> str | None:
        """Nothing to take."""
        return None

    def release(self) -> None:
        """Nothing to give back."""


def is_alive(run: Run) -> bool:
    """Whether the run's process still exists, and is the same one."""
    return process_started(run.pid) == run.started != 0


def open_remote(options: LeaseOptions, run: Run, connection: dict[str, t.Any]) -> RemoteLease:
    """The container's lease, if one is named."""
    if not options.container_id:
        return NoRemoteLease()
    # The Azure libraries are loaded only where a container is named.
    from ansible_collections.audioprothese.platform.plugins.module_utils.arm.container_lease import (  # noqa: PLC0415
        ContainerLease,
    )

    return ContainerLease.connect(connection, container_id=options.container_id, run=run)


def take_local(lock: LockFile, *, break_lease: bool) -> t.IO[str] | str:
    """The locked file, or the other holder in words."""
    stream = lock.try_lock()
    if stream is not None:
        return stream
    content = lock.read()
    if break_lease and content.get("keeper"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(int(content["keeper"]), signal.SIGTERM)
    return describe(content)


def take(
    options: LeaseOptions, lock: LockFile, remote: RemoteLease, run: Run, answer: t.Callable[..., None]
) -> t.IO[str] | None:
    """Take both leases within the time allowed, or say who holds them."""
    deadline, told = time.monotonic() + options.timeout, ""
    if options.break_lease:
        deadline = max(deadline, time.monotonic() + 10 * POLL)
    while True:
        local = take_local(lock, break_lease=options.break_lease)
        holder: str | None
        if isinstance(local, str):
            holder = local
        else:
            holder = remote.acquire(break_lease=options.break_lease)
            if holder is None:
                lock.write(local, {**_content(run), "keeper": os.getpid()})
                return local
            local.close()
        if time.monotonic() >= deadline or not is_alive(run):
            answer(
                state="refused",
                message=f"it is being changed by {holder}",
                remedy="Wait for that run to end, raise lease.timeout, or end its lease with lease.break",
            )
            return None
        if holder != told:
            answer(state="waiting", holder=holder)
            told = holder
        time.sleep(POLL)


def keep(lock: LockFile, stream: t.IO[str], remote: RemoteLease, run: Run) -> None:
    """Hold on until the run's process is gone."""
    due = time.monotonic() + RENEW
    while is_alive(run):
        if time.monotonic() >= due:
            due = time.monotonic() + RENEW
            try:
                holder = remote.acquire(break_lease=False)
            except PlatformError:
                continue  # the lease outlives two failed renewals; the next one tells
            if holder is not None:
                lock.write(stream, {**_content(run), "keeper": os.getpid(), "lost": f"{holder} has it now"})
                return _wait_for_end(run)
        time.sleep(POLL)
    return None


def _wait_for_end(run: Run) -> None:
    while is_alive(run):
        time.sleep(POLL)


def _content(run: Run) -> dict[str, t.Any]:
    return {"id": run.id, "pid": run.pid, "holder": run.holder, "since": run.since}


def main() -> int:
    """Answer one request, then keep the lease."""
    request = json.load(sys.stdin)
    options, run = LeaseOptions(**request["options"]), Run(**request["run"])
    lock = LockFile(options.environment, request["directory"])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    def answer(**content: t.Any) -> None:
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(content), flush=True)

    try:
        remote = open_remote(options, run, request["connection"])
        stream = take(options, lock, remote, run, answer)
    except LeaseError as error:
        answer(state="refused", message=error.what, remedy=error.remedy)
        return 1
    except PlatformError as error:
        answer(state="refused", message=str(error), remedy="The lease could not be asked for")
        return 1
    if stream is None:
        return 1
    answer(state="held")
    # The module that asked reads until this end is closed.
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        keep(lock, stream, remote, run)
    finally:
        with contextlib.suppress(PlatformError):
            remote.release()
        lock.write(stream, {})
        stream.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
