"""The lab as a whole: up, down, reset, what state it is in."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from tests.lab.azure.settings import Settings
from tests.lab.build import builder
from tests.lab.cluster.control_plane import AKS_SERVER_APPLICATION
from tests.lab.cluster.kubernetes import ExternalCluster, KubernetesManager
from tests.lab.cluster.requests import RequestCounter
from tests.lab.control.home import CLONE, PORTS, Home, LabError, write_private
from tests.lab.control.pki import Authority
from tests.lab.control.process import Daemon

__all__ = ["Lab"]

CLUSTER_MANAGER = "tests.lab.cluster.kubernetes:create"
START_SECONDS = 30
Say = Callable[[str], None]


class Lab:
    """One lab, running or not, by its folder."""

    def __init__(self, home: Home, *, say: Say = print) -> None:
        self.home = home
        self._say = say

    @cached_property
    def settings(self) -> Settings:
        """Identities and secrets of the lab, made when it is new."""
        home, url = self.home, self.home.simulator_url
        if not (home.path / "azure.json").exists():
            settings = Settings(home=home.path, base_url=url, cluster_manager=CLUSTER_MANAGER)
        else:
            settings = Settings.load(home.path)
            if (settings.base_url, settings.cluster_manager) == (url, CLUSTER_MANAGER):
                return settings
            settings = replace(settings, base_url=url, cluster_manager=CLUSTER_MANAGER)
        settings.save()
        return settings

    @cached_property
    def manager(self) -> KubernetesManager:
        """The clusters of the lab."""
        return KubernetesManager(self.home, self.settings)

    @property
    def simulator(self) -> Daemon:
        """The daemon of the simulated Azure."""
        environment = {"PYTHONPATH": str(CLONE), "PYTHONUNBUFFERED": "1"}
        if self.home.external_kubeconfig:
            environment["LAB_KUBECONFIG"] = str(self.home.external_kubeconfig)
        return Daemon(
            name="simulator",
            command=[sys.executable, "-m", "tests.lab.control.server", str(self.home.path)],
            folder=self.home.path,
            environment=environment,
            inputs=_sources(),
        )

    @property
    def exists(self) -> bool:
        """Whether `up` was ever run for this folder."""
        return (self.home.path / "lab.json").exists()

    def up(self) -> None:
        """Bring up what does not run, and wait until it answers.

        Raises:
            LabError: a port is taken, or a part does not come up.
            BuildError: a program of the lab cannot be built.
            ClusterError: a part of the cluster does not come up.

        """
        builder.build_missing(self._say)
        started = time.monotonic()
        self.home.create()
        with self._lock():
            Authority(self.home.path / "pki", "AudioProthese+ lab")
            self._refuse_taken_ports()
            if self.simulator.start():
                self._say("starting the simulated Azure")
            self._await_simulator()
            if latency := os.environ.get("LAB_LATENCY_MS"):
                self.control("POST", "/lab/settings", {"latency_ms": float(latency)})
            self._write_environment()
            clusters = [] if self.home.external_kubeconfig else self.manager.resume()
        for cluster in clusters:
            self._say(f"cluster {cluster.rsplit('/', 1)[-1]} runs")
        self._say(f"the lab is up after {time.monotonic() - started:.1f} s: {self.home.simulator_url}")

    def down(self, *, purge: bool = False) -> None:
        """Stop everything; with `purge` forget everything too."""
        if not self.exists:
            self._say(f"there is no lab in {self.home.path}")
            return
        with self._lock():
            self.simulator.stop()
            self.manager.stop()
        if purge:
            shutil.rmtree(self.home.path)
        self._say("the lab is down" + (" and forgotten" if purge else f"; its state stays in {self.home.path}"))

    def reset(self, *, counters_only: bool = False) -> None:
        """Empty Azure and Kubernetes and count from zero, without a stop; or only count from zero."""
        self._need_simulator()
        if counters_only:
            self.control("DELETE", "/lab/requests")
        else:
            self.control("POST", "/lab/reset")
            self.manager.delete_all()
        RequestCounter(self.home).reset()

    def control(self, verb: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask the control API of the simulator.

        Raises:
            LabError: it does not run, or refuses.

        """
        try:
            with self._client() as client:
                answer = client.request(
                    verb,
                    self.home.simulator_url + path,
                    json=body,
                    headers={"Authorization": f"Bearer {self.settings.control_token}"},
                )
        except httpx.HTTPError as exc:
            raise LabError(f"the simulated Azure does not answer ({exc}): run `tests/lab/lab up`") from exc
        if not answer.is_success:
            raise LabError(f"the simulated Azure refuses {verb} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None

    def status(self) -> dict[str, Any]:
        """Return the health of each part and the requests since `reset`, as `lab status --json` prints them."""
        parts: dict[str, Any] = {}
        requests: dict[str, Any] = {"azure": {}, "kubernetes": {}, "by_verb": {"azure": {}, "kubernetes": {}}}
        if self.exists:
            why = self._simulator_problem()
            parts["simulator"] = _part(self.simulator, self.home.simulator_url, why)
            for daemon, address, problem in self.manager.parts():
                parts[daemon.name] = _part(daemon, address, problem)
            if external := self.home.external_kubeconfig:
                cluster = ExternalCluster(external)
                problem = cluster.problem()
                parts["external-cluster"] = {
                    "healthy": not problem,
                    "pid": None,
                    "address": cluster.server,
                    "why": problem,
                }
            if not why:
                azure = self.control("GET", "/lab/requests")
                requests["azure"], requests["by_verb"]["azure"] = azure["azure"], azure["by_verb"]
            kubernetes = RequestCounter(self.home).update()
            requests["kubernetes"], requests["by_verb"]["kubernetes"] = kubernetes["effects"], kubernetes["verbs"]
        return {"home": str(self.home.path), "parts": parts, "requests": requests}

    def environment(self) -> dict[str, str]:
        """Return the variables that point any client at the lab."""
        self._need_simulator()
        described = json.loads((self.home.path / "env.json").read_text())
        kube = builder.tools()["kube"].folder
        return {
            "AZURE_CLIENT_ID": described["client_id"],
            "AZURE_SECRET": described["client_secret"],
            "AZURE_CLIENT_SECRET": described["client_secret"],
            "AZURE_TENANT": described["tenant_id"],
            "AZURE_TENANT_ID": described["tenant_id"],
            "AZURE_SUBSCRIPTION_ID": described["subscription_id"],
            "AZURE_CLOUD_ENVIRONMENT": described["metadata_url"],
            "AZURE_AUTHORITY_HOST": described["authority_host"],
            "AZURE_DISABLE_INSTANCE_DISCOVERY": "true",
            "REQUESTS_CA_BUNDLE": described["ca_file"],
            "SSL_CERT_FILE": described["ca_file"],
            "KUBECONFIG": described["kubeconfig"],
            "PATH": f"{builder.tools()['helm'].folder}:{kube}:{os.environ.get('PATH', '')}",
        }

    def cluster_token(self) -> dict[str, Any]:
        """Return an Entra token for the cluster, as kubectl expects it of a credential plugin."""
        settings = self.settings
        with self._client() as client:
            answer = client.post(
                f"{self.home.simulator_url}/{settings.tenant_id}/oauth2/v2.0/token",
                data={
                    "grant_type": "client_credentials",
                    "client_id": settings.client_id,
                    "client_secret": settings.client_secret,
                    "scope": f"{AKS_SERVER_APPLICATION}/.default",
                },
            )
        if not answer.is_success:
            raise LabError(f"no token: {answer.status_code} {answer.text}")
        expires = time.gmtime(time.time() + int(answer.json()["expires_in"]) - 60)
        return {
            "apiVersion": "client.authentication.k8s.io/v1",
            "kind": "ExecCredential",
            "status": {
                "token": answer.json()["access_token"],
                "expirationTimestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", expires),
            },
        }

    def _client(self) -> httpx.Client:
        context = ssl.create_default_context(cafile=str(self.home.ca_file))
        return httpx.Client(verify=context, trust_env=False, timeout=60)

    def _simulator_problem(self) -> str:
        if self.simulator.pid() is None:
            return f"not running; see {self.simulator.log}"
        try:
            with self._client() as client:
                answer = client.get(f"{self.home.simulator_url}/lab/health", timeout=5)
        except (httpx.HTTPError, OSError) as exc:
            return f"no answer ({type(exc).__name__})"
        return "" if answer.is_success else f"{answer.status_code}: {answer.text[:200]}"

    def _need_simulator(self) -> None:
        if not self.exists or self._simulator_problem():
            raise LabError("the lab is not up: run `tests/lab/lab up`")

    def _await_simulator(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while why := self._simulator_problem():
            gone = self.simulator.pid() is None
            if gone or time.monotonic() > deadline:
                what = "stopped" if gone else f"is not ready after {START_SECONDS} s: {why}"
                words = self.simulator.last_words(12)
                raise LabError(f"the simulated Azure {what}; {self.simulator.log} ends with:\n{words}")
            time.sleep(0.05)

    def _refuse_taken_ports(self) -> None:
        ours = {daemon.name for daemon, _, _ in self.manager.parts() if daemon.pid()}
        ours |= {"simulator"} if self.simulator.pid() else set()
        ours |= {"etcd-peer"} if "etcd" in ours else set()
        for name in PORTS:
            if name not in ours and not _free(self.home.port(name)):
                raise LabError(
                    f"port {self.home.port(name)} ({name}) is taken by another process; "
                    f"set LAB_PORT to the first of {len(PORTS)} free ports, with a new LAB_HOME"
                )

    def _write_environment(self) -> None:
        settings, url = self.settings, self.home.simulator_url
        tools = builder.tools()
        described = {
            "ca_file": str(self.home.ca_file),
            "arm_endpoint": url,
            "metadata_url": f"{url}/metadata/endpoints?api-version=2022-09-01",
            "authority_host": url,
            "tenant_id": settings.tenant_id,
            "subscription_id": settings.subscription_id,
            "client_id": settings.client_id,
            "client_secret": settings.client_secret,
            "object_id": settings.object_id,
            "second_client_id": settings.second_client_id,
            "second_client_secret": settings.second_client_secret,
            "second_object_id": settings.second_object_id,
            "admin_group_id": settings.admin_group_id,
            "admin_kubeconfig": str(self.home.external_kubeconfig or self.home.admin_kubeconfig),
            "kubeconfig": str(self.home.external_kubeconfig or self.home.kubeconfig),
            "helm": str(tools["helm"].binary),
            "kubectl": str(tools["kube"].program("kubectl")),
            "nodes": "external" if self.home.external_kubeconfig else "simulated",
        }
        write_private(self.home.path / "env.json", json.dumps(described, indent=2) + "\n")
        write_private(self.home.path / "control-token", settings.control_token + "\n")

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Let one command at a time start or stop parts."""
        with (self.home.path / ".lab.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _sources() -> tuple[Path, ...]:
    """Return what the simulated Azure is made of: a lab that runs an older state of it is brought up to date."""
    package = Path(__file__).parents[1]
    found = (path for name in ("azure", "cluster", "control") for path in (package / name).rglob("*"))
    return tuple(sorted(path for path in found if path.suffix in {".py", ".yml"}))


def _part(daemon: Daemon, address: str, why: str) -> dict[str, Any]:
    return {"healthy": not why, "pid": daemon.pid(), "address": address, "why": why}


def _free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
