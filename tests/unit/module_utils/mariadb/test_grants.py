# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.grants import (
    Grant,
    Target,
    changes,
    is_administrative,
    parse_grant,
    parse_privileges,
    parse_target,
    statements,
)

WHO = "'a'@'%'"
EVERYTHING, OPENMRS = Target("", "*", "*"), Target("", "openmrs", "*")


def grant(*privileges: str, option: bool = False) -> Grant:
    return Grant(frozenset(privileges), option)


# Lines as MariaDB 10.11.19 printed them.
@pytest.mark.parametrize(
    ("line", "target", "expected"),
    [
        ("GRANT USAGE ON *.* TO `a`@`%` IDENTIFIED BY PASSWORD '*8C' REQUIRE SSL", EVERYTHING, grant()),
        (
            "GRANT PROCESS, BINLOG MONITOR, SLAVE MONITOR ON *.* TO `m`@`%` IDENTIFIED BY PASSWORD '*EF' REQUIRE SSL"
            " WITH MAX_USER_CONNECTIONS 3",
            EVERYTHING,
            grant("PROCESS", "BINLOG MONITOR", "SLAVE MONITOR"),
        ),
        ("GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION", EVERYTHING,
         grant("ALL PRIVILEGES", option=True)),
        (
            "GRANT RELOAD ON *.* TO `b`@`localhost` IDENTIFIED VIA mysql_native_password USING '*94' OR unix_socket"
            " WITH GRANT OPTION",
            EVERYTHING,
            grant("RELOAD", option=True),
        ),
        ("GRANT SELECT ON `op\\_x`.* TO `a`@`localhost`", Target("", "op\\_x", "*"), grant("SELECT")),
        (
            "GRANT SELECT (`name`, `born`), INSERT ON `openmrs`.`patient` TO `a`@`localhost`",
            Target("", "openmrs", "patient"),
            grant("SELECT (born, name)", "INSERT"),
        ),
        (
            "GRANT EXECUTE ON PROCEDURE `openmrs`.`p` TO `a`@`localhost` WITH GRANT OPTION",
            Target("PROCEDURE", "openmrs", "p"),
            grant("EXECUTE", option=True),
        ),
        (
            "GRANT PROXY ON ``@`%` TO `root`@`localhost` WITH GRANT OPTION",
            Target("PROXY", "''@'%'", ""),
            grant(option=True),
        ),
        ("GRANT `r` TO `a`@`localhost`", Target("ROLE", "r", ""), grant()),
        ("GRANT `r` TO `root`@`localhost` WITH ADMIN OPTION", Target("ROLE", "r", ""), grant(option=True)),
        (
            "GRANT USAGE ON *.* TO `we``ird`@`%` IDENTIFIED BY PASSWORD '*B6' REQUIRE ISSUER 'x WITH GRANT OPTION'",
            EVERYTHING,
            grant(),
        ),
    ],
)  # fmt: skip
def test_lines_of_the_server(line: str, target: Target, expected: Grant) -> None:
    assert parse_grant(line) == (target, expected)


@pytest.mark.parametrize("line", ["SET DEFAULT ROLE `r` FOR `a`@`localhost`", "nothing"])
def test_other_lines_are_no_grants(line: str) -> None:
    assert parse_grant(line) is None


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("*.*", EVERYTHING),
        ("openmrs.*", OPENMRS),
        ("`we``ird`.`a.b`", Target("", "we`ird", "a.b")),
        ("procedure openmrs.p", Target("PROCEDURE", "openmrs", "p")),
    ],
)
def test_targets(text: str, target: Target) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize("text", ["", "openmrs", "*.patient", "a.b.c", "`open.*", "a.b; DROP USER x"])
def test_no_targets(text: str) -> None:
    with pytest.raises(InputError):
        parse_target(text, where="openmrs@%")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("select, Insert", {"SELECT", "INSERT"}),
        ("ALL", {"ALL PRIVILEGES"}),
        ("REPLICA MONITOR, REPLICATION CLIENT, REPLICATION REPLICA",
         {"SLAVE MONITOR", "BINLOG MONITOR", "REPLICATION SLAVE"}),
        ("SELECT (b, `a`), USAGE", {"SELECT (a, b)"}),
    ],
)  # fmt: skip
def test_privileges(text: str, expected: set[str]) -> None:
    assert parse_privileges(text) == expected


