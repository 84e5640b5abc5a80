"""Files of the log of changes, written here event by event."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from mariadb_archive.binlog import (
    FORMAT,
    GTID,
    GTID_LIST,
    HEADER,
    MAGIC,
    ROTATE,
    STOP,
    covers,
    cut,
    cut_behind,
    facts_of,
    transactions,
)
from mariadb_archive.errors import BackupError

QUERY = 2
VERSION = struct.pack("<H50sI", 4, b"10.11.18-MariaDB-log", 90)


def event(kind: int, time: int, body: bytes = b"", server: int = 1) -> bytes:
    return HEADER.pack(time, kind, server, HEADER.size + len(body), 0, 0) + body


def gtid(time: int, sequence: int, *, domain: int = 0, server: int = 1) -> bytes:
    return event(GTID, time, struct.pack("<QIB", sequence, domain, 0), server) + event(QUERY, time, b"x" * 20)


def known(*entries: tuple[int, int, int]) -> bytes:
    body = struct.pack("<I", len(entries)) + b"".join(struct.pack("<IIQ", *entry) for entry in entries)
    return event(GTID_LIST, 90, body)


def written(folder: Path, *events: bytes) -> Path:
    file = folder / "mariadb-bin.000003"
    file.write_bytes(MAGIC + event(FORMAT, 90, VERSION) + b"".join(events))
    return file


def test_what_a_file_says(tmp_path: Path) -> None:
    file = written(tmp_path, known((0, 1, 5), (0, 2, 4), (3, 1, 8)), gtid(100, 6), gtid(103, 7), event(ROTATE, 110))
    facts = facts_of(file)
    assert (facts.server_version, facts.closed) == ("10.11.18-MariaDB-log", True)
    assert facts.before == {"0": "0-1-5", "3": "3-1-8"}
    assert facts.after == {"0": "0-1-7", "3": "3-1-8"}
    assert (facts.first, facts.last, facts.until) == (100, 103, 110)


@pytest.mark.parametrize(
    ("end", "closed", "until"),
    [(b"", False, 103), (event(STOP, 120), True, 120), (event(ROTATE, 120)[:-1], False, 103), (b"torn", False, 103)],
)
def test_the_end_of_a_file(tmp_path: Path, end: bytes, closed: bool, until: int) -> None:
    facts = facts_of(written(tmp_path, known(), gtid(103, 1), end))
    assert (facts.closed, facts.until, facts.after) == (closed, until, {"0": "0-1-1"})


def test_a_file_without_transactions(tmp_path: Path) -> None:
    facts = facts_of(written(tmp_path, known((0, 1, 5)), event(ROTATE, 110)))
    assert (facts.before, facts.after, facts.first, facts.last, facts.until) == (
        {"0": "0-1-5"},
        {"0": "0-1-5"},
        0,
        0,
        110,
    )


@pytest.mark.parametrize(
    ("moment", "start", "expected"),
    [
        (99, 0, "0-1-6"),
        (100, 0, "0-1-6"),
        (100.5, 0, "0-1-7"),
        (103, 0, "0-1-7"),
        (104, 0, "0-1-8"),
        (111, 0, None),
        (100, 10_000, None),
    ],
)
def test_the_first_transaction_that_is_too_late(
    tmp_path: Path, moment: float, start: int, expected: str | None
) -> None:
    # The clock was set back before the last one.
    file = written(tmp_path, known((0, 1, 5)), gtid(100, 6), gtid(103, 7), gtid(110, 8), gtid(101, 9))
    found = cut(file, moment=moment, start=start)
    assert (found.gtid if found else None) == expected


@pytest.mark.parametrize(
    ("position", "start", "expected"),
    [
        ({"0": "0-1-7", "4": "4-7-2"}, 0, "0-2-8"),
        ({"0": "0-1-7"}, 0, "4-7-2"),
        ({"0": "0-2-8", "4": "4-7-2"}, 0, None),
        ({"0": "0-9-99", "4": "4-7-2"}, 0, None),
        ({"0": "0-1-5"}, 0, "0-1-6"),
        ({"0": "0-1-5"}, 10_000, None),
    ],
)
def test_the_first_transaction_behind_a_position(
    tmp_path: Path, position: dict[str, str], start: int, expected: str | None
) -> None:
    last = gtid(90, 8, server=2)
    file = written(tmp_path, known((0, 1, 5)), gtid(100, 6), gtid(103, 2, domain=4, server=7), gtid(110, 7), last)
    found = cut_behind(file, gtid=position, start=start)
    assert (found.gtid if found else None) == expected


@pytest.mark.parametrize(
    ("reached", "position", "covered"),
    [
        ({}, {}, True),
        ({"0": "0-1-9"}, {}, True),
        ({"0": "0-1-9"}, {"0": "0-1-10"}, False),
        ({"0": "0-1-10"}, {"0": "0-2-9"}, True),
        ({"0": "0-1-10"}, {"0": "0-1-9", "1": "1-1-1"}, False),
    ],
)
def test_what_a_position_covers(reached: dict[str, str], position: dict[str, str], covered: bool) -> None:
    assert covers(reached, position) is covered


def test_offsets_are_those_of_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, known(), gtid(100, 1), gtid(101, 2, domain=4, server=7))
    content = file.read_bytes()
    for found in transactions(file):
        assert content[found.offset + 4] == GTID
    assert [found.gtid for found in transactions(file)] == ["0-1-1", "4-7-2"]


@pytest.mark.parametrize("content", [b"", b"relay", MAGIC, MAGIC + b"\0" * 100])
def test_what_is_no_log_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bin.000001").write_bytes(content)
    with pytest.raises(BackupError, match="log of changes"):
        facts_of(tmp_path / "bin.000001")
