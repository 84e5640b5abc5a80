"""A Git server in the cluster with the charts of this clone: what Argo CD delivers from in the lab."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import yaml

from tests.lab.build import builder
from tests.lab.control.home import CLONE, Home, LabError, write_private
from tests.lab.control.pki import Authority

__all__ = ["IMAGE", "GitServer"]

NAME = "git-server"
HOST = f"{NAME}.{NAME}.svc.cluster.local"
MANIFESTS = Path(__file__).with_name("repository.yml")
[POD] = (one for one in yaml.safe_load_all(MANIFESTS.read_text()) if one["kind"] == "Pod")
IMAGE: str = POD["spec"]["containers"][0]["image"]
BARE, WORK = "/srv/git/platform.git", "/tmp/work"
SECONDS = 120


class GitServer:
    """The server of one lab, running or not."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._described = home.path / "repository.json"

    @property
    def described(self) -> dict[str, str]:
        """Address, authority and what is to be delivered, for the inventory; empty where there is none."""
        found: dict[str, str] = json.loads(self._described.read_text()) if self._described.exists() else {}
        return found

    def up(self) -> None:
        """Run it, and push the charts as they are in this clone; a second time pushes what has changed.

        Raises:
            LabError: there is no platform in the lab that could deliver from it.

        """
        there = self.home.admin_kubeconfig.exists()
        if not there or not self._kubectl("get", "namespace", "argocd", "--ignore-not-found"):
            raise LabError("there is nothing to deliver to: run site.yml first")
        authority = Authority(self.home.path / "pki", "AudioProthese+ lab")
        pair = authority.issue(NAME, common_name=NAME, hosts=[HOST])
        trusted = authority.pair.certificate.read_text()
        shown = {"tls.crt": pair.certificate.read_text() + trusted, "tls.key": pair.key.read_text()}
        about = {"name": NAME, "namespace": NAME}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": about, "stringData": shown}
        self._kubectl("apply", "-f", "-", stdin=f"{MANIFESTS.read_text()}\n---\n{json.dumps(secret)}")
        self._kubectl("wait", "pod", NAME, "-n", NAME, "--for=condition=Ready", f"--timeout={SECONDS}s")
        self._in_pod("sh", "-c", f"[ -d {WORK} ] || git clone --quiet {BARE} {WORK}")
        for key, value in {"user.name": "Lab", "user.email": "lab@lab.audioprothese.example"}.items():
            self.git("config", key, value)
        revision = self.commit(CLONE / "charts", "charts", "The charts of the clone")
        url = f"https://{HOST}:8443/platform.git"
        described = {"url": url, "authority": trusted, "revision": revision}
        write_private(self._described, json.dumps(described, indent=2) + "\n")

    def forget(self) -> None:
        """Have the inventory know of none any more."""
        self._described.unlink(missing_ok=True)

    def down(self) -> None:
        """Remove it."""
        self.forget()
        if self.home.admin_kubeconfig.exists():
            self._kubectl("delete", "--ignore-not-found", f"--timeout={SECONDS}s", "-f", str(MANIFESTS))

    def commit(self, folder: Path, path: str, message: str) -> str:
        """Push a folder as that path of the repository, in place of what is there; return the commit."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(folder, arcname=path)
        script = f"cd {WORK} && rm -rf {path} && base64 -d | tar -xf -"
        self._in_pod("sh", "-c", script, stdin=base64.b64encode(packed.getvalue()).decode())
        self.git("add", "--all")
        if self.git("status", "--porcelain"):
            self.git("commit", "--quiet", "--message", message)
        return self.push()

    def push(self) -> str:
        """Push, and return the commit."""
        self.git("push", "--quiet", "origin", "main")
        return self.git("rev-parse", "HEAD")

    def git(self, *arguments: str) -> str:
        """Run git in the work tree, inside of the pod."""
        return self._in_pod("git", "-C", WORK, *arguments)

    def _in_pod(self, *command: str, stdin: str | None = None) -> str:
        return self._kubectl("exec", *(["-i"] if stdin else []), "-n", NAME, NAME, "--", *command, stdin=stdin)

    def _kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        kubectl = str(builder.tools()["kube"].program("kubectl"))
        options: dict[str, Any] = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        done = subprocess.run(
            [kubectl, "--kubeconfig", str(self.home.admin_kubeconfig), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=2 * SECONDS,
            **options,
        )
        if done.returncode:
            raise LabError(f"the Git server: {done.stderr.strip()[-600:]}")
        return str(done.stdout).strip()
