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
# A table of patients' observations takes its time.
TABLE_SECONDS = 6 * 3600


@dataclass(frozen=True)
class Checked:
    """Rows by table, the newest time that a row carries, and what is wrong."""

    rows: dict[str, int] = field(default_factory=dict)
    newest: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def check(programs: Programs, data: Path, *, statements: str = "") -> Checked:
    """Read every table of a data directory that no server uses.

    Args:
        programs: MariaDB's programs.
        data: the data directory.
        statements: SQL to run once every table was read and none is damaged. No log of changes has it.

    Raises:
        BackupError: no server starts on it, or it refuses a statement.
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
                    for row in server.ask(f"CHECK TABLE {place}", timeout=TABLE_SECONDS)
                    if row[2] == "error" or (row[2] == "status" and row[3] != "OK")
                )
                counting = f"SELECT COUNT(*) FROM {place}"  # noqa: S608 (names from the catalogue)
                [[count]] = server.ask(counting, timeout=TABLE_SECONDS)
                done.rows[name] = int(count)
                for column in [] if dates == "NULL" else dates.split(","):
                    latest = f"SELECT MAX(`{column}`) FROM {place}"  # noqa: S608
                    [[newest]] = server.ask(latest, timeout=TABLE_SECONDS)
                    done.newest[f"{name}.{column}"] = newest
            if statements and not done.problems:
                server.ask(statements)
        finally:
            server.ask("SHUTDOWN")
    return done
