"""Counting what people and tools ask of a cluster, by verb and by effect.

The API server writes each of their requests to its audit log (see
`audit-policy.yml`). The counter reads what came since it last looked and keeps
its place, so that a look is cheap and nothing is counted twice.
"""

from __future__ import annotations

import fcntl
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.lab.control.home import Home, write_private

__all__ = ["EFFECTS", "RequestCounter", "effect_of"]

EFFECTS = ("write", "read", "dry_run", "access_review", "token")
READ_VERBS = {"get", "list", "watch", "head", "options"}
REVIEWS = {
    "selfsubjectaccessreviews",
    "selfsubjectrulesreviews",
    "selfsubjectreviews",
    "subjectaccessreviews",
    "localsubjectaccessreviews",
    "tokenreviews",
}


def effect_of(event: dict[str, Any]) -> str:
    """Return which of `EFFECTS` a request of the audit log has; what could persist is a write even when refused."""
    verb = str(event.get("verb", "")).lower()
    if verb in READ_VERBS:
        return "read"
    about = event.get("objectRef") or {}
    if about.get("resource") in REVIEWS:
        return "access_review"
    if about.get("subresource") == "token":
        return "token"
    asked = parse_qs(urlsplit(str(event.get("requestURI", ""))).query).get("dryRun", [])
    options = event.get("requestObject") or {}
    if "All" in asked or "All" in (options.get("dryRun") or []):
        return "dry_run"
    return "write"


class RequestCounter:
    """The counts of one lab since `reset`; they outlive the cluster."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._file = home.path / "kubernetes-requests.json"

    def update(self) -> dict[str, Any]:
        """Count what is new and return `{"effects": {…}, "verbs": {…}}`."""
        with self._lock():
            state = self._load()
            effects, verbs = Counter(state["effects"]), Counter(state["verbs"])
            places: dict[str, int] = {}
            for path in sorted(self._home.clusters.glob("*/audit/*.log")):
                # A full file is renamed and its place must go with it: files are known by number, not by name.
                number = str(path.stat().st_ino)
                places[number] = state["places"].get(number, 0)
                for event, end in _events(path, places[number]):
                    places[number] = end
                    effects[effect_of(event)] += 1
                    verbs[str(event["verb"])] += 1
            counted: dict[str, Any] = {"effects": {**dict.fromkeys(EFFECTS, 0), **effects}, "verbs": dict(verbs)}
            write_private(self._file, json.dumps({**counted, "places": places}))
            return counted

    def reset(self) -> None:
        """Start from zero; what the logs hold now is not counted."""
        self.update()
        with self._lock():
            places = self._load()["places"]
            write_private(self._file, json.dumps({"effects": {}, "verbs": {}, "places": places}))

    def _load(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return {"effects": {}, "verbs": {}, "places": {}}
        return state

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with (self._home.path / ".kubernetes-requests.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _events(path: Path, start: int) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the events after a place in a log, each with the place after it; a half-written line waits."""
    with path.open("rb") as log:
        log.seek(start)
        for line in log:
            if not line.endswith(b"\n"):
                return
            start += len(line)
            yield json.loads(line), start
