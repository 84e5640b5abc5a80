"""Microsoft.ContainerService: what a managed cluster does beyond its data. A real one is run by the ClusterManager.

Sources by rule; in general https://learn.microsoft.com/azure/aks and its troubleshooting pages.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from typing import Any

from tests.lab.azure import quotas, vmsizes
from tests.lab.azure.arm_id import ArmId
from tests.lab.azure.authorization import Caller
from tests.lab.azure.behaviour import (
    Action,
    ArmError,
    Behaviour,
    OperationError,
    ProviderRequest,
    Write,
    action,
    behaviour,
    provider_route,
)
from tests.lab.azure.behaviours.node_defaults import fill_pool
from tests.lab.azure.engine import Engine
from tests.lab.azure.entra import ISSUER_RECORD
from tests.lab.azure.principals import Principal
from tests.lab.azure.store import Resource
from tests.lab.azure.tokens import AKS_AUDIENCE
from tests.lab.cluster.manager import ClusterError, cluster_guid

CLUSTER = "microsoft.containerservice/managedclusters"
POOL = f"{CLUSTER}/agentpools"
KUBELOGIN_CLIENT = (
    "80faf920-1908-4b52-b5ef-a8e7bedfc67a"  # https://learn.microsoft.com/azure/aks/kubelogin-authentication
)
# https://learn.microsoft.com/azure/aks/supported-kubernetes-versions
PATCH_VERSIONS = {"1.34": "1.34.4", "1.35": "1.35.4", "1.36": "1.36.1"}
DEFAULT_VERSION = "1.35"


@behaviour("Microsoft.ContainerService/managedClusters")
class ManagedClusters(Behaviour):
    """Node resource group, kubelet identity, issuer, quota; the cluster itself in `run`."""

    def before_put(self, ctx: Write) -> None:
        """Version steps, and what Azure makes beside a cluster."""
        properties = ctx.body["properties"]
        before = (ctx.stored or {}).get("properties", {})
        _check_upgrade(properties.get("kubernetesVersion"), before.get("currentKubernetesVersion"))
        properties["currentKubernetesVersion"] = full_version(
            str(properties.get("kubernetesVersion") or DEFAULT_VERSION)
        )
        if ctx.create:
            _claim_node_group(ctx)
        _kubelet_identity(ctx)
        _check_permissions(ctx)
        profile = properties.get("oidcIssuerProfile")
        if profile and profile.get("enabled"):
            profile["issuerURL"] = issuer_url(ctx.engine, ctx.id)
        elif before.get("oidcIssuerProfile", {}).get("enabled"):
            # https://learn.microsoft.com/azure/aks/use-oidc-issuer (it cannot be disabled)
            raise ArmError(400, "OIDCIssuerFeatureCannotBeDisabled", "The OIDC issuer feature cannot be disabled.")

    def after_put(self, ctx: Write) -> None:
        """The pools are stored now: is there quota for all of them, and a system pool among them?"""
        pools = [pool.body["properties"] for pool in ctx.store.children(ctx.id, POOL)]
        if not pools:
            raise ArmError(400, "InvalidParameter", "Required parameter agentPoolProfiles is missing (null).")
        _require_system_pool(pools)
        _check_quota(ctx.engine, ctx.id, str(ctx.body.get("location", "")))

    async def run(self, ctx: Write) -> None:
        """Bring the cluster up, or to its new shape."""
        await converge(ctx.engine, ctx.id, ctx.api_version)
        current = ctx.store.get(ctx.id)
        if current is not None:
            ctx.private = current.private

    async def run_delete(self, ctx: Write) -> None:
        """Stop it."""
        await ctx.engine.clusters.delete(ctx.id.text)

    def after_delete(self, ctx: Write) -> None:
        """The node resource group and the issuer go with it."""
        group = ArmId(
            ("subscriptions", ctx.id.subscription, "resourceGroups", ctx.body["properties"]["nodeResourceGroup"])
        )
        for resource in ctx.store.below(group):
            ctx.store.delete(resource.id)
            ctx.engine.directory.delete(str(resource.body.get("properties", {}).get("principalId", "")))
        ctx.store.delete(group)
        ctx.store.delete_record(ISSUER_RECORD, issuer_url(ctx.engine, ctx.id).rstrip("/"))

    @action("listClusterUserCredential", effect="list")
    def user_credential(self, ctx: Action) -> Any:
        """A kubeconfig that asks Entra for its token; it holds no secret."""
        return {"kubeconfigs": [{"name": "clusterUser", "value": _kubeconfig(ctx)}]}

    @action("listClusterMonitoringUserCredential", effect="list")
    def monitoring_credential(self, ctx: Action) -> Any:
        """As the user's."""
        return {"kubeconfigs": [{"name": "clusterMonitoringUser", "value": _kubeconfig(ctx)}]}

    @action("listClusterAdminCredential", effect="list")
    def admin_credential(self, ctx: Action) -> Any:
        """Never: the lab hands out no static credential (clusters with local accounts off refuse it as well)."""
        raise ArmError(
            400,
            "BadRequest",
            "Getting static credential is not allowed because this cluster is set to disable local accounts.",
        )


