# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The runner against a vault in memory."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import typing as t
from collections.abc import Mapping

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.errors import ArmError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import (
    InputError,
    LeaseError,
    OutcomeError,
    PlanMismatch,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.vault import certificates, runner
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.plan import Observed, Stored, plan
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.rotation import Current, opened
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.runner import Options, Runner
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.wanted import expand

VAULT = "/subscriptions/s/resourceGroups/g/providers/Microsoft.KeyVault/vaults/v"
ENTRIES: list[dict[str, t.Any]] = [
    {"name": "web", "kind": "certificate", "issuer": "ca", "dns_names": ["web"]},
    {"name": "ca", "kind": "certificate_authority", "common_name": "root"},
    {"name": "password", "kind": "password", "expires_days": 90, "tags": {"owner": "platform"}},
    {"name": "digest", "kind": "key"},
]


class MemoryVault:
    def __init__(self, *, exists: bool = True, fail_at: int = 0, refusals: int = 0) -> None:
        self.there, self.fail_at, self.refusals = exists, fail_at, refusals
        self.values: dict[str, str] = {}
        self.stored: dict[str, Stored] = {}
        self.bin: dict[str, tuple[str, Stored]] = {}
        self.writes: list[tuple[str, str]] = []
        self.renewable: set[str] = set()

    def exists(self) -> bool:
        return self.there

    def list(self) -> dict[str, Stored]:
        if self.refusals:
            self.refusals -= 1
            raise ArmError("cannot list the secrets: no right", status=403)
        return dict(self.stored)

    def deleted(self) -> frozenset[str]:
        return frozenset(self.bin)

    def get(self, name: str) -> str | None:
        return self.values.get(name.lower())

    def read(self, name: str, version: str = "") -> Current | None:
        value = self.values.get(name.lower())
        return Current(value=value, version=f"{name}-1") if value is not None else None

    def set(
        self,
        name: str,
        value: str,
        *,
        content_type: str = "",
        tags: Mapping[str, str] | None = None,
        expires_on: dt.datetime | None = None,
    ) -> None:
        assert name.lower() not in self.values or name in self.renewable, "an existing secret was overwritten"
        self.writes.append(("set", name))
        if len(self.writes) == self.fail_at:
            raise ArmError("cannot write: gone away", status=503)
        self.values[name.lower()] = value
        self.stored[name.lower()] = Stored(
            name=name, content_type=content_type, tags=dict(tags or {}), expires_on=expires_on
        )

    def update(self, name: str, *, content_type: str, tags: Mapping[str, str]) -> None:
        self.writes.append(("update", name))
        self.stored[name.lower()] = Stored(name=name, content_type=content_type, tags=dict(tags))

    def recover(self, name: str) -> None:
        self.writes.append(("recover", name))
        self.values[name.lower()], self.stored[name.lower()] = self.bin.pop(name.lower())


def run(vault: MemoryVault, entries: list[dict[str, t.Any]] | None = None, **options: t.Any) -> dict[str, t.Any]:
    more = {name: options.pop(name) for name in ("hold", "learn") if name in options}
    result = Runner(vault, Options(vault_id=VAULT, **options), **more).run(
        expand(ENTRIES if entries is None else entries)
    )
    text = json.dumps(result)
    assert not [name for name, value in vault.values.items() if json.dumps(value)[1:-1] in text]
    return result


def test_an_empty_vault_is_filled_and_the_second_run_changes_nothing() -> None:
    vault = MemoryVault()
    first = run(vault)
    assert first["changed"]
    assert len(first["resources"]) == 6
    before = dict(vault.values)
    second = run(vault)
    assert (second["changed"], second["plan"], second["findings"]) == (False, [], [])
    assert vault.values == before


def test_the_pairs_fit() -> None:
    vault = MemoryVault()
    run(vault)
    for pair in ("web", "ca"):
        assert certificates.key_matches(
            key_pem=vault.values[f"{pair}-key"], certificate_pem=vault.values[f"{pair}-certificate"]
        )
    root = certificates.read_certificate(vault.values["ca-certificate"], where="ca")
    assert certificates.read_certificate(vault.values["web-certificate"], where="web").issued_by(root)


def test_check_mode_predicts_the_same_plan_and_writes_nothing() -> None:
    vault = MemoryVault()
    predicted = run(vault, check=True)
    assert vault.writes == []
    done = run(vault)
    assert predicted["plan_digest"] == done["plan_digest"]
    assert predicted["plan"] == done["plan"]
    assert {finding["verdict"] for finding in predicted["findings"]} == {"missing"}


def test_without_a_vault_check_mode_predicts_and_a_real_run_stops() -> None:
    predicted = run(MemoryVault(exists=False), check=True)
    assert len(predicted["plan"]) == 6
    assert all(action["unverified"] for action in predicted["plan"])
    assert predicted["plan_digest"] == run(MemoryVault())["plan_digest"]
    with pytest.raises(InputError, match="the vault does not exist"):
        run(MemoryVault(exists=False))


@pytest.mark.parametrize("fail_at", range(1, 7))
def test_a_run_cut_short_anywhere_is_completed_by_the_next(fail_at: int) -> None:
    vault = MemoryVault(fail_at=fail_at)
    with pytest.raises(OutcomeError, match="gone away") as caught:
        run(vault)
    assert len(caught.value.outcome["plan"]) == fail_at - 1
    kept = dict(vault.values)
    vault.fail_at = 0
    run(vault)
    assert kept.items() <= vault.values.items()
    assert certificates.key_matches(key_pem=vault.values["web-key"], certificate_pem=vault.values["web-certificate"])
    assert not run(vault)["changed"]


def test_a_deleted_secret_comes_back_with_its_value() -> None:
    vault = MemoryVault()
    run(vault)
    value = vault.values["password"]
    vault.bin["password"] = (vault.values.pop("password"), vault.stored.pop("password"))
    assert [action["action"] for action in run(vault)["plan"]] == ["recover"]
    assert vault.values["password"] == value


def test_metadata_is_updated_without_losing_foreign_tags() -> None:
    vault = MemoryVault()
    run(vault)
    vault.stored["password"] = Stored(name="password", content_type="text/plain", tags={"foreign": "yes"})
    assert [action["action"] for action in run(vault)["plan"]] == ["update"]
    assert vault.stored["password"].tags == {"foreign": "yes", "owner": "platform"}


def test_another_plan_than_the_approved_one_is_refused_before_the_first_write() -> None:
    vault = MemoryVault()
    with pytest.raises(PlanMismatch):
        run(vault, expect_plan="sha256:other")
    assert vault.writes == []


def test_a_lease_that_is_held_by_another_run_stops_before_the_first_write() -> None:
    def refuse() -> t.Never:
        raise LeaseError("held")

    vault = MemoryVault()
    with pytest.raises(LeaseError):
        run(vault, hold=refuse)
    assert vault.writes == []


def test_every_secret_value_is_made_known_to_ansible() -> None:
    learned: set[str] = set()
    vault = MemoryVault()
    run(vault, learn=learned.add)
    assert {value for name, value in vault.values.items() if not name.endswith("-certificate")} <= learned


def test_a_new_role_assignment_is_waited_for_in_a_real_run_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "ACCESS_POLL_SECONDS", 0.01)
    assert run(MemoryVault(refusals=3), access_timeout=10)["changed"]
    with pytest.raises(ArmError, match="no right"):
        run(MemoryVault(refusals=3), access_timeout=10, check=True)
    with pytest.raises(ArmError, match="no right"):
        run(MemoryVault(refusals=3))


