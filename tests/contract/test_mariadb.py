"""A real MariaDB reads the role's configuration, runs its first-start script and is attacked through its users."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.vault import certificates

from tests.contract.conftest import Manifests, find
from tests.contract.debian import daemon
from tests.contract.rendered import Documents

PASSWORDS = {"root-password": "Root.1", "openmrs-password": "It's \\ a-Canary.2", "monitor-password": "Monitor_3"}

# What the script finds when the image's entry point sources it.
ENTRY_POINT = r"""
set -eo pipefail
docker_sql_escape_string_literal() { local s=${1//\\/\\\\}; printf '%s' "${s//\'/\\\'}"; }
docker_process_sql() { "$CLIENT" --no-defaults --user=root --socket="$SOCKET" "$@"; }
. "$SCRIPT"
"""


@dataclass
class Server:
    """A running server."""

    folder: Path
    port: int
    configuration: Path

    @property
    def socket(self) -> Path:
        return self.folder / "socket"

    def sql(self, statement: str, *options: str, user: str = "root", password: str = "") -> str:
        """Run a statement; AssertionError with the server's answer when it refuses."""
        done = subprocess.run(
            [
                daemon("mariadbd").program("mariadb"),
                "--no-defaults",
                f"--user={user}",
                *options,
                "-BN",
                "-e",
                statement,
            ],
            env={**daemon("mariadbd").environment, "MYSQL_PWD": password},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def root(self, statement: str) -> str:
        return self.sql(statement, f"--socket={self.socket}")

    def over_tcp(self, statement: str, user: str, *options: str) -> str:
        """As a client inside the cluster connects."""
        connection = ["--host=127.0.0.1", f"--port={self.port}", "--protocol=tcp", *options]
        return self.sql(statement, *connection, user=user, password=PASSWORDS[f"{user}-password"])

    def tls(self, *more: str) -> list[str]:
        return [f"--ssl-ca={self.folder / 'tls' / 'ca.crt'}", *more]


@pytest.fixture(scope="module")
def manifests(rendered: Callable[[str], Documents]) -> Manifests:
    return rendered("production")["kubernetes"]


def localize(text: str, folder: Path) -> str:
    """The container's paths on this machine."""
    return text.replace("/run/mariadb-tls", str(folder / "tls")).replace(
        "/run/secrets/mariadb", str(folder / "passwords")
    )


def write_inputs(manifests: Manifests, folder: Path) -> Path:
    for part in ("tls", "passwords", "data"):
        (folder / part).mkdir()
    for name, password in PASSWORDS.items():
        (folder / "passwords" / name).write_text(password)
    now, key, authority_key = dt.datetime.now(dt.UTC), certificates.signing_key(), certificates.signing_key()
    authority = certificates.certificate_authority(key_pem=authority_key, common_name="ca", validity_days=1, now=now)
    certificate = certificates.issue_certificate(
        key_pem=key,
        issuer_key_pem=authority_key,
        issuer_certificate_pem=authority,
        common_name="mariadb",
        dns_names=["mariadb.mariadb.svc", "127.0.0.1"],
        validity_days=1,
        now=now,
    )
    for name, content in {"ca.crt": authority, "tls.crt": certificate, "tls.key": key}.items():
        (folder / "tls" / name).write_text(content)
    settings = str(find(manifests, "ConfigMap", "mariadb-configuration")["data"]["platform.cnf"])
    file = folder / "platform.cnf"
    file.write_text(localize(settings, folder))
    return file


def options_of(folder: Path, port: int) -> list[str]:
    """What the image and this machine add to the configuration; less memory than in production."""
    share = next(path for path in (daemon("mariadbd").root / "usr/share").glob("m*/english") if path.is_dir())
    found = [f"--datadir={folder / 'data'}", f"--socket={folder / 'socket'}", f"--pid-file={folder / 'pid'}"]
    found += [f"--lc-messages-dir={share.parent}", "--bind-address=127.0.0.1", f"--port={port}", f"--tmpdir={folder}"]
    found += ["--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M", "--plugin-dir=/nonexistent"]
    return [*found, "--user=root"] if os.geteuid() == 0 else found


@contextlib.contextmanager
def running(manifests: Manifests, port: int) -> Iterator[Server]:
    # A socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="mariadb-"))
    try:
        server = Server(folder, port, write_inputs(manifests, folder))
        program, environment = daemon("mariadbd").program("mariadbd"), daemon("mariadbd").environment
        options = options_of(folder, port)
        bootstrap(folder, options, environment)
        command = [program, f"--defaults-file={server.configuration}", *options]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            try:
                await_server(server, process)
                yield server
            finally:
                process.terminate()
                process.wait(timeout=60)
    finally:
        shutil.rmtree(folder)


def bootstrap(folder: Path, options: list[str], environment: dict[str, str]) -> None:
    """Make the system tables, as the image's entry point does on an empty directory."""
    shared = next((daemon("mariadbd").root / "usr/share").glob("m*/mysql_system_tables.sql")).parent
    scripts = (
        "mysql_system_tables.sql",
        "mysql_performance_tables.sql",
        "mysql_system_tables_data.sql",
        "fill_help_tables.sql",
    )
    statements = "CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\n"
    statements += "\n".join((shared / name).read_text(errors="replace") for name in scripts)
    done = subprocess.run(
        [daemon("mariadbd").program("mariadbd"), "--no-defaults", *options, "--bootstrap", "--skip-log-bin"],
        input=statements,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def await_server(server: Server, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        with contextlib.suppress(AssertionError):
            server.root("SELECT 1")
            return
        assert process.poll() is None, (server.folder / "log").read_text()[-3000:]
        time.sleep(0.1)
    raise AssertionError((server.folder / "log").read_text()[-3000:])


def first_start(manifests: Manifests, server: Server) -> subprocess.CompletedProcess[str]:
    script = server.folder / "users.sh"
    script.write_text(
        localize(str(find(manifests, "ConfigMap", "mariadb-first-start")["data"]["users.sh"]), server.folder)
    )
    variables = {"CLIENT": daemon("mariadbd").program("mariadb"), "SOCKET": str(server.socket), "SCRIPT": str(script)}
    return subprocess.run(
        ["/bin/bash", "-c", ENTRY_POINT],
        env={**daemon("mariadbd").environment, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture(scope="module")
def server(manifests: Manifests, free_port: Callable[[], int]) -> Iterator[Server]:
    """A server after its first start."""
    with running(manifests, free_port()) as found:
        found.root("CREATE DATABASE openmrs; CREATE DATABASE other; CREATE TABLE openmrs.patient (name TEXT)")
        done = first_start(manifests, found)
        assert done.returncode == 0, done.stderr
        yield found


def test_every_setting_is_understood_and_in_force(server: Server, manifests: Manifests) -> None:
    shown = dict(line.split("\t", 1) for line in server.root("SHOW GLOBAL VARIABLES").splitlines())
    settings = str(find(manifests, "ConfigMap", "mariadb-configuration")["data"]["platform.cnf"])
    section = settings.partition("[mariadbd]")[2].partition("[")[0]
    lines = [line.split(" = ", 1) for line in section.splitlines() if " = " in line]
    assert len(lines) >= 20
    scaled = {"innodb_buffer_pool_size", "innodb_log_file_size"}  # smaller in this test
    special = {"log_bin": "ON"}
    for name, value in lines:
        wanted = special.get(name, localize(value, server.folder))
        units = {"K": 2**10, "M": 2**20, "G": 2**30}
        if wanted[:-1].isdigit() and wanted[-1] in units:
            wanted = str(int(wanted[:-1]) * units[wanted[-1]])
        if name not in scaled:
            assert shown[name] == wanted, name
    log = (server.folder / "log").read_text()
    assert "[ERROR]" not in log
    assert shown["have_ssl"] == "YES"


def test_clear_text_is_refused(server: Server) -> None:
    for user in ("openmrs", "monitor"):
        with pytest.raises(AssertionError, match=r"insecure transport|Access denied"):
            server.over_tcp("SELECT 1", user, "--skip-ssl")
        assert server.over_tcp("SELECT 1", user, *server.tls("--ssl-verify-server-cert")) == "1\n"


def test_the_health_checks_client_speaks_tls_by_configuration(server: Server) -> None:
    """The image's healthcheck.sh runs the client over TCP and gives it no TLS option of its own."""
    done = subprocess.run(
        [
            daemon("mariadbd").program("mariadb"),
            f"--defaults-file={server.configuration}",
            *("--protocol=tcp", "--host=127.0.0.1", f"--port={server.port}", "--user=monitor", "-BN"),
            *(
                "-e",
                "SELECT variable_value <> '' FROM information_schema.session_status WHERE variable_name='ssl_cipher'",
            ),
        ],
        env={**daemon("mariadbd").environment, "MYSQL_PWD": PASSWORDS["monitor-password"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.stdout == "1\n", done.stderr


def test_root_is_refused_over_the_network(server: Server) -> None:
    hosts = server.root("SELECT host FROM mysql.global_priv WHERE user = 'root'").split()
    assert set(hosts) <= {"localhost", "127.0.0.1", "::1", os.uname().nodename.lower()}
    assert "%" not in hosts


def test_the_application_owns_its_database_and_nothing_else(server: Server) -> None:
    tls = server.tls()
    ours = "CREATE TABLE openmrs.t (i INT); CREATE INDEX x ON openmrs.t (i); INSERT INTO openmrs.t VALUES (1);"
    ours += (
        "CREATE FUNCTION openmrs.f() RETURNS INT DETERMINISTIC RETURN 1; SELECT openmrs.f(); DROP FUNCTION openmrs.f;"
    )
    ours += "CREATE TRIGGER openmrs.g BEFORE INSERT ON openmrs.t FOR EACH ROW SET NEW.i = 2; DROP TABLE openmrs.t"
    assert server.over_tcp(ours, "openmrs", *tls) == "1\n"
    for theirs in (
        "CREATE TABLE other.t (i INT)",
        "SELECT * FROM mysql.global_priv",
        "CREATE USER x",
        "GRANT SELECT ON openmrs.* TO monitor",
        "SHOW BINARY LOGS",
        "SELECT * FROM openmrs.patient INTO OUTFILE '/tmp/x'",
        "SET GLOBAL require_secure_transport = OFF",
    ):
        with pytest.raises(AssertionError, match=r"denied"):
            server.over_tcp(theirs, "openmrs", *tls)


def test_the_monitor_sees_the_state_and_no_patient(server: Server) -> None:
    tls = server.tls()
    for allowed in (
        "SHOW GLOBAL STATUS",
        "SHOW BINARY LOGS",
        "SHOW PROCESSLIST",
        "SELECT * FROM performance_schema.threads",
    ):
        assert server.over_tcp(allowed, "monitor", *tls)
    for refused in (
        "SELECT * FROM openmrs.patient",
        "SELECT * FROM mysql.global_priv",
        "SHUTDOWN",
        "CREATE DATABASE x",
    ):
        with pytest.raises(AssertionError, match="denied"):
            server.over_tcp(refused, "monitor", *tls)


def test_no_password_is_in_the_log_of_changes(server: Server) -> None:
    server.root("FLUSH LOGS")
    logs = b"".join(path.read_bytes() for path in (server.folder / "data").glob("mariadb-bin.0*"))
    assert b"openmrs" in logs
    assert not any(password.encode() in logs for password in PASSWORDS.values())


def test_an_empty_password_stops_the_first_start(manifests: Manifests, free_port: Callable[[], int]) -> None:
    with running(manifests, free_port()) as fresh:
        (fresh.folder / "passwords" / "openmrs-password").write_text("")
        assert first_start(manifests, fresh).returncode != 0
        assert fresh.root("SELECT count(*) FROM mysql.global_priv WHERE user IN ('openmrs', 'monitor')") == "0\n"


@pytest.mark.sabotage
def test_users_made_with_the_log_on_are_noticed(manifests: Manifests, free_port: Callable[[], int]) -> None:
    script = find(manifests, "ConfigMap", "mariadb-first-start")
    script["data"]["users.sh"] = script["data"]["users.sh"].replace("SET SESSION sql_log_bin = 0;", "")
    with running(manifests, free_port()) as weakened:
        weakened.root("CREATE DATABASE openmrs")
        assert first_start([script], weakened).returncode == 0
        with pytest.raises(AssertionError):
            test_no_password_is_in_the_log_of_changes(weakened)


@pytest.mark.sabotage
def test_a_server_that_takes_clear_text_is_noticed(manifests: Manifests, free_port: Callable[[], int]) -> None:
    text = find(manifests, "ConfigMap", "mariadb-configuration")
    text["data"]["platform.cnf"] = text["data"]["platform.cnf"].replace("require_secure_transport = ON", "")
    script = find(manifests, "ConfigMap", "mariadb-first-start")
    script["data"]["users.sh"] = script["data"]["users.sh"].replace("REQUIRE SSL", "")
    with running([text, script], free_port()) as weakened:
        weakened.root("CREATE DATABASE openmrs")
        assert first_start([text, script], weakened).returncode == 0
        with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
            test_clear_text_is_refused(weakened)