@behaviour("Microsoft.ContainerService/managedClusters/agentPools")
class AgentPools(Behaviour):
    """A pool changes its cluster."""

    def before_put(self, ctx: Write) -> None:
        """The size is known, and the version not newer than the control plane's."""
        fill_pool(ctx)
        properties = ctx.body["properties"]
        size = str(properties.get("vmSize") or vmsizes.DEFAULT)
        if vmsizes.size(size) is None:
            raise ArmError(
                400,
                "BadRequest",
                f"The VM size of {size} is not allowed in your subscription in location. The lab knows sizes of the "
                "B, D, E and F series.",
            )
        cluster = ctx.store.get(ctx.id.parent)
        control_plane = (
            cluster.body["properties"].get("currentKubernetesVersion") if cluster else None
        ) or DEFAULT_VERSION
        wanted = str(properties.get("orchestratorVersion") or "")
        if wanted and not ctx.embedded and _minor(wanted) > _minor(control_plane):
            # https://learn.microsoft.com/troubleshoot/azure/azure-kubernetes/create-upgrade-delete/error-code-nodepoolmcversionincompatible
            raise ArmError(
                400,
                "NodePoolMcVersionIncompatible",
                f"Node pool version {wanted} and control plane version {control_plane} are incompatible. Minor "
                "version of node pool cannot be "
                "bigger than control plane version.",
            )
        # A pool that names no version keeps its own: https://github.com/ansible-collections/azure/pull/966
        before = (ctx.stored or {}).get("properties", {}).get("currentOrchestratorVersion")
        version = full_version(wanted or str(before or control_plane))
        properties["currentOrchestratorVersion"] = version
        if not ctx.embedded:
            properties["orchestratorVersion"] = wanted or version

    def after_put(self, ctx: Write) -> None:
        """There is quota for it, and a system pool left."""
        if ctx.embedded:
            return
        cluster = ctx.store.get(ctx.id.parent)
        if cluster is not None:
            _require_system_pool([pool.body["properties"] for pool in ctx.store.children(cluster.id, POOL)])
            _check_quota(ctx.engine, cluster.id, str(cluster.body.get("location", "")))

    async def run(self, ctx: Write) -> None:
        """The cluster takes the pool up."""
        await converge(ctx.engine, ctx.id.parent, ctx.api_version)

    def before_delete(self, ctx: Write) -> None:
        """The last system pool stays."""
        others = [pool.body["properties"] for pool in ctx.store.children(ctx.id.parent, POOL) if pool.key != ctx.id.key]
        if not _has_system_pool(others):
            # https://github.com/kubernetes-sigs/cluster-api-provider-azure/issues/1355
            raise ArmError(400, "OperationNotAllowed", "There has to be at least one system agent pool.")

    async def run_delete(self, ctx: Write) -> None:
        """The cluster lets go of the pool."""
        if ctx.store.exists(ctx.id.parent):
            await converge(ctx.engine, ctx.id.parent, ctx.api_version, without=ctx.id.name)


