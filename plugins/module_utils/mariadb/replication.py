# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Replication as plain data: who is the primary, where each replica stands, and what to do about it. Pure.

Sources: https://mariadb.com/kb/en/gtid/ and https://mariadb.com/kb/en/show-replica-status/.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import GuardError
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.sql import assignments

__all__ = [
    "LOG_GONE",
    "QUERIES",
    "Deviation",
    "Replica",
    "Source",
    "State",
    "change_source",
    "check_promotion",
    "deviations",
    "former_primary",
    "includes",
    "is_behind",
    "lags",
    "option_file",
    "parse_state",
    "primary_problem",
    "stalled",
    "waiting",
]

QUERIES = (
    "SELECT @@server_id AS server_id, @@read_only AS read_only, @@rpl_semi_sync_master_enabled AS semi_sync,"
    " @@gtid_binlog_pos AS binlog, @@gtid_slave_pos AS applied, @@gtid_binlog_state AS history",
    "SELECT COUNT(*) AS tables FROM information_schema.tables WHERE table_schema NOT IN"
    " ('information_schema', 'mysql', 'performance_schema', 'sys')",
    "SHOW ALL SLAVES STATUS",
    "SHOW BINLOG EVENTS LIMIT 20",
)
"""What C(parse_state) reads."""

_ACCESS_DENIED = 1045
LOG_GONE: t.Final = 1236
"""ER_MASTER_FATAL_ERROR_READING_BINLOG: the primary's log cannot give a replica what it asks for."""
_GTID_EVENT = re.compile(r"GTID ([0-9]+)-[0-9]+-([0-9]+)")

Gtids = Mapping[tuple[int, int], int]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where and as whom a replica reads.

    Attributes:
        host: name or address, which the primary's certificate must bear.
        ca_file: authority of that certificate, on the replica's machine.
    """

    host: str
    port: int
    user: str
    ca_file: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """What a server says of its replication.

    Attributes:
        source: where it reads.
        encrypted: it demands TLS and a certificate that bears the name.
        by_gtid: it finds its place by GTID.
        io: state of the thread that fetches; C(Yes) when it works.
        sql: state of the thread that applies.
        io_error: number and text of the last error.
        fetched: position up to which it has fetched.
        read: bytes of the source's log file that it has read.
    """

    source: Source
    encrypted: bool
    by_gtid: bool
    io: str
    sql: str
    io_error: tuple[int, str] = (0, "")
    sql_error: tuple[int, str] = (0, "")
    fetched: str = ""
    read: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One server.

    Attributes:
        read_only: it takes no writes but those of its source.
        semi_sync: each of its commits waits until a replica has it. On a replica that are those of its source, which
            nobody reads from it: the first one waits in vain until rpl_semi_sync_master_timeout.
        binlog: last position in its own log.
        applied: last position it applied as a replica.
        history: last position of each server it knows of.
        tables: number of tables that are not the system's.
        oldest: by domain, the lowest sequence number that a replica may have that reads this server's log.
        replica: its replication, None when it has none.
    """

    server_id: int
    read_only: bool
    semi_sync: bool = False
    binlog: str = ""
    applied: str = ""
    history: str = ""
    tables: int = 0
    oldest: Mapping[int, int] = dataclasses.field(default_factory=dict)
    replica: Replica | None = None

    def show(self) -> dict[str, t.Any]:
        """For a report."""
        shown: dict[str, t.Any] = {
            "serverId": self.server_id,
            "readOnly": self.read_only,
            "semiSync": self.semi_sync,
            "gtid": self.applied if self.replica else self.binlog,
        }
        if self.replica:
            source = self.replica.source
            shown["replication"] = {
                "source": f"{source.host}:{source.port}",
                "fetching": self.replica.io,
                "applying": self.replica.sql,
            }
        return shown


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """One place where a server is not what it should be.

    Attributes:
        path: what of it.
        what: C(read_only), C(semi_sync), C(leave), C(seed), C(reseed), C(join), C(source), C(start), or C(error),
            which needs a person.
    """

    path: str
    desired: t.Any
    live: t.Any
    what: str
    message: str = ""


