"""The programs that Prometheus and Alertmanager bring to check what they are given."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.lab.build.builder import built

__all__ = ["run"]


def run(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool or amtool; what it prints is in `stdout`, whichever stream it chose."""
    return subprocess.run(
        [built(name).binary, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
