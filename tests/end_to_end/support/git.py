"""A Git server in the lab that Argo CD delivers from, and somebody who commits there."""

from __future__ import annotations

import base64
import datetime as dt
import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.end_to_end.support.certificates import expiring
from tests.integration.support.lab import ROOT, UP_TIMEOUT, Lab

__all__ = ["Repository", "repository"]

NAMESPACE = NAME = "git-server"
HOST = f"{NAME}.{NAMESPACE}.svc.cluster.local"
PORT = 8443
IMAGE = "docker.io/audioprothese/lab-git:1"
BARE = "/srv/git/platform.git"
WORK = "/tmp/work"


@dataclass(frozen=True)
class Repository:
    """A repository with the chart, and who commits to it."""

    lab: Lab
    authority: str

    url: str = f"https://{HOST}:{PORT}/platform.git"

    def git(self, *arguments: str) -> str:
        """Run git in the work tree, inside of the pod."""
        return self.lab.kubectl("exec", "-n", NAMESPACE, NAME, "--", "git", "-C", WORK, *arguments).strip()

    def put(self, path: str, content: bytes) -> None:
        """Unpack a tar archive into a folder of the work tree, in place of what is there."""
        folder = f"{WORK}/{path}"
        script = f"rm -rf {folder} && mkdir -p {folder} && base64 -d | tar -xf - -C {folder}"
        run = ("exec", "-i", "-n", NAMESPACE, NAME, "--", "sh", "-c", script)
        self.lab.kubectl(*run, stdin=base64.b64encode(content).decode())

    def commit(self, message: str, chart: Path) -> str:
        """Push a chart as it is in that folder; return the commit."""
        self.put("charts/openmrs", _archived(chart))
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.push()

    def revert(self) -> str:
        """Push what undoes the last commit; return the commit."""
        self.git("revert", "--no-edit", "HEAD")
        return self.push()

    def push(self) -> str:
        """Push, and return the commit."""
        self.git("push", "--quiet", "origin", "main")
        return self.git("rev-parse", "HEAD")


@contextmanager
def repository(lab: Lab) -> Iterator[Repository]:
    """Run a server with the chart of this collection in it."""
    lab.command("images", IMAGE, timeout=UP_TIMEOUT)
    shown = expiring(HOST, dt.timedelta(days=2))
    about = {"name": NAME, "namespace": NAMESPACE}
    objects: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": about,
            "stringData": {"tls.crt": shown.certificate + shown.authority, "tls.key": shown.key},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": about,
            "spec": {"selector": {"app": NAME}, "ports": [{"port": PORT}]},
        },
        # A name outside of the cluster is a flow of the platform; this one is inside.
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {**about, "namespace": "argocd"},
            "spec": {
                "podSelector": {"matchLabels": {"app.kubernetes.io/name": "argocd-repo-server"}},
                "policyTypes": ["Egress"],
                "egress": [
                    {
                        "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}}],
                        "ports": [{"protocol": "TCP", "port": PORT}],
                    }
                ],
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**about, "labels": {"app": NAME}},
            "spec": {
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 1,
                "securityContext": {"runAsNonRoot": True, "runAsUser": 65534, "fsGroup": 65534},
                "containers": [
                    {
                        "name": NAME,
                        "image": IMAGE,
                        "env": [{"name": "REPOSITORY", "value": "platform"}],
                        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
                        "securityContext": {"readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False},
                        "volumeMounts": [
                            {"name": "repositories", "mountPath": "/srv/git"},
                            {"name": "tmp", "mountPath": "/tmp"},
                            {"name": "run", "mountPath": "/run"},
                            {"name": "tls", "mountPath": "/tls", "readOnly": True},
                        ],
                    }
                ],
                "volumes": [
                    *({"name": name, "emptyDir": {}} for name in ("repositories", "tmp", "run")),
                    {"name": "tls", "secret": {"secretName": NAME}},
                ],
            },
        },
    ]
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    try:
        lab.kubectl("apply", "-f", "-", stdin=listed)
        lab.kubectl("wait", "pod", NAME, "-n", NAMESPACE, "--for=condition=Ready", "--timeout=100s")
        found = Repository(lab, shown.authority)
        lab.kubectl("exec", "-n", NAMESPACE, NAME, "--", "git", "clone", "--quiet", BARE, WORK)
        for key, value in {"user.name": "Tests", "user.email": "tests@lab.audioprothese.example"}.items():
            found.git("config", key, value)
        found.git("checkout", "--quiet", "-B", "main")
        found.commit("The chart", ROOT / "charts" / "openmrs")
        yield found
    finally:
        lab.kubectl("delete", "networkpolicy", NAME, "-n", "argocd", "--ignore-not-found", check=False)
        lab.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=100s", check=False)


def _archived(folder: Path) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(folder, arcname=".")
    return packed.getvalue()
