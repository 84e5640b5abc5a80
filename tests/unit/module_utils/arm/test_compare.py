# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.arm import compare as module
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.catalogue import facts_of
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.compare import (
    compare,
    compare_documents,
    merge,
)

VNET = "Microsoft.Network/virtualNetworks"
NSG = "Microsoft.Network/networkSecurityGroups"
AKS = "Microsoft.ContainerService/managedClusters"
POOL = f"{AKS}/agentPools"
VAULT = "Microsoft.KeyVault/vaults"
ROLE = "Microsoft.Authorization/roleAssignments"
WORKSPACE = "Microsoft.OperationalInsights/workspaces"
DIAGNOSTICS = "Microsoft.Insights/diagnosticSettings"
STORAGE = "Microsoft.Storage/storageAccounts"
REGISTRY = "Microsoft.ContainerRegistry/registries"
ENCRYPTION = "Microsoft.Compute/diskEncryptionSets"
ID = "/subscriptions/S/resourceGroups/G/providers/Microsoft.Network/networkSecurityGroups/n"


def encryption(url: str, *, following: bool = True) -> dict[str, t.Any]:
    return {"properties": {"rotationToLatestKeyVersionEnabled": following, "activeKey": {"keyUrl": url}}}


EQUAL = [
    pytest.param(VNET, {"location": "West Europe"}, {"location": "westeurope"}, id="location"),
    pytest.param(VNET, {"properties": {"x": {"id": ID}}}, {"properties": {"x": {"id": ID.upper()}}}, id="id case"),
    pytest.param(
        VNET,
        {"a": "F2" + "0" * 6 + "-0000-4000-8000-000000000001"},
        {"a": "f2" + "0" * 6 + "-0000-4000-8000-000000000001"},
        id="guid case",
    ),
    pytest.param(
        WORKSPACE,
        {"properties": {"sku": {"name": "PerGB2018"}}},
        {"properties": {"sku": {"name": "pergb2018"}}},
        id="enum case",
    ),
    pytest.param(STORAGE, {"tags": None}, {"tags": {"a": "b"}}, id="null is not managed"),
    pytest.param(AKS, {"properties": {"addonProfiles": {}}}, {"properties": {}}, id="empty is absent"),
    pytest.param(AKS, {"a": {"b": {"c": [], "d": ""}}}, {}, id="empty all the way down is absent"),
    pytest.param(VNET, {"properties": {"enableVmProtection": False}}, {"properties": {}}, id="false is absent"),
    pytest.param(VNET, {"properties": {"count": 0}}, {"properties": {}}, id="zero is absent"),
    pytest.param(VNET, {"a": 10}, {"a": 10.0}, id="int and float"),
    pytest.param(WORKSPACE, {"a": "7"}, {"a": 7}, id="number as text"),
    pytest.param(VNET, {"etag": "x", "id": "/y", "properties": {"provisioningState": "Z"}}, {}, id="read-only"),
    pytest.param(
        VNET,
        {"properties": {"subnets": [{"name": "a", "etag": "1"}]}},
        {"properties": {"subnets": [{"name": "a", "etag": "2"}]}},
        id="etag of an item",
    ),
    pytest.param(VNET, {"Properties": {"ENABLE": 1}}, {"properties": {"enable": 1}}, id="case of property names"),
    pytest.param(
        NSG,
        {"l": [{"name": "a"}, {"name": "b"}]},
        {"l": [{"name": "b"}, {"name": "a"}]},
        id="order of named items, same case",
    ),
    pytest.param(
        AKS,
        {"properties": {"kubernetesVersion": "1.33"}},
        {"properties": {"kubernetesVersion": "1.33.4"}},
        id="version alias",
    ),
    pytest.param(
        POOL,
        {"properties": {"count": 2, "enableAutoScaling": True}},
        {"properties": {"count": 5, "enableAutoScaling": True}},
        id="count with the autoscaler on",
    ),
    pytest.param(
        POOL,
        {"properties": {"count": 2}},
        {"properties": {"count": 5, "enableAutoScaling": True}},
        id="count with the autoscaler on by itself",
    ),
    pytest.param(
        POOL,
        {"properties": {"scaleSetPriority": "Regular", "spotMaxPrice": -1}},
        {"properties": {}},
        id="defaults not shown",
    ),
    pytest.param(POOL, {"properties": {"osDiskSizeGB": 0}}, {"properties": {"osDiskSizeGB": 128}}, id="sentinel"),
    pytest.param(
        VAULT,
        {"properties": {"networkAcls": {"ipRules": [{"value": "1.2.3.4"}]}}},
        {"properties": {"networkAcls": {"ipRules": [{"value": "1.2.3.4/32"}]}}},
        id="host with its mask",
    ),
    pytest.param(
        ROLE,
        {"properties": {"roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/R"}},
        {"properties": {"roleDefinitionId": "/subscriptions/S/providers/Microsoft.Authorization/roleDefinitions/r"}},
        id="role definition without subscription",
    ),
    pytest.param(
        ENCRYPTION,
        encryption("https://kv.vault.azure.net:443/keys/disks/" + "1" * 32),
        encryption("https://kv.vault.azure.net/keys/disks/" + "2" * 32),
        id="a key's version that the service moved on to",
    ),
    pytest.param(VNET, {"until": "2018-10-01T00:00:00.000Z"}, {"until": "2018-10-01T00:00:00Z"}, id="same instant"),
    pytest.param(
        DIAGNOSTICS,
        {"properties": {"logs": [{"category": "a", "enabled": True}]}},
        {"properties": {"logs": [{"category": "a", "enabled": True}, {"category": "b", "enabled": False}]}},
        id="a category that is off",
    ),
    pytest.param(
        AKS,
        {"identity": {"userAssignedIdentities": {ID: {}}}},
        {"identity": {"userAssignedIdentities": {ID.lower(): {"principalId": "p"}}}},
        id="identity keys",
    ),
    pytest.param(
        AKS,
        {"properties": {"aadProfile": {"adminGroupObjectIDs": ["a", "b"]}}},
        {"properties": {"aadProfile": {"adminGroupObjectIDs": ["b", "a"]}}},
        id="set of plain values",
    ),
    pytest.param(
        AKS,
        {"properties": {"httpProxyConfig": {"noProxy": ["a"]}}},
        {"properties": {"httpProxyConfig": {"noProxy": ["a", "10.0.0.1"]}}},
        id="list the service extends",
    ),
]