@pytest.mark.sabotage
def test_a_plan_that_overlooks_what_exists_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    vault = MemoryVault()
    run(vault)

    def blind(wanted: t.Any, observed: t.Any, **options: t.Any) -> t.Any:
        return plan(wanted, Observed(exists=True), **options)

    monkeypatch.setattr(runner, "plan", blind)
    with pytest.raises(AssertionError, match="overwritten"):
        run(vault)


@pytest.mark.sabotage
def test_a_result_that_shows_a_certificate_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    vault = MemoryVault()
    monkeypatch.setattr(runner, "shown", lambda stored: {"value": vault.get(stored.name)})
    with pytest.raises(AssertionError):
        run(vault)


def test_a_pair_whose_rotation_was_cut_short_is_completed() -> None:
    vault = MemoryVault()
    run(vault)
    vault.values["web-key"] = certificates.signing_key()
    key = vault.stored["web-key"]
    vault.stored["web-key"] = dataclasses.replace(key, tags=opened("web-key-1"))
    vault.renewable = {"web-certificate"}
    predicted = run(vault, check=True)
    assert [(step["action"], step["changes"][0]["path"]) for step in predicted["plan"]] == [("renew", "issuedFor")]
    assert run(vault)["plan_digest"] == predicted["plan_digest"]
    pair = {"key_pem": vault.values["web-key"], "certificate_pem": vault.values["web-certificate"]}
    assert certificates.key_matches(**pair)
    assert vault.stored["web-certificate"].tags == opened("web-certificate-1")
    assert not run(vault)["plan"]
