"""A node that runs real pods: its namespaces, its link to the machine, its daemons."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from tests.lab.azure import vmsizes
from tests.lab.cluster.manager import ClusterError
from tests.lab.control.home import CLONE, NODE_SIDE, Home
from tests.lab.control.pki import Authority
from tests.lab.control.process import Daemon, stop_all
from tests.lab.nodes import containerd, debian
from tests.lab.nodes.link import Plan
from tests.lab.nodes.namespace import Namespace
from tests.lab.nodes.part import Part
from tests.lab.nodes.parts import FIRST, parts

if TYPE_CHECKING:
    from tests.lab.cluster.control_plane import ControlPlane, Network

__all__ = ["RealNode"]

START_SECONDS = 60
PARTS_GROUP = "system:lab-parts"  # cluster/audit-policy.yml leaves it out
NETWORK_PREFIX = 16
POD_STOP_SECONDS = 10.0
# Where containerd's shims note the first process of each container.
INIT_PIDS = "/run/containerd/io.containerd.runtime.v2.task/k8s.io/*/init.pid"


class RealNode:
    """The real node of a cluster.

    `described` is the Node that the agent pool asks for (see `cluster/nodes.py`).
    """

    def __init__(self, plane: ControlPlane, described: dict[str, Any]) -> None:
        self._plane = plane
        self._described = described
        self.folder = plane.folder / "node"

    @property
    def home(self) -> Home:
        """The lab that it belongs to."""
        return self._plane.home

    @property
    def network(self) -> Network:
        """The address ranges of the cluster."""
        return self._plane.network

    @property
    def authority(self) -> Authority:
        """The authority of the cluster."""
        return self._plane.authority

    def azure_url(self, question: str) -> str:
        """Where its daemons ask Azure."""
        return self._plane.azure_url(question)

    @property
    def name(self) -> str:
        """Its name in the cluster."""
        return str(self._described["metadata"]["name"])

    @property
    def address(self) -> str:
        """Its own address inside."""
        return str(self._described["status"]["addresses"][0]["address"])

    @property
    def labels(self) -> dict[str, str]:
        """What its agent pool and Azure say about it."""
        labels: dict[str, str] = self._described["metadata"]["labels"]
        return labels

    @property
    def provider_id(self) -> str:
        """The virtual machine that it stands for."""
        return str(self._described["spec"]["providerID"])

    @property
    def pod_cidr(self) -> str:
        """The addresses of its pods."""
        return str(self._described["spec"]["podCIDR"])

    @property
    def resources(self) -> dict[str, dict[str, str]]:
        """`capacity` and `allocatable` of that virtual machine."""
        return {name: self._described["status"][name] for name in ("capacity", "allocatable")}

    @property
    def size(self) -> vmsizes.Size:
        """Processors and memory of that virtual machine."""
        found = vmsizes.size(self.labels["node.kubernetes.io/instance-type"])
        assert found is not None
        return found

    @cached_property
    def namespace(self) -> Namespace:
        """Where it lives."""
        programs = debian.programs()
        return Namespace(self.folder, programs_path=programs.path, libraries=programs.libraries)

    def port(self, part: str) -> int:
        """Return the port at which a daemon says how it is."""
        return self.home.port(part)

    def kubeconfig(self, user: str, *groups: str) -> Path:
        """Write a kubeconfig for that user and return its path; it works inside and outside.

        What it asks of the API server is not counted as a request of people and their tools.
        """
        return self._plane.kubeconfig(user, *groups, PARTS_GROUP)

    @property
    def link(self) -> Daemon:
        """The daemon on the machine through which everything inside is reached."""
        plan = self.folder / "config" / "link.json"
        environment = {"PYTHONPATH": str(CLONE), "PYTHONUNBUFFERED": "1"}
        return Daemon(
            name="link",
            command=[sys.executable, "-m", "tests.lab.nodes.link", str(plan)],
            folder=self._plane.folder,
            environment=environment,
            inputs=(plan, Path(__file__).with_name("link.py")),
        )

    def _write_plan(self) -> None:
        identity = self._plane.identity("system:lab-link", "system:masters", PARTS_GROUP)
        home = self.home
        plan = Plan(
            network=str(self.namespace.network),
            node_address=self.address,
            health=home.port("link"),
            into=[home.port(part) for part in NODE_SIDE],
            out=[home.port("simulator"), home.port("registry")],
            https=home.port("simulator"),
            gateways={str(home.port("gateway-http")): 80, str(home.port("gateway-https")): 443},
            api={
                "server": self._plane.server,
                "ca": str(self.authority.pair.certificate),
                "certificate": str(identity.certificate),
                "key": str(identity.key),
            },
        )
        (self.folder / "config").mkdir(parents=True, exist_ok=True)
        plan.save(self.folder / "config" / "link.json")

    def _daemon(self, part: Part) -> Daemon:
        return Daemon(
            name=part.name,
            command=self.namespace.command(part.command),
            folder=self._plane.folder,
            environment={"PATH": self.namespace.environment["PATH"], **part.environment},
            inputs=part.inputs,
        )

    def daemons(self) -> list[tuple[Daemon, str]]:
        """Return its daemons in the order in which they start, each with the URL that says how it is."""
        found = [(self._daemon(part), f"http://127.0.0.1:{self.port(part.name)}{part.health}") for part in parts(self)]
        return [(self.link, f"http://127.0.0.1:{self.port('link')}/"), *found]

    def open(self) -> None:
        """Make the namespaces and the link, so that the control plane can start inside."""
        if not self.namespace.exists:
            # A link that still holds the namespace of before would keep it alive and lead into it.
            self._write_plan()
            self.link.stop()
        self.namespace.create(f"{self.address}/{NETWORK_PREFIX}")
        self._write_plan()
        self.link.start()

    def start(self, client: httpx.Client) -> None:
        """Start what does not run and wait until it is well; the API server runs already.

        Raises:
            ClusterError: a part did not come up; the message ends with the end of its log.

        """
        daemons = self.daemons()
        # The runtime, then what no pod may start without; the others wait for each other by themselves: kube-proxy for
        # the address that the kubelet reports, say.
        ends = [index + 1 for index, (daemon, _) in enumerate(daemons) if daemon.name in FIRST]
        for begin, end in pairwise([0, *ends, len(daemons)]):
            group = daemons[begin:end]
            for daemon, _ in group:
                daemon.start()
            for daemon, health in group:
                _await(daemon, health, client)
            if group[-1][0].name == "containerd":
                containerd.import_images(self, containerd.own_images())

    def stop(self) -> None:
        """Stop its pods and its daemons but the link; the control plane still runs."""
        if not self.namespace.exists:
            return
        daemons = [daemon for daemon, _ in self.daemons()]
        kubelet = next(daemon for daemon in daemons if daemon.name == "kubelet")
        stop_all([kubelet], patience=5)
        self._stop_pods()
        for daemon in reversed(daemons[1:]):
            stop_all([daemon], patience=5)

    def close(self) -> None:
        """Let go of the namespaces, with everything that is still inside, and stop the link."""
        if self.folder.exists():
            self.namespace.remove()
            self._write_plan()
            self.link.stop()

    def _stop_pods(self) -> None:
        """Ask every container to end as its pod would be asked, and end those that take too long."""
        found = self.namespace.run(
            "sh", "-c", f"for file in {INIT_PIDS}; do cat $file; echo; done 2>/dev/null", timeout=20
        )
        waiting = {int(pid) for pid in found.split() if pid.isdigit()} & self.namespace.processes()
        for pid in waiting:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + POD_STOP_SECONDS
        while waiting := {pid for pid in waiting if _alive(pid)}:
            if time.monotonic() > deadline:
                return  # whoever is left goes with the namespace
            time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def _await(daemon: Daemon, health: str, client: httpx.Client) -> None:
    deadline = time.monotonic() + START_SECONDS
    while why := problem(health, client):
        gone = daemon.pid() is None
        if gone or time.monotonic() > deadline:
            what = "stopped" if gone else f"is not ready after {START_SECONDS} s: {why}"
            raise ClusterError(f"{daemon.name} {what}; {daemon.log} ends with:\n{daemon.last_words()}")
        time.sleep(0.05)


def problem(url: str, client: httpx.Client) -> str:
    """Return why whoever answers at that URL is not well, or an empty text."""
    try:
        answer = client.get(url, timeout=3)
    except httpx.HTTPError as exc:
        return f"no answer at {url} ({type(exc).__name__})"
    return "" if answer.is_success else f"{answer.status_code} from {url}: {answer.text[:200]}"
