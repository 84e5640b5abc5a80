"""Azurite as a part of the lab: it keeps the bytes of Blob storage, and only the simulated Azure talks to it.

It runs from the first request for a blob on: most labs never see one. Its memory is a Node process of some 100 MB.
"""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

import httpx

from tests.lab.blob import server as azurite
from tests.lab.control.home import Home
from tests.lab.control.process import Daemon

__all__ = ["BlobServer", "started"]

START_SECONDS = 30


class BlobServer:
    """The Azurite of one lab."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.folder = home.path / "blobs"
        self.url = f"http://127.0.0.1:{home.port('blobs')}"

    @property
    def daemon(self) -> Daemon:
        """The process; its blobs are below the lab's folder.

        Raises:
            AzuriteError: its packages are not in the cache, and npm does not fetch them.
        """
        return Daemon(
            name="blobs",
            command=azurite.command(self.folder, self._home.port("blobs")),
            folder=self._home.path,
            environment=azurite.accounts(),
        )

    @property
    def wanted(self) -> bool:
        """Whether anybody asked this lab for a blob."""
        return self.folder.exists()

    def up(self) -> bool:
        """Start it unless it runs, and wait until it answers; True when it was started.

        Raises:
            AzuriteError: its packages cannot be had.
            LabError: it does not come up.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        daemon = self.daemon
        # The simulated Azure starts it as well.
        with (self._home.path / ".blobs.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            started = daemon.start()
            daemon.await_ready(self.problem, START_SECONDS, name="Azurite")
        return started

    def problem(self) -> str:
        """Why it cannot be used; empty when it can."""
        if self.daemon.pid() is None:
            return f"not running; see {self.daemon.log}"
        try:
            httpx.get(self.url, timeout=5, trust_env=False)  # whatever it answers: nobody is signed in
        except httpx.HTTPError as exc:
            return f"no answer ({type(exc).__name__})"
        return ""

    def forget(self) -> None:
        """Stop it and remove its blobs."""
        if self.wanted:
            self.daemon.stop()
            shutil.rmtree(self.folder)


def started(home: Path) -> str:
    """Start the Azurite of the lab in a folder unless it runs; its URL."""
    server = BlobServer(Home.open(home))
    server.up()
    return server.url