def parse_state(rows: Sequence[Sequence[Mapping[str, str]]]) -> State:
    """The state in the answers to QUERIES."""
    (own,), (count,), slaves, events = rows
    replicas = [_replica(row) for row in slaves if row["Master_Host"]]
    return State(
        server_id=int(own["server_id"]),
        read_only=own["read_only"] not in ("0", "OFF"),
        semi_sync=own["semi_sync"] not in ("0", "OFF"),
        binlog=own["binlog"],
        applied=own["applied"],
        history=own["history"],
        tables=int(count["tables"]),
        oldest=_oldest(events),
        replica=replicas[0] if replicas else None,
    )


def _replica(row: Mapping[str, str]) -> Replica:
    return Replica(
        source=Source(
            host=row["Master_Host"],
            port=int(row["Master_Port"]),
            user=row["Master_User"],
            ca_file=row["Master_SSL_CA_File"],
        ),
        encrypted=(row["Master_SSL_Allowed"], row["Master_SSL_Verify_Server_Cert"]) == ("Yes", "Yes"),
        by_gtid=row["Using_Gtid"] == "Slave_Pos",
        io=row["Slave_IO_Running"],
        sql=row["Slave_SQL_Running"],
        io_error=(int(row["Last_IO_Errno"]), row["Last_IO_Error"]),
        sql_error=(int(row["Last_SQL_Errno"]), row["Last_SQL_Error"]),
        fetched=row["Gtid_IO_Pos"],
        read=int(row["Read_Master_Log_Pos"] or 0),
    )


def _oldest(events: Iterable[Mapping[str, str]]) -> dict[int, int]:
    """Where the log begins, by domain, from the first events of its first file.

    The list of GTIDs at its head names what came before. A domain that is not in it begins with its first event, whose
    predecessor the server does not know: in strict mode it refuses a replica that stands there.
    Source: https://mariadb.com/kb/en/gtid/#gtid_strict_mode and sql/sql_repl.cc (GTID_START_FROM_BINLOG_HOLE).
    """
    found: dict[int, int] = {}
    for event in events:
        if event["Event_type"] == "Gtid_list":
            found = _sequences(event["Info"].strip("[]"))
        match = _GTID_EVENT.search(event["Info"]) if event["Event_type"] == "Gtid" else None
        if match:
            domain, sequence = int(match.group(1)), int(match.group(2))
            found.setdefault(domain, sequence if sequence > 1 else 0)
    return found


def parse_gtids(text: str) -> dict[tuple[int, int], int]:
    """Sequence number by domain and server, of C(0-1-100,0-2-105)."""
    found: dict[tuple[int, int], int] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        domain, server, sequence = (int(number) for number in part.split("-"))
        found[(domain, server)] = max(sequence, found.get((domain, server), 0))
    return found


def includes(state: State, position: str) -> bool:
    """Whether everything up to a position is in a server's history."""
    known = parse_gtids(",".join([state.history, state.applied, state.binlog]))
    return all(known.get(place, 0) >= sequence for place, sequence in parse_gtids(position).items())


def _sequences(position: str) -> dict[int, int]:
    found: dict[int, int] = {}
    for (domain, _server), sequence in parse_gtids(position).items():
        found[domain] = max(sequence, found.get(domain, 0))
    return found


def is_behind(position: str, other: str) -> bool:
    """Whether another position is further on in any domain."""
    own = _sequences(position)
    return any(sequence > own.get(domain, 0) for domain, sequence in _sequences(other).items())


def lags(state: State, primary: State) -> bool:
    """Whether a replica has not fetched all that the primary had."""
    return state.replica is not None and is_behind(state.replica.fetched, primary.binlog)


def _unserved(state: State, primary: State) -> str:
    """What a replica needs of the primary and the primary's log does not hold; empty when there is nothing."""
    own = _sequences(state.applied)
    lost = [domain for domain, sequence in primary.oldest.items() if own.get(domain, 0) < sequence]
    if not lost or not is_behind(state.applied, primary.binlog):
        return ""
    starts = ", ".join(f"{primary.oldest[domain]} of domain {domain}" for domain in lost)
    return f"it has {state.applied or 'nothing'}, and the primary's log begins at {starts}"


