# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Converge one certificate of a public authority: read, compare, plan, order and write, report.

An order is written down in the vault, with the key that it is for, before it is worked on. So a run that is interrupted
anywhere is continued by the next one with the same order, and what was issued is never lost.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.acme.authority import signing_request
from ansible_collections.audioprothese.platform.plugins.module_utils.acme.errors import AcmeError
from ansible_collections.audioprothese.platform.plugins.module_utils.acme.plan import (
    Observed,
    Outcome,
    plan,
    renewal_time,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.acme.records import record_name
from ansible_collections.audioprothese.platform.plugins.module_utils.acme.wanted import (
    CONTENT_TYPE,
    Request,
    Zone,
    zone_of,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError, PlatformError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.report import Report
from ansible_collections.audioprothese.platform.plugins.module_utils.vault import certificates
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.plan import Stored, resource_id
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.runner import Vault, shown_of

if t.TYPE_CHECKING:
    from ansible_collections.audioprothese.platform.plugins.module_utils.acme.authority import Order, Proof

__all__ = ["Authority", "Options", "Records", "Runner"]

ORDER_CONTENT_TYPE: t.Final = "application/json"


class Records(t.Protocol):
    """What the runner asks of the public zones; see C(records.ChallengeRecords)."""

    def exists(self, zone: Zone) -> bool: ...  # noqa: D102

    def publish(self, zone: Zone, name: str, values: Sequence[str]) -> None: ...  # noqa: D102

    def withdraw(self, zone: Zone, name: str, values: Sequence[str] = ()) -> None: ...  # noqa: D102

    def wait(self, expected: Mapping[tuple[Zone, str], Sequence[str]], timeout: float) -> None: ...  # noqa: D102


class Authority(t.Protocol):
    """What the runner asks of the authority; see C(authority.Authority)."""

    def sign_in(self, contact: str) -> None: ...  # noqa: D102

    def order(self, csr: bytes, profile: str) -> Order: ...  # noqa: D102

    def find(self, url: str, csr: bytes) -> Order | None: ...  # noqa: D102

    def proofs(self, order: Order) -> list[Proof]: ...  # noqa: D102

    def answer(self, proofs: Sequence[Proof]) -> None: ...  # noqa: D102

    def await_proofs(self, order: Order) -> None: ...  # noqa: D102

    def collect(self, order: Order) -> str: ...  # noqa: D102


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to run.

    Attributes:
        check: write nothing and ask no authority.
        expect_plan: digest of the approved plan, or empty.
    """

    check: bool = False
    expect_plan: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class _Begun:
    """An order that was written down.

    Attributes:
        url: its address at the authority.
        names: what it is for.
        key: the private key it is for, PEM.
    """

    url: str
    names: tuple[str, ...]
    key: str


class Runner:
    """One run of the module.

    Args:
        vault: keeps certificate, keys and the order.
        records: the public zones.
        authority: makes the authority's client for an account's private key; asked for only when something is ordered.
        options: how to run.
        hold: takes the environment's lease and gives what to call before each write.
        learn: told every private value, so that Ansible keeps it out of its own output.
        report: gets what is found and done.
    """

    def __init__(
        self,
        vault: Vault,
        records: Records,
        authority: Callable[[str], Authority],
        options: Options,
        *,
        hold: Callable[[], Callable[[], None]] = lambda: lambda: None,
        learn: Callable[[str], None] = lambda value: None,
        report: Report | None = None,
    ) -> None:
        self._vault, self._records, self._authority, self._options = vault, records, authority, options
        self._hold, self._learn_too = hold, learn
        self._report = report or Report()
        self._progress, self._redactor = self._report.progress, self._report.redactor
        self._now = dt.datetime.now(dt.UTC)
        self._before_write: Callable[[], None] = lambda: None

    def run(self, request: Request) -> dict[str, t.Any]:
        """Make sure that the certificate is there, for the right names and not about to end.

        Raises:
            PlatformError: before the first write.
            OutcomeError: later; the certificate that was there stays in use.
        """
        report, names = self._report, (request.account_key, request.certificate, request.key)
        with report.timing.phase("read"):
            observed = self._observe(request)
        with report.timing.phase("plan"):
            outcome = plan(request, observed, now=self._now)
        report.findings, report.actions = outcome.findings, outcome.actions
        report.resources = shown_of(request.vault_id, names, observed.secrets)
        report.check_expected(None if self._options.check else self._options.expect_plan)
        if outcome.actions and not self._options.check:
            self._before_write = self._hold()
            with report.timing.phase("apply"):
                report.actions = []  # nothing counts as done before the certificate is there
                with report.reporting():
                    self._apply(request, observed, outcome)
                report.actions = outcome.actions
                report.resources = shown_of(request.vault_id, names, self._vault.list())
        return report.result()

    def _observe(self, request: Request) -> Observed:
        zones = {zone.id: zone for zone in request.zones.values()}
        missing = [zone.id for zone in zones.values() if not self._records.exists(zone)]
        if not self._vault.exists():
            missing.insert(0, request.vault_id)
        if missing and not self._options.check:
            raise InputError(
                "it does not exist",
                where=missing[0],
                remedy="Create it first (roles key_vault and network), or correct its id",
            )
        if request.vault_id in missing:
            return Observed(vault=False, zones=len(missing) == 1)
        secrets = self._vault.list()
        stored = secrets.get(request.certificate.lower())
        pem = self._vault.get(request.certificate) if stored is not None and stored.enabled else None
        where = resource_id(request.vault_id, request.certificate)
        return Observed(
            vault=True,
            zones=not missing,
            secrets=secrets,
            deleted=self._vault.deleted() if stored is None else frozenset(),
            certificate=certificates.read_certificate(pem, where=where) if pem is not None else None,
            pair=pem is not None and self._is_pair(request, secrets, pem),
        )

    def _is_pair(self, request: Request, secrets: Mapping[str, Stored], certificate: str) -> bool:
        stored = secrets.get(request.key.lower())
        key = self._secret(request.key) if stored is not None and stored.enabled else None
        return key is not None and _matches(key, certificate)

    def _apply(self, request: Request, observed: Observed, outcome: Outcome) -> None:
        if outcome.issue:
            self._issue(request, observed)
            return
        for action in outcome.actions:
            name = action.resource.rpartition("/")[2]
            tags = request.all_tags if name == request.certificate else request.tags
            self._before_write()
            self._vault.update(name, content_type=CONTENT_TYPE, tags={**observed.secrets[name.lower()].tags, **tags})

    def _issue(self, request: Request, observed: Observed) -> None:
        authority = self._authority(self._account_key(request, observed))
        authority.sign_in(request.contact)
        begun = self._begun(request, observed)
        chain = None
        if begun is not None:
            order = authority.find(begun.url, signing_request(begun.key, begun.names))
            if order is not None:
                self._progress.say(f"going on with the order of an interrupted run for {', '.join(begun.names)}")
                chain = self._complete(request, authority, order)
                if self._now >= renewal_time(_facts(chain, begun.url), request.renew_before_days):
                    chain = None
        if begun is None or chain is None:
            self._progress.say(f"ordering a certificate for {', '.join(request.dns_names)} from {request.directory}")
            key = self._learn(certificates.signing_key())
            order = authority.order(signing_request(key, request.dns_names), request.profile)
            begun = _Begun(order.url, request.dns_names, key)
            self._write_down(request, observed, begun)
            chain = self._complete(request, authority, order)
        self._keep(request, observed, begun.key, chain)

    def _complete(self, request: Request, authority: Authority, order: Order) -> str:
        """Prove the names, take the proofs away again, and collect the certificate."""
        values: dict[tuple[Zone, str], list[str]] = {
            (zone, record_name(host, zone)): [] for host, zone in request.zones.items()
        }
        proofs = authority.proofs(order)
        for proof in proofs:
            zone = zone_of(proof.host, list(request.zones.values()))
            values[zone, record_name(proof.host, zone)].append(proof.value)
        try:
            for (zone, name), wanted in values.items():
                if wanted:
                    self._progress.say(f"writing the TXT record {name}.{zone.name}")
                    self._before_write()
                    self._records.publish(zone, name, wanted)
            self._records.wait({place: wanted for place, wanted in values.items() if wanted}, request.dns_timeout)
            if proofs:
                authority.answer(proofs)
            with self._progress.waiting("waiting for the authority to look at the TXT records"):
                authority.await_proofs(order)
        except BaseException:
            with contextlib.suppress(PlatformError):
                self._withdraw(values)
            raise
        self._withdraw(values)
        with self._progress.waiting("waiting for the authority to issue the certificate"):
            return authority.collect(order)

    def _withdraw(self, values: Mapping[tuple[Zone, str], Sequence[str]]) -> None:
        for (zone, name), ours in values.items():
            self._records.withdraw(zone, name, ours)

    def _keep(self, request: Request, observed: Observed, key: str, chain: str) -> None:
        facts = _facts(chain, request.directory)
        if list(facts.names) != list(request.dns_names) or not _matches(key, chain):
            raise AcmeError(
                f"the authority issued for {', '.join(facts.names)}, or for another key",
                where=request.directory,
                remedy="Use another authority; the certificate that was there stays in use",
            )
        ends = facts.not_after
        self._set(request.key, key, observed, tags=request.tags, expires_on=ends)
        self._set(request.certificate, chain, observed, tags=request.all_tags, expires_on=ends)
        self._progress.say(f"the certificate {request.certificate} is valid until {ends:%Y-%m-%d}")

    def _account_key(self, request: Request, observed: Observed) -> str:
        name = request.account_key
        if observed.stored(name) is None and name.lower() in self._vault.deleted():
            self._before_write()
            self._vault.recover(name)
        known = self._secret(name)
        if known is not None:
            return known
        made = self._learn(certificates.signing_key())
        self._set(name, made, observed, tags=request.tags)
        return made

    def _begun(self, request: Request, observed: Observed) -> _Begun | None:
        """The order of an interrupted run, unless it is for something else or its certificate is the one in use."""
        text = self._secret(request.order) if observed.stored(request.order) is not None else None
        if text is None:
            return None
        try:
            content = json.loads(text)
            directory = content["directory"]
            begun = _Begun(content["order"], tuple(content["names"]), self._learn(content["key"]))
        except (KeyError, TypeError, ValueError):
            return None
        if directory != request.directory or begun.names != request.dns_names:
            self._clear_leftovers(request, begun)
            return None
        in_use = observed.certificate is not None and _matches(begun.key, observed.certificate.pem)
        return None if in_use else begun

    def _clear_leftovers(self, request: Request, begun: _Begun) -> None:
        """Proofs that an interrupted run left for names that are not asked for any more."""
        for host in begun.names:
            with contextlib.suppress(InputError):
                zone = zone_of(host, list(request.zones.values()))
                self._records.withdraw(zone, record_name(host, zone))

    def _write_down(self, request: Request, observed: Observed, begun: _Begun) -> None:
        content = {"directory": request.directory, "order": begun.url, "names": begun.names, "key": begun.key}
        text = self._learn(json.dumps(content))
        self._set(request.order, text, observed, tags=request.tags, content_type=ORDER_CONTENT_TYPE)

    def _set(
        self,
        name: str,
        value: str,
        observed: Observed,
        *,
        tags: Mapping[str, str],
        content_type: str = CONTENT_TYPE,
        expires_on: dt.datetime | None = None,
    ) -> None:
        """Write a secret; a soft-deleted one is brought back first, for it blocks its name."""
        self._before_write()
        known = observed.stored(name)
        if known is None and name.lower() in self._vault.deleted():
            self._vault.recover(name)
        kept = dict(known.tags) if known else {}
        self._vault.set(name, value, content_type=content_type, tags={**kept, **tags}, expires_on=expires_on)

    def _secret(self, name: str) -> str | None:
        value = self._vault.get(name)
        return None if value is None else self._learn(value)

    def _learn(self, value: str) -> str:
        self._redactor.add(value)
        self._learn_too(value)
        return value


def _facts(chain: str, where: str) -> certificates.CertificateFacts:
    return certificates.read_certificate(chain, where=where)


def _matches(key: str, certificate: str) -> bool:
    try:
        return certificates.key_matches(key_pem=key, certificate_pem=certificate)
    except InputError:
        return False
