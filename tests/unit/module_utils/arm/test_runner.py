# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.arm import apply, plan, reader, runner
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.errors import ArmError
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.runner import Options, Report
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import (
    GuardError,
    LeaseError,
    PlanMismatch,
    PlatformError,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.progress import Progress

from tests.unit.module_utils.arm.fake import IDENTITY, NET, NSG, READER, ROLE, VNET, FakeArm, G, S, refused, times

NETWORK: list[dict[str, t.Any]] = [
    {"id": f"{S}/providers/Microsoft.Network"},
    {"id": G, "location": "francecentral"},
    {"id": NSG, "location": "francecentral", "properties": {"securityRules": [{"name": "r", "properties": {"p": 1}}]}},
    {
        "id": VNET,
        "location": "francecentral",
        "properties": {"subnets": [{"name": "a", "properties": {"networkSecurityGroup": {"id": NSG}}}]},
    },
]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply, "_WAITS", (0.0,))
    monkeypatch.setattr(apply, "_REREADS", (0.0, 0.0))
    monkeypatch.setattr(reader, "_POLL", (0.0,))


def converge(azure: FakeArm, documents: list[dict[str, t.Any]], **options: t.Any) -> Report:
    lease = options.pop("lease", lambda: lambda: None)
    progress = Progress(options.pop("progress", None))
    return runner.run(Options(documents=documents, **options), lambda: azure, progress=progress, lease=lease)


def is_put(part: str) -> t.Callable[[str, str], bool]:
    return lambda verb, path: verb == "PUT" and part in path


def test_check_mode_writes_nothing_and_predicts_all() -> None:
    azure = FakeArm()
    report = converge(azure, NETWORK, check_mode=True)
    assert azure.writes == []
    assert report.result["changed"]
    assert [f["verdict"] for f in report.result["findings"]] == ["missing"] * 4
    assert report.result["resources"] == {}
    assert set(report.result["diff"]["after"]) == {d["id"] for d in NETWORK}


def test_the_real_run_does_what_was_predicted_and_a_second_one_nothing() -> None:
    azure = FakeArm()
    predicted = converge(azure, NETWORK, check_mode=True).result
    done = converge(azure, NETWORK).result
    assert done["plan_digest"] == predicted["plan_digest"]
    assert done["plan"] == predicted["plan"]
    assert len(azure.writes) == len(NETWORK)
    again = converge(azure, NETWORK)
    assert not again.result["changed"]
    assert again.result["summary"]["equal"] == len(NETWORK)
    assert len(azure.writes) == len(NETWORK)


def test_drift_is_corrected_and_nothing_else_is_touched() -> None:
    azure = FakeArm()
    converge(azure, NETWORK)
    nsg = azure.resources[NSG.lower()]
    nsg["properties"]["securityRules"].append({"name": "open", "properties": {}})
    nsg["properties"]["flowTimeoutInMinutes"] = 7
    azure.calls.clear()
    result = converge(azure, NETWORK).result
    assert azure.writes == [("PUT", NSG)]
    assert [(f["path"], f["verdict"]) for f in result["findings"]] == [
        ("properties.securityRules[name=open]", "unexpected")
    ]
    assert azure.bodies[NSG]["properties"] == {
        "securityRules": NETWORK[2]["properties"]["securityRules"],
        "flowTimeoutInMinutes": 7,
    }


def test_a_network_is_never_put_without_its_live_subnets() -> None:
    azure = FakeArm()
    converge(azure, NETWORK)
    azure.resources[VNET.lower()]["properties"]["subnets"].append({"name": "by-hand", "properties": {"x": 1}})
    changed = [*NETWORK[:3], {**NETWORK[3], "tags": {"a": "b"}}]
    report = converge(azure, changed)
    assert [s["name"] for s in azure.bodies[VNET]["properties"]["subnets"]] == ["a", "by-hand"]
    assert report.result["summary"]["unexpected"] == 1


def test_what_changed_since_it_was_read_is_not_undone() -> None:
    azure = FakeArm()
    converge(azure, NETWORK)
    azure.resources[VNET.lower()]["location"] = "francecentral"
    azure.resources[VNET.lower()]["tags"] = {"a": "old"}
    reads = [0]

    def somebody_else(verb: str, path: str, body: t.Any) -> None:
        if verb == "GET" and path == VNET:
            reads[0] += 1
            if reads[0] == 2:
                azure.resources[VNET.lower()]["properties"]["subnets"].append({"name": "new"})

    azure.hooks.append(somebody_else)
    converge(azure, [*NETWORK[:3], {**NETWORK[3], "tags": {"a": "b"}}])
    assert [s["name"] for s in azure.bodies[VNET]["properties"]["subnets"]] == ["a", "new"]


