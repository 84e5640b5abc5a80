# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import typing as t

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import GuardError
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.replication import (
    Replica,
    Source,
    State,
    change_source,
    check_promotion,
    deviations,
    includes,
    is_behind,
    option_file,
    parse_state,
    primary_problem,
)

SOURCE = Source(host="db-0.db", port=3306, user="replication", ca_file="/ca.crt")
REPLICA = Replica(source=SOURCE, encrypted=True, by_gtid=True, io="Yes", sql="Yes", fetched="0-1-9")
PRIMARY = State(server_id=1, read_only=False, semi_sync=True, binlog="0-1-9", history="0-1-9", tables=5)
FOLLOWS = State(
    server_id=2, read_only=True, binlog="0-1-9", applied="0-1-9", history="0-1-9", tables=5, replica=REPLICA
)


def replica(**changed: t.Any) -> State:
    return dataclasses.replace(FOLLOWS, replica=dataclasses.replace(REPLICA, **changed))


def alone(**changed: t.Any) -> State:
    return dataclasses.replace(FOLLOWS, replica=None, **changed)


@pytest.mark.parametrize(
    ("state", "found"),
    [
        (FOLLOWS, []),
        (dataclasses.replace(FOLLOWS, read_only=False), ["read_only"]),
        (dataclasses.replace(FOLLOWS, semi_sync=True), ["semi_sync"]),
        (alone(tables=0, semi_sync=True), ["semi_sync", "seed"]),
        (replica(source=dataclasses.replace(SOURCE, host="db-2.db")), ["source"]),
        (replica(encrypted=False), ["source"]),
        (replica(by_gtid=False), ["source"]),
        (replica(io="No"), ["start"]),
        (replica(sql="No"), ["start"]),
        (replica(io="Connecting"), []),
        (replica(io="Connecting", io_error=(1045, "Access denied")), ["source"]),
        (replica(io="Connecting", io_error=(2003, "no route")), ["error"]),
        (replica(io="No", io_error=(1236, "log is gone")), ["error"]),
        (replica(sql="No", sql_error=(1062, "duplicate")), ["error"]),
        (alone(tables=0), ["seed"]),
        (alone(binlog=""), ["seed"]),
        (alone(), ["join"]),
        (alone(binlog="0-2-10"), ["error"]),
    ],
)
def test_what_is_done_about_a_replica(state: State, found: list[str]) -> None:
    assert [d.what for d in deviations(1, state, primary=0, source=SOURCE, primary_state=PRIMARY)] == found


def behind(applied: str, oldest: dict[int, int], **more: t.Any) -> list[str]:
    state, primary = dataclasses.replace(FOLLOWS, applied=applied), dataclasses.replace(PRIMARY, oldest=oldest)
    return [d.what for d in deviations(1, state, primary=0, source=SOURCE, primary_state=primary, **more)]


@pytest.mark.parametrize(
    ("applied", "oldest", "found"),
    [
        ("0-1-5", {0: 5}, []),
        ("0-1-4", {0: 5}, ["error"]),
        ("", {0: 5}, ["error"]),
        ("", {0: 0}, []),
        ("0-1-9", {0: 12}, []),
        ("0-1-9", {0: 0, 1: 2}, []),
    ],
)
def test_what_the_log_of_the_primary_no_longer_holds(applied: str, oldest: dict[int, int], found: list[str]) -> None:
    assert behind(applied, oldest) == found


def test_a_replica_is_copied_anew_on_request() -> None:
    assert behind("0-1-4", {0: 5}, reseed=True) == ["reseed"]
    assert deviations(0, PRIMARY, primary=0, source=SOURCE, primary_state=PRIMARY, reseed=True) == []


@pytest.mark.parametrize(
    ("events", "oldest"),
    [
        ([("Format_desc", "Server ver: 10.11"), ("Gtid_list", "[]")], {}),
        ([("Gtid_list", "[]"), ("Gtid", "GTID 0-1-1")], {0: 0}),
        ([("Gtid_list", "[]"), ("Gtid", "BEGIN GTID 0-1-7"), ("Gtid", "BEGIN GTID 0-1-8")], {0: 7}),
        ([("Gtid_list", "[0-1-6,0-2-5]"), ("Gtid", "BEGIN GTID 0-1-7")], {0: 6}),
    ],
)
def test_where_a_log_begins(events: list[tuple[str, str]], oldest: dict[int, int]) -> None:
    own = {"server_id": "1", "read_only": "0", "semi_sync": "0", "binlog": "", "applied": "", "history": ""}
    rows = [{"Event_type": kind, "Info": info} for kind, info in events]
    assert parse_state([[own], [{"tables": "1"}], [], rows]).oldest == oldest


