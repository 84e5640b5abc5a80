"""Somebody who commits to the Git server of the lab, from which Argo CD delivers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.integration.support.lab import UP_TIMEOUT, Lab
from tests.lab.cluster.repository import GitServer
from tests.lab.control.home import Home

__all__ = ["Repository", "repository"]


@dataclass(frozen=True)
class Repository:
    """A repository with the chart, and who commits to it."""

    server: GitServer

    @property
    def head(self) -> str:
        """The last commit."""
        return self.server.git("rev-parse", "HEAD")

    def commit(self, message: str, chart: Path) -> str:
        """Push a chart as it is in that folder; return the commit."""
        return self.server.commit(chart, "charts/openmrs", message)

    def revert(self) -> str:
        """Push what undoes the last commit; return the commit."""
        self.server.git("revert", "--no-edit", "HEAD")
        return self.server.push()


@contextmanager
def repository(lab: Lab) -> Iterator[Repository]:
    """Have the lab deliver from its Git server, with the chart of this collection in it."""
    lab.command("repository", timeout=UP_TIMEOUT)
    try:
        yield Repository(GitServer(Home.open(lab.home)))
    finally:
        lab.command("repository", "--remove")