async def converge(engine: Engine, cluster_id: ArmId, api_version: str, *, without: str = "") -> None:
    """Make the running cluster what is stored; keep its address and keys. Raises OperationError."""
    cluster = engine.store.get(cluster_id)
    if cluster is None:
        return
    body = engine.show(cluster, api_version)
    properties = body["properties"]
    properties["agentPoolProfiles"] = [
        pool for pool in properties.get("agentPoolProfiles", []) if pool["name"].lower() != without.lower()
    ]
    gateway = str((properties.get("ingressProfile") or {}).get("gatewayAPI", {}).get("installation", "Disabled"))
    try:
        endpoint = await engine.clusters.converge(body, gateway_api=gateway.lower() not in ("disabled", ""))
    except ClusterError as exc:
        raise OperationError(exc.code, exc.message) from exc
    with engine.store.transaction():
        current = engine.store.get(cluster_id)
        if current is None:
            return
        current.private["endpoint"] = asdict(endpoint)
        engine.store.save(current)
        engine.store.put_record(ISSUER_RECORD, endpoint.issuer.rstrip("/"), {"jwks": endpoint.jwks})


def issuer_url(engine: Engine, cluster_id: ArmId) -> str:
    """The ServiceAccount issuer of a cluster, served by the simulator."""
    return f"{engine.settings.base_url}/oidc/{cluster_guid(cluster_id.text)}/"


def full_version(version: str) -> str:
    """``1.35`` -> ``1.35.4``; a full version stays."""
    return PATCH_VERSIONS.get(version, version)


