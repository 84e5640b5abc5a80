"""Centres notice nothing of a rolling restart."""

from __future__ import annotations

import asyncio

import pytest

from tests.end_to_end.conftest import Platform
from tests.end_to_end.support.load import Load, assert_served, run_load

CLIENTS, SECONDS = 50, 60
TWIN_SECONDS = 15
ROLLED = ("openmrs-gateway", "openmrs-frontend")


async def under_load(platform: Platform, *commands: list[str], seconds: float = SECONDS) -> Load:
    """Run kubectl commands one after the other while the clients ask."""
    load = asyncio.create_task(run_load(platform.clinic, clients=CLIENTS, seconds=seconds))
    await asyncio.sleep(5)
    for command in commands:
        await asyncio.to_thread(platform.lab.kubectl, *command)
    return await load


def test_no_request_fails_while_frontend_and_gateway_are_rolled(well: Platform) -> None:
    steps = []
    for name in ROLLED:
        steps.append(["rollout", "restart", "-n", "openmrs", f"deployment/{name}"])
        steps.append(["rollout", "status", "-n", "openmrs", f"deployment/{name}", "--timeout=100s"])
    load = asyncio.run(under_load(well, *steps))
    print(f"{load.requests} requests, {dict(load.answers)}, slowest {load.slowest:.2f} s")
    assert_served(load)


@pytest.mark.sabotage
def test_a_gateway_that_is_gone_is_noticed(well: Platform) -> None:
    """All pods of the gateway at once, as a budget of zero and no rolling would do."""
    command = ["delete", "pod", "-n", "openmrs", "-l", "app.kubernetes.io/component=gateway", "--grace-period=0"]
    load = asyncio.run(under_load(well, command, seconds=TWIN_SECONDS))
    assert load.failures
    with pytest.raises(AssertionError):
        assert_served(load)
