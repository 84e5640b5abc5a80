"""A real nginx reads the chart's two configurations and is asked what a browser would ask."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import re
import resource
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.contract.conftest import Manifests, find, render_openmrs
from tests.contract.debian import daemon
from tests.contract.programs import program
from tests.contract.serving import QuietHandler, serving
from tests.contract.stand_in import until
from tests.lab.build.builder import built

PATIENT = "Dupont"


@dataclass
class Backend:
    """A server that remembers requests and sets a session cookie like Tomcat's."""

    port: int
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)


class Handler(QuietHandler):
    backend: Backend

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.backend.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        self.send_response(200)
        self.send_header("Set-Cookie", "JSESSIONID=abc; Path=/openmrs; HttpOnly")
        self.send_header("X-Powered-By", "Servlet")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")


@contextlib.contextmanager
def backend_at(port: int) -> Iterator[Backend]:
    backend = Backend(port)
    with serving(port, type("Bound", (Handler,), {"backend": backend})):
        yield backend


def localize(configuration: str, folder: Path, *, port: int, **upstreams: int) -> str:
    """The configuration with the container's paths, port and names replaced by this machine's."""
    changed, count = re.subn(r"listen 8080;", f"listen 127.0.0.1:{port};", configuration)
    assert count == 1
    for name, upstream_port in upstreams.items():
        address = f"server openmrs-{name}.openmrs.svc.cluster.local.:8080"
        assert address in changed
        changed = changed.replace(address, f"server 127.0.0.1:{upstream_port}")
    changed = changed.replace("/tmp/", f"{folder}/").replace("/dev/stdout", str(folder / "access.log"))
    changed = changed.replace("/dev/stderr", str(folder / "error.log"))
    changed = changed.replace("/usr/share/nginx/html", str(folder / "html"))
    changed = changed.replace("/etc/nginx/mime.types", str(daemon("nginx").root / "etc/nginx/mime.types"))
    changed = changed.replace("listen 127.0.0.1:8081;", f"listen unix:{folder}/status;")
    # As root nginx would hand its workers to a user who may not enter pytest's folder.
    return f"user root;\n{changed}" if os.geteuid() == 0 else changed


