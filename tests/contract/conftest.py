"""Fixtures of the contract tests: the chart as rendered, free ports, programs of the lab."""

from __future__ import annotations

import copy
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.audioprothese.platform.plugins.plugin_utils.helm import render_chart

from tests.contract.rendered import documents, rendered
from tests.lab.build.builder import built

__all__ = ["documents", "rendered"]  # fixtures that live in a module of their own

ROOT = Path(__file__).parents[2]
Manifests = list[dict[str, Any]]


def render_openmrs(values: dict[str, Any] | None = None) -> Manifests:
    """The objects of charts/openmrs."""
    return render_chart(
        {
            "path": str(ROOT / "charts" / "openmrs"),
            "release": "openmrs",
            "namespace": "openmrs",
            "values": values or {},
        },
        helm_binary=str(built("helm").binary),
    )


def find(manifests: Manifests, kind: str, name: str) -> dict[str, Any]:
    """A copy of the object of that kind and name."""
    found = [m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} objects {kind}/{name}"
    return copy.deepcopy(found[0])


@pytest.fixture(scope="session")
def chart() -> Manifests:
    """The objects of charts/openmrs with its own values."""
    return render_openmrs()


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Gives a port of 127.0.0.1 in which nothing listens at the moment."""

    def find_port() -> int:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            return int(listener.getsockname()[1])

    return find_port
