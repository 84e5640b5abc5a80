"""Managed clusters: what the simulator does beside the cluster, and what it asks of the manager that runs one."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import httpx
import pytest

from tests.lab.azure.testing import Running, serve
from tests.lab.cluster.manager import ClusterEndpoint, ClusterError, cluster_guid
from tests.lab.tests.test_engine_arm import code, finish, make

VERSION = "2025-05-01"
POOL = {"name": "system", "mode": "System", "count": 3, "vmSize": "Standard_D2s_v5"}


class Recorder:
    """A manager that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, Any], bool]] = []
        self.deleted: list[str] = []
        self.refusal: ClusterError | None = None

    async def converge(self, cluster: dict[str, Any], *, gateway_api: bool) -> ClusterEndpoint:
        if self.refusal:
            raise self.refusal
        self.asked.append((cluster, gateway_api))
        issuer = f"https://issuer/{cluster_guid(cluster['id'])}/"
        return ClusterEndpoint(server="https://api:6443", ca_pem="CA", issuer=issuer, jwks={"keys": [{"kty": "RSA"}]})

    async def delete(self, cluster_id: str) -> None:
        self.deleted.append(cluster_id)


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory, recorder: Recorder):
    with serve(tmp_path_factory.mktemp("azure"), clusters=recorder) as running:
        yield running


@pytest.fixture
def client(azure: Running, recorder: Recorder):
    recorder.asked.clear()
    recorder.deleted.clear()
    with azure.client() as found:
        yield found


def cluster(group: str, tail: str = "", name: str = "aks") -> str:
    return f"{group}/providers/Microsoft.ContainerService/managedClusters/{name}{tail}?api-version={VERSION}"


def body(*pools: dict[str, Any], **properties: Any) -> dict[str, Any]:
    known = {"dnsPrefix": "aks", "agentPoolProfiles": [POOL, *pools], "kubernetesVersion": "1.35"}
    return {"location": "francecentral", "identity": {"type": "SystemAssigned"}, "properties": known | properties}


def test_a_cluster_is_made_by_the_manager(azure: Running, client: httpx.Client, group: str, recorder: Recorder) -> None:
    gateway = {"gatewayAPI": {"installation": "Standard"}}
    make(client, cluster(group), body(oidcIssuerProfile={"enabled": True}, ingressProfile=gateway))
    asked, gateway_api = recorder.asked[0]
    assert gateway_api
    assert asked["id"].endswith("/managedClusters/aks")
    assert [pool["name"] for pool in asked["properties"]["agentPoolProfiles"]] == ["system"]
    live = client.get(cluster(group)).json()
    properties = live["properties"]
    assert properties["provisioningState"] == "Succeeded"
    assert properties["currentKubernetesVersion"].startswith("1.35.")
    assert properties["oidcIssuerProfile"]["issuerURL"] == f"{azure.base_url}/oidc/{cluster_guid(live['id'])}/"
    kubelet = properties["identityProfile"]["kubeletidentity"]
    assert (
        client.get(f"{kubelet['resourceId']}?api-version=2023-01-31").json()["properties"]["principalId"]
        == kubelet["objectId"]
    )
    nodes = client.get(
        f"{azure.subscription}/resourceGroups/{properties['nodeResourceGroup']}?api-version=2021-04-01"
    ).json()
    assert nodes["managedBy"].lower() == live["id"].lower()
    issuer = client.get(f"/oidc/{cluster_guid(live['id'])}/.well-known/openid-configuration").json()
    assert client.get(f"/oidc/{cluster_guid(live['id'])}/openid/v1/jwks").json() == {"keys": [{"kty": "RSA"}]}
    assert issuer["issuer"].startswith("https://issuer/")
    assert finish(client, client.delete(cluster(group)))["status"] == "Succeeded"
    assert [found.lower() for found in recorder.deleted] == [live["id"].lower()]
    assert (
        client.get(
            f"{azure.subscription}/resourceGroups/{properties['nodeResourceGroup']}?api-version=2021-04-01"
        ).status_code
        == 404
    )


def test_the_credential_holds_no_secret(client: httpx.Client, group: str) -> None:
    make(client, cluster(group), body())
    answer = client.post(cluster(group, "/listClusterUserCredential"))
    config = json.loads(base64.b64decode(answer.json()["kubeconfigs"][0]["value"]))
    assert config["clusters"][0]["cluster"]["server"] == "https://api:6443"
    user = config["users"][0]["user"]
    assert user["exec"]["command"] == "kubelogin"
    assert set(user) == {"exec"}
    assert client.post(cluster(group, "/listClusterAdminCredential")).status_code == 400


def test_pools_change_the_cluster(client: httpx.Client, group: str, recorder: Recorder) -> None:
    make(client, cluster(group), body())
    user = {"properties": {"mode": "User", "count": 2, "vmSize": "Standard_D4s_v5"}}
    make(client, cluster(group, "/agentPools/apps"), user)
    assert [pool["name"] for pool in recorder.asked[-1][0]["properties"]["agentPoolProfiles"]] == ["system", "apps"]
    assert [pool["name"] for pool in client.get(cluster(group)).json()["properties"]["agentPoolProfiles"]] == [
        "system",
        "apps",
    ]
    assert code(client.delete(cluster(group, "/agentPools/system"))) == (400, "OperationNotAllowed")
    assert finish(client, client.delete(cluster(group, "/agentPools/apps")))["status"] == "Succeeded"
    assert [pool["name"] for pool in recorder.asked[-1][0]["properties"]["agentPoolProfiles"]] == ["system"]


