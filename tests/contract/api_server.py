"""An API server of one's own on loopback: etcd and kube-apiserver, nothing else, gone after the test."""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.lab.build.builder import built

__all__ = ["Answer", "ApiServer", "api_server"]

START_TIMEOUT = 60
CILIUM = Path(__file__).parents[1] / "lab" / "cluster" / "cilium.yml"


@dataclass(frozen=True)
class Answer:
    """What the API server said."""

    status: int
    body: dict[str, Any]
    warnings: list[str]

    @property
    def message(self) -> str:
        """Its sentence, when it refuses."""
        return str(self.body.get("message", ""))


@dataclass
class ApiServer:
    """A client of the server, as its administrator."""

    address: str
    token: str
    certificate: Path
    resources: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)

    def request(self, verb: str, path: str, body: Any = None, *, kind: str = "application/json") -> Answer:
        """One request."""
        answer = requests.request(
            verb,
            self.address + path,
            data=None if body is None else json.dumps(body),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": kind},
            verify=str(self.certificate),
            timeout=30,
        )
        warnings = answer.headers.get("Warning", "")
        return Answer(answer.status_code, answer.json(), [warnings] if warnings else [])

    def apply(self, manifest: dict[str, Any], *, dry_run: bool = False) -> Answer:
        """Server-side apply with strict field validation."""
        query = "?fieldManager=contract&fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
        name = manifest["metadata"]["name"]
        return self.request(
            "PATCH", f"{self.collection(manifest)}/{name}{query}", manifest, kind="application/apply-patch+yaml"
        )

    def create(self, manifest: dict[str, Any], *, dry_run: bool = False) -> Answer:
        """POST."""
        query = "?fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
        return self.request("POST", self.collection(manifest) + query, manifest)

    def collection(self, manifest: dict[str, Any]) -> str:
        """The path below which objects of this kind are."""
        version = manifest["apiVersion"]
        group = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if manifest["kind"] not in self.resources.get(version, {}):
            listed = self.request("GET", group).body["resources"]
            self.resources[version] = {item["kind"]: item for item in listed if "/" not in item["name"]}
        resource = self.resources[version][manifest["kind"]]
        namespace = f"/namespaces/{manifest['metadata']['namespace']}" if resource["namespaced"] else ""
        return f"{group}{namespace}/{resource['name']}"

    def define_cilium(self) -> None:
        """Create the definition of CiliumNetworkPolicy that the lab's clusters have, and wait until it is served."""
        for manifest in yaml.safe_load(CILIUM.read_text()):
            assert self.apply(manifest).status in (200, 201)
        self._await("/apis/cilium.io/v2/ciliumnetworkpolicies")

    def define_argo_cd(self) -> None:
        """Create the definitions of Argo CD's kinds that the role fetches, and wait until they are served."""
        for name in ("application", "appproject"):
            definition = yaml.safe_load((built("argo-cd").folder / "crds" / f"{name}-crd.yaml").read_text())
            assert self.apply(definition).status in (200, 201)
            self._await(f"/apis/argoproj.io/v1alpha1/{name}s")

    def _await(self, path: str) -> None:
        """Wait until a list is served."""
        headers, url = {"Authorization": f"Bearer {self.token}"}, f"{self.address}{path}"

        def served() -> bool:
            answer = requests.get(url, headers=headers, verify=str(self.certificate), timeout=10)
            return bool(answer.status_code == requests.codes.ok)

        _wait(served, path)

    def define_gateway_api(self) -> None:
        """Create the definitions of the Gateway API and wait until they are served."""
        for file in sorted((built("kube").folder / "gateway-api").glob("*.yaml")):
            for manifest in yaml.safe_load_all(file.read_text()):
                if manifest and manifest["kind"] == "CustomResourceDefinition":
                    assert self.apply(manifest).status in (200, 201)
        _wait(
            lambda: (
                {"Gateway", "HTTPRoute"}
                <= {
                    item["kind"]
                    for item in self.request("GET", "/apis/gateway.networking.k8s.io/v1").body.get("resources", [])
                }
            ),
            "the Gateway API",
        )


@contextlib.contextmanager
def api_server(folder: Path, free_port: Callable[[], int]) -> Iterator[ApiServer]:
    """Start both programs and stop them, the client first."""
    token, kube = secrets.token_hex(16), built("kube")
    (folder / "tokens.csv").write_text(f'{token},contract,contract,"system:masters"\n')
    (folder / "service-accounts.key").write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    client_port, peer_port, port = free_port(), free_port(), free_port()
    etcd = [
        str(kube.program("etcd")),
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls=http://127.0.0.1:{client_port}",
        f"--advertise-client-urls=http://127.0.0.1:{client_port}",
        f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peer_port}",
        f"--initial-cluster=default=http://127.0.0.1:{peer_port}",
        "--unsafe-no-fsync",
        "--log-level=error",
    ]
    server = [
        str(kube.program("kube-apiserver")),
        f"--etcd-servers=http://127.0.0.1:{client_port}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={folder}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://contract.example",
        f"--service-account-key-file={folder / 'service-accounts.key'}",
        f"--service-account-signing-key-file={folder / 'service-accounts.key'}",
        "--service-cluster-ip-range=10.0.0.0/24",
    ]
    with (folder / "log").open("w") as log, contextlib.ExitStack() as stack:
        for command in (etcd, server):
            process = subprocess.Popen(command, stdout=log, stderr=log)
            stack.callback(_stop, process)
        found = ApiServer(f"https://127.0.0.1:{port}", token, folder / "apiserver.crt")
        try:
            _wait(lambda: _ready(found, process), "the API server")
        except TimeoutError as exc:
            raise AssertionError(f"{exc}\n{(folder / 'log').read_text()[-3000:]}") from exc
        yield found


def _ready(server: ApiServer, process: subprocess.Popen[bytes]) -> bool:
    if process.poll() is not None:
        raise TimeoutError(f"kube-apiserver ended with {process.returncode}")
    with contextlib.suppress(requests.RequestException, OSError):
        answer = requests.get(
            f"{server.address}/readyz",
            headers={"Authorization": f"Bearer {server.token}"},
            verify=str(server.certificate),
            timeout=5,
        )
        return bool(answer.status_code == requests.codes.ok)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not become ready within {START_TIMEOUT} s")
        time.sleep(0.1)
