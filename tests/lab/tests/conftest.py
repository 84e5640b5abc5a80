"""Fixtures of the lab's own tests: a lab for all of them, one with a real node, or a simulated Azure alone."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator

import pytest

from tests.integration.support.lab import Lab, running_lab
from tests.lab.azure.testing import Running, serve
from tests.lab.nodes.node import RealNode
from tests.lab.tests.clusters import Cluster
from tests.lab.tests.containers import container_cluster, real_node


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Keep one lab over the session."""
    with running_lab() as running:
        yield running


@pytest.fixture(scope="session")
def real_cluster() -> Iterator[Cluster]:
    """Keep one cluster with a real node over the session; a test that leaves it in another state is marked `spoils`."""
    with container_cluster() as cluster:
        yield cluster


@pytest.fixture
def node(real_cluster: Cluster) -> RealNode:
    """Look at the real node from the machine."""
    return real_node(real_cluster.lab)


@pytest.fixture
def namespace(real_cluster: Cluster) -> Iterator[str]:
    """Give a namespace of the test's own on the cluster with a real node; the test creates it."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    yield name
    real_cluster.lab.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let tests that spoil a lab for others run last."""
    items.sort(key=lambda item: item.get_closest_marker("spoils") is not None)


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Serve a simulated Azure of its own, without clusters, to one module."""
    with serve(tmp_path_factory.mktemp("azure")) as running:
        yield running


@pytest.fixture
def group(azure: Running, request: pytest.FixtureRequest) -> str:
    """Create a resource group named after the test; its id."""
    name = re.sub(r"[^a-z0-9-]+", "-", request.node.name.lower()).strip("-")[:80]
    scope = f"{azure.subscription}/resourceGroups/{name}"
    with azure.client() as client:
        answer = client.put(f"{scope}?api-version=2021-04-01", json={"location": "francecentral"})
    assert answer.status_code == 201, answer.text
    return scope
