# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan: create if absent, bring back, never overwrite."""

from __future__ import annotations

import datetime as dt
import typing as t

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import GuardError
from ansible_collections.audioprothese.platform.plugins.module_utils.vault import certificates
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.plan import Observed, Outcome, Stored, plan
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.rotation import moved, opened
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.wanted import expand

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
VAULT = "/subscriptions/s/resourceGroups/g/providers/Microsoft.KeyVault/vaults/v"
ENTRIES: list[dict[str, t.Any]] = [
    {"name": "web", "kind": "certificate", "issuer": "ca", "dns_names": ["web"]},
    {"name": "ca", "kind": "certificate_authority", "common_name": "root"},
    {"name": "password", "kind": "password"},
]
CONTENT_TYPES = {"password": "text/plain"}


def decide(observed: Observed, entries: list[dict[str, t.Any]] | None = None) -> Outcome:
    return plan(
        expand(ENTRIES if entries is None else entries), observed, vault_id=VAULT, now=NOW, renew_before_days=30
    )


def stored(*names: str, **more: t.Any) -> dict[str, Stored]:
    return {
        name: Stored(name=name, **{"content_type": CONTENT_TYPES.get(name, "application/x-pem-file"), **more})
        for name in names
    }


def steps(outcome: Outcome) -> list[tuple[str, str]]:
    return [(action.verb, action.resource.rpartition("/")[2]) for action in outcome.actions]


def pair(*, names: tuple[str, ...] = ("web",), days: int = 397) -> dict[str, certificates.CertificateFacts]:
    ca_key = certificates.signing_key(authority=True)
    root = certificates.certificate_authority(key_pem=ca_key, common_name="root", validity_days=3650, now=NOW)
    leaf = certificates.issue_certificate(
        key_pem=certificates.signing_key(),
        issuer_key_pem=ca_key,
        issuer_certificate_pem=root,
        common_name=names[0],
        dns_names=names,
        validity_days=days,
        now=NOW,
    )
    return {
        "ca-certificate": certificates.read_certificate(root, where="ca"),
        "web-certificate": certificates.read_certificate(leaf, where="web"),
    }


EVERYTHING = ("web-key", "web-certificate", "ca-key", "ca-certificate", "password")


def test_an_empty_vault_gets_everything_in_order() -> None:
    outcome = decide(Observed(exists=True))
    assert sorted(steps(outcome)) == sorted(("create", name) for name in EVERYTHING)
    names = [name for _verb, name in steps(outcome)]
    assert names.index("ca-key") < names.index("ca-certificate") < names.index("web-certificate")
    assert names.index("web-key") < names.index("web-certificate")
    assert {finding.verdict for finding in outcome.findings} == {"missing"}
    assert not any(action.unverified for action in outcome.actions)


def test_without_a_vault_everything_is_predicted_unverified() -> None:
    outcome = decide(Observed(exists=False))
    assert len(outcome.actions) == 5
    assert all(action.unverified for action in outcome.actions)


def test_a_complete_vault_needs_nothing() -> None:
    outcome = decide(Observed(exists=True, secrets=stored(*EVERYTHING), certificates=pair()))
    assert outcome.actions == []
    assert outcome.findings == []


def test_a_crash_between_key_and_certificate_is_completed_with_the_same_key() -> None:
    outcome = decide(Observed(exists=True, secrets=stored("web-key", "ca-key", "ca-certificate", "password")))
    assert steps(outcome) == [("create", "web-certificate")]


def test_a_certificate_without_its_key_stops_the_run() -> None:
    with pytest.raises(GuardError, match="no new key can fit it"):
        decide(Observed(exists=True, secrets=stored("web-certificate")))


def test_a_soft_deleted_secret_is_brought_back_and_not_made_anew() -> None:
    outcome = decide(
        Observed(
            exists=True,
            secrets=stored("web-certificate", "ca-key", "ca-certificate"),
            deleted=frozenset({"web-key", "password"}),
        )
    )
    assert sorted(steps(outcome)) == [("recover", "password"), ("recover", "web-key")]


@pytest.mark.parametrize(("days", "word"), [(10, "expires"), (-1, "expired")])
def test_an_old_password_is_reported_and_kept(days: int, word: str) -> None:
    secrets = stored("password", expires_on=NOW + dt.timedelta(days=days))
    outcome = decide(Observed(exists=True, secrets=secrets), [ENTRIES[2]])
    assert outcome.actions == []
    assert [(finding.verdict, finding.action, finding.path) for finding in outcome.findings] == [
        ("drift", "", "attributes.exp"),
    ]
    assert word in outcome.findings[0].message
    assert "rotate" in outcome.findings[0].message


def test_certificate_drift_is_reported_by_path_and_kept() -> None:
    expiring = {**pair(names=("other",), days=29), "ca-certificate": pair()["ca-certificate"]}
    outcome = decide(Observed(exists=True, secrets=stored(*EVERYTHING), certificates=expiring))
    assert outcome.actions == []
    assert {finding.path for finding in outcome.findings} == {"notAfter", "dnsNames", "issuer"}


@pytest.mark.parametrize(("phase", "reported"), [("", True), ("open", False), ("signing", False), ("closing", False)])
def test_who_signed_it_is_no_drift_while_the_authority_is_rotated(phase: str, reported: bool) -> None:
    tags = moved(opened("v1"), phase) if phase else {}
    secrets = {**stored(*EVERYTHING), **stored("ca-certificate", tags=tags)}
    other = {**pair(), "ca-certificate": pair()["ca-certificate"]}
    outcome = decide(Observed(exists=True, secrets=secrets, certificates=other))
    assert ("issuer" in {finding.path for finding in outcome.findings}) == reported


def test_metadata_follows_and_foreign_tags_stay() -> None:
    entry = {**ENTRIES[2], "tags": {"owner": "platform"}}
    secrets = stored("password", content_type="", tags={"file-encoding": "utf-8"})
    outcome = decide(Observed(exists=True, secrets=secrets), [entry])
    assert steps(outcome) == [("update", "password")]
    assert [(change.path, change.desired, change.live) for change in outcome.actions[0].changes] == [
        ("contentType", "text/plain", None),
        ("tags.owner", "platform", None),
    ]


def test_a_disabled_secret_is_reported() -> None:
    outcome = decide(Observed(exists=True, secrets=stored("password", enabled=False)), [ENTRIES[2]])
    assert [finding.path for finding in outcome.findings] == ["attributes.enabled"]


def test_names_are_compared_without_case() -> None:
    outcome = decide(Observed(exists=True, secrets=stored("password")), [{"name": "Password", "kind": "password"}])
    assert outcome.actions == []
