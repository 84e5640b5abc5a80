# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hold the certificate in the vault against what is asked for: pure, and without a private key."""

from __future__ import annotations

import dataclasses
import datetime as dt
import typing as t
from collections.abc import Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.acme.wanted import (
    CONTENT_TYPE,
    DIRECTORY_TAG,
    Request,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.findings import Finding
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.plan import Action, Change
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.plan import TYPE, Stored, resource_id

if t.TYPE_CHECKING:
    from ansible_collections.audioprothese.platform.plugins.module_utils.vault.certificates import CertificateFacts

__all__ = ["Observed", "Outcome", "plan", "renewal_time"]

SOURCE: t.Final = "vault"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What was read; secrets by lower-case name.

    Attributes:
        vault: the vault is there.
        zones: the zones are there, all of them.
        secrets: the live ones, without values.
        deleted: names of the soft-deleted ones.
        certificate: facts of the certificate that is served now.
        pair: the private key that is served now belongs to it.
    """

    vault: bool
    zones: bool
    secrets: Mapping[str, Stored] = dataclasses.field(default_factory=dict)
    deleted: frozenset[str] = frozenset()
    certificate: CertificateFacts | None = None
    pair: bool = False

    def stored(self, name: str) -> Stored | None:
        """A live secret."""
        return self.secrets.get(name.lower())


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Findings, the actions in order, and whether a certificate has to be issued."""

    findings: list[Finding]
    actions: list[Action]
    issue: bool


def renewal_time(certificate: CertificateFacts, renew_before_days: int) -> dt.datetime:
    """When to renew: so many days before the end, and never before two thirds of its life.

    Without the second rule a certificate that lives shorter than the days asked for would be ordered anew by every run.
    Source of the third: https://letsencrypt.org/docs/integration-guide/#when-to-renew
    """
    life = certificate.not_after - certificate.not_before
    return certificate.not_after - min(dt.timedelta(days=renew_before_days), life / 3)


def plan(request: Request, observed: Observed, *, now: dt.datetime) -> Outcome:
    """Decide whether to order a certificate, and why.

    Args:
        request: what is asked for.
        observed: what was read.
        now: time of the run, aware.
    """
    resource = resource_id(request.vault_id, request.certificate)
    reasons = _reasons(request, observed, resource, now)
    actions, findings = [], list(reasons)
    if reasons:
        if observed.stored(request.account_key) is None:
            account = resource_id(request.vault_id, request.account_key)
            document = {"name": request.account_key, "part": "account_key", "directory": request.directory}
            actions.append(_action("create", account, observed, document=document))
            findings.append(_finding(account, "", "missing", "create", message="The key of the account is not there."))
        create = reasons[0].verdict == "missing"
        changes = [] if create else [Change(reason.path, reason.desired, reason.live) for reason in reasons]
        actions.append(
            _action("create" if create else "update", resource, observed, document=_document(request), changes=changes)
        )
    else:
        for name, tags in ((request.key, request.tags), (request.certificate, request.all_tags)):
            described = _description_changes(observed.stored(name), tags)
            if described:
                described_resource = resource_id(request.vault_id, name)
                actions.append(_action("update", described_resource, observed, changes=described))
                findings += [
                    _finding(
                        described_resource, change.path, "drift", "update", desired=change.desired, live=change.live
                    )
                    for change in described
                ]
    return Outcome(findings=findings, actions=actions, issue=bool(reasons))


def _reasons(request: Request, observed: Observed, resource: str, now: dt.datetime) -> list[Finding]:
    stored, certificate = observed.stored(request.certificate), observed.certificate
    if stored is None:
        deleted = request.certificate.lower() in observed.deleted
        why = "is soft-deleted" if deleted else "is not there"
        message = f"The certificate {why}: it would be ordered for {', '.join(request.dns_names)}."
        return [_finding(resource, "", "missing", "create", desired=_document(request), message=message)]

    def differs(path: str, desired: t.Any, live: t.Any, message: str) -> Finding:
        return _finding(resource, path, "drift", "update", desired=desired, live=live, message=message)

    if not stored.enabled or certificate is None:
        return [differs("attributes.enabled", True, False, "It is disabled: a new one would be ordered.")]
    found = []
    if stored.tags.get(DIRECTORY_TAG) != request.directory:
        live = stored.tags.get(DIRECTORY_TAG, "another authority")
        found.append(
            differs("issuer", request.directory, live, "It is from another authority: a new one would be ordered.")
        )
    if list(certificate.names) != list(request.dns_names):
        message = f"It is for {', '.join(certificate.names) or 'no name'}: a new one would be ordered."
        found.append(differs("dnsNames", list(request.dns_names), list(certificate.names), message))
    if not observed.pair:
        message = "Its private key is missing or belongs to another certificate: a new pair would be made."
        found.append(differs("privateKey", "of this certificate", "of another or none", message))
    if now >= renewal_time(certificate, request.renew_before_days):
        ends = certificate.not_after
        message = f"{_left(ends, now)} (it ends on {ends:%Y-%m-%d}): it would be renewed."
        found.append(
            differs("notAfter", f"more than {request.renew_before_days} days ahead", ends.isoformat(), message)
        )
    return found


def _left(end: dt.datetime, now: dt.datetime) -> str:
    days = (end - now).days
    if end <= now:
        return "It has expired"
    return f"{days} day{'' if days == 1 else 's'} left"


def _document(request: Request) -> dict[str, t.Any]:
    return {
        "name": request.certificate,
        "part": "certificate",
        "dnsNames": list(request.dns_names),
        "issuer": request.directory,
        **({"profile": request.profile} if request.profile else {}),
    }


def _description_changes(stored: Stored | None, tags: Mapping[str, str]) -> list[Change]:
    if stored is None:
        return []
    changes = [
        Change(f"tags.{key}", value, stored.tags.get(key))
        for key, value in sorted(tags.items())
        if stored.tags.get(key) != value
    ]
    if stored.content_type != CONTENT_TYPE:
        changes.insert(0, Change("contentType", CONTENT_TYPE, stored.content_type or None))
    return changes


def _action(
    verb: str,
    resource: str,
    observed: Observed,
    *,
    document: Mapping[str, t.Any] | None = None,
    changes: list[Change] | None = None,
) -> Action:
    return Action(
        verb=verb,
        resource=resource,
        type=TYPE,
        document=document if verb == "create" else None,
        changes=changes or (),
        unverified=not (observed.vault and observed.zones),
    )


def _finding(
    resource: str,
    path: str,
    verdict: str,
    action: str,
    *,
    desired: t.Any = None,
    live: t.Any = None,
    message: str = "",
) -> Finding:
    return Finding(
        source=SOURCE,
        resource=resource,
        type=TYPE,
        path=path,
        verdict=verdict,
        action=action,
        desired=desired,
        live=live,
        message=message,
    )
