# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""azure-mgmt-containerservice drives clusters, agent pools and maintenance windows (no Kubernetes runs here)."""

from __future__ import annotations

import base64
import json

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from tests.lab.azure.testing import Running
from tests.lab.tests.sdk import Clients, cluster_body, code, made, vnet_body

POOL = {"mode": "User", "count": 2, "vmSize": "Standard_D2s_v5", "availabilityZones": ["1", "2", "3"]}


@pytest.fixture
def sdk(azure: Running) -> Clients:
    return Clients(azure)


@pytest.fixture
def rg(group: str) -> str:
    return group.rsplit("/", 1)[-1]


@pytest.fixture
def cluster(sdk: Clients, rg: str) -> str:
    made(sdk.clusters.managed_clusters, rg, "aks", cluster_body())
    return "aks"


def test_cluster_gets_the_defaults_of_today(sdk: Clients, rg: str, cluster: str) -> None:
    found = sdk.clusters.managed_clusters.get(rg, cluster)
    network, pool = found.network_profile, found.agent_pool_profiles[0]
    assert (network.network_plugin, network.network_plugin_mode, network.pod_cidr) == (
        "azure",
        "overlay",
        "10.244.0.0/16",
    )
    assert (network.outbound_type, network.load_balancer_sku, network.dns_service_ip) == (
        "loadBalancer",
        "standard",
        "10.0.0.10",
    )
    assert (pool.max_pods, pool.os_sku, pool.os_disk_size_gb, pool.os_disk_type) == (250, "Ubuntu", 128, "Managed")
    assert pool.security_profile.ssh_access == "LocalUser"
    assert found.auto_upgrade_profile.node_os_upgrade_channel == "NodeImage"
    assert (found.sku.name, found.sku.tier, found.kind) == ("Base", "Free", "Base")
    assert found.node_resource_group == f"MC_{rg}_aks_francecentral"
    assert found.identity.principal_id
    assert found.identity_profile["kubeletidentity"].client_id
    assert found.fqdn.startswith("aks-")


def test_azure_cni_without_overlay_has_fewer_pods_and_no_pod_range(sdk: Clients, rg: str) -> None:
    created = made(sdk.clusters.managed_clusters, rg, "aks", cluster_body(networkProfile={"networkPlugin": "azure"}))
    assert created.network_profile.pod_cidr is None
    assert created.agent_pool_profiles[0].max_pods == 30


def test_cilium_brings_its_policy(sdk: Clients, rg: str) -> None:
    profile = {"networkPlugin": "azure", "networkPluginMode": "overlay", "networkDataplane": "cilium"}
    created = made(sdk.clusters.managed_clusters, rg, "aks", cluster_body(networkProfile=profile))
    assert created.network_profile.network_policy == "cilium"


def test_private_cluster_with_entra_and_workload_identity(azure: Running, sdk: Clients, rg: str) -> None:
    created = made(
        sdk.clusters.managed_clusters,
        rg,
        "aks",
        cluster_body(
            disableLocalAccounts=True,
            aadProfile={
                "managed": True,
                "enableAzureRBAC": True,
                "adminGroupObjectIDs": [azure.settings.admin_group_id],
            },
            apiServerAccessProfile={"enablePrivateCluster": True, "enablePrivateClusterPublicFQDN": False},
            oidcIssuerProfile={"enabled": True},
            securityProfile={"workloadIdentity": {"enabled": True}},
        ),
    )
    assert created.aad_profile.tenant_id == azure.settings.tenant_id
    assert created.fqdn is None
    assert ".privatelink.francecentral.azmk8s.io" in created.private_fqdn
    assert created.oidc_issuer_profile.issuer_url.startswith(azure.base_url)
    answer = sdk.clusters.managed_clusters.list_cluster_user_credentials(rg, "aks")
    config = json.loads(base64.b64decode(base64.b64encode(answer.kubeconfigs[0].value)))
    assert config["users"][0]["user"]["exec"]["command"] == "kubelogin"


