"""The chart's lock doctor against a real MariaDB, and in the start sequence of the stand-in."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contract.conftest import Manifests, find
from tests.contract.debian import daemon
from tests.contract.stand_in import ADMIN, PASSWORD, Backend, Database, database, prepared, until

LOCK = """
CREATE TABLE openmrs.liquibasechangeloglock
  (id INT PRIMARY KEY, locked TINYINT(1), lockgranted DATETIME, lockedby VARCHAR(255));
INSERT INTO openmrs.liquibasechangeloglock VALUES (1, 1, '2026-01-02 03:04:05', 'openmrs-backend-0 (10.1.2.3)')
"""
# Longer than the doctor takes to look twice.
A_WHILE = 6.0
SESSIONS = "FROM information_schema.processlist WHERE user = 'openmrs' AND info LIKE '%SLEEP%'"


@pytest.fixture(scope="module")
def running_server() -> Iterator[Database]:
    with database() as found:
        yield found


@pytest.fixture
def server(running_server: Database) -> Database:
    running_server.empty()
    return running_server


@dataclass
class Doctor:
    """The sidecar, with the files of its pod below a folder."""

    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def exchange(self) -> Path:
        return self.folder / "exchange"

    @property
    def log(self) -> str:
        return (self.folder / "doctor.log").read_text()

    def ask(self, question: str) -> None:
        (self.exchange / "question").write_text(f"{question}\n")

    def answered(self, question: str) -> bool:
        assert self.process.poll() is None, self.log
        answer = self.exchange / "answer"
        return answer.exists() and answer.read_text().strip() == question


def localize(script: str, folder: Path, authority: Path) -> str:
    """A script of the chart with the pod's paths replaced by this machine's."""
    places = {
        "/run/openmrs-ca/ca.crt": authority,
        "/run/secrets/database": folder / "secrets",
        "/run/secrets/openmrs": folder / "secrets",
        "/run/lock-doctor": folder / "exchange",
    }
    for path, here in places.items():
        script = script.replace(path, str(here))
    return script


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("exchange", "secrets"):
        (tmp_path / name).mkdir()
    (tmp_path / "secrets" / "database-password").write_text(PASSWORD)
    (tmp_path / "secrets" / "admin-password").write_text(ADMIN[1])
    return tmp_path


@pytest.fixture
def doctor_script(chart: Manifests) -> str:
    return str(find(chart, "ConfigMap", "openmrs-backend")["data"]["lock-doctor.sh"])


@contextlib.contextmanager
def doctor(script: str, server: Database, folder: Path, authority: Path | None = None) -> Iterator[Doctor]:
    file = folder / "lock-doctor.sh"
    file.write_text(localize(script, folder, authority or server.authority))
    client = daemon("mariadbd")
    with (folder / "doctor.log").open("w") as log:
        process = subprocess.Popen(
            ["/bin/bash", file],
            env={
                **client.environment,
                "PATH": f"{Path(client.program('mariadb')).parent}:{os.environ['PATH']}",
                "DATABASE_HOST": "localhost",
                "DATABASE_PORT": f"{server.port}",
                "DATABASE_NAME": "openmrs",
                "DATABASE_USER": "openmrs",
            },
            stdout=log,
            stderr=log,
        )
    try:
        yield Doctor(folder, process)
    finally:
        process.kill()
        process.wait(timeout=30)


@contextlib.contextmanager
def session(server: Database, statement: str = "SELECT SLEEP(600)") -> Iterator[subprocess.Popen[bytes]]:
    """A session of the application's user, as the migration holds one."""
    client = daemon("mariadbd")
    options = ["--protocol=tcp", "--host=localhost", f"--port={server.port}", "--user=openmrs"]
    process = subprocess.Popen(
        [client.program("mariadb"), "--no-defaults", *options, f"--ssl-ca={server.authority}", "-e", statement],
        env={**client.environment, "MYSQL_PWD": PASSWORD},
    )
    try:
        until(lambda: sessions(server) > 0, "the session is there")
        yield process
    finally:
        process.kill()
        process.wait(timeout=30)
        server.root("SELECT 1")


def end_sessions(server: Database) -> None:
    for session_id in server.root(f"SELECT id {SESSIONS}").split():
        server.root(f"KILL {session_id}")


def sessions(server: Database) -> int:
    return int(server.root(f"SELECT count(*) {SESSIONS}"))


def test_without_a_lock_the_answer_comes_at_once(doctor_script: str, server: Database, folder: Path) -> None:
    with doctor(doctor_script, server, folder) as found:
        found.ask("first")
        until(lambda: found.answered("first"), "an answer on an empty database", 30)
        server.root(LOCK)
        server.root("UPDATE openmrs.liquibasechangeloglock SET locked = 0")
        # The container was started again: the same doctor is asked anew.
        found.ask("second")
        until(lambda: found.answered("second"), "an answer to the second start", 30)
        assert "Cleared" not in found.log
        found.process.terminate()
        assert found.process.wait(timeout=10) == 0


def test_a_lock_whose_holder_is_gone_is_cleared(doctor_script: str, server: Database, folder: Path) -> None:
    server.root(LOCK)
    with doctor(doctor_script, server, folder) as found:
        time.sleep(A_WHILE / 2)
        assert server.locked(), "nobody had asked"
        found.ask("start")
        until(lambda: found.answered("start"), "an answer", 30)
        assert not server.locked()
        assert "openmrs-backend-0 (10.1.2.3) since 2026-01-02 03:04:05" in found.log
        assert PASSWORD not in found.log