def test_a_newcomer_waits_for_the_primary() -> None:
    (told,) = deviations(1, alone(tables=0), primary=0, source=SOURCE, primary_state=None)
    assert told.what == "error"


@pytest.mark.parametrize(
    ("changed", "semi_sync", "found"),
    [
        ({}, True, []),
        ({}, False, ["semi_sync"]),
        ({"semi_sync": False}, True, ["semi_sync"]),
        ({"semi_sync": False}, False, []),
        ({"read_only": True}, True, ["read_only"]),
        ({"read_only": True, "semi_sync": False, "replica": REPLICA}, True, ["leave", "semi_sync", "read_only"]),
    ],
)
def test_what_is_done_about_the_primary(changed: dict[str, t.Any], semi_sync: bool, found: list[str]) -> None:
    state = dataclasses.replace(PRIMARY, **changed)
    told = deviations(0, state, primary=0, source=SOURCE, primary_state=state, semi_sync=semi_sync)
    assert [d.what for d in told] == found


@pytest.mark.parametrize(
    ("states", "problem"),
    [
        ({0: PRIMARY, 1: FOLLOWS}, ""),
        ({1: FOLLOWS}, ""),
        ({0: FOLLOWS, 1: PRIMARY}, "it replicates from db-0.db"),
        ({0: PRIMARY, 1: PRIMARY}, ""),
        ({0: PRIMARY, 1: dataclasses.replace(PRIMARY, binlog="0-2-10")}, "server 1 takes writes"),
        ({0: dataclasses.replace(PRIMARY, read_only=True), 1: PRIMARY}, "server 1 takes writes"),
        ({0: PRIMARY, 1: dataclasses.replace(FOLLOWS, read_only=False)}, ""),
    ],
)
def test_who_is_the_primary(states: dict[int, State], problem: str) -> None:
    assert primary_problem(0, states) == problem


@pytest.mark.parametrize(
    ("states", "allow", "message"),
    [
        ({0: PRIMARY, 1: FOLLOWS}, [], "server 0, is alive"),
        ({0: PRIMARY, 1: FOLLOWS}, ["primary_alive"], ""),
        ({1: FOLLOWS}, [], ""),
        ({1: replica(fetched="0-1-12")}, [], "the replica is behind"),
        ({1: replica(fetched="0-1-12")}, ["replica_behind"], ""),
        ({1: replica(sql_error=(1062, "duplicate"))}, [], "the replica is behind"),
        ({1: FOLLOWS, 2: dataclasses.replace(FOLLOWS, applied="0-1-10")}, [], "another replica is further on"),
        ({2: FOLLOWS}, [], "cannot be asked"),
        ({1: PRIMARY}, [], ""),
        ({1: alone()}, [], ""),
        ({1: alone(tables=0)}, [], "is no replica"),
    ],
)
def test_promotions(states: dict[int, State], allow: list[str], message: str) -> None:
    if not message:
        check_promotion(1, states, servers=range(3), allow=allow, where="db-1")
        return
    with pytest.raises(GuardError, match=message):
        check_promotion(1, states, servers=range(3), allow=allow, where="db-1")


@pytest.mark.parametrize(
    ("position", "known"), [("", True), ("0-1-9", True), ("0-1-10", False), ("0-2-1", False), ("0-1-3,1-1-1", False)]
)
def test_history(position: str, known: bool) -> None:
    assert includes(PRIMARY, position) is known


@pytest.mark.parametrize(
    ("own", "other", "behind"),
    [("0-1-9", "0-2-9", False), ("0-1-9", "0-2-10", True), ("", "0-1-1", True), ("", "", False)],
)
def test_who_is_behind(own: str, other: str, behind: bool) -> None:
    assert is_behind(own, other) is behind


def test_a_source_is_verified() -> None:
    assert change_source(SOURCE, "it's") == (
        "CHANGE MASTER TO MASTER_HOST='db-0.db', MASTER_PORT=3306, MASTER_USER='replication', MASTER_PASSWORD='it''s', "
        "MASTER_SSL=1, MASTER_SSL_CA='/ca.crt', MASTER_SSL_VERIFY_SERVER_CERT=1, MASTER_CONNECT_RETRY=10, "
        "MASTER_USE_GTID=slave_pos"
    )


def test_option_files() -> None:
    assert option_file({"password": 'a"b\\c', "port": 1}) == '[client]\npassword="a\\"b\\\\c"\nport="1"\n'
