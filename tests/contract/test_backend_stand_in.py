"""The stand-in of the OpenMRS backend keeps the published contract (tests/lab/images/openmrs-backend-stand-in)."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.openmrs.administrator import (
    Administrator,
    OpenMRSError,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.verify.https import Client

from tests.contract.stand_in import ADMIN, PASSWORD, Backend, Database, database, prepared, until

SLOW = {"OMRS_EXTRA_STAND__IN_PAUSE": "2"}
QUICK = {"OMRS_EXTRA_STAND__IN_PAUSE": "0"}
NO_WAIT_FOR_THE_LOCK = {"OMRS_JAVA_SERVER_OPTS": "-Dliquibase.changelogLockWaitTimeInMinutes=0"}


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    folder = tmp_path_factory.mktemp("stand-in")
    known: dict[int, Path] = {}

    def content(version: int) -> Path:
        if version not in known:
            known[version] = prepared(folder / str(version), version)
        return known[version]

    return content


@pytest.fixture(scope="module")
def running_server() -> Iterator[Database]:
    with database() as found:
        yield found


@pytest.fixture
def server(running_server: Database) -> Database:
    """A server whose database is empty."""
    running_server.empty()
    return running_server


@pytest.fixture
def pod(server: Database, contents: Callable[[int], Path], tmp_path: Path) -> Callable[..., Backend]:
    """Make a backend as the chart does; every one of a test has the same volume."""
    (tmp_path / "volume").mkdir()

    def make(version: int = 1, *, password: str = PASSWORD, url: str = "", **more: str) -> Backend:
        environment = {
            "OMRS_DB": "mariadb",
            "OMRS_DB_HOSTNAME": "localhost",
            "OMRS_DB_PORT": str(server.port),
            "OMRS_DB_URL": url or server.url(),
            "OMRS_DB_USERNAME": "openmrs",
            "OMRS_DB_PASSWORD": password,
            "OMRS_EXTRA_CONNECTION_URL": url or server.url(),
            "OMRS_EXTRA_CONNECTION_USERNAME": "openmrs",
            "OMRS_EXTRA_CONNECTION_PASSWORD": password,
            "OMRS_ADMIN_USER_PASSWORD": ADMIN[1],
            **QUICK,
            **more,
        }
        return Backend(contents(version), tmp_path / "volume", environment)

    return make


def runtime_properties(pod: Backend) -> dict[str, str]:
    lines = (pod.volume / "openmrs-runtime.properties").read_text().splitlines()
    return dict(line.replace("\\", "").split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def test_the_first_installation_is_slow_and_the_second_start_finds_it(
    pod: Callable[..., Backend], server: Database
) -> None:
    with pod(**SLOW).running() as first:
        until(server.locked, "the lock is taken")
        assert first.status("/health/started") == 503
        assert first.status("/health/alive") == 200
        assert first.status("/ws/rest/v1/session") == 503
        assert not (first.volume / "openmrs-runtime.properties").exists()
        first.await_start()
        assert first.status("/health/alive") == 200
        assert not server.locked()
        assert runtime_properties(first)["connection.password"] == PASSWORD
        kept = first.create_patient("Ariane")
    with pod().running() as second:
        second.await_start()
        assert second.search("ari") == [kept]
        status, found, _ = second.ask("GET", f"/ws/rest/v1/patient/{kept}", credentials=ADMIN)
        assert (status, found["person"]["display"]) == (200, "Ariane Test")
    # An acknowledged row was committed: both starts were ended without a word.
    assert server.root("SELECT count(*) FROM openmrs.patient") == "1"


def test_sessions_are_those_of_openmrs(pod: Callable[..., Backend]) -> None:
    with pod().running() as backend:
        backend.await_start()
        status, found, headers = backend.ask("GET", "/ws/rest/v1/session")
        assert (status, found["authenticated"]) == (200, False)
        cookie = headers["Set-Cookie"]
        assert cookie.startswith("JSESSIONID=")
        assert "Path=/openmrs" in cookie
        assert "HttpOnly" in cookie
        assert backend.ask("GET", "/ws/rest/v1/session", credentials=("admin", "wrong"))[1]["authenticated"] is False
        assert backend.ask("GET", "/ws/rest/v1/session", credentials=("nobody", "x"))[1]["authenticated"] is False
        assert backend.ask("GET", "/ws/rest/v1/location")[0] == 401
        _, found, headers = backend.ask("GET", "/ws/rest/v1/session", credentials=ADMIN)
        assert (found["authenticated"], found["user"]["username"]) == (True, "admin")
        known = {"Cookie": headers["Set-Cookie"].partition(";")[0]}
        assert backend.ask("GET", "/ws/rest/v1/session", headers=known)[1]["authenticated"] is True
        assert len(backend.ask("GET", "/ws/rest/v1/location", headers=known)[1]["results"]) == 2
        assert backend.ask("GET", "/ws/fhir2/R4/Location", headers=known)[1]["total"] == 2
        assert backend.ask("GET", "/ws/rest/v1/systemsetting/default_locale", headers=known)[1]["value"] == "fr"
        assert backend.ask("DELETE", "/ws/rest/v1/session", headers=known)[0] == 204
        assert backend.ask("GET", "/ws/rest/v1/session", headers=known)[1]["authenticated"] is False


def test_bad_requests_get_an_answer(pod: Callable[..., Backend]) -> None:
    with pod().running() as backend:
        backend.await_start()
        backend.create_patient("Twice")
        malformed: list[dict[str, Any]] = [{"person": {}}, {"person": {"names": []}, "identifiers": []}]
        for body in malformed:
            status, found, _ = backend.ask("POST", "/ws/rest/v1/patient", credentials=ADMIN, body=body)
            assert (status, bool(found["error"]["message"])) == (400, True)
        with pytest.raises(AssertionError, match="in use"):
            backend.create_patient("Twice")
        assert backend.ask("GET", "/ws/rest/v1/patient/unknown", credentials=ADMIN)[0] == 404
        assert backend.ask("GET", "/ws/rest/v1/nothing", credentials=ADMIN)[0] == 404


def test_the_administrator_changes_the_own_password(pod: Callable[..., Backend]) -> None:
    new = "Canary.Admin_3"
    with pod().running() as backend:
        backend.await_start()
        administrator = Administrator(Client(), f"http://127.0.0.1:{backend.port}", ADMIN[0])
        assert administrator.accepts(new) is False
        with pytest.raises(OpenMRSError, match="weak"):
            administrator.exchange(ADMIN[1], "weak")
        administrator.exchange(ADMIN[1], new)
        assert [administrator.accepts(password) for password in (ADMIN[1], new)] == [False, True]
    with pod().running(OMRS_ADMIN_PASSWORD_LOCKED="true") as later:
        later.await_start()
        administrator = Administrator(Client(), f"http://127.0.0.1:{later.port}", ADMIN[0])
        assert administrator.accepts(new) is True
        with pytest.raises(OpenMRSError, match="locked"):
            administrator.exchange(new, ADMIN[1])
    assert Administrator(Client(timeout=1), f"http://127.0.0.1:{later.port}", ADMIN[0]).accepts(new) is None


def test_a_new_password_reaches_it_by_the_extra_variable_only(pod: Callable[..., Backend], server: Database) -> None:
    with pod().running() as first:
        first.await_start()
    server.root("ALTER USER openmrs@'%' IDENTIFIED BY 'New.Password-2'")
    with pod(OMRS_DB_PASSWORD="New.Password-2").running() as stale:
        stale.await_failure()
        assert stale.status("/health/started") == 503
        assert stale.status("/health/alive") == 503
    with pod(password="New.Password-2").running() as rotated:
        rotated.await_start()
        assert runtime_properties(rotated)["connection.password"] == "New.Password-2"


def test_old_names_win(pod: Callable[..., Backend], server: Database) -> None:
    old = {"OMRS_CONFIG_CONNECTION_URL": server.url(), "OMRS_CONFIG_CONNECTION_USERNAME": "openmrs"}
    made = pod(OMRS_DB_URL="jdbc:mariadb://nowhere/x", OMRS_DB_USERNAME="nobody", **old)
    for name in ("URL", "USERNAME", "PASSWORD"):
        del made.environment[f"OMRS_EXTRA_CONNECTION_{name}"]
    with made.running() as backend:
        backend.await_start()
        assert runtime_properties(backend)["connection.username"] == "openmrs"


def test_it_waits_for_the_database(pod: Callable[..., Backend]) -> None:
    with pod(OMRS_DB_PORT="1").running() as backend:
        until(lambda: "Waiting for localhost:1" in backend.log, "it says what it waits for")
        assert backend.status("/health/alive") == 0


def test_a_wrong_authority_or_name_is_refused(pod: Callable[..., Backend], server: Database) -> None:
    for url in (server.url(server.folder / "other-ca.crt"), server.url(host="127.0.0.1")):
        with pod(url=url).running() as backend:
            backend.await_failure()
            assert "SSL" in backend.log or "certificat" in backend.log.lower()
            assert backend.status("/health/started") == 503
    assert server.root("SHOW TABLES IN openmrs") == ""


@pytest.mark.sabotage
def test_without_verification_a_wrong_authority_goes_unnoticed(pod: Callable[..., Backend], server: Database) -> None:
    url = server.url(server.folder / "other-ca.crt").replace("verify-full", "trust")
    with pod(url=url).running() as backend:
        backend.await_start()


@pytest.mark.soak
def test_a_kill_in_the_migration_leaves_a_lock_that_stops_every_later_start(
    pod: Callable[..., Backend], server: Database
) -> None:
    with pod(**SLOW).running() as first:
        until(lambda: int(changes(server)) >= 2, "some change sets are through")
        first.kill()
    assert server.locked()
    with pod(**NO_WAIT_FOR_THE_LOCK).running() as second:
        second.await_failure()
        assert "Could not acquire change log lock" in second.log
        assert second.status("/health/started") == 503
    # What a person, or the lock doctor of the chart, does.
    server.root("UPDATE openmrs.liquibasechangeloglock SET locked = 0, lockgranted = NULL, lockedby = NULL")
    with pod().running() as third:
        third.await_start()
        third.create_patient("Late")


def changes(server: Database) -> str:
    try:
        return server.root("SELECT count(*) FROM openmrs.liquibasechangelog")
    except AssertionError:
        return "0"


def test_a_lock_with_nothing_pending_is_set_aside(pod: Callable[..., Backend], server: Database) -> None:
    with pod().running() as first:
        first.await_start()
    server.root("UPDATE openmrs.liquibasechangeloglock SET locked = 1, lockgranted = NOW(), lockedby = 'gone'")
    with pod(**NO_WAIT_FOR_THE_LOCK).running() as second:
        second.await_start()
        assert not server.locked()


@pytest.mark.soak
def test_an_upgrade_brings_change_sets_and_a_rollback_works_on_them(
    pod: Callable[..., Backend], server: Database
) -> None:
    with pod(1).running() as old:
        old.await_start()
        kept = old.create_patient("Before")
        assert modules(old) == {"standin": "1"}
    with pod(2, OMRS_AUTO_UPDATE_DATABASE="false", OMRS_EXTRA_AUTO__UPDATE__DATABASE="false").running() as refused:
        refused.await_failure()
        assert "pending" in refused.log
    with pod(2, OMRS_EXTRA_AUTO__UPDATE__DATABASE="true").running() as new:
        new.await_start()
        assert (
            server.root("SELECT property_value FROM openmrs.global_property WHERE property = 'stand_in.schema'") == "2"
        )
        assert modules(new) == {"standin": "2"}
        assert new.search("before") == [kept]
    with pod(1).running() as back:
        back.await_start()
        assert back.search("before") == [kept]
        # The start script's fault: the newer module of the volume stays in force. The chart's empty volumes prevent it.
        assert modules(back) == {"standin": "2"}
    shutil.rmtree(back.volume / "modules")
    with pod(1).running() as worked_around:
        worked_around.await_start()
        assert modules(worked_around) == {"standin": "1"}


def modules(backend: Backend) -> dict[str, str]:
    found = backend.ask("GET", "/ws/rest/v1/module", credentials=ADMIN)[1]["results"]
    return {module["uuid"]: module["version"] for module in found}


def test_a_lost_index_means_an_empty_search_until_it_is_asked_for(
    pod: Callable[..., Backend], server: Database
) -> None:
    with pod().running() as first:
        first.await_start()
        kept = first.create_patient("Zoe")
        assert list((first.volume / "lucene" / "indexes").rglob("segments_*"))
    shutil.rmtree(first.volume / "lucene")
    with pod().running() as second:
        second.await_start()
        assert second.search("zoe") == []
        assert second.ask("POST", "/ws/rest/v1/searchindexupdate", credentials=ADMIN)[0] == 200
        assert second.search("zoe") == [kept]
    shutil.rmtree(second.volume / "lucene")
    server.root("UPDATE openmrs.global_property SET property_value = '' WHERE property = 'search.indexVersion'")
    with pod().running() as third:
        third.await_start()
        assert third.search("zoe") == [kept]


def test_attachments_are_files_of_the_volume(pod: Callable[..., Backend]) -> None:
    with pod().running() as backend:
        backend.await_start()
        patient = backend.create_patient("Filed")
        assert send_attachment(backend, "unknown", b"x")[0] == 404
        status, text = send_attachment(backend, patient, b"audiogram")
        assert status == 201, text
        uuid = text.partition('"uuid":"')[2].partition('"')[0]
        assert (backend.volume / "complex_obs" / uuid).read_bytes() == b"audiogram"
        assert backend.ask("GET", f"/ws/rest/v1/attachment/{uuid}", credentials=ADMIN)[1] == "audiogram"


def send_attachment(backend: Backend, patient: str, content: bytes) -> tuple[int, str]:
    parts = f'--b\r\nContent-Disposition: form-data; name="patient"\r\n\r\n{patient}\r\n'.encode()
    parts += b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + content + b"\r\n--b--\r\n"
    cookie = backend.ask("GET", "/ws/rest/v1/session", credentials=ADMIN)[2]["Set-Cookie"].partition(";")[0]
    connection = http.client.HTTPConnection("127.0.0.1", backend.port, timeout=20)
    headers = {"Cookie": cookie, "Content-Type": "multipart/form-data; boundary=b"}
    connection.request("POST", "/openmrs/ws/rest/v1/attachment", parts, headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_it_survives_a_restart_of_the_database_without_its_own(pod: Callable[..., Backend], server: Database) -> None:
    with pod().running() as backend:
        backend.await_start()
        server.root("SET GLOBAL max_connections = 200")
        connections = server.root("SELECT group_concat(id) FROM information_schema.processlist WHERE user = 'openmrs'")
        for connection in connections.split(","):
            server.root(f"KILL {connection}")
        assert backend.create_patient("After")


def namespaces_work() -> bool:
    return subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0


NAMESPACE = [
    "unshare",
    *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]),
    "--pid",
    "--fork",
    "--kill-child",
]


@pytest.mark.skipif(not namespaces_work(), reason="this machine lets no process namespace be made")
def test_term_kills_tomcat_and_stopping_it_first_does_not(pod: Callable[..., Backend]) -> None:
    """What makes the chart's preStop necessary."""
    for stop_first in (False, True):
        backend = pod()
        script = 'trap "kill -TERM \\$child" TERM; "$OMRS_HOME/startup.sh" & child=$!; wait $child; wait $child'
        with backend.running([*NAMESPACE, "bash", "-c", script]):
            backend.await_start()
            assert backend.process
            assert backend.container
            if stop_first:
                stop_tomcat(backend)
            else:
                first_process = (
                    Path(f"/proc/{backend.process.pid}/task/{backend.process.pid}/children").read_text().split()[0]
                )
                os.kill(int(first_process), signal.SIGTERM)
            backend.process.wait(timeout=60)
            stopped = "Stopping service" in backend.log
            assert stopped is stop_first


def stop_tomcat(backend: Backend) -> None:
    assert backend.container
    environment = {"PATH": os.environ["PATH"], "JAVA_HOME": os.environ.get("JAVA_HOME", ""), "CATALINA_HOME": ""}
    environment["CATALINA_HOME"] = str(backend.container / "tomcat")
    if not environment["JAVA_HOME"]:
        del environment["JAVA_HOME"]
    command = [str(backend.container / "tomcat/bin/catalina.sh"), "stop", "60"]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
