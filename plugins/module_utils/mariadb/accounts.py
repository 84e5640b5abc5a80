# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Accounts as plain data: what is wanted, what a server has, what to do about it, and that as SQL. Pure."""

from __future__ import annotations

import dataclasses
import datetime as dt
import fnmatch
import json
import typing as t
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.findings import Finding
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.plan import Action, Change
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb import grants as granting
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.grants import Grant, Target
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.sql import (
    account,
    identifier,
    password_hash,
)

__all__ = [
    "LIMITS",
    "PLUGINS",
    "REQUIRE",
    "SOURCE",
    "Account",
    "Step",
    "live_accounts",
    "parse_not_after",
    "plan",
    "plan_certificate",
    "plan_databases",
    "wanted_accounts",
]

SOURCE = "mariadb"
TYPE = "mariadb/account"
SERVER_TYPE = "mariadb/server"
DATABASE_TYPE = "mariadb/database"
ROLE_TYPE = "mariadb/role"

PLUGINS = ("mysql_native_password", "unix_socket")
REQUIRE = ("none", "ssl", "x509", "specified")
"""By the number that C(ssl_type) of mysql.global_priv holds. Source: MariaDB, sql/structs.h, enum SSL_type."""

LIMITS = {
    "max_queries_per_hour": "max_questions",
    "max_updates_per_hour": "max_updates",
    "max_connections_per_hour": "max_connections",
    "max_user_connections": "max_user_connections",
    "max_statement_time": "max_statement_time",
}
"""Limits by their name in SQL, with their name in mysql.global_priv.

Source: https://mariadb.com/kb/en/create-user/#resource-limit-options
"""

_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")