def test_one_operation_at_a_time(azure: Running, client: httpx.Client, group: str) -> None:
    azure.control("POST", "/lab/settings", {"time_scale": 2})
    try:
        first = client.put(cluster(group), json=body())
        assert code(client.put(cluster(group), json=body())) == (409, "OperationNotAllowed")
        assert code(client.put(cluster(group, "/agentPools/apps"), json={"properties": {"count": 1}})) == (
            409,
            "OperationNotAllowed",
        )
        assert finish(client, first)["status"] == "Succeeded"
    finally:
        azure.control("POST", "/lab/settings", {"time_scale": 0.1})


def test_versions_go_one_step_up(client: httpx.Client, group: str) -> None:
    make(client, cluster(group), body(kubernetesVersion="1.34"))
    assert code(client.put(cluster(group), json=body(kubernetesVersion="1.36")))[0] == 400
    make(client, cluster(group), body(kubernetesVersion="1.35"))
    assert code(client.put(cluster(group), json=body(kubernetesVersion="1.34")))[0] == 400
    assert code(client.put(cluster(group), json=body(kubernetesVersion="1.12")))[0] == 400
    newer = {"properties": {"orchestratorVersion": "1.36", "count": 1, "mode": "User"}}
    assert code(client.put(cluster(group, "/agentPools/apps"), json=newer)) == (400, "NodePoolMcVersionIncompatible")


def test_a_full_quota_refuses_nodes(azure: Running, client: httpx.Client, group: str) -> None:
    path = "/lab/quota/francecentral/Microsoft.Compute/standardDSv5Family"
    used = azure.control("GET", path)["currentValue"]
    azure.control("PUT", path, {"limit": used + 6})
    try:
        make(client, cluster(group), body())
        assert azure.control("GET", path)["currentValue"] == used + 6
        user = {"properties": {"mode": "User", "count": 1, "vmSize": "Standard_D2s_v5"}}
        refused = client.put(cluster(group, "/agentPools/apps"), json=user)
        assert code(refused) == (400, "ErrCode_InsufficientVCPUQuota")
        assert client.get(cluster(group, "/agentPools/apps")).status_code == 404
    finally:
        azure.control("PUT", path, {"limit": 100})


def test_a_refusal_of_the_manager_fails_the_operation(client: httpx.Client, group: str, recorder: Recorder) -> None:
    recorder.refusal = ClusterError("no second cluster", code="ErrCode_InsufficientVCPUQuota", status=400)
    try:
        status = finish(client, client.put(cluster(group), json=body()))
    finally:
        recorder.refusal = None
    assert (status["status"], status["error"]["code"]) == ("Failed", "ErrCode_InsufficientVCPUQuota")
    assert client.get(cluster(group)).json()["properties"]["provisioningState"] == "Failed"
    make(client, cluster(group), body())


def test_no_system_pool(client: httpx.Client, group: str) -> None:
    without = body()
    without["properties"]["agentPoolProfiles"] = [POOL | {"mode": "User"}]
    assert client.put(cluster(group), json=without).status_code == 400
    assert client.get(cluster(group)).status_code == 404


def test_the_kubelet_identity_needs_the_control_planes_consent(
    azure: Running, client: httpx.Client, group: str
) -> None:
    names = ["control", "kubelet"]
    ids = [f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}" for name in names]
    made = [client.put(f"{found}?api-version=2023-01-31", json={"location": "francecentral"}).json() for found in ids]
    wanted = body(identityProfile={"kubeletidentity": {"resourceId": ids[1]}})
    wanted["identity"] = {"type": "UserAssigned", "userAssignedIdentities": {ids[0]: {}}}
    assert code(client.put(cluster(group), json=wanted)) == (400, "CustomKubeletIdentityMissingPermissionError")
    role = (
        f"{azure.subscription}/providers/Microsoft.Authorization/roleDefinitions/f1a07417-d97a-45cb-824c-7a7467783830"
    )
    client.put(
        f"{ids[1]}/providers/Microsoft.Authorization/roleAssignments/60000000-0000-4000-8000-000000000001?api-version=2022-04-01",
        json={"properties": {"roleDefinitionId": role, "principalId": made[0]["properties"]["principalId"]}},
    )
    make(client, cluster(group), wanted)
    live = client.get(cluster(group)).json()
    assert live["properties"]["identityProfile"]["kubeletidentity"]["objectId"] == made[1]["properties"]["principalId"]


def test_a_cluster_half_made_is_finished_after_a_crash(tmp_path) -> None:
    first, second = Recorder(), Recorder()
    with serve(tmp_path, clusters=first, time_scale=3) as azure, azure.client() as client:
        group = f"{azure.subscription}/resourceGroups/r"
        client.put(f"{group}?api-version=2021-04-01", json={"location": "francecentral"})
        client.put(cluster(group), json=body())
        assert first.asked == []
    with serve(tmp_path, clusters=second) as again, again.client() as client:
        for _ in range(300):
            if client.get(cluster(group)).json()["properties"]["provisioningState"] == "Succeeded":
                break
            time.sleep(0.02)
        assert len(second.asked) == 1
        assert client.get(cluster(group)).json()["properties"]["provisioningState"] == "Succeeded"
