"""The programs that Prometheus and Alertmanager bring to check what they are given."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

from tests.lab.build.builder import build_missing, tools

__all__ = ["program", "run"]


@functools.cache
def program(name: str) -> Path:
    """The program, built if need be: it is no part of a lab, so that nobody else has built it for sure."""
    tool = tools()[name]
    build_missing(only=tool)
    return tool.binary


def run(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool or amtool; what it prints is in `stdout`, whichever stream it chose."""
    return subprocess.run(
        [program(name), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
