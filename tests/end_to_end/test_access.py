"""Prometheus and Alertmanager at the front door: nobody sees them without a sign-in, and operators do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import httpx
import pytest

from tests.end_to_end.conftest import Platform
from tests.integration.support.waiting import until
from tests.tools.sign_in import sign_in

SITES = {"prometheus": ("/graph", "/api/v1/query?query=up"), "alertmanager": ("/", "/api/v2/status")}
OPERATOR, VISITOR = "operator@lab.audioprothese.example", "visitor@lab.audioprothese.example"
SECONDS = 60


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


@pytest.mark.parametrize("site", SITES)
def test_without_a_sign_in_there_is_nothing_to_see(well: Platform, site: str) -> None:
    page, question = SITES[site]
    with browser(well, site) as client:
        for path in ("/", page, "/metrics", "/-/healthy", "/-/ready", "/oauth2/../metrics"):
            answer = client.get(path, headers={"User-Agent": "GoogleHC/1.0", "X-Forwarded-Uri": "/ping"})
            assert answer.status_code == 302, (path, answer.text)
            assert urlsplit(answer.headers["location"]).path.endswith("/oauth2/v2.0/authorize")
        assert client.get(question).status_code == 401
        assert client.post("/-/reload").status_code in (302, 401, 403)


@pytest.mark.parametrize("site", SITES)
def test_an_operator_sees_it(well: Platform, site: str) -> None:
    page, question = SITES[site]
    with browser(well, site) as client, entra(well) as directory:
        assert sign_in(client, directory, OPERATOR, page).headers["location"] == page
        answer = client.get(question, headers={"Accept": "application/json"})
        assert answer.status_code == 200
        assert answer.json()


def test_somebody_else_of_the_tenant_does_not(well: Platform) -> None:
    with browser(well, "prometheus") as client, entra(well) as directory:
        assert sign_in(client, directory, VISITOR).status_code == 403
        assert client.get("/api/v1/query?query=up").status_code == 401


def test_another_key_of_the_cookies_ends_every_sign_in(well: Platform) -> None:
    question = SITES["prometheus"][1]
    with browser(well, "prometheus") as client, entra(well) as directory:
        sign_in(client, directory, OPERATOR)
        assert client.get(question).status_code == 200
        well.run("rotate", extra={"secret": "sign-in-cookie-key"}).ok()
        until(lambda: client.get(question).status_code == 401, "the old cookie counts no more", SECONDS)
        del client.headers["Cookie"]
        sign_in(client, directory, OPERATOR)
        assert client.get(question).status_code == 200
