"""Writing the objects that AKS puts into a cluster, and the little of the API that this takes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.lab.build import builder
from tests.lab.cluster.manager import ClusterError

__all__ = ["Api", "kubernetes_objects"]

FIELD_MANAGER = "aks"
PLURALS = {
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "ConfigMap": "configmaps",
    "CSIDriver": "csidrivers",
    "CSINode": "csinodes",
    "Deployment": "deployments",
    "CustomResourceDefinition": "customresourcedefinitions",
    "GatewayClass": "gatewayclasses",
    "MutatingAdmissionPolicy": "mutatingadmissionpolicies",
    "MutatingAdmissionPolicyBinding": "mutatingadmissionpolicybindings",
    "Namespace": "namespaces",
    "Node": "nodes",
    "Pod": "pods",
    "Secret": "secrets",
    "Service": "services",
    "ServiceAccount": "serviceaccounts",
    "StorageClass": "storageclasses",
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
}
ESTABLISHED_SECONDS = 20


class Api:
    """The verbs that the lab needs, for the kinds that it writes."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def list(self, api_version: str, kind: str, **query: str) -> list[dict[str, Any]]:
        """Return every object of a kind."""
        items: list[dict[str, Any]] = self._ask("GET", _path(api_version, kind), params=query)["items"]
        return items

    def exists(self, api_version: str, kind: str, name: str, *, namespace: str = "") -> bool:
        """Return whether there is an object of that name."""
        answer = self._client.get(_path(api_version, kind, name, namespace))
        return answer.status_code == httpx.codes.OK

    def apply(self, document: dict[str, Any]) -> dict[str, Any]:
        """Create or update an object server-side, as its only writer."""
        about = document["metadata"]
        path = _path(document["apiVersion"], document["kind"], about["name"], about.get("namespace", ""))
        return self._ask(
            "PATCH",
            path,
            params={"fieldManager": FIELD_MANAGER, "force": "true"},
            content=json.dumps(document),  # JSON is YAML, and quicker to write
            headers={"Content-Type": "application/apply-patch+yaml"},
        )

    def try_create(self, document: dict[str, Any]) -> dict[str, Any] | None:
        """Return what a new object would be after admission, or nothing when it is refused; nothing is kept."""
        path = _path(document["apiVersion"], document["kind"], namespace=document["metadata"]["namespace"])
        answer = self._client.post(path, json=document, params={"dryRun": "All"})
        made: dict[str, Any] | None = answer.json() if answer.is_success else None
        return made

    def merge(self, api_version: str, kind: str, name: str, change: dict[str, Any], *, part: str = "") -> None:
        """Change some fields of an object, or of one of its subresources."""
        path = _path(api_version, kind, name) + (f"/{part}" if part else "")
        self._ask("PATCH", path, json=change, headers={"Content-Type": "application/merge-patch+json"})

    def delete(self, api_version: str, kind: str, name: str, *, namespace: str = "") -> None:
        """Delete an object that may be gone already."""
        answer = self._client.delete(_path(api_version, kind, name, namespace))
        if answer.status_code != httpx.codes.NOT_FOUND:
            _checked(answer)

    def drain(self, node: str) -> None:
        """Keep pods off a node and delete those it has."""
        self.merge("v1", "Node", node, {"spec": {"unschedulable": True}})
        for pod in self.list("v1", "Pod", fieldSelector=f"spec.nodeName={node}"):
            self.delete("v1", "Pod", pod["metadata"]["name"], namespace=pod["metadata"]["namespace"])

    def evict(self, pod: dict[str, Any]) -> bool:
        """Ask a pod to leave; tell whether a budget let it (or it was gone)."""
        about = pod["metadata"]
        name = {"name": about["name"], "namespace": about["namespace"]}
        answer = self._client.post(
            f"{_path('v1', 'Pod', about['name'], about['namespace'])}/eviction",
            json={"apiVersion": "policy/v1", "kind": "Eviction", "metadata": name},
        )
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            return False
        if answer.status_code != httpx.codes.NOT_FOUND:
            _checked(answer)
        return True

    def _ask(self, verb: str, path: str, **arguments: Any) -> dict[str, Any]:
        answer: dict[str, Any] = _checked(self._client.request(verb, path, **arguments)).json()
        return answer


def _checked(answer: httpx.Response) -> httpx.Response:
    if not answer.is_success:
        raise ClusterError(
            f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text[:500]}"
        )
    return answer


def _path(api_version: str, kind: str, name: str = "", namespace: str = "") -> str:
    root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{scope}/{PLURALS[kind]}" + (f"/{name}" if name else "")


def kubernetes_objects(api: Api, cluster: dict[str, Any], *, gateway_api: bool, gateways: list[dict[str, Any]]) -> None:
    """Write what AKS puts into a cluster with these properties; `gateways` is what its class of Gateways needs."""
    groups = yaml.safe_load(Path(__file__).with_name("aks-objects.yml").read_text())
    properties = cluster["properties"]
    routing = (properties.get("ingressProfile") or {}).get("webAppRouting") or {}
    istio = ((routing.get("gatewayAPIImplementations") or {}).get("appRoutingIstio") or {}).get("mode") == "Enabled"
    policy = ((properties.get("addonProfiles") or {}).get("azurepolicy") or {}).get("enabled")
    chosen = [*groups["always"]]
    if policy:
        chosen += groups["azure_policy"]
    if routing.get("enabled"):
        chosen += groups["application_routing"]
    if (properties.get("networkProfile") or {}).get("networkDataplane") == "cilium":
        _define(api, yaml.safe_load(Path(__file__).with_name("cilium.yml").read_text()))
    if gateway_api:
        _install_gateway_api(api)
        if istio:
            chosen += [*groups["application_routing_istio"], *gateways, *groups["gateway_classes"]]
    admins = (properties.get("aadProfile") or {}).get("adminGroupObjectIDs")
    if admins:
        chosen.append(_admin_binding(admins))
    for document in chosen:
        api.apply(document)


def _admin_binding(groups: list[str]) -> dict[str, Any]:
    """Return the binding by which AKS makes the members of its admin groups cluster administrators."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "aks-cluster-admin-binding-aad"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group} for group in groups],
    }


def _install_gateway_api(api: Api) -> None:
    definitions = []
    for path in sorted((builder.tools()["kube"].folder / "gateway-api").glob("*.yaml")):
        definition = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
        if definition.get("kind") == "CustomResourceDefinition":
            definitions.append(definition)
    _define(api, definitions)


def _define(api: Api, definitions: list[dict[str, Any]]) -> None:
    names = {api.apply(definition)["metadata"]["name"] for definition in definitions}
    deadline = time.monotonic() + ESTABLISHED_SECONDS
    while waiting := names - _established(api):
        if time.monotonic() > deadline:
            raise ClusterError(f"definitions are not served after {ESTABLISHED_SECONDS} s: {sorted(waiting)}")
        time.sleep(0.05)


def _established(api: Api) -> set[str]:
    definitions = api.list("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    return {
        item["metadata"]["name"]
        for item in definitions
        if any(
            entry["type"] == "Established" and entry["status"] == "True"
            for entry in item.get("status", {}).get("conditions") or []
        )
    }
