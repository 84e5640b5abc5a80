"""Prometheus and Alertmanager at the front door: nobody sees them without a sign-in, and operators do."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from tests.end_to_end.conftest import Platform
from tests.end_to_end.support.people import OPERATOR, VISITOR, browser, entra
from tests.integration.support.waiting import until
from tests.tools.sign_in import sign_in

SITES = {"prometheus": ("/graph", "/api/v1/query?query=up"), "alertmanager": ("/", "/api/v2/status")}
SECONDS = 60


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