DRIFT = [
    pytest.param(
        ENCRYPTION,
        encryption("https://kv.vault.azure.net/keys/disks/" + "1" * 32),
        encryption("https://kv.vault.azure.net/keys/others/" + "1" * 32),
        "properties.activeKey.keyUrl",
        id="another key than the one to follow",
    ),
    pytest.param(
        ENCRYPTION,
        encryption("https://kv.vault.azure.net/keys/disks/" + "1" * 32, following=False),
        encryption("https://kv.vault.azure.net/keys/disks/" + "2" * 32, following=False),
        "properties.activeKey.keyUrl",
        id="a key's version where nobody follows it",
    ),
    pytest.param(VNET, {"tags": {"a": "x"}}, {"tags": {"a": "X"}}, "tags.a", id="tag values keep their case"),
    pytest.param(VNET, {"tags": {"a": "x"}}, {"tags": {}}, "tags.a", id="tag removed"),
    pytest.param(VNET, {"a": "x"}, {"a": "y"}, "a", id="text"),
    pytest.param(VNET, {"a": ""}, {"a": "y"}, "a", id="emptied text"),
    pytest.param(VNET, {"a": []}, {"a": ["y"]}, "a", id="empty list against a filled one"),
    pytest.param(VNET, {"a": True}, {}, "a", id="true against absent"),
    pytest.param(VNET, {"a": 1}, {}, "a", id="one against absent"),
    pytest.param(VNET, {"a": False}, {"a": True}, "a", id="false against true"),
    pytest.param(VNET, {"a": 0}, {"a": False}, "a", id="zero is not false"),
    pytest.param(VNET, {"a": 1}, {"a": 2}, "a", id="number"),
    pytest.param(VNET, {"a": {"b": 1}}, {"a": "b"}, "a", id="another type"),
    pytest.param(VNET, {"a": {"b": 1}}, {}, "a", id="a section is missing"),
    pytest.param(
        POOL,
        {"properties": {"count": 2, "enableAutoScaling": False}},
        {"properties": {"count": 5, "enableAutoScaling": False}},
        "properties.count",
        id="count",
    ),
    pytest.param(
        AKS,
        {"properties": {"kubernetesVersion": "1.33.4"}},
        {"properties": {"kubernetesVersion": "1.33.5"}},
        "properties.kubernetesVersion",
        id="exact version",
    ),
    pytest.param(
        AKS,
        {"properties": {"kubernetesVersion": "1.3"}},
        {"properties": {"kubernetesVersion": "1.33"}},
        "properties.kubernetesVersion",
        id="not a prefix of a number",
    ),
    pytest.param(
        POOL,
        {"properties": {"scaleSetPriority": "Spot"}},
        {"properties": {}},
        "properties.scaleSetPriority",
        id="not the default",
    ),
    pytest.param(
        NSG,
        {"properties": {"securityRules": [{"name": "r", "properties": {"access": "Deny"}}]}},
        {"properties": {"securityRules": [{"name": "r", "properties": {"access": "Allow"}}]}},
        "properties.securityRules[name=r].properties.access",
        id="inside a named item",
    ),
    pytest.param(
        NSG,
        {"properties": {"securityRules": [{"name": "r"}]}},
        {"properties": {"securityRules": []}},
        "properties.securityRules[name=r]",
        id="a named item is missing",
    ),
    pytest.param(
        VNET,
        {"dhcpOptions": {"dnsServers": ["a", "b"]}},
        {"dhcpOptions": {"dnsServers": ["b", "a"]}},
        "dhcpOptions.dnsServers",
        id="order of plain values",
    ),
    pytest.param(VNET, {"l": [{"a": 1}, {"a": 2}]}, {"l": [{"a": 2}, {"a": 3}]}, "l[0].a", id="items without a name"),
    pytest.param(VNET, {"p": "${ref:/subscriptions/S/resourceGroups/G#id}"}, {"p": "x"}, "p", id="not known yet"),
]

