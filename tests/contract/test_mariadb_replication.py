"""A primary and two replicas: real servers, brought together, disturbed and promoted by the engine of the module."""

from __future__ import annotations

import functools
import getpass
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import OutcomeError
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.errors import MariaDBError
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.pods import Pod
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.replication import (
    Source,
    change_source,
    check_promotion,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.replication_runner import (
    Options,
    ReplicationRunner,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.runner import Server as Asked
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.session import Session

from tests.contract.mariadb import PASSWORDS, LocalTransport, Server, running
from tests.contract.rendered import render
from tests.contract.test_mariadb_accounts import accounts_here
from tests.contract.test_mariadb_accounts import converge as converge_accounts
from tests.integration.support.waiting import until

ME = getpass.getuser()
NUMBERS = (0, 1, 2)
NOBODY_TO_WAIT_FOR = "SET GLOBAL rpl_semi_sync_master_enabled = 0"


class Cluster:
    """The three servers, and the labels of their pods."""

    def __init__(self, servers: list[Server], accounts: list[dict[str, Any]]) -> None:
        self.servers, self.accounts = servers, accounts
        self.labels: dict[int, str] = {}
        self.transport: type[LocalTransport] = LocalTransport
        self.patience = 60.0

    def asked(self) -> list[Asked]:
        found = []
        for server in self.servers:
            number = server.number
            gone = server.process is None
            pod = Pod(namespace="mariadb", name=f"mariadb-{number}", untold="gone" if gone else "", missing=gone)
            login = server.login(ME)
            session = Session(self.transport(server), login, where=f"Pod/{pod.place}")
            found.append(
                Asked(
                    pod=pod,
                    session=None if gone else session,
                    role=self.labels.get(number, ""),
                    set_role=functools.partial(self.labels.__setitem__, number),
                )
            )
        return found

    def source(self, number: int) -> Source:
        authority = str(self.servers[0].folder / "tls" / "ca.crt")
        return Source(host="127.0.0.1", port=self.servers[number].port, user="replication", ca_file=authority)

    def converge(
        self,
        primary: int = 0,
        *,
        promote: bool = False,
        allow: tuple[str, ...] = (),
        reseed: tuple[int, ...] = (),
        cut_off: bool = False,
        **more: Any,
    ) -> Any:
        options = Options(
            primary=primary,
            promote=promote,
            allow=allow,
            reseed=reseed,
            cut_off=cut_off,
            source=self.source,
            password=PASSWORDS["replication-password"],
            backup_user="backup",
            backup_password=PASSWORDS["backup-password"],
            catch_up_timeout=5,
        )
        return ReplicationRunner(servers=self.asked, must_exist=not promote, **more).run(options)

    def write(self, number: int, name: str) -> None:
        server = self.servers[number]
        statement = f"INSERT INTO openmrs.patient VALUES ('{name}')"  # noqa: S608
        server.over_tcp(statement, "openmrs", *server.tls())

    def patients(self, number: int) -> set[str]:
        return set(self.servers[number].root("SELECT name FROM openmrs.patient").split())

    def await_patient(self, number: int, name: str) -> None:
        deadline = time.monotonic() + self.patience
        while name not in self.patients(number):
            told = self.servers[number].root("SHOW ALL SLAVES STATUS")
            assert time.monotonic() < deadline, f"{name} did not reach server {number}: {told}"
            time.sleep(0.1)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Cluster]:
    documents = render("production", tmp_path_factory.mktemp("replicas"), mariadb_replicas=2)
    accounts = accounts_here(documents)
    with ExitStack() as stack:
        servers = [stack.enter_context(running(documents["kubernetes"], free_port(), n)) for n in NUMBERS]
        for server in servers[1:]:
            shutil.copytree(servers[0].folder / "tls", server.folder / "tls", dirs_exist_ok=True)
            server.root("FLUSH LOCAL SSL")
        for server in servers:
            converge_accounts(server, accounts, remove=True)
        servers[0].root(f"{NOBODY_TO_WAIT_FOR}; CREATE TABLE openmrs.patient (name VARCHAR(50) PRIMARY KEY)")
        yield Cluster(servers, accounts)


@pytest.fixture
def cluster(built: Cluster) -> Cluster:
    """Server 0 is the primary, the others replicate, whatever the test before did."""
    built.transport, built.patience = LocalTransport, 60.0
    for server in built.servers:
        if server.process is None:
            server.start()
    server = built.servers[0]
    server.root(f"STOP ALL SLAVES; RESET SLAVE ALL; {NOBODY_TO_WAIT_FOR}")
    server.root("SET GLOBAL read_only = 0; DELETE FROM openmrs.patient")
    for replica in built.servers[1:]:
        replica.root("STOP ALL SLAVES; RESET SLAVE ALL; SET GLOBAL read_only = 1; RESET MASTER")
        replica.root("SET SESSION sql_log_bin = 0; DROP DATABASE IF EXISTS openmrs")
    built.converge()
    return built


def paths(result: Any) -> list[tuple[str, str, str]]:
    return [(f["resource"][-1], f["path"], f["verdict"]) for f in result["findings"]]


def test_every_server_has_an_identity_and_only_the_primary_takes_writes(cluster: Cluster) -> None:
    asked = "SELECT @@server_id, @@read_only, @@rpl_semi_sync_master_enabled"
    expected = [["1", "0", "1"], ["2", "1", "0"], ["3", "1", "0"]]
    assert [server.root(asked).split() for server in cluster.servers] == expected
    for server in cluster.servers:
        server.stop()
        server.start()
    assert [server.root(asked).split() for server in cluster.servers] == expected


def test_replicas_are_seeded_and_follow(cluster: Cluster) -> None:
    cluster.servers[0].root("CREATE PROCEDURE IF NOT EXISTS openmrs.p() SELECT 1")
    cluster.write(0, "Anna")
    for number in (1, 2):
        cluster.await_patient(number, "Anna")
        with pytest.raises(AssertionError, match="read-only"):
            cluster.write(number, "Nobody")
    assert cluster.labels == {0: "primary", 1: "replica", 2: "replica"}
    again = cluster.converge()
    assert (again["changed"], again["findings"]) == (False, [])
    status = cluster.servers[1].root("SHOW ALL SLAVES STATUS")
    assert "Slave_Pos" in status
    assert cluster.servers[0].root("SHOW STATUS LIKE 'Rpl_semi_sync_master_clients'").split()[1] == "2"


def test_drift_is_found_and_corrected(cluster: Cluster) -> None:
    cluster.servers[1].root("SET GLOBAL read_only = 0; STOP SLAVE")
    cluster.servers[2].root("STOP SLAVE; CHANGE MASTER TO MASTER_SSL_VERIFY_SERVER_CERT = 0, MASTER_USE_GTID = no")
    cluster.labels[2] = "primary"
    predicted = cluster.converge(check=True)
    assert paths(predicted) == [
        ("1", "readOnly", "drift"),
        ("1", "replication.running", "drift"),
        ("2", "metadata.labels", "drift"),
        ("2", "replication.source", "drift"),
    ]
    assert cluster.servers[1].root("SELECT @@read_only").strip() == "0"
    done = cluster.converge(expect_plan=predicted["plan_digest"])
    assert done["plan"] == predicted["plan"]
    assert not cluster.converge()["findings"]
    cluster.write(0, "Bela")
    cluster.await_patient(2, "Bela")


def semi_sync(server: Server) -> tuple[str, int]:
    """Whether commits of a server wait for replicas, and how many of them a replica had in time."""
    told = dict(line.split() for line in server.root("SHOW STATUS LIKE 'Rpl_semi_sync_master%'").splitlines())
    enabled = server.root("SELECT @@rpl_semi_sync_master_enabled").strip()
    return enabled, int(told["Rpl_semi_sync_master_yes_tx"])


def test_only_the_primary_waits_for_a_replica(cluster: Cluster) -> None:
    assert [semi_sync(server)[0] for server in cluster.servers] == ["1", "0", "0"]
    cluster.servers[0].root("SET GLOBAL rpl_semi_sync_master_enabled = 0")
    cluster.servers[1].root("SET GLOBAL rpl_semi_sync_master_enabled = 1")
    assert paths(cluster.converge()) == [("0", "semiSync", "drift"), ("1", "semiSync", "drift")]
    assert [semi_sync(server)[0] for server in cluster.servers] == ["1", "0", "0"]
    before = semi_sync(cluster.servers[0])[1]
    cluster.write(0, "Bodo")
    assert semi_sync(cluster.servers[0])[1] == before + 1
    assert not cluster.converge()["findings"]


def test_the_only_server_waits_for_nobody(cluster: Cluster) -> None:
    alone = Cluster(cluster.servers[:1], cluster.accounts)
    alone.converge()
    assert semi_sync(cluster.servers[0])[0] == "0"
    assert not alone.converge()["findings"]


@pytest.mark.soak
def test_a_new_password_of_the_replicas_is_handed_on(cluster: Cluster) -> None:
    cluster.servers[1].root("STOP SLAVE; CHANGE MASTER TO MASTER_PASSWORD = 'old'; START SLAVE")
    deadline = time.monotonic() + 20
    while ("1", "replication.password", "drift") not in paths(cluster.converge(check=True)):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    cluster.converge()
    assert not cluster.converge()["findings"]
    logs = [*(cluster.servers[1].folder / "data").glob("audit.log*"), cluster.servers[1].folder / "log"]
    assert not any(PASSWORDS["replication-password"].encode() in path.read_bytes() for path in logs)


class Cut(LocalTransport):
    """The connection is lost once: before a script in which a mark occurs, or when it gets there."""

    mark = ""
    inside = False

    def run(self, command: Any, stdin: str, *, timeout: float) -> Any:
        if Cut.mark and (Cut.mark in stdin or any(Cut.mark in word for word in command)):
            done, Cut.mark = stdin.partition(Cut.mark)[0], ""
            if Cut.inside:
                super().run(command, done[: done.rfind("\n") + 1], timeout=timeout)
            raise MariaDBError("the connection was lost")
        return super().run(command, stdin, timeout=timeout)

    @classmethod
    def at(cls, mark: str, *, inside: bool = False) -> type[Cut]:
        cls.mark, cls.inside = mark, inside
        return cls


@pytest.mark.soak
@pytest.mark.parametrize("mark", ["RESET MASTER", "mariadb-dump", "CHANGE MASTER"])
def test_an_interrupted_copy_is_made_anew(cluster: Cluster, mark: str) -> None:
    cluster.write(0, "Carl")
    cluster.await_patient(1, "Carl")
    cluster.servers[1].root("STOP ALL SLAVES; RESET SLAVE ALL; RESET MASTER; SET sql_log_bin=0; DROP DATABASE openmrs")
    cluster.transport = Cut.at(mark)
    with pytest.raises(OutcomeError, match="connection was lost"):
        cluster.converge()
    cluster.servers[1].root("SET sql_log_bin=0; DROP TABLE IF EXISTS openmrs.patient")  # it stopped half-way
    assert cluster.converge()["changed"]
    assert cluster.patients(1) == {"Carl"}
    assert not cluster.converge()["findings"]


@pytest.mark.soak
@pytest.mark.parametrize("mark", ["SET @position", "SET GLOBAL gtid_binlog_state", "CHANGE MASTER", "START SLAVE"])
def test_a_copy_that_is_cut_off_in_its_last_step_is_completed(cluster: Cluster, mark: str) -> None:
    cluster.servers[1].root("STOP ALL SLAVES; RESET SLAVE ALL; RESET MASTER; SET sql_log_bin=0; DROP DATABASE openmrs")
    cluster.servers[1].root("SET GLOBAL rpl_semi_sync_master_enabled = 1")
    cluster.write(0, "Cora")
    cluster.transport = Cut.at(mark, inside=True)
    with pytest.raises(OutcomeError, match="connection was lost"):
        cluster.converge()
    assert cluster.converge()["changed"]
    cluster.await_patient(1, "Cora")
    assert [semi_sync(server)[0] for server in cluster.servers] == ["1", "0", "0"]
    assert not cluster.converge()["findings"]


@pytest.mark.soak
def test_a_replica_with_changes_of_its_own_is_left_alone(cluster: Cluster) -> None:
    own = cluster.servers[1]
    own.root("STOP ALL SLAVES; RESET SLAVE ALL; INSERT INTO openmrs.patient VALUES ('Only here')")
    told = cluster.converge()
    assert ("1", "replication", "error") in paths(told)
    assert not told["plan"]
    assert "Only" in own.root("SELECT name FROM openmrs.patient")


def test_another_primary_is_refused_without_a_promotion(cluster: Cluster) -> None:
    with pytest.raises(OutcomeError, match=r"server 1 is declared as the primary, but it replicates"):
        cluster.converge(1)


def test_a_promotion_beside_a_living_primary_is_refused(cluster: Cluster) -> None:
    with pytest.raises(OutcomeError, match="server 0, is alive"):
        cluster.converge(1, promote=True)
    assert cluster.servers[0].root("SELECT @@read_only").strip() == "0"


def test_a_planned_switch_loses_nothing(cluster: Cluster) -> None:
    cluster.servers[1].root("SET GLOBAL rpl_semi_sync_master_enabled = 1")  # it waits for nobody all the same
    cluster.write(0, "Dora")
    predicted = cluster.converge(1, promote=True, allow=("primary_alive",), check=True)
    done = cluster.converge(1, promote=True, allow=("primary_alive",))
    assert done["plan"] == predicted["plan"]
    cluster.write(1, "Emil")
    for number in (0, 2):
        cluster.await_patient(number, "Emil")
    assert cluster.patients(0) == {"Dora", "Emil"}
    with pytest.raises(AssertionError, match="read-only"):
        cluster.write(0, "Nobody")
    assert cluster.labels == {0: "replica", 1: "primary", 2: "replica"}
    assert [semi_sync(server)[0] for server in cluster.servers] == ["0", "1", "0"]
    assert semi_sync(cluster.servers[1])[1] > 0
    assert not cluster.converge(1)["findings"]


def test_clients_that_came_back_to_the_old_primary_are_sent_away(cluster: Cluster) -> None:
    cluster.converge(1, promote=True, allow=("primary_alive",))
    server = cluster.servers[0]
    here = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'openmrs'"
    with ThreadPoolExecutor(1) as pool:
        staying = pool.submit(server.over_tcp, "SELECT SLEEP(60)", "openmrs", *server.tls())
        until(lambda: server.root(here).strip() == "1", "the client is there")
        assert not cluster.converge(1)["findings"]
        told = cluster.converge(1, promote=True, cut_off=True)
        with pytest.raises(AssertionError, match="ERROR"):
            staying.result(timeout=20)
    assert [(finding["path"], finding["live"]) for finding in told["findings"]] == [("clients", ["openmrs"])]
    assert not cluster.converge(1, promote=True, cut_off=True)["findings"]


@pytest.mark.parametrize("mark", ["MASTER_GTID_WAIT", "RESET SLAVE ALL", "gtid_slave_pos = @@gtid_binlog_pos"])
def test_an_interrupted_switch_is_completed(cluster: Cluster, mark: str) -> None:
    cluster.write(0, "Finn")
    cluster.transport = Cut.at(mark)
    with pytest.raises(OutcomeError, match="connection was lost"):
        cluster.converge(1, promote=True, allow=("primary_alive",))
    cluster.converge(1, promote=True, allow=("primary_alive",))
    cluster.write(1, "Gina")
    cluster.await_patient(0, "Gina")
    assert cluster.patients(1) == {"Finn", "Gina"}
    assert not cluster.converge(1)["findings"]


@pytest.mark.soak
def test_a_switch_to_a_replica_that_cannot_catch_up_changes_nothing(cluster: Cluster) -> None:
    cluster.servers[1].root("STOP SLAVE SQL_THREAD")
    cluster.write(0, "Hugo")
    with pytest.raises(OutcomeError, match="has not caught up"):
        cluster.converge(1, promote=True, allow=("primary_alive",))
    cluster.write(0, "Ines")
    assert cluster.converge()["changed"]
    cluster.await_patient(1, "Ines")


def test_a_dead_primary_is_replaced_and_comes_back_as_a_replica(cluster: Cluster) -> None:
    cluster.write(0, "Jule")
    for number in (1, 2):
        cluster.await_patient(number, "Jule")
    cluster.servers[0].stop(signal.SIGKILL)
    cluster.converge(1, promote=True)
    cluster.write(1, "Karl")
    cluster.await_patient(2, "Karl")
    cluster.servers[0].start()
    # The inventory still names the old one: a run refuses instead of having two primaries.
    with pytest.raises(OutcomeError, match="server 1 takes writes"):
        cluster.converge(0)
    cluster.converge(1)
    cluster.await_patient(0, "Karl")
    assert not cluster.converge(1)["findings"]


def as_replica(server: Server) -> Path:
    """The configuration that the role writes once another server is the primary."""
    text = server.configuration.read_text()
    groups = dict(re.findall(r"^\[mariadbd-([0-9])\]\n((?:\w.*\n)+)", text, re.MULTILINE))
    replica = groups["2"].replace("server_id = 3", f"server_id = {server.number + 1}")
    changed = server.configuration.with_name("replica.cnf")
    changed.write_text(text.replace(groups[str(server.number)], replica))
    return changed


def test_a_primary_that_died_before_a_replica_had_a_change_comes_back_without_it(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = cluster.servers[0]
    cluster.write(0, "Nele")
    for number in (1, 2):
        cluster.await_patient(number, "Nele")
        cluster.servers[number].root("STOP SLAVE IO_THREAD")
    with ThreadPoolExecutor() as pool:
        nobody_has_it = pool.submit(cluster.write, 0, "Olaf")
        while "\t1" not in old.root("SHOW STATUS LIKE 'Rpl_semi_sync_master_wait_sessions'"):
            time.sleep(0.1)
        old.stop(signal.SIGKILL)
        assert isinstance(nobody_has_it.exception(), AssertionError)
    cluster.converge(1, promote=True)
    monkeypatch.setattr(old, "configuration", as_replica(old))
    old.start()
    cluster.converge(1)
    cluster.write(1, "Pia")
    cluster.await_patient(0, "Pia")
    assert cluster.patients(0) == cluster.patients(1) == {"Nele", "Pia"}
    assert not cluster.converge(1)["findings"]


def test_a_replica_that_is_behind_is_refused(cluster: Cluster) -> None:
    cluster.servers[1].root("STOP SLAVE SQL_THREAD")
    cluster.write(0, "Lena")
    cluster.await_patient(2, "Lena")
    cluster.servers[0].stop(signal.SIGKILL)
    with pytest.raises(OutcomeError, match="the replica is behind"):
        cluster.converge(1, promote=True)
    cluster.converge(2, promote=True)
    assert cluster.labels == {0: "primary", 1: "replica", 2: "primary"}


@pytest.mark.soak
def test_a_replica_that_was_behind_gets_the_rest_from_the_new_primary(cluster: Cluster) -> None:
    test_a_replica_that_is_behind_is_refused(cluster)
    cluster.await_patient(1, "Lena")
    assert problems(cluster.converge(2, check=True)) == []


def problems(result: Any) -> list[str]:
    return [finding["resource"][-1] for finding in result["findings"] if finding["verdict"] == "error"]


def log_begins_later(cluster: Cluster) -> None:
    """Server 2's own log knows nothing of the time before its copy: it cannot serve who stands there."""
    cluster.servers[2].root("STOP SLAVE; RESET MASTER; START SLAVE")


@pytest.mark.soak
def test_a_replica_that_the_new_primary_cannot_serve_is_never_healthy(cluster: Cluster) -> None:
    log_begins_later(cluster)
    cluster.servers[1].root("STOP SLAVE SQL_THREAD")
    cluster.write(0, "Lena")
    cluster.await_patient(2, "Lena")
    cluster.servers[0].stop(signal.SIGKILL)
    promoted = cluster.converge(2, promote=True)
    assert problems(promoted) == ["1"]
    for _ in range(2):
        told = cluster.converge(2, promote=True)
        assert problems(told) == ["1"]
        assert "mariadb_reseed" in str(told["findings"])
    assert "Lena" not in cluster.patients(1)
    cluster.converge(2, promote=True, reseed=(1,))
    assert cluster.patients(1) == {"Lena"}
    cluster.write(2, "Mona")
    cluster.await_patient(1, "Mona")


@pytest.mark.soak
def test_a_replica_that_is_connected_and_gets_nothing_is_never_healthy(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server itself says that all is well: it refuses in its log, and leaves the replica waiting."""
    log_begins_later(cluster)
    cluster.servers[1].root("STOP SLAVE SQL_THREAD")
    cluster.write(0, "Lena")
    cluster.await_patient(2, "Lena")
    cluster.servers[0].stop(signal.SIGKILL)
    cluster.converge(2, promote=True)
    new = cluster.source(2)
    change = change_source(new, PASSWORDS["replication-password"])
    cluster.servers[1].root(f"STOP ALL SLAVES; {change}; START SLAVE")
    time.sleep(2)
    monkeypatch.setattr(f"{check_promotion.__module__}._unserved", lambda *_states: "")  # whatever the reason is
    told = cluster.converge(2, promote=True, check=True)
    assert problems(told) == ["1"]
    assert "gets nothing" in str(told["findings"])


@pytest.mark.soak
@pytest.mark.sabotage
def test_a_copy_whose_log_begins_nowhere_is_noticed(cluster: Cluster) -> None:
    log_begins_later(cluster)
    cluster.patience = 15.0  # beyond the 10 s of MASTER_CONNECT_RETRY
    with pytest.raises(AssertionError, match="Lena did not reach server 1"):
        test_a_replica_that_was_behind_gets_the_rest_from_the_new_primary(cluster)


@pytest.mark.sabotage
def test_a_promotion_without_its_guard_is_noticed(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{check_promotion.__module__}_runner.check_promotion"
    monkeypatch.setattr(name, lambda *_args, **_more: None)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_a_promotion_beside_a_living_primary_is_refused(cluster)


@pytest.mark.sabotage
def test_a_replica_that_waits_for_its_own_replicas_is_noticed(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{check_promotion.__module__}_runner._set_waiting", lambda **_wanted: "DO 0")
    with pytest.raises(OutcomeError, match="has not caught up"):
        test_a_planned_switch_loses_nothing(cluster)
