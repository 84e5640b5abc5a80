"""Loki as whoever looks something up sees it, and a pod that writes lines."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.end_to_end.support.programs import asked, python_pod, through
from tests.integration.support.lab import Lab

__all__ = ["Logs", "writer"]

LOKI = through("logging", "loki-0", 3100)
NAME = "log-writer"
MINUTES = 15
# A line now and every half second, numbered, of somebody who does not exist.
PROGRAM = """
import itertools, sys, time
for number in itertools.count():
    print(f"{sys.argv[1]} line {number} of nom=Le Goff, NIR {sys.argv[2]}", flush=True)
    time.sleep(0.5)
"""


@dataclass(frozen=True)
class Logs:
    """Loki, asked through the API server."""

    lab: Lab

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of one answer of its API."""
        return json.loads(asked(self.lab, f"{LOKI}/loki/api/v1/{path}", **parameters))["data"]

    def streams(self, query: str) -> list[dict[str, Any]]:
        """Return the streams of the last minutes that match, with their labels and lines."""
        start = str(int(time.time() - MINUTES * 60) * 10**9)
        found: list[dict[str, Any]] = self.ask("query_range", query=query, start=start, limit="5000")["result"]
        return found

    def lines(self, query: str) -> list[str]:
        """Return their lines; none while Loki does not answer."""
        try:
            return [str(line) for stream in self.streams(query) for _, line in stream["values"]]
        except AssertionError:
            return []

    def metrics(self, name: str) -> dict[str, float]:
        """Return the values of one of its metrics, by their labels as Prometheus sees them."""
        text = asked(self.lab, f"{LOKI}/metrics")
        found = (line.rpartition(" ") for line in text.splitlines() if line.startswith(f"{name}{{"))
        return {labels: float(value) for labels, _, value in found}

    def flush(self) -> None:
        """Have it bring to Blob what it holds."""
        self.lab.kubectl("create", "--raw", f"{LOKI}/flush", "-f", "-", stdin="{}")


@contextmanager
def writer(lab: Lab, word: str, number: str) -> Iterator[None]:
    """Run a pod that writes lines with a word and a NIR."""
    document = python_pod(lab, NAME, "monitoring", PROGRAM, word, number)
    try:
        lab.kubectl("apply", "-f", "-", stdin=json.dumps(document))
        lab.kubectl("wait", "pod", NAME, "-n", "monitoring", "--for=condition=Ready", "--timeout=60s")
        yield
    finally:
        lab.kubectl("delete", "pod", NAME, "-n", "monitoring", "--ignore-not-found", check=False)