@pytest.mark.parametrize(
    ("desired", "live", "expected"),
    [
        (grant("SELECT"), None, ["GRANT SELECT ON `openmrs`.* TO 'a'@'%'"]),
        (None, grant("SELECT"), ["REVOKE SELECT ON `openmrs`.* FROM 'a'@'%'"]),
        (grant("SELECT"), grant("SELECT"), []),
        (
            grant("SELECT", "INSERT"),
            grant("SELECT", "DROP"),
            ["REVOKE DROP ON `openmrs`.* FROM 'a'@'%'", "GRANT INSERT ON `openmrs`.* TO 'a'@'%'"],
        ),
        (
            grant("SELECT"),
            grant("ALL PRIVILEGES"),
            ["REVOKE ALL PRIVILEGES ON `openmrs`.* FROM 'a'@'%'", "GRANT SELECT ON `openmrs`.* TO 'a'@'%'"],
        ),
        (grant("ALL PRIVILEGES"), grant("SELECT"), ["GRANT ALL PRIVILEGES ON `openmrs`.* TO 'a'@'%'"]),
        (grant("SELECT"), grant("SELECT", option=True), ["REVOKE GRANT OPTION ON `openmrs`.* FROM 'a'@'%'"]),
        (
            grant("SELECT", option=True),
            grant("SELECT"),
            ["GRANT USAGE ON `openmrs`.* TO 'a'@'%' WITH GRANT OPTION"],
        ),
        (None, grant("SELECT (a, b)"), ["REVOKE SELECT (`a`, `b`) ON `openmrs`.* FROM 'a'@'%'"]),
    ],
)
def test_statements(desired: Grant | None, live: Grant | None, expected: list[str]) -> None:
    assert statements(WHO, OPENMRS, desired, live) == expected


def test_memberships_are_taken_away() -> None:
    assert statements(WHO, Target("ROLE", "r", ""), None, grant()) == ["REVOKE `r` FROM 'a'@'%'"]
    proxy = Target("PROXY", "''@'%'", "")
    assert statements(WHO, proxy, None, grant()) == ["REVOKE PROXY ON ''@'%' FROM 'a'@'%'"]


def test_what_differs() -> None:
    role = Target("ROLE", "r", "")
    live = {EVERYTHING: grant(), OPENMRS: grant("SELECT"), role: grant()}
    assert changes({OPENMRS: grant("SELECT")}, live) == [(role, None, grant())]
    everything = {EVERYTHING: grant("ALL PRIVILEGES", option=True)}
    assert changes(everything, {**live, **everything}) == [], "beside everything nothing makes a difference"


@pytest.mark.parametrize(
    ("target", "privileges", "expected"),
    [
        ("*.*", ["SELECT", "PROCESS", "BINLOG MONITOR", "REPLICATION SLAVE", "LOCK TABLES"], False),
        ("openmrs.*", ["DROP", "CREATE", "ALTER"], False),
        ("openmrs.*", ["ALL"], False),
        ("*.*", ["FILE"], True),
        ("*.*", ["INSERT"], True),
        ("*.*", ["READ_ONLY ADMIN"], True),
        ("mysql.*", ["UPDATE"], True),
        ("mysql.global_priv", ["UPDATE (Priv)"], True),
        ("mysql.db", ["SELECT"], False),
    ],
)
def test_administrative(target: str, privileges: list[str], expected: bool) -> None:
    assert is_administrative({parse_target(target): Grant(parse_privileges(", ".join(privileges)))}) is expected


def test_handing_on_is_administrative() -> None:
    assert is_administrative({OPENMRS: grant("SELECT", option=True)})
