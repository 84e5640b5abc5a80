# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Converge the accounts of every server: read, compare, plan, apply, report."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import time
import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.plan import Action
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.accounts import (
    Account,
    live_accounts,
    parse_not_after,
    plan,
    plan_certificate,
    plan_databases,
    wanted_accounts,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.runner import Base
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.session import Session
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.certificates import read_certificate

__all__ = ["AccountsRunner", "Options", "read_certificates", "read_server"]

_CERTIFICATE_POLL = 5.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user asked for.

    Attributes:
        databases: databases that must exist.
        certificate_file: on the server's machine, the certificate it should serve.
        certificate: what that file should hold; empty when that does not matter.
        certificate_timeout: seconds to wait until it does.
        left_alone: patterns of accounts that are none of this run's business.
        remove: remove accounts that nobody declared.
    """

    databases: tuple[str, ...] = ()
    certificate_file: str = ""
    certificate: str = ""
    certificate_timeout: float = 0.0
    left_alone: tuple[str, ...] = ()
    remove: bool = False


class AccountsRunner(Base):
    """One run of C(mariadb_accounts); see Base."""

    kind = "MariaDBAccounts"

    def run(
        self,
        entries: Sequence[Mapping[str, t.Any]],
        passwords: Mapping[str, str | None],
        options: Options,
        *,
        previous: Mapping[str, str] | None = None,
    ) -> dict[str, t.Any]:
        """Make the accounts of every server those that are declared.

        Args:
            entries: the option C(accounts).
            passwords: password by account name; None while it is not known.
            options: what else was asked for.
            previous: by account name, the password that is accepted too, if any.

        Raises:
            PlatformError: with what is known so far, once there is a report.
        """
        wanted = wanted_accounts(entries, passwords, previous)
        for password in filter(None, [*passwords.values(), *(previous or {}).values()]):
            self._report.redactor.add(password)
        for value in (hash_ for account in wanted for hash_ in account.hashes or ()):
            self._report.redactor.add(value)
        with self._report.reporting(self._outcome):
            self._run(wanted, options)
        return self._result()

    def _run(self, wanted: Sequence[Account], options: Options) -> None:
        todo: list[tuple[Action, Callable[[], None]]] = []
        servers = self._servers()
        for place, session in servers:
            with self._report.timing.phase("read"):
                databases, live = read_server(session)
            self._learn(live)
            steps, findings = plan_databases(options.databases, databases, pod=place)
            if options.certificate_file:
                self._await_certificate(session, options)
                renewed, found = plan_certificate(*read_certificates(session, options.certificate_file), pod=place)
                steps, findings = [*steps, *renewed], [*findings, *found]
            more, found = plan(
                wanted,
                live,
                pod=place,
                left_alone=options.left_alone,
                remove=options.remove,
                fingerprint=self._report.redactor.fingerprint,
            )
            todo += [(step.action, functools.partial(session.execute, step.statements)) for step in [*steps, *more]]
            self._report.findings += [*findings, *found]
            self._show(place, live)
        self._report.actions = [action for action, _write in todo]
        self._approve()
        self._write(todo)
        if self._wrote:
            for place, session in servers:
                self._show(place, read_server(session)[1])

    def _await_certificate(self, session: Session, options: Options) -> None:
        """Until the kubelet has brought the certificate; what it does not bring in time is left to the next run."""
        deadline = time.monotonic() + (0.0 if self._check else options.certificate_timeout)
        expected = options.certificate.strip()
        if not expected or session.read_file(options.certificate_file).strip() == expected:
            return
        with self._report.progress.waiting(f"{session.where} has not got the new certificate yet"):
            while time.monotonic() < deadline:
                time.sleep(_CERTIFICATE_POLL)
                if session.read_file(options.certificate_file).strip() == expected:
                    return

    def _learn(self, live: Mapping[str, Account]) -> None:
        for value in (hash_ for account in live.values() for hash_ in account.hashes or () if hash_):
            self._report.redactor.add(value)

    def _show(self, place: str, live: Mapping[str, Account]) -> None:
        report, own = self._report, f"MariaDBAccount/{place}/"
        others = {name: shown for name, shown in report.resources.items() if not name.startswith(own)}
        mine = {own + name: account.show(report.redactor.fingerprint) for name, account in live.items()}
        report.resources = {**others, **mine}


def read_server(session: Session) -> tuple[frozenset[str], dict[str, Account]]:
    """The databases and the accounts, by name, of one server.

    Raises:
        MariaDBError: they cannot be read.
    """
    databases, rows = session.query(
        [
            "SELECT schema_name AS name FROM information_schema.schemata",
            "SELECT User, Host, Priv FROM mysql.global_priv ORDER BY User, Host",
        ]
    )
    accounts = live_accounts(rows, {})
    asked = [account for account in accounts.values() if not account.role]
    # One that no connection can ever match (a host name under skip_name_resolve) has no grants to show.
    told = session.query([f"SHOW GRANTS FOR {account.sql}" for account in asked], keep_going=True)
    grants = {
        account.name: [value for row in lines for value in row.values()]
        for account, lines in zip(asked, told, strict=True)
    }
    return frozenset(row["name"] for row in databases), live_accounts(rows, grants)


def read_certificates(session: Session, file: str) -> tuple[dt.datetime, dt.datetime | None]:
    """When the certificate in the file ends, and when the one that the server serves does (None: it serves none).

    Raises:
        MariaDBError: one of them cannot be read.
    """
    ((served,),) = session.query(["SHOW GLOBAL STATUS LIKE 'Ssl_server_not_after'"])
    ends = read_certificate(session.read_file(file), where=f"{session.where} {file}").not_after
    return ends, parse_not_after(served["Value"])
