"""Centres that go on working while something changes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import httpx

from tests.end_to_end.support.clinic import Ledger

__all__ = ["Writer", "writing"]

PAUSE_SECONDS = 0.5


@dataclass
class Writer:
    """How often the server confirmed a record, and how often it did not answer so."""

    confirmed: int = 0
    refused: int = 0


@contextlib.contextmanager
def writing(ledger: Ledger) -> Iterator[Writer]:
    """Write one record after the other beside the body; what is confirmed counts in the ledger."""
    writer, over = Writer(), threading.Event()

    def work() -> None:
        while not over.wait(PAUSE_SECONDS):
            try:
                ledger.write(f"Pendant-{writer.confirmed}")
                writer.confirmed += 1
            except httpx.HTTPError:
                writer.refused += 1

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield writer
    finally:
        over.set()
        thread.join(timeout=60)
