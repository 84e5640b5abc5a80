"""The real proxy with the role's configuration: who signs in gets to what it guards, and nobody else does."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.contract.programs import program
from tests.contract.rendered import templated
from tests.contract.serving import QuietHandler, serving
from tests.contract.stand_in import until
from tests.lab.azure.testing import Running, serve
from tests.lab.build.builder import built
from tests.tools.sign_in import keep_cookies, sign_in

HOST = "prometheus.lab.audioprothese.example"
SUBJECT = "system:serviceaccount:access:oauth2-proxy"
OPERATOR, VISITOR = "operator@lab.audioprothese.example", "visitor@lab.audioprothese.example"
ISSUER = "https://cluster.example/oidc"
SECONDS = 60


@dataclass
class Guarded:
    """A proxy, what it guards, and what came through to that."""

    azure: Running
    address: str
    reached: list[dict[str, str]] = field(default_factory=list)

    def browser(self) -> httpx.Client:
        """Somebody's browser: with cookies, and led nowhere by itself."""
        return httpx.Client(base_url=self.address, headers={"Host": HOST, "Accept": "text/html"}, trust_env=False)

    def entra(self) -> httpx.Client:
        """The directory that people are led to."""
        return httpx.Client(base_url=self.azure.base_url, verify=self.azure.context(), trust_env=False)

    def sign_in(self, browser: httpx.Client, login: str) -> httpx.Response:
        """Sign in on the way to a page."""
        with self.entra() as entra:
            return sign_in(browser, entra, login, "/graph?g0.expr=up")


