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
from tests.lab.blob.server import installed
from tests.lab.build import builder
from tests.lab.cluster.control_plane import AKS_SERVER_APPLICATION
from tests.lab.cluster.kubernetes import ExternalCluster, KubernetesManager
from tests.lab.cluster.repository import IMAGE as GIT_SERVER
from tests.lab.cluster.repository import GitServer
from tests.lab.cluster.requests import RequestCounter
from tests.lab.control.acme import AcmeServer
from tests.lab.control.blobs import BlobServer
from tests.lab.control.home import AZURE_NAME, CLONE, CONTROL_PORTS, NODE_SIDE, PORTS, Home, LabError, write_private
from tests.lab.control.pki import Authority
from tests.lab.control.process import Daemon, stop_all
from tests.lab.images.build import Builder
from tests.lab.images.definitions import Image, definitions
from tests.lab.images.registry import Registry
from tests.lab.nodes.availability import obstacle

__all__ = ["Lab"]

NODES = ("containers", "simulated")
CLUSTER_MANAGER = "tests.lab.cluster.kubernetes:create"
BLOB_SERVER = "tests.lab.control.blobs:started"
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
        now: dict[str, Any] = {
            "base_url": self.home.simulator_url,
            "cluster_manager": CLUSTER_MANAGER,
            "blob_server": BLOB_SERVER,
            "service_domain": AZURE_NAME,
            "dns_port": self.home.port("dns"),
            "registry_url": self.registry.url,
        }
        if not (self.home.path / "azure.json").exists():
            settings = Settings(home=self.home.path, **now)
        else:
            known = Settings.load(self.home.path)
            settings = replace(known, **now)
            if settings == known:
                return settings
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

    @cached_property
    def registry(self) -> Registry:
        """The registry of the lab, which runs once images were asked for."""
        return Registry(self.home)

    @cached_property
    def acme(self) -> AcmeServer:
        """The certificate authority of the public host names."""
        return AcmeServer(self.home)

    @cached_property
    def blobs(self) -> BlobServer:
        """What keeps the bytes of Blob storage, once a blob was asked for."""
        return BlobServer(self.home)

    @property
    def exists(self) -> bool:
        """Whether `up` was ever run for this folder."""
        return (self.home.path / "lab.json").exists()

    def up(self, *, nodes: str = "") -> None:
        """Bring up what does not run, and wait until it answers.

        Args:
            nodes: what pods run on, one of `NODES`; else `$LAB_NODES`, else what the lab was made with, else
                containers where this machine can run them.

        Raises:
            LabError: a port is taken, a part does not come up, or containers are asked for and cannot be had.
            BuildError: a program of the lab cannot be built.
            AzuriteError: pods run in containers, and the packages of Azurite cannot be had.
            ClusterError: a part of the cluster does not come up.

        """
        self._choose_nodes(nodes or os.environ.get("LAB_NODES", ""))
        builder.build_missing(self._say, containers=self.home.nodes == "containers")
        if self.home.nodes == "containers" or self.blobs.wanted:
            installed(self._say)
        started = time.monotonic()
        self.home.create()
        with self._lock():
            Authority(self.home.path / "pki", "AudioProthese+ lab")
            self._refuse_taken_ports()
            if self.simulator.start():
                self._say("starting the simulated Azure")
            self._await_simulator()
            if self.registry.wanted or self._nodes == "containers":
                self.registry.start()
            if self.acme.up():
                self._say("starting the ACME server")
            if self.blobs.wanted and self.blobs.up():
                self._say("starting Azurite")
            if latency := os.environ.get("LAB_LATENCY_MS"):
                self.control("POST", "/lab/settings", {"latency_ms": float(latency)})
            self._write_environment()
            clusters = [] if self.home.external_kubeconfig else self.manager.resume()
        for cluster in clusters:
            self._say(f"cluster {cluster.rsplit('/', 1)[-1]} runs")
        self._say(f"the lab is up after {time.monotonic() - started:.1f} s: {self.home.simulator_url}")

    def _choose_nodes(self, asked: str) -> None:
        """Settle what pods run on; what ran otherwise is stopped first."""
        if asked and asked not in NODES:
            raise LabError(f"nodes are one of {', '.join(NODES)}, not {asked!r}")
        if self.home.external_kubeconfig or (self.exists and asked in {"", self.home.nodes}):
            return
        why = "asked for"
        if asked != "simulated":
            problem = obstacle(self.home.path)
            if asked and problem:
                raise LabError(f"no containers can run here: {problem}; use --nodes simulated")
            if not asked:
                asked, why = ("simulated", problem) if problem else ("containers", "this machine can run them")
        if self.exists and asked != self.home.nodes:
            self._say(f"nodes become {asked}: stopping what runs")
            with self._lock():
                self.simulator.stop()
                self.manager.stop()
        self.home = replace(self.home, nodes=asked, why=why)
        self.__dict__.pop("manager", None)

    def down(self, *, purge: bool = False) -> None:
        """Stop everything; with `purge` forget everything too."""
        if not self.exists:
            self._say(f"there is no lab in {self.home.path}")
            return
        with self._lock():
            stop_all([self.acme.daemon, self.simulator])
            if self.blobs.wanted:  # after the simulator, which would start it again
                self.blobs.daemon.stop()
            self.manager.stop()
            self.registry.daemon.stop()
        if purge:
            shutil.rmtree(self.home.path)
        self._say("the lab is down" + (" and forgotten" if purge else f"; its state stays in {self.home.path}"))

    def images(self, images: list[Image]) -> None:
        """Build images that the cache does not hold, and serve them from the registry of the lab.

        Raises:
            ImageError: one of them cannot be built here.
            LabError: the registry does not come up.

        """
        builder.build_missing(self._say)
        built = Builder(self._say).build(images)
        self.home.create()
        with self._lock():
            if self.registry.start():
                self._say(f"the registry runs: {self.registry.url}")
            self.registry.publish(built, say=self._say)

    def repository(self, *, remove: bool = False) -> dict[str, str]:
        """Have Argo CD deliver OpenMRS from a Git server with this clone's charts, from the next run of site.yml on.

        Raises:
            LabError: pods do not run in containers, or there is no platform yet.
            ImageError: an image of it cannot be built here.

        """
        self._need_simulator()
        server = GitServer(self.home)
        if remove:
            server.down()
        elif self.home.nodes != "containers":
            raise LabError("nothing is delivered on simulated nodes: use `tests/lab/lab up --nodes containers`")
        else:
            self.images([image for image in definitions() if image.reference == GIT_SERVER])
            server.up()
        self._write_environment()
        return server.described

    def reset(self, *, counters_only: bool = False) -> None:
        """Empty Azure and Kubernetes and count from zero, without a stop; or only count from zero."""
        self._need_simulator()
        if counters_only:
            self.control("DELETE", "/lab/requests")
        else:
            self.control("POST", "/lab/reset")
            self.blobs.forget()
            self.manager.delete_all()
            GitServer(self.home).forget()
            self._write_environment()
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
            if self.registry.wanted:
                parts["registry"] = _part(self.registry.daemon, self.registry.url, self.registry.problem())
            if self.blobs.wanted:
                parts["blobs"] = _part(self.blobs.daemon, self.blobs.url, self.blobs.problem())
            parts["acme"] = _part(self.acme.daemon, self.acme.directory, self.acme.problem())
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
        nodes = {"nodes": self._nodes, "nodes_why": self.home.why}
        return {"home": str(self.home.path), **nodes, "parts": parts, "requests": requests}

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
        ours |= {"registry"} if self.registry.daemon.pid() else set()
        ours |= {"simulator", "dns"} if self.simulator.pid() else set()
        ours |= {"blobs"} if self.blobs.wanted and self.blobs.daemon.pid() else set()
        ours |= {"acme", "acme-management"} if self.acme.daemon.pid() else set()
        ours |= {"etcd-peer"} if "etcd" in ours else set()
        ours |= {*NODE_SIDE, "gateway-http", "gateway-https"} if "link" in ours else set()
        for name in PORTS if self.home.nodes == "containers" else CONTROL_PORTS:
            if name not in ours and not _free(self.home.port(name)):
                raise LabError(
                    f"port {self.home.port(name)} ({name}) is taken by another process; "
                    f"set LAB_PORT to the first of {len(PORTS)} free ports, with a new LAB_HOME"
                )

    @property
    def _nodes(self) -> str:
        return "external" if self.home.external_kubeconfig else self.home.nodes

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
            "nodes": self._nodes,
            # From inside a pod of a real node, and how the user's machine reaches the Gateway of the cluster.
            "azure_in_cluster": f"{AZURE_NAME}:{self.home.port('simulator')}",
            "authority_host_in_cluster": f"https://{AZURE_NAME}:{self.home.port('simulator')}",
            "gateway_http": f"http://127.0.0.1:{self.home.port('gateway-http')}",
            "gateway_https": f"https://127.0.0.1:{self.home.port('gateway-https')}",
            "registry": self.registry.url,
            # The data plane of container registries, below it one path for each login server.
            "registries_endpoint": f"{url}/registries",
            # The digest of each image that the lab built and serves, by reference; the file comes with the first.
            "images_file": str(self.home.path / "images.json"),
            "acme_directory": self.acme.directory,
            "acme_roots": str(self.acme.roots),
            "dns_server": f"127.0.0.1:{self.home.port('dns')}",
            # Where Argo CD's definitions are, and what it delivers from; nothing until `lab repository`.
            "argocd_definitions": (tools["argo-cd"].folder / "crds").as_uri(),
            "repository": GitServer(self.home).described,
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
    found = (path for name in ("azure", "blob", "cluster", "control", "nodes") for path in (package / name).rglob("*"))
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
