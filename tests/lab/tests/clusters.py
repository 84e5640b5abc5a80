"""A managed cluster of the lab, asked for as any client of ARM would."""

from __future__ import annotations

import json
import ssl
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.integration.support.lab import Lab

__all__ = ["API_VERSION", "Cluster", "agent_pool", "cluster_body", "eventually"]

API_VERSION = "2026-02-01"
AKS_AUDIENCE = "6dae42f8-4368-4678-94ff-3960e28e3630"
ADMINS = "10000000-0000-4000-8000-000000000007"
NAMESPACES = ("Microsoft.ContainerService", "Microsoft.Network", "Microsoft.ManagedIdentity")


def eventually(check: Callable[[], Any], *, seconds: float = 90, every: float = 0.1) -> Any:
    """Return what `check` returns once that is true; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, f"not so after {seconds} s; last: {found!r}"
        time.sleep(every)
    return found


def agent_pool(name: str, *, count: int, **properties: Any) -> dict[str, Any]:
    """Return one agentPoolProfile over three zones."""
    return {
        "name": name,
        "mode": "User",
        "count": count,
        "vmSize": "Standard_D2ds_v5",
        "osType": "Linux",
        "type": "VirtualMachineScaleSets",
        "availabilityZones": ["1", "2", "3"],
        **properties,
    }


def cluster_body(*pools: dict[str, Any]) -> dict[str, Any]:
    """Return the body of a managed cluster with Azure RBAC, workload identity and the Gateway API."""
    routing = {"enabled": True, "gatewayAPIImplementations": {"appRoutingIstio": {"mode": "Enabled"}}}
    return {
        "location": "francecentral",
        "identity": {"type": "SystemAssigned"},
        "sku": {"name": "Base", "tier": "Standard"},
        "properties": {
            "dnsPrefix": "lab",
            "kubernetesVersion": "1.35",
            "enableRBAC": True,
            "disableLocalAccounts": True,
            "aadProfile": {"managed": True, "enableAzureRBAC": True, "adminGroupObjectIDs": [ADMINS]},
            "oidcIssuerProfile": {"enabled": True},
            "securityProfile": {"workloadIdentity": {"enabled": True}},
            "networkProfile": {"networkPlugin": "azure", "networkPluginMode": "overlay"},
            "ingressProfile": {"gatewayAPI": {"installation": "Standard"}, "webAppRouting": routing},
            "agentPoolProfiles": [
                agent_pool("system", count=3, mode="System", nodeTaints=["CriticalAddonsOnly=true:NoSchedule"]),
                *pools,
            ],
        },
    }


@dataclass
class Cluster:
    """A managed cluster in a lab, and the API server that answers for it."""

    lab: Lab
    name: str = "aks-lab"
    group: str = "rg-cluster"

    @property
    def subscription(self) -> str:
        """ARM id of the lab's subscription."""
        return f"/subscriptions/{self.lab.info['subscription_id']}"

    @property
    def id(self) -> str:
        """ARM id of the cluster."""
        scope = f"{self.subscription}/resourceGroups/{self.group}"
        return f"{scope}/providers/Microsoft.ContainerService/managedClusters/{self.name}"

    def put(self, body: dict[str, Any]) -> dict[str, Any]:
        """Create or update the cluster and wait until ARM says that it is done."""
        for namespace in NAMESPACES:
            self.lab.arm("POST", f"{self.subscription}/providers/{namespace}/register", "2021-04-01")
        group = f"{self.subscription}/resourceGroups/{self.group}"
        self.lab.arm("PUT", group, "2025-04-01", {"location": "francecentral"})
        self.lab.arm("PUT", self.id, API_VERSION, body)
        return self.settled()

    def settled(self) -> dict[str, Any]:
        """Wait for the operation on the cluster to end and return the cluster."""

        def done() -> dict[str, Any] | None:
            found: dict[str, Any] = self.lab.arm("GET", self.id, API_VERSION)
            return found if found["properties"]["provisioningState"] in {"Succeeded", "Failed"} else None

        found: dict[str, Any] = eventually(done, seconds=120, every=0.5)
        assert found["properties"]["provisioningState"] == "Succeeded", json.dumps(found, indent=1)
        return found

    def token(self, *, client: str = "", audience: str = AKS_AUDIENCE) -> str:
        """Return an Entra token of the lab's main client, or of the `second`, which has no role."""
        info = self.lab.info
        prefix = f"{client}_" if client else ""
        with self._http() as http:
            answer = http.post(
                f"{info['authority_host']}/{info['tenant_id']}/oauth2/v2.0/token",
                data={
                    "grant_type": "client_credentials",
                    "client_id": info[f"{prefix}client_id"],
                    "client_secret": info[f"{prefix}client_secret"],
                    "scope": f"{audience}/.default",
                },
            )
        assert answer.is_success, answer.text
        return str(answer.json()["access_token"])

    def assign(self, role: str, principal: str) -> str:
        """Give a principal a built-in role on the cluster; return the id of the assignment."""
        assignment = f"{self.id}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
        properties = {
            "roleDefinitionId": f"{self.subscription}/providers/Microsoft.Authorization/roleDefinitions/{role}",
            "principalId": principal,
            "principalType": "ServicePrincipal",
        }
        self.lab.arm("PUT", assignment, "2022-04-01", {"properties": properties})
        return assignment

    def api(self, verb: str, path: str, *, token: str = "", server: str = "", **arguments: Any) -> httpx.Response:
        """Ask the API server with a bearer token, or with none."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        context = ssl.create_default_context(cadata=self._authority())
        with httpx.Client(verify=context, trust_env=False, timeout=30) as http:
            return http.request(verb, (server or self.server) + path, headers=headers, **arguments)

    @property
    def server(self) -> str:
        """Address of the API server."""
        return str(self.lab.status()["parts"]["kube-apiserver"]["address"])

    def _authority(self) -> str:
        context = self.lab.kubectl("config", "view", "--raw", "--minify", "-o", "json")
        path = json.loads(context)["clusters"][0]["cluster"]["certificate-authority"]
        return Path(path).read_text()

    def _http(self) -> httpx.Client:
        return httpx.Client(verify=ssl.create_default_context(cafile=self.lab.info["ca_file"]), trust_env=False)

    def items(self, *arguments: str) -> list[dict[str, Any]]:
        """Return what `kubectl get` lists."""
        found: list[dict[str, Any]] = json.loads(self.lab.kubectl("get", *arguments, "-o", "json"))["items"]
        return found

    def apply(self, manifest: str) -> None:
        """Apply a manifest as the lab's administrator."""
        self.lab.kubectl("apply", "-f", "-", stdin=manifest)