def _minor(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


def _check_upgrade(wanted: Any, current: Any) -> None:
    """One minor version at a time, never back: https://learn.microsoft.com/azure/aks/upgrade-aks-cluster"""
    if not wanted or not current:
        return
    old, new = _minor(str(current)), _minor(str(wanted))
    if new < old or (new[0] == old[0] and new[1] > old[1] + 1):
        following = f"{old[0]}.{old[1] + 1}"
        verb = "Downgrading" if new < old else "Upgrading"
        raise ArmError(
            400,
            "OperationNotAllowed",
            f"{verb} Kubernetes version {current} to {wanted} is not allowed. Available upgrades: "
            f"[{full_version(following)}]. See "
            "https://aka.ms/aks-supported-k8s-ver for version details.",
        )


def _claim_node_group(ctx: Write) -> None:
    """https://learn.microsoft.com/azure/aks/faq (the node resource group must not exist)"""
    name = ctx.body["properties"]["nodeResourceGroup"]
    group = ArmId(("subscriptions", ctx.id.subscription, "resourceGroups", name))
    found = ctx.store.get(group)
    if found is not None and found.body.get("managedBy", "").lower() != ctx.id.key:
        raise ArmError(400, "NodeResourceGroupAlreadyExists", f"The node resource group '{name}' already exists.")
    if name.lower() == ctx.id.resource_group.lower():
        raise ArmError(
            400, "InvalidParameter", "The node resource group name must not be that of the cluster's resource group."
        )
    ctx.store.save(
        Resource(
            id=group,
            body={
                "location": ctx.body.get("location"),
                "managedBy": ctx.id.text,
                "tags": {"aks-managed-cluster-name": ctx.id.name, "aks-managed-cluster-rg": ctx.id.resource_group},
                "properties": {"provisioningState": "Succeeded"},
            },
        )
    )


def _kubelet_identity(ctx: Write) -> None:
    """The kubelet's identity: the one named, or one that AKS makes in the node resource group."""
    properties = ctx.body["properties"]
    profile = properties.setdefault("identityProfile", {}) or {}
    named = (profile.get("kubeletidentity") or {}).get("resourceId")
    if named and ctx.store.exists(ArmId.parse(named)):
        found = ctx.store.get(ArmId.parse(named))
        details = found.body["properties"] if found else {}
        profile["kubeletidentity"] = {
            "resourceId": named,
            "clientId": details.get("clientId"),
            "objectId": details.get("principalId"),
        }
    elif not named and (ctx.body.get("identity") or {}).get("type") in ("SystemAssigned", "UserAssigned"):
        group = ArmId(("subscriptions", ctx.id.subscription, "resourceGroups", properties["nodeResourceGroup"]))
        identity = ArmId(
            (
                *group.segments,
                "providers",
                "Microsoft.ManagedIdentity",
                "userAssignedIdentities",
                f"{ctx.id.name}-agentpool",
            )
        )
        details = {
            "tenantId": ctx.settings.tenant_id,
            "principalId": ctx.engine.make("guid"),
            "clientId": ctx.engine.make("guid"),
        }
        ctx.store.save(
            Resource(id=identity, body={"location": ctx.body.get("location"), "tags": {}, "properties": details})
        )
        ctx.engine.directory.save(
            Principal(
                object_id=details["principalId"],
                client_id=details["clientId"],
                kind="ManagedIdentity",
                name=identity.name,
                resource=identity.text,
            )
        )
        profile["kubeletidentity"] = {
            # Recorded 118 of 118 with the segment in lower case.
            "resourceId": identity.text.replace("/resourceGroups/", "/resourcegroups/"),
            "clientId": details["clientId"],
            "objectId": details["principalId"],
        }
    properties["identityProfile"] = profile
    if not profile:
        del properties["identityProfile"]


def _check_permissions(ctx: Write) -> None:
    """The cluster's own identity needs rights where it is to act: https://learn.microsoft.com/azure/aks/use-managed-identity"""
    identity = ctx.body.get("identity") or {}
    own = [value.get("principalId", "") for value in (identity.get("userAssignedIdentities") or {}).values()]
    if identity.get("type") != "UserAssigned" or not own or not ctx.create:
        return
    properties = ctx.body["properties"]
    allowed = ctx.engine.authorization.allowed
    callers = [Caller(object_id=principal) for principal in own]
    kubelet = properties.get("identityProfile", {}).get("kubeletidentity", {}).get("resourceId", "")
    assigning = "Microsoft.ManagedIdentity/userAssignedIdentities/*/assign/action"  # as the role definition spells it
    made_by_aks = ArmId.parse(kubelet).resource_group.lower() == properties["nodeResourceGroup"].lower()
    if kubelet and not made_by_aks and not any(allowed(caller, assigning, ArmId.parse(kubelet)) for caller in callers):
        # https://learn.microsoft.com/azure/aks/use-managed-identity#add-a-role-assignment-for-a-kubelet-managed-identity
        raise ArmError(
            400,
            "CustomKubeletIdentityMissingPermissionError",
            "The cluster using user-assigned managed identity must be granted 'Managed Identity Operator' role to "
            "assign kubelet identity. "
            f"You can run 'az role assignment create --assignee {own[0]} --scope {kubelet} --role \"Managed Identity "
            "Operator\"' to grant the permission.",
        )
    zone = str((properties.get("apiServerAccessProfile") or {}).get("privateDNSZone") or "")
    linking = "Microsoft.Network/privateDnsZones/virtualNetworkLinks/write"
    if zone.startswith("/") and not any(allowed(caller, linking, ArmId.parse(zone)) for caller in callers):
        # https://learn.microsoft.com/azure/aks/private-clusters#configure-a-private-dns-zone
        raise ArmError(
            400,
            "CustomPrivateDNSZoneMissingPermissionError",
            f"The cluster user-assigned identity must be given permission to write to the private dns zone ({zone}): "
            "'Private DNS Zone Contributor'.",
        )


def _has_system_pool(pools: list[dict[str, Any]]) -> bool:
    return any(str(pool.get("mode", "User")).lower() == "system" for pool in pools)


def _require_system_pool(pools: list[dict[str, Any]]) -> None:
    """Words as in https://github.com/ansible-collections/azure/issues/166 ."""
    if not _has_system_pool(pools):
        raise ArmError(400, "InvalidParameter", "Must define at least one system pool.")


def _check_quota(engine: Engine, cluster_id: ArmId, location: str) -> None:
    """https://learn.microsoft.com/troubleshoot/azure/azure-kubernetes/create-upgrade-delete/error-code-quotaexceeded"""
    mine: dict[str, int] = {}
    for pool in engine.store.children(cluster_id, POOL):
        family, cores = quotas.cores_of(pool.body["properties"])
        mine[family] = mine.get(family, 0) + cores
    others = quotas.cores_by_family(engine, cluster_id.subscription, location, without=cluster_id.key)
    for quota in quotas.QUOTAS:
        if quota.counts:
            continue
        asked = sum(mine.values()) if quota.name == "cores" else mine.get(quota.name, 0)
        taken = sum(others.values()) if quota.name == "cores" else others.get(quota.name, 0)
        limit = quotas.limit_of(engine, location, quota)
        if asked and asked + taken > limit:
            what = f"for family {quota.name}" if quota.name != "cores" else "of total regional cores"
            raise ArmError(
                400,
                "ErrCode_InsufficientVCPUQuota",
                f"Insufficient vcpu quota requested {asked}, remaining {max(0, limit - taken)} {what} for region "
                f"{location}. If you want to increase the "
                "quota, please follow this instruction: https://learn.microsoft.com/azure/quotas/view-quotas.",
            )


def _kubeconfig(ctx: Action) -> str:
    endpoint = ctx.resource.private.get("endpoint")
    if endpoint is None:
        raise ArmError(
            400,
            "BadRequest",
            f"The managed cluster '{ctx.id.name}' is not running yet; its state is "
            f"{ctx.resource.body['properties'].get('provisioningState')}.",
        )
    user = f"clusterUser_{ctx.id.resource_group}_{ctx.id.name}"
    authority = [
        "--server-id",
        AKS_AUDIENCE,
        "--client-id",
        KUBELOGIN_CLIENT,
        "--tenant-id",
        ctx.settings.tenant_id,
        "--login",
        "devicecode",
    ]
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": ctx.id.name,
                "cluster": {
                    "server": endpoint["server"],
                    "certificate-authority-data": base64.b64encode(endpoint["ca_pem"].encode()).decode(),
                },
            }
        ],
        "contexts": [{"name": ctx.id.name, "context": {"cluster": ctx.id.name, "user": user}}],
        "current-context": ctx.id.name,
        "preferences": {},
        "users": [
            {
                "name": user,
                "user": {
                    "exec": {
                        "apiVersion": "client.authentication.k8s.io/v1beta1",
                        "command": "kubelogin",
                        "args": ["get-token", "--environment", "AzurePublicCloud", *authority],
                        "env": None,
                        "provideClusterInfo": False,
                    }
                },
            }
        ],
    }
    # JSON is YAML, and every client reads it.
    return base64.b64encode(json.dumps(config).encode()).decode()


