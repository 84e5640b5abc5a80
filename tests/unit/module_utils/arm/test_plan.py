# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import typing as t

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.arm import documents as documents_module
from ansible_collections.audioprothese.platform.plugins.module_utils.arm import plan as module
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.catalogue import facts_of
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.documents import Estate
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.plan import Plan, make_plan
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import GuardError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.plan import plan_digest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.redaction import Redactor

from tests.unit.module_utils.arm.fake import IDENTITY, NSG, READER, ROLE, VNET, G

VAULT = f"{G}/providers/Microsoft.KeyVault/vaults/kv"


def plan_of(
    documents: list[dict[str, t.Any]], live: dict[str, t.Any], *, state: str = "present", allow: tuple[str, ...] = ()
) -> Plan:
    estate = Estate(documents)
    complete = {document.key: None for document in estate} | {key.lower(): body for key, body in live.items()}
    return make_plan(estate, complete, state=state, allow_delete=allow, redactor=Redactor(b"k"))


def verbs(plan: Plan) -> list[tuple[str, str]]:
    return [(step.action.verb, step.id) for step in plan.steps]


def test_nothing_to_do() -> None:
    plan = plan_of([{"id": G, "location": "x"}], {G: {"location": "X"}})
    assert (plan.findings, plan.steps, plan.equal) == ([], [], 1)


def test_creates_in_order_of_dependency() -> None:
    plan = plan_of([{"id": VNET, "n": NSG}, {"id": NSG}, {"id": G}], {})
    assert verbs(plan) == [("create", G), ("create", NSG), ("create", VNET)]
    assert {finding.verdict for finding in plan.findings} == {"missing"}
    assert plan.steps[2].waits_for == {G.lower(), NSG.lower()}


def test_waits_across_documents_that_need_nothing() -> None:
    plan = plan_of([{"id": VNET, "n": NSG}, {"id": NSG}, {"id": G, "a": 1}], {G: {"a": 2}, NSG: {}})
    assert plan.steps[1].waits_for == {G.lower()}


def test_an_update_names_each_place() -> None:
    plan = plan_of([{"id": G, "tags": {"a": "1", "b": "2"}}], {G: {"tags": {"a": "0", "b": "2"}}})
    (step,) = plan.steps
    assert [(c.path, c.desired, c.live) for c in step.action.changes] == [("tags.a", "1", "0")]
    assert plan.equal == 0


def test_a_failed_operation_is_repeated() -> None:
    plan = plan_of([{"id": VNET}], {VNET: {"properties": {"provisioningState": "Failed"}}})
    assert [(c.path, c.live) for c in plan.steps[0].action.changes] == [("properties.provisioningState", "Failed")]


def test_a_reference_to_what_exists_is_its_value() -> None:
    documents = [{"id": IDENTITY}, _role()]
    live = {IDENTITY: {"properties": {"principalId": "p"}}, ROLE: _live_role("p")}
    assert plan_of(documents, live).steps == []


def test_a_reference_to_what_does_not_exist_stays_a_marker() -> None:
    plan = plan_of([{"id": IDENTITY}, _role()], {})
    assert "${ref:" in str(plan.steps[1].action.document)


def test_an_immutable_change_is_refused_with_both_values() -> None:
    with pytest.raises(GuardError, match=r"zoneRedundancy of .*/registries/r is Disabled, desired Enabled"):
        registry = f"{G}/providers/Microsoft.ContainerRegistry/registries/r"
        plan_of(
            [{"id": registry, "properties": {"zoneRedundancy": "Enabled"}}],
            {registry: {"properties": {"zoneRedundancy": "Disabled"}}},
        )


KEY = f"{VAULT}/keys/disks"


def test_what_is_made_once_is_reported_and_left() -> None:
    desired = {"kty": "RSA", "keySize": 3072, "attributes": {"enabled": True}}
    live = {"kty": "RSA", "keySize": 3072, "attributes": {"enabled": False}}
    plan = plan_of([{"id": KEY, "properties": desired}], {KEY: {"properties": live}})
    assert plan.steps == []
    (finding,) = plan.findings
    assert (finding.path, finding.verdict, finding.action) == ("properties.attributes.enabled", "drift", "")
    assert "az keyvault key" in finding.message


def test_a_key_of_another_size_is_refused_with_both_values() -> None:
    with pytest.raises(GuardError, match=r"keySize of .*/keys/disks is 2048, desired 3072"):
        plan_of([{"id": KEY, "properties": {"keySize": 3072}}], {KEY: {"properties": {"keySize": 2048}}})


def test_neither_key_nor_disk_encryption_set_goes_unless_it_is_named() -> None:
    encryption = f"{G}/providers/Microsoft.Compute/diskEncryptionSets/des"
    with pytest.raises(GuardError, match="diskEncryptionSets/des"):
        plan_of([{"id": encryption}], {encryption: {}}, state="absent")
    assert plan_of([{"id": KEY}], {KEY: {}}, state="absent", allow=("*",)).steps == []


def _upgrade(live: str, desired: str) -> list[tuple[str, str]]:
    cluster = f"{G}/providers/Microsoft.ContainerService/managedClusters/c"
    versions = [{"properties": {"kubernetesVersion": version}} for version in (desired, live)]
    return verbs(plan_of([{"id": cluster, **versions[0]}], {cluster: versions[1]}))


@pytest.mark.parametrize(("live", "desired"), [("1.34.7", "1.35"), ("1.34", "1.35.4"), ("1.35.1", "1.35.4")])
def test_a_cluster_goes_up_by_one_minor_version(live: str, desired: str) -> None:
    assert [verb for verb, _ in _upgrade(live, desired)] == ["update"]


