"""A file of the log of changes, read as far as a backup needs it: which transactions, and of when.

Layout of events: mariadb.com/kb/en/2-binlog-event-header, gtid_event, gtid_list_event, format_description_event.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mariadb_archive.errors import BackupError

__all__ = ["Facts", "Transaction", "covers", "cut", "cut_behind", "facts_of", "transactions"]

MAGIC = b"\xfebin"
HEADER = struct.Struct("<IBIIIH")
STOP, ROTATE, FORMAT, GTID, GTID_LIST = 3, 4, 15, 162, 163
GTID_BODY = struct.Struct("<QI")
LIST_ENTRY = struct.Struct("<IIQ")
LIST_COUNT = 0x0FFFFFFF
VERSION_FIELD = slice(2, 52)
BODY_READ = (FORMAT, GTID, GTID_LIST)


@dataclass(frozen=True)
class Transaction:
    """Where a transaction begins in its file, and its number and time."""

    offset: int
    gtid: str
    time: int

    @property
    def domain(self) -> str:
        """The stream of transactions it belongs to."""
        return self.gtid.partition("-")[0]


@dataclass(frozen=True)
class Facts:
    """What one file says of itself. `closed`: the server ended it, and nothing comes after."""

    server_version: str
    before: dict[str, str]
    after: dict[str, str]
    first: int
    last: int
    until: int
    closed: bool


@dataclass(frozen=True)
class _Event:
    offset: int
    time: int
    kind: int
    server: int
    body: bytes


def facts_of(path: Path) -> Facts:
    """Read a file.

    Raises:
        BackupError: it is no such log.
    """
    version, before, after, first, last, until, closed = "", {}, {}, 0, 0, 0, False
    for event in _events(path):
        closed = event.kind in (ROTATE, STOP)
        until = max(until, event.time)
        if event.kind == FORMAT:
            version = event.body[VERSION_FIELD].rstrip(b"\0").decode()
        elif event.kind == GTID_LIST:
            before = _list(event.body)
            after = dict(before)
        elif event.kind == GTID:
            transaction = _transaction(event)
            after[transaction.domain] = transaction.gtid
            first, last = first or event.time, max(last, event.time)
    if not version:
        raise BackupError(f"{path} is no complete log of changes")
    return Facts(version, before, after, first, last, until, closed)


def transactions(path: Path) -> Iterator[Transaction]:
    """Give the transactions of a file in their order."""
    return (_transaction(event) for event in _events(path) if event.kind == GTID)


def cut(path: Path, *, moment: float, start: int = 0) -> Transaction | None:
    """Return the first transaction at or behind `start` that is not of before `moment`; None when all are of before.

    A transaction has the time at which it was committed, in whole seconds. What comes behind the first one that is too
    late is too late as well, also when the clock was set back: so does `mariadb-binlog --stop-datetime`.
    """
    return next((found for found in transactions(path) if found.offset >= start and found.time >= moment), None)


def cut_behind(path: Path, *, gtid: Mapping[str, str], start: int = 0) -> Transaction | None:
    """Return the first transaction at or behind `start` that comes after those of `gtid`; None when there is none."""
    behind = (found for found in transactions(path) if not covers(gtid, {found.domain: found.gtid}))
    return next((found for found in behind if found.offset >= start), None)


def covers(reached: Mapping[str, str], gtid: Mapping[str, str]) -> bool:
    """Tell whether every transaction up to `gtid` is among those up to `reached`, both by domain.

    Within a domain they are numbered in their order, whichever server they come from.
    """
    return all(_sequence(last) <= _sequence(reached.get(domain, "0-0-0")) for domain, last in gtid.items())


def _sequence(gtid: str) -> int:
    return int(gtid.rpartition("-")[2])


def _transaction(event: _Event) -> Transaction:
    sequence, domain = GTID_BODY.unpack_from(event.body)
    return Transaction(event.offset, f"{domain}-{event.server}-{sequence}", event.time)


def _list(body: bytes) -> dict[str, str]:
    count = int.from_bytes(body[:4], "little") & LIST_COUNT
    found: dict[int, tuple[int, int]] = {}
    for number in range(count):
        domain, server, sequence = LIST_ENTRY.unpack_from(body, 4 + number * LIST_ENTRY.size)
        known = found.get(domain)
        if known is None or known[1] < sequence:
            found[domain] = (server, sequence)
    return {str(domain): f"{domain}-{server}-{sequence}" for domain, (server, sequence) in found.items()}


def _events(path: Path) -> Iterator[_Event]:
    """Give the events; what was cut off by a crash in the middle of one is left out, as the server does."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise BackupError(f"{path} is no log of changes")
        end = path.stat().st_size
        offset = len(MAGIC)
        while offset + HEADER.size <= end:
            event, size = _event(file, offset)
            if size < HEADER.size or offset + size > end:
                return
            yield event
            offset += size
            file.seek(offset)


def _event(file: BinaryIO, offset: int) -> tuple[_Event, int]:
    time, kind, server, size, _, _ = HEADER.unpack(file.read(HEADER.size))
    body = file.read(size - HEADER.size) if kind in BODY_READ and size > HEADER.size else b""
    return _Event(offset, time, kind, server, body), size
