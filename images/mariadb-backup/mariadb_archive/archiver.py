"""Copies each closed file of the log of changes into the archive, once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mariadb_archive.binlog import facts_of
from mariadb_archive.envelope import Archive
from mariadb_archive.errors import BackupError
from mariadb_archive.lineage import begin_anew, lineage_of
from mariadb_archive.manifests import Log
from mariadb_archive.selection import gaps
from mariadb_archive.server import Server
from mariadb_archive.store import AlreadyThere

__all__ = ["Archiver", "Round"]

PART = 1 << 20


@dataclass(frozen=True)
class Round:
    """What one round did: files stored, and why others were not."""

    stored: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass
class Archiver:
    """Archives the log of one server.

    Args:
        archive: where it goes.
        server: the server; the account needs RELOAD and BINLOG MONITOR, and the process has to read the server's files.
        instance: name of the server in the archive.
        state: folder beside the server's files that keeps the name of their lineage.
    """

    archive: Archive
    server: Server
    instance: str
    state: Path
    _known: dict[str, Log] | None = None

    def round(self) -> Round:
        """Close the file that is being written, and store what is not stored.

        What is stored already is not sent again. The first file that cannot be stored ends the round, and the next one
        begins with it: no file is ever stored behind one that is missing and could still come.

        Raises:
            BackupError: the server does not answer.
        """
        self.server.ask("FLUSH BINARY LOGS")
        [[base]] = self.server.ask("SELECT @@log_bin_basename")
        files = [row[0] for row in self.server.ask("SHOW BINARY LOGS")]
        done = Round()
        if _number(files[-1]) <= max((log.number for log in self._stored().values()), default=0):
            # RESET MASTER: the names of before come again, with other changes.
            self.begin_anew()
            done.problems.append("the log was begun anew: so is its line in the archive, and it needs a full backup")
        for name in files[:-1]:
            try:
                if self._store(Path(base).parent / name):
                    done.stored.append(name)
            except (BackupError, OSError) as exc:
                done.problems.append(f"{name}: {exc}")
                break
        missing = gaps(self._stored().values())
        done.problems.extend(f"between {gap.after} and {gap.before}: {gap.why}; take a full backup" for gap in missing)
        return done

    def begin_anew(self) -> None:
        """End the line of this data directory: what is stored from now on does not continue it.

        Raises:
            BackupError: its name cannot be removed.
        """
        begin_anew(self.state)
        self._known = None

    def stored(self) -> list[Log]:
        """Return what is stored of the log of this lineage.

        Raises:
            BackupError: the store does not answer.
        """
        return list(self._stored().values())

    def _store(self, path: Path) -> bool:
        known = self._stored()
        facts = facts_of(path) if path.name not in known else None
        if facts is None:
            return False
        log = Log(
            instance=self.instance,
            lineage=lineage_of(self.state),
            server_version=facts.server_version,
            file=path.name,
            number=_number(path.name),
            before=facts.before,
            after=facts.after,
            first=facts.first,
            last=facts.last,
            until=facts.until,
        )
        earlier = next((entry for entry in known.values() if entry.number == log.number - 1), None)
        if earlier and earlier.after != log.before:
            raise BackupError(
                f"it begins after {log.before}, and the archived {earlier.file} ends with {earlier.after}: these are "
                f"files of another server, or of a copy; it begins a line of its own without {self.state / 'lineage'}"
            )
        try:
            known[path.name] = self.archive.add(log, _content(path))
        except AlreadyThere:
            self._known = None  # by another process: ask again
            return False
        return True

    def _stored(self) -> dict[str, Log]:
        if self._known is None:
            lineage = lineage_of(self.state)
            entries = (entry.manifest for entry in self.archive.entries(f"{self.instance}/{lineage}/log"))
            self._known = {entry.file: entry for entry in entries if isinstance(entry, Log)}
        return self._known


def _number(file: str) -> int:
    return int(file.rpartition(".")[2])


def _content(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(PART):
            yield part
