"""A restored data directory, looked through: every table is read, its rows are counted."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mariadb_archive.errors import BackupError
from mariadb_archive.restore import maintenance
from mariadb_archive.server import Programs, Server

__all__ = ["Checked", "check"]

SYSTEM = "'mysql', 'sys', 'performance_schema', 'information_schema'"
TABLES = f"""SELECT TABLE_SCHEMA, TABLE_NAME,
  (SELECT GROUP_CONCAT(COLUMN_NAME) FROM information_schema.COLUMNS c
   WHERE c.TABLE_SCHEMA = t.TABLE_SCHEMA AND c.TABLE_NAME = t.TABLE_NAME
     AND COLUMN_NAME IN ('date_created', 'date_changed'))
FROM information_schema.TABLES t WHERE TABLE_TYPE = 'BASE TABLE' AND TABLE_SCHEMA NOT IN ({SYSTEM})
ORDER BY 1, 2"""  # noqa: S608 (constants)


@dataclass(frozen=True)
class Checked:
    """Rows by table, the newest time that a row carries, and what is wrong."""

    rows: dict[str, int] = field(default_factory=dict)
    newest: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def check(programs: Programs, data: Path) -> Checked:
    """Read every table of a data directory that no server uses.

    Args:
        programs: MariaDB's programs.
        data: the data directory.

    Raises:
        BackupError: no server starts on it.
    """
    done = Checked()
    if not (data / "mysql").is_dir():
        raise BackupError(f"{data} is no data directory")
    with tempfile.TemporaryDirectory() as folder, maintenance(programs, data, Path(folder) / "log") as socket:
        server = Server(programs, (f"--socket={socket}",))
        try:
            for schema, table, dates in server.ask(TABLES):
                name = f"{schema}.{table}"
                place = f"`{schema}`.`{table}`"
                done.problems.extend(
                    f"{name}: {row[-1]}"
                    for row in server.ask(f"CHECK TABLE {place}")
                    if row[2] == "error" or (row[2] == "status" and row[3] != "OK")
                )
                [[count]] = server.ask(f"SELECT COUNT(*) FROM {place}")  # noqa: S608 (names from the catalogue)
                done.rows[name] = int(count)
                for column in [] if dates == "NULL" else dates.split(","):
                    [[newest]] = server.ask(f"SELECT MAX(`{column}`) FROM {place}")  # noqa: S608
                    done.newest[f"{name}.{column}"] = newest
        finally:
            server.ask("SHUTDOWN")
    return done
