"""Where a lab lives: its folder, its block of ports, its addresses."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CLONE", "DEFAULT_PORT", "Home", "LabError", "write_private"]

CLONE = Path(__file__).resolve().parents[3]
DEFAULT_PORT = 18400
PORTS = (
    "simulator",
    "kube-apiserver",
    "etcd",
    "etcd-peer",
    "kube-controller-manager",
    "kube-scheduler",
    "kwok",
    "aks-addons",
)


class LabError(Exception):
    """Something the user of the lab can act on; the message says what and how."""


@dataclass(frozen=True)
class Home:
    """The folder of one lab and the first of its ports, which it keeps for life.

    `external_kubeconfig` names a cluster that takes the place of the lab's own.
    """

    path: Path
    base_port: int
    external_kubeconfig: Path | None = None

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
        if saved.exists():
            known = json.loads(saved.read_text())
            port, external = int(known["port"]), external or known.get("kubeconfig")
            if asked and int(asked) != port:
                raise LabError(
                    f"the lab in {folder} lives on port {port}, LAB_PORT asks for {asked}: "
                    "unset LAB_PORT, or choose another LAB_HOME for a second lab"
                )
        else:
            port = int(asked) if asked else DEFAULT_PORT
        return cls(folder, port, Path(external).absolute() if external else None)

    def create(self) -> None:
        """Make the folder, readable by its owner only, and remember the ports."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o700)
        known: dict[str, int | str] = {"port": self.base_port}
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
