"""Which backup and which files of the log make a moment, what is missing, what may go: plain data in and out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mariadb_archive.binlog import covers
from mariadb_archive.errors import BackupError
from mariadb_archive.manifests import Full, Log, Manifest

__all__ = [
    "Gap",
    "Range",
    "Selection",
    "choose",
    "choose_behind",
    "fresh_enough",
    "full_due",
    "gaps",
    "latest",
    "moment_text",
    "outlived",
    "ranges",
    "same_series",
]


@dataclass(frozen=True)
class Gap:
    """Files that are not there between two that are."""

    after: str
    before: str
    why: str


@dataclass(frozen=True)
class Range:
    """The moments that a backup and the unbroken log behind it reach: from `first` until before `until`."""

    full: Full
    logs: tuple[Log, ...]

    @property
    def first(self) -> float:
        """The earliest moment."""
        return self.full.finished

    @property
    def until(self) -> float:
        """The latest moment."""
        return max((log.until for log in self.logs), default=self.full.finished)


@dataclass(frozen=True)
class Selection:
    """What a restore takes."""

    full: Full
    logs: tuple[Log, ...]
    moment: float


def gaps(logs: Iterable[Log]) -> list[Gap]:
    """Return what is missing between the files of each lineage."""
    found = []
    ordered = sorted(logs, key=lambda log: (log.lineage, log.number))
    for earlier, later in pairwise(ordered):
        if earlier.lineage == later.lineage and (why := _broken(earlier, later)):
            found.append(Gap(earlier.name, later.name, why))
    return found


def ranges(manifests: Iterable[Manifest]) -> list[Range]:
    """Return what each full backup reaches, oldest first."""
    known = list(manifests)
    logs = sorted((entry for entry in known if isinstance(entry, Log)), key=lambda log: log.number)
    fulls = sorted((entry for entry in known if isinstance(entry, Full)), key=lambda full: full.finished)
    return [Range(full, _chain(full, [log for log in logs if log.lineage == full.lineage])) for full in fulls]


def latest(manifests: Iterable[Manifest]) -> float:
    """Return the latest moment that can be restored.

    Raises:
        BackupError: there is none.
    """
    reached = [found.until for found in ranges(manifests) if found.logs]
    if not reached:
        raise BackupError("there is no complete backup with a log behind it: nothing can be restored")
    return max(reached)


def choose(manifests: Iterable[Manifest], moment: float) -> Selection:
    """Return the youngest backup of before `moment`, and the files of the log that lead from it to there.

    Raises:
        BackupError: no backup with an unbroken log reaches that moment; the message says which moments are reached.
    """
    known = list(manifests)
    reached = ranges(known)
    if not reached:
        raise BackupError("there is no complete backup in the store: nothing can be restored")
    for found in reversed(reached):
        if found.logs and found.first <= moment <= found.until:
            return Selection(found.full, _needed(found.logs, moment), moment)
    missing = gaps(entry for entry in known if isinstance(entry, Log))
    hint = "".join(f"; between {gap.after} and {gap.before}: {gap.why}" for gap in missing)
    spans = ", ".join(f"{moment_text(found.first)} to {moment_text(found.until)}" for found in reached if found.logs)
    raise BackupError(f"{moment_text(moment)} is in no range that can be restored: {spans or 'none yet'}{hint}")


def choose_behind(manifests: Iterable[Manifest], gtid: Mapping[str, str], moment: float) -> Selection | None:
    """Return the youngest backup that has nothing behind `gtid`, and the files of the log that lead from it to there.

    Args:
        manifests: what is stored.
        gtid: the last transaction to restore, by domain.
        moment: when the server had come so far.

    Returns:
        None while they are not stored.
    """
    for found in reversed(ranges(manifests)):
        reaches = next((number for number, log in enumerate(found.logs, 1) if covers(log.after, gtid)), 0)
        if reaches and covers(gtid, found.full.gtid):
            return Selection(found.full, found.logs[:reaches], moment)
    return None


def outlived(manifests: Iterable[Manifest], *, now: float, days: int, keep: int = 1) -> list[str]:
    """Return the names of what no restore to the last `days` days needs; the youngest `keep` backups always stay."""
    limit = now - days * 86400
    known = list(manifests)
    fulls = sorted((entry for entry in known if isinstance(entry, Full)), key=lambda full: full.finished)
    old = [full for full in fulls if full.finished < limit]
    # The youngest of the old ones is where a restore to the first moments after the limit begins, in each lineage.
    bases = {full.lineage: full for full in old}
    needed = {full.name for full in [*fulls[-keep:], *bases.values()]}
    gone = [full for full in old if full.name not in needed]
    names = {full.name for full in gone}
    kept = [full for full in fulls if full.name not in names]
    for log in (entry for entry in known if isinstance(entry, Log)):
        begins = [_number(full.log) for full in kept if full.lineage == log.lineage]
        if log.until < limit and (not begins or log.number < min(begins)):
            names.add(log.name)
    return sorted(names)


def fresh_enough(manifests: Iterable[Manifest], *, now: float, full_hours: float, log_minutes: float) -> list[str]:
    """Return what is too old, as sentences; empty when backup and log are as young as they have to be."""
    reached = ranges(manifests)
    if not reached:
        return ["there is no complete backup"]
    youngest, found = reached[-1], []
    if (age := now - youngest.full.finished) > full_hours * 3600:
        found.append(f"the last backup is {age / 3600:.1f} hours old, at most {full_hours:g} are allowed")
    if (age := now - youngest.until) > log_minutes * 60:
        found.append(
            f"changes of the last {age / 60:.1f} minutes are not archived, at most {log_minutes:g} are allowed"
        )
    return found


def full_due(manifests: Iterable[Manifest], lineage: str, *, now: float, hours: float) -> str:
    """Return why a lineage needs a full backup now, as a sentence; empty when it needs none.

    It needs one when it has none, when the youngest is older than `hours`, and when the log behind the youngest is not
    whole: no later moment can be restored before there is another one.
    """
    known = [entry for entry in manifests if entry.lineage == lineage]
    fulls = [entry for entry in known if isinstance(entry, Full)]
    if not fulls:
        return f"there is no full backup of the lineage {lineage}"
    youngest = max(fulls, key=lambda full: full.finished)
    if (age := now - youngest.finished) > hours * 3600:
        return f"{youngest.name} is {age / 3600:.1f} hours old, at most {hours:g} are allowed"
    logs = sorted((entry for entry in known if isinstance(entry, Log)), key=lambda log: log.number)
    behind = [log for log in logs if log.number >= _number(youngest.log)]
    if len(_chain(youngest, logs)) < len(behind):
        return f"files are missing in the log behind {youngest.name}"
    return ""


def same_series(stored: str, program: str) -> bool:
    """Tell whether a server of version `program` may open the files of one of `stored`: the first two numbers agree."""
    return _series(stored) == _series(program)


def moment_text(moment: float) -> str:
    """Return a moment for people, in UTC."""
    return dt.datetime.fromtimestamp(moment, dt.UTC).isoformat(timespec="seconds")


def _series(version: str) -> list[str]:
    return version.partition("-")[0].split(".")[:2]


def _number(file: str) -> int:
    return int(file.rpartition(".")[2])


def _chain(full: Full, logs: Sequence[Log]) -> tuple[Log, ...]:
    """The files from the one the backup ends in, up to the first that is missing."""
    found: list[Log] = []
    for log in logs:
        if log.number < _number(full.log):
            continue
        if not found and log.number > _number(full.log):
            break
        if found and _broken(found[-1], log):
            break
        found.append(log)
    return tuple(found)


def _broken(earlier: Log, later: Log) -> str:
    if later.number != earlier.number + 1:
        return f"{later.number - earlier.number - 1} files are missing"
    if later.before != earlier.after:
        return f"one ends with {earlier.after} and the other begins after {later.before}"
    return ""


def _needed(logs: Sequence[Log], moment: float) -> tuple[Log, ...]:
    """The files up to the first that reaches the moment."""
    found = []
    for log in logs:
        found.append(log)
        if log.until >= moment:
            break
    return tuple(found)
