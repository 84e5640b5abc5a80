"""A bare Kubernetes control plane without nodes, for tests of the Kubernetes modules alone: up in a few seconds."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml

from tests.lab.build import builder
from tests.lab.control.pki import Authority, signing_key

__all__ = ["ControlPlane", "control_plane"]

START_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class ControlPlane:
    """A running API server.

    Attributes:
        server: its address.
        folder: everything it owns.
        authority: who signs its certificates and its clients'.
        kubectl: the client's path.

    """

    server: str
    folder: Path
    authority: Authority
    kubectl: Path

    def kubeconfig(self, user: str, *groups: str) -> Path:
        """Write a kubeconfig for a user of these groups."""
        pair = self.authority.issue(f"client-{user}", common_name=user, organizations=groups)
        cluster = {"server": self.server, "certificate-authority": str(self.authority.pair.certificate)}
        identity = {"client-certificate": str(pair.certificate), "client-key": str(pair.key)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": user, "user": identity}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": user}}],
            "current-context": "c",
        }
        path = self.folder / f"{user}.kubeconfig"
        path.write_text(yaml.safe_dump(document))
        return path

    @property
    def admin(self) -> Path:
        """Kubeconfig of an administrator."""
        return self.kubeconfig("admin", "system:masters")

    def run_kubectl(self, *arguments: str, stdin: str = "") -> str:
        """Act on the cluster as a person does, and return what kubectl prints."""
        command = [str(self.kubectl), "--kubeconfig", str(self.admin), *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextlib.contextmanager
def control_plane(folder: Path) -> Iterator[ControlPlane]:
    """Run etcd, the API server and the controllers in a folder, until the block ends."""
    builder.build_missing()
    kube = builder.tools()["kube"]
    etcd_port, peer_port, api_port, manager_port = _free_ports(4)
    authority = Authority(folder / "pki", "test cluster")
    serving = authority.issue("serving", common_name="kube-apiserver", hosts=["127.0.0.1"])
    accounts = folder / "pki" / "accounts.key"
    signing_key(accounts)
    plane = ControlPlane(
        server=f"https://127.0.0.1:{api_port}", folder=folder, authority=authority, kubectl=kube.program("kubectl")
    )
    etcd = f"http://127.0.0.1:{etcd_port}"
    peer = f"http://127.0.0.1:{peer_port}"
    commands = {
        "etcd": [
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ],
        "kube-apiserver": [
            f"--etcd-servers={etcd}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            f"--secure-port={api_port}",
            f"--tls-cert-file={serving.certificate}",
            f"--tls-private-key-file={serving.key}",
            f"--client-ca-file={authority.pair.certificate}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://issuer.example",
            f"--service-account-key-file={accounts}",
            f"--service-account-signing-key-file={accounts}",
            "--service-cluster-ip-range=10.0.0.0/16",
            "--shutdown-delay-duration=0s",
        ],
        "kube-controller-manager": [
            f"--kubeconfig={plane.kubeconfig('system:kube-controller-manager')}",
            "--use-service-account-credentials",
            f"--service-account-private-key-file={accounts}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={manager_port}",
        ],
    }
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for name, arguments in commands.items():
            log = (folder / f"{name}.log").open("wb")
            processes.append(
                subprocess.Popen([str(kube.program(name)), *arguments], stdout=log, stderr=log, start_new_session=True)
            )
            if name == "kube-apiserver":
                _await(plane)
        _await_accounts(plane)
        yield plane
    finally:
        for process in reversed(processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _await(plane: ControlPlane) -> None:
    deadline = time.monotonic() + START_SECONDS
    trusted = ssl.create_default_context(cafile=str(plane.authority.pair.certificate))
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{plane.server}/readyz", verify=trusted, trust_env=False, timeout=2).is_success:
                return
        time.sleep(0.1)
    log = plane.folder / "kube-apiserver.log"
    raise AssertionError(f"the API server is not ready after {START_SECONDS} s:\n{log.read_text()[-2000:]}")


def _await_accounts(plane: ControlPlane) -> None:
    """Wait until the controllers work: they make a service account in every namespace."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(AssertionError):
            plane.run_kubectl("get", "serviceaccount", "default", "-n", "default")
            return
        time.sleep(0.2)
    raise AssertionError("the controllers do not work")