UNEXPECTED = [
    pytest.param(
        NSG,
        {"properties": {"securityRules": []}},
        {"properties": {"securityRules": [{"name": "open", "properties": {}}]}},
        "properties.securityRules[name=open]",
        False,
        id="a rule nobody declared",
    ),
    pytest.param(
        VNET,
        {"properties": {"subnets": []}},
        {"properties": {"subnets": [{"name": "x"}]}},
        "properties.subnets[name=x]",
        True,
        id="a subnet nobody declared is kept",
    ),
    pytest.param(
        AKS,
        {"identity": {"userAssignedIdentities": {}}},
        {"identity": {"userAssignedIdentities": {ID: {}}}},
        f'identity.userAssignedIdentities["{ID}"]',
        False,
        id="an identity nobody declared",
    ),
    pytest.param(VNET, {"a": ["x"]}, {"a": ["x", "y"]}, "a", False, id="a value nobody declared"),
]


@pytest.mark.parametrize(("type_name", "desired", "live"), EQUAL)
def test_equal(type_name: str, desired: dict[str, t.Any], live: dict[str, t.Any]) -> None:
    assert compare(desired, live, facts_of(type_name)) == []


@pytest.mark.parametrize(("type_name", "desired", "live", "path"), DRIFT)
def test_drift(type_name: str, desired: dict[str, t.Any], live: dict[str, t.Any], path: str) -> None:
    found = compare(desired, live, facts_of(type_name))
    assert found[0].path == path
    assert {difference.verdict for difference in found} == {"drift"}


@pytest.mark.parametrize(("type_name", "desired", "live", "path", "kept"), UNEXPECTED)
def test_unexpected(type_name: str, desired: dict[str, t.Any], live: dict[str, t.Any], path: str, kept: bool) -> None:
    found = compare(desired, live, facts_of(type_name))
    assert [(d.path, d.verdict, d.kept) for d in found] == [(path, "unexpected", kept)]


@pytest.mark.parametrize("shown", [{}, {"secret": ""}, {"secret": "***"}])
def test_what_is_never_shown_is_neither_equal_nor_drift(shown: dict[str, str]) -> None:
    desired = {"properties": {"servicePrincipalProfile": {"clientId": "c", "secret": "hunter2"}}}
    live = {"properties": {"servicePrincipalProfile": {"clientId": "c", **shown}}}
    (found,) = compare(desired, live, facts_of(AKS))
    assert (found.path, found.verdict) == ("properties.servicePrincipalProfile.secret", "not_verifiable")
    assert "hunter2" not in str(found)


def test_a_child_with_a_document_of_its_own_is_expected() -> None:
    desired = {"properties": {"subnets": [{"name": "a"}]}}
    live = {"properties": {"subnets": [{"name": "a"}, {"name": "B"}]}}
    assert compare(desired, live, facts_of(VNET), declared={"subnets/b"}) == []
    assert [d.child for d in compare(desired, live, facts_of(VNET))] == ["subnets/B"]


def test_plain_data_for_tools() -> None:
    (found,) = compare_documents(VNET, {"a": 1}, {"a": 2})
    assert (found["path"], found["verdict"], found["desired"], found["live"]) == ("a", "drift", 1, 2)


def test_sabotage_a_comparison_that_always_says_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_same", lambda *args: True)
    missed = [case.id for case in DRIFT if not compare(*_arguments(case))]
    assert len(missed) > len(DRIFT) / 3, "the table of drift does not depend on how scalars are compared"


def _arguments(case: t.Any) -> tuple[t.Any, t.Any, t.Any]:
    type_name, desired, live, _path = case.values
    return desired, live, facts_of(type_name)


