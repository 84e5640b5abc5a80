"""From the archive to a data directory as of a moment. Nothing is at the target before it is whole."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mariadb_archive.binlog import cut, cut_behind, transactions
from mariadb_archive.envelope import Archive, Entry
from mariadb_archive.errors import BackupError
from mariadb_archive.manifests import Full, Log, Manifest
from mariadb_archive.selection import Selection, choose, choose_behind, moment_text, same_series
from mariadb_archive.server import Programs, fed, last_lines, streamed

__all__ = ["Restored", "maintenance", "restore"]

# What a data directory needs while it is made: the files of backup and log, and a fifth more for what they change.
ROOM = 1.2
START_SECONDS = 3600
POLL = 0.2
PACKET = "--max-allowed-packet=1G"
MAINTENANCE = (
    "--skip-networking",
    "--skip-log-bin",
    "--skip-grant-tables",
    "--event-scheduler=OFF",
    "--skip-slave-start",
)


@dataclass(frozen=True)
class Restored:
    """What was restored: `gtid` is the last transaction in it, by domain."""

    full: str
    logs: list[str]
    moment: str
    gtid: dict[str, str]
    server_version: str
    seconds: float

    def facts(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def restore(
    archive: Archive,
    programs: Programs,
    *,
    instance: str,
    moment: float,
    target: Path,
    until: Mapping[str, str] | None = None,
) -> Restored:
    """Make a data directory as of `moment`: all transactions of before it, and no other.

    What is chosen is checked before anything is written: that it reaches the moment, that the server's program may open
    it, that its keys can be unwrapped, that there is room. The work is done beside the target, and moved there at its
    end.

    Args:
        archive: where the backups are.
        programs: MariaDB's programs, of the series of the backup.
        instance: name of the server in the archive.
        moment: seconds since 1970.
        target: the data directory, which must not exist or be empty; its parent has to be on the same disk.
        until: the last transactions by domain, where they are known better than by the moment that they were reached.

    Raises:
        BackupError: it cannot be done; the target is as it was.
    """
    started = time.monotonic()
    entries = {entry.manifest.name: entry for entry in archive.entries(instance)}
    chosen = _choose([entry.manifest for entry in entries.values()], moment, until)
    full, logs = entries[chosen.full.name], [entries[log.name] for log in chosen.logs]
    _refuse_other_version(chosen.full, programs)
    _refuse_full_target(target)
    for entry in (full, *logs):
        archive.check(entry)
    _refuse_small_disk(target, full, logs)
    with _aside(target) as work:
        files = _fetch(archive, logs, work)
        data = work / "data"
        data.mkdir()
        fed(programs.command("mbstream", "-x", "-C", str(data)), work / "log", archive.read(full))
        programs.run("mariadb-backup", "--no-defaults", "--prepare", f"--target-dir={data}", timeout=START_SECONDS)
        gtid = _replay(programs, data, files, chosen, until)
        if target.exists():
            target.rmdir()
        data.rename(target)
    return Restored(
        full=chosen.full.name,
        logs=[log.name for log in chosen.logs],
        moment=moment_text(moment),
        gtid=gtid,
        server_version=chosen.full.server_version,
        seconds=round(time.monotonic() - started, 1),
    )


def _choose(manifests: list[Manifest], moment: float, until: Mapping[str, str] | None) -> Selection:
    if not until:
        return choose(manifests, moment)
    chosen = choose_behind(manifests, until, moment)
    if chosen is None:
        raise BackupError(f"the transactions up to {','.join(until.values())} are not in the archive")
    return chosen


def _refuse_other_version(full: Full, programs: Programs) -> None:
    version = programs.version()
    if not same_series(full.server_version, version):
        raise BackupError(
            f"{full.name} is of MariaDB {full.server_version} and this is {version}: restore it with the image of its "
            "own series, and upgrade afterwards"
        )


def _refuse_full_target(target: Path) -> None:
    if not target.parent.is_dir():
        raise BackupError(f"{target.parent} is no folder: mount the disk that the data directory will be on")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BackupError(f"{target} is not empty: a restore goes beside what is there, never over it")


def _refuse_small_disk(target: Path, full: Entry, logs: list[Entry]) -> None:
    needed = int(ROOM * sum(entry.manifest.stored.plain_bytes for entry in (full, *logs) if entry.manifest.stored))
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise BackupError(f"{target.parent} has {free >> 20} MiB free, the restore needs {needed >> 20} MiB")


@contextlib.contextmanager
def _aside(target: Path) -> Iterator[Path]:
    """A folder beside the target; what an interrupted restore left there is removed first."""
    for left in target.parent.glob(f".{target.name}.restore-*"):
        shutil.rmtree(left, ignore_errors=True)
    work = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.restore-"))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _fetch(archive: Archive, logs: list[Entry], work: Path) -> list[Path]:
    files = []
    for entry in logs:
        if not isinstance(entry.manifest, Log):
            raise TypeError(entry.manifest.name)
        file = work / entry.manifest.file
        with file.open("wb") as opened:
            for part in archive.read(entry):
                opened.write(part)
        files.append(file)
    return files


def _replay(
    programs: Programs, data: Path, files: list[Path], chosen: Selection, until: Mapping[str, str] | None
) -> dict[str, str]:
    """Apply the changes that were chosen; return the last transaction of each domain."""
    full, last, stop = chosen.full, len(files), None
    gtid = dict(full.gtid)
    for number, file in enumerate(files):
        begin = full.position if not number else 0
        stop = cut_behind(file, gtid=until, start=begin) if until else cut(file, moment=chosen.moment, start=begin)
        end = stop.offset if stop else file.stat().st_size
        gtid |= {found.domain: found.gtid for found in transactions(file) if begin <= found.offset < end}
        if stop:
            last = number + 1
            break
    options = [f"--start-position={full.position}", *([f"--stop-position={stop.offset}"] if stop else [])]
    reader = programs.command("mariadb-binlog", "--no-defaults", *options, *map(str, files[:last]))
    told = data.parent / "log"

    def statements() -> Iterator[bytes]:
        # Accounts may be among the changes, and they can be once this session has made the server read its grants.
        yield b"FLUSH PRIVILEGES;\n"
        yield from streamed(reader, told)
        # The next change of this server is numbered after the last one that it has.
        yield f"\nSET GLOBAL gtid_slave_pos = '{','.join(gtid.values())}';\nSHUTDOWN;\n".encode()

    with maintenance(programs, data, told) as socket:
        client = programs.command("mariadb", "--no-defaults", f"--socket={socket}", "--binary-mode", PACKET)
        fed(client, told, statements())
    return gtid


@contextlib.contextmanager
def maintenance(programs: Programs, data: Path, told: Path) -> Iterator[Path]:
    """A server that nobody reaches, on the files that were prepared; it has ended by itself when this is left."""
    with tempfile.TemporaryDirectory(prefix="restore-") as folder:  # a socket needs a short path
        socket = Path(folder) / "socket"
        options = [f"--datadir={data}", f"--socket={socket}", f"--pid-file={folder}/pid", f"--tmpdir={folder}", PACKET]
        command = programs.command("mariadbd", "--no-defaults", *programs.server_options, *options, *MAINTENANCE)
        with told.open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            _await(process, socket, told)
            yield socket
            if process.wait(START_SECONDS):
                raise BackupError(f"the restored server did not end: {last_lines(told.read_text(errors='replace'))}")
        finally:
            process.kill()
            process.wait()


def _await(process: subprocess.Popen[bytes], socket: Path, told: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not socket.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise BackupError(f"the restored server does not start: {last_lines(told.read_text(errors='replace'))}")
        time.sleep(POLL)