@pytest.mark.parametrize(
    "error",
    [
        refused(403, "AuthorizationFailed"),
        refused(500, "InternalError"),
        refused(404, "SubscriptionNotFound"),
        refused(0, ""),
    ],
)
def test_a_partial_read_fails_and_nothing_is_written(error: ArmError) -> None:
    azure = FakeArm()
    azure.hooks.append(times(1, lambda verb, path: path == NSG, error))
    with pytest.raises(ArmError) as caught:
        converge(azure, NETWORK)
    assert caught.value is error
    assert azure.writes == []


def test_an_unregistered_provider_is_missing_only_with_a_registration() -> None:
    error = refused(409, "MissingSubscriptionRegistration")
    for documents, fails in ((NETWORK, False), (NETWORK[1:], True)):
        azure = FakeArm()
        azure.hooks.append(
            times(99, lambda verb, path: "/virtualNetworks/" in path or "networkSecurity" in path, error)
        )
        if fails:
            with pytest.raises(ArmError):
                converge(azure, documents, check_mode=True)
        else:
            assert converge(azure, documents, check_mode=True).result["summary"]["missing"] == len(NETWORK)


def test_a_failure_leaves_out_what_depends_on_it_and_finishes_the_rest() -> None:
    azure = FakeArm()
    azure.hooks.append(times(1, is_put("/networkSecurityGroups/"), refused(400, "BadRequest", "bad rule")))
    other = {"id": f"{NET}/publicIPAddresses/ip", "location": "francecentral"}
    report = converge(azure, [*NETWORK, other])
    assert [f["resource"] for f in report.result["failed_resources"]] == [NSG]
    assert report.result["skipped_resources"] == [{"resource": VNET, "action": "create", "because": NSG}]
    assert other["id"].lower() in azure.resources
    assert "1 that depend on it were left out. 3 of 5 changes were made" in report.error
    assert [f["resource"] for f in report.result["findings"] if f["verdict"] == "error"] == [NSG]
    assert not converge(azure, [*NETWORK, other]).error


@pytest.mark.parametrize(
    "error",
    [
        refused(409, "AnotherOperationInProgress"),
        refused(429, "RetryableError"),
        refused(409, "OperationNotAllowed", "there is an in progress upgrade operation"),
        refused(0, "RetryableError", "the operation failed"),
        refused(400, "PrincipalNotFound"),
        refused(403, "KeyVaultAccessForbidden"),
        refused(400, "UserErrorBackupStorageLocationNotReady"),
    ],
)
def test_refusals_that_pass_are_waited_for(error: ArmError) -> None:
    azure = FakeArm()
    azure.hooks.append(times(2, is_put("/virtualNetworks/"), error))
    assert not converge(azure, NETWORK).error
    assert [c for c in azure.writes if c[1] == VNET] == [("PUT", VNET)] * 3


def test_other_refusals_are_final() -> None:
    azure = FakeArm()
    azure.hooks.append(times(1, is_put("/virtualNetworks/"), refused(409, "ScopeLocked", "locked")))
    assert converge(azure, NETWORK).error
    assert [c for c in azure.writes if c[1] == VNET] == [("PUT", VNET)]


def test_a_role_that_never_arrives_is_not_waited_for_until_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply, "_SPREADING_ATTEMPTS", 3)
    azure = FakeArm()
    azure.hooks.append(times(10**9, is_put("/virtualNetworks/"), refused(403, "KeyVaultAccessForbidden")))
    assert "KeyVaultAccessForbidden" in converge(azure, NETWORK).error
    assert [c for c in azure.writes if c[1] == VNET] == [("PUT", VNET)] * 4


def test_waiting_ends_with_the_timeout() -> None:
    azure = FakeArm()
    error = refused(409, "AnotherOperationInProgress")
    error.wait = 0.05
    azure.hooks.append(times(10**9, is_put("/virtualNetworks/"), error))
    assert "AnotherOperationInProgress" in converge(azure, NETWORK, timeout=0.2).error


def test_writes_on_one_network_exclude_each_other() -> None:
    azure = FakeArm()
    subnets = [{"id": f"{VNET}/subnets/s{i}"} for i in range(4)]
    addresses = [{"id": f"{NET}/publicIPAddresses/ip{i}"} for i in range(4)]
    azure.seconds = 0.02
    converge(azure, [{"id": VNET}, *subnets, *addresses])
    for overlap in azure.overlaps:
        assert sum("/virtualNetworks/" in path for path in overlap) <= 1, overlap
    assert azure.most_at_once >= 4


def test_sabotage_without_groups_they_would_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "serial_groups", lambda document: frozenset())
    with pytest.raises(AssertionError):
        test_writes_on_one_network_exclude_each_other()


