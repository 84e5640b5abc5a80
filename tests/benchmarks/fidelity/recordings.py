# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading recorded exchanges: which resource was PUT, with what, and what the service answered afterwards."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

FILE_NAME = "recordings.jsonl.gz"


class RecordingsError(Exception):
    """The recordings are not there or cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One accepted PUT. `live` is what a GET showed afterwards (or the PUT's own answer)."""

    type: str
    api_version: str
    url: str
    kind: str
    desired: dict[str, Any]
    live: dict[str, Any]
    source: str
    number: int

    @property
    def chain(self) -> tuple[str, str]:
        """What groups the PUTs of one resource in one recorded session."""
        return self.source, self.url.lower()


def read(path: Path) -> list[Recording]:
    """Read a file of recordings, or the one in a folder. Raises RecordingsError."""
    path = path / FILE_NAME if path.is_dir() else path
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return [_recording(number, json.loads(line)) for number, line in enumerate(file)]
    except (OSError, ValueError, KeyError) as exc:
        raise RecordingsError(f"{path}: {exc}") from exc


def _recording(number: int, row: dict[str, Any]) -> Recording:
    wanted = ("type", "api_version", "url", "kind", "desired", "live", "source")
    return Recording(**{name: row[name] for name in wanted}, number=number)


def chains(recordings: Iterable[Recording]) -> Iterator[list[Recording]]:
    """The PUTs of each resource in the order they were made."""
    ordered = sorted(recordings, key=lambda entry: (entry.chain, entry.number))
    for _, group in groupby(ordered, key=lambda entry: entry.chain):
        yield list(group)
