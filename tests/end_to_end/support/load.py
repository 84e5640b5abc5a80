"""Many clients at once for a bounded time."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

from tests.end_to_end.support.clinic import Clinic

__all__ = ["Load", "assert_served", "run_load"]

PAGES = ("/openmrs/ws/rest/v1/session", "/openmrs/spa/login")
THINK_SECONDS = 0.5
ENOUGH = 500
"""Requests below which a load says nothing."""


@dataclass
class Load:
    """What the clients got."""

    answers: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0

    @property
    def requests(self) -> int:
        """All that were sent."""
        return sum(self.answers.values()) + len(self.failures)


async def _client(clinic: Clinic, trust: ssl.SSLContext, number: int, until: float, load: Load) -> None:
    """Ask for pages in turn like one person who reads: with pauses, over one connection."""
    async with httpx.AsyncClient(
        base_url=f"https://{urlsplit(clinic.address).netloc}",
        headers={"Host": clinic.host},
        verify=trust,
        trust_env=False,
        timeout=20,
    ) as client:
        turn = number
        while time.monotonic() < until:
            path = PAGES[turn % len(PAGES)]
            started = time.monotonic()
            try:
                answer = await client.get(path, extensions={"sni_hostname": clinic.host})
                load.answers[answer.status_code] += 1
                if answer.status_code != httpx.codes.OK:
                    load.failures.append(f"{path}: {answer.status_code} {answer.text[:80]}")
            except httpx.HTTPError as exc:
                load.failures.append(f"{path}: {type(exc).__name__} {exc}")
            load.slowest = max(load.slowest, time.monotonic() - started)
            turn += 1
            await asyncio.sleep(THINK_SECONDS)


async def run_load(clinic: Clinic, *, clients: int, seconds: float) -> Load:
    """Let so many clients ask for so long."""
    load, trust = Load(), ssl.create_default_context(cafile=clinic.ca_file)
    until = time.monotonic() + seconds
    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(_client(clinic, trust, number, until, load))
    return load


def assert_served(load: Load) -> None:
    """Hold what the clients got against the promise: every request answered, and enough of them to mean something."""
    assert load.requests > ENOUGH
    assert not load.failures, f"{len(load.failures)} of {load.requests} requests failed: {load.failures[:5]}"
