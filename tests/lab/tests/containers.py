"""A lab with a real node for tests, and what to run on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.support.lab import Lab, running_lab
from tests.lab.control.home import Home
from tests.lab.control.lab import Lab as LabControl
from tests.lab.nodes import containerd
from tests.lab.nodes.availability import obstacle
from tests.lab.nodes.images import Image
from tests.lab.nodes.node import RealNode
from tests.lab.tests.clusters import Cluster, agent_pool, cluster_body
from tests.tools.debian import unpack

__all__ = ["BUSYBOX", "busybox", "container_cluster", "prepare", "real_node", "two_pools"]

BUSYBOX = "lab.internal/busybox:test"
COMMANDS = (
    *("cat", "dd", "df", "echo", "hostname", "httpd", "id", "ls", "mkdir", "nc", "nslookup", "rm", "sh", "sleep"),
    *("stat", "sync", "tail", "test", "touch", "tr", "wget"),
)


def two_pools() -> dict[str, Any]:
    """Return a cluster with the Cilium data plane, a system pool and a pool for applications over three zones each."""
    body = cluster_body(agent_pool("apps", count=3, vmSize="Standard_D4ds_v5"))
    body["properties"]["networkProfile"] |= {"networkDataplane": "cilium", "networkPolicy": "cilium"}
    return body


@contextmanager
def container_cluster() -> Iterator[Cluster]:
    """Run a lab of its own with a real node and a cluster; skip the test where that cannot be done."""
    why = obstacle(Path(os.environ.get("TMPDIR", "/tmp")) / "platform-lab")
    if why and not os.environ.get("PLATFORM_TEST_LAB"):
        pytest.skip(f"no container can run here: {why}")
    with running_lab(LAB_NODES="containers") as lab:
        cluster = Cluster(lab)
        prepare(cluster)
        yield cluster


def prepare(cluster: Cluster) -> None:
    """Bring up the cluster, and give its real node the image of `BUSYBOX`."""
    cluster.put(two_pools())
    containerd.import_images(real_node(cluster.lab), [busybox()])


def real_node(lab: Lab) -> RealNode:
    """Return the real node of a lab, to look at it from the machine."""
    found = LabControl(Home.open(lab.home), say=lambda _: None).manager.real_node()
    assert found is not None
    return found


def busybox(name: str = BUSYBOX, *, user: str = "65532:65532") -> Image:
    """Return an image with a shell and its usual commands."""
    program = Path(unpack("busybox", ("busybox-static",)).program("busybox"))
    return Image(
        name=name, files={f"bin/{command}": program for command in COMMANDS}, entrypoint=["/bin/sh"], user=user
    )
