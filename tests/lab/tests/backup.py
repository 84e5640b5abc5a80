# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster with all that Azure Backup asks for, made through Microsoft's clients; everything on its first use."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tests.lab.tests.sdk import LOCATION, InGroup, account_body, cluster_body, made

READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
CONTRIBUTOR = "b24988ac-6180-42a0-ab88-20f7382dd24c"
BLOB_CONTRIBUTOR = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
SNAPSHOT_CONTRIBUTOR = "7efff54f-a5b4-42b5-a1c5-5411624893ce"
DISK_DATA_OPERATOR = "959f8984-c045-4866-89c7-12bf9737be2e"
OPERATOR = "Microsoft.DataProtection/backupVaults/backup-operator"
DATASOURCE = "Microsoft.ContainerService/managedClusters"
EXTENSION = "azure-aks-backup"
OPERATIONAL = {"dataStoreType": "OperationalStore", "objectType": "DataStoreInfoBase"}


def vault_body(soft_delete: str = "AlwaysOn", **properties: Any) -> dict[str, Any]:
    """A vault as the platform makes it."""
    security = {
        "softDeleteSettings": {"state": soft_delete, "retentionDurationInDays": 14},
        "immutabilitySettings": {"state": "Unlocked"},
    }
    wanted = {
        "storageSettings": [{"datastoreType": "VaultStore", "type": "ZoneRedundant"}],
        "securitySettings": security,
        "monitoringSettings": {"azureMonitorAlertSettings": {"alertsForAllJobFailures": "Enabled"}},
    }
    return {"location": LOCATION, "identity": {"type": "SystemAssigned"}, "properties": wanted | properties}


def policy_body(duration: str = "P7D", *, datasource: str = DATASOURCE, in_vault: bool = False) -> dict[str, Any]:
    """A policy: every four hours, kept for a time, with `in_vault` copied to the vault as well."""
    tag = {"isDefault": True, "tagInfo": {"tagName": "Default"}, "taggingPriority": 99}
    backup = {
        "name": "BackupHourly",
        "objectType": "AzureBackupRule",
        "backupParameters": {"objectType": "AzureBackupParams", "backupType": "Incremental"},
        "dataStore": OPERATIONAL,
        "trigger": {
            "objectType": "ScheduleBasedTriggerContext",
            "schedule": {"repeatingTimeIntervals": ["R/2026-01-01T01:00:00+00:00/PT4H"]},
            "taggingCriteria": [tag],
        },
    }
    gone = {"objectType": "AbsoluteDeleteOption", "duration": duration}
    lifecycles = [{"deleteAfter": gone, "sourceDataStore": OPERATIONAL}]
    if in_vault:
        lifecycles.append({"deleteAfter": gone, "sourceDataStore": OPERATIONAL | {"dataStoreType": "VaultStore"}})
    keep = {"name": "Default", "objectType": "AzureRetentionRule", "isDefault": True, "lifecycles": lifecycles}
    return {
        "properties": {"objectType": "BackupPolicy", "datasourceTypes": [datasource], "policyRules": [backup, keep]}
    }


