# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Grants as plain data: read from a user's words and from SHOW GRANTS, compared, and written as SQL. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.sql import identifier

__all__ = [
    "ADMINISTRATIVE",
    "ALL",
    "Grant",
    "Target",
    "changes",
    "is_administrative",
    "is_all",
    "parse_grant",
    "parse_privileges",
    "parse_target",
    "statements",
]

ALL = "ALL PRIVILEGES"

# Other names of the same privilege; the server prints those on the right.
# Source: https://mariadb.com/kb/en/grant/#global-privileges
_SYNONYMS = {
    "ALL": ALL,
    "REPLICA MONITOR": "SLAVE MONITOR",
    "REPLICATION CLIENT": "BINLOG MONITOR",
    "REPLICATION REPLICA": "REPLICATION SLAVE",
    "REPLICATION REPLICA ADMIN": "REPLICATION SLAVE ADMIN",
    "DELETE VERSIONING ROWS": "DELETE HISTORY",
    "SHOW CREATE ROUTINES": "SHOW CREATE ROUTINE",
}

ADMINISTRATIVE = frozenset(
    {
        *(ALL, "BINLOG ADMIN", "BINLOG REPLAY", "CONNECTION ADMIN", "CREATE TABLESPACE", "CREATE USER"),
        *("DELETE HISTORY", "FEDERATED ADMIN", "FILE", "READ_ONLY ADMIN", "REPLICATION MASTER ADMIN"),
        *("REPLICATION SLAVE ADMIN", "SET USER", "SHUTDOWN", "SUPER"),
        # For all databases they reach the system's own tables, and with them every account.
        *("ALTER", "ALTER ROUTINE", "CREATE", "CREATE ROUTINE", "CREATE VIEW", "DELETE", "DROP", "INSERT", "UPDATE"),
        "EXECUTE",
    }
)
"""Global privileges that change the server, its accounts or its files.

Source: https://mariadb.com/kb/en/grant/#global-privileges. Reading ones (PROCESS, BINLOG MONITOR, SELECT...) and
REPLICATION SLAVE, which a replica needs, are not among them.
"""
_MEMBERSHIPS = ("PROXY", "ROLE")
_WRITING = frozenset({"ALTER", "CREATE", "DELETE", "DROP", "INSERT", "UPDATE", ALL})

_NAME = r"(?:`(?:[^`]|``)+`|[^`.\s]+)"
_TARGET = re.compile(rf"(?:(FUNCTION|PROCEDURE|PACKAGE|PACKAGE BODY)\s+)?({_NAME}|\*)\.({_NAME}|\*)", re.IGNORECASE)
_LINE = re.compile(r"GRANT (?P<what>.+?) ON (?P<on>.+?) TO (?P<to>`.*)", re.DOTALL)
_ROLE = re.compile(r"GRANT (?P<role>`(?:[^`]|``)*`) TO `.*", re.DOTALL)
_QUOTED_TEXT = re.compile(r"'(?:[^'\\]|''|\\.)*'")


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Target:
    """What a grant is on.

    Attributes:
        kind: empty for tables and databases; C(FUNCTION), C(PROCEDURE)..., C(PROXY) or C(ROLE).
        schema: database (or pattern of databases), C(*) for all of them; the name of a C(ROLE).
        name: table or routine, C(*) for all of them.
    """

    kind: str
    schema: str
    name: str

    def __str__(self) -> str:
        if self.kind in _MEMBERSHIPS:
            return f"{self.kind} {self.schema}"
        return f"{self.kind} {self.schema}.{self.name}".strip()

    @property
    def everything(self) -> bool:
        """Whether it is every object of every database."""
        return (self.kind, self.schema, self.name) == ("", "*", "*")

    def sql(self) -> str:
        """As SQL writes it."""
        if self.kind == "PROXY":
            return self.schema
        schema, name = ("*" if part == "*" else identifier(part) for part in (self.schema, self.name))
        return f"{self.kind} {schema}.{name}".strip()


@dataclasses.dataclass(frozen=True, slots=True)
class Grant:
    """Privileges on one target, by the server's names, and whether they may be handed on."""

    privileges: frozenset[str] = frozenset()
    grant_option: bool = False

    def show(self) -> list[str]:
        """For a report, sorted."""
        return sorted(self.privileges) + (["GRANT OPTION"] if self.grant_option else [])


def parse_target(text: str, *, where: str = "") -> Target:
    """A target as a person writes it: C(*.*), C(openmrs.*), C(openmrs.patient), C(PROCEDURE openmrs.p).

    Raises:
        InputError: it is none of these.
    """
    match = _TARGET.fullmatch(text.strip())
    if not match:
        raise InputError(
            f"{text!r} is nothing that privileges can be granted on",
            where=where,
            remedy="Write *.*, database.*, database.table or PROCEDURE database.name",
        )
    kind, schema, name = match.groups()
    target = Target((kind or "").upper(), _bare(schema), _bare(name))
    if target.schema == "*" and target.name != "*":
        raise InputError(f"{text!r} names a table of every database", where=where, remedy="Name the database")
    return target


