# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Converge the secrets of a vault: read, compare, plan, apply, report."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import time
import typing as t
from collections.abc import Callable, Iterator, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.arm.errors import ArmError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError, PlatformError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.plan import check_expected, plan_digest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.progress import Progress
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.redaction import Redactor
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.result import build_result
from ansible_collections.audioprothese.platform.plugins.module_utils.vault import certificates, passwords
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.plan import (
    Observed,
    Outcome,
    Stored,
    plan,
    resource_id,
)

if t.TYPE_CHECKING:
    from ansible_collections.audioprothese.platform.plugins.module_utils.converge.plan import Action
    from ansible_collections.audioprothese.platform.plugins.module_utils.vault.wanted import Wanted

__all__ = ["ApplyFailed", "Options", "Runner", "Vault"]

FORBIDDEN = 403
ACCESS_POLL_SECONDS = 5.0


class Vault(t.Protocol):
    """What the runner asks of a vault; see C(client.VaultClient)."""

    def exists(self) -> bool: ...  # noqa: D102

    def list(self) -> dict[str, Stored]: ...  # noqa: D102

    def deleted(self) -> frozenset[str]: ...  # noqa: D102

    def get(self, name: str) -> str | None: ...  # noqa: D102

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


class ApplyFailed(PlatformError):
    """A write failed; C(outcome) is the result as far as it is known."""

    def __init__(self, cause: PlatformError, outcome: Mapping[str, t.Any]) -> None:
        super().__init__(cause.what, where=cause.where, remedy=cause.remedy)
        self.outcome = dict(outcome)


class Runner:
    """One run of the module.

    Args:
        vault: the vault.
        options: what the user asked for.
        hold: takes the environment's lease and gives what to call before each write.
        learn: told every new value, so that Ansible keeps it out of its own output.
        requests: counts of the requests made.
        progress: tells the user what is going on.
        now: the time of the run.
    """

    def __init__(
        self,
        vault: Vault,
        options: Options,
        *,
        hold: Callable[[], Callable[[], None]] = lambda: lambda: None,
        learn: Callable[[str], None] = lambda value: None,
        requests: Callable[[], Mapping[str, t.Any]] = dict,
        progress: Progress | None = None,
        now: dt.datetime | None = None,
    ) -> None:
        self._vault, self._options, self._hold, self._requests = vault, options, hold, requests
        self._learn_too = learn
        self._progress = progress or Progress()
        self._now = now or dt.datetime.now(dt.UTC)
        # No value is ever compared or reported, so fingerprints need no key of the environment.
        self._redactor = Redactor()
        self._timing: dict[str, float] = {}

    def run(self, wanted: Sequence[Wanted]) -> dict[str, t.Any]:
        """Make sure that the secrets exist.

        Raises:
            PlatformError: before the first write.
            ApplyFailed: a write failed, with what was done until then.
        """
        with self._timed("read"):
            observed = self._observe(wanted)
        with self._timed("plan"):
            outcome = plan(
                wanted,
                observed,
                vault_id=self._options.vault_id,
                now=self._now,
                renew_before_days=self._options.renew_before_days,
            )
        check_expected(plan_digest(outcome.actions), None if self._options.check else self._options.expect_plan)
        secrets = observed.secrets
        if not self._options.check and outcome.actions:
            secrets = self._apply(outcome, observed)
        return self._result(outcome, wanted, secrets)

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
                self._progress.say("the vault refuses this identity: waiting for a new role assignment to take effect")
                told = True
            time.sleep(ACCESS_POLL_SECONDS)

    def _apply(self, outcome: Outcome, observed: Observed) -> Mapping[str, Stored]:
        before_write = self._hold()
        done: list[Action] = []
        with self._timed("apply"):
            for action in outcome.actions:
                try:
                    before_write()
                    self._write(action, outcome.wanted[action.resource], observed)
                except PlatformError as exc:
                    rest = dataclasses.replace(outcome, actions=done)
                    raise ApplyFailed(exc, self._result(rest, list(outcome.wanted.values()), observed.secrets)) from exc
                done.append(action)
            return self._vault.list()

    def _write(self, action: Action, secret: Wanted, observed: Observed) -> None:
        self._progress.say(f"{action.verb} the secret {secret.name}")
        if action.verb == "recover":
            self._vault.recover(secret.name)
        elif action.verb == "update":
            tags = {**observed.secrets[secret.name.lower()].tags, **secret.tags}
            self._vault.update(secret.name, content_type=secret.content_type, tags=tags)
        else:
            ends = dt.timedelta(days=secret.expires_days) if secret.expires_days is not None else None
            self._vault.set(
                secret.name,
                self._make(secret),
                content_type=secret.content_type,
                tags=secret.tags,
                expires_on=self._now + ends if ends is not None else None,
            )

    def _make(self, secret: Wanted) -> str:
        if secret.part == "password":
            return self._learn(passwords.random_password(length=secret.length, alphabet=secret.alphabet))
        if secret.part == "key":
            return self._learn(passwords.random_key(length=secret.length))
        if secret.part == "private_key":
            return self._learn(certificates.signing_key(authority=secret.authority))
        key = self._stored_value(f"{secret.pair}-key", needed_for=secret)
        if secret.authority:
            return certificates.certificate_authority(
                key_pem=key, common_name=secret.common_name, validity_days=secret.validity_days, now=self._now
            )
        return certificates.issue_certificate(
            key_pem=key,
            issuer_key_pem=self._stored_value(f"{secret.issuer}-key", needed_for=secret),
            issuer_certificate_pem=self._stored_value(f"{secret.issuer}-certificate", needed_for=secret),
            common_name=secret.common_name,
            dns_names=secret.dns_names,
            validity_days=secret.validity_days,
            now=self._now,
        )

    def _stored_value(self, name: str, *, needed_for: Wanted) -> str:
        value = self._vault.get(name)
        if value is None:
            raise InputError(
                f"the secret {name} is needed to issue it and is not there",
                where=resource_id(self._options.vault_id, needed_for.name),
                remedy="Run again; another writer removed it",
            )
        return self._learn(value) if name.endswith("-key") else value

    def _learn(self, value: str) -> str:
        self._redactor.add(value)
        self._learn_too(value)
        return value

    def _result(self, outcome: Outcome, wanted: Sequence[Wanted], secrets: Mapping[str, Stored]) -> dict[str, t.Any]:
        live = {
            resource_id(self._options.vault_id, secret.name): _shown(secrets[secret.name.lower()])
            for secret in wanted
            if secret.name.lower() in secrets
        }
        return build_result(
            resources=live,
            findings=outcome.findings,
            actions=outcome.actions,
            timing={**self._timing, "total": sum(self._timing.values())},
            requests=self._requests(),
            redactor=self._redactor,
        )

    @contextlib.contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self._timing[phase] = self._timing.get(phase, 0.0) + time.monotonic() - started


def _shown(stored: Stored) -> dict[str, t.Any]:
    return {
        "name": stored.name,
        "contentType": stored.content_type,
        "enabled": stored.enabled,
        "expiresOn": stored.expires_on.isoformat() if stored.expires_on else None,
        "tags": dict(stored.tags),
    }
