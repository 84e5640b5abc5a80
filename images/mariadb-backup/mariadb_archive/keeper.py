"""Keeps the archive of one server current: its log round by round, and a full backup beside whenever one is due."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from mariadb_archive.archiver import Archiver
from mariadb_archive.lineage import lineage_of
from mariadb_archive.manifests import Full, Manifest
from mariadb_archive.metrics import Metrics
from mariadb_archive.selection import full_due

__all__ = ["Keeper"]

# Seconds until a server that did not answer is asked again, and until a full backup that failed is tried again.
ASK_AGAIN = 30
FULL_AGAIN = 900
REPLICA = "this server takes no writes (read_only): its primary archives the log"


@dataclass
class Keeper:
    """Works for as long as its process lives, whatever fails: it is a container of the database's pod.

    Args:
        archiver: stores the log.
        take_full: takes a full backup.
        told: gets what each step did, as plain data with `problems` where something failed.
        every: seconds from the beginning of one round to the next.
        full_hours: greatest age of the youngest full backup; 0 takes none.
        metrics: notes how far it is.
    """

    archiver: Archiver
    take_full: Callable[[], Full]
    told: Callable[[dict[str, Any]], None]
    every: float
    full_hours: float = 0
    metrics: Metrics = field(default_factory=Metrics)
    _running: threading.Thread | None = None
    _full_from: float = field(default=float("-inf"))

    def run(self) -> None:
        """Do rounds for ever."""
        while True:
            started = time.monotonic()
            pause = self.round()
            time.sleep(max(0.0, pause - (time.monotonic() - started)))

    def round(self) -> float:
        """Do one round, begin a full backup when one is due, and return the seconds until the next round."""
        try:
            if self.archiver.server.is_replica():
                # It may be seeded again, and becomes a primary with another log than it had as one before.
                self.archiver.begin_anew()
                self.told({"idle": REPLICA})
                self.metrics.idles()
                return self.every
            done = self.archiver.round()
            self.told(asdict(done))
            known = self._stored()
            self.metrics.archived(known, len(done.problems))
            self._begin_full(known)
        except Exception as exc:
            self.told(_problem(exc))
            self.metrics.failed()
            return min(self.every, ASK_AGAIN)
        return self.every

    def _stored(self) -> list[Manifest]:
        archiver = self.archiver
        fulls = archiver.archive.entries(f"{archiver.instance}/{lineage_of(archiver.state)}/full")
        return [*(entry.manifest for entry in fulls), *archiver.stored()]

    def _begin_full(self, known: list[Manifest]) -> None:
        busy = self._running is not None and self._running.is_alive()
        if not self.full_hours or busy or time.monotonic() < self._full_from:
            return
        if why := full_due(known, lineage_of(self.archiver.state), now=time.time(), hours=self.full_hours):
            self.told({"full": "begins", "because": why})
            # Beside the rounds, for it may take hours; it ends with the process, and is none then.
            self._running = threading.Thread(target=self._full, daemon=True)
            self._running.start()

    def _full(self) -> None:
        try:
            self.told({"full": self.take_full().name})
        except Exception as exc:
            self._full_from = time.monotonic() + FULL_AGAIN
            self.told({"full": "failed", **_problem(exc)})


def _problem(exc: Exception) -> dict[str, list[str]]:
    return {"problems": [str(exc) or type(exc).__name__]}
