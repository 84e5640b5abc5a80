"""How each system is, from what modules found."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.audioprothese.platform.plugins.filter.system_states import system_states

SCOPE = "/subscriptions/10000000-0000-4000-8000-000000000002/resourceGroups/rg/providers"
VNET, CLUSTER = (
    f"{SCOPE}/Microsoft.Network/virtualNetworks/v",
    f"{SCOPE}/Microsoft.ContainerService/managedClusters/c",
)
NETWORK = {"key": "network", "owns": ["microsoft.network/*"]}
AKS = {"key": "cluster", "owns": ["Microsoft.ContainerService/*"], "version": "properties.kubernetesVersion"}
OPENMRS = {"key": "openmrs", "owns": ["*/openmrs/*", "Namespace/openmrs"]}
SYSTEMS = [OPENMRS, AKS, NETWORK]
NAME = "Deployment/openmrs/frontend"


def azure(state: str = "Succeeded", **properties: Any) -> dict[str, Any]:
    """A resource of Azure."""
    return {"properties": {"provisioningState": state, **properties}}


def deployment(ready: int = 2, image: str = "r.example/openmrs/frontend:3.7.0@sha256:0a1b") -> dict[str, Any]:
    """A Deployment of two pods, of which some are ready."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "frontend", "namespace": "openmrs", "generation": 1},
        "spec": {"replicas": 2, "template": {"spec": {"containers": [{"image": image}]}}},
        "status": {
            "observedGeneration": 1,
            "replicas": 2,
            "updatedReplicas": 2,
            "readyReplicas": ready,
            "availableReplicas": ready,
        },
    }


def finding(verdict: str, resource: str = NAME, path: str = "spec.replicas") -> dict[str, Any]:
    """What a comparison found."""
    return {"resource": resource, "verdict": verdict, "path": path, "message": "why"}


def state_of(key: str, *results: dict[str, Any]) -> dict[str, Any]:
    """The state of one system."""
    [found] = [state for state in system_states(SYSTEMS, results) if state["key"] == key]
    return found


@pytest.mark.parametrize(
    ("live", "findings", "state"),
    [
        ({NAME: deployment()}, [], "running"),
        ({NAME: deployment()}, [finding("drift")], "differs"),
        ({NAME: deployment()}, [finding("missing", "Service/openmrs/frontend", "")], "differs"),
        ({NAME: deployment()}, [finding("unexpected")], "differs"),
        ({NAME: deployment()}, [finding("not_verifiable", path="")], "unknown"),
        ({NAME: deployment()}, [finding("not_verifiable", path="data.password")], "running"),
        ({NAME: deployment()}, [finding("error")], "failed"),
        ({NAME: deployment(ready=1)}, [], "failed"),
        ({NAME: deployment(ready=1)}, [finding("drift")], "failed"),
        ({}, [finding("missing", path="")], "absent"),
    ],
)
def test_the_worst_decides(live: dict[str, Any], findings: list[dict[str, Any]], state: str) -> None:
    assert state_of("openmrs", {"resources": live, "findings": findings})["state"] == state


@pytest.mark.parametrize(
    ("body", "state", "problems"),
    [
        (azure(), "running", []),
        ({"registrationState": "Registered"}, "running", []),
        ({"properties": {}}, "running", []),
        (azure("Failed"), "failed", ["v: Failed"]),
        (azure("Updating"), "failed", ["v: Updating"]),
    ],
)
def test_azure_says_itself_how_a_resource_is(body: dict[str, Any], state: str, problems: list[str]) -> None:
    found = state_of("network", {"resources": {VNET: body}})
    assert (found["state"], found["problems"]) == (state, problems)


def test_what_is_not_ready_is_named_with_its_reason() -> None:
    [problem] = state_of("openmrs", {"resources": {NAME: deployment(ready=1)}})["problems"]
    assert problem.startswith(f"{NAME}: 1 of 2 ")


def test_versions_are_those_that_run() -> None:
    results = {"resources": {NAME: deployment(), CLUSTER: azure(kubernetesVersion="1.35")}}
    assert state_of("openmrs", results)["versions"] == ["frontend 3.7.0"]
    assert state_of("cluster", results)["versions"] == ["1.35"]


def test_the_first_system_that_matches_owns() -> None:
    everything = {"key": "rest", "owns": ["*"]}
    states = system_states([NETWORK, everything], [{"resources": {VNET: azure(), CLUSTER: azure()}}])
    assert [(state["key"], state["resources"]) for state in states] == [("network", 1), ("rest", 1)]


def test_of_which_nothing_is_declared_is_left_out() -> None:
    assert [state["key"] for state in system_states(SYSTEMS, [{"resources": {VNET: azure()}}, {}])] == ["network"]


@pytest.mark.parametrize(
    "result", [{"resources": {"Pod/else/where": {}}}, {"findings": [finding("drift", "Pod/else/where")]}]
)
def test_what_nobody_owns_is_refused(result: dict[str, Any]) -> None:
    with pytest.raises(AnsibleFilterError, match=r"no system owns Pod/else/where; add it to `owns` of the one"):
        system_states(SYSTEMS, [result])
