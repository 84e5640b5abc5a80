"""Command lines, as anybody on the machine can read them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.integration.support.lab import Lab

__all__ = ["process_list"]

PAUSE_SECONDS = 0.03


@contextlib.contextmanager
def process_list(lab: Lab) -> Iterator[set[str]]:
    """Collect the command lines of all processes that work on a lab while the body runs."""
    seen: set[str] = set()
    over = threading.Event()
    ours = f"LAB_HOME={lab.home}".encode()

    def look() -> None:
        while not over.wait(PAUSE_SECONDS):
            for folder in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):  # it has ended
                    if ours in (folder / "environ").read_bytes().split(b"\0"):
                        seen.add((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
