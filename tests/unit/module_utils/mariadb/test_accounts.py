# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime as dt
import typing as t

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.accounts import (
    live_accounts,
    parse_not_after,
    plan,
    plan_certificate,
    plan_databases,
    wanted_accounts,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.sql import password_hash

POD = "mariadb/mariadb-0"


def entry(user: str = "openmrs", **more: t.Any) -> dict[str, t.Any]:
    return {"user": user, "host": "%", "plugin": "mysql_native_password", "require": "ssl", **more}


def on(target: str, *privileges: str, grant_option: bool = False) -> dict[str, t.Any]:
    return {"on": target, "privileges": list(privileges), "grant_option": grant_option}


def steps_of(entries: list[dict[str, t.Any]], live: dict[str, t.Any], *, remove: bool = False) -> t.Any:
    passwords: dict[str, str | None] = {f"{e['user']}@{e['host']}": "secret" for e in entries}
    wanted = wanted_accounts(entries, passwords)
    return plan(wanted, live, pod=POD, left_alone=["mariadb.sys@*"], remove=remove, fingerprint=lambda value: "<f>")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([entry(), entry()], "declared twice"),
        ([entry(user="")], "needs a name"),
        ([entry(grants=[on("*.*", "SUPER")])], "administrative privileges"),
        ([entry(grants=[on("openmrs.*", "SELECT", grant_option=True)])], "administrative privileges"),
        ([entry(plugin="unix_socket")], "server's machine only"),
        ([entry(grants=[on("a.*", "SELECT"), on("`a`.*", "INSERT")])], "granted on twice"),
        ([entry(grants=[on("a.*", "ALL", "SELECT")])], "stands beside others"),
    ],
)
def test_what_is_refused_before_anything_is_asked(entries: list[dict[str, t.Any]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        steps_of(entries, {})


def test_an_empty_password_is_refused() -> None:
    with pytest.raises(InputError, match="password is empty"):
        wanted_accounts([entry()], {"openmrs@%": ""})


def test_a_new_account() -> None:
    (step,), (finding,) = steps_of(
        [entry(limits={"max_user_connections": 3.0}, grants=[on("openmrs.*", "SELECT")])], {}
    )
    assert step.statements == (
        f"CREATE USER 'openmrs'@'%' IDENTIFIED VIA mysql_native_password USING '{password_hash('secret')}' REQUIRE SSL "
        "WITH MAX_QUERIES_PER_HOUR 0 MAX_UPDATES_PER_HOUR 0 MAX_CONNECTIONS_PER_HOUR 0 MAX_USER_CONNECTIONS 3 "
        "MAX_STATEMENT_TIME 0 ACCOUNT UNLOCK",
        "GRANT SELECT ON `openmrs`.* TO 'openmrs'@'%'",
    )
    assert (finding.verdict, finding.action) == ("missing", "create")
    assert step.action.document["authentication"] == {"plugin": "mysql_native_password", "password": "<f>"}


def live(priv: str, *grants: str, user: str = "openmrs", host: str = "%") -> dict[str, t.Any]:
    return live_accounts([{"User": user, "Host": host, "Priv": priv}], {f"{user}@{host}": grants})


EQUAL = f'{{"plugin":"mysql_native_password","authentication_string":"{password_hash("secret")}","ssl_type":1}}'


def test_an_equal_account() -> None:
    assert steps_of([entry()], live(EQUAL, "GRANT USAGE ON *.* TO `openmrs`@`%`")) == ([], [])


@pytest.mark.parametrize(
    ("private", "paths"),
    [
        ('{"access":0}', ["authentication.password", "require"]),
        (EQUAL.replace("}", ',"account_locked":true}'), ["locked"]),
        (EQUAL.replace("}", ',"max_questions":5,"max_statement_time":2.500000}'),
         ["limits.max_queries_per_hour", "limits.max_statement_time"]),
        (EQUAL.replace("}", ',"auth_or":[{},{"plugin":"unix_socket"}]}'),
         ["authentication.plugin", "authentication.password"]),
        (EQUAL.replace('"ssl_type":1', '"ssl_type":3'), ["require"]),
    ],
)  # fmt: skip
def test_a_changed_account(private: str, paths: list[str]) -> None:
    (step,), findings = steps_of([entry()], live(private))
    assert [finding.path for finding in findings] == paths
    assert step.statements[0].startswith("ALTER USER 'openmrs'@'%' IDENTIFIED VIA mysql_native_password USING '*")


def test_a_password_that_is_not_known_yet() -> None:
    wanted = wanted_accounts([entry()], {"openmrs@%": None})
    steps, findings = plan(wanted, live(EQUAL), pod=POD, left_alone=[], remove=False, fingerprint=str)
    assert (steps, [f.verdict for f in findings]) == ([], ["not_verifiable"])
    (step,), _findings = plan(wanted, {}, pod=POD, left_alone=[], remove=False, fingerprint=str)
    assert step.action.unverified


@pytest.mark.parametrize(
    ("user", "host", "private", "grants", "message"),
    [
        ("", "%", "{}", [], "anybody may log in as it, it has no password"),
        ("eve", "%", EQUAL, ["GRANT SUPER ON *.* TO `eve`@`%`"], "administers the server from the network"),
        ("eve", "localhost", EQUAL, ["GRANT SUPER ON *.* TO `eve`@`localhost`"], "nobody declared it: declare it"),
    ],
)
def test_strangers(user: str, host: str, private: str, grants: list[str], message: str) -> None:
    steps, (finding,) = steps_of([], live(private, *grants, user=user, host=host))
    assert (steps, finding.verdict, finding.action) == ([], "unexpected", "")
    assert message in finding.message
    (step,), (finding,) = steps_of([], live(private, *grants, user=user, host=host), remove=True)
    assert (step.action.verb, finding.action) == ("delete", "delete")
    assert step.statements == (f"DROP USER IF EXISTS '{user}'@'{host}'",)


def test_what_is_left_alone() -> None:
    assert steps_of([], live("{}", user="mariadb.sys", host="localhost"), remove=True) == ([], [])


def test_databases_are_made_and_never_dropped() -> None:
    (step,), (finding,) = plan_databases(["openmrs", "there"], ["there", "other"], pod=POD)
    assert step.statements == ("CREATE DATABASE IF NOT EXISTS `openmrs`",)
    assert finding.resource == "MariaDBDatabase/mariadb/mariadb-0/openmrs"


def test_certificates() -> None:
    end = dt.datetime(2026, 11, 26, 21, 44, 20, tzinfo=dt.UTC)
    assert parse_not_after("Nov 26 21:44:20 2026 GMT") == end
    assert parse_not_after("Nov  6 01:44:20 2026 GMT") == dt.datetime(2026, 11, 6, 1, 44, 20, tzinfo=dt.UTC)
    assert parse_not_after("") is None
    assert plan_certificate(end, end, pod=POD) == ([], [])
    (step,), (finding,) = plan_certificate(end, None, pod=POD)
    assert (step.statements, finding.path) == (("FLUSH SSL",), "certificate.notAfter")
