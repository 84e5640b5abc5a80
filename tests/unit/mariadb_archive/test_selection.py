"""Which backup, which logs, what is missing, what may go."""

from __future__ import annotations

import dataclasses

import pytest
from mariadb_archive import selection
from mariadb_archive.errors import BackupError
from mariadb_archive.manifests import Full, Log, Manifest
from mariadb_archive.selection import (
    choose,
    choose_behind,
    fresh_enough,
    full_due,
    gaps,
    latest,
    outlived,
    ranges,
    same_series,
)

DAY = 86400


def log(number: int, until: float, lineage: str = "a", **more: object) -> Log:
    facts = {"before": {"0": f"0-1-{number - 1}"}, "after": {"0": f"0-1-{number}"}, "last": until - 1}
    return Log(
        instance="m",
        lineage=lineage,
        server_version="10.11.18",
        file=f"bin.{number:06}",
        number=number,
        until=until,
        **(facts | more),  # type: ignore[arg-type]
    )


def full(finished: float, number: int, lineage: str = "a") -> Full:
    return Full(
        instance="m",
        lineage=lineage,
        server_version="10.11.18",
        started=finished - 5,
        finished=finished,
        log=f"bin.{number:06}",
        position=4,
        gtid={},
    )


STORE: list[Manifest] = [full(100, 1), *(log(number, number * 100 + 100) for number in (1, 2, 3, 4)), full(300, 3)]


@pytest.mark.parametrize(
    ("moment", "backup", "files"),
    [
        (100, 100, [1]),
        (199, 100, [1]),
        (200, 100, [1]),
        (201, 100, [1, 2]),
        (299, 100, [1, 2]),
        (300, 300, [3]),
        (450, 300, [3, 4]),
        (500, 300, [3, 4]),
    ],
)
def test_the_youngest_backup_and_the_logs_up_to_the_moment(moment: float, backup: float, files: list[int]) -> None:
    chosen = choose(STORE, moment)
    assert (chosen.full.finished, [entry.number for entry in chosen.logs]) == (backup, files)


@pytest.mark.parametrize("moment", [99.9, 500.1])
def test_a_moment_outside_is_refused_with_the_ranges(moment: float) -> None:
    expected = "1970-01-01T00:01:40.00:00 to 1970-01-01T00:08:20.00:00, 1970-01-01T00:05:00.00:00 to"
    with pytest.raises(BackupError, match=expected):
        choose(STORE, moment)


@pytest.mark.parametrize(
    ("manifests", "message"),
    [
        ([], "no complete backup"),
        ([log(1, 200)], "no complete backup"),
        ([full(100, 1)], "none yet"),
        ([full(100, 2), log(3, 400)], "none yet"),
        ([full(100, 1), log(1, 200, lineage="b")], "none yet"),
    ],
)
def test_without_a_log_that_follows_nothing_is_reached(manifests: list[Manifest], message: str) -> None:
    with pytest.raises(BackupError, match=message):
        choose(manifests, 150)


def without(*numbers: int) -> list[Manifest]:
    return [entry for entry in STORE if not (isinstance(entry, Log) and entry.number in numbers)]


def test_behind_a_missing_log_only_a_later_backup_reaches() -> None:
    assert choose(without(2), 450).full.finished == 300
    with pytest.raises(BackupError, match=r"m/a/log/bin.000001 and m/a/log/bin.000003: 1 files are missing"):
        choose(without(2), 250)


def test_logs_that_do_not_fit_are_a_gap() -> None:
    other = dataclasses.replace(log(2, 300), before={"0": "0-1-77"})
    found = gaps([log(1, 200), other])
    assert [(gap.after, gap.before) for gap in found] == [("m/a/log/bin.000001", "m/a/log/bin.000002")]
    assert "ends with {'0': '0-1-1'}" in found[0].why


# As STORE, with backups that say which transactions they hold.
POSITIONS: list[Manifest] = [
    *(entry for entry in STORE if isinstance(entry, Log)),
    dataclasses.replace(full(100, 1), gtid={"0": "0-1-0"}),
    dataclasses.replace(full(300, 3), gtid={"0": "0-1-2"}),
]


@pytest.mark.parametrize(
    ("position", "backup", "files"),
    [
        ({"0": "0-1-1"}, 100, [1]),
        ({"0": "0-1-2"}, 300, [3]),
        ({"0": "0-2-3"}, 300, [3]),
        ({"0": "0-1-4"}, 300, [3, 4]),
    ],
)
def test_the_youngest_backup_and_the_logs_up_to_a_position(
    position: dict[str, str], backup: float, files: list[int]
) -> None:
    chosen = choose_behind(POSITIONS, position, 7)
    assert chosen
    assert (chosen.full.finished, [entry.number for entry in chosen.logs], chosen.moment) == (backup, files, 7)


