"""Workload identity of AKS: what its webhook adds to pods, as admission policies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

__all__ = ["PROBE", "is_enabled", "is_served", "policies"]

# A pod that asks for an identity; it is only ever tried.
PROBE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "probe", "namespace": "default", "labels": {"azure.workload.identity/use": "true"}},
    "spec": {"serviceAccountName": "default", "containers": [{"name": "probe", "image": "lab.invalid/probe:1"}]},
}


def is_enabled(cluster: dict[str, Any]) -> bool:
    """Return whether a managedClusters body asks for workload identity."""
    profile = cluster["properties"].get("securityProfile") or {}
    return bool((profile.get("workloadIdentity") or {}).get("enabled"))


def is_served(pod: dict[str, Any] | None) -> bool:
    """Return whether a pod, as admission left it, got its token."""
    volumes = pod["spec"].get("volumes", []) if pod else []
    return any(volume["name"] == "azure-identity-token" for volume in volumes)


def policies(*, tenant_id: str, authority_host: str) -> list[dict[str, Any]]:
    """Return the policies for a tenant whose tokens are had from `authority_host`, a URL as pods reach it."""
    text = Path(__file__).with_name("workload-identity.yml").read_text()
    for name, value in {"TENANT_ID": tenant_id, "AUTHORITY_HOST": authority_host.rstrip("/") + "/"}.items():
        text = text.replace(f'"{name}"', f'"{value}"')
    documents: list[dict[str, Any]] = yaml.safe_load(text)
    return documents
