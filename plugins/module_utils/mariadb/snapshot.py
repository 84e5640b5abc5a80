# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a server holds at one position of its log, to compare with what a restore brings back."""

from __future__ import annotations

import dataclasses
import datetime as dt
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.sql import identifier, literal

__all__ = ["Snapshot", "differences", "take_snapshot"]

_SYSTEM: t.Final = ("mysql", "sys", "performance_schema", "information_schema")
_TIMES: t.Final = ("date_created", "date_changed")
_TABLES: t.Final = f"""SELECT t.TABLE_SCHEMA AS place, t.TABLE_NAME AS name,
  COALESCE((SELECT GROUP_CONCAT(c.COLUMN_NAME) FROM information_schema.COLUMNS c WHERE c.TABLE_SCHEMA = t.TABLE_SCHEMA
    AND c.TABLE_NAME = t.TABLE_NAME AND c.DATA_TYPE = 'datetime'
    AND c.COLUMN_NAME IN ({", ".join(map(literal, _TIMES))})), '') AS times
FROM information_schema.TABLES t
WHERE t.TABLE_TYPE = 'BASE TABLE' AND t.TABLE_SCHEMA NOT IN ({", ".join(map(literal, _SYSTEM))})"""  # noqa: S608 (constants)
# The position that belongs to the snapshot. Source: https://mariadb.com/kb/en/enhancements-for-start-transaction-with-consistent-snapshot/
_SNAPSHOT: t.Final = "START TRANSACTION WITH CONSISTENT SNAPSHOT"
_POSITION: t.Final = """SELECT BINLOG_GTID_POS(
  (SELECT VARIABLE_VALUE FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME = 'BINLOG_SNAPSHOT_FILE'),
  (SELECT VARIABLE_VALUE FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME = 'BINLOG_SNAPSHOT_POSITION')
) AS gtid, UNIX_TIMESTAMP() AS moment"""
_SHOWN: t.Final = 5


class Asks(t.Protocol):
    """A conversation with a server; see Session."""

    def query(self, statements: Sequence[str]) -> list[list[dict[str, str]]]:
        """See Session.query."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a server holds.

    Attributes:
        gtid: position of its log, C(0-1-42); empty when nothing was ever logged.
        moment: when that was.
        counts: rows by table, C(openmrs.patient).
        newest: latest times by column, C(openmrs.obs.date_created).
    """

    gtid: str
    moment: dt.datetime
    counts: Mapping[str, int]
    newest: Mapping[str, str]


def take_snapshot(server: Asks) -> Snapshot:
    """Count every row that a server holds, as of one moment; its users go on meanwhile.

    Args:
        server: whom to ask.

    Raises:
        MariaDBError: it does not answer, or a table was changed meanwhile.
    """
    [tables] = server.query([_TABLES])
    counted = {f"{table['place']}.{table['name']}": _counting(table) for table in tables}
    _, [position], *rows, _ = server.query([_SNAPSHOT, _POSITION, *counted.values(), "COMMIT"])
    answers = {name: answer for name, [answer] in zip(counted, rows, strict=True)}
    return Snapshot(
        gtid=position["gtid"],
        moment=dt.datetime.fromtimestamp(int(float(position["moment"])), dt.UTC),
        counts={name: int(answer["total"]) for name, answer in answers.items()},
        newest={
            f"{name}.{column}": answer[column]
            for name, answer in answers.items()
            for column in _TIMES
            if column in answer
        },
    )


def differences(snapshot: Snapshot, report: Mapping[str, t.Any]) -> list[str]:
    """What came back otherwise than it was, as sentences.

    Args:
        snapshot: how it was.
        report: of the restore; see C(archive.drill_report).
    """
    came = ",".join(sorted(report["gtid"].values()))
    if came != ",".join(sorted(snapshot.gtid.split(","))):
        return [f"the transactions up to {came or 'none'} came back, the server had those up to {snapshot.gtid}"]
    found = [
        f"{name}: {report['counts'].get(name, 0)} rows came back of {rows}"
        for name, rows in snapshot.counts.items()
        if report["counts"].get(name) != rows
    ]
    found += [f"{name} came back and was not there" for name in report["counts"] if name not in snapshot.counts]
    found += [
        f"{name}: the newest that came back is {report['newest'].get(name)}, and was {time}"
        for name, time in snapshot.newest.items()
        if report["newest"].get(name) != time
    ]
    more = len(found) - _SHOWN
    return [*found[:_SHOWN], f"and {more} more"] if more > 0 else found


def _counting(table: Mapping[str, str]) -> str:
    times = "".join(f", MAX({identifier(time)}) AS {time}" for time in table["times"].split(",") if time)
    return f"SELECT COUNT(*) AS total{times} FROM {identifier(table['place'])}.{identifier(table['name'])}"  # noqa: S608
