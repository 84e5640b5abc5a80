"""Limits and quotas leave room for what the pods really use (figures: roles/namespaces/README.md)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.end_to_end.conftest import Platform
from tests.end_to_end.support.load import run_load
from tests.end_to_end.support.usage import Container, containers, quotas, shown

CLIENTS, SECONDS = 50, 20
# A container that uses more of its limit than this is one busy day away from being killed.
MOST = 0.9


@pytest.fixture(scope="module")
def measured(platform: Platform) -> list[Container]:
    """Measure while the platform serves many clients."""
    asyncio.run(run_load(platform.clinic, clients=CLIENTS, seconds=SECONDS))
    found = containers(platform.lab)
    print(shown(found))
    return found


def assert_within(found: list[Container], allowed: dict[str, dict[str, int]]) -> None:
    """Hold use against limits, and the sums against the quotas."""
    assert all(container.memory for container in found), "the kubelet counts nothing"
    close = [container for container in found if container.limit and container.memory > MOST * container.limit]
    assert not close, f"close to their limits:\n{shown(close)}"
    for namespace, quota in allowed.items():
        used = sum(container.memory for container in found if container.namespace == namespace)
        assert used < quota["requests.memory"], f"{namespace} uses {used} of {quota['requests.memory']} bytes"


def test_what_is_used_stays_below_limits_and_quotas(platform: Platform, measured: list[Container]) -> None:
    assert_within(measured, quotas(platform.lab))


def test_every_container_has_a_limit_of_memory(measured: list[Container]) -> None:
    assert [container.name for container in measured if not container.limit] == []


@pytest.mark.sabotage
@pytest.mark.parametrize("what", ["limit", "quota"])
def test_a_bound_below_the_use_is_noticed(platform: Platform, measured: list[Container], what: str) -> None:
    allowed = quotas(platform.lab)
    found = list(measured)
    if what == "limit":
        found[0] = replace(found[0], limit=found[0].memory)
    else:
        allowed["mariadb"]["requests.memory"] = 1
    with pytest.raises(AssertionError, match="close to their limits" if what == "limit" else "mariadb uses"):
        assert_within(found, allowed)
