# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tell the user what a long operation waits for, while the module is still running."""

from __future__ import annotations

import contextlib
import pathlib
import threading
import time
from collections.abc import Iterator

__all__ = ["HEARTBEAT", "Progress"]

HEARTBEAT = 30.0
"""Seconds between two lines about the same wait."""


class Progress:
    """Appends lines to the file that the action plugin relays to the terminal; without a file it is silent.

    Args:
        path: the file, or None.
    """

    def __init__(self, path: str | None = None) -> None:
        self._path = pathlib.Path(path) if path else None
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """One line, at once. Progress is a courtesy: a full disk does not stop the work."""
        if self._path is None:
            return
        with self._lock, contextlib.suppress(OSError), self._path.open("a", encoding="utf-8") as stream:
            stream.write(text.replace("\n", " ") + "\n")

    @contextlib.contextmanager
    def waiting(self, text: str, *, every: float = HEARTBEAT) -> Iterator[None]:
        """Repeat what is waited for, with the seconds gone by, until the block ends."""
        started, ended = time.monotonic(), threading.Event()

        def beat() -> None:
            while not ended.wait(every):
                self.say(f"{text} ({time.monotonic() - started:.0f} s)")

        thread = threading.Thread(target=beat, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
