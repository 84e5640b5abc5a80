"""The stand-in of the OpenMRS backend and a real MariaDB beside it, without containers."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.audioprothese.platform.plugins.module_utils.vault import certificates

from tests.contract.debian import daemon
from tests.contract.scratch import scratch_folder
from tests.tools import java

__all__ = ["Backend", "Database", "database", "prepared", "until"]

ROOT = Path(__file__).parents[2]
IMAGE = ROOT / "tests" / "lab" / "images" / "openmrs-backend-stand-in"
SERVER_NAME = "localhost"
START_SECONDS = 300  # a busy machine needs most of them
PASSWORD = "Canary.Database-1"
ADMIN = ("admin", "Canary.Admin_2")


def until(true: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Wait for something; AssertionError with `what` when it does not come."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def prepared(folder: Path, schema_version: int) -> Path:
    """The image's own files, made as the image's build makes them."""
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SCHEMA_VERSION": str(schema_version)}
    subprocess.run([sys.executable, IMAGE / "prepare.py", folder], env=environment, check=True, timeout=900)
    return folder


# --- the database ----------------------------------------------------------------------------------------------------


@dataclass
class Database:
    """A running MariaDB that takes TLS only, with the empty database `openmrs` and the user of the same name."""

    folder: Path
    port: int

    @property
    def authority(self) -> Path:
        """The certificate that its clients trust."""
        return self.folder / "ca.crt"

    def root(self, statement: str) -> str:
        """Run a statement as root; AssertionError with the server's answer when it refuses."""
        client = [daemon("mariadbd").program("mariadb"), "--no-defaults", "--user=root", "-BN"]
        done = subprocess.run(
            [*client, f"--socket={self.folder / 'socket'}", "-e", statement],
            env=daemon("mariadbd").environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def empty(self) -> None:
        """Make database and user anew."""
        self.root(
            "DROP DATABASE IF EXISTS openmrs; CREATE DATABASE openmrs; "
            f"CREATE OR REPLACE USER openmrs@'%' IDENTIFIED BY '{PASSWORD}' REQUIRE SSL; "
            "GRANT ALL ON openmrs.* TO openmrs@'%'"
        )

    def locked(self) -> bool:
        """Whether Liquibase's lock is taken."""
        with contextlib.suppress(AssertionError):
            return self.root("SELECT locked FROM openmrs.liquibasechangeloglock") == "1"
        return False

    def url(self, authority: Path | None = None, host: str = SERVER_NAME) -> str:
        """The address as the chart writes it."""
        options = f"useMysqlMetadata=true&sslMode=verify-full&serverSslCert={authority or self.authority}"
        return f"jdbc:mariadb://{host}:{self.port}/openmrs?{options}"


@contextlib.contextmanager
def database() -> Iterator[Database]:
    """Run a server; the folder goes with it."""
    with scratch_folder("openmrs-db-") as folder:
        _write_certificates(folder)
        server = Database(folder, free_port())
        program, environment = daemon("mariadbd").program("mariadbd"), daemon("mariadbd").environment
        options = _options(folder, server.port)
        _bootstrap([program, "--no-defaults", *options], environment)
        with (folder / "log").open("w") as log:
            process = subprocess.Popen([program, "--no-defaults", *options], env=environment, stdout=log, stderr=log)
        try:
            until(lambda: _answers(server, process), "MariaDB")
            server.empty()
            yield server
        finally:
            process.kill()
            process.wait(timeout=60)


def _answers(server: Database, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, (server.folder / "log").read_text()[-3000:]
    with contextlib.suppress(AssertionError):
        return server.root("SELECT 1") == "1"
    return False


def _write_certificates(folder: Path) -> None:
    now = dt.datetime.now(dt.UTC)
    for name in ("", "other-"):
        key, authority_key = certificates.signing_key(), certificates.signing_key()
        authority = certificates.certificate_authority(
            key_pem=authority_key, common_name="ca", validity_days=1, now=now
        )
        certificate = certificates.issue_certificate(
            key_pem=key,
            issuer_key_pem=authority_key,
            issuer_certificate_pem=authority,
            common_name="mariadb",
            dns_names=[SERVER_NAME],
            validity_days=1,
            now=now,
        )
        for part, content in {"ca.crt": authority, "tls.crt": certificate, "tls.key": key}.items():
            (folder / f"{name}{part}").write_text(content)


def _options(folder: Path, port: int) -> list[str]:
    share = next(path for path in (daemon("mariadbd").root / "usr/share").glob("m*/english") if path.is_dir())
    found = [f"--datadir={folder / 'data'}", f"--socket={folder / 'socket'}", f"--pid-file={folder / 'pid'}"]
    found += [f"--lc-messages-dir={share.parent}", "--bind-address=127.0.0.1", f"--port={port}", f"--tmpdir={folder}"]
    found += ["--innodb-buffer-pool-size=32M", "--innodb-log-file-size=16M", "--plugin-dir=/nonexistent"]
    found += [
        f"--ssl-{part}={folder / name}" for part, name in (("ca", "ca.crt"), ("cert", "tls.crt"), ("key", "tls.key"))
    ]
    found += ["--require-secure-transport=ON", "--character-set-server=utf8mb4", "--skip-log-bin"]
    (folder / "data").mkdir()
    return [*found, "--user=root"] if os.geteuid() == 0 else found


def _bootstrap(command: list[str], environment: dict[str, str]) -> None:
    shared = next((daemon("mariadbd").root / "usr/share").glob("m*/mysql_system_tables.sql")).parent
    names = ("mysql_system_tables", "mysql_performance_tables", "mysql_system_tables_data", "fill_help_tables")
    statements = "CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\n"
    statements += "\n".join((shared / f"{name}.sql").read_text(errors="replace") for name in names)
    done = subprocess.run(
        [*command, "--bootstrap"],
        input=statements,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]


# --- the backend -----------------------------------------------------------------------------------------------------


@dataclass
class Backend:
    """One pod's worth of backend: a container file system that is new at each start, and a volume that stays."""

    content: Path
    volume: Path
    environment: dict[str, str]
    port: int = field(default_factory=free_port)
    shutdown_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    container: Path | None = None

    @property
    def log(self) -> str:
        """What the container printed."""
        assert self.container
        return (self.container / "log").read_text(errors="replace")

    @contextlib.contextmanager
    def running(self, command: list[str] | None = None, **more: str) -> Iterator[Backend]:
        """Run the start script (or a command) in a container file system of its own; kill whatever is left."""
        with contextlib.ExitStack() as stack:
            self.container = stack.enter_context(scratch_folder("openmrs-"))
            stack.callback(self.kill)
            home, tomcat = self.container / "openmrs", self.container / "tomcat"
            shutil.copytree(self.content / "openmrs", home)
            shutil.copytree(self.content / "usr/local/tomcat", tomcat)
            for name in ("webapps", "work", "temp", "logs"):
                (tomcat / name).mkdir()
            for script in (tomcat / "bin").glob("*.sh"):
                script.chmod(0o755)
            shutil.copy(IMAGE / "startup.sh", home)
            (home / "data").symlink_to(self.volume)
            options = {"address": "127.0.0.1", "port": self.port, "shutdown": self.shutdown_port}
            server_options = " ".join(f"-Dstand_in.{name}={value}" for name, value in options.items())
            variables = {
                "PATH": os.environ["PATH"],
                "JAVA_HOME": str(java.home()),
                "CATALINA_HOME": str(tomcat),
                "OMRS_HOME": str(home),
                **self.environment,
                **more,
            }
            variables["OMRS_JAVA_SERVER_OPTS"] = f"{server_options} {variables.get('OMRS_JAVA_SERVER_OPTS', '')}"
            with (self.container / "log").open("w") as log:
                self.process = subprocess.Popen(
                    command or [str(home / "startup.sh")],
                    env=variables,
                    cwd=home,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            yield self

    def kill(self) -> None:
        """End it as a power failure would."""
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(timeout=30)

    def ask(
        self,
        method: str,
        path: str,
        *,
        credentials: tuple[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any, http.client.HTTPMessage]:
        """Ask for a page below /openmrs; returns status, body (decoded where it is JSON) and headers."""
        sent = dict(headers or {})
        if credentials:
            sent["Authorization"] = f"Basic {base64.b64encode(':'.join(credentials).encode()).decode()}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, f"/openmrs{path}", body=json.dumps(body) if body else None, headers=sent)
            answer = connection.getresponse()
            content = answer.read().decode()
            found = json.loads(content) if "json" in (answer.getheader("Content-Type") or "") else content
            return answer.status, found, answer.headers
        finally:
            connection.close()

    def status(self, path: str) -> int:
        """The status of a page; 0 while nothing listens."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.ask("GET", path)[0]
        return 0

    def await_start(self) -> None:
        """Wait until the health page says that it has started."""
        until(self._started, "the backend has started")

    def _started(self) -> bool:
        assert self.process
        assert self.process.poll() is None, self.log[-3000:]
        assert "for good" not in self.log, self.log[-6000:]
        return self.status("/health/started") == 200

    def await_failure(self) -> None:
        """Wait until the start has failed for good."""
        until(lambda: "for good" in self.log, "the start fails")

    def create_patient(self, name: str) -> str:
        """Create a patient and return the uuid."""
        names = [{"givenName": name, "familyName": "Test"}]
        body = {"person": {"names": names, "gender": "F"}, "identifiers": [{"identifier": f"ID-{name}"}]}
        status, found, _ = self.ask("POST", "/ws/rest/v1/patient", credentials=ADMIN, body=body)
        assert status == 201, found
        return str(found["uuid"])

    def search(self, text: str) -> list[str]:
        """The uuids of the patients that a search finds."""
        status, found, _ = self.ask("GET", f"/ws/rest/v1/patient?q={text}", credentials=ADMIN)
        assert status == 200, found
        return [patient["uuid"] for patient in found["results"]]
