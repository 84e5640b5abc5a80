"""People of the lab's Entra ID, and their browser at a site behind the gateway."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Platform

__all__ = ["OPERATOR", "VISITOR", "browser", "entra"]

OPERATOR, VISITOR = "operator@lab.audioprothese.example", "visitor@lab.audioprothese.example"


@contextmanager
def browser(platform: Platform, site: str) -> Iterator[httpx.Client]:
    """Somebody's browser at a site, through the gateway."""
    host = platform.clinic.host.replace("openmrs.", f"{site}.", 1)
    with replace(platform.clinic, host=host).client() as client:
        client.headers["Accept"] = "text/html"
        yield client


def entra(platform: Platform) -> httpx.Client:
    """The directory that people are led to."""
    return httpx.Client(
        base_url=platform.lab.info["authority_host"], verify=platform.lab.info["ca_file"], trust_env=False
    )
