"""The manager that runs a real control plane with simulated nodes for each managed cluster."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import json
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.lab.azure.settings import Settings
from tests.lab.build import builder
from tests.lab.cluster import workload_identity
from tests.lab.cluster.control_plane import ControlPlane, describe
from tests.lab.cluster.gateways import gateway_objects
from tests.lab.cluster.manager import ClusterEndpoint, ClusterError, ClusterManager, cluster_guid
from tests.lab.cluster.nodes import csi_node, desired_nodes, is_real, real_node
from tests.lab.cluster.objects import Api, kubernetes_objects
from tests.lab.cluster.requests import RequestCounter
from tests.lab.cluster.upgrade import upgrade_nodes
from tests.lab.control.home import AZURE_NAME, Home, write_private
from tests.lab.control.process import Daemon, stop_all
from tests.lab.nodes.node import RealNode, problem
from tests.lab.nodes.objects import node_objects

__all__ = ["ExternalCluster", "KubernetesManager", "create"]

CONVERGED_SECONDS = 30


def create(home: Path) -> ClusterManager:
    """Return the manager of the lab in that folder: its own control planes, or the cluster of `$LAB_KUBECONFIG`."""
    lab = Home.open(home)
    if lab.external_kubeconfig:
        return ExternalCluster(lab.external_kubeconfig, base_url=lab.simulator_url)
    return KubernetesManager(lab, Settings.load(home))


class KubernetesManager:
    """Runs one cluster at a time: a subscription of the lab has cores for no more."""

    def __init__(self, home: Home, settings: Settings) -> None:
        self.home = home
        self._settings = settings

    async def converge(self, cluster: dict[str, Any], *, gateway_api: bool) -> ClusterEndpoint:
        """See `ClusterManager.converge`."""
        return await asyncio.to_thread(self.converge_now, cluster, gateway_api=gateway_api)

    async def delete(self, cluster_id: str) -> None:
        """See `ClusterManager.delete`."""
        await asyncio.to_thread(self.delete_now, cluster_id)

    def converge_now(self, cluster: dict[str, Any], *, gateway_api: bool) -> ClusterEndpoint:
        """Do the work of `converge`; blocks until the cluster answers."""
        guid = cluster_guid(str(cluster["id"]))
        kubernetes = builder.tools()["kube"].version
        nodes = self._nodes(cluster)
        _refuse_other_versions(cluster, kubernetes, simulated=self.home.nodes != "containers")
        with self._lock():
            others = [other for other in self._guids() if other != guid]
            if others:
                raise ClusterError(
                    "Insufficient regional vcpu quota left for location: the lab runs one cluster at a time "
                    f"and {self._saved(others[0])['cluster']['id']} is running.",
                    code="ErrCode_InsufficientVCPUQuota",
                    status=400,
                )
            plane = self._plane(cluster)
            plane.folder.mkdir(parents=True, exist_ok=True)
            wanted = describe({"cluster": cluster, "gateway_api": gateway_api, "nodes": self.home.nodes})
            self._stop_other_node(plane)
            done = plane.folder / "converged.json"
            done.unlink(missing_ok=True)
            write_private(plane.folder / "cluster.json", wanted)
            plane.start()
            with plane.client() as client:
                api = Api(client)
                gateways = gateway_objects(plane.authority, pods=plane.node is not None)
                kubernetes_objects(api, cluster, gateway_api=gateway_api, gateways=gateways)
                self._workload_identity(api, cluster)
                upgrade_nodes(api, cluster, nodes, lambda added: _add_nodes(api, added))
                _converge_nodes(api, nodes)
                if plane.node:
                    node_objects(api, plane.node)
                    plane.node.start(client)
                _await_controllers(api, nodes)
                if workload_identity.is_enabled(cluster):
                    _await_workload_identity(api)
            self._write_kubeconfigs(plane)
            write_private(done, wanted)
        return ClusterEndpoint(server=plane.server, ca_pem=plane.ca_pem, issuer=plane.issuer, jwks=plane.jwks())

    def delete_now(self, cluster_id: str) -> None:
        """Do the work of `delete`; blocks until nothing of the cluster is left."""
        guid = cluster_guid(cluster_id)
        with self._lock():
            if guid in self._guids():
                plane = self._plane(self._saved(guid)["cluster"])
                stop_all(plane.daemons(), patience=0)
                if plane.node:
                    plane.node.close()
                RequestCounter(self.home).update()
                shutil.rmtree(plane.folder)
            if not self._guids():
                self.home.admin_kubeconfig.unlink(missing_ok=True)
                self.home.kubeconfig.unlink(missing_ok=True)

    def resume(self) -> list[str]:
        """Start what does not run of the clusters that should; return their ARM ids."""
        resumed = []
        for guid in self._guids():
            saved = self._saved(guid)
            self._resume(guid, saved["cluster"], gateway_api=saved["gateway_api"])
            resumed.append(str(saved["cluster"]["id"]))
        return resumed

    def _resume(self, guid: str, cluster: dict[str, Any], *, gateway_api: bool) -> None:
        done = self.home.clusters / guid / "converged.json"
        other = self._saved(guid).get("nodes", "simulated") != self.home.nodes
        if other or not done.exists() or done.read_text() != (done.with_name("cluster.json")).read_text():
            self.converge_now(cluster, gateway_api=gateway_api)
            return
        with self._lock():
            plane = self._plane(cluster)
            plane.start()
            with plane.client() as client:
                if plane.node:
                    plane.node.start(client)
                _await_controllers(Api(client), self._nodes(cluster))

    def _stop_other_node(self, plane: ControlPlane) -> None:
        """Stop everything when another node becomes the real one: its name and address are in all configuration."""
        if plane.guid in self._guids():
            before = self._plane(self._saved(plane.guid)["cluster"])
            if (before.node.name if before.node else "") != (plane.node.name if plane.node else ""):
                _stop(before)

    def real_node(self) -> RealNode | None:
        """Return the node that runs real pods, when there is one."""
        for guid in self._guids():
            return self._plane(self._saved(guid)["cluster"]).node
        return None

    def stop(self) -> None:
        """Stop every part of every cluster; what they hold stays."""
        with self._lock():
            for guid in self._guids():
                _stop(self._plane(self._saved(guid)["cluster"]))

    def delete_all(self) -> None:
        """Delete every cluster."""
        for guid in self._guids():
            self.delete_now(str(self._saved(guid)["cluster"]["id"]))

    def parts(self) -> Iterator[tuple[Daemon, str, str]]:
        """Yield each daemon with its address and why it is not well (empty when it is)."""
        for guid in self._guids():
            plane = self._plane(self._saved(guid)["cluster"])
            with plane.client() as client:
                daemons = [(daemon, plane.health_url(daemon.name)) for daemon in plane.daemons()]
                for daemon, url in [*daemons, *(plane.node.daemons() if plane.node else [])]:
                    why = problem(url, client) if daemon.pid() else f"not running; see {daemon.log}"
                    scheme, _, rest = url.partition("://")
                    yield daemon, f"{scheme}://{rest.partition('/')[0]}", why

    def _workload_identity(self, api: Api, cluster: dict[str, Any]) -> None:
        """Have the policies of workload identity where it is enabled, and only there."""
        settings, home = self._settings, self.home
        pods_call = f"https://{AZURE_NAME}:{home.port('simulator')}"
        authority_host = pods_call if home.nodes == "containers" else settings.base_url
        for policy in workload_identity.policies(tenant_id=settings.tenant_id, authority_host=authority_host):
            if workload_identity.is_enabled(cluster):
                api.apply(policy)
            else:
                api.delete(policy["apiVersion"], policy["kind"], policy["metadata"]["name"])

    def _plane(self, cluster: dict[str, Any]) -> ControlPlane:
        guid = cluster_guid(str(cluster["id"]))
        settings = self._settings
        return ControlPlane(
            self.home,
            guid,
            cluster,
            tenant_id=settings.tenant_id,
            control_token=settings.control_token,
            real_node=real_node(self._nodes(cluster)) if self.home.nodes == "containers" else None,
        )

    def _nodes(self, cluster: dict[str, Any]) -> list[dict[str, Any]]:
        return desired_nodes(
            cluster, version=builder.tools()["kube"].version, containers=self.home.nodes == "containers"
        )

    def _guids(self) -> list[str]:
        return sorted(path.parent.name for path in self.home.clusters.glob("*/cluster.json"))

    def _saved(self, guid: str) -> dict[str, Any]:
        saved: dict[str, Any] = json.loads((self.home.clusters / guid / "cluster.json").read_text())
        return saved

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Let one process at a time change clusters: the simulator, or somebody's `lab up`."""
        self.home.clusters.mkdir(parents=True, exist_ok=True)
        with (self.home.clusters / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write_kubeconfigs(self, plane: ControlPlane) -> None:
        admin = yaml.safe_load(plane.kubeconfig("lab-admin", "system:masters").read_text())
        write_private(self.home.admin_kubeconfig, yaml.safe_dump(admin))
        authority = base64.b64encode(plane.ca_pem.encode()).decode()
        lab = Path(__file__).resolve().parents[1] / "lab"
        user = {
            "exec": {
                "apiVersion": "client.authentication.k8s.io/v1",
                "command": str(lab),
                "args": ["token"],
                "env": [
                    {"name": "LAB_HOME", "value": str(self.home.path)},
                    {"name": "LAB_PORT", "value": str(self.home.base_port)},
                ],
                "interactiveMode": "Never",
            }
        }
        document = {
            **admin,
            "clusters": [{"name": "lab", "cluster": {"server": plane.server, "certificate-authority-data": authority}}],
            "users": [{"name": "entra", "user": user}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "entra"}}],
        }
        write_private(self.home.kubeconfig, yaml.safe_dump(document))


