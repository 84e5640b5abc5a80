"""A real MariaDB reads the role's configuration, runs its first-start script and is attacked through its users."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.contract.conftest import Manifests, find
from tests.contract.debian import daemon
from tests.contract.mariadb import PASSWORDS, Server, localize, running
from tests.contract.rendered import Documents

# What the script finds when the image's entry point sources it.
ENTRY_POINT = r"""
set -eo pipefail
docker_sql_escape_string_literal() { local s=${1//\\/\\\\}; printf '%s' "${s//\'/\\\'}"; }
docker_process_sql() { "$CLIENT" --no-defaults --user=root --socket="$SOCKET" "$@"; }
. "$SCRIPT"
"""


@pytest.fixture(scope="module")
def manifests(rendered: Callable[[str], Documents]) -> Manifests:
    return rendered("production")["kubernetes"]


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
    special = {"log_bin": "ON", "secure_file_priv": "/tmp/"}
    shown |= {"symbolic_links": {"DISABLED": "OFF"}[shown["have_symlink"]]}
    plugins = {"plugin_load_add", "server_audit"}
    for name, value in lines:
        if name in plugins:
            continue
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
    with pytest.raises(AssertionError, match=r"insecure transport|Access denied"):
        server.over_tcp("SELECT 1", "openmrs", "--skip-ssl")
    assert server.over_tcp("SELECT 1", "openmrs", *server.tls("--ssl-verify-server-cert")) == "1\n"


def test_the_health_checks_client_speaks_tls_by_configuration(server: Server) -> None:
    """The image's healthcheck.sh runs the client over TCP and gives it no TLS option of its own."""
    done = subprocess.run(
        [
            daemon("mariadbd").program("mariadb"),
            f"--defaults-file={server.configuration}",
            *("--protocol=tcp", "--host=127.0.0.1", f"--port={server.port}", "--user=openmrs", "-BN"),
            *(
                "-e",
                "SELECT variable_value <> '' FROM information_schema.session_status WHERE variable_name='ssl_cipher'",
            ),
        ],
        env={**daemon("mariadbd").environment, "MYSQL_PWD": PASSWORDS["openmrs-password"]},
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
        "GRANT SELECT ON openmrs.* TO mysql@localhost",
        "SHOW BINARY LOGS",
        "SELECT * FROM openmrs.patient INTO OUTFILE '/tmp/x'",
        "SET GLOBAL require_secure_transport = OFF",
    ):
        with pytest.raises(AssertionError, match=r"denied"):
            server.over_tcp(theirs, "openmrs", *tls)


def test_no_password_is_in_the_log_of_changes(server: Server) -> None:
    server.root("FLUSH LOGS")
    logs = b"".join(path.read_bytes() for path in (server.folder / "data").glob("mariadb-bin.0*"))
    assert b"openmrs" in logs
    assert not any(password.split()[-1].encode() in logs for password in PASSWORDS.values())  # quotes are escaped


def test_an_empty_password_stops_the_first_start(manifests: Manifests, free_port: Callable[[], int]) -> None:
    with running(manifests, free_port()) as fresh:
        (fresh.folder / "passwords" / "openmrs-password").write_text("")
        assert first_start(manifests, fresh).returncode != 0
        assert fresh.root("SELECT count(*) FROM mysql.global_priv WHERE user IN ('openmrs', 'mysql')") == "0\n"


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