@dataclass
class Protection(InGroup):
    """What stands around one backup instance."""

    @property
    def place(self) -> tuple[str, str, str, str]:
        """Where the clients for extensions look for the cluster."""
        return self.rg, "Microsoft.ContainerService", "managedClusters", str(self.cluster.name)

    @cached_property
    def cluster(self) -> Any:
        """A cluster with an identity of its own."""
        return made(self.sdk.clusters.managed_clusters, self.rg, "aks", cluster_body())

    @cached_property
    def vault(self) -> Any:
        """A vault with an identity of its own."""
        return made(self.sdk.backup.backup_vaults, self.rg, "bvault", vault_body())

    @cached_property
    def policy(self) -> Any:
        """A policy of that vault."""
        return self.sdk.backup.backup_policies.create_or_update(self.rg, self.vault.name, "daily", policy_body())

    @cached_property
    def account(self) -> Any:
        """The storage account with the container of the extension."""
        name = f"st{uuid.uuid4().hex[:10]}"
        account = self.sdk.storage.storage_accounts.begin_create(self.rg, name, account_body()).result(30)
        self.sdk.storage.blob_containers.create(self.rg, name, "backups", {})
        return account

    @cached_property
    def snapshots(self) -> str:
        """The resource group for snapshots."""
        group = self.sdk.resources.resource_groups.create_or_update(f"{self.rg}-snapshots", {"location": LOCATION})
        return str(group.id)

    def extension_body(self, **settings: str) -> dict[str, Any]:
        """The backup extension, with its container."""
        where, prefix = self.azure.settings, "configuration.backupStorageLocation"
        known = {
            f"{prefix}.bucket": "backups",
            f"{prefix}.config.resourceGroup": self.rg,
            f"{prefix}.config.storageAccount": self.account.name,
            f"{prefix}.config.subscriptionId": where.subscription_id,
            f"{prefix}.config.useAAD": "true",
            f"{prefix}.config.storageAccountURI": f"https://{self.account.name}.blob.core.windows.net/",
            "credentials.tenantId": where.tenant_id,
        }
        return {
            "properties": {
                "extensionType": "Microsoft.DataProtection.Kubernetes",
                "autoUpgradeMinorVersion": True,
                "releaseTrain": "stable",
                "configurationSettings": known | settings,
            }
        }

    @cached_property
    def extension(self) -> Any:
        """The extension on the cluster."""
        return self.sdk.extensions.extensions.begin_create(*self.place, EXTENSION, self.extension_body()).result(30)

    @cached_property
    def binding(self) -> Any:
        """The trust of the cluster in the vault."""
        properties = {"sourceResourceId": self.vault.id, "roles": [OPERATOR]}
        operations = self.sdk.clusters.trusted_access_role_bindings
        return made(operations, self.rg, self.cluster.name, "backup", {"properties": properties})

    @cached_property
    def grants(self) -> dict[str, Any]:
        """The roles that everybody needs."""
        vault, cluster = self.vault.identity.principal_id, self.cluster.identity.principal_id
        extension = self.extension.properties.aks_assigned_identity.principal_id
        return {
            "vault reads cluster": self.sdk.grant(vault, READER, self.cluster.id),
            "vault reads snapshots": self.sdk.grant(vault, READER, self.snapshots),
            "cluster makes snapshots": self.sdk.grant(cluster, CONTRIBUTOR, self.snapshots),
            "extension writes blobs": self.sdk.grant(extension, BLOB_CONTRIBUTOR, self.account.id),
        }

    def ready(self) -> Protection:
        """All but the instance."""
        assert self.policy
        assert self.binding
        assert self.grants
        return self

    def instance_body(self, **properties: Any) -> dict[str, Any]:
        """The instance that protects the cluster."""
        source = {
            "datasourceType": DATASOURCE,
            "resourceID": self.cluster.id,
            "resourceUri": self.cluster.id,
            "resourceName": self.cluster.name,
            "resourceType": DATASOURCE,
            "resourceLocation": LOCATION,
        }
        store = {"objectType": "AzureOperationalStoreParameters", "dataStoreType": "OperationalStore"}
        parameters = {
            "objectType": "KubernetesClusterBackupDatasourceParameters",
            "includedNamespaces": ["openmrs"],
            "excludedNamespaces": [],
            "includeClusterScopeResources": True,
            "snapshotVolumes": True,
        }
        policy = {
            "policyId": self.policy.id,
            "policyParameters": {
                "dataStoreParametersList": [store | {"resourceGroupId": self.snapshots}],
                "backupDatasourceParametersList": [parameters],
            },
        }
        wanted = {
            "objectType": "BackupInstance",
            "friendlyName": "aks",
            "dataSourceInfo": {"objectType": "Datasource", **source},
            "dataSourceSetInfo": {"objectType": "DatasourceSet", **source},
            "policyInfo": policy,
        }
        return {"properties": wanted | properties}

    def protect(self, name: str = "aks", **properties: Any) -> Any:
        """Ask for the instance, to the end of the operation."""
        operations = self.sdk.backup.backup_instances
        return made(operations, self.rg, self.vault.name, name, self.instance_body(**properties))