@pytest.mark.parametrize(
    ("manifests", "position"),
    [
        (POSITIONS, {"0": "0-1-5"}),
        (POSITIONS, {"0": "0-1-4", "1": "1-1-1"}),
        ([entry for entry in POSITIONS if isinstance(entry, Log)], {"0": "0-1-4"}),
        (POSITIONS[-1:], {"0": "0-1-2"}),
    ],
)
def test_a_position_that_is_not_stored_yet(manifests: list[Manifest], position: dict[str, str]) -> None:
    assert choose_behind(manifests, position, 7) is None


@pytest.mark.sabotage
def test_without_the_comparison_a_gap_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "_broken", lambda earlier, later: "")
    assert [entry.number for entry in choose(without(2), 250).logs] == [1, 3]


def test_lineages_do_not_mix() -> None:
    other: list[Manifest] = [full(1000, 1, "b"), log(1, 1100, "b"), log(2, 1200, "b")]
    assert choose([*STORE, *other], 1150).full.lineage == "b"
    assert choose([*STORE, *other], 450).full.lineage == "a"
    assert not gaps(entry for entry in [*STORE, *other] if isinstance(entry, Log))
    assert [found.until for found in ranges([*STORE, *other])] == [500, 500, 1200]


def test_retention_keeps_what_a_restore_to_its_first_day_needs() -> None:
    fulls: list[Manifest] = [full(day * DAY, day) for day in range(1, 41)]
    logs: list[Manifest] = [log(day, (day + 1) * DAY) for day in range(1, 41)]
    gone = outlived([*fulls, *logs], now=41 * DAY, days=35)
    # 35 days before day 41 is day 6; the backup of day 5 is where a restore to its morning begins.
    assert gone == sorted([*(f.name for f in fulls[:4]), *(entry.name for entry in logs[:4])])
    left = [entry for entry in [*fulls, *logs] if entry.name not in gone]
    assert choose(left, 6 * DAY + 1)
    assert choose(left, 6 * DAY - 1).full.finished == 5 * DAY


def test_the_last_backup_is_never_outlived() -> None:
    manifests: list[Manifest] = [full(DAY, 1), log(1, 2 * DAY)]
    assert outlived(manifests, now=400 * DAY, days=35) == []


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (520, []),
        (500 + 11 * 60, ["changes of the last 11.0 minutes are not archived, at most 10 are allowed"]),
        (300 + 27 * 3600, ["the last backup is 27.0 hours old, at most 26 are allowed", "changes of the last 1616.7"]),
    ],
)
def test_age_of_backup_and_log(now: float, expected: list[str]) -> None:
    found = fresh_enough(STORE, now=now, full_hours=26, log_minutes=10)
    assert len(found) == len(expected)
    assert all(sentence.startswith(start) for sentence, start in zip(found, expected, strict=True))


def test_an_empty_store_is_not_fresh() -> None:
    assert fresh_enough([], now=0, full_hours=1, log_minutes=1) == ["there is no complete backup"]


@pytest.mark.parametrize(
    ("stored", "program", "same"),
    [
        ("10.11.18-MariaDB-log", "10.11.19-MariaDB", True),
        ("10.11.18-MariaDB", "10.6.18-MariaDB", False),
        ("10.11.18-MariaDB", "11.8.8-MariaDB", False),
        ("11.8.2-MariaDB", "11.4.2-MariaDB", False),
    ],
)
def test_versions_of_one_series(stored: str, program: str, same: bool) -> None:
    assert same_series(stored, program) is same


@pytest.mark.parametrize(
    ("manifests", "because"),
    [
        ([], "there is no full backup of the lineage a"),
        ([log(1, 200)], "there is no full backup of the lineage a"),
        ([full(DAY, 1, lineage="b")], "there is no full backup of the lineage a"),
        ([full(DAY, 1)], ""),
        ([full(DAY - 1, 1)], "is 24.0 hours old, at most 24 are allowed"),
        ([full(DAY - 1, 1), full(DAY, 3)], ""),
        ([full(DAY, 2), log(1, DAY)], ""),
        ([full(DAY, 2), log(2, DAY), log(3, DAY + 240)], ""),
        ([full(DAY, 2), log(2, DAY), log(4, DAY + 480)], "files are missing in the log behind m/a/full/86395"),
        ([full(DAY, 2), log(3, DAY + 240)], "files are missing in the log behind"),
        ([full(DAY, 2), log(2, DAY), log(4, DAY + 480), full(DAY + 600, 4)], ""),
        ([full(DAY, 2), log(2, DAY), log(4, DAY + 480, lineage="b")], ""),
    ],
)
def test_when_a_full_backup_is_due(manifests: list[Manifest], because: str) -> None:
    found = full_due(manifests, "a", now=2 * DAY, hours=24)
    assert because in found
    assert bool(because) == bool(found)


def test_the_latest_moment() -> None:
    assert latest(STORE) == 500
    assert latest([*STORE, full(600, 9)]) == 500
    with pytest.raises(BackupError, match="nothing can be restored"):
        latest([full(100, 1)])