def primary_problem(primary: int, states: Mapping[int, State]) -> str:
    """Why the declared primary is not the one that is; empty when it is, or nobody can tell."""
    own = states.get(primary)
    if own is None:
        return ""
    if own.replica is not None:
        return f"it replicates from {own.replica.source.host}"
    others = {n: state for n, state in states.items() if n != primary and state.replica is None and not state.read_only}
    # A former primary that came back takes writes until it is fenced; one with changes of its own is another matter.
    ahead = [n for n, state in others.items() if own.read_only or not includes(own, state.binlog)]
    return f"server {ahead[0]} takes writes" if ahead else ""


def deviations(
    number: int,
    state: State,
    *,
    primary: int,
    source: Source,
    primary_state: State | None,
    semi_sync: bool = True,
    reseed: bool = False,
) -> list[Deviation]:
    """Where one server is not what it should be, in the order in which that is corrected.

    Args:
        number: of the server.
        state: of the server.
        primary: number of the primary.
        source: where a replica should read.
        primary_state: the primary's, None when it cannot be asked.
        semi_sync: whether a commit of the primary waits for a replica.
        reseed: a person wants it to be thrown away and copied anew.
    """
    if number == primary:
        found = []
        if state.replica:
            found.append(Deviation(path="replication", desired=None, live=state.replica.source.host, what="leave"))
        found += waiting(state, wanted=semi_sync)
        return [*found, _read_only(wanted=False, live=True)] if state.read_only else found
    found = [] if state.read_only else [_read_only(wanted=True, live=False)]
    found += waiting(state, wanted=False)
    if reseed and primary_state is not None:
        message = "it is copied anew, as asked for"
        live = state.applied or state.binlog or None
        return [*found, Deviation(path="replication", desired=source.host, live=live, what="reseed", message=message)]
    if state.replica is None:
        return [*found, _newcomer(state, source, primary_state)]
    lost = _unserved(state, primary_state) if primary_state else ""
    if lost:
        return [*found, _lost(lost)]
    return found + _replication(state.replica, source)


def stalled(state: State, primary: State) -> Deviation:
    """A replica whose threads run and to which nothing comes.

    A source that refuses may keep the connection instead of giving its reason: seen with semi-synchronous replication.
    """
    fetched = state.replica.fetched if state.replica else ""
    return _lost(f"it is connected and gets nothing: it has {fetched or 'nothing'} of {primary.binlog}")


def _lost(why: str) -> Deviation:
    return Deviation(
        path="replication.fetching",
        desired="Yes",
        live="lacks changes",
        what="error",
        message=f"the primary does not give it what it lacks: {why}. Name it in mariadb_reseed to have it copied anew",
    )


def waiting(state: State, *, wanted: bool) -> list[Deviation]:
    """Whether a server's commits wait for a replica when they should, and only then.

    MariaDB's manual enables both sides on every server (https://mariadb.com/kb/en/semisynchronous-replication). Who
    switches primaries enables each with its role: https://github.com/openark/orchestrator/issues/1270 and
    https://github.com/apecloud/kubeblocks/pull/6548.
    """
    if state.semi_sync is wanted:
        return []
    return [Deviation(path="semiSync", desired=wanted, live=state.semi_sync, what="semi_sync")]


def _read_only(*, wanted: bool, live: bool) -> Deviation:
    return Deviation(path="readOnly", desired=wanted, live=live, what="read_only")


def _newcomer(state: State, source: Source, primary_state: State | None) -> Deviation:
    if primary_state is None:
        return Deviation(
            path="replication",
            desired=source.host,
            live=None,
            what="error",
            message="it does not replicate, and the primary cannot be asked",
        )
    if not state.tables or not state.binlog:
        return Deviation(
            path="replication",
            desired=source.host,
            live=None,
            what="seed",
            message="it is empty: it gets a copy of the primary",
        )
    if includes(primary_state, state.binlog):
        return Deviation(
            path="replication",
            desired=source.host,
            live=None,
            what="join",
            message="the primary has all that it has",
        )
    return Deviation(
        path="replication",
        desired=source.host,
        live=None,
        what="error",
        message=f"it has changes that the primary does not have (up to {state.binlog}): save what is needed of them, "
        "then delete its claim and its pod",
    )


def _replication(live: Replica, source: Source) -> list[Deviation]:
    if live.source != source or not live.encrypted or not live.by_gtid:
        shown = f"{live.source.host}:{live.source.port}" + ("" if live.encrypted else " without verified TLS")
        return [Deviation(path="replication.source", desired=f"{source.host}:{source.port}", live=shown, what="source")]
    trouble = _trouble(live)
    if trouble:
        return [trouble]
    if "No" in (live.io, live.sql):
        shown = f"fetching {live.io}, applying {live.sql}"
        return [Deviation(path="replication.running", desired=True, live=shown, what="start")]
    return []


