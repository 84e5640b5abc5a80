"""The control plane of Gateways: what Envoy Gateway needs in the cluster, and itself as a pod where pods really run."""

from __future__ import annotations

import hashlib
from pathlib import Path
from string import Template
from typing import Any

import yaml

from tests.lab.build import builder
from tests.lab.control.pki import Authority
from tests.lab.nodes.containerd import ENVOY_GATEWAY

__all__ = ["CONFIGURATION", "NAMESPACE", "gateway_objects"]

CONFIGURATION = Path(__file__).with_name("envoy-gateway.yml")
NAMESPACE = "aks-istio-system"


def gateway_objects(authority: Authority, *, pods: bool) -> list[dict[str, Any]]:
    """Return them; with `pods` the control plane is among them."""
    return [*_secrets(authority), *(_control_plane() if pods else [])]


def _secrets(authority: Authority) -> list[dict[str, Any]]:
    """What `envoy-gateway certgen` would make: the server's certificate, what proxies trust, a key for cookies."""
    service = f"envoy-gateway.{NAMESPACE}.svc"
    hosts = ["envoy-gateway", service, f"{service}.cluster.local"]
    pair = authority.issue("envoy-gateway", common_name="envoy-gateway", hosts=hosts)
    key = pair.key.read_text()
    files = {
        "ca.crt": authority.pair.certificate.read_text(),
        "tls.crt": pair.certificate.read_text(),
        "tls.key": key,
    }
    cookies = {"hmac-secret": hashlib.sha256(key.encode()).hexdigest()}
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "stringData": content,
        }
        for name, content in {"envoy-gateway": files, "envoy": files, "envoy-oidc-hmac": cookies}.items()
    ]


def _control_plane() -> list[dict[str, Any]]:
    configuration = CONFIGURATION.read_text()
    # Another program or configuration is another pod.
    version = hashlib.sha256(f"{builder.tools()['envoy-gateway'].folder.name}{configuration}".encode())
    text = Template(Path(__file__).with_name("gateways.yml").read_text()).substitute(
        image=ENVOY_GATEWAY, version=version.hexdigest()[:12]
    )
    about = {"name": "envoy-gateway", "namespace": NAMESPACE}
    held = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": {CONFIGURATION.name: configuration}}
    return [held, *yaml.safe_load(text)]
