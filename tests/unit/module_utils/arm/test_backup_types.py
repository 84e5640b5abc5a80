# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A backup vault, its policy, the extension of a cluster and what protects it: as the service shows them."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.catalogue import facts_of
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.compare import compare, merge
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.documents import Estate
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.plan import Plan, make_plan
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import GuardError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.redaction import Redactor

from tests.unit.module_utils.arm.fake import G

Body = dict[str, t.Any]

CLUSTER = f"{G}/providers/Microsoft.ContainerService/managedClusters/aks"
VAULT = f"{G}/providers/Microsoft.DataProtection/backupVaults/bv"
POLICY = f"{VAULT}/backupPolicies/p"
INSTANCE = f"{VAULT}/backupInstances/i"
EXTENSION = f"{CLUSTER}/providers/Microsoft.KubernetesConfiguration/extensions/azure-aks-backup"
BINDING = f"{CLUSTER}/trustedAccessRoleBindings/backup-vault"
ASSIGNMENT = f"{CLUSTER}/providers/Microsoft.Authorization/roleAssignments/20000000-0000-4000-8000-000000000009"


def vault(redundancy: str = "ZoneRedundant", days: float = 14) -> Body:
    return {
        "storageSettings": [{"datastoreType": "VaultStore", "type": redundancy}],
        "securitySettings": {
            "softDeleteSettings": {"state": "On", "retentionDurationInDays": days},
            "immutabilitySettings": {"state": "Unlocked"},
        },
    }


def policy(interval: str = "PT4H", days: int = 30, tag: Body | None = None) -> Body:
    store = {"objectType": "DataStoreInfoBase", "dataStoreType": "OperationalStore"}
    return {
        "objectType": "BackupPolicy",
        "policyRules": [
            {
                "name": "BackupDaily" if interval == "P1D" else "BackupHourly",
                "objectType": "AzureBackupRule",
                "dataStore": store,
                "trigger": {
                    "schedule": {"repeatingTimeIntervals": [f"R/2026-01-01T01:00:00+00:00/{interval}"]},
                    "taggingCriteria": [{"isDefault": True, "taggingPriority": 99, "tagInfo": tag or {"tagName": "D"}}],
                },
            },
            {
                "name": "Default",
                "objectType": "AzureRetentionRule",
                "lifecycles": [{"deleteAfter": {"duration": f"P{days}D"}, "sourceDataStore": store}],
            },
        ],
    }


def instance(group: str = G, namespaces: tuple[str, ...] = ("mariadb", "openmrs"), **source: str) -> Body:
    kind = "KubernetesClusterBackupDatasourceParameters"
    return {
        "dataSourceInfo": {
            "resourceID": CLUSTER,
            "resourceType": "Microsoft.ContainerService/managedClusters",
            "resourceLocation": "francecentral",
            **source,
        },
        "policyInfo": {
            "policyId": POLICY,
            "policyParameters": {
                "dataStoreParametersList": [{"dataStoreType": "OperationalStore", "resourceGroupId": group}],
                "backupDatasourceParametersList": [{"objectType": kind, "includedNamespaces": list(namespaces)}],
            },
        },
    }


def extension(train: str = "stable", **more: t.Any) -> Body:
    return {
        "extensionType": "microsoft.dataprotection.kubernetes",
        "releaseTrain": train,
        "configurationSettings": {"configuration.backupStorageLocation.bucket": "c"},
        **more,
    }


SHOWN = {
    "protectionStatus": {"status": "ProtectionConfigured"},
    "currentProtectionState": "ProtectionConfigured",
    "provisioningState": "Succeeded",
}
EQUAL = [
    pytest.param(VAULT, vault(), {**vault(days=14.0), "secureScore": "Adequate"}, id="vault"),
    pytest.param(POLICY, policy(), policy(tag={"tagName": "D", "id": "Default_"}), id="policy with the tag's id"),
    pytest.param(
        INSTANCE,
        instance(),
        {
            **instance(
                namespaces=("openmrs", "mariadb"),
                resourceType="Microsoft.ContainerService/managedclusters",
                resourceLocation="France Central",
                resourceID=CLUSTER.upper(),
            ),
            **SHOWN,
        },
        id="instance in other letters and another order",
    ),
    pytest.param(
        EXTENSION,
        extension(),
        extension("Stable", aksAssignedIdentity={"principalId": "p", "type": None}, currentVersion="1", statuses=[]),
        id="extension",
    ),
    pytest.param(
        BINDING,
        {"sourceResourceId": VAULT, "roles": ["a/b/c", "a/b/d"]},
        {"sourceResourceId": VAULT, "roles": ["a/b/d", "a/b/c"], "provisioningState": "Succeeded"},
        id="binding",
    ),
]


def plan_of(documents: list[Body], live: Body, *, state: str = "present", allow: tuple[str, ...] = ()) -> Plan:
    estate = Estate(documents)
    complete = {document.key: None for document in estate} | {key.lower(): body for key, body in live.items()}
    return make_plan(estate, complete, state=state, allow_delete=allow, redactor=Redactor(b"k"))