@pytest.mark.parametrize(
    ("live", "desired", "remedy"),
    [
        ("1.34.7", "1.36", "Set the variable to 1.35 and run"),
        ("1.9.0", "1.34", "Set the variable to 1.10 and run"),
        ("1.35.4", "1.34", "Set the variable to 1.35 or 1.36"),
    ],
)
def test_a_version_is_neither_skipped_nor_taken_back(live: str, desired: str, remedy: str) -> None:
    with pytest.raises(GuardError, match=f"is {live}, desired {desired}.*{remedy}"):
        _upgrade(live, desired)


def test_sabotage_without_the_version_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_guard_versions", lambda verdicts: None)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_a_version_is_neither_skipped_nor_taken_back("1.34.7", "1.36", "")


def test_an_assignment_is_replaced_as_it_holds_nothing() -> None:
    documents = [{"id": IDENTITY}, _role()]
    live = {IDENTITY: {"properties": {"principalId": "new"}}, ROLE: _live_role("old")}
    (step,) = plan_of(documents, live).steps
    assert (step.action.verb, step.replace) == ("update", True)


def test_an_undeclared_subnet_is_reported_and_kept() -> None:
    documents = [{"id": VNET, "properties": {"subnets": [{"name": "a"}]}}]
    live = {VNET: {"properties": {"subnets": [{"name": "a"}, {"name": "b"}]}}}
    plan = plan_of(documents, live)
    assert plan.steps == []
    assert [(f.verdict, f.action) for f in plan.findings] == [("unexpected", "")]
    plan = plan_of(documents, live, allow=(f"{VNET}/subnets/*",))
    assert verbs(plan) == [("delete", f"{VNET}/subnets/b")]
    assert [(f.verdict, f.action) for f in plan.findings] == [("unexpected", "delete")]


def test_absent_deletes_in_reverse_order() -> None:
    plan = plan_of(
        [{"id": G}, {"id": NSG}, {"id": VNET, "n": NSG}], {G: {}, VNET: {}, NSG: {}}, state="absent", allow=("*",)
    )
    assert verbs(plan) == [("delete", VNET), ("delete", NSG), ("delete", G)]
    assert plan.steps[1].waits_for == {VNET.lower()}


def test_absent_and_nothing_there() -> None:
    assert plan_of([{"id": G}], {}, state="absent").steps == []


@pytest.mark.parametrize("guarded", [G, VNET, VAULT, IDENTITY])
def test_what_holds_state_is_not_deleted_unasked(guarded: str) -> None:
    with pytest.raises(GuardError, match="allow_delete"):
        plan_of([{"id": guarded}], {guarded: {}}, state="absent")
    assert verbs(plan_of([{"id": guarded}], {guarded: {}}, state="absent", allow=(guarded.upper(),)))


def test_sabotage_without_the_guard_the_vault_would_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_allowed", lambda *args: True)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_what_holds_state_is_not_deleted_unasked(VAULT)


def test_sabotage_without_the_immutable_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_guard_immutable", lambda verdicts: None)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_an_immutable_change_is_refused_with_both_values()


@pytest.mark.sabotage
def test_sabotage_without_the_mark_a_key_would_be_written_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    unmarked = dataclasses.replace(facts_of("Microsoft.KeyVault/vaults/keys"), made_once="")
    monkeypatch.setattr(documents_module, "facts_of", lambda _type: unmarked)
    with pytest.raises(AssertionError):
        test_what_is_made_once_is_reported_and_left()


def test_a_registration_is_never_undone() -> None:
    registration = "/subscriptions/s/providers/Microsoft.Network"
    assert (
        plan_of([{"id": registration}], {registration: {"registrationState": "Registered"}}, state="absent").steps == []
    )


def test_what_cannot_be_deleted_goes_with_its_parent() -> None:
    account = f"{G}/providers/Microsoft.Storage/storageAccounts/st"
    container = f"{account}/blobServices/default/containers/c"
    documents = [{"id": i} for i in (account, f"{account}/blobServices/default", container)]
    plan = plan_of(documents, {d["id"]: {} for d in documents}, state="absent", allow=("*",))
    assert verbs(plan) == [("delete", container), ("delete", account)]
    assert plan.steps[1].waits_for == {container.lower()}


def test_the_digest_covers_the_plan_and_not_the_order_of_documents() -> None:
    one = plan_of([{"id": G}, {"id": NSG, "a": 1}], {})
    two = plan_of([{"id": NSG, "a": 1}, {"id": G}], {})
    other = plan_of([{"id": G}, {"id": NSG, "a": 2}], {})
    assert _digest(one) == _digest(two) != _digest(other)


def test_secrets_are_fingerprints_everywhere() -> None:
    cluster = f"{G}/providers/Microsoft.ContainerService/managedClusters/aks"
    redactor = Redactor(b"k")
    redactor.add("hunter2-hunter2")
    document = {"id": cluster, "properties": {"windowsProfile": {"adminPassword": "hunter2-hunter2"}}}
    for live in ({}, {"properties": {"windowsProfile": {"a": 1}}}):
        estate = Estate([document])
        plan = make_plan(estate, {cluster.lower(): live or None}, state="present", allow_delete=(), redactor=redactor)
        assert "hunter2" not in str([s.action for s in plan.steps]) + str(plan.findings)


def _digest(plan: Plan) -> str:
    return plan_digest([step.action for step in plan.steps])


def _role() -> dict[str, t.Any]:
    return {
        "id": ROLE,
        "properties": {"roleDefinitionId": READER, "principalId": f"${{ref:{IDENTITY}#properties.principalId}}"},
    }


def _live_role(principal: str) -> dict[str, t.Any]:
    return {"id": ROLE, "properties": {"roleDefinitionId": READER, "principalId": principal, "scope": G}}
