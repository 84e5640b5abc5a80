# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long the phases of a run take."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

__all__ = ["Timing"]


class Timing:
    """Seconds by phase, and in all since it was made."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._phases: dict[str, float] = {}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what the block takes as time of a phase; blocks of one phase add up."""
        started = time.monotonic()
        try:
            yield
        finally:
            self._phases[name] = self._phases.get(name, 0.0) + time.monotonic() - started

    def seconds(self) -> dict[str, float]:
        """Seconds by phase, and C(total)."""
        return {**self._phases, "total": time.monotonic() - self._started}
