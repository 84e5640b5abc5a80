"""Somebody who commits to the Git server of the lab, from which Argo CD delivers."""

from __future__ import annotations

import base64
import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.integration.support.lab import UP_TIMEOUT, Lab
from tests.lab.cluster.repository import NAME, WORK

__all__ = ["Repository", "repository"]


@dataclass(frozen=True)
class Repository:
    """A repository with the chart, and who commits to it."""

    lab: Lab

    def git(self, *arguments: str) -> str:
        """Run git in the work tree, inside of the pod."""
        return self.lab.kubectl("exec", "-n", NAME, NAME, "--", "git", "-C", WORK, *arguments).strip()

    def put(self, path: str, content: bytes) -> None:
        """Unpack a tar archive into a folder of the work tree, in place of what is there."""
        folder = f"{WORK}/{path}"
        script = f"rm -rf {folder} && mkdir -p {folder} && base64 -d | tar -xf - -C {folder}"
        run = ("exec", "-i", "-n", NAME, NAME, "--", "sh", "-c", script)
        self.lab.kubectl(*run, stdin=base64.b64encode(content).decode())

    def commit(self, message: str, chart: Path) -> str:
        """Push a chart as it is in that folder; return the commit."""
        self.put("charts/openmrs", _archived(chart))
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.push()

    def revert(self) -> str:
        """Push what undoes the last commit; return the commit."""
        self.git("revert", "--no-edit", "HEAD")
        return self.push()

    def push(self) -> str:
        """Push, and return the commit."""
        self.git("push", "--quiet", "origin", "main")
        return self.git("rev-parse", "HEAD")


@contextmanager
def repository(lab: Lab) -> Iterator[Repository]:
    """Have the lab deliver from its Git server, with the chart of this collection in it."""
    lab.command("repository", timeout=UP_TIMEOUT)
    try:
        yield Repository(lab)
    finally:
        lab.command("repository", "--remove")


def _archived(folder: Path) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(folder, arcname=".")
    return packed.getvalue()
