# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Resource groups, identity, authorization, vault, disk encryption, registry, storage, monitoring, backup.

Sources, by short name:
    rest: the REST reference of each provider at the pinned version, learn.microsoft.com/rest/api.
    rec: answers recorded from the service in the test suites of Azure/azure-cli and Azure/azure-service-operator.
    aks: learn.microsoft.com/azure/backup/azure-kubernetes-service-cluster-backup-support-matrix.
    red: learn.microsoft.com/azure/backup/create-manage-backup-vault.
"""

from __future__ import annotations

import typing as t

from ansible_collections.audioprothese.platform.plugins.module_utils.arm.catalogue.model import (
    Settling,
    TypeFacts,
    facts,
)

__all__ = ["TYPES"]

_STORAGE: t.Final = "2025-06-01"
_REGISTRY: t.Final = "2025-11-01"
# Since 2025-09-01 a new vault must keep what was deleted (DppAlwaysOnSoftDeleteStateMandatory, github.com/hashicorp/
# terraform-provider-azurerm/issues/31877), and an environment that is only tried could not be removed for two weeks.
_BACKUP: t.Final = "2025-07-01"

_RESOURCES: t.Final = (
    # rest: Resource Groups - Create Or Update: a group cannot move; deletion takes all that is in it.
    facts("Microsoft.Resources/resourceGroups", "2025-04-01", stateful=True),
    # rest: Providers - Register. It belongs to the subscription: others rely on it, and it costs nothing.
    facts("Microsoft.Resources/providers", "2021-04-01", write="register", deletable=False),
    facts("Microsoft.Resources/tags", "2025-04-01"),
    # rest: Management Locks.
    facts("Microsoft.Authorization/locks", "2020-05-01", enums=("properties.level",)),
)

_IDENTITY: t.Final = (
    facts(
        "Microsoft.ManagedIdentity/userAssignedIdentities",
        "2024-11-30",
        enums=("properties.isolationScope",),
        read_only=("properties.principalId", "properties.clientId", "properties.tenantId"),
        stateful=True,
    ),
    # rest: "Concurrent writes of federated credentials under one identity are refused" (workload identity federation
    # considerations), so they are written one after the other.
    facts(
        "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials",
        "2024-11-30",
        serial=("parent",),
    ),
    # rest: an assignment cannot be changed but for its description and condition; a second one for the same
    # principal, role and scope is refused with RoleAssignmentExists, whatever its name.
    facts(
        "Microsoft.Authorization/roleAssignments",
        "2022-04-01",
        lookup="role_assignment",
        enums=("properties.principalType",),
        read_only=(
            "properties.scope",
            "properties.createdOn",
            "properties.updatedOn",
            "properties.createdBy",
            "properties.updatedBy",
        ),
        immutable=("properties.principalId", "properties.roleDefinitionId", "properties.principalType"),
        replaceable=True,
    ),
    # rec: roleDefinition type "customRole" comes back as "CustomRole".
    facts(
        "Microsoft.Authorization/roleDefinitions",
        "2022-04-01",
        enums=("properties.type",),
        read_only=("properties.createdOn", "properties.updatedOn", "properties.createdBy", "properties.updatedBy"),
        unordered=(
            "properties.assignableScopes",
            "properties.permissions[].actions",
            "properties.permissions[].notActions",
            "properties.permissions[].dataActions",
            "properties.permissions[].notDataActions",
        ),
    ),
    facts(
        "Microsoft.Authorization/policyAssignments",
        "2025-03-01",
        enums=("properties.enforcementMode", "properties.assignmentType"),
        read_only=(
            "properties.scope",
            "properties.instanceId",
            "properties.effectiveDefinitionVersion",
            "properties.latestDefinitionVersion",
            "properties.metadata.createdBy",
            "properties.metadata.createdOn",
            "properties.metadata.updatedBy",
            "properties.metadata.updatedOn",
        ),
    ),
)

_VAULT: t.Final = (
    facts(
        "Microsoft.KeyVault/vaults",
        "2024-11-01",
        enums=(
            "properties.sku.name",
            "properties.sku.family",
            "properties.publicNetworkAccess",
            "properties.networkAcls.bypass",
            "properties.networkAcls.defaultAction",
            "properties.accessPolicies[].permissions.keys[]",
            "properties.accessPolicies[].permissions.secrets[]",
            "properties.accessPolicies[].permissions.certificates[]",
            "properties.accessPolicies[].permissions.storage[]",
        ),
        # rec: taken when the vault is made or recovered, never shown.
        write_only=("properties.createMode",),
        read_only=("properties.vaultUri", "properties.hsmPoolResourceId", "properties.privateEndpointConnections"),
        # rest: "softDeleteRetentionInDays ... cannot be changed"; purge protection and soft delete cannot be undone.
        immutable=("properties.softDeleteRetentionInDays", "properties.tenantId"),
        # rec: vaults made without rules do not show them.
        defaults={
            "properties.networkAcls.bypass": ("AzureServices",),
            "properties.networkAcls.defaultAction": ("Allow",),
        },
        keys={
            "properties.accessPolicies": ("tenantId", "objectId", "applicationId"),
            "properties.networkAcls.ipRules": ("value",),
            "properties.networkAcls.virtualNetworkRules": ("id",),
        },
        hosts=("properties.networkAcls.ipRules[].value",),
        unordered=(
            "properties.accessPolicies[].permissions.keys",
            "properties.accessPolicies[].permissions.secrets",
            "properties.accessPolicies[].permissions.certificates",
            "properties.accessPolicies[].permissions.storage",
        ),
        stateful=True,
    ),
    # rest: "Creates the first version of a new key if it does not exist. If it already exists, then the existing key is
    # returned without any write operations being performed"; there is no Delete. rec: reading shows the newest version.
    facts(
        "Microsoft.KeyVault/vaults/keys",
        "2024-11-01",
        enums=("properties.kty", "properties.curveName", "properties.rotationPolicy.lifetimeActions[].action.type"),
        read_only=(
            "properties.keyUri",
            "properties.keyUriWithVersion",
            "properties.attributes.created",
            "properties.attributes.updated",
            "properties.attributes.recoveryLevel",
            "properties.rotationPolicy.attributes.created",
            "properties.rotationPolicy.attributes.updated",
        ),
        immutable=("properties.kty", "properties.keySize", "properties.curveName"),
        unordered=("properties.keyOps",),
        made_once="az keyvault key set-attributes, or rotation-policy update",
        deletable=False,
        stateful=True,
    ),
)

_ENCRYPTION: t.Final = (
    # rest: a set that follows its key (rotationToLatestKeyVersionEnabled) is given each new version by the service; the
    # version is part of keyUrl all the same. Who deletes a set takes the key away from its disks.
    facts(
        "Microsoft.Compute/diskEncryptionSets",
        "2025-01-02",
        enums=("properties.encryptionType",),
        read_only=(
            "properties.previousKeys",
            "properties.lastKeyRotationTimestamp",
            "properties.autoKeyRotationError",
        ),
        followed={"properties.activeKey": "rotationToLatestKeyVersionEnabled"},
        stateful=True,
    ),
)

_REGISTRIES: t.Final = (
    facts(
        "Microsoft.ContainerRegistry/registries",
        _REGISTRY,
        enums=(
            "sku.name",
            "properties.publicNetworkAccess",
            "properties.networkRuleBypassOptions",
            "properties.networkRuleSet.defaultAction",
            "properties.zoneRedundancy",
            "properties.policies.quarantinePolicy.status",
            "properties.policies.trustPolicy.status",
            "properties.policies.trustPolicy.type",
            "properties.policies.retentionPolicy.status",
            "properties.policies.exportPolicy.status",
            "properties.policies.azureADAuthenticationAsArmPolicy.status",
            "properties.roleAssignmentMode",
            "properties.encryption.status",
        ),
        read_only=(
            "sku.tier",
            "properties.loginServer",
            "properties.creationDate",
            "properties.status",
            "properties.dataEndpointHostNames",
            "properties.privateEndpointConnections",
            "properties.policies.retentionPolicy.lastUpdatedTime",
        ),
        # rest: zone redundancy is decided when the registry is made.
        immutable=("properties.zoneRedundancy",),
        keys={"properties.networkRuleSet.ipRules": ("value",)},
        hosts=("properties.networkRuleSet.ipRules[].value",),
        stateful=True,
    ),
    facts(
        "Microsoft.ContainerRegistry/registries/replications",
        _REGISTRY,
        enums=("properties.zoneRedundancy",),
        read_only=("properties.status",),
        immutable=("properties.zoneRedundancy",),
        serial=("parent",),
    ),
    facts(
        "Microsoft.ContainerRegistry/registries/scopeMaps",
        _REGISTRY,
        read_only=("properties.type", "properties.creationDate"),
        serial=("parent",),
    ),
    # rec: the certificate of a token is not shown again.
    facts(
        "Microsoft.ContainerRegistry/registries/tokens",
        _REGISTRY,
        enums=("properties.status",),
        write_only=("properties.credentials.certificates[].encodedPemCertificate",),
        secrets=("properties.credentials.passwords[].value",),
        read_only=("properties.creationDate",),
        serial=("parent",),
    ),
)

_STORAGES: t.Final = (
    facts(
        "Microsoft.Storage/storageAccounts",
        _STORAGE,
        enums=(
            "sku.name",
            "kind",
            "properties.accessTier",
            "properties.minimumTlsVersion",
            "properties.publicNetworkAccess",
            "properties.allowedCopyScope",
            "properties.networkAcls.bypass",
            "properties.networkAcls.defaultAction",
            "properties.networkAcls.virtualNetworkRules[].action",
            "properties.networkAcls.ipRules[].action",
            "properties.encryption.keySource",
            "properties.encryption.services.*.keyType",
            "properties.sasPolicy.expirationAction",
            "properties.largeFileSharesState",
            "properties.dnsEndpointType",
        ),
        read_only=(
            "properties.primaryEndpoints",
            "properties.secondaryEndpoints",
            "properties.primaryLocation",
            "properties.secondaryLocation",
            "properties.statusOfPrimary",
            "properties.statusOfSecondary",
            "properties.creationTime",
            "properties.keyCreationTime",
            "properties.privateEndpointConnections",
            "properties.geoReplicationStats",
            "properties.encryption.services.*.lastEnabledTime",
            "properties.lastGeoFailoverTime",
        ),
        # rest: "cannot be changed after the account is made".
        immutable=(
            "kind",
            "properties.isHnsEnabled",
            "properties.encryption.requireInfrastructureEncryption",
            "properties.dnsEndpointType",
        ),
        keys={
            "properties.networkAcls.ipRules": ("value",),
            "properties.networkAcls.virtualNetworkRules": ("id",),
            "properties.networkAcls.resourceAccessRules": ("tenantId", "resourceId"),
        },
        hosts=("properties.networkAcls.ipRules[].value",),
        stateful=True,
    ),
    # rest: the blob service of an account is always there; it has no Delete operation.
    facts(
        "Microsoft.Storage/storageAccounts/blobServices",
        _STORAGE,
        deletable=False,
        read_only=("sku", "properties.restorePolicy.minRestoreTime", "properties.restorePolicy.lastEnabledTime"),
        serial=("parent",),
        stateful=True,
    ),
    # rec: "blob" comes back as "Blob".
    facts(
        "Microsoft.Storage/storageAccounts/blobServices/containers",
        _STORAGE,
        enums=("properties.publicAccess",),
        read_only=(
            "properties.lastModifiedTime",
            "properties.leaseStatus",
            "properties.leaseState",
            "properties.leaseDuration",
            "properties.hasImmutabilityPolicy",
            "properties.hasLegalHold",
            "properties.immutabilityPolicy",
            "properties.legalHold",
            "properties.deleted",
            "properties.remainingRetentionDays",
            "properties.immutableStorageWithVersioning.timeStamp",
            "properties.immutableStorageWithVersioning.migrationState",
        ),
        # rest: "defaultEncryptionScope ... cannot be changed"; version-level immutability cannot be switched off.
        immutable=("properties.defaultEncryptionScope", "properties.denyEncryptionScopeOverride"),
        stateful=True,
    ),
    # rest: a locked one is extended, and never shortened nor deleted; an unlocked one goes with its empty container.
    facts(
        "Microsoft.Storage/storageAccounts/blobServices/containers/immutabilityPolicies",
        _STORAGE,
        read_only=("properties.state",),
        deletable=False,
        serial=("parent",),
        stateful=True,
    ),
    facts(
        "Microsoft.Storage/storageAccounts/managementPolicies",
        _STORAGE,
        enums=("properties.policy.rules[].type",),
        read_only=("properties.lastModifiedTime",),
        serial=("parent",),
    ),
)

_MONITORING: t.Final = (
    # rec: PerGB2018 comes back as pergb2018, "7" as 7.
    facts(
        "Microsoft.OperationalInsights/workspaces",
        "2025-07-01",
        enums=(
            "properties.sku.name",
            "properties.publicNetworkAccessForIngestion",
            "properties.publicNetworkAccessForQuery",
        ),
        read_only=(
            "properties.customerId",
            "properties.createdDate",
            "properties.modifiedDate",
            "properties.sku.lastSkuUpdate",
            "properties.workspaceCapping.quotaNextResetTime",
            "properties.workspaceCapping.dataIngestionStatus",
            "properties.privateLinkScopedResources",
        ),
        stateful=True,
    ),
    # rest: Tables: built-in tables exist with the workspace and are changed by PATCH.
    facts(
        "Microsoft.OperationalInsights/workspaces/tables",
        "2025-07-01",
        write="PATCH",
        enums=("properties.plan",),
        serial=("self",),
    ),
    # rest: the stable 2016-09-01 knows no categoryGroup. Categories that are off may be listed or not.
    facts(
        "Microsoft.Insights/diagnosticSettings",
        "2021-05-01-preview",
        keys={"properties.logs": ("category", "categoryGroup"), "properties.metrics": ("category",)},
        inert={"properties.logs": "enabled", "properties.metrics": "enabled"},
        read_only=("properties.logs[].retentionPolicy", "properties.metrics[].retentionPolicy"),
        enums=("properties.logAnalyticsDestinationType",),
        # rest: "Dedicated" only where the service offers it; AzureDiagnostics is the default and not shown.
        defaults={"properties.logAnalyticsDestinationType": ("AzureDiagnostics",)},
        serial=("parent",),
    ),
    # rec: webhook addresses hold a key and are still shown; nothing is write-only here.
    facts("Microsoft.Insights/actionGroups", "2023-01-01"),
    facts("Microsoft.Insights/activityLogAlerts", "2020-10-01"),
    facts("Microsoft.Insights/metricAlerts", "2018-03-01", unordered=("properties.scopes",)),
    facts("Microsoft.AlertsManagement/prometheusRuleGroups", "2023-03-01"),
    # rec: monthly comes back as Monthly.
    facts(
        "Microsoft.Consumption/budgets",
        "2024-08-01",
        enums=("properties.timeGrain", "properties.category", "properties.notifications.*.operator"),
        read_only=("properties.currentSpend", "properties.forecastSpend"),
    ),
)

_BACKUPS: t.Final = (
    # red: "Storage redundancy cannot be changed after protecting items". rec: days come back as 14.0.
    facts(
        "Microsoft.DataProtection/backupVaults",
        _BACKUP,
        enums=(
            "properties.storageSettings[].type",
            "properties.storageSettings[].datastoreType",
            "properties.securitySettings.softDeleteSettings.state",
            "properties.securitySettings.immutabilitySettings.state",
            "properties.monitoringSettings.azureMonitorAlertSettings.alertsForAllJobFailures",
        ),
        keys={"properties.storageSettings": ("datastoreType",)},
        read_only=(
            "properties.isVaultProtectedByResourceGuard",
            "properties.resourceMoveState",
            "properties.resourceMoveDetails",
            "properties.secureScore",
            "properties.bcdrSecurityLevel",
        ),
        immutable=("properties.storageSettings[].type",),
        stateful=True,
    ),
    # aks: "the modification of a backup policy and the modification of a snapshot resource group ... aren't supported".
    facts(
        "Microsoft.DataProtection/backupVaults/backupPolicies",
        _BACKUP,
        immutable=(
            "properties.datasourceTypes",
            "properties.policyRules[]",
            "properties.policyRules[].trigger.schedule.repeatingTimeIntervals",
            "properties.policyRules[].lifecycles[].deleteAfter.duration",
        ),
        keys={"properties.policyRules": ("name",)},
        serial=("parent",),
    ),
    # rec: resourceType of a cluster is managedClusters or managedclusters, and protection is still being configured
    # when the operation has ended. An instance goes with its recovery points.
    facts(
        "Microsoft.DataProtection/backupVaults/backupInstances",
        _BACKUP,
        enums=(
            "properties.dataSourceInfo.datasourceType",
            "properties.dataSourceInfo.resourceType",
            "properties.dataSourceSetInfo.datasourceType",
            "properties.dataSourceSetInfo.resourceType",
        ),
        locations=("properties.dataSourceInfo.resourceLocation", "properties.dataSourceSetInfo.resourceLocation"),
        read_only=(
            "properties.currentProtectionState",
            "properties.protectionStatus",
            "properties.protectionErrorDetails",
            "properties.policyInfo.policyVersion",
        ),
        immutable=(
            "properties.dataSourceInfo.resourceID",
            "properties.dataSourceSetInfo.resourceID",
            "properties.policyInfo.policyParameters.dataStoreParametersList[].resourceGroupId",
        ),
        keys={
            "properties.policyInfo.policyParameters.dataStoreParametersList": ("dataStoreType",),
            "properties.policyInfo.policyParameters.backupDatasourceParametersList": ("objectType",),
        },
        unordered=(
            "properties.policyInfo.policyParameters.backupDatasourceParametersList[].includedNamespaces",
            "properties.policyInfo.policyParameters.backupDatasourceParametersList[].excludedNamespaces",
            "properties.policyInfo.policyParameters.backupDatasourceParametersList[].includedResourceTypes",
            "properties.policyInfo.policyParameters.backupDatasourceParametersList[].excludedResourceTypes",
        ),
        settles=Settling(
            path="properties.currentProtectionState",
            through=frozenset({"ConfiguringProtection", "UpdatingProtection"}),
            end="ProtectionConfigured",
            why="properties.protectionStatus.errorDetails.message",
        ),
        serial=("parent",),
        stateful=True,
    ),
    # rec: protected settings come back empty, identity is shown as aksAssignedIdentity, no release train as Stable.
    facts(
        "Microsoft.KubernetesConfiguration/extensions",
        "2025-03-01",
        enums=("properties.extensionType", "properties.releaseTrain"),
        secrets=("properties.configurationProtectedSettings.*",),
        read_only=(
            "properties.aksAssignedIdentity",
            "properties.currentVersion",
            "properties.customLocationSettings",
            "properties.errorInfo",
            "properties.extensionState",
            "properties.isSystemExtension",
            "properties.packageUri",
            "properties.statuses",
        ),
        immutable=("properties.extensionType",),
        serial=("parent",),
    ),
)

TYPES: t.Final[tuple[TypeFacts, ...]] = (
    *_RESOURCES,
    *_IDENTITY,
    *_VAULT,
    *_ENCRYPTION,
    *_REGISTRIES,
    *_STORAGES,
    *_MONITORING,
    *_BACKUPS,
)
