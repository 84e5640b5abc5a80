# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Azure Backup looks at before it protects a cluster, and while it does.

Rules and codes: https://learn.microsoft.com/azure/backup/azure-kubernetes-service-backup-troubleshoot ,
https://learn.microsoft.com/azure/backup/azure-kubernetes-service-cluster-backup-concept (roles, one region) and the
manifest of AzureKubernetesService in azure-cli-extensions (roles). From elsewhere are UserErrorGenericResourceNotFound
(recording: azure-cli-extensions backup_instance_softdelete), UserErrorDppDatasourceAlreadyProtected
(https://learn.microsoft.com/azure/backup/disk-backup-troubleshoot) and what users of Terraform and of the CLI report:
UserErrorInvalidBackupDatasourceParameters, UserErrorMissingMSIPermissionsOnSnapshotResourceGroup,
UserErrorMultiProtectionNotAllowedWithSameVaultAndSamePolicy, UserErrorTrustedAccessGatewayReturnedForbidden.
BMSUserErrorInvalidInput stands where only the rule is documented. The words are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tests.lab.azure.arm_id import RESOURCE_GROUP_TYPE, ArmId
from tests.lab.azure.authorization import Caller
from tests.lab.azure.behaviour import ArmError
from tests.lab.azure.identity import callers
from tests.lab.azure.store import Resource

if TYPE_CHECKING:
    from tests.lab.azure.engine import Engine

VAULT = "microsoft.dataprotection/backupvaults"
POLICY = f"{VAULT}/backuppolicies"
INSTANCE = f"{VAULT}/backupinstances"
DELETED = f"{VAULT}/deletedbackupinstances"
CLUSTER = "microsoft.containerservice/managedclusters"
BINDING = f"{CLUSTER}/trustedaccessrolebindings"
EXTENSION = "microsoft.kubernetesconfiguration/extensions"
EXTENSION_TYPE = "microsoft.dataprotection.kubernetes"
OPERATOR = "Microsoft.DataProtection/backupVaults/backup-operator"
_READS = ("Microsoft.ContainerService/managedClusters/read", "Microsoft.KubernetesConfiguration/extensions/read")
_LOCATION = "configuration.backupStorageLocation."


def invalid(text: str) -> ArmError:
    """What the service says about most input that it does not take."""
    return ArmError(400, "BMSUserErrorInvalidInput", f"The User input provided for the call is invalid: {text}")


def not_there(what: str) -> ArmError:
    """Something that a backup instance names does not exist."""
    return ArmError(
        404,
        "UserErrorGenericResourceNotFound",
        f"Azure resource does not exist. Please make sure required resources exist: {what}.",
    )


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A backup instance that is asked for."""

    engine: Engine
    vault: Resource
    name: str
    properties: Mapping[str, Any]

    def named(self, *path: str) -> ArmId:
        """The id at a place of the properties."""
        found: Any = self.properties
        for step in path:
            found = (found or {}).get(step)
        return ArmId.parse(str(found or ""))

    def existing(self, arm_id: ArmId, type_key: str) -> Resource:
        """That resource; raises when it is not there."""
        found = self.engine.store.get(arm_id)
        if found is None or found.type != type_key:
            raise not_there(arm_id.text)
        return found

    @cached_property
    def policy(self) -> Resource:
        """The policy, of the same vault."""
        found = self.existing(self.named("policyInfo", "policyId"), POLICY)
        if found.id.parent.key != self.vault.key:
            raise invalid(f"the policy {found.id.text} is not of the vault {self.vault.id.name}.")
        return found

    @cached_property
    def cluster(self) -> Resource:
        """What is to be protected."""
        return self.existing(self.named("dataSourceInfo", "resourceID"), CLUSTER)

    @cached_property
    def extension(self) -> Resource | None:
        """The backup extension of the cluster."""
        found = self.engine.store.children(self.cluster.id, EXTENSION)
        return next((one for one in found if one.body["properties"]["extensionType"] == EXTENSION_TYPE), None)

    @cached_property
    def snapshot_group(self) -> Resource:
        """Where snapshots go."""
        listed = (self.properties["policyInfo"].get("policyParameters") or {}).get("dataStoreParametersList") or []
        for one in listed:
            if one.get("dataStoreType") == "OperationalStore" and one.get("resourceGroupId"):
                return self.existing(ArmId.parse(one["resourceGroupId"]), RESOURCE_GROUP_TYPE)
        raise invalid("the operational store has no resource group for snapshots.")

    def may(self, who: Iterable[Caller], action: str, scope: ArmId, *, data: bool = False) -> bool:
        """Whether one of them may do that there."""
        allowed = self.engine.authorization.allowed
        return any(allowed(caller, action, scope, data=data) for caller in who)


def policy_fits(asked: Asked) -> None:
    """The policy is of this vault and for clusters."""
    types = [str(one).lower() for one in asked.policy.body["properties"]["datasourceTypes"]]
    if CLUSTER not in types:
        raise invalid(f"the policy {asked.policy.id.name} is for {', '.join(types)}.")


def region_fits(asked: Asked) -> None:
    """Cluster and vault are in one region."""
    there, here = asked.cluster.body.get("location"), asked.vault.body.get("location")
    said = asked.properties["dataSourceInfo"].get("resourceLocation") or there
    if there != here or str(said).replace(" ", "").lower() != there:
        raise invalid(f"the cluster is in {there} (the request says {said}), the vault in {here}.")


def parameters_given(asked: Asked) -> None:
    """What of the cluster is to be backed up."""
    listed = (asked.properties["policyInfo"].get("policyParameters") or {}).get("backupDatasourceParametersList") or []
    kinds = [one.get("objectType") for one in listed]
    if kinds != ["KubernetesClusterBackupDatasourceParameters"]:
        raise ArmError(
            400,
            "UserErrorInvalidBackupDatasourceParameters",
            f"One KubernetesClusterBackupDatasourceParameters is expected, not {kinds}.",
        )


def vault_reads_cluster(asked: Asked) -> None:
    """The vault lists the extensions of the cluster."""
    own = callers(asked.vault.body.get("identity"))
    if not all(asked.may(own, action, asked.cluster.id) for action in _READS):
        raise ArmError(
            400,
            "KubernetesBackupListExtensionsError",
            f"The identity of the vault {asked.vault.id.name} needs the role Reader on the cluster "
            f"{asked.cluster.id.name} to list its extensions.",
        )


def extension_works(asked: Asked) -> None:
    """The extension is installed."""
    if asked.extension is None:
        raise ArmError(
            400,
            "UserErrorKubernetesBackupExtensionNotFoundError",
            f"The cluster {asked.cluster.id.name} has no extension of the type {EXTENSION_TYPE}.",
        )
    state = asked.extension.body["properties"]["provisioningState"]
    if state != "Succeeded":
        raise ArmError(
            400,
            "UserErrorKubernetesBackupExtensionHasErrors",
            f"The extension {asked.extension.id.name} is in the state {state}.",
        )


def trusted_access_given(asked: Asked) -> None:
    """The vault may reach into the cluster."""
    for binding in asked.engine.store.children(asked.cluster.id, BINDING):
        properties = binding.body["properties"]
        ours = ArmId.parse(properties["sourceResourceId"]).key == asked.vault.key
        if ours and OPERATOR in properties["roles"] and properties["provisioningState"] == "Succeeded":
            return
    raise ArmError(
        400,
        "UserErrorTrustedAccessGatewayReturnedForbidden",
        f"The Trusted Access role binding is missing from the cluster {asked.cluster.id.name}, or was removed.",
    )


def snapshots_can_go(asked: Asked) -> None:
    """Deleting old snapshots must not be forbidden."""
    if asked.engine.authorization.locks(asked.snapshot_group.id, below=False):
        raise ArmError(
            400,
            "UserErrorSnapshotResourceGroupHasLocks",
            f"The snapshot resource group {asked.snapshot_group.id.name} has a lock.",
        )


def snapshots_permitted(asked: Asked) -> None:
    """Cluster and vault may work in the snapshot group; the vault more when it copies snapshots to itself."""
    own, clusters = (callers(one.body.get("identity")) for one in (asked.vault, asked.cluster))
    wanted = [
        (own, "Microsoft.Resources/subscriptions/resourceGroups/read", False, "the vault", "Reader"),
        (clusters, "Microsoft.Compute/snapshots/write", False, "the cluster", "Contributor"),
    ]
    if keeps_in_vault(asked.policy):
        wanted += [
            (own, "Microsoft.Compute/snapshots/beginGetAccess/action", False, "the vault", "Disk Snapshot Contributor"),
            (own, "Microsoft.Compute/snapshots/download/action", True, "the vault", "Data Operator for Managed Disks"),
        ]
    for who, action, data, whose, role in wanted:
        if not asked.may(who, action, asked.snapshot_group.id, data=data):
            raise ArmError(
                400,
                "UserErrorMissingMSIPermissionsOnSnapshotResourceGroup",
                f"The identity of {whose} needs the role {role} on {asked.snapshot_group.id.name}.",
            )


def once(asked: Asked) -> None:
    """A cluster is protected once by a policy, and a soft-deleted instance holds its place."""
    for kind in (INSTANCE, DELETED):
        for other in asked.engine.store.children(asked.vault.id, kind):
            known = other.body["properties"]
            named = (known["dataSourceInfo"]["resourceID"], known["policyInfo"]["policyId"])
            if [ArmId.parse(one).key for one in named] != [asked.cluster.key, asked.policy.key]:
                continue
            if kind == DELETED:
                raise ArmError(
                    400,
                    "UserErrorDppDatasourceAlreadyProtected",
                    f"Datasource is already associated with the backup instance {other.id.name} with the protection "
                    "status as SoftDeleted.",
                )
            if other.id.name.lower() != asked.name.lower():
                raise ArmError(
                    400,
                    "UserErrorMultiProtectionNotAllowedWithSameVaultAndSamePolicy",
                    f"The cluster is already protected with this policy by the backup instance {other.id.name}.",
                )


def storage_reached(asked: Asked) -> None:
    """The extension reaches the container that it was given."""
    if asked.extension is None:
        return
    properties = asked.extension.body["properties"]
    settings = {key.lower(): str(value) for key, value in properties["configurationSettings"].items()}

    def given(name: str) -> str:
        return settings.get(f"{_LOCATION}{name}".lower(), "")

    account = ArmId(("subscriptions", given("config.subscriptionId"), "resourceGroups", given("config.resourceGroup")))
    account = account.extension("Microsoft.Storage/storageAccounts", given("config.storageAccount"))
    container = account.child("blobServices", "default").child("containers", given("bucket"))
    if not asked.engine.store.exists(container):
        raise ArmError(
            400, "UserErrorNoDefaultBackupStorageLocationFound", f"There is no blob container '{container.text}'."
        )
    own = [Caller(object_id=properties["aksAssignedIdentity"]["principalId"])]
    if given("config.useAAD").lower() == "true":
        blobs = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write"
        reached, role = asked.may(own, blobs, container, data=True), "Storage Blob Data Contributor"
    else:
        reached = asked.may(own, "Microsoft.Storage/storageAccounts/listKeys/action", account)
        role = "Storage Account Contributor"
    if not reached:
        raise ArmError(
            400,
            "UserErrorExtensionMSIMissingPermissionsOnBackupStorageLocation",
            f"The identity of the extension needs the role {role} on {account.name}.",
        )


def keeps_in_vault(policy: Resource) -> bool:
    """Whether a policy copies snapshots to the vault."""
    lifecycles = [
        lifecycle
        for rule in policy.body["properties"]["policyRules"]
        for lifecycle in rule.get("lifecycles") or []
        if lifecycle["sourceDataStore"]["dataStoreType"] == "VaultStore"
    ]
    return bool(lifecycles)


Check = Callable[[Asked], None]
VALIDATION: tuple[Check, ...] = (
    policy_fits,
    region_fits,
    parameters_given,
    vault_reads_cluster,
    extension_works,
    trusted_access_given,
    snapshots_can_go,
    snapshots_permitted,
    once,
)
"""Before anything is stored: the request is refused."""
CONFIGURATION: tuple[Check, ...] = (storage_reached,)
"""While protection is configured: the instance is there, and says what is wrong."""
