"""How far the archive is, for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Gauge, start_http_server

from mariadb_archive.manifests import Manifest
from mariadb_archive.selection import ranges

__all__ = ["Metrics"]


class Metrics:
    """Times are seconds since 1970, and 0 while there is none. A time stands still when what it tells of does."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"mariadb_archive_{name}", text, registry=self.registry)

        self._full = gauge("full_time_seconds", "End of the youngest full backup of this server.")
        self._reached = gauge("reached_seconds", "Latest moment that can be restored.")
        self._round = gauge("round_time_seconds", "End of the last round, whatever came of it.")
        self._problems = gauge("problems", "What the last round could not do.")
        self._idle = gauge("idle", "1 on a server that takes no writes: its primary archives the log.")

    def serve(self, port: int) -> None:
        """Answer on /metrics."""
        start_http_server(port, registry=self.registry)

    def idles(self) -> None:
        """Note a round of a server that takes no writes."""
        self._idle.set(1)
        self._end(0)

    def archived(self, manifests: Iterable[Manifest], problems: int) -> None:
        """Note a round, and what is stored of this server after it."""
        found = ranges(manifests)
        self._idle.set(0)
        self._full.set(found[-1].full.finished if found else 0)
        self._reached.set(max((reached.until for reached in found if reached.logs), default=0))
        self._end(problems)

    def failed(self) -> None:
        """Note a round that came to nothing."""
        self._end(1)

    def _end(self, problems: int) -> None:
        self._problems.set(problems)
        self._round.set(time.time())
