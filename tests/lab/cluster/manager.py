"""The line between the simulated Azure and the real Kubernetes of the lab.

The simulator calls a `ClusterManager` when a managed cluster is written or
deleted, and learns from the `ClusterEndpoint` what it has to answer for it
(address, certificate authority, workload identity issuer and its keys).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["ClusterEndpoint", "ClusterError", "ClusterManager", "NullClusterManager", "cluster_guid"]


class ClusterError(Exception):
    """A cluster that cannot be had as asked.

    `code` and `status` are what ARM answers: an error code of AKS and an HTTP status.
    """

    def __init__(self, message: str, *, code: str = "InternalOperationError", status: int = 500) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status


@dataclass(frozen=True)
class ClusterEndpoint:
    """Where a running cluster is and how its tokens are checked.

    `server` is the URL of the API server, `ca_pem` the authority of its
    certificate, `issuer` the ServiceAccount issuer (workload identity), `jwks`
    the public keys of that issuer as a JSON Web Key Set.
    """

    server: str
    ca_pem: str
    issuer: str
    jwks: dict[str, Any]


class ClusterManager(Protocol):
    """What the simulator needs of whoever runs clusters."""

    async def converge(self, cluster: dict[str, Any], *, gateway_api: bool) -> ClusterEndpoint:
        """Make the cluster be what the ARM body says; return when it answers.

        Args:
            cluster: the whole managedClusters resource with `id`, `location` and `properties.agentPoolProfiles`.
            gateway_api: whether the managed Gateway API (CRDs, and GatewayClass of application routing) is asked for.

        Raises:
            ClusterError: the request cannot be met; carries ARM's code and status.

        """
        ...

    async def delete(self, cluster_id: str) -> None:
        """Stop the cluster with that ARM id and empty it; nothing happens when there is none."""
        ...


class NullClusterManager:
    """Answers as if a cluster ran, without running one: for tests of Azure alone."""

    async def converge(self, cluster: dict[str, Any], *, gateway_api: bool) -> ClusterEndpoint:
        """Return an endpoint of an address where nobody listens."""
        del gateway_api
        guid = cluster_guid(str(cluster["id"]))
        return ClusterEndpoint(
            server="https://127.0.0.1:1", ca_pem="", issuer=f"https://127.0.0.1/oidc/{guid}/", jwks={"keys": []}
        )

    async def delete(self, cluster_id: str) -> None:
        """Nothing ran, so nothing stops."""
        del cluster_id


def cluster_guid(cluster_id: str) -> str:
    """Return the GUID by which the lab names a cluster in URLs and folders: the same for an id in any casing."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, cluster_id.lower()))
