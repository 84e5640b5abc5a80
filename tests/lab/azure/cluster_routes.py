"""What a cluster asks of Azure: may this identity do that, keys of ServiceAccount tokens, may a disk be encrypted so.

The mapping of requests to data actions: https://learn.microsoft.com/azure/aks/manage-azure-rbac
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.lab.azure.arm_id import ArmId
from tests.lab.azure.authorization import Authorization, Caller
from tests.lab.azure.behaviours.disk_encryption_sets import require_usable_by
from tests.lab.azure.errors import ArmError
from tests.lab.azure.store import Resource, Store
from tests.lab.cluster.manager import cluster_guid

if TYPE_CHECKING:
    from tests.lab.azure.app import Simulator

CLUSTER_TYPE = "microsoft.containerservice/managedclusters"
_PREFIX = "Microsoft.ContainerService/managedClusters"
_READING = frozenset({"get", "list", "watch"})
_DELETING = frozenset({"delete", "deletecollection"})
_OWN_VERBS = frozenset({"bind", "escalate", "impersonate", "approve", "sign", "attest"})


def routes(simulator: Simulator) -> list[Route]:
    """The webhook, the issuer's documents, and what the driver of disks asks."""

    async def authorize(request: Request) -> Response:
        review = await request.json()
        cluster = find_cluster(simulator.store, request.path_params["guid"])
        if cluster is None:
            return _review(review, allowed=False, reason="there is no such cluster")
        allowed, reason = decide(simulator.engine.authorization, cluster.id, review.get("spec", {}))
        return _review(review, allowed=allowed, reason=reason)

    async def configuration(request: Request) -> Response:
        cluster = find_cluster(simulator.store, request.path_params["guid"])
        issuer = cluster.private.get("endpoint", {}).get("issuer") if cluster else None
        if issuer is None:
            return JSONResponse({"error": "no such issuer"}, status_code=404)
        return JSONResponse(
            {
                "issuer": issuer,
                "jwks_uri": f"{issuer.rstrip('/')}/openid/v1/jwks",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        )

    async def keys(request: Request) -> Response:
        cluster = find_cluster(simulator.store, request.path_params["guid"])
        found = cluster.private.get("endpoint", {}).get("jwks") if cluster else None
        return JSONResponse(found) if found else JSONResponse({"error": "no such issuer"}, status_code=404)

    async def disk_encryption(request: Request) -> Response:
        cluster = find_cluster(simulator.store, request.path_params["guid"])
        if cluster is None:
            return JSONResponse({"error": "there is no such cluster"}, status_code=404)
        try:
            require_usable_by(simulator.engine, cluster, request.query_params.get("set", ""))
        except ArmError as exc:
            return JSONResponse({"error": f"{exc.code}: {exc.message}"}, status_code=exc.status)
        return JSONResponse({})

    return [
        Route("/kubernetes/authorize/{guid}", authorize, methods=["POST"]),
        Route("/kubernetes/disk-encryption/{guid}", disk_encryption),
        Route("/oidc/{guid}/.well-known/openid-configuration", configuration),
        Route("/oidc/{guid}/openid/v1/jwks", keys),
    ]


def find_cluster(store: Store, guid: str) -> Resource | None:
    """The managed cluster with that GUID."""
    for cluster in store.find(CLUSTER_TYPE):
        if cluster_guid(cluster.id.text) == guid.lower():
            return cluster
    return None


def decide(authorization: Authorization, cluster: ArmId, spec: dict[str, Any]) -> tuple[bool, str]:
    """Whether role assignments at the cluster, or at the namespace below it, allow what a review asks."""
    caller = Caller(object_id=str(spec.get("user", "")), groups=tuple(spec.get("groups") or ()))
    action = data_action(spec)
    namespace = (spec.get("resourceAttributes") or {}).get("namespace")
    # Assignments for one namespace have the scope <cluster>/namespaces/<name>; that is no ARM resource.
    scopes = [cluster] if not namespace else [cluster, ArmId((*cluster.segments, "namespaces", namespace))]
    for scope in scopes:
        if authorization.allowed(caller, action, scope, data=True):
            return True, f"a role assignment allows {action}"
    return (
        False,
        f"User does not have access to the resource in Azure. Update role assignment to allow access ({action}).",
    )


def data_action(spec: dict[str, Any]) -> str:
    """``Microsoft.ContainerService/managedClusters/apps/deployments/write`` and the like."""
    paths = spec.get("nonResourceAttributes")
    if paths:
        verb = "read" if str(paths.get("verb")) in _READING else str(paths.get("verb"))
        return f"{_PREFIX}/{str(paths.get('path', '')).strip('/') or 'root'}/{verb}"
    asked = spec.get("resourceAttributes") or {}
    verb = str(asked.get("verb", ""))
    group, resource = str(asked.get("group") or ""), str(asked.get("resource") or "*")
    subresource = str(asked.get("subresource") or "")
    what = "/".join(part for part in (group, resource) if part)
    if resource == "pods" and subresource in ("exec", "attach", "portforward", "proxy"):
        return f"{_PREFIX}/{what}/{subresource}/action"
    if verb in _OWN_VERBS:
        return f"{_PREFIX}/{what}/{verb}/action"
    kind = "read" if verb in _READING else "delete" if verb in _DELETING else "write"
    return f"{_PREFIX}/{what}/{kind}"


def _review(review: dict[str, Any], *, allowed: bool, reason: str) -> Response:
    # denied stays false: ordinary RBAC beside this webhook may still say yes.
    return JSONResponse(
        {
            "apiVersion": review.get("apiVersion", "authorization.k8s.io/v1"),
            "kind": "SubjectAccessReview",
            "status": {"allowed": allowed, "reason": reason},
        }
    )