Fingerprint = Callable[[str], str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account, wanted or live.

    Attributes:
        user: its name; empty for anybody.
        host: where it may come from; C(%) is anywhere.
        plugins: how it proves itself; a live account may know several ways.
        hashes: for each plugin what it keeps, empty where it keeps nothing. None: it is not known yet what is wanted.
        require: one of REQUIRE.
        limits: by name in SQL, those that are not 0.
        locked: nobody may log in.
        grants: what it may do.
        role: it is a role, which nobody logs in as.
    """

    user: str
    host: str
    plugins: tuple[str, ...] = ("mysql_native_password",)
    hashes: tuple[str, ...] | None = ("",)
    require: str = "none"
    limits: Mapping[str, float] = dataclasses.field(default_factory=dict)
    locked: bool = False
    grants: Mapping[Target, Grant] = dataclasses.field(default_factory=dict)
    role: bool = False

    @property
    def name(self) -> str:
        """For people, and to tell accounts apart."""
        return self.user if self.role else f"{self.user}@{self.host}"

    @property
    def sql(self) -> str:
        """As SQL writes it."""
        return identifier(self.user) if self.role else account(self.user, self.host)

    def show(self, fingerprint: Fingerprint) -> dict[str, t.Any]:
        """For a report; a hash is a fingerprint."""
        shown: dict[str, t.Any] = {"authentication": {"plugin": " or ".join(self.plugins)}}
        if self.hashes is None or any(self.hashes):
            shown["authentication"]["password"] = _shown_hashes(self.hashes, fingerprint)
        grants = {str(target): grant.show() for target, grant in sorted(self.grants.items()) if grant != Grant()}
        return {**shown, "require": self.require, "limits": dict(self.limits), "locked": self.locked, "grants": grants}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """An action of the plan and its SQL, which may hold the hash of a password and is never shown."""

    action: Action
    statements: tuple[str, ...]


def wanted_accounts(
    entries: Sequence[Mapping[str, t.Any]],
    passwords: Mapping[str, str | None],
    previous: Mapping[str, str] | None = None,
) -> list[Account]:
    """The accounts that the option C(accounts) asks for.

    Args:
        entries: the option.
        passwords: password by account name; None while it is not known.
        previous: by account name, the password that is accepted too.

    Raises:
        InputError: an account twice, without a password, or with more rights than its host allows.
    """
    found: dict[str, Account] = {}
    for entry in entries:
        wanted = _wanted(entry, passwords, previous or {})
        if wanted.name in found:
            raise InputError("the account is declared twice", where=wanted.name, remedy="Keep one of the entries")
        if wanted.host not in _LOCAL_HOSTS and granting.is_administrative(wanted.grants):
            raise InputError(
                f"an account that may come from {wanted.host} would have administrative privileges",
                where=wanted.name,
                remedy="Grant less, or restrict its host to localhost",
            )
        found[wanted.name] = wanted
    return list(found.values())


def _wanted(entry: Mapping[str, t.Any], passwords: Mapping[str, str | None], previous: Mapping[str, str]) -> Account:
    name = f"{entry['user']}@{entry['host']}"
    if not entry["user"]:
        raise InputError("an account needs a name", where=name, remedy="Give user")
    if entry["plugin"] == "unix_socket":
        hashes: tuple[str, ...] | None = ("",)
        if entry["host"] != "localhost":
            raise InputError(
                "unix_socket works on the server's machine only", where=name, remedy="Set host to localhost"
            )
    else:
        password = passwords.get(name)
        if password == "":
            raise InputError("its password is empty", where=name, remedy="Give a password, from the vault")
        # The new one first: who knows it is let in at the first question.
        accepted = dict.fromkeys(filter(None, (password, previous.get(name))))
        hashes = None if password is None else tuple(map(password_hash, accepted))
    return Account(
        user=entry["user"],
        host=entry["host"],
        plugins=(entry["plugin"],) * len(hashes or (entry["plugin"],)),
        hashes=hashes,
        require=entry["require"],
        limits={limit: float(value) for limit, value in sorted((entry.get("limits") or {}).items()) if value},
        locked=bool(entry.get("locked")),
        grants=_wanted_grants(entry.get("grants") or (), where=name),
    )


def _wanted_grants(entries: Iterable[Mapping[str, t.Any]], *, where: str) -> dict[Target, Grant]:
    found: dict[Target, Grant] = {}
    for entry in entries:
        target = granting.parse_target(entry["on"], where=where)
        if target in found:
            raise InputError(f"{target} is granted on twice", where=where, remedy="Join the two entries")
        privileges = granting.parse_privileges(", ".join(entry["privileges"]))
        if granting.ALL in privileges and len(privileges) > 1:
            raise InputError(f"{granting.ALL} on {target} stands beside others", where=where, remedy="Keep one of them")
        found[target] = Grant(privileges, bool(entry.get("grant_option")))
    return found


def live_accounts(rows: Iterable[Mapping[str, str]], grants: Mapping[str, Sequence[str]]) -> dict[str, Account]:
    """The accounts of a server, by name.

    Args:
        rows: C(User), C(Host) and C(Priv) of mysql.global_priv.
        grants: lines of SHOW GRANTS, by account name.
    """
    found = {}
    for row in rows:
        private = json.loads(row["Priv"])
        ways = _ways(private)
        live = Account(
            user=row["User"],
            host=row["Host"],
            plugins=tuple(way.get("plugin") or PLUGINS[0] for way in ways),
            hashes=tuple(way.get("authentication_string") or "" for way in ways),
            require=REQUIRE[int(private.get("ssl_type") or 0)],
            limits={name: float(private[key]) for name, key in sorted(LIMITS.items()) if private.get(key)},
            locked=bool(private.get("account_locked")),
            role=bool(private.get("is_role")),
        )
        parsed = [granting.parse_grant(line) for line in grants.get(live.name, ())]
        live = dataclasses.replace(live, grants=dict(entry for entry in parsed if entry is not None))
        found[live.name] = live
    return found


def _ways(private: Mapping[str, t.Any]) -> list[Mapping[str, t.Any]]:
    """The ways to log in; an empty object in C(auth_or) stands for the one beside it."""
    own = {key: private.get(key) for key in ("plugin", "authentication_string")}
    return [way or own for way in private.get("auth_or") or [own]]


def plan(
    wanted: Sequence[Account],
    live: Mapping[str, Account],
    *,
    pod: str,
    left_alone: Sequence[str],
    remove: bool,
    fingerprint: Fingerprint,
) -> tuple[list[Step], list[Finding]]:
    """What to do on one server, in order, and what to report.

    Args:
        wanted: the accounts declared.
        live: the server's, by name.
        pod: C(namespace/pod) of the server.
        left_alone: patterns of names that are nobody's business here, such as the image's health check.
        remove: also remove what nobody declared.
        fingerprint: what stands for a secret in a report.
    """
    steps: list[Step] = []
    findings: list[Finding] = []
    for account_ in wanted:
        found_steps, found = _converge(account_, live.get(account_.name), pod, fingerprint)
        steps += found_steps
        findings += found
    declared = {account_.name for account_ in wanted}
    for name, surplus in sorted(live.items()):
        if name in declared or any(fnmatch.fnmatchcase(name, pattern) for pattern in left_alone):
            continue
        step, finding = _surplus(surplus, pod, fingerprint, remove=remove)
        steps += [step] if step else []
        findings.append(finding)
    return steps, findings


def plan_databases(wanted: Sequence[str], live: Collection[str], *, pod: str) -> tuple[list[Step], list[Finding]]:
    """The databases to make on one server. None is ever altered or dropped."""
    steps, findings = [], []
    for name in wanted:
        if name in live:
            continue
        resource = f"MariaDBDatabase/{pod}/{name}"
        action = Action(verb="create", resource=resource, type=DATABASE_TYPE, document={"name": name})
        steps.append(Step(action=action, statements=(f"CREATE DATABASE IF NOT EXISTS {identifier(name)}",)))
        findings.append(
            Finding(
                source=SOURCE,
                resource=resource,
                type=DATABASE_TYPE,
                verdict="missing",
                action="create",
                message="it does not exist",
            )
        )
    return steps, findings


def plan_certificate(renewed: dt.datetime, served: dt.datetime | None, *, pod: str) -> tuple[list[Step], list[Finding]]:
    """Have a renewed certificate read: the server does that for new connections, and keeps the others.

    Args:
        renewed: when the certificate in the file ends.
        served: when the one in use ends; None while the server has none.
        pod: C(namespace/pod) of the server.

    Source: https://mariadb.com/kb/en/flush/ (C(FLUSH SSL)).
    """
    if renewed == served:
        return [], []
    resource, shown = f"MariaDBServer/{pod}", served.isoformat() if served else None
    change = Change("certificate.notAfter", renewed.isoformat(), shown)
    action = Action(verb="update", resource=resource, type=SERVER_TYPE, changes=[change])
    finding = dataclasses.replace(_drift(resource, change), type=SERVER_TYPE)
    return [Step(action=action, statements=("FLUSH SSL",))], [finding]


def parse_not_after(text: str) -> dt.datetime | None:
    """The end of a certificate as OpenSSL prints it: C(Nov 26 21:44:20 2026 GMT)."""
    if not text:
        return None
    return dt.datetime.strptime(" ".join(text.split()), "%b %d %H:%M:%S %Y %Z").replace(tzinfo=dt.UTC)


def _converge(
    wanted: Account, live: Account | None, pod: str, fingerprint: Fingerprint
) -> tuple[list[Step], list[Finding]]:
    resource = _resource(pod, wanted)
    if live is None:
        action = Action(
            verb="create",
            resource=resource,
            type=TYPE,
            document=wanted.show(fingerprint),
            unverified=wanted.hashes is None,
        )
        message = "it does not exist"
        found = Finding(
            source=SOURCE, resource=resource, type=TYPE, verdict="missing", action="create", message=message
        )
        return [Step(action=action, statements=_create(wanted))], [found]
    changes, sql = [*_login_changes(wanted, live, fingerprint)], []
    if changes:
        sql.append(f"ALTER USER {wanted.sql} {_definition(wanted)}")
    for target, desired, present in granting.changes(wanted.grants, live.grants):
        changes.append(Change(f"grants[{target}]", (desired or Grant()).show(), (present or Grant()).show()))
        sql += granting.statements(wanted.sql, target, desired, present)
    findings = [_drift(resource, change) for change in changes]
    if wanted.hashes is None:
        findings.append(_unknown_password(resource))
    if not changes:
        return [], findings
    return [
        Step(
            action=Action(verb="update", resource=resource, type=TYPE, changes=changes),
            statements=tuple(sql),
        )
    ], findings


def _login_changes(wanted: Account, live: Account, fingerprint: Fingerprint) -> list[Change]:
    changes = []
    if wanted.plugins != live.plugins:
        changes.append(Change("authentication.plugin", " or ".join(wanted.plugins), " or ".join(live.plugins)))
    if wanted.hashes is not None and wanted.hashes != live.hashes:
        both = [_shown_hashes(hashes, fingerprint) for hashes in (wanted.hashes, live.hashes)]
        changes.append(Change("authentication.password", *both))
    if wanted.require != live.require:
        changes.append(Change("require", wanted.require, live.require))
    for limit in LIMITS:
        have, want = live.limits.get(limit, 0), wanted.limits.get(limit, 0)
        if have != want:
            changes.append(Change(f"limits.{limit}", want, have))
    if wanted.locked != live.locked:
        changes.append(Change("locked", wanted.locked, live.locked))
    return changes


def _surplus(surplus: Account, pod: str, fingerprint: Fingerprint, *, remove: bool) -> tuple[Step | None, Finding]:
    resource, kind = _resource(pod, surplus), ROLE_TYPE if surplus.role else TYPE
    shown = surplus.show(fingerprint)
    why = ["nobody declared it"]
    if not surplus.user:
        why.append("anybody may log in as it")
    if not surplus.role and not surplus.locked and surplus.plugins == PLUGINS[:1] and surplus.hashes == ("",):
        why.append("it has no password")
    if not surplus.role and surplus.host not in _LOCAL_HOSTS and granting.is_administrative(surplus.grants):
        why.append("it administers the server from the network")
    finding = Finding(
        source=SOURCE,
        resource=resource,
        type=kind,
        verdict="unexpected",
        action="delete" if remove else "",
        live=shown,
        message=", ".join(why) + ("" if remove else ": declare it, or have it removed (remove_unexpected)"),
    )
    if not remove:
        return None, finding
    drop = f"DROP {'ROLE' if surplus.role else 'USER'} IF EXISTS {surplus.sql}"
    action = Action(verb="delete", resource=resource, type=kind, live=shown)
    return Step(action=action, statements=(drop,)), finding


def _create(wanted: Account) -> tuple[str, ...]:
    grants = [
        statement
        for target, grant in sorted(wanted.grants.items())
        for statement in granting.statements(wanted.sql, target, grant, None)
    ]
    return (f"CREATE USER {wanted.sql} {_definition(wanted)}", *grants)


def _definition(wanted: Account) -> str:
    parts = []
    if wanted.hashes is not None:
        # By hash: no clear text reaches the server's logs. https://mariadb.com/kb/en/create-user/ (several ways, by OR)
        ways = zip(wanted.plugins, wanted.hashes, strict=True)
        parts.append("IDENTIFIED VIA " + " OR ".join(f"{way} USING '{value}'" if value else way for way, value in ways))
    parts.append(f"REQUIRE {wanted.require.upper()}")
    limits = [f"{limit.upper()} {wanted.limits.get(limit, 0):g}" for limit in LIMITS]
    parts.append(f"WITH {' '.join(limits)}")
    parts.append(f"ACCOUNT {'LOCK' if wanted.locked else 'UNLOCK'}")
    return " ".join(parts)


def _resource(pod: str, account_: Account) -> str:
    return f"{'MariaDBRole' if account_.role else 'MariaDBAccount'}/{pod}/{account_.name}"


def _drift(resource: str, change: Change) -> Finding:
    return Finding(
        source=SOURCE,
        resource=resource,
        type=TYPE,
        path=change.path,
        verdict="drift",
        action="update",
        desired=change.desired,
        live=change.live,
    )


def _unknown_password(resource: str) -> Finding:
    return Finding(
        source=SOURCE,
        resource=resource,
        type=TYPE,
        path="authentication.password",
        verdict="not_verifiable",
        message="its password is not in the vault yet",
    )


def _shown_hashes(hashes: Sequence[str] | None, fingerprint: Fingerprint) -> str:
    if hashes is None:
        return "known after apply"
    return " or ".join(fingerprint(value) if value else "none" for value in hashes)
