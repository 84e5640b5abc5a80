"""A lab with a real node after a crash, a stop and a deletion: pods and what they hold are back, or nothing is left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.control.home import CONTROL_PORTS, PORTS
from tests.lab.tests.clusters import Cluster, eventually
from tests.lab.tests.containers import BUSYBOX, real_node, two_pools
from tests.lab.tests.leftovers import leftovers, node_leftovers
from tests.lab.tests.test_control import kill
from tests.lab.tests.test_nodes import WEB, fetch

pytestmark = pytest.mark.lab

SECONDS = 90
NAMESPACE = "survivors"
KILLED = ("containerd", "kubelet", "kube-proxy", "link", "etcd", "kube-apiserver", "kube-controller-manager")


# Where these programs put things of their own when nobody tells them otherwise.
STRAYS = [
    Path(path)
    for path in (
        "/etc/cni",
        "/opt/cni",
        "/opt/containerd",
        "/run/containerd",
        "/usr/libexec/kubernetes/kubelet-plugins",
        "/var/lib/cni",
        "/var/lib/containerd",
        "/var/lib/kubelet",
        "/var/log/containers",
        "/var/log/pods",
    )
]


@pytest.fixture(scope="module")
def cluster(real_cluster: Cluster) -> Iterator[Cluster]:
    """Give pods that hold something to the tests of this module: each leaves them running."""
    cluster = real_cluster
    cluster.apply(WEB.replace("NAME", NAMESPACE).replace("IMAGE", BUSYBOX))
    cluster.lab.kubectl("-n", NAMESPACE, "rollout", "status", "deployment/web", f"--timeout={SECONDS}s")
    for pod in pods(cluster):
        cluster.lab.kubectl("-n", NAMESPACE, "exec", pod, "--", "sh", "-c", f"echo {pod} > /data/mine")
    yield cluster
    cluster.lab.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")


def pods(cluster: Cluster) -> dict[str, dict[str, Any]]:
    return {pod["metadata"]["name"]: pod for pod in cluster.items("pods", "-n", NAMESPACE)}


def restarts(cluster: Cluster) -> dict[str, int]:
    return {name: pod["status"]["containerStatuses"][0]["restartCount"] for name, pod in pods(cluster).items()}


def assert_back(cluster: Cluster, names: set[str]) -> None:
    """Wait until the same pods serve through the load balancer and hold what they held."""

    def ready() -> bool:
        found = pods(cluster)
        states = [
            {entry["type"]: entry["status"] for entry in pod["status"]["conditions"]}.get("Ready")
            for pod in found.values()
        ]
        return set(found) == names and states == ["True"] * len(names)

    eventually(ready, seconds=SECONDS, every=0.5)
    for name in names:
        read = ("-n", NAMESPACE, "exec", name, "--", "cat", "/data/mine")
        eventually(lambda: cluster.lab.kubectl(*read, check=False).strip() == name, seconds=SECONDS, every=0.5)  # noqa: B023

    def served() -> bool:
        try:
            return fetch(cluster.lab.info["gateway_http"]) == "kept in a Secret"
        except OSError:
            return False

    eventually(served, seconds=SECONDS, every=0.5)
    broken = {name: part for name, part in cluster.lab.status()["parts"].items() if not part["healthy"]}
    assert broken == {}


@pytest.mark.parametrize("part", KILLED)
def test_up_brings_back_what_was_killed_and_pods_do_not_notice(cluster: Cluster, part: str) -> None:
    before = restarts(cluster)
    killed = cluster.lab.status()["parts"][part]["pid"]
    kill(killed)
    cluster.lab.up()
    assert cluster.lab.status()["parts"][part]["pid"] not in {None, killed}
    assert_back(cluster, set(before))
    assert restarts(cluster) == before


def test_a_node_that_loses_power_comes_back_with_its_pods(cluster: Cluster) -> None:
    names = set(pods(cluster))
    doomed = real_node(cluster.lab).namespace.processes()
    assert len(doomed) > len(CONTROL_PORTS)
    for pid in doomed | {int(cluster.lab.status()["parts"]["link"]["pid"])}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    cluster.lab.up()
    assert_back(cluster, names)


def test_down_leaves_nothing_and_up_brings_everything_back(cluster: Cluster) -> None:
    lab, names = cluster.lab, set(pods(cluster))
    cgroup = real_node(lab).namespace.name
    ports = range(lab.port, lab.port + len(PORTS))
    running = [line.split()[0] for line in node_leftovers(lab.home, cgroup)]
    assert {"mount", "cgroup", "process"} <= set(running), "a running node must be seen, or what follows proves nothing"
    outside = {path: path.exists() for path in STRAYS}
    lab.down()
    assert leftovers(lab.home, ports) + node_leftovers(lab.home, cgroup) == []
    assert {path: path.exists() for path in STRAYS} == outside
    lab.command("down")
    lab.up()
    assert_back(cluster, names)


@pytest.mark.sabotage
def test_what_a_node_leaves_is_seen(cluster: Cluster, tmp_path: Path) -> None:
    """A mount in a namespace of its own is what a sloppy end would leave."""
    del cluster
    hold = ["unshare", "--mount", "sh", "-c", f"mount -t tmpfs left {tmp_path} && exec sleep 60"]
    with subprocess.Popen(hold) as process:
        try:
            eventually(lambda: node_leftovers(tmp_path, "lab-none"), seconds=10)
        finally:
            process.kill()
    assert node_leftovers(tmp_path, "lab-none") == []


@pytest.mark.spoils
def test_a_deleted_cluster_takes_its_node_along(real_cluster: Cluster) -> None:
    lab, node = real_cluster.lab, real_node(real_cluster.lab)
    lab.reset()
    assert node.namespace.processes() == set()
    assert node_leftovers(lab.home, node.namespace.name) == []
    assert set(lab.status()["parts"]) == {"simulator", "registry", "acme"}
    assert not node.folder.exists()


@pytest.mark.spoils
def test_the_lab_can_change_what_pods_run_on(real_cluster: Cluster) -> None:
    lab = real_cluster.lab
    real_cluster.put(two_pools())
    cgroup = real_node(lab).namespace.name
    lab.command("up", "--nodes", "simulated", timeout=120)
    lab.__dict__.pop("info", None)
    assert lab.info["nodes"] == "simulated"
    assert node_leftovers(lab.home, cgroup) == []
    images = {node["status"]["nodeInfo"]["osImage"] for node in real_cluster.items("nodes")}
    assert images == {"simulated by kwok"}


def test_containers_that_cannot_be_had_are_refused_with_the_reason(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.lab.control.main", "up", "--nodes", "containers"]
    bare = [*(["setpriv", "--bounding-set=-all"] if os.geteuid() == 0 else []), *command]
    environment = {**os.environ, "LAB_HOME": str(tmp_path / "lab"), "LAB_PORT": "28000", "LAB_NODES": ""}
    done = subprocess.run(bare, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    why = "no namespaces may be made here" if os.geteuid() == 0 else "not root"
    assert f"no containers can run here: {why}" in done.stderr
    assert "--nodes simulated" in done.stderr
    assert not (tmp_path / "lab").exists()
