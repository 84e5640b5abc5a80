"""Fixtures of the lab's own tests: one running lab for all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.support.lab import Lab, running_lab


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Keep one lab over the session."""
    with running_lab() as running:
        yield running
