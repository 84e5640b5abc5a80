# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Converge replication, or promote a replica: read, compare, plan, apply, report."""

from __future__ import annotations

import dataclasses
import functools
import time
import typing as t
from collections.abc import Callable, Iterable, Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import GuardError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.findings import Finding
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.plan import Action, Change
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.errors import MariaDBError
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.replication import (
    LOG_GONE,
    QUERIES,
    Deviation,
    Replica,
    Source,
    State,
    change_source,
    check_promotion,
    deviations,
    former_primary,
    lags,
    option_file,
    parse_state,
    primary_problem,
    stalled,
    waiting,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.runner import Base
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.session import Session
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.sql import identifier, literal

__all__ = ["Options", "ReplicationRunner"]

TYPE = "mariadb/replication"
_POLL = 0.5
_SETTLE = 30.0
_CUT_OFF = 10.0
_QUIET = 2.0
"""Seconds in which a pool that was cut off comes back: the Service was pointed to another server just now."""
_STALL = 10.0
"""Seconds without a byte after which a replica that lags gets nothing: a primary that has something sends it."""

_BEGIN_LOG = (
    "SET GLOBAL rpl_semi_sync_master_enabled = 0",
    "SET @position = @@GLOBAL.gtid_slave_pos",
    "SET GLOBAL gtid_binlog_state = @position",
)
"""Have an empty log begin at the position of the replica.

With semi-synchronous replication on, the assignment never ends and no other session can log in (seen on 10.11.19): it
holds the lock of the variables while it makes a new log, which turns semi-synchronous replication on and needs it.
"""

# The option file is never a file, and the dump never leaves the replica's machine: source -> dump -> own server.
_SEED = """
set -euo pipefail
options=$(cat)
databases=$(mariadb --defaults-file=<(printf '%s' "$options") --batch --skip-column-names --execute "
  SELECT schema_name FROM information_schema.schemata
  WHERE schema_name NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys')")
{
  echo 'SET SESSION sql_log_bin = 0;'
  mariadb-dump --defaults-file=<(printf '%s' "$options") --single-transaction --master-data=1 --gtid --routines \
    --events --triggers --hex-blob --add-drop-database --databases $databases
} | "$@"
"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user asked for.

    Attributes:
        primary: number of the pod that is, or is to become, the primary.
        promote: make it the primary.
        allow: guards that are waived.
        source: where a replica of that server reads.
        password: of the account that replicas use; None while it is not known.
        reseed: numbers of the replicas to throw away and to copy anew.
        semi_sync: a commit of the primary waits until a replica has it.
        renew_password: give every replica the password again.
        cut_off: end the sessions of clients on replicas.
        backup_user: account that a new replica copies the primary as.
        backup_password: its password.
        catch_up_timeout: seconds that a replica may need to catch up before it is promoted.
        seed_timeout: seconds that a copy of the primary may take.
    """

    primary: int
    promote: bool = False
    allow: tuple[str, ...] = ()
    reseed: tuple[int, ...] = ()
    semi_sync: bool = True
    renew_password: bool = False
    cut_off: bool = False
    source: Callable[[int], Source]
    password: str | None
    backup_user: str
    backup_password: str | None
    catch_up_timeout: float = 60.0
    seed_timeout: float = 3600.0


Write = tuple[Action, Callable[[], None]]


class ReplicationRunner(Base):
    """One run of C(mariadb_replication); see Base."""

    kind = "MariaDBReplication"

    def __init__(self, **how: t.Any) -> None:
        super().__init__(**how)
        self._stalled: dict[int, Deviation] = {}
        self._broken: set[int] = set()

    def run(self, options: Options) -> dict[str, t.Any]:
        """Make every server what it should be: the primary, or a replica of it.

        Raises:
            PlatformError: with what is known so far, once there is a report.
        """
        for password in filter(None, (options.password, options.backup_password)):
            self._report.redactor.add(password)
        with self._report.reporting(self._outcome):
            self._run(options)
        return self._result()

    def _run(self, options: Options) -> None:
        sessions = dict(self._numbered())
        with self._report.timing.phase("read"):
            states = {number: _read(session) for number, (_place, session) in sessions.items()}
        self._places = {number: place for number, (place, _session) in sessions.items()}
        self._sessions = {number: session for number, (_place, session) in sessions.items()}
        self._show(states)
        if not sessions:
            return
        self._stalled = {} if self._promotes(options, states) else self._find_stalled(options, states)
        todo: list[Write] = []
        if options.promote:
            todo += self._plan_promotion(options, states)
        else:
            problem = primary_problem(options.primary, states)
            if problem:
                raise GuardError(
                    f"server {options.primary} is declared as the primary, but {problem}",
                    where=self._resource(options.primary),
                    remedy="Promote it (playbooks/promote.yml), or correct mariadb_primary",
                )
        todo += [*self._plan_servers(options, states), *self._plan_labels(options), *self._plan_cut_off(options)]
        self._report.actions = [action for action, _write in todo]
        self._approve()
        self._write(todo)
        if self._wrote:
            self._show({number: self._settled(number, options) for number in self._sessions})

    def _numbered(self) -> list[tuple[int, tuple[str, Session]]]:
        asked = self._servers()
        return [(int(place.rpartition("-")[2]), (place, session)) for place, session in asked]

    def _find_stalled(self, options: Options, states: Mapping[int, State]) -> dict[int, Deviation]:
        """Replicas that lag and to which nothing comes, though their threads run. Waits only when one lags."""
        primary = states.get(options.primary)
        if primary is None:
            return {}
        source = options.source(options.primary)
        suspects = {
            number: state.replica
            for number, state in states.items()
            if state.replica and (state.replica.io, state.replica.source) == ("Yes", source) and lags(state, primary)
        }
        deadline = time.monotonic() + _STALL
        while suspects and time.monotonic() < deadline:
            time.sleep(_POLL)
            for number, before in list(suspects.items()):
                state = _read(self._sessions[number])
                if not lags(state, primary) or _moved(before, state):
                    del suspects[number]
        return {number: stalled(states[number], primary) for number in suspects}

    # -- one server

    def _plan_servers(self, options: Options, states: Mapping[int, State]) -> list[Write]:
        todo: list[Write] = []
        old = former_primary(options.primary, states) if self._promotes(options, states) else None
        for number, state in sorted(states.items()):
            for deviation in self._deviations(number, state, old, options, states):
                self._report.findings.append(self._finding(number, deviation))
                if deviation.what == "error":
                    self._broken.add(number)
                else:
                    write = functools.partial(self._correct, number, deviation, options)
                    todo.append((self._action(number, deviation), write))
        return todo

    def _deviations(
        self, number: int, state: State, old: int | None, options: Options, states: Mapping[int, State]
    ) -> list[Deviation]:
        source = options.source(options.primary)
        if self._promotes(options, states):
            if number == options.primary:
                return []
            if number == old:  # fenced, and the new primary has all that it has
                join = Deviation(path="replication", desired=source.host, live=None, what="join")
                return [*waiting(state, wanted=False), join]
        found = deviations(
            number,
            state,
            primary=options.primary,
            source=source,
            primary_state=states.get(options.primary),
            semi_sync=self._waits(options),
            reseed=number in options.reseed,
        )
        if options.renew_password and state.replica and not found:
            message = "its password is being rotated, and no server tells which one a replica has"
            return [
                Deviation(
                    path="replication.password", desired="of the vault", live="unknown", what="source", message=message
                )
            ]
        told = any(deviation.what in ("error", "reseed") for deviation in found)
        return found if told or number not in self._stalled else [*found, self._stalled[number]]

    def _waits(self, options: Options) -> bool:
        """Whether the primary waits for a replica; before the first one is there, nobody would come."""
        return options.semi_sync and len(self._known) > 1

    @staticmethod
    def _promotes(options: Options, states: Mapping[int, State]) -> bool:
        new = states.get(options.primary)
        return options.promote and new is not None and (new.replica is not None or new.read_only)

    def _plan_labels(self, options: Options) -> list[Write]:
        """Roles as labels, by which the Service for reading finds the replicas."""
        todo: list[Write] = []
        for server in self._known:
            number = int(server.pod.name.rpartition("-")[2])
            role = "primary" if number == options.primary else "replica"
            if number in self._sessions and server.role != role:
                change = Deviation(path="metadata.labels", desired=role, live=server.role or None, what="label")
                self._report.findings.append(self._finding(number, change))
                todo.append((self._action(number, change), functools.partial(server.set_role, role)))
        return todo

    def _correct(self, number: int, deviation: Deviation, options: Options) -> None:
        session, source = self._sessions[number], options.source(options.primary)
        if deviation.what == "read_only":
            session.execute([f"SET GLOBAL read_only = {literal(deviation.desired)}"])
            return
        if deviation.what == "semi_sync":
            session.execute([_set_waiting(wanted=deviation.desired)])
            return
        if deviation.what == "leave":
            session.execute(["STOP ALL SLAVES", "RESET SLAVE ALL"])
            return
        if deviation.what == "start":
            session.execute(["START SLAVE"])
            return
        if options.password is None:
            raise MariaDBError("the replicas' password is not in the vault", remedy="Make it first (role secrets)")
        first = ["STOP ALL SLAVES"]
        if deviation.what == "reseed":
            _empty(session)
        if deviation.what in ("seed", "reseed"):
            self._seed(session, source, options)
            # Its own log begins where the copy ends: once it is the primary it can serve a replica that stands there.
            first += _BEGIN_LOG
        elif deviation.what == "join":
            first += ["SET GLOBAL gtid_slave_pos = @@gtid_binlog_pos"]
        session.execute([*first, change_source(source, options.password), "START SLAVE"])

    def _seed(self, session: Session, source: Source, options: Options) -> None:
        """Copy the primary. Until replication is set up after it, a server counts as empty and is copied anew."""
        self._report.progress.say(f"copy {source.host} to {session.where}")
        session.execute(["STOP ALL SLAVES", "RESET SLAVE ALL", "RESET MASTER"])
        client = option_file(
            {
                "host": source.host,
                "port": source.port,
                "user": options.backup_user,
                "password": options.backup_password or "",
                "ssl-ca": source.ca_file,
                "ssl-verify-server-cert": 1,
                "default-character-set": "utf8mb4",
            }
        )
        command = ["bash", "-c", _SEED, "seed", *session.connect()]
        with self._report.progress.waiting(f"{session.where} is being copied from {source.host}"):
            done = session.transport.run(command, client, timeout=options.seed_timeout)
        if done.status:
            text = (done.stderr.strip().splitlines() or [f"exit status {done.status}"])[-1]
            raise MariaDBError(
                f"the primary cannot be copied: {text}",
                where=session.where,
                remedy="Check that the primary is reachable and its accounts are converged, and run again",
            )

    def _settled(self, number: int, options: Options) -> State:
        """The state once its threads run, or when it is clear that they do not."""
        deadline = time.monotonic() + _SETTLE
        primary = _read(self._sessions[options.primary]) if options.primary in self._sessions else None
        before: Replica | None = None
        while True:
            state = _read(self._sessions[number])
            if number == options.primary or state.replica is None or number in self._broken:
                return state
            if (state.replica.io, state.replica.sql) == ("Yes", "Yes"):
                before = before or state.replica
                if primary is None or not lags(state, primary) or _moved(before, state):
                    return state
            refused = state.replica.sql_error[0] or (state.replica.io_error[0] == LOG_GONE and state.replica.io == "No")
            if refused or time.monotonic() > deadline:
                silent = stalled(state, primary).message if primary and lags(state, primary) else "no reason given"
                text = state.replica.sql_error[1] or state.replica.io_error[1] or silent
                raise MariaDBError(
                    f"it does not replicate: {text}",
                    where=self._sessions[number].where,
                    remedy="Check the NetworkPolicies, the certificate's names and the account of the replicas",
                )
            time.sleep(_POLL)

    # -- promotion

    def _plan_promotion(self, options: Options, states: Mapping[int, State]) -> list[Write]:
        new, where = options.primary, self._resource(options.primary)
        check_promotion(new, states, servers=range(len(self._known)), allow=options.allow, where=where)
        if not self._promotes(options, states):
            return []
        old = former_primary(new, states)
        todo: list[Write] = []
        if old is not None:
            fence = Deviation(path="role", desired="replica", live="primary", what="read_only")
            self._report.findings.append(self._finding(old, fence))
            todo.append((self._action(old, fence), functools.partial(self._hand_over, old, new, options)))
        take = Deviation(path="role", desired="primary", live="replica", what="leave")
        self._report.findings.append(self._finding(new, take))
        todo.append((self._action(new, take), functools.partial(self._take_over, new, options)))
        return todo

    def _hand_over(self, old: int, new: int, options: Options) -> None:
        """No more writes to the old primary; everything it has must be with the new one, or it goes on as it was."""
        # It would not catch up while it waits for replicas of its own.
        self._sessions[new].execute([_set_waiting(wanted=False)])
        self._sessions[old].execute(["SET GLOBAL read_only = 1"])
        try:
            position = _read(self._sessions[old]).binlog
            wait = f"SELECT MASTER_GTID_WAIT({literal(position)}, {literal(options.catch_up_timeout)}) AS waited"
            ((answer,),) = self._sessions[new].query([wait])
            if answer["waited"] != "0":
                raise MariaDBError(
                    f"it has not caught up with {position} within {options.catch_up_timeout:.0f} s",
                    where=self._sessions[new].where,
                    remedy="The old primary takes writes again; look at the replication, and run again",
                )
        except MariaDBError:
            self._sessions[old].execute(["SET GLOBAL read_only = 0"])
            raise
        self._end_sessions(old, self._clients(old, options))

    def _take_over(self, new: int, options: Options) -> None:
        alone = ["STOP ALL SLAVES", "RESET SLAVE ALL", _set_waiting(wanted=self._waits(options))]
        self._sessions[new].execute([*alone, "SET GLOBAL read_only = 0"])

    # -- clients

    def _plan_cut_off(self, options: Options) -> list[Write]:
        """Pools of connections that came when a replica was the primary would go on there for as long as they live."""
        todo: list[Write] = []
        for number in sorted(set(self._sessions) - {options.primary}) if options.cut_off else ():
            if users := self._clients(number, options):
                why = "they came when it was the primary, or they read: their next connection goes where it belongs"
                change = Deviation(path="clients", desired=[], live=users, what="cut_off", message=why)
                self._report.findings.append(self._finding(number, change))
                todo.append((self._action(number, change), functools.partial(self._cut_off, number, options)))
        return todo

    def _cut_off(self, number: int, options: Options) -> None:
        """End sessions until nobody comes back; who reads from replicas does, so that it takes a while at most."""
        deadline, ended = time.monotonic() + _CUT_OFF, time.monotonic()
        while time.monotonic() < min(deadline, ended + _QUIET):
            if users := self._clients(number, options):
                self._end_sessions(number, users)
                ended = time.monotonic()
            time.sleep(_POLL)

    def _clients(self, number: int, options: Options) -> list[str]:
        """Users with sessions, without the server's own, its administrators and the replicas."""
        session = self._sessions[number]
        (rows,) = session.query(["SELECT DISTINCT user FROM information_schema.processlist WHERE command <> 'Daemon'"])
        own = {"root", "mysql", "system user", options.source(number).user, session.administrator}
        return sorted({row["user"] for row in rows} - own)

    def _end_sessions(self, number: int, users: Iterable[str]) -> None:
        self._sessions[number].execute([f"KILL SOFT USER {literal(user)}" for user in users])

    # -- reporting

    def _show(self, states: Mapping[int, State]) -> None:
        self._report.resources = {self._resource(number): state.show() for number, state in states.items()}

    def _resource(self, number: int) -> str:
        return f"MariaDBServer/{self._places.get(number, number)}"

    def _action(self, number: int, deviation: Deviation) -> Action:
        resource = self._resource(number)
        change = Change(deviation.path, deviation.desired, deviation.live)
        return Action(verb="update", resource=resource, type=TYPE, changes=[change])

    def _finding(self, number: int, deviation: Deviation) -> Finding:
        return Finding(
            source="mariadb",
            resource=self._resource(number),
            type=TYPE,
            path=deviation.path,
            verdict="error" if deviation.what == "error" else "drift",
            action="" if deviation.what == "error" else "update",
            desired=deviation.desired,
            live=deviation.live,
            message=deviation.message,
        )


def _read(session: Session) -> State:
    return parse_state(session.query(QUERIES))


def _set_waiting(*, wanted: bool) -> str:
    return f"SET GLOBAL rpl_semi_sync_master_enabled = {literal(wanted)}"


def _moved(before: Replica, state: State) -> bool:
    """Whether a replica got anything since."""
    return state.replica is None or (state.replica.fetched, state.replica.read) != (before.fetched, before.read)


def _empty(session: Session) -> None:
    """Throw away what a replica has. From the first statement on it counts as one that has to be copied."""
    session.execute(["STOP ALL SLAVES", "RESET SLAVE ALL", "RESET MASTER"])
    (rows,) = session.query(
        [
            "SELECT schema_name AS name FROM information_schema.schemata"
            " WHERE schema_name NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys')"
        ]
    )
    session.execute([f"DROP DATABASE {identifier(row['name'])}" for row in rows])
