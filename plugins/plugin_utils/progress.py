# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Print what a module says while it is still running."""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
import threading
import typing as t
from collections.abc import Iterator

__all__ = ["relay"]

_EVERY: t.Final = 0.2


class _Display(t.Protocol):
    def display(self, msg: str, color: str | None = None) -> None: ...


@contextlib.contextmanager
def relay(display: _Display, *, label: str = "") -> Iterator[str]:
    """Print each line that is appended to a file, until the block ends.

    Args:
        display: Ansible's display.
        label: put before each line, the host's name.

    Yields:
        The path for the module's hidden option C(_progress).
    """
    descriptor, name = tempfile.mkstemp(prefix="platform-progress-")
    os.close(descriptor)
    path = pathlib.Path(name)
    ended = threading.Event()
    prefix = f"[{label}] " if label else ""

    def follow() -> None:
        rest = ""
        with path.open(encoding="utf-8", errors="replace") as stream:
            while True:
                last = ended.is_set()
                *lines, rest = (rest + stream.read()).split("\n")
                for line in lines:
                    display.display(f"{prefix}{line}")
                if last:
                    return
                ended.wait(_EVERY)

    thread = threading.Thread(target=follow, name="progress", daemon=True)
    thread.start()
    try:
        yield name
    finally:
        ended.set()
        thread.join()
        path.unlink(missing_ok=True)