def parse_privileges(text: str) -> frozenset[str]:
    """Privileges separated by commas, by the server's names; columns of one are sorted."""
    found = set()
    for part in re.findall(r"[^,(]+(?:\([^)]*\))?", text):
        word, _bracket, columns = part.partition("(")
        name = " ".join(word.upper().split())
        name = _SYNONYMS.get(name, name)
        if not name:
            continue
        names = sorted(_bare(column.strip()) for column in columns.rstrip(")").split(",") if column.strip())
        found.add(f"{name} ({', '.join(names)})" if names else name)
    return frozenset(found - {"USAGE"})


def parse_grant(line: str) -> tuple[Target, Grant] | None:
    """One line of SHOW GRANTS; None for what is no grant (a default role).

    Passwords in the line are not looked at: what a user proves itself with is in mysql.global_priv.
    """
    if not line.startswith("GRANT "):
        return None
    role = _ROLE.fullmatch(line)
    if role:
        return Target("ROLE", _bare(role["role"]), ""), Grant(grant_option=line.endswith(" WITH ADMIN OPTION"))
    match = _LINE.fullmatch(line)
    if not match:
        return None
    options = _QUOTED_TEXT.sub("''", match["to"])
    grant_option = options.endswith(" WITH GRANT OPTION") or " GRANT OPTION" in options.rpartition(" WITH ")[2]
    if match["what"] == "PROXY":
        return Target("PROXY", match["on"].replace("`", "'"), ""), Grant(grant_option=grant_option)
    return parse_target(match["on"]), Grant(parse_privileges(match["what"]), grant_option)


def is_administrative(grants: Mapping[Target, Grant]) -> bool:
    """Whether these grants let somebody change the server, its accounts, or other people's rights."""
    for target, grant in grants.items():
        if grant.grant_option or target.kind in _MEMBERSHIPS:
            return True
        if target.everything and grant.privileges & ADMINISTRATIVE:
            return True
        if target.schema == "mysql" and {p.partition(" (")[0] for p in grant.privileges} & _WRITING:
            return True
    return False


def is_all(grants: Mapping[Target, Grant]) -> bool:
    """Whether they are everything, so that nothing else granted beside them makes a difference."""
    grant = grants.get(Target("", "*", "*"))
    return grant is not None and ALL in grant.privileges and grant.grant_option


def changes(
    desired: Mapping[Target, Grant], live: Mapping[Target, Grant]
) -> list[tuple[Target, Grant | None, Grant | None]]:
    """The targets whose grants differ, with both sides.

    What stands beside all privileges with the right to hand them on is left alone: it adds nothing.
    """
    targets = desired if is_all(desired) else {**live, **desired}
    return [
        (target, desired.get(target), live.get(target))
        for target in sorted(targets)
        if desired.get(target, Grant()) != live.get(target, Grant())
        or (target.kind in _MEMBERSHIPS and target not in desired)
    ]


def statements(who: str, target: Target, desired: Grant | None, live: Grant | None) -> list[str]:
    """SQL that turns the live grant into the desired one.

    Args:
        who: the account, quoted.
        target: what it is on.
        desired: the grant wanted, or None.
        live: the grant there is, or None.
    """
    if target.kind == "ROLE":
        return [f"REVOKE {identifier(target.schema)} FROM {who}"] if desired is None else []
    if target.kind == "PROXY":
        return [f"REVOKE PROXY ON {target.sql()} FROM {who}"] if desired is None else []
    want, have = desired or Grant(), live or Grant()
    found: list[str] = []
    surplus, lacking = have.privileges - want.privileges, want.privileges - have.privileges
    if ALL in surplus:
        lacking = want.privileges
    if ALL in want.privileges:
        surplus = frozenset()
    if surplus:
        found.append(f"REVOKE {_privileges(surplus)} ON {target.sql()} FROM {who}")
    if have.grant_option and not want.grant_option:
        found.append(f"REVOKE GRANT OPTION ON {target.sql()} FROM {who}")
    option = " WITH GRANT OPTION" if want.grant_option and not have.grant_option else ""
    if lacking or option:
        found.append(f"GRANT {_privileges(lacking) or 'USAGE'} ON {target.sql()} TO {who}{option}")
    return found


def _privileges(privileges: Iterable[str]) -> str:
    found = []
    for privilege in sorted(privileges):
        name, _bracket, columns = privilege.partition(" (")
        if columns:
            name += f" ({', '.join(identifier(column) for column in columns.rstrip(')').split(', '))})"
        found.append(name)
    return ", ".join(found)


def _bare(name: str) -> str:
    return name[1:-1].replace("``", "`") if name.startswith("`") and name.endswith("`") else name