def test_update_and_tags_and_lists(sdk: Clients, rg: str, cluster: str) -> None:
    clusters = sdk.clusters.managed_clusters
    body = cluster_body(autoUpgradeProfile={"upgradeChannel": "patch"}) | {"sku": {"name": "Base", "tier": "standard"}}
    updated = made(clusters, rg, cluster, body)
    assert (updated.auto_upgrade_profile.upgrade_channel, updated.sku.tier) == ("patch", "Standard")
    assert clusters.begin_update_tags(rg, cluster, {"tags": {"a": "b"}}).result(30).tags == {"a": "b"}
    assert [found.name for found in clusters.list_by_resource_group(rg)] == [cluster]
    clusters.begin_delete(rg, cluster).result(30)
    with pytest.raises(ResourceNotFoundError):
        clusters.get(rg, cluster)


def test_agent_pools_come_and_go_and_survive_the_clusters_put(sdk: Clients, rg: str, cluster: str) -> None:
    pools = sdk.clusters.agent_pools
    created = made(pools, rg, cluster, "user", {"properties": POOL | {"nodeTaints": ["a=b:NoSchedule"]}})
    assert (created.max_pods, created.provisioning_state, created.scale_down_mode) == (250, "Succeeded", "Delete")
    made(sdk.clusters.managed_clusters, rg, cluster, cluster_body())
    assert sorted(pool.name for pool in pools.list(rg, cluster)) == ["system", "user"]
    scaled = made(
        pools,
        rg,
        cluster,
        "user",
        {"properties": POOL | {"count": 3, "enableAutoScaling": True, "minCount": 2, "maxCount": 5}},
    )
    assert (scaled.count, scaled.max_count) == (3, 5)
    with pytest.raises(HttpResponseError):
        pools.begin_delete(rg, cluster, "system").result(30)
    pools.begin_delete(rg, cluster, "user").result(30)
    assert [pool.name for pool in sdk.clusters.managed_clusters.get(rg, cluster).agent_pool_profiles] == ["system"]


def test_maintenance_windows(sdk: Clients, rg: str, cluster: str) -> None:
    windows = sdk.clusters.maintenance_configurations
    window = {
        "schedule": {"weekly": {"intervalWeeks": 1, "dayOfWeek": "sunday"}},
        "durationHours": 4,
        "startTime": "01:00",
    }
    created = windows.create_or_update(
        rg, cluster, "aksManagedAutoUpgradeSchedule", {"properties": {"maintenanceWindow": window}}
    )
    assert created.maintenance_window.schedule.weekly.day_of_week == "Sunday"
    assert created.maintenance_window.utc_offset == "+00:00"
    assert created.maintenance_window.start_date is not None
    assert [found.name for found in windows.list_by_managed_cluster(rg, cluster)] == ["aksManagedAutoUpgradeSchedule"]
    windows.delete(rg, cluster, "aksManagedAutoUpgradeSchedule")
    assert list(windows.list_by_managed_cluster(rg, cluster)) == []


def test_subnet_of_nodes_is_held(sdk: Clients, rg: str) -> None:
    network = made(sdk.network.virtual_networks, rg, "hub", vnet_body(nodes="10.0.0.0/24"))
    body = cluster_body(
        networkProfile={"networkPlugin": "azure", "serviceCidr": "10.1.0.0/16", "dnsServiceIP": "10.1.0.10"}
    )
    body["properties"]["agentPoolProfiles"][0]["vnetSubnetID"] = network.subnets[0].id
    made(sdk.clusters.managed_clusters, rg, "aks", body)
    with pytest.raises(HttpResponseError) as held:
        sdk.network.subnets.begin_delete(rg, "hub", "nodes")
    assert code(held.value) == "InUseSubnetCannotBeDeleted"


def test_versions_of_the_region(sdk: Clients) -> None:
    versions = sdk.clusters.managed_clusters.list_kubernetes_versions("francecentral").values_property
    assert "1.35" in [version.version for version in versions]
