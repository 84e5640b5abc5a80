"""A program that runs beside a test, and ends with it."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

__all__ = ["program"]

SECONDS = 60


@contextlib.contextmanager
def program(
    command: Sequence[object], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run it until the body ends; what it prints is added to a file."""
    with (
        log.open("ab") as file,
        subprocess.Popen([*map(str, command)], stdout=file, stderr=file, env=environment) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            process.wait(SECONDS)