@provider_route("Microsoft.ContainerService", r"locations/(?P<location>[^/]+)/kubernetesVersions")
def kubernetes_versions(request: ProviderRequest) -> Any:
    """Versions of the region with their upgrades."""
    request.authorize("Microsoft.ContainerService/locations/kubernetesVersions/read")
    request.engine.require_registration(request.subscription, request.namespace)
    values = []
    for minor, patch in PATCH_VERSIONS.items():
        following = f"1.{_minor(minor)[1] + 1}"
        values.append(
            {
                "version": minor,
                "capabilities": {"supportPlan": ["KubernetesOfficial"]},
                "isDefault": minor == DEFAULT_VERSION,
                "isPreview": None,
                "patchVersions": {
                    patch: {"upgrades": [PATCH_VERSIONS[following]] if following in PATCH_VERSIONS else []}
                },
            }
        )
    return {"values": values}


@provider_route("Microsoft.ContainerService", r"locations/(?P<location>[^/]+)/orchestrators")
def orchestrators(request: ProviderRequest) -> Any:
    """The older list of the same versions, which azure.azcollection still asks for before it creates a cluster.

    https://learn.microsoft.com/rest/api/aks/container-services/list-orchestrators
    """
    request.authorize("Microsoft.ContainerService/locations/orchestrators/read")
    request.engine.require_registration(request.subscription, request.namespace)
    patches = list(PATCH_VERSIONS.values())
    listed = [
        {
            "orchestratorType": "Kubernetes",
            "orchestratorVersion": patch,
            "default": patch == PATCH_VERSIONS[DEFAULT_VERSION],
            "upgrades": [{"orchestratorType": "Kubernetes", "orchestratorVersion": later}] if later else [],
        }
        for patch, later in zip(patches, [*patches[1:], None], strict=True)
    ]
    scope = f"/subscriptions/{request.subscription}/providers/Microsoft.ContainerService"
    return {
        "id": f"{scope}/locations/{request.groups['location']}/orchestrators",
        "name": "default",
        "type": "Microsoft.ContainerService/locations/orchestrators",
        "properties": {"orchestrators": listed},
    }
