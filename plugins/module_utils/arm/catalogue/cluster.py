# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Microsoft.ContainerService: what an AKS cluster takes, shows and keeps to itself.

Sources, by short name:
    rest: learn.microsoft.com/rest/api/aks (2026-02-01).
    rec: answers recorded from the service in the test suites of Azure/azure-cli and Azure/azure-service-operator.
    upg: learn.microsoft.com/azure/aks/upgrade-aks-cluster.
    lim: "Limits for resources, SKUs and regions" and "Create node pools" of learn.microsoft.com/azure/aks.
"""

from __future__ import annotations

import typing as t

from ansible_collections.audioprothese.platform.plugins.module_utils.arm.catalogue.model import (
    Embedded,
    TypeFacts,
    facts,
    under,
    under_keys,
)

__all__ = ["TYPES"]

_AKS: t.Final = "2026-02-01"

# rest: ManagedClusterAgentPoolProfileProperties
_POOL_ENUMS: t.Final = (
    "mode",
    "osType",
    "osSKU",
    "osDiskType",
    "kubeletDiskType",
    "type",
    "scaleSetPriority",
    "scaleSetEvictionPolicy",
    "scaleDownMode",
    "workloadRuntime",
    "gpuInstanceProfile",
    "powerState.code",
    "securityProfile.sshAccess",
    "vmSize",
)
_POOL_READ_ONLY: t.Final = (
    "eTag",
    "currentOrchestratorVersion",
    "nodeImageVersion",
    "provisioningState",
    "status",
    "virtualMachineNodesStatus",
)
# lim: fixed when the pool is made.
_POOL_IMMUTABLE: t.Final = (
    "vmSize",
    "osType",
    "osDiskType",
    "osDiskSizeGB",
    "availabilityZones",
    "vnetSubnetID",
    "podSubnetID",
    "maxPods",
    "type",
    "enableEncryptionAtHost",
    "enableFIPS",
    "enableUltraSSD",
    "scaleSetPriority",
    "kubeletDiskType",
)
# rec: sent in most PUTs of the command line, never in an answer for an ordinary pool.
_POOL_DEFAULTS: t.Final = {
    "scaleSetPriority": ("Regular",),
    "scaleSetEvictionPolicy": ("Delete",),
    "spotMaxPrice": (-1, -1.0),
    "gpuProfile.driver": ("Install",),
    "workloadRuntime": ("OCIContainer",),
    "powerState.code": ("Running",),
}
# rest: "0 will apply the default", "if this is empty, the default version / size is used".
_POOL_SENTINELS: t.Final = {
    "osDiskSizeGB": (0,),
    "orchestratorVersion": ("",),
    "vmSize": ("",),
}
_POOL_UNORDERED: t.Final = ("availabilityZones",)


def _pool(prefix: str) -> dict[str, t.Any]:
    return {
        "enums": under(prefix, _POOL_ENUMS),
        "read_only": under(prefix, _POOL_READ_ONLY),
        "immutable": under(prefix, _POOL_IMMUTABLE),
        "defaults": under_keys(prefix, _POOL_DEFAULTS),
        "sentinels": under_keys(prefix, _POOL_SENTINELS),
        "unordered": under(prefix, _POOL_UNORDERED),
        # rest: orchestratorVersion takes 1.33 for any 1.33.x.
        "aliases": [f"{prefix}.orchestratorVersion"],
        # lim: with the autoscaler on, count is its business.
        "autoscaled": {f"{prefix}.count": "enableAutoScaling"},
    }


_IN_CLUSTER: t.Final = _pool("properties.agentPoolProfiles[]")

TYPES: t.Final[tuple[TypeFacts, ...]] = (
    facts(
        "Microsoft.ContainerService/managedClusters",
        _AKS,
        enums=(
            *_IN_CLUSTER["enums"],
            "sku.name",
            "properties.supportPlan",
            "properties.networkProfile.networkPlugin",
            "properties.networkProfile.networkPluginMode",
            "properties.networkProfile.networkDataplane",
            "properties.networkProfile.networkPolicy",
            "properties.networkProfile.networkMode",
            "properties.networkProfile.outboundType",
            "properties.networkProfile.loadBalancerSku",
            "properties.networkProfile.ipFamilies[]",
            "properties.networkProfile.loadBalancerProfile.backendPoolType",
            "properties.networkProfile.advancedNetworking.security.advancedNetworkPolicies",
            "properties.networkProfile.advancedNetworking.security.transitEncryption.type",
            "properties.autoUpgradeProfile.upgradeChannel",
            "properties.autoUpgradeProfile.nodeOSUpgradeChannel",
            "properties.nodeResourceGroupProfile.restrictionLevel",
            "properties.publicNetworkAccess",
            "properties.autoScalerProfile.expander",
            "properties.ingressProfile.gatewayAPI.installation",
            "properties.ingressProfile.webAppRouting.nginx.defaultIngressControllerType",
            "properties.ingressProfile.webAppRouting.gatewayAPIImplementations.appRoutingIstio.mode",
            "properties.nodeProvisioningProfile.mode",
            "properties.serviceMeshProfile.mode",
            "properties.securityProfile.azureKeyVaultKms.keyVaultNetworkAccess",
        ),
        # rest: readOnly in the schema; rec for effectiveOutboundIPs and identityProfile of clusters without our own.
        read_only=(
            *_IN_CLUSTER["read_only"],
            "properties.powerState",
            "properties.maxAgentPools",
            "properties.currentKubernetesVersion",
            "properties.fqdn",
            "properties.privateFQDN",
            "properties.azurePortalFQDN",
            "properties.resourceUID",
            "properties.status",
            "properties.oidcIssuerProfile.issuerURL",
            "properties.networkProfile.loadBalancerProfile.effectiveOutboundIPs",
            "properties.networkProfile.natGatewayProfile.effectiveOutboundIPs",
            "properties.addonProfiles.*.identity",
            "properties.ingressProfile.webAppRouting.identity",
            "properties.windowsProfile.enableCSIProxy.status",
        ),
        # rest: "sensitive"/"secret" in the schema, or password by nature.
        secrets=(
            "properties.servicePrincipalProfile.secret",
            "properties.windowsProfile.adminPassword",
            "properties.aadProfile.serverAppSecret",
        ),
        # rest: "cannot be updated once the cluster has been created"; lim.
        immutable=(
            *_IN_CLUSTER["immutable"],
            "properties.dnsPrefix",
            "properties.fqdnSubdomain",
            "properties.nodeResourceGroup",
            "properties.enableRBAC",
            "properties.apiServerAccessProfile.enablePrivateCluster",
            "properties.apiServerAccessProfile.privateDNSZone",
            "properties.apiServerAccessProfile.subnetId",
            "properties.networkProfile.podCidr",
            "properties.networkProfile.serviceCidr",
            "properties.networkProfile.dnsServiceIP",
            "properties.networkProfile.networkPlugin",
            "properties.networkProfile.loadBalancerSku",
            "properties.networkProfile.ipFamilies",
        ),
        defaults=_IN_CLUSTER["defaults"],
        sentinels={
            **_IN_CLUSTER["sentinels"],
            "properties.kubernetesVersion": ("",),
        },
        unordered=(*_IN_CLUSTER["unordered"], "properties.aadProfile.adminGroupObjectIDs"),
        # rec: the proxy's exception list is completed with addresses of the cluster.
        extended=("properties.httpProxyConfig.noProxy", "properties.networkProfile.podCidrs"),
        aliases=("properties.kubernetesVersion", *_IN_CLUSTER["aliases"]),
        # upg: minor versions cannot be skipped.
        stepwise=("properties.kubernetesVersion",),
        autoscaled=_IN_CLUSTER["autoscaled"],
        embedded={"properties.agentPoolProfiles": Embedded("agentPools", guarded=True)},
        stateful=True,
    ),
    facts(
        "Microsoft.ContainerService/managedClusters/agentPools",
        _AKS,
        **_pool("properties"),
        serial=("root",),
        stateful=True,
    ),
    facts(
        "Microsoft.ContainerService/managedClusters/maintenanceConfigurations",
        _AKS,
        enums=(
            "properties.maintenanceWindow.schedule.weekly.dayOfWeek",
            "properties.maintenanceWindow.schedule.relativeMonthly.dayOfWeek",
            "properties.maintenanceWindow.schedule.relativeMonthly.weekIndex",
            "properties.timeInWeek[].day",
        ),
        # rec: the day is chosen by the service when the document leaves it out.
        sentinels={"properties.maintenanceWindow.startDate": ("",)},
        serial=("root",),
    ),
    facts(
        "Microsoft.ContainerService/managedClusters/trustedAccessRoleBindings",
        _AKS,
        immutable=("properties.sourceResourceId",),
        unordered=("properties.roles",),
        serial=("root",),
    ),
)
