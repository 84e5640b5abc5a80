"""Fixtures of the lab's own tests: one running lab for all of them, or a simulated Azure alone."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.integration.support.lab import Lab, running_lab
from tests.lab.azure.testing import Running, serve


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Keep one lab over the session."""
    with running_lab() as running:
        yield running


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