@contextlib.contextmanager
def nginx(configuration: str, folder: Path, port: int) -> Iterator[None]:
    """Check the configuration and run it, with as many open files as a container has."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    file = folder / "nginx.conf"
    file.write_text(configuration)
    program, environment = daemon("nginx").program("nginx"), daemon("nginx").environment
    command = [program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(file)]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, env=environment, check=False)
    log = (folder / "error.log").read_text() if (folder / "error.log").exists() else ""
    assert checked.returncode == 0, checked.stderr + log
    assert "[warn]" not in checked.stderr + log
    process = subprocess.Popen([*command, "-g", "daemon off;"], env=environment)
    try:
        until(lambda: healthy(port), "nginx answers")
        # Not somebody else who was given the same port.
        assert process.poll() is None, (folder / "error.log").read_text()
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


def healthy(port: int) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return ask(port, "/healthz").status < http.HTTPStatus.BAD_REQUEST
    return False


def ask(port: int, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    answer.body = answer.read()  # type: ignore[attr-defined]
    return answer


def gateway_configuration(manifests: Manifests) -> str:
    return str(find(manifests, "ConfigMap", "openmrs-gateway")["data"]["nginx.conf"])


@dataclass
class Gateway:
    port: int
    folder: Path
    frontend: Backend
    backend: Backend


@contextlib.contextmanager
def gateway(configuration: str, folder: Path, free_port: Callable[[], int]) -> Iterator[Gateway]:
    port, frontend_port, backend_port = free_port(), free_port(), free_port()
    localized = localize(configuration, folder, port=port, frontend=frontend_port, backend=backend_port)
    with backend_at(frontend_port) as frontend, backend_at(backend_port) as backend, nginx(localized, folder, port):
        yield Gateway(port, folder, frontend, backend)


@pytest.fixture
def running(chart: Manifests, tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Gateway]:
    with gateway(gateway_configuration(chart), tmp_path, free_port) as found:
        yield found


def test_paths_lead_where_they_should(running: Gateway) -> None:
    for start in ("/", "/openmrs", "/openmrs/", "/openmrs/spa", "/openmrs/spa/"):
        answer = ask(running.port, start)
        assert (answer.status, answer.getheader("Location")) == (302, "/openmrs/spa/home")
    assert ask(running.port, "/openmrs/spa/home").status == 200
    assert ask(running.port, "/openmrs/ws/rest/v1/session").status == 200
    assert ask(running.port, "/manager/html").status == 404
    assert [path for path, _headers in running.frontend.seen] == ["/home"]
    assert [path for path, _headers in running.backend.seen] == ["/openmrs/ws/rest/v1/session"]


def test_the_exporter_tells_of_its_connections(running: Gateway, free_port: Callable[[], int]) -> None:
    port = free_port()
    command = [
        built("nginx-prometheus-exporter").binary,
        f"--nginx.scrape-uri=unix:{running.folder}/status:/stub_status",
        f"--web.listen-address=127.0.0.1:{port}",
    ]

    def told() -> str:
        with contextlib.suppress(OSError):
            return str(ask(port, "/metrics").body, "utf-8")  # type: ignore[attr-defined]
        return ""

    with program(command, running.folder / "exporter.log"):
        until(lambda: "nginx_up 1" in told(), "the exporter tells of nginx", 20)
        assert re.search(r"^nginx_connections_active [1-9]", told(), re.MULTILINE)


def test_from_outside_nobody_sees_its_connections(running: Gateway) -> None:
    assert b"Active connections" not in ask(running.port, "/stub_status").body  # type: ignore[attr-defined]


def test_every_answer_carries_the_security_headers(running: Gateway) -> None:
    for path in ("/openmrs/spa/home", "/openmrs/ws/rest/v1/session", "/nowhere"):
        answer = ask(running.port, path)
        assert answer.getheader("Strict-Transport-Security") == "max-age=31536000; includeSubDomains"
        assert answer.getheader("X-Content-Type-Options") == "nosniff"
        assert answer.getheader("Referrer-Policy") == "same-origin"
        assert answer.getheader("X-Powered-By") is None
        assert answer.getheader("Server") == "nginx"
    application = ask(running.port, "/openmrs/spa/home").getheader("Content-Security-Policy") or ""
    interface = ask(running.port, "/openmrs/ws/rest/v1/session").getheader("Content-Security-Policy") or ""
    assert "frame-ancestors 'self'" in application
    assert "'unsafe-inline'" not in interface
    assert "default-src 'none'" in interface


def test_the_session_cookie_is_for_https_and_this_site_only(running: Gateway) -> None:
    cookie = ask(running.port, "/openmrs/login").getheader("Set-Cookie") or ""
    flags = {part.strip().lower() for part in cookie.split(";")}
    assert {"secure", "httponly", "samesite=strict"} <= flags


def test_the_backend_learns_scheme_host_and_client(running: Gateway) -> None:
    ask(
        running.port,
        "/openmrs/login",
        Host="openmrs.example",
        X_Forwarded_Proto="https",
        X_Forwarded_For="6.6.6.6, 9.8.7.6",
    )
    headers = running.backend.seen[-1][1]
    assert headers["host"] == "openmrs.example"
    assert headers["x-forwarded-proto"] == "https"
    assert headers["x-forwarded-for"] == "9.8.7.6"
    ask(running.port, "/openmrs/login", X_Forwarded_Proto="javascript")
    assert running.backend.seen[-1][1]["x-forwarded-proto"] == "http"


def test_the_access_log_is_json_without_names_of_patients(running: Gateway) -> None:
    ask(running.port, f"/openmrs/ws/rest/v1/patient?q={PATIENT}", Referer=f"https://x/?q={PATIENT}")
    for _ in range(50):
        text = (running.folder / "access.log").read_text()
        if "/patient" in text:
            break
        time.sleep(0.05)
    line = json.loads(text.splitlines()[-1])
    assert (line["path"], line["status"]) == ("/openmrs/ws/rest/v1/patient", 200)
    assert PATIENT not in text


def logged(running: Gateway, path: str, **headers: str) -> tuple[http.client.HTTPResponse, dict[str, str]]:
    """Ask for a page; the answer, and what the log says of it."""
    file = running.folder / "access.log"
    before = len(file.read_text().splitlines())
    answer = ask(running.port, path, **headers)
    for _ in range(100):
        if len(lines := file.read_text().splitlines()) > before:
            break
        time.sleep(0.05)
    return answer, json.loads(lines[-1])


def test_a_request_has_one_name_for_client_backend_and_log(running: Gateway) -> None:
    seen = set()
    for path in ("/openmrs/ws/rest/v1/session", "/openmrs/spa/home", "/nowhere"):
        # What somebody sends as a name is none: it would find the requests of others.
        answer, line = logged(running, path, X_Request_Id="of-somebody")
        name = answer.getheader("X-Request-Id") or ""
        assert re.fullmatch("[0-9a-f]{32}", name)
        assert line["request_id"] == name
        seen.add(name)
    assert running.backend.seen[-1][1]["x-request-id"] in seen
    assert len(seen) == 3


def test_the_log_has_no_session(running: Gateway) -> None:
    path = "/openmrs/login.htm;jsessionid=0A1B2C3D"
    _, line = logged(running, f"{path}?x=1", Cookie="JSESSIONID=0A1B2C3D")
    assert line["path"] == "/openmrs/login.htm"
    assert "0A1B2C3D" not in (running.folder / "access.log").read_text()


@pytest.mark.sabotage
@pytest.mark.parametrize(
    ("change", "proof"),
    [
        (("add_header X-Request-Id $request_id always;", ""), test_a_request_has_one_name_for_client_backend_and_log),
        (("proxy_set_header X-Request-Id $request_id;", ""), test_a_request_has_one_name_for_client_backend_and_log),
        (('"path":"$plain_path"', '"path":"$uri"'), test_the_log_has_no_session),
        (('"path":"$plain_path"', '"path":"$plain_path","cookie":"$http_cookie"'), test_the_log_has_no_session),
    ],
)
def test_a_lost_name_and_a_session_in_the_log_are_noticed(
    chart: Manifests,
    tmp_path: Path,
    free_port: Callable[[], int],
    change: tuple[str, str],
    proof: Callable[[Gateway], None],
) -> None:
    text = gateway_configuration(chart)
    assert change[0] in text
    with gateway(text.replace(*change), tmp_path, free_port) as found, pytest.raises(AssertionError):
        proof(found)


@pytest.mark.sabotage
def test_a_gateway_without_cookie_flags_is_noticed(
    chart: Manifests, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    weakened = re.sub(r"proxy_cookie_flags[^;]*;", "", gateway_configuration(chart))
    with gateway(weakened, tmp_path, free_port) as found, pytest.raises(AssertionError):
        test_the_session_cookie_is_for_https_and_this_site_only(found)


@pytest.mark.sabotage
def test_a_log_with_the_query_string_is_noticed(chart: Manifests, tmp_path: Path, free_port: Callable[[], int]) -> None:
    weakened = gateway_configuration(chart).replace('"path":"$plain_path"', '"path":"$plain_path","query":"$args"')
    with gateway(weakened, tmp_path, free_port) as found, pytest.raises(AssertionError):
        test_the_access_log_is_json_without_names_of_patients(found)


def test_values_reach_the_configuration(tmp_path: Path, free_port: Callable[[], int]) -> None:
    values = {"gateway": {"frameAncestors": ["https://portal.example"], "cookieSameSite": "lax", "hstsMaxAge": 60}}
    with gateway(gateway_configuration(render_openmrs(values)), tmp_path, free_port) as found:
        answer = ask(found.port, "/openmrs/spa/home")
        assert "frame-ancestors 'self' https://portal.example" in (answer.getheader("Content-Security-Policy") or "")
        assert answer.getheader("Strict-Transport-Security") == "max-age=60; includeSubDomains"
        assert "samesite=lax" in (answer.getheader("Set-Cookie") or "").lower()


SEVERAL = {
    "backend": {
        "replicas": 2,
        "environment": {
            "OMRS_SEARCH": "elasticsearch",
            "OMRS_SEARCH_ES_URIS": "http://elasticsearch:9200",
            "OMRS_EXTRA_STORAGE_TYPE": "s3",
        },
    }
}


@contextlib.contextmanager
def sticky_gateway(
    folder: Path, free_port: Callable[[], int], break_it: Callable[[str], str] = str
) -> Iterator[tuple[int, list[Backend]]]:
    """A gateway in front of two backends; gives its port and them."""
    port, ports = free_port(), {name: free_port() for name in ("frontend", "backend-0", "backend-1")}
    configuration = break_it(gateway_configuration(render_openmrs(SEVERAL)))
    localized = localize(configuration, folder, port=port, **ports)
    with (
        backend_at(ports["backend-0"]) as first,
        backend_at(ports["backend-1"]) as second,
        nginx(localized, folder, port),
    ):
        yield port, [first, second]


def test_a_session_stays_at_the_pod_it_began_with(
    tmp_path: Path, free_port: Callable[[], int], break_it: Callable[[str], str] = str
) -> None:
    with sticky_gateway(tmp_path, free_port, break_it) as (port, backends):
        for own, backend in enumerate(backends):
            for _ in range(8):
                cookie = f"JSESSIONID=0A1B.openmrs-backend-{own}"
                assert ask(port, "/openmrs/ws/rest/v1/session", Cookie=cookie).status == 200
            assert len(backend.seen) == 8, [len(backend.seen) for backend in backends]
        for _ in range(8):
            ask(port, "/openmrs/ws/rest/v1/session")
        assert all(len(backend.seen) > 8 for backend in backends), "without a session both share the work"


def test_the_session_of_a_pod_that_is_gone_is_answered_by_another(tmp_path: Path, free_port: Callable[[], int]) -> None:
    port, ports = free_port(), {name: free_port() for name in ("frontend", "backend-0", "backend-1")}
    localized = localize(gateway_configuration(render_openmrs(SEVERAL)), tmp_path, port=port, **ports)
    with backend_at(ports["backend-1"]) as left, nginx(localized, tmp_path, port):
        answer = ask(port, "/openmrs/ws/rest/v1/session", Cookie="JSESSIONID=0A1B.openmrs-backend-0")
        assert (answer.status, len(left.seen)) == (200, 1)


@pytest.mark.sabotage
def test_sessions_that_wander_are_noticed(tmp_path: Path, free_port: Callable[[], int]) -> None:
    with pytest.raises(AssertionError):
        test_a_session_stays_at_the_pod_it_began_with(
            tmp_path, free_port, lambda text: text.replace("proxy_pass http://$backend;", "proxy_pass http://backend;")
        )


def test_uploads_have_a_limit_and_other_paths_a_smaller_one(tmp_path: Path, free_port: Callable[[], int]) -> None:
    configuration = gateway_configuration(render_openmrs({"gateway": {"maxBodySize": "3m", "readTimeout": 42}}))
    assert "proxy_read_timeout 42s;" in configuration
    with gateway(configuration, tmp_path, free_port) as found:
        sizes = {"/openmrs/ws/rest/v1/attachment": (2, 4), "/openmrs/spa/home": (0, 2)}
        for path, (accepted, refused) in sizes.items():
            assert send(found.port, path, accepted * 2**20) != 413
            assert send(found.port, path, refused * 2**20) == 413


def send(port: int, path: str, size: int) -> int:
    """Announce a body of that size and return the status, without sending a refused one."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        head = f"GET {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())
        with contextlib.suppress(OSError):
            connection.sendall(b"x" * size)
        return int(connection.recv(64).split()[1])


