"""Faults for the next N requests that match, kept in the store."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from tests.lab.azure.store import Store

KIND = "fault"
FAULTS = ("throttle", "error", "fail-operation", "latency", "drop")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What happens to requests whose ``METHOD path`` contains a match of `match` (a regular expression, any case).

    `retry_after` in seconds (throttle); `status`, `code`, `message` of error and fail-operation; `milliseconds` of
    latency.
    """

    fault: str
    match: str = ".*"
    count: int = 1
    retry_after: int = 1
    status: int = 500
    code: str = "InternalServerError"
    message: str = "The lab was asked to fail this request."
    milliseconds: int = 1000

    def __post_init__(self) -> None:
        if self.fault not in FAULTS:
            raise ValueError(f"unknown fault {self.fault!r}, known: {', '.join(FAULTS)}")
        re.compile(self.match)


class Faults:
    """The faults that are switched on, oldest first."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._any = bool(store.records(KIND))

    def add(self, fault: Fault) -> str:
        """Switch one on; returns its name."""
        taken = [int(key) for key, _ in self._store.records(KIND)]
        name = f"{max(taken, default=0) + 1:06d}"
        self._store.put_record(KIND, name, asdict(fault))
        self._any = True
        return name

    def clear(self) -> None:
        """Switch all off."""
        for name, _ in self._store.records(KIND):
            self._store.delete_record(KIND, name)
        self._any = False

    def all(self) -> list[dict[str, Any]]:
        """Those that are on, with what is left of their count."""
        return [{"name": name, **raw} for name, raw in self._store.records(KIND)]

    def take(self, method: str, path: str, *kinds: str) -> Fault | None:
        """The oldest fault of those kinds that means this request; uses one of its count up."""
        if not self._any:
            return None
        for name, raw in self._store.records(KIND):
            if raw["fault"] not in kinds or not re.search(raw["match"], f"{method} {path}", re.IGNORECASE):
                continue
            if raw["count"] <= 1:
                self._store.delete_record(KIND, name)
                self._any = bool(self._store.records(KIND))
            else:
                self._store.put_record(KIND, name, {**raw, "count": raw["count"] - 1})
            return Fault(**raw)
        return None
