# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hold the secrets wanted against the vault's: pure, and without a single secret value.

A secret that exists keeps its value for ever; making a new one is a rotation, which is not this plan's business.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import GuardError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.findings import Finding
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.plan import Action, Change, order
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.rotation import OPEN, phase_of

if t.TYPE_CHECKING:
    from ansible_collections.audioprothese.platform.plugins.module_utils.vault.certificates import CertificateFacts
    from ansible_collections.audioprothese.platform.plugins.module_utils.vault.wanted import Wanted

__all__ = ["TYPE", "Observed", "Outcome", "Stored", "plan", "resource_id"]

SOURCE = "vault"
TYPE = "Microsoft.KeyVault/vaults/secrets"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A secret as the vault lists it: everything but the value, of its current version."""

    name: str
    enabled: bool = True
    created: dt.datetime | None = None
    expires_on: dt.datetime | None = None
    content_type: str = ""
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What was read of a vault; all names in lower case.

    Attributes:
        exists: false when the vault itself is not there yet.
        secrets: the live ones.
        deleted: names of the soft-deleted ones, which block their name.
        certificates: facts of the live certificates among those wanted.
    """

    exists: bool
    secrets: Mapping[str, Stored] = dataclasses.field(default_factory=dict)
    deleted: frozenset[str] = frozenset()
    certificates: Mapping[str, CertificateFacts] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Findings, the actions in order, and for each action the secret it is about."""

    findings: list[Finding]
    actions: list[Action]
    wanted: Mapping[str, Wanted]


def resource_id(vault_id: str, name: str) -> str:
    """The ARM id of a secret."""
    return f"{vault_id}/secrets/{name}"


def plan(
    wanted: Sequence[Wanted],
    observed: Observed,
    *,
    vault_id: str,
    now: dt.datetime,
    renew_before_days: int,
) -> Outcome:
    """Decide what to make, to bring back and to report.

    Args:
        wanted: secrets asked for.
        observed: the vault's state.
        vault_id: ARM id of the vault.
        now: time of the run, aware.
        renew_before_days: a secret that expires sooner is reported.

    Raises:
        GuardError: a certificate lives whose private key is gone.
    """
    findings: list[Finding] = []
    steps: dict[str, Action] = {}
    for secret in wanted:
        stored = observed.secrets.get(secret.name.lower())
        if stored is None:
            _check_pair(secret, observed, vault_id)
            action = _creation(secret, observed, vault_id)
            steps[secret.name] = action
            findings.append(_missing(secret, action))
            continue
        changes = _metadata_changes(secret, stored)
        if _half_rotated(secret, observed):
            resource = resource_id(vault_id, secret.name)
            change = Change("issuedFor", "the new key", "the key before")
            steps[secret.name] = Action(verb="renew", resource=resource, type=TYPE, changes=[change])
            message = "Its rotation was cut short: its key is new, and it is issued again for that."
            findings.append(_drift(resource, change.path, change.desired, change.live, "renew", message=message))
        elif changes:
            resource = resource_id(vault_id, secret.name)
            steps[secret.name] = Action(verb="update", resource=resource, type=TYPE, changes=changes)
            findings += [_drift(resource, change.path, change.desired, change.live, "update") for change in changes]
        findings += _health(secret, stored, observed, vault_id=vault_id, now=now, renew_before_days=renew_before_days)
    ordered = order(steps, {secret.name: secret.depends_on for secret in wanted})
    return Outcome(
        findings=findings,
        actions=[steps[name] for name in ordered],
        wanted={resource_id(vault_id, secret.name): secret for secret in wanted},
    )


def _creation(secret: Wanted, observed: Observed, vault_id: str) -> Action:
    recover = secret.name.lower() in observed.deleted
    return Action(
        verb="recover" if recover else "create",
        resource=resource_id(vault_id, secret.name),
        type=TYPE,
        document=secret.document(),
        unverified=not observed.exists,
    )


def _missing(secret: Wanted, action: Action) -> Finding:
    why = "is soft-deleted and will be brought back with its value" if action.verb == "recover" else "is not there"
    return Finding(
        source=SOURCE,
        resource=action.resource,
        type=TYPE,
        verdict="missing",
        action=action.verb,
        desired=secret.document(),
        message=f"The secret {secret.name} {why}.",
    )


def _check_pair(secret: Wanted, observed: Observed, vault_id: str) -> None:
    certificate = f"{secret.pair}-certificate"
    if secret.part != "private_key" or certificate.lower() not in observed.secrets:
        return
    if secret.name.lower() in observed.deleted:
        return
    raise GuardError(
        f"the certificate {certificate} is there but its private key is not, and no new key can fit it",
        where=resource_id(vault_id, secret.name),
        remedy=f"Restore {secret.name} from a backup, or rotate the pair",
    )


def _half_rotated(secret: Wanted, observed: Observed) -> bool:
    """Whether a rotation was cut short between the new key of a pair and its certificate."""
    if secret.part != "certificate":
        return False
    key, certificate = (observed.secrets.get(f"{secret.pair}-{part}".lower()) for part in ("key", "certificate"))
    return bool(key and certificate and phase_of(key.tags) == OPEN and not phase_of(certificate.tags))


def _metadata_changes(secret: Wanted, stored: Stored) -> list[Change]:
    changes = [
        Change(f"tags.{key}", value, stored.tags.get(key))
        for key, value in sorted(secret.tags.items())
        if stored.tags.get(key) != value
    ]
    if stored.content_type != secret.content_type:
        changes.insert(0, Change("contentType", secret.content_type, stored.content_type or None))
    return changes


def _health(
    secret: Wanted,
    stored: Stored,
    observed: Observed,
    *,
    vault_id: str,
    now: dt.datetime,
    renew_before_days: int,
) -> list[Finding]:
    resource = resource_id(vault_id, secret.name)
    facts = observed.certificates.get(secret.name.lower())
    found: list[Finding] = []
    if not stored.enabled:
        found.append(_drift(resource, "attributes.enabled", True, False, message="It is disabled: enable it again."))
    ends = facts.not_after if facts else stored.expires_on
    if ends is not None and ends <= now + dt.timedelta(days=renew_before_days):
        state = "expired" if ends <= now else "expires"
        found.append(
            _drift(
                resource,
                "notAfter" if facts else "attributes.exp",
                f"more than {renew_before_days} days ahead",
                ends.isoformat(),
                message=f"It {state} on {ends:%Y-%m-%d}: rotate it.",
            )
        )
    return found + (_certificate_drift(secret, facts, observed, resource) if facts else [])


def _certificate_drift(
    secret: Wanted,
    facts: CertificateFacts,
    observed: Observed,
    resource: str,
) -> list[Finding]:
    found: list[Finding] = []
    if sorted(secret.dns_names) != sorted(facts.names):
        found.append(
            _drift(
                resource,
                "dnsNames",
                sorted(secret.dns_names),
                sorted(facts.names),
                message="It was issued for other names: rotate it.",
            )
        )
    if facts.authority != secret.authority:
        found.append(
            _drift(
                resource, "authority", secret.authority, facts.authority, message="It is of the wrong kind: rotate it."
            )
        )
    issuer = observed.certificates.get(f"{secret.issuer}-certificate".lower()) if secret.issuer else facts
    # While its authority is rotated a certificate is signed by either: that rotation ends when none is left.
    authority = observed.secrets.get(f"{secret.issuer}-certificate".lower())
    under_way = authority is not None and phase_of(authority.tags) != ""
    if issuer is not None and not under_way and not facts.issued_by(issuer):
        found.append(
            _drift(
                resource,
                "issuer",
                secret.issuer or secret.name,
                "another authority",
                message="It was signed by another authority: rotate it.",
            )
        )
    return found


def _drift(
    resource: str,
    path: str,
    desired: t.Any,
    live: t.Any,
    action: str = "",
    *,
    message: str = "",
) -> Finding:
    return Finding(
        source=SOURCE,
        resource=resource,
        type=TYPE,
        path=path,
        verdict="drift",
        action=action,
        desired=desired,
        live=live,
        message=message,
    )
