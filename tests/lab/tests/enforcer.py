"""An API server and the enforcer of network policies, both in a network of pods, and pods as the API knows them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import yaml

from tests.contract.api_server import ApiServer, api_server
from tests.contract.debian import daemon
from tests.lab.build.builder import built
from tests.lab.tests.pod_network import NODE, POD_RANGE, Host, PodNetwork, eventually, log_end, pod_network

__all__ = ["PolicyLab", "free_port", "kubeconfig_of", "policy_lab"]

HEALTH = "127.0.0.1:9900"
PROGRAM: Callable[[], Path] = lambda: built("kube").program("network-policies")  # noqa: E731


@dataclass
class PolicyLab:
    """Pods that are namespaces, and what the API says of them."""

    network: PodNetwork
    server: ApiServer
    folder: Path
    arguments: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    def apply(self, *manifests: dict[str, Any]) -> None:
        """Server-side apply of what must be accepted."""
        for manifest in manifests:
            answer = self.server.apply(manifest)
            assert answer.status in (200, 201), f"{manifest['kind']} {manifest['metadata']['name']}: {answer.message}"

    def delete(self, manifest: dict[str, Any]) -> None:
        """Delete an object at once."""
        path = f"{self.server.collection(manifest)}/{manifest['metadata']['name']}"
        answer = self.server.request("DELETE", path, {"gracePeriodSeconds": 0})
        assert answer.status == 200, answer.message

    def namespace(self, name: str, **labels: str) -> None:
        """Create a namespace that can take pods."""
        self.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}},
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}},
        )

    def pod(
        self,
        namespace: str,
        name: str,
        address: str,
        *ports: int,
        labels: dict[str, str] | None = None,
        known: bool = True,
    ) -> Host:
        """Start a pod and, if `known`, have the API say its address; it must be the first of its name."""
        host = self.network.add(f"{namespace}/{name}", address, *ports)
        named = [{"name": f"p{port}", "containerPort": port} for port in ports]
        self.apply(pod_manifest(namespace, name, labels or {}, named))
        if known:
            self.announce(host)
        return host

    def announce(self, host: Host) -> None:
        """Say the address of a pod as the kubelet does."""
        namespace, _, name = host.name.partition("/")
        status = {"status": {"phase": "Running", "podIP": host.address, "podIPs": [{"ip": host.address}]}}
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/status"
        answer = self.server.request("PATCH", path, status, kind="application/merge-patch+json")
        assert answer.status == 200, answer.message

    def relabel(self, host: Host, **labels: str | None) -> None:
        """Change labels of a pod; None takes one away."""
        namespace, _, name = host.name.partition("/")
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        change = {"metadata": {"labels": labels}}
        assert self.server.request("PATCH", path, change, kind="application/merge-patch+json").status == 200

    def start(self, *, wait: bool = True) -> None:
        """Start the enforcer and wait until its rules are in force."""
        with (self.folder / "enforcer.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", PROGRAM(), *self.arguments],
                env=tool_environment(),
                stdout=log,
                stderr=log,
            )
        if wait:
            self.healthy()

    def healthy(self) -> None:
        """Wait until the enforcer says that its rules are up to date."""
        try:
            eventually(self.health, 200)
        except AssertionError as exc:
            raise AssertionError(f"{exc}\n{log_end(self.folder / 'enforcer.log')}") from exc

    def health(self) -> int:
        """The status of its health, 0 when there is no answer."""
        try:
            return requests.get(f"http://{HEALTH}/healthz", timeout=5).status_code
        except requests.RequestException:
            return 0

    def kill(self) -> None:
        """Kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def nft(self, *arguments: str) -> str:
        """Run nft in the network."""
        done = subprocess.run(["nft", *arguments], env=tool_environment(), capture_output=True, text=True, check=True)
        return done.stdout


def tool_environment() -> dict[str, str]:
    """The environment in which `nft` is found."""
    found = daemon("nft")
    folder = str(Path(found.program("nft")).parent)
    return {**os.environ, **found.environment, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def pod_manifest(namespace: str, name: str, labels: dict[str, str], ports: list[dict[str, Any]]) -> dict[str, Any]:
    """A pod that is on a node already, so that nobody has to schedule it."""
    container = {"name": "main", "image": "none", "ports": ports}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"nodeName": "node", "containers": [container], "automountServiceAccountToken": False},
    }


@contextlib.contextmanager
def policy_lab(folder: Path) -> Iterator[PolicyLab]:
    """A node's network with an API server in it; the enforcer is there and not started."""
    # Whatever has to be fetched or built is, before no way leads out any more.
    tool_environment()
    PROGRAM()
    with pod_network() as network, api_server(folder, free_port) as server:
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(kubeconfig_of(server)))
        arguments = [
            f"--kubeconfig={kubeconfig}",
            f"--health-address={HEALTH}",
            f"--pod-cidr={POD_RANGE}",
            f"--outside={NODE}:18400",
            "--resync=2s",
        ]
        running = PolicyLab(network, server, folder, arguments)
        running.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node"}})
        addresses = {"status": {"addresses": [{"type": "InternalIP", "address": NODE}]}}
        path = "/api/v1/nodes/node/status"
        assert server.request("PATCH", path, addresses, kind="application/merge-patch+json").status == 200
        try:
            yield running
        finally:
            running.kill()


def kubeconfig_of(server: ApiServer) -> dict[str, Any]:
    """Return the kubeconfig of its administrator."""
    cluster = {"server": server.address, "certificate-authority": str(server.certificate)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": cluster}],
        "users": [{"name": "lab", "user": {"token": server.token}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
        "current-context": "lab",
    }


def free_port() -> int:
    """Return a port of the loopback that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