ASSIGNMENT = {
    "id": ROLE,
    "properties": {"roleDefinitionId": READER, "principalId": f"${{ref:{IDENTITY}#properties.principalId}}"},
}


def test_references_are_resolved_when_their_resource_exists() -> None:
    azure = FakeArm()
    converge(azure, [ASSIGNMENT, {"id": IDENTITY}])
    assert azure.bodies[ROLE]["properties"]["principalId"] == "principal-of-id"
    assert not converge(azure, [ASSIGNMENT, {"id": IDENTITY}]).result["changed"]


def test_references_reach_outside_of_the_set() -> None:
    azure = FakeArm()
    azure.put_there(IDENTITY, {"properties": {"principalId": "p"}})
    converge(azure, [ASSIGNMENT])
    assert azure.bodies[ROLE]["properties"]["principalId"] == "p"


def test_a_reference_that_stays_unknown_is_an_error_of_its_resource() -> None:
    azure = FakeArm()
    assert "is not known" in converge(azure, [ASSIGNMENT]).error
    assert azure.writes == []


def test_an_assignment_with_another_name_is_the_same_assignment() -> None:
    azure = FakeArm()
    principal = "aaaaaaaa-0000-4000-8000-000000000001"
    azure.put_there(IDENTITY, {"properties": {"principalId": principal}})
    azure.put_there(
        f"{ROLE[:-1]}9",
        {"properties": {"principalId": principal.upper(), "roleDefinitionId": READER.upper(), "scope": G}},
    )
    report = converge(azure, [ASSIGNMENT])
    assert not report.result["changed"]
    assert report.result["resources"][ROLE]["id"].endswith("9")


def test_an_assignment_that_appears_meanwhile_is_adopted() -> None:
    azure = FakeArm()
    azure.put_there(IDENTITY, {"properties": {"principalId": "p"}})

    def appears(verb: str, path: str, body: t.Any) -> None:
        if verb == "PUT" and path == ROLE:
            azure.put_there(
                f"{ROLE[:-1]}9", {"properties": {"principalId": "p", "roleDefinitionId": READER, "scope": G}}
            )
            raise refused(409, "RoleAssignmentExists")

    azure.hooks.append(appears)
    assert not converge(azure, [ASSIGNMENT]).error


def test_a_deleted_vault_is_recovered_with_what_it_holds() -> None:
    azure = FakeArm()
    vault = f"{G}/providers/Microsoft.KeyVault/vaults/kv"
    deleted = refused(409, "ConflictError", "A vault with the same name already exists in deleted state.")
    azure.put_there(G, {"location": "francecentral"})
    azure.hooks.append(times(1, is_put("/vaults/"), deleted))
    desired = {
        "id": vault,
        "location": "francecentral",
        "properties": {"tenantId": "t", "softDeleteRetentionInDays": 90},
    }
    modes: list[t.Any] = []
    azure.hooks.append(
        lambda verb, _path, body: modes.append(body["properties"].get("createMode")) if verb == "PUT" else None
    )
    report = converge(azure, [desired])
    assert not report.error
    assert modes == ["recover", None]


def test_an_operation_under_way_is_waited_for_and_not_repeated() -> None:
    azure = FakeArm()
    converge(azure, NETWORK)
    azure.resources[VNET.lower()]["properties"]["provisioningState"] = "Updating"
    azure.calls.clear()

    def ends(verb: str, path: str, body: t.Any) -> None:
        if azure.calls.count(("GET", VNET)) == 3:
            azure.resources[VNET.lower()]["properties"]["provisioningState"] = "Succeeded"

    azure.hooks.append(ends)
    report = converge(azure, NETWORK)
    assert not report.result["changed"]
    assert azure.calls.count(("GET", VNET)) == 3


def test_what_the_service_does_not_take_is_said() -> None:
    azure = FakeArm()

    def overrides(verb: str, path: str, body: t.Any) -> None:
        if verb == "PUT" and path == NSG:
            body["location"] = "elsewhere"

    azure.hooks.append(overrides)
    report = converge(azure, NETWORK)
    (finding,) = [f for f in report.result["findings"] if f["message"]]
    assert (finding["path"], finding["live"], finding["message"]) == (
        "location",
        "elsewhere",
        "the service did not take it",
    )
    assert report.warnings


def test_only_the_approved_plan_is_carried_out() -> None:
    azure = FakeArm()
    approved = converge(azure, NETWORK, check_mode=True).result["plan_digest"]
    azure.put_there(G, {"location": "francecentral"})
    with pytest.raises(PlanMismatch):
        converge(azure, NETWORK, expect_plan=approved)
    assert azure.writes == []
    del azure.resources[G.lower()]
    assert not converge(azure, NETWORK, expect_plan=approved).error


