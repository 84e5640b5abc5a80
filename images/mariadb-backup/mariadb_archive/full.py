"""A full backup: mariadb-backup's stream into the archive while the server goes on."""

from __future__ import annotations

import math
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from mariadb_archive.envelope import Archive
from mariadb_archive.errors import BackupError
from mariadb_archive.lineage import lineage_of
from mariadb_archive.manifests import Full
from mariadb_archive.server import Server, streamed

__all__ = ["back_up", "by_domain"]

# mariadb.com/kb/en/files-created-by-mariadb-backup: the old name until 10.11, the new one since 11.1.
INFORMATION = ("mariadb_backup_info", "xtrabackup_info")
POSITION = re.compile(
    r"filename '(?P<log>[^']+)', position '(?P<position>\d+)'(?:, GTID of the last change '(?P<gtid>[^']*)')?"
)


# Seconds between two words about how far a backup is.
TOLD_EVERY = 10


def back_up(
    archive: Archive,
    server: Server,
    *,
    instance: str,
    state: Path,
    scratch: Path | None = None,
    told: Callable[[dict[str, Any]], None] = lambda step: None,
) -> Full:
    """Take a backup and return its manifest; it is stored as a whole, or not at all.

    Args:
        archive: where it goes.
        server: the server; the account needs RELOAD, PROCESS, LOCK TABLES and BINLOG MONITOR, and the process has to
            read the files of the server.
        instance: name of the server in the archive.
        state: folder beside the server's files that keeps the name of their lineage.
        scratch: folder for small files meanwhile; nothing large is written.
        told: hears now and then how many bytes were read.

    Raises:
        BackupError: the backup, the store or the key vault failed.
    """
    [[data, version]] = server.ask("SELECT @@datadir, @@version")
    begun = Full(
        instance=instance,
        lineage=lineage_of(state),
        server_version=version,
        started=math.floor(time.time()),
        finished=0,
        log="",
        position=0,
        gtid={},
    )
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        log = Path(folder) / "log"
        defaults = [option for option in server.connection if option.startswith("--defaults")]
        connection = [option for option in server.connection if option not in defaults]
        command = server.programs.command(
            "mariadb-backup",
            *(defaults or ["--no-defaults"]),
            "--backup",
            "--stream=mbstream",
            f"--datadir={data}",
            f"--target-dir={folder}",
            f"--extra-lsndir={folder}",
            *connection,
        )

        def described() -> Full:
            found = _position(Path(folder))
            gtid = by_domain(found["gtid"] or "")
            return replace(
                begun, finished=math.ceil(time.time()), log=found["log"], position=int(found["position"]), gtid=gtid
            )

        return archive.add_later(begun.name, _counted(streamed(command, log), told), described)


def _counted(stream: Iterable[bytes], told: Callable[[dict[str, Any]], None]) -> Iterator[bytes]:
    size, last = 0, time.monotonic()
    for part in stream:
        size += len(part)
        if time.monotonic() - last >= TOLD_EVERY:
            last = time.monotonic()
            told({"read_bytes": size})
        yield part


def _position(folder: Path) -> dict[str, str]:
    for name in INFORMATION:
        file = folder / name
        found = POSITION.search(file.read_text(errors="replace")) if file.exists() else None
        if found:
            return found.groupdict()
    raise BackupError(f"mariadb-backup told no position: is log_bin on, and is there room in {folder.parent}?")


def by_domain(gtids: str) -> dict[str, str]:
    """Return a position of the log by domain: `0-1-42,1-1-7` is `{"0": "0-1-42", "1": "1-1-7"}`."""
    return {gtid.partition("-")[0]: gtid for gtid in gtids.split(",") if gtid}
