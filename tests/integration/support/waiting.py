"""Wait for what comes by itself."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["until"]


def until(condition: Callable[[], bool], what: str, seconds: float = 240, *, every: float = 0.5) -> None:
    """Wait for something to become true; AssertionError with `what` when it does not in time."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"not within {seconds:.0f} s: {what}"
        time.sleep(every)