def changed(where: str, desired: Body, live: Body) -> list[str]:
    plan = plan_of([{"id": where, "properties": desired}], {where: {"properties": live}})
    return [change.path for step in plan.steps for change in step.action.changes]


@pytest.mark.parametrize(("where", "desired", "live"), EQUAL)
def test_what_was_taken_has_not_drifted(where: str, desired: Body, live: Body) -> None:
    facts = Estate([{"id": where}]).documents[0].facts
    assert compare({"properties": desired}, {"properties": live}, facts) == []


def test_what_is_weakened_is_drift_and_put_right() -> None:
    weak = vault(days=14.0)
    weak["securitySettings"] = {"softDeleteSettings": {"state": "Off"}, "immutabilitySettings": {"state": "Disabled"}}
    assert changed(VAULT, vault(), weak) == [
        "properties.securitySettings.softDeleteSettings.state",
        "properties.securitySettings.softDeleteSettings.retentionDurationInDays",
        "properties.securitySettings.immutabilitySettings.state",
    ]


def test_a_namespace_that_is_not_protected_is_drift() -> None:
    (path,) = changed(INSTANCE, instance(), instance(namespaces=("mariadb",)))
    assert path.endswith("includedNamespaces")


IMMUTABLE = [
    pytest.param(VAULT, vault("GeoRedundant"), vault(), "GeoRedundant", id="redundancy"),
    pytest.param(POLICY, policy("PT6H"), policy(), "PT6H", id="interval"),
    pytest.param(POLICY, policy("P1D"), policy(), "BackupDaily", id="interval of another rule"),
    pytest.param(POLICY, policy(days=7), policy(), "P7D", id="retention"),
    pytest.param(INSTANCE, instance(f"{G}-2"), instance(), "rg-2", id="group of the snapshots"),
    pytest.param(BINDING, {"sourceResourceId": VAULT}, {"sourceResourceId": f"{VAULT}2"}, "bv", id="binding"),
]


@pytest.mark.parametrize(("where", "desired", "live", "named"), IMMUTABLE)
def test_what_azure_does_not_change_is_refused_before_the_first_write(
    where: str, desired: Body, live: Body, named: str
) -> None:
    with pytest.raises(GuardError, match=named):
        changed(where, desired, live)


def test_another_policy_is_given_to_the_instance_in_place() -> None:
    other = instance()
    other["policyInfo"]["policyId"] = f"{POLICY}-2"
    assert changed(INSTANCE, other, instance()) == ["properties.policyInfo.policyId"]


def test_what_only_the_service_writes_is_not_sent_back() -> None:
    facts = facts_of("Microsoft.DataProtection/backupVaults/backupInstances")
    body = merge({"properties": instance()}, {"properties": {**instance(), **SHOWN}}, facts)
    assert body == {"properties": instance()}


# As the roles refer to each other: the instance needs everything, and the assignment the identity of the vault.
DOCUMENTS: list[Body] = [
    {
        "id": INSTANCE,
        "dependsOn": [EXTENSION, BINDING, ASSIGNMENT],
        "properties": instance(),
    },
    {"id": ASSIGNMENT, "properties": {"principalId": f"${{ref:{VAULT}#identity.principalId}}"}},
    {"id": BINDING, "properties": {"sourceResourceId": VAULT}},
    {"id": EXTENSION},
    {"id": POLICY},
    {"id": VAULT},
    {"id": CLUSTER},
]
EVERYTHING: Body = {document["id"]: {"identity": {"principalId": "p"}, "properties": {}} for document in DOCUMENTS}


def test_the_instance_is_made_last() -> None:
    plan = plan_of(DOCUMENTS, {})
    assert [step.id for step in plan.steps][-1] == INSTANCE
    assert {other.lower() for other in (POLICY, EXTENSION, BINDING, ASSIGNMENT)} <= plan.steps[-1].waits_for


def test_the_instance_goes_first_and_the_vault_after_all_that_names_it() -> None:
    plan = plan_of(DOCUMENTS, EVERYTHING, state="absent", allow=("*",))
    waits = {step.id: step.waits_for for step in plan.steps}
    assert waits[INSTANCE] == frozenset()
    assert all(INSTANCE.lower() in waits[other] for other in (EXTENSION, BINDING, ASSIGNMENT, POLICY))
    assert {POLICY.lower(), BINDING.lower(), ASSIGNMENT.lower()} <= waits[VAULT]


def test_neither_vault_nor_instance_goes_without_consent() -> None:
    with pytest.raises(GuardError, match=r"backupInstances/i; .*backupVaults/bv"):
        plan_of(DOCUMENTS, {VAULT: {}, INSTANCE: {}}, state="absent")
    plan = plan_of(DOCUMENTS, {VAULT: {}, INSTANCE: {}}, state="absent", allow=("*/backupVaults/bv*",))
    assert [(step.action.verb, step.id) for step in plan.steps] == [("delete", INSTANCE), ("delete", VAULT)]