class ExternalCluster:
    """A cluster that somebody else runs (kind, AKS) takes the place of the lab's own.

    It is left as it is: no node, class or binding is written, and deleting the
    managed cluster deletes nothing in it.
    """

    def __init__(self, kubeconfig: Path, *, base_url: str = "") -> None:
        self.kubeconfig = kubeconfig
        self._base_url = base_url

    @property
    def server(self) -> str:
        """Address of its API server."""
        return str(self._entry()["server"])

    def problem(self) -> str:
        """Return why it is not well, or an empty text."""
        return (
            "" if self._raw("/readyz") else f"its API server is not ready, or refuses the identity of {self.kubeconfig}"
        )

    async def converge(self, cluster: dict[str, Any], *, gateway_api: bool) -> ClusterEndpoint:
        """Return where the cluster of the kubeconfig's current context is."""
        del gateway_api
        return await asyncio.to_thread(self._endpoint, str(cluster["id"]))

    def _endpoint(self, cluster_id: str) -> ClusterEndpoint:
        entry = self._entry()
        if data := entry.get("certificate-authority-data"):
            ca_pem = base64.b64decode(data).decode()
        elif path := entry.get("certificate-authority"):
            ca_pem = (self.kubeconfig.parent / path).read_text()
        else:
            ca_pem = ""
        keys = self._raw("/openid/v1/jwks")
        if not keys:
            raise ClusterError(f"the cluster of LAB_KUBECONFIG does not answer: {self.problem()}")
        issuer = f"{self._base_url}/oidc/{cluster_guid(cluster_id)}/"
        return ClusterEndpoint(server=entry["server"], ca_pem=ca_pem, issuer=issuer, jwks=json.loads(keys))

    def _entry(self) -> dict[str, Any]:
        config = yaml.safe_load(self.kubeconfig.read_text())
        context = _named(config["contexts"], config["current-context"])["context"]
        entry: dict[str, Any] = _named(config["clusters"], context["cluster"])["cluster"]
        return entry

    def _raw(self, path: str) -> str:
        """Return what the API server answers to the kubeconfig's identity, or an empty text when it does not."""
        kubectl = str(builder.tools()["kube"].program("kubectl"))
        done = subprocess.run(
            [kubectl, "--kubeconfig", str(self.kubeconfig), "--request-timeout=10s", "get", "--raw", path],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout if done.returncode == 0 else ""

    async def delete(self, cluster_id: str) -> None:
        """Leave the cluster alone."""
        del cluster_id


def _named(entries: Iterable[dict[str, Any]], name: str) -> dict[str, Any]:
    for entry in entries:
        if entry["name"] == name:
            return entry
    raise ClusterError(f"the kubeconfig of LAB_KUBECONFIG has no entry {name!r}")


def _refuse_other_versions(cluster: dict[str, Any], served: str, *, simulated: bool) -> None:
    """A real node is what was built. Simulated ones may say the version before or after it."""
    asked = str(cluster["properties"].get("kubernetesVersion") or served)
    minor, built = (int(version.split(".")[1]) for version in (asked, served))
    if asked != served and not served.startswith(f"{asked}.") and not (simulated and abs(minor - built) <= 1):
        raise ClusterError(
            f"Managed cluster {str(cluster['id']).rsplit('/', 1)[-1]} is on version {asked}, which is not supported in "
            f"this region: the lab serves {served}.",
            code="K8sVersionNotSupported",
            status=400,
        )


def _stop(plane: ControlPlane) -> None:
    if plane.node:
        plane.node.stop()
    daemons = plane.daemons()
    # Whoever uses the API first, the store last: each may still write while it ends.
    stop_all(daemons[2:], patience=2)
    stop_all([daemons[1]], patience=5)
    stop_all([daemons[0]], patience=5)
    if plane.node:
        plane.node.close()


def _converge_nodes(api: Api, nodes: list[dict[str, Any]]) -> None:
    wanted = {node["metadata"]["name"]: node for node in nodes}
    for live in api.list("v1", "Node"):
        name = live["metadata"]["name"]
        # What was simulated and becomes real, or the other way round, is another machine with another network.
        if name not in wanted or is_real(live) != is_real(wanted[name]):
            api.drain(name)
            api.delete("v1", "Node", name)
    _make_nodes(api, nodes)


def _add_nodes(api: Api, nodes: list[dict[str, Any]]) -> None:
    _make_nodes(api, nodes)
    _await_controllers(api, nodes)


def _make_nodes(api: Api, nodes: list[dict[str, Any]]) -> None:
    for node in nodes:
        live = api.apply({key: value for key, value in node.items() if key != "status"})
        if is_real(node):
            continue  # its kubelet says the rest
        api.merge("v1", "Node", node["metadata"]["name"], {"status": node["status"]}, part="status")
        api.apply(csi_node(node, live["metadata"]["uid"]))


def _await_controllers(api: Api, nodes: list[dict[str, Any]]) -> None:
    """Wait until every node is ready and pods can be made: a namespace without its ServiceAccount refuses them."""
    deadline = time.monotonic() + CONVERGED_SECONDS
    while True:
        ready = {node["metadata"]["name"] for node in api.list("v1", "Node") if _ready(node)}
        waiting = {node["metadata"]["name"] for node in nodes} - ready
        account = api.exists("v1", "ServiceAccount", "default", namespace="default")
        if not waiting and account:
            return
        if time.monotonic() > deadline:
            what = f"nodes {sorted(waiting)} are not ready" if waiting else "the controller manager does not work"
            raise ClusterError(f"after {CONVERGED_SECONDS} s {what}")
        time.sleep(0.1)


def _await_workload_identity(api: Api) -> None:
    """Wait until pods get their token: the API server takes a new policy up some seconds after it was written."""
    deadline = time.monotonic() + CONVERGED_SECONDS
    while not workload_identity.is_served(api.try_create(workload_identity.PROBE)):
        if time.monotonic() > deadline:
            raise ClusterError(f"after {CONVERGED_SECONDS} s the policies of workload identity are not in force")
        time.sleep(0.1)


def _ready(node: dict[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)
