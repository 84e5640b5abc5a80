"""Where a lab lives: its folder, its block of ports, its addresses."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "AZURE_NAME",
    "CLONE",
    "CONTROL_PORTS",
    "DEFAULT_PORT",
    "ENTRA_NAME",
    "NODE_SIDE",
    "PORTS",
    "Home",
    "LabError",
    "write_private",
]

CLONE = Path(__file__).resolve().parents[3]
DEFAULT_PORT = 18400
CONTROL_PORTS = (
    "simulator",
    "kube-apiserver",
    "etcd",
    "etcd-peer",
    "kube-controller-manager",
    "kube-scheduler",
    "kwok",
    "aks-addons",
    "dns",
    "acme",
    "acme-management",
    "envoy-gateway",
)
# What a lab with a real node has besides; daemons of the node are added at the end.
NODE_PORTS = (
    "registry",
    "link",
    "gateway-http",
    "gateway-https",
    "containerd",
    "kube-proxy",
    "kubelet",
    "disk-csi-driver",
    "csi-provisioner",
    "csi-attacher",
    "csi-resizer",
    "network-policies",
    "blobs",
)
PORTS = CONTROL_PORTS + NODE_PORTS
# What runs on the machine itself, also beside a real node.
MACHINE_SIDE = {
    "simulator",
    "dns",
    "acme",
    "acme-management",
    "etcd-peer",
    "registry",
    "link",
    "gateway-http",
    "gateway-https",
    "blobs",
}
# What runs inside the namespace of a real node and is reached through the link.
NODE_SIDE = tuple(name for name in PORTS if name not in MACHINE_SIDE)
# How pods call the simulated Azure, which is on another side of the link than they are.
AZURE_NAME = "azure.lab.internal"
# Where Microsoft's clients ask, on port 443, whether an authority that they do not know is one.
ENTRA_NAME = "login.microsoftonline.com"


class LabError(Exception):
    """Something the user of the lab can act on; the message says what and how."""


@dataclass(frozen=True)
class Home:
    """The folder of one lab and the first of its ports, which it keeps for life.

    `external_kubeconfig` names a cluster that takes the place of the lab's own.
    `nodes` says what pods run on: `containers` (a real node) or `simulated`; `why` the reason.
    """

    path: Path
    base_port: int
    external_kubeconfig: Path | None = None
    nodes: str = "simulated"
    why: str = ""

    @classmethod
    def open(cls, path: Path | None = None) -> Home:
        """Return the lab of `path`, else of `$LAB_HOME`, else the clone's own; made private when it is new.

        Raises:
            LabError: `$LAB_PORT` asks for other ports than the lab was made with.

        """
        folder = (path or Path(os.environ.get("LAB_HOME") or CLONE / ".lab")).absolute()
        saved = folder / "lab.json"
        asked = os.environ.get("LAB_PORT")
        external = os.environ.get("LAB_KUBECONFIG")
        nodes, why = "simulated", ""
        if saved.exists():
            known = json.loads(saved.read_text())
            port, external = int(known["port"]), external or known.get("kubeconfig")
            nodes, why = known.get("nodes", nodes), known.get("why", why)
            if asked and int(asked) != port:
                raise LabError(
                    f"the lab in {folder} lives on port {port}, LAB_PORT asks for {asked}: "
                    "unset LAB_PORT, or choose another LAB_HOME for a second lab"
                )
        else:
            port = int(asked) if asked else DEFAULT_PORT
        return cls(folder, port, Path(external).absolute() if external else None, nodes, why)

    def create(self) -> None:
        """Make the folder, readable by its owner only, and remember the ports."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o700)
        known: dict[str, int | str] = {"port": self.base_port, "nodes": self.nodes, "why": self.why}
        if self.external_kubeconfig:
            known["kubeconfig"] = str(self.external_kubeconfig)
        write_private(self.path / "lab.json", json.dumps(known) + "\n")

    def port(self, part: str) -> int:
        """Return the port of one part of the lab."""
        return self.base_port + PORTS.index(part)

    @property
    def simulator_url(self) -> str:
        """How ARM and Entra are reached; no trailing slash."""
        return f"https://127.0.0.1:{self.port('simulator')}"

    @property
    def ca_file(self) -> Path:
        """The authority of every certificate of the simulated Azure."""
        return self.path / "pki" / "ca.crt"

    @property
    def clusters(self) -> Path:
        """The folder with one folder per cluster."""
        return self.path / "clusters"

    @property
    def admin_kubeconfig(self) -> Path:
        """A cluster administrator's identity, for the lab's own tests; exists while a cluster runs."""
        return self.path / "admin.kubeconfig"

    @property
    def kubeconfig(self) -> Path:
        """The lab's Entra identity as kubectl uses it; exists while a cluster runs."""
        return self.path / "kubeconfig"


def write_private(path: Path, text: str) -> None:
    """Replace a file at once, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    aside.replace(path)