def _trouble(live: Replica) -> Deviation | None:
    """The error that keeps it from replicating, if there is one."""
    if live.sql_error[0]:
        text = f"it cannot apply a change: {live.sql_error[1]}"
        return Deviation(path="replication.applying", desired="Yes", live=live.sql, what="error", message=text)
    number, text = live.io_error
    if not number or live.io == "Yes":
        return None
    if number == _ACCESS_DENIED:
        message = "the primary does not accept its password"
        return Deviation(
            path="replication.password", desired="of the vault", live="refused", what="source", message=message
        )
    if number == LOG_GONE:
        return _lost(text)
    message = f"it does not reach the primary: {text}"
    return Deviation(path="replication.fetching", desired="Yes", live=live.io, what="error", message=message)


def former_primary(new: int, states: Mapping[int, State]) -> int | None:
    """The server that was the primary: the one that neither replicates nor is the new one, and has a history."""
    found = [n for n, state in states.items() if n != new and state.replica is None and state.binlog]
    return found[0] if found else None


def check_promotion(
    new: int, states: Mapping[int, State], *, servers: Iterable[int], allow: Sequence[str], where: str
) -> None:
    """Refuse a promotion that would lose writes or make two primaries, unless that is named.

    Args:
        new: number of the server to promote.
        states: of the servers that can be asked.
        servers: numbers of all of them.
        allow: C(primary_alive) for a planned switch, C(replica_behind) for accepting a loss.
        where: name of the new primary.

    Raises:
        GuardError: with what to name.
    """
    if new not in set(servers):
        raise GuardError(f"there is no server {new}", where=where, remedy="Raise mariadb_replicas first")
    state = states.get(new)
    if state is None:
        raise GuardError("the server to promote cannot be asked", where=where, remedy="Promote another one")
    if state.replica is None and not state.read_only:
        return  # it is the primary already
    old = former_primary(new, states)
    if old is not None and "primary_alive" not in allow:
        raise GuardError(
            f"the primary, server {old}, is alive",
            where=where,
            remedy="Name primary_alive in mariadb_promote_allow for a planned switch: it is fenced first",
        )
    if state.replica is None:
        if state.tables and (old is None or includes(state, states[old].binlog)):
            return  # a promotion that was cut short
        raise GuardError("the server to promote is no replica", where=where, remedy="Promote another one")
    if "replica_behind" in allow or old is not None:
        return  # with the old primary alive the new one catches up before anything else happens
    replica, others = state.replica, [s.applied for n, s in states.items() if n != new]
    if replica.sql_error[0] or is_behind(state.applied, replica.fetched):
        reason = f"it has applied {state.applied or 'nothing'} of {replica.fetched or 'nothing'} that it fetched"
    elif any(is_behind(state.applied, other) for other in others):
        reason = "another replica is further on"
    else:
        return
    raise GuardError(
        f"the replica is behind: {reason}",
        where=where,
        remedy="Wait until it has caught up, promote the one furthest on, or name replica_behind and lose the rest",
    )


def change_source(source: Source, password: str) -> str:
    """CHANGE MASTER for a source, with TLS and a certificate that bears its name."""
    options = assignments(
        {
            "MASTER_HOST": source.host,
            "MASTER_PORT": source.port,
            "MASTER_USER": source.user,
            "MASTER_PASSWORD": password,
            "MASTER_SSL": True,
            "MASTER_SSL_CA": source.ca_file,
            "MASTER_SSL_VERIFY_SERVER_CERT": True,
            "MASTER_CONNECT_RETRY": 10,
        }
    )
    return f"CHANGE MASTER TO {options}, MASTER_USE_GTID=slave_pos"


def option_file(values: Mapping[str, str | int]) -> str:
    """The group C([client]) of an option file.

    Source: https://mariadb.com/kb/en/configuring-mariadb-with-option-files/#options (quotes and escapes).
    """
    lines = []
    for name, value in values.items():
        escaped = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        lines.append(f'{name}="{escaped}"')
    return "[client]\n" + "\n".join(lines) + "\n"