def configuration(azure: Running) -> str:
    """The role's template for a site, with its defaults."""
    return templated(
        "oauth2_proxy",
        "oauth2-proxy.cfg.j2",
        platform_azure_hosts={"entra": urlsplit(azure.base_url).netloc},
        platform_tenant_id=azure.settings.tenant_id,
        platform_azure_authorities="yes",
        platform_admin_group_ids=[azure.settings.admin_group_id],
        platform_workloads={"prometheus": {"namespace": "monitoring"}},
        oauth2_proxy_application_id=azure.settings.application_id,
        oauth2_proxy_site={"name": "prometheus", "host": HOST, "port": 9090},
    )


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Give a directory in which people sign in."""
    with serve(tmp_path_factory.mktemp("azure")) as running:
        yield running


@contextlib.contextmanager
def guarding(
    azure: Running, folder: Path, free_port: Callable[[], int], *, subject: str = SUBJECT, extra: str = ""
) -> Iterator[Guarded]:
    """Run the proxy before a service, with the token of a ServiceAccount."""
    port, metrics, upstream = free_port(), free_port(), free_port()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": "1"}
    azure.control("POST", "/lab/issuers", {"issuer": ISSUER, "jwks": {"keys": [public]}})
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": subject, "aud": "api://AzureADTokenExchange", "iat": now, "exp": now + 3600}
    (folder / "token").write_text(jwt.encode(claims, key, algorithm="RS256", headers={"kid": "1"}))
    (folder / "cookie-secret").write_text("x" * 32)
    text = configuration(azure) + extra
    for there, here in {
        "/etc/oauth2-proxy/authorities.pem": azure.ca_file,
        "/etc/oauth2-proxy-secret/cookie-secret": folder / "cookie-secret",
        "prometheus.monitoring.svc.cluster.local:9090": f"127.0.0.1:{upstream}",
        "0.0.0.0:4180": f"127.0.0.1:{port}",
        "0.0.0.0:44180": f"127.0.0.1:{metrics}",
    }.items():
        assert there in text
        text = text.replace(there, str(here))
    (folder / "oauth2-proxy.cfg").write_text(text)
    guarded = Guarded(azure, f"http://127.0.0.1:{port}")

    class Service(QuietHandler):
        def do_OPTIONS(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            guarded.reached.append(dict(self.headers.items()))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"what is guarded")

    command = [built("oauth2-proxy").binary, f"--config={folder / 'oauth2-proxy.cfg'}"]
    environment = {"AZURE_FEDERATED_TOKEN_FILE": str(folder / "token")}
    with serving(upstream, Service), program(command, folder / "log", environment) as process:
        until(lambda: answers(process, guarded, folder), "the proxy answers", SECONDS)
        yield guarded


def answers(process: subprocess.Popen[bytes], guarded: Guarded, folder: Path) -> bool:
    assert process.poll() is None, (folder / "log").read_text()
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{guarded.address}/ready", trust_env=False).status_code == 200
    return False


@pytest.fixture(scope="module")
def guarded(
    azure: Running, tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> Iterator[Guarded]:
    """Give the proxy as the role runs it."""
    with guarding(azure, tmp_path_factory.mktemp("proxy"), free_port) as found:
        yield found


def refused(guarded: Guarded, path: str, **headers: str) -> httpx.Response:
    """Ask without having signed in; nothing comes through."""
    before = len(guarded.reached)
    with guarded.browser() as browser:
        answer = browser.get(path, headers=headers)
    assert len(guarded.reached) == before, "it came through"
    assert "what is guarded" not in answer.text
    return answer


@pytest.mark.parametrize(
    "path", ["/", "/graph", "/metrics", "/-/healthy", "/-/ready", "/federate", "/static/x.js", "//graph"]
)
def test_who_has_not_signed_in_is_led_to_entra(guarded: Guarded, path: str) -> None:
    answer = refused(guarded, path)
    assert answer.status_code == 302
    where = urlsplit(answer.headers["location"])
    asked = {key: values[0] for key, values in parse_qs(where.query).items()}
    assert f"{where.scheme}://{where.netloc}" == guarded.azure.base_url
    assert asked["redirect_uri"] == f"https://{HOST}/oauth2/callback"
    assert asked["code_challenge_method"] == "S256"
    assert asked["nonce"]


def test_a_program_is_refused_and_not_led_away(guarded: Guarded) -> None:
    assert refused(guarded, "/api/v1/query?query=up").status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"User-Agent": "GoogleHC/1.0"},
        {"User-Agent": "kube-probe/1.35"},
        {"X-Forwarded-Uri": "/oauth2/sign_in"},
        {"X-Forwarded-Uri": "/ping"},
        {"X-Original-URL": "/ping"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-User": "operator"},
        {"X-Auth-Request-User": "operator"},
        {"Authorization": "Basic b3BlcmF0b3I6"},
        {"Authorization": "Bearer e30.e30."},
        {"Cookie": "__Host-sign-in=x"},
    ],
    ids=lambda headers: " ".join(f"{name}: {value}" for name, value in headers.items()),
)
def test_what_is_said_in_headers_opens_nothing(guarded: Guarded, headers: dict[str, str]) -> None:
    assert refused(guarded, "/graph", **headers).status_code in (302, 401, 403)


def test_an_operator_gets_there(guarded: Guarded) -> None:
    with guarded.browser() as browser:
        done = guarded.sign_in(browser, OPERATOR)
        assert (done.status_code, done.headers["location"]) == (302, "/graph?g0.expr=up")
        answer = browser.get("/graph?g0.expr=up")
        assert (answer.status_code, answer.text) == (200, "what is guarded")
        assert browser.get("/api/v1/query?query=up").status_code == 200
    # Who it is stays between the browser and the proxy.
    told = {"authorization", "x-forwarded-user", "x-forwarded-email", "x-forwarded-access-token"}
    assert not told & {name.lower() for name in guarded.reached[-1]}


def test_who_is_in_no_group_of_operators_does_not(guarded: Guarded) -> None:
    before = len(guarded.reached)
    with guarded.browser() as browser:
        assert guarded.sign_in(browser, VISITOR).status_code == 403
        assert browser.get("/graph").status_code in (302, 403)
    assert len(guarded.reached) == before


def test_a_changed_cookie_is_none(guarded: Guarded) -> None:
    with guarded.browser() as browser:
        guarded.sign_in(browser, OPERATOR)
        cookie = browser.headers["Cookie"]
    place = cookie.index("__Host-sign-in=") + 40
    changed = cookie[:place] + ("A" if cookie[place] != "A" else "B") + cookie[place + 1 :]
    assert refused(guarded, "/graph", Cookie=changed).status_code == 302


def test_a_code_counts_once(guarded: Guarded) -> None:
    with guarded.browser() as first, guarded.browser() as second:
        led = first.get("/graph")
        keep_cookies(first, led)
        with guarded.entra() as entra:
            back = urlsplit(entra.post(led.headers["location"], data={"login": OPERATOR}).headers["location"])
        # Somebody who saw the address has no cookie of the browser that asked.
        assert second.get(f"{back.path}?{back.query}").status_code == 403
        assert first.get(f"{back.path}?{back.query}").status_code == 302
        assert first.get(f"{back.path}?{back.query}").status_code >= 400


def test_another_service_account_signs_nobody_in(azure: Running, tmp_path: Path, free_port: Callable[[], int]) -> None:
    with (
        guarding(azure, tmp_path, free_port, subject="system:serviceaccount:access:default") as guarded,
        guarded.browser() as browser,
    ):
        assert guarded.sign_in(browser, OPERATOR).status_code >= 400
        assert browser.get("/graph").status_code in (302, 403)
        assert guarded.reached == []


@pytest.mark.sabotage
@pytest.mark.parametrize(
    "hole", ['skip_auth_routes = ["^/graph"]', 'trusted_ips = ["127.0.0.1"]', "skip_auth_preflight = true"]
)
def test_a_hole_is_noticed(azure: Running, tmp_path: Path, free_port: Callable[[], int], hole: str) -> None:
    with guarding(azure, tmp_path, free_port, extra=f"\n{hole}\n") as guarded, guarded.browser() as browser:
        method = "OPTIONS" if "preflight" in hole else "GET"
        with pytest.raises(AssertionError, match="it came through"):
            before = len(guarded.reached)
            browser.request(method, "/graph")
            assert len(guarded.reached) == before, "it came through"


def test_the_configuration_holds_no_secret_and_known_options_only(azure: Running) -> None:
    told = tomllib.loads(configuration(azure))
    assert not {"client_secret", "cookie_secret"} & set(told)
    open_to = [name for name, value in told.items() if value and re.match(r"skip_auth|trusted_ip|.*insecure", name)]
    assert not open_to
