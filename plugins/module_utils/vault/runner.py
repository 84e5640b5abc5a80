# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Converge the secrets of a vault: read, compare, plan, apply, report."""

from __future__ import annotations

import dataclasses
import datetime as dt
import time
import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.arm.errors import ArmError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.report import Report
from ansible_collections.audioprothese.platform.plugins.module_utils.vault import certificates
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.maker import Maker
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.plan import (
    Observed,
    Outcome,
    Stored,
    plan,
    resource_id,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.rotation import Current, opened

if t.TYPE_CHECKING:
    from ansible_collections.audioprothese.platform.plugins.module_utils.converge.plan import Action
    from ansible_collections.audioprothese.platform.plugins.module_utils.vault.wanted import Wanted

__all__ = ["Options", "Runner", "Vault", "shown", "shown_of"]

FORBIDDEN = 403
ACCESS_POLL_SECONDS = 5.0


class Vault(t.Protocol):
    """What the runner asks of a vault; see C(client.VaultClient)."""

    def exists(self) -> bool: ...  # noqa: D102

    def list(self) -> dict[str, Stored]: ...  # noqa: D102

    def deleted(self) -> frozenset[str]: ...  # noqa: D102

    def get(self, name: str) -> str | None: ...  # noqa: D102

    def read(self, name: str, version: str = "") -> Current | None: ...  # noqa: D102

    def set(  # noqa: D102
        self,
        name: str,
        value: str,
        *,
        content_type: str = "",
        tags: Mapping[str, str] | None = None,
        expires_on: dt.datetime | None = None,
    ) -> None: ...

    def update(self, name: str, *, content_type: str, tags: Mapping[str, str]) -> None: ...  # noqa: D102

    def recover(self, name: str) -> None: ...  # noqa: D102


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user asked for.

    Attributes:
        vault_id: ARM id of the vault.
        check: write nothing.
        expect_plan: digest of the approved plan, or empty.
        renew_before_days: report what ends sooner.
        access_timeout: seconds to wait in a real run until a new role assignment takes effect.
    """

    vault_id: str
    check: bool = False
    expect_plan: str = ""
    renew_before_days: int = 30
    access_timeout: float = 0.0


class Runner:
    """One run of the module.

    Args:
        vault: the vault.
        options: what the user asked for.
        hold: takes the environment's lease and gives what to call before each write.
        learn: told every new value, so that Ansible keeps it out of its own output.
        report: gets what is found and done.
    """

    def __init__(
        self,
        vault: Vault,
        options: Options,
        *,
        hold: Callable[[], Callable[[], None]] = lambda: lambda: None,
        learn: Callable[[str], None] = lambda value: None,
        report: Report | None = None,
    ) -> None:
        self._vault, self._options, self._hold, self._learn_too = vault, options, hold, learn
        # No value is ever compared or reported, so fingerprints need no key of the environment.
        self._report = report or Report()
        self._now = dt.datetime.now(dt.UTC)
        self._maker = Maker(vault, vault_id=options.vault_id, learn=self._learn, now=self._now)

    def run(self, wanted: Sequence[Wanted]) -> dict[str, t.Any]:
        """Make sure that the secrets exist.

        Raises:
            PlatformError: before the first write.
            OutcomeError: a write failed, with what was done until then.
        """
        report, check = self._report, self._options.check
        with report.timing.phase("read"):
            observed = self._observe(wanted)
        with report.timing.phase("plan"):
            outcome = plan(
                wanted,
                observed,
                vault_id=self._options.vault_id,
                now=self._now,
                renew_before_days=self._options.renew_before_days,
            )
        report.findings, report.actions = outcome.findings, outcome.actions
        names = [secret.name for secret in wanted]
        report.resources = shown_of(self._options.vault_id, names, observed.secrets)
        report.check_expected(None if check else self._options.expect_plan)
        if not check and outcome.actions:
            before_write = self._hold()
            with report.timing.phase("apply"):
                self._apply(outcome, observed, before_write)
                report.resources = shown_of(self._options.vault_id, names, self._vault.list())
        return report.result()

    def _observe(self, wanted: Sequence[Wanted]) -> Observed:
        if not self._vault.exists():
            if not self._options.check:
                raise InputError(
                    "the vault does not exist",
                    where=self._options.vault_id,
                    remedy="Create it first (role key_vault), or correct vault_id",
                )
            return Observed(exists=False)
        secrets = self._with_access(self._vault.list)
        missing = [secret for secret in wanted if secret.name.lower() not in secrets]
        return Observed(
            exists=True,
            secrets=secrets,
            deleted=self._vault.deleted() if missing else frozenset(),
            certificates=self._certificates(wanted, secrets),
        )

    def _certificates(
        self, wanted: Sequence[Wanted], secrets: Mapping[str, Stored]
    ) -> dict[str, certificates.CertificateFacts]:
        found: dict[str, certificates.CertificateFacts] = {}
        for secret in wanted:
            stored = secrets.get(secret.name.lower())
            if secret.part != "certificate" or stored is None or not stored.enabled:
                continue
            value = self._vault.get(secret.name)
            if value is not None:
                where = resource_id(self._options.vault_id, secret.name)
                found[secret.name.lower()] = certificates.read_certificate(value, where=where)
        return found

    def _with_access(self, read: Callable[[], dict[str, Stored]]) -> dict[str, Stored]:
        deadline = time.monotonic() + (0.0 if self._options.check else self._options.access_timeout)
        told = False
        while True:
            try:
                return read()
            except ArmError as exc:
                if exc.status != FORBIDDEN or time.monotonic() + ACCESS_POLL_SECONDS > deadline:
                    raise
            if not told:
                self._report.progress.say(
                    "the vault refuses this identity: waiting for a new role assignment to take effect"
                )
                told = True
            time.sleep(ACCESS_POLL_SECONDS)

    def _apply(self, outcome: Outcome, observed: Observed, before_write: Callable[[], None]) -> None:
        self._report.actions = []
        with self._report.reporting():
            for action in outcome.actions:
                before_write()
                self._write(action, outcome.wanted[action.resource], observed)
                self._report.actions.append(action)

    def _write(self, action: Action, secret: Wanted, observed: Observed) -> None:
        self._report.progress.say(f"{action.verb} the secret {secret.name}")
        if action.verb == "recover":
            self._vault.recover(secret.name)
        elif action.verb == "renew":
            before = self._vault.read(secret.name)
            tags = {**observed.secrets[secret.name.lower()].tags, **secret.tags}
            tags |= opened(before.version if before else "")
            value = self._maker.make(secret)
            self._vault.set(secret.name, value, content_type=secret.content_type, tags=tags)
        elif action.verb == "update":
            tags = {**observed.secrets[secret.name.lower()].tags, **secret.tags}
            self._vault.update(secret.name, content_type=secret.content_type, tags=tags)
        else:
            self._vault.set(
                secret.name,
                self._maker.make(secret),
                content_type=secret.content_type,
                tags=secret.tags,
                expires_on=secret.expires_on(self._now),
            )

    def _learn(self, value: str) -> str:
        self._report.redactor.add(value)
        self._learn_too(value)
        return value


def shown(stored: Stored) -> dict[str, t.Any]:
    """A secret as a result shows it."""
    return {
        "name": stored.name,
        "contentType": stored.content_type,
        "enabled": stored.enabled,
        "expiresOn": stored.expires_on.isoformat() if stored.expires_on else None,
        "tags": dict(stored.tags),
    }


def shown_of(vault_id: str, names: Iterable[str], secrets: Mapping[str, Stored]) -> dict[str, t.Any]:
    """Those of the secrets that are there, as a result shows them, by resource id.

    Args:
        vault_id: ARM id of the vault.
        names: the secrets.
        secrets: what the vault has, by name in lower case.
    """
    return {resource_id(vault_id, name): shown(secrets[name.lower()]) for name in names if name.lower() in secrets}
