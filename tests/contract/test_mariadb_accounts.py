"""The accounts of the role, converged on a real MariaDB by the engine of the module, and attacked through them."""

from __future__ import annotations

import copy
import getpass
import re
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import OutcomeError, PlanMismatch
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.redaction import Redactor
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.report import Report
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.accounts_runner import (
    AccountsRunner,
    Options,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.errors import MariaDBError
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.options import accounts_spec
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.pods import Pod
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.runner import Server as Asked
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.session import Login, Session

from tests.contract.conftest import Manifests
from tests.contract.debian import daemon
from tests.contract.mariadb import PASSWORDS, LocalTransport, Server, running, write_certificates
from tests.contract.rendered import Documents

Entries = list[dict[str, Any]]

ME = getpass.getuser()
LEFT_ALONE: list[str] = accounts_spec()["left_alone"]["default"]


def complete(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry as the module's option parser hands it on."""
    return {"host": "%", "plugin": "mysql_native_password", "require": "ssl", "limits": {}, "grants": [], **entry}


@pytest.fixture(scope="module")
def documents(rendered: Callable[[str], Documents]) -> Documents:
    return rendered("production")


@pytest.fixture(scope="module")
def manifests(documents: Documents) -> Manifests:
    return documents["kubernetes"]


@pytest.fixture
def accounts(documents: Documents) -> Entries:
    return accounts_here(documents)


def accounts_here(documents: Documents) -> Entries:
    """The role's accounts; this machine's user takes the place of the container's."""
    entries = [complete(entry) for entry in copy.deepcopy(documents["mariadb_accounts"])]
    for entry in entries:
        if entry["plugin"] == "unix_socket":
            entry["user"] = ME
    # As root this machine's user is the account that has a password in the container.
    return [entry for entry in entries if ME != "root" or entry["user"] != "root" or entry["plugin"] == "unix_socket"]


@pytest.fixture(scope="module")
def started(manifests: Manifests, free_port: Callable[[], int]) -> Iterator[Server]:
    with running(manifests, free_port()) as found:
        yield found


@pytest.fixture
def server(started: Server, accounts: Entries) -> Server:
    """A server whose accounts are as declared."""
    converge(started, accounts, remove=True)
    started.root("CREATE TABLE IF NOT EXISTS openmrs.patient (name TEXT); CREATE DATABASE IF NOT EXISTS other")
    return started


def passwords_of(entries: Entries, **changed: str) -> dict[str, str | None]:
    return {
        f"{entry['user']}@{entry['host']}": {**PASSWORDS, **changed}[f"{entry['user']}-password"]
        for entry in entries
        if entry["plugin"] != "unix_socket"
    }


def converge(
    server: Server,
    entries: Entries,
    *,
    remove: bool = False,
    passwords: dict[str, str | None] | None = None,
    login: Login | None = None,
    transport: LocalTransport | None = None,
    certificate: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """One run of the engine, as the module makes it."""
    login = login or server.login(ME)
    session = Session(transport or LocalTransport(server), login, where="Pod/mariadb/mariadb-0")
    pod = Pod(namespace="mariadb", name="mariadb-0")
    runner = AccountsRunner(
        servers=lambda: [Asked(pod=pod, session=session)],
        report=Report(redactor=Redactor(b"key of the tests")),
        **options,
    )
    wanted = Options(
        databases=("openmrs",),
        left_alone=tuple(LEFT_ALONE),
        remove=remove,
        certificate_file=str(server.folder / "tls" / "tls.crt") if certificate else "",
    )
    return runner.run(entries, passwords if passwords is not None else passwords_of(entries), wanted)


def places(result: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {(f["resource"].rpartition("mariadb-0/")[2], f["path"], f["verdict"]) for f in result["findings"]}


def test_a_second_run_finds_nothing(server: Server, accounts: Entries) -> None:
    again = converge(server, accounts)
    assert (again["changed"], again["findings"], again["plan"]) == (False, [], [])
    hashes = server.root("SELECT json_value(Priv, '$.authentication_string') FROM mysql.global_priv")
    assert not any(value in str(again) for value in hashes.split() if value.startswith("*"))
    assert len(again["resources"]) >= len(accounts)


def test_a_changed_grant_is_found_and_corrected(server: Server, accounts: Entries) -> None:
    server.root("GRANT FILE ON *.* TO openmrs@'%'; GRANT SELECT ON other.* TO openmrs@'%' WITH GRANT OPTION")
    server.root("REVOKE INSERT ON openmrs.* FROM openmrs@'%'; GRANT SELECT (name) ON openmrs.patient TO monitor@'%'")
    predicted = converge(server, accounts, check=True)
    assert places(predicted) == {
        ("openmrs@%", "grants[*.*]", "drift"),
        ("openmrs@%", "grants[other.*]", "drift"),
        ("openmrs@%", "grants[openmrs.*]", "drift"),
        ("monitor@%", "grants[openmrs.patient]", "drift"),
    }
    assert "FILE" in server.root("SHOW GRANTS FOR openmrs@'%'"), "check mode wrote"
    done = converge(server, accounts, expect_plan=predicted["plan_digest"])
    assert done["plan"] == predicted["plan"]
    assert not converge(server, accounts, check=True)["findings"]


def test_a_changed_login_is_found_and_corrected(server: Server, accounts: Entries) -> None:
    server.root("ALTER USER openmrs@'%' IDENTIFIED BY 'theirs' REQUIRE NONE; ALTER USER monitor@'%' ACCOUNT LOCK")
    server.root("ALTER USER monitor@'%' WITH MAX_USER_CONNECTIONS 0; ALTER USER backup@'%' IDENTIFIED VIA unix_socket")
    done = converge(server, accounts)
    assert places(done) == {
        ("openmrs@%", "authentication.password", "drift"),
        ("openmrs@%", "require", "drift"),
        ("monitor@%", "locked", "drift"),
        ("monitor@%", "limits.max_user_connections", "drift"),
        ("backup@%", "authentication.plugin", "drift"),
        ("backup@%", "authentication.password", "drift"),
    }
    for user in ("openmrs", "monitor", "backup"):
        assert server.over_tcp("SELECT 1", user, *server.tls()) == "1\n"
        with pytest.raises(AssertionError, match=r"insecure transport|Access denied"):
            server.over_tcp("SELECT 1", user, "--skip-ssl")


def test_a_new_password_of_the_vault_reaches_the_server_and_no_log(server: Server, accounts: Entries) -> None:
    canary = "New-Canary.77"
    changed = {**passwords_of(accounts), "openmrs@%": canary}
    done = converge(server, accounts, passwords=changed)
    assert places(done) == {("openmrs@%", "authentication.password", "drift")}
    assert canary not in str(done)
    assert re.fullmatch(r"<secret [0-9a-f]{12}>", done["findings"][0]["desired"])
    assert server.sql("SELECT 1", "--protocol=tcp", "--host=127.0.0.1", f"--port={server.port}", user="openmrs",
                      password=canary) == "1\n"  # fmt: skip
    server.root("FLUSH LOGS")
    files = [*(server.folder / "data").glob("mariadb-bin.0*"), *(server.folder / "data").glob("audit.log*")]
    assert files
    assert not any(canary.encode() in path.read_bytes() for path in files)
    converge(server, accounts)


def test_a_stranger_is_reported_and_removed_only_on_request(server: Server, accounts: Entries) -> None:
    server.root("CREATE USER eve@'%' IDENTIFIED BY 'x'; GRANT SUPER ON *.* TO eve@'%'; CREATE USER ''@'10.%'")
    server.root("CREATE ROLE boss; CREATE USER healthcheck@localhost IDENTIFIED BY 'y'")
    done = converge(server, accounts)
    assert (done["changed"], done["plan"]) == (False, [])
    assert places(done) == {("eve@%", "", "unexpected"), ("@10.%", "", "unexpected"), ("boss", "", "unexpected")}
    messages = {f["resource"]: f["message"] for f in done["findings"]}
    assert "administers the server from the network" in messages["MariaDBAccount/mariadb/mariadb-0/eve@%"]
    assert "anybody may log in" in messages["MariaDBAccount/mariadb/mariadb-0/@10.%"]
    removed = converge(server, accounts, remove=True)
    assert [action["action"] for action in removed["plan"]] == ["delete"] * 3
    left = server.root("SELECT user FROM mysql.global_priv").split()
    assert {"healthcheck", "mariadb.sys"} <= set(left)
    assert not {"eve", "boss"} & set(left)
    server.root("DROP USER healthcheck@localhost")


def test_what_no_connection_can_match_is_still_seen(server: Server, accounts: Entries) -> None:
    server.root("CREATE USER root@elsewhere; GRANT ALL ON *.* TO root@elsewhere")
    assert places(converge(server, accounts)) == {("root@elsewhere", "", "unexpected")}
    converge(server, accounts, remove=True)
    assert not converge(server, accounts)["findings"]


def test_an_approved_plan_is_all_that_is_done(server: Server, accounts: Entries) -> None:
    server.root("GRANT FILE ON *.* TO openmrs@'%'")
    approved = converge(server, accounts, check=True)["plan_digest"]
    server.root("GRANT FILE ON *.* TO monitor@'%'")
    with pytest.raises(OutcomeError, match="the approved one was") as caught:
        converge(server, accounts, expect_plan=approved)
    assert isinstance(caught.value.__cause__, PlanMismatch)
    assert caught.value.outcome["changed"] is False
    assert "FILE" in server.root("SHOW GRANTS FOR openmrs@'%'")
    converge(server, accounts)


class Interrupted(LocalTransport):
    """The connection is lost before the n-th script that writes."""

    after = 0

    def run(self, command: Any, stdin: str, *, timeout: float) -> Any:
        if "sql_log_bin" in stdin:
            self.after -= 1
            if self.after < 0:
                raise MariaDBError("the connection was lost")
        return super().run(command, stdin, timeout=timeout)


@pytest.mark.parametrize("after", [0, 1, 3])
def test_the_next_run_completes_an_interrupted_one(server: Server, accounts: Entries, after: int) -> None:
    server.root("DROP USER openmrs@'%', monitor@'%', backup@'%', audit@'%'; DROP DATABASE openmrs")
    transport = Interrupted(server)
    transport.after = after
    with pytest.raises(OutcomeError, match="connection was lost") as caught:
        converge(server, accounts, transport=transport)
    assert len(caught.value.outcome["plan"]) == 5
    assert len(converge(server, accounts)["plan"]) == 5 - after
    assert not converge(server, accounts)["findings"]


def test_an_account_without_its_grants_is_completed(server: Server, accounts: Entries) -> None:
    """Cut between CREATE USER and GRANT."""
    server.root("DROP USER openmrs@'%'; CREATE USER openmrs@'%' IDENTIFIED BY 'x'")
    converge(server, accounts)
    assert not converge(server, accounts)["findings"]


def test_a_first_start_that_was_cut_short_is_repaired(
    manifests: Manifests, accounts: Entries, free_port: Callable[[], int]
) -> None:
    """What the image leaves when its first start is killed: system tables, and root without a password."""
    administrator = "nobody-here"
    declared = [{**entry, "user": administrator} if entry["user"] == ME else entry for entry in accounts]
    grants = [{"on": "*.*", "privileges": ["ALL"], "grant_option": True}]
    if not any(entry["user"] == "root" for entry in declared):
        declared.insert(0, complete({"user": "root", "host": "localhost", "require": "none", "grants": grants}))
    with running(manifests, free_port()) as fresh:
        login = fresh.login(administrator)
        assert converge(fresh, declared, login=login, remove=True)["changed"]
        assert not converge(fresh, declared, login=login)["findings"]
        assert fresh.over_tcp("SHOW TABLES FROM openmrs", "openmrs", *fresh.tls()) == ""
        # Root needs the password of the file now, and this machine's user is not the administrator's.
        nobody = Login(administrator=administrator, socket=str(fresh.socket))
        told = converge(fresh, declared, login=nobody, check=True)
        assert [finding["verdict"] for finding in told["findings"]] == ["not_verifiable"]
        with pytest.raises(OutcomeError, match="neither nobody-here nor root may log in"):
            converge(fresh, declared, login=nobody, must_exist=True)


def test_nothing_is_in_an_argument(server: Server, accounts: Entries) -> None:
    seen: list[str] = []

    class Watched(LocalTransport):
        def run(self, command: Any, stdin: str, *, timeout: float) -> Any:
            seen.extend(command)
            return super().run(command, stdin, timeout=timeout)

    server.root("DROP USER openmrs@'%'")
    converge(server, accounts, transport=Watched(server))
    assert seen
    assert not any("*" in word or any(p in word for p in PASSWORDS.values()) for word in seen)


def test_a_renewed_certificate_is_served_without_a_restart(server: Server, accounts: Entries) -> None:
    assert not converge(server, accounts, certificate=True)["findings"]
    write_certificates(server.folder, validity_days=2)
    predicted = converge(server, accounts, certificate=True, check=True)
    assert [(f["resource"], f["path"], f["verdict"]) for f in predicted["findings"]] == [
        ("MariaDBServer/mariadb/mariadb-0", "certificate.notAfter", "drift")
    ]
    with pytest.raises(AssertionError, match="SSL"):
        server.over_tcp("SELECT 1", "openmrs", *server.tls("--ssl-verify-server-cert"))
    before = server.root("SHOW GLOBAL STATUS LIKE 'Uptime'")
    assert converge(server, accounts, certificate=True)["changed"]
    assert server.over_tcp("SELECT 1", "openmrs", *server.tls("--ssl-verify-server-cert")) == "1\n"
    assert not converge(server, accounts, certificate=True)["findings"]
    assert int(server.root("SHOW GLOBAL STATUS LIKE 'Uptime'").split()[1]) >= int(before.split()[1])


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


def test_the_auditor_reads_rights_and_neither_patients_nor_hashes(server: Server) -> None:
    tls = server.tls()
    assert "openmrs" in server.over_tcp("SELECT user FROM mysql.db", "audit", *tls)
    assert "openmrs" in server.over_tcp("SHOW DATABASES", "audit", *tls)
    for refused in ("SELECT * FROM openmrs.patient", "SELECT * FROM mysql.global_priv", "SELECT * FROM mysql.user"):
        with pytest.raises(AssertionError, match="denied"):
            server.over_tcp(refused, "audit", *tls)


def test_the_backup_reads_everything_and_changes_nothing(server: Server) -> None:
    server.root("INSERT INTO openmrs.patient VALUES ('Backup Canary'); CREATE PROCEDURE openmrs.p() SELECT 1")
    done = subprocess.run(
        [
            *(daemon("mariadbd").program("mariadb-dump"), "--no-defaults", "--user=backup", "--protocol=tcp"),
            *("--host=127.0.0.1", f"--port={server.port}", *server.tls("--ssl-verify-server-cert")),
            *("--single-transaction", "--master-data=2", "--gtid", "--routines", "--events", "--triggers"),
            *("--hex-blob", "--databases", "openmrs"),
        ],
        env={**daemon("mariadbd").environment, "MYSQL_PWD": PASSWORDS["backup-password"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    server.root("DROP PROCEDURE openmrs.p; DELETE FROM openmrs.patient")
    assert done.returncode == 0, done.stderr
    assert "Backup Canary" in done.stdout
    assert "PROCEDURE `p`" in done.stdout
    assert "gtid_slave_pos" in done.stdout
    for refused in ("DROP TABLE openmrs.patient", "INSERT INTO openmrs.patient VALUES ('x')", "CREATE USER x"):
        with pytest.raises(AssertionError, match="denied"):
            server.over_tcp(refused, "backup", *server.tls())


def test_the_audit_log_tells_who_and_what_but_no_patient(server: Server) -> None:
    server.over_tcp("CREATE TABLE openmrs.seen (i INT)", "openmrs", *server.tls())
    server.over_tcp("INSERT INTO openmrs.patient VALUES ('Audit Canary')", "openmrs", *server.tls())
    server.over_tcp("SELECT * FROM openmrs.patient WHERE name = 'Audit Canary'", "openmrs", *server.tls())
    server.root("CREATE USER tmp@localhost; DROP USER tmp@localhost; DROP TABLE openmrs.seen")
    text = (server.folder / "data" / "audit.log").read_text()
    for part in (",CONNECT,", "CREATE TABLE openmrs.seen", "CREATE USER tmp@localhost"):
        assert part in text
    assert "Audit Canary" not in text
    with pytest.raises(AssertionError, match=r"cannot be unloaded|force"):
        server.root("UNINSTALL PLUGIN server_audit")
    server.root("DELETE FROM openmrs.patient")


@pytest.mark.sabotage
def test_an_audit_log_with_patients_in_it_is_noticed(server: Server) -> None:
    server.root("SET GLOBAL server_audit_events = 'CONNECT,QUERY'")
    try:
        with pytest.raises(AssertionError, match="Audit Canary"):
            test_the_audit_log_tells_who_and_what_but_no_patient(server)
    finally:
        server.root("SET GLOBAL server_audit_events = 'CONNECT,QUERY_DDL,QUERY_DCL'; DELETE FROM openmrs.patient")


@pytest.mark.sabotage
def test_a_monitor_who_reads_patients_is_noticed(server: Server, accounts: Entries) -> None:
    """The exporter's own documentation asks for SELECT on everything."""
    weakened = copy.deepcopy(accounts)
    entry = next(entry for entry in weakened if entry["user"] == "monitor")
    entry["grants"].append({"on": "openmrs.*", "privileges": ["SELECT"]})
    converge(server, weakened)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_the_monitor_sees_the_state_and_no_patient(server)
    converge(server, accounts)


@pytest.mark.sabotage
def test_a_check_that_writes_is_noticed(server: Server, accounts: Entries, monkeypatch: pytest.MonkeyPatch) -> None:
    real = AccountsRunner._write

    def write(self: AccountsRunner, writes: Any) -> None:
        self._check = False
        real(self, writes)

    monkeypatch.setattr(AccountsRunner, "_write", write)
    with pytest.raises(AssertionError, match="check mode wrote"):
        test_a_changed_grant_is_found_and_corrected(server, accounts)