def test_a_lock_held_by_a_live_session_stays(doctor_script: str, server: Database, folder: Path) -> None:
    server.root(LOCK)
    with doctor(doctor_script, server, folder) as found:
        with session(server):
            found.ask("start")
            until(lambda: "are alive" in found.log, "it says why it waits", 30)
            time.sleep(A_WHILE)
            assert server.locked()
            assert not found.answered("start")
        end_sessions(server)
        until(lambda: found.answered("start"), "an answer once the session is gone", 30)
        assert not server.locked()


def test_a_statement_that_outlives_its_client_is_waited_for(doctor_script: str, server: Database, folder: Path) -> None:
    server.root(LOCK)
    with doctor(doctor_script, server, folder) as found:
        with session(server, "SELECT SLEEP(8)") as client:
            client.kill()
            client.wait()
            found.ask("start")
            until(lambda: "are alive" in found.log, "it says why it waits", 30)
            assert server.locked()
        until(lambda: found.answered("start"), "an answer once the statement is through", 40)
        assert sessions(server) == 0


def test_sessions_of_others_do_not_count(doctor_script: str, server: Database, folder: Path) -> None:
    server.root(LOCK)
    client = [
        daemon("mariadbd").program("mariadb"),
        "--no-defaults",
        "--user=root",
        f"--socket={server.folder / 'socket'}",
    ]
    other = subprocess.Popen([*client, "-e", "SELECT SLEEP(60)"], env=daemon("mariadbd").environment)
    try:
        with doctor(doctor_script, server, folder) as found:
            found.ask("start")
            until(lambda: found.answered("start"), "an answer", 30)
            assert not server.locked()
    finally:
        other.kill()
        other.wait()


def test_a_server_that_is_not_the_right_one_gets_no_password_and_gives_no_answer(
    doctor_script: str, server: Database, folder: Path
) -> None:
    server.root(LOCK)
    with doctor(doctor_script, server, folder, server.folder / "other-ca.crt") as found:
        found.ask("start")
        until(lambda: "does not answer" in found.log, "it says what it waits for", 30)
        time.sleep(A_WHILE)
        assert not found.answered("start")
        assert server.locked()


@pytest.mark.sabotage
@pytest.mark.soak
def test_a_doctor_that_does_not_look_for_the_holder_is_noticed(
    doctor_script: str, server: Database, folder: Path
) -> None:
    careless = doctor_script.replace("AND NOT EXISTS (SELECT 1 $others)", "")
    assert careless != doctor_script
    with pytest.raises(AssertionError):
        test_a_lock_held_by_a_live_session_stays(careless, server, folder)


# --- with the stand-in -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("stand-in") / "1", 1)


def make_pod(content: Path, server: Database, volume: Path, pause: int) -> Backend:
    environment = {
        "OMRS_DB": "mariadb",
        "OMRS_DB_HOSTNAME": "localhost",
        "OMRS_DB_PORT": str(server.port),
        "OMRS_DB_URL": server.url(),
        "OMRS_DB_USERNAME": "openmrs",
        "OMRS_EXTRA_STAND__IN_PAUSE": str(pause),
        "OMRS_JAVA_SERVER_OPTS": "-Dliquibase.changelogLockWaitTimeInMinutes=0",
    }
    volume.mkdir(exist_ok=True)
    return Backend(content, volume, environment)


def chart_start(chart: Manifests, folder: Path, server: Database) -> Callable[[Backend], list[str]]:
    script = localize(str(find(chart, "ConfigMap", "openmrs-backend")["data"]["start.sh"]), folder, server.authority)
    file = folder / "start.sh"
    file.write_text(script.replace("exec /openmrs/startup.sh", 'exec "$OMRS_HOME/startup.sh"'))
    return lambda _backend: ["/bin/bash", str(file)]


def recover(chart: Manifests, script: str, server: Database, folder: Path, content: Path) -> None:
    """Kill the backend inside its first migration, start its container again as kubelet does, and write a patient."""
    start = chart_start(chart, folder, server)
    with doctor(script, server, folder):
        first = make_pod(content, server, folder / "volume", pause=2)
        with first.running(start(first)):
            until(lambda: server.locked() and int(server.root(COUNT)) >= 1, "the migration is under way")
            first.kill()
        assert server.locked()
        second = make_pod(content, server, folder / "volume", pause=0)
        with second.running(start(second)):
            second.await_start()
            second.create_patient("Recovered")
            assert PASSWORD not in second.log
            assert ADMIN[1] not in second.log


COUNT = "SELECT count(*) FROM openmrs.liquibasechangelog"


def test_a_backend_killed_inside_its_first_migration_recovers(
    chart: Manifests, doctor_script: str, server: Database, folder: Path, content: Path
) -> None:
    recover(chart, doctor_script, server, folder, content)


@pytest.mark.sabotage
@pytest.mark.soak
def test_with_the_lock_ignored_it_does_not(
    chart: Manifests, doctor_script: str, server: Database, folder: Path, content: Path
) -> None:
    ignorant = doctor_script.replace("      examine\n", "      :\n")
    assert ignorant != doctor_script
    with pytest.raises(AssertionError, match="Could not acquire change log lock"):
        recover(chart, ignorant, server, folder, content)
