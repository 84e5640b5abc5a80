"""Role assignments and definitions, and what the cluster's webhook answers from them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.lab.azure.authorization import built_in_roles, grants
from tests.lab.azure.cluster_routes import data_action
from tests.lab.azure.testing import Running
from tests.lab.cluster.manager import cluster_guid
from tests.lab.tests.test_engine_arm import VNET, code, make, vnet

VERSION = "2022-04-01"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
CONTRIBUTOR = "b24988ac-6180-42a0-ab88-20f7382dd24c"
NETWORK_CONTRIBUTOR = "4d97b98b-1d4f-4787-a291-c67834d212e7"
NAMES = [f"40000000-0000-4000-8000-00000000000{number}" for number in range(6)]


@pytest.fixture
def client(azure: Running):
    with azure.client() as found:
        yield found


def assignment(scope: str, name: str = NAMES[0]) -> str:
    return f"{scope}/providers/Microsoft.Authorization/roleAssignments/{name}?api-version={VERSION}"


def body(azure: Running, role: str, principal: str, **more: Any) -> dict[str, Any]:
    definition = f"{azure.subscription}/providers/Microsoft.Authorization/roleDefinitions/{role}"
    return {"properties": {"roleDefinitionId": definition, "principalId": principal, **more}}


def test_an_assignment_lets_somebody_in_there_and_below(azure: Running, client: httpx.Client, group: str) -> None:
    make(client, vnet(group), VNET)
    with azure.client(second=True) as other:
        assert code(other.get(vnet(group))) == (403, "AuthorizationFailed")
        made = client.put(assignment(group), json=body(azure, READER, azure.settings.second_object_id))
        assert made.status_code == 201, made.text
        assert made.json()["properties"]["principalType"] == "ServicePrincipal"
        assert made.json()["properties"]["scope"] == group
        assert other.get(vnet(group)).status_code == 200
        assert code(other.put(vnet(group), json=VNET)) == (403, "AuthorizationFailed")
        assert code(other.get(f"{azure.subscription}/resourceGroups?api-version=2021-04-01"))[0] == 403
        assert client.delete(assignment(group)).status_code == 200
        assert code(other.get(vnet(group))) == (403, "AuthorizationFailed")


def test_an_assignment_to_a_group_counts_for_its_members(azure: Running, client: httpx.Client, group: str) -> None:
    admins = azure.settings.admin_group_id
    path = f"/lab/principals/{azure.settings.second_client_id}"
    azure.control("POST", path, {"groups": [admins]})
    try:
        made = client.put(assignment(group), json=body(azure, CONTRIBUTOR, admins, principalType="Group"))
        assert made.status_code == 201, made.text
        with azure.client(second=True) as other:
            assert other.put(vnet(group), json=VNET).status_code == 201
            refused = other.put(assignment(group, NAMES[1]), json=body(azure, READER, admins))
            assert code(refused) == (403, "AuthorizationFailed"), "a Contributor assigns no roles"
    finally:
        azure.control("POST", path, {"groups": []})


@pytest.mark.parametrize(
    "case",
    [
        (READER, "90000000-0000-4000-8000-000000000000", {}, (400, "PrincipalNotFound")),
        ("90000000-0000-4000-8000-000000000000", None, {}, (404, "RoleDefinitionDoesNotExist")),
        (READER, None, {"principalType": "User"}, (400, "UnmatchedPrincipalType")),
        (READER, "no-guid", {}, (400, "InvalidPrincipalId")),
    ],
)
def test_refused_assignments(
    azure: Running,
    client: httpx.Client,
    group: str,
    case: tuple[str, str | None, dict[str, Any], tuple[int, str]],
) -> None:
    role, principal, more, expected = case
    refused = client.put(
        assignment(group), json=body(azure, role, principal or azure.settings.second_object_id, **more)
    )
    assert code(refused) == expected


def test_one_triple_once(azure: Running, client: httpx.Client, group: str) -> None:
    wanted = body(azure, READER, azure.settings.second_object_id)
    assert client.put(assignment(group), json=wanted).status_code == 201
    assert code(client.put(assignment(group, NAMES[1]), json=wanted)) == (409, "RoleAssignmentExists")
    assert client.put(assignment(group), json=wanted).status_code in (200, 201)
    other = body(azure, CONTRIBUTOR, azure.settings.second_object_id)
    assert code(client.put(assignment(group), json=other)) == (400, "RoleAssignmentUpdateNotPermitted")
    assert code(client.put(assignment(group, "not-a-guid"), json=other)) == (400, "InvalidRoleAssignmentId")


def test_lists_of_assignments(azure: Running, client: httpx.Client, group: str) -> None:
    make(client, vnet(group), VNET)
    network = vnet(group).split("?")[0]
    second = azure.settings.second_object_id
    client.put(assignment(network), json=body(azure, READER, second))

    def listed(scope: str, condition: str = "") -> set[str]:
        params = {"api-version": VERSION} | ({"$filter": condition} if condition else {})
        answer = client.get(f"{scope}/providers/Microsoft.Authorization/roleAssignments", params=params)
        return {item["properties"]["scope"] for item in answer.json()["value"]}

    assert listed(group) == {azure.subscription, network}
    assert listed(group, "atScope()") == {azure.subscription}
    assert listed(group, f"principalId eq '{second}'") == {network}
    assert listed(network, f"assignedTo('{azure.settings.object_id}')") == {azure.subscription}


def test_role_definitions(azure: Running, client: httpx.Client, group: str) -> None:
    base = f"{azure.subscription}/providers/Microsoft.Authorization/roleDefinitions"
    found = client.get(base, params={"api-version": VERSION, "$filter": "roleName eq 'AcrPull'"}).json()["value"]
    assert [role["name"] for role in found] == ["7f951dda-4ed3-4680-a7ca-43fe172d538d"]
    one = client.get(f"{base}/{READER}?api-version={VERSION}")
    assert one.json()["properties"]["roleName"] == "Reader", one.text
    custom = {
        "properties": {
            "roleName": "Network Watcher",
            "permissions": [{"actions": ["Microsoft.Network/virtualNetworks/read"]}],
            "assignableScopes": [azure.subscription],
        }
    }
    assert client.put(f"{base}/{NAMES[2]}?api-version={VERSION}", json=custom).status_code == 201
    assert code(client.put(f"{base}/{NAMES[3]}?api-version={VERSION}", json=custom)) == (
        409,
        "RoleDefinitionWithSameNameExists",
    )
    make(client, vnet(group), VNET)
    client.put(assignment(group), json=body(azure, NAMES[2], azure.settings.second_object_id))
    with azure.client(second=True) as other:
        assert other.get(vnet(group)).status_code == 200
        assert code(other.get(f"{group}?api-version=2021-04-01")) == (403, "AuthorizationFailed")
    assert code(client.delete(f"{base}/{NAMES[2]}?api-version={VERSION}")) == (409, "RoleDefinitionHasAssignments")
    assert client.put(f"{base}/{READER}?api-version={VERSION}", json=custom).status_code == 403


@pytest.mark.parametrize(
    ("spec", "action"),
    [
        ({"verb": "get", "resource": "pods", "namespace": "a"}, "pods/read"),
        ({"verb": "watch", "group": "apps", "resource": "deployments"}, "apps/deployments/read"),
        (
            {"verb": "patch", "group": "apps", "resource": "deployments", "subresource": "scale"},
            "apps/deployments/write",
        ),
        ({"verb": "deletecollection", "resource": "secrets"}, "secrets/delete"),
        ({"verb": "create", "resource": "pods", "subresource": "exec"}, "pods/exec/action"),
        (
            {"verb": "escalate", "group": "rbac.authorization.k8s.io", "resource": "roles"},
            "rbac.authorization.k8s.io/roles/escalate/action",
        ),
    ],
)
def test_requests_become_data_actions(spec: dict[str, Any], action: str) -> None:
    assert data_action({"resourceAttributes": spec}) == f"Microsoft.ContainerService/managedClusters/{action}"


CLUSTER_ADMIN, ADMIN = "b1ff04bb-8a4e-4dc4-8eb5-8693973ce19b", "3498e952-d568-435e-9b2c-8d77e338d7f7"
WRITER, AKS_READER = "a7ffa36f-339b-4b5c-8bdf-e2c188b2c0eb", "7f6c6a51-bcf8-42ba-9220-52d62157d7db"


@pytest.mark.parametrize(
    ("role", "spec", "allowed"),
    [
        (CLUSTER_ADMIN, {"verb": "create", "resource": "namespaces"}, True),
        (ADMIN, {"verb": "create", "resource": "namespaces"}, False),
        (ADMIN, {"verb": "create", "resource": "secrets", "namespace": "a"}, True),
        (WRITER, {"verb": "create", "resource": "secrets", "namespace": "a"}, True),
        (
            WRITER,
            {"verb": "create", "group": "rbac.authorization.k8s.io", "resource": "roles", "namespace": "a"},
            False,
        ),
        (AKS_READER, {"verb": "list", "resource": "pods", "namespace": "a"}, True),
        (AKS_READER, {"verb": "get", "resource": "secrets", "namespace": "a"}, False),
        (AKS_READER, {"verb": "delete", "resource": "pods", "namespace": "a"}, False),
    ],
)
def test_built_in_cluster_roles(role: str, spec: dict[str, Any], allowed: bool) -> None:
    assert (
        grants(built_in_roles()[role]["permissions"], data_action({"resourceAttributes": spec}), data=True) is allowed
    )


def test_the_webhook_knows_cluster_and_namespace(
    azure: Running, client: httpx.Client, group: str, cluster: str
) -> None:
    def review(**attributes: str) -> bool:
        spec = {"user": azure.settings.second_object_id, "groups": [], "resourceAttributes": attributes}
        asked = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        answer = client.post(f"/kubernetes/authorize/{cluster_guid(cluster)}", json=asked).json()
        assert (answer["apiVersion"], answer["kind"]) == (asked["apiVersion"], asked["kind"])
        allowed: bool = answer["status"]["allowed"]
        return allowed

    assert not review(verb="list", resource="pods", namespace="one")
    made = client.put(
        assignment(f"{cluster}/namespaces/one"), json=body(azure, AKS_READER, azure.settings.second_object_id)
    )
    assert made.status_code == 201, made.text
    assert review(verb="list", resource="pods", namespace="one")
    assert not review(verb="list", resource="pods", namespace="two")
    assert not review(verb="list", resource="pods")
    client.put(assignment(cluster, NAMES[1]), json=body(azure, CLUSTER_ADMIN, azure.settings.second_object_id))
    assert review(verb="create", resource="namespaces")
    unknown = client.post("/kubernetes/authorize/none", json={"spec": {"user": azure.settings.object_id}}).json()
    assert unknown["status"]["allowed"] is False


@pytest.fixture
def cluster(client: httpx.Client, group: str) -> str:
    path = f"{group}/providers/Microsoft.ContainerService/managedClusters/aks"
    pool = {"name": "system", "mode": "System", "count": 1, "vmSize": "Standard_D2s_v5"}
    make(
        client,
        f"{path}?api-version=2025-05-01",
        {
            "location": "francecentral",
            "identity": {"type": "SystemAssigned"},
            "properties": {"dnsPrefix": "aks", "agentPoolProfiles": [pool]},
        },
    )
    return path
