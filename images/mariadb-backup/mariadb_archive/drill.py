"""A restore and what came of it: whether what is archived comes back, and how long that takes."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mariadb_archive.check import check
from mariadb_archive.envelope import Archive
from mariadb_archive.errors import BackupError
from mariadb_archive.restore import restore
from mariadb_archive.selection import choose_behind, fresh_enough, full_due, latest, ranges
from mariadb_archive.server import Programs

__all__ = ["Drill", "Limits", "drill", "later_than", "proven"]

# Rows carry times of the application's clock and zone: only what is clearly after the moment is wrong.
ZONES = dt.timedelta(days=1)
# Seconds until the archive is asked again for what is on its way.
ASK_AGAIN = 5


@dataclass(frozen=True)
class Limits:
    """Greatest age of the youngest full backup, and of the youngest change, that a drill takes for good."""

    full_hours: float
    log_minutes: float


@dataclass(frozen=True)
class Drill:
    """What came back, and what is wrong with it. `counts` are rows by table, `newest` the latest times in them."""

    moment: str
    full: str
    logs: int
    gtid: dict[str, str]
    server_version: str
    counts: dict[str, int]
    newest: dict[str, str]
    seconds: dict[str, float]
    problems: list[str]

    def facts(self) -> dict[str, Any]:
        """Plain data."""
        return {"drill": asdict(self)}


def drill(
    archive: Archive,
    programs: Programs,
    *,
    instance: str,
    target: Path,
    limits: Limits,
    moment: float | None = None,
    until: Mapping[str, str] | None = None,
    told: Callable[[dict[str, Any]], None] = lambda step: None,
) -> Drill:
    """Find out whether what is archived can be relied on: it is young, has no gap, and comes back.

    The arguments are those of `proven`, and:

    Args:
        limits: what is too old to be tried.
        moment: seconds since 1970; the latest that can be restored when there is none.
        until: the last transactions that a server had at that moment, by domain: they are waited for, as long as a
            change may take into the archive, and nothing behind them is restored.

    Raises:
        BackupError: the archive is too old or has a gap, or it cannot be restored; the message says which and why.
    """
    manifests = [entry.manifest for entry in archive.entries(instance)]
    reached, now = ranges(manifests), time.time()
    if not reached:
        raise BackupError("there is no complete backup in the store: nothing can be restored")
    unfit = full_due(manifests, reached[-1].full.lineage, now=now, hours=limits.full_hours)
    old = fresh_enough(manifests, now=now, full_hours=limits.full_hours, log_minutes=limits.log_minutes)
    if unfit or old:
        raise BackupError(unfit or "; ".join(old))
    wanted = latest(manifests) if moment is None else moment
    if until:
        told({"step": "wait for the log"})
        _await(archive, instance, until, limits.log_minutes * 60)
    return proven(archive, programs, instance=instance, target=target, moment=wanted, until=until, told=told)


def proven(
    archive: Archive,
    programs: Programs,
    *,
    instance: str,
    target: Path,
    moment: float,
    until: Mapping[str, str] | None = None,
    statements: str = "",
    told: Callable[[dict[str, Any]], None] = lambda step: None,
) -> Drill:
    """Restore a moment, read every table of it, and measure. An old archive is as good as a young one.

    Args:
        archive: where the backups are.
        programs: MariaDB's programs, of the series of the backup.
        instance: name of the server in the archive.
        target: the data directory to make; see `restore`.
        moment: seconds since 1970.
        until: the last transactions by domain; see `restore`.
        statements: SQL to run on what came back; see `check`.
        told: hears of each step.

    Raises:
        BackupError: it cannot be restored; the message says why.
    """
    seconds: dict[str, float] = {}

    @contextmanager
    def measured(step: str) -> Iterator[None]:
        told({"step": step})
        started = time.monotonic()
        yield
        seconds[step] = round(time.monotonic() - started, 1)

    with measured("restore"):
        restored = restore(archive, programs, instance=instance, moment=moment, target=target, until=until)
    with measured("check"):
        found = check(programs, target, statements=statements)
    problems = [*found.problems, *later_than(dt.datetime.fromisoformat(restored.moment), found.newest)]
    if not any(found.rows.values()):
        problems.append("no row came back")
    return Drill(
        moment=restored.moment,
        full=restored.full,
        logs=len(restored.logs),
        gtid=restored.gtid,
        server_version=restored.server_version,
        counts=found.rows,
        newest=found.newest,
        seconds=seconds,
        problems=problems,
    )


def _await(archive: Archive, instance: str, until: Mapping[str, str], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not choose_behind((entry.manifest for entry in archive.entries(instance)), until, 0):
        if time.monotonic() > deadline:
            raise BackupError(
                f"the transactions up to {','.join(until.values())} did not come into the archive within "
                f"{seconds / 60:g} minutes"
            )
        time.sleep(ASK_AGAIN)


def later_than(moment: dt.datetime, newest: Mapping[str, str]) -> list[str]:
    """Return which columns hold times that are clearly after the moment, as sentences."""
    limit = (moment + ZONES).astimezone(dt.UTC).replace(tzinfo=None)
    return [
        f"{column} holds {text}, which is after {moment.isoformat()}"
        for column, text in newest.items()
        if text != "NULL" and dt.datetime.fromisoformat(text) > limit
    ]