def test_the_frontend_serves_pages_and_files(chart: Manifests, tmp_path: Path, free_port: Callable[[], int]) -> None:
    pages = tmp_path / "html"
    pages.mkdir()
    for name in ("index.html", "importmap.json", "openmrs.3f2a.js"):
        (pages / name).write_text(name)
    configuration = str(find(chart, "ConfigMap", "openmrs-frontend")["data"]["nginx.conf"])
    port = free_port()
    with nginx(localize(configuration, tmp_path, port=port), tmp_path, port):
        answers = {
            path: ask(port, path) for path in ("/home", "/patient/1234/chart", "/importmap.json", "/openmrs.3f2a.js")
        }
        assert {path: answer.body.decode() for path, answer in answers.items()} == {  # type: ignore[attr-defined]
            "/home": "index.html",
            "/patient/1234/chart": "index.html",
            "/importmap.json": "importmap.json",
            "/openmrs.3f2a.js": "openmrs.3f2a.js",
        }
        assert answers["/home"].getheader("Cache-Control") == "no-cache"
        assert answers["/importmap.json"].getheader("Cache-Control") == "no-cache"
        assert "immutable" in (answers["/openmrs.3f2a.js"].getheader("Cache-Control") or "")
        assert "javascript" in (answers["/openmrs.3f2a.js"].getheader("Content-Type") or "")
        assert ask(port, "/missing.js").status == 404