def test_merge_keeps_what_the_document_does_not_name() -> None:
    live = {
        "id": "/x",
        "etag": "1",
        "location": "westeurope",
        "tags": {"by": "policy"},
        "properties": {
            "provisioningState": "Succeeded",
            "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
            "enableDdosProtection": True,
            "subnets": [
                {"name": "a", "id": "/a", "etag": "1", "properties": {"addressPrefix": "10.0.0.0/24", "keep": 1}},
                {"name": "hand-made", "id": "/h", "properties": {"addressPrefix": "10.0.9.0/24"}},
            ],
        },
    }
    desired = {
        "location": "West Europe",
        "tags": {"env": "lab"},
        "properties": {"subnets": [{"name": "a", "properties": {"addressPrefix": "10.0.1.0/24"}}]},
    }
    assert merge(desired, live, facts_of(VNET)) == {
        "location": "westeurope",
        "tags": {"by": "policy", "env": "lab"},
        "properties": {
            "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
            "enableDdosProtection": True,
            "subnets": [
                {"name": "a", "id": "/a", "properties": {"addressPrefix": "10.0.1.0/24", "keep": 1}},
                {"name": "hand-made", "id": "/h", "properties": {"addressPrefix": "10.0.9.0/24"}},
            ],
        },
    }


def test_merge_removes_what_nobody_declared_where_it_may() -> None:
    live = {"properties": {"securityRules": [{"name": "ours"}, {"name": "open"}]}}
    desired = {"properties": {"securityRules": [{"name": "ours"}]}}
    assert merge(desired, live, facts_of(NSG)) == desired
    assert merge(desired, live, facts_of(NSG), declared={"securityrules/open"}) == live


def test_merge_of_a_subnet_list_removes_only_with_consent() -> None:
    live = {"properties": {"subnets": [{"name": "a"}, {"name": "b"}]}}
    desired = {"properties": {"subnets": [{"name": "a"}]}}
    assert merge(desired, live, facts_of(VNET)) == live
    assert merge(desired, live, facts_of(VNET), removable=lambda child: child == "subnets/b") == desired


def test_merge_leaves_the_count_to_the_autoscaler() -> None:
    desired = {"properties": {"count": 1, "enableAutoScaling": True, "maxCount": 9}}
    live = {"properties": {"count": 4, "enableAutoScaling": True, "maxCount": 5}}
    assert merge(desired, live, facts_of(POOL))["properties"] == {"count": 4, "enableAutoScaling": True, "maxCount": 9}
    assert merge(desired, {}, facts_of(POOL))["properties"]["count"] == 1


def test_merge_does_not_roll_back_a_followed_key() -> None:
    live = encryption("https://kv.vault.azure.net/keys/disks/" + "2" * 32)
    desired = encryption("https://kv.vault.azure.net/keys/disks/" + "1" * 32)
    assert merge(desired, live, facts_of(ENCRYPTION)) == live
    still = encryption("https://kv.vault.azure.net/keys/disks/" + "1" * 32, following=False)
    assert merge(still, live, facts_of(ENCRYPTION)) == still


def test_merge_does_not_roll_back_a_version_alias() -> None:
    live = {"properties": {"kubernetesVersion": "1.33.5"}}
    assert merge({"properties": {"kubernetesVersion": "1.33"}}, live, facts_of(AKS)) == live


def test_merge_replaces_references_and_sends_no_nulls() -> None:
    live = {"properties": {"subnet": {"id": "/a", "properties": {"x": 1}}, "gone": None}}
    desired = {"properties": {"subnet": {"id": "/b"}, "unset": None}}
    assert merge(desired, live, facts_of("Microsoft.Network/privateEndpoints")) == {
        "properties": {"subnet": {"id": "/b"}}
    }


def test_merge_sends_identities_without_what_azure_fills_in() -> None:
    live = {
        "identity": {
            "type": "UserAssigned",
            "principalId": "p",
            "userAssignedIdentities": {ID.lower(): {"principalId": "p", "clientId": "c"}, "/other": {}},
        }
    }
    desired = {"identity": {"type": "UserAssigned", "userAssignedIdentities": {ID: {}}}}
    assert merge(desired, live, facts_of(AKS)) == {
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {ID.lower(): {}}}
    }


@pytest.mark.parametrize(("type_name", "desired", "live"), EQUAL)
def test_what_is_equal_stays_equal_when_written(
    type_name: str, desired: dict[str, t.Any], live: dict[str, t.Any]
) -> None:
    facts = facts_of(type_name)
    assert compare(desired, merge(desired, live, facts), facts) == []


@pytest.mark.parametrize(("type_name", "desired", "live", "path"), DRIFT)
def test_what_was_written_is_equal_afterwards(
    type_name: str, desired: dict[str, t.Any], live: dict[str, t.Any], path: str
) -> None:
    facts = facts_of(type_name)
    assert compare(desired, merge(desired, live, facts), facts) == []