def test_the_lease_is_taken_before_the_first_write_and_only_then() -> None:
    azure = FakeArm()
    taken: list[int] = []

    def lease() -> t.Callable[[], None]:
        taken.append(len(azure.writes))
        return lambda: None

    converge(azure, NETWORK, check_mode=True, lease=lease)
    assert taken == []
    converge(azure, NETWORK, lease=lease)
    assert taken == [0]
    converge(azure, NETWORK, lease=lease)
    assert taken == [0]


def test_a_lost_lease_stops_the_writes() -> None:
    azure = FakeArm()

    def lost() -> None:
        raise LeaseError("the lease was lost")

    assert "the lease was lost" in converge(azure, NETWORK, lease=lambda: lost).error
    assert azure.writes == []


def test_absent_deletes_in_reverse_order_and_what_is_gone_is_fine() -> None:
    azure = FakeArm()
    converge(azure, NETWORK)
    azure.calls.clear()
    with pytest.raises(GuardError):
        converge(azure, NETWORK, state="absent")
    assert azure.writes == []
    converge(azure, NETWORK, state="absent", allow_delete=["*"])
    assert azure.writes == [("DELETE", VNET), ("DELETE", NSG), ("DELETE", G)]
    assert not converge(azure, NETWORK, state="absent").result["changed"]


def test_a_secret_of_a_document_is_in_no_part_of_the_result(tmp_path: pathlib.Path) -> None:
    canary = "canary-0123456789"
    cluster = f"{G}/providers/Microsoft.ContainerService/managedClusters/aks"
    document = {"id": cluster, "properties": {"windowsProfile": {"adminPassword": canary}, "dnsPrefix": "x"}}
    azure = FakeArm()
    azure.hooks.append(times(1, is_put("managedClusters"), refused(400, "BadRequest", f"{canary} is too weak")))
    lines = tmp_path / "progress"
    for options in ({"check_mode": True}, {}, {}):
        report = converge(azure, [document], progress=str(lines), **options)
        assert canary not in str(report)
    assert canary not in lines.read_text(encoding="utf-8")
    assert "<secret " in str(converge(FakeArm(), [document], check_mode=True))


def test_no_document_at_all() -> None:
    report = converge(FakeArm(), [])
    assert not report.result["changed"]


def test_nothing_is_asked_when_a_document_is_wrong() -> None:
    with pytest.raises(PlatformError):
        runner.run(Options(documents=[{"id": "nonsense"}]), lambda: pytest.fail("it connected"), progress=Progress())


def test_progress_tells_each_state(tmp_path: pathlib.Path) -> None:
    lines = tmp_path / "progress"
    converge(FakeArm(), NETWORK, progress=str(lines))
    text = lines.read_text(encoding="utf-8")
    assert "create Microsoft.Network/virtualNetworks vnet: Updating" in text
    assert "created Microsoft.Network/virtualNetworks vnet in" in text


def test_a_long_wait_is_heard_of(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply, "HEARTBEAT", 0.05)
    azure = FakeArm()
    azure.seconds = 0.3
    lines = tmp_path / "progress"
    converge(azure, [{"id": VNET}], progress=str(lines))
    assert "waiting for vnet (create, Updating" in lines.read_text(encoding="utf-8")


INSTANCE = f"{G}/providers/Microsoft.DataProtection/backupVaults/bv/backupInstances/i"


def protecting(azure: FakeArm, *states: str) -> None:
    """Show one state after the other whenever the instance is read."""
    left = list(states)

    def hook(verb: str, path: str, body: t.Any) -> None:
        found = azure.resources.get(INSTANCE.lower())
        if verb == "GET" and path == INSTANCE and found:
            told = {"errorDetails": {"message": "no rights"}} if left[0].endswith("Failed") else {}
            found["properties"] |= {"currentProtectionState": left[0], "protectionStatus": told}
            if len(left) > 1:
                left.pop(0)

    azure.hooks.append(hook)


def test_what_goes_on_after_its_operation_is_waited_for() -> None:
    azure = FakeArm()
    protecting(azure, "ConfiguringProtection", "ConfiguringProtection", "ProtectionConfigured")
    converge(azure, [{"id": INSTANCE, "properties": {"friendlyName": "i"}}])
    shown = azure.resources[INSTANCE.lower()]["properties"]["currentProtectionState"]
    assert shown == "ProtectionConfigured"


def test_what_ends_otherwise_after_its_operation_has_failed() -> None:
    azure = FakeArm()
    protecting(azure, "ConfiguringProtection", "ConfiguringProtectionFailed")
    report = converge(azure, [{"id": INSTANCE, "properties": {"friendlyName": "i"}}])
    [failed] = report.result["failed_resources"]
    assert "ConfiguringProtectionFailed instead of ProtectionConfigured: no rights" in failed["message"]
