"""Backups of a real MariaDB, in real blobs behind the simulated Azure: exactly the rows of a moment come back."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import itertools
import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb import snapshot as snapshots
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.session import Session
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.snapshot import (
    Snapshot,
    differences,
    take_snapshot,
)
from mariadb_archive.archiver import Archiver
from mariadb_archive.azure_store import BlobStore
from mariadb_archive.check import check
from mariadb_archive.drill import Drill, Limits, drill, proven
from mariadb_archive.envelope import Archive
from mariadb_archive.errors import BackupError
from mariadb_archive.full import back_up, by_domain
from mariadb_archive.keeper import REPLICA, Keeper
from mariadb_archive.manifests import Full
from mariadb_archive.restore import Restored, restore
from mariadb_archive.selection import ranges
from mariadb_archive.server import Programs, Server
from mariadb_archive.store import AlreadyThere, Blob

from tests.contract import mariadb
from tests.contract.archive import RsaWrapper, programs, store
from tests.contract.conftest import find
from tests.contract.rendered import ROOT, render
from tests.contract.scratch import scratch_folder
from tests.contract.stand_in import free_port
from tests.lab.blob.testing import Storage, storage_account

PASSWORD = mariadb.PASSWORDS["archive-password"]


@dataclass
class Site:
    """A server, its archive and the rows that were written."""

    live: mariadb.Server
    archive: Archive
    server: Server
    state: Path
    folder: Path
    instance: str = "mariadb"

    @property
    def programs(self) -> Programs:
        return self.server.programs

    @property
    def archiver(self) -> Archiver:
        return Archiver(self.archive, self.server, self.instance, self.state)

    def full(self) -> Full:
        return back_up(self.archive, self.server, instance=self.instance, state=self.state)

    def write(self, *names: str) -> None:
        for name in names:
            self.live.root(f"INSERT INTO clinic.patient VALUES ('{name}', UNIX_TIMESTAMP(), REPEAT('x', 1000))")  # noqa: S608

    def of_before(self, moment: float) -> set[str]:
        return set(self.live.root(f"SELECT name FROM clinic.patient WHERE written < {moment}").split())  # noqa: S608

    def restore(self, moment: float, target: Path) -> Restored:
        return restore(self.archive, self.programs, instance=self.instance, moment=moment, target=target)

    @contextlib.contextmanager
    def started(self, data: Path) -> Iterator[mariadb.Server]:
        """A server on restored data, as its pod would run it."""
        with scratch_folder("restored-") as folder:
            shutil.move(data, folder / "data")
            text = self.live.configuration.read_text()
            configuration = folder / "platform.cnf"
            configuration.write_text(text.replace(str(self.live.folder), str(folder)))
            for part in ("tls", "passwords"):
                (folder / part).symlink_to(self.live.folder / part)
            restored = mariadb.Server(folder, free_port(), configuration=configuration)
            try:
                restored.start()
                yield restored
            finally:
                restored.stop()

    def rows(self, data: Path) -> set[str]:
        with self.started(data) as restored:
            return set(restored.root("SELECT name FROM clinic.patient").split())


def next_second() -> float:
    """Wait for the beginning of a second; it."""
    moment = math.ceil(time.time() + 0.01)
    time.sleep(moment - time.time() + 0.05)
    return moment


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    with storage_account(tmp_path_factory.mktemp("storage")) as account:
        yield account


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[mariadb.Server]:
    """A server with the account of the archive, and its option file, as the role declares them."""
    rendered = render("production", tmp_path_factory.mktemp("rendered"))
    manifests = rendered["kubernetes"]
    [declared] = [one for one in rendered["mariadb_accounts"] if one["user"] == "archive"]
    [grant] = declared["grants"]
    account = f"{declared['user']}@{declared['host']}"
    with mariadb.running(manifests, free_port()) as server:
        server.root(
            f"CREATE USER {account} IDENTIFIED BY '{PASSWORD}'; "
            f"GRANT {', '.join(grant['privileges'])} ON {grant['on']} TO {account}"
        )
        file = find(manifests, "Secret", "mariadb-archive")["stringData"]["account.cnf"]
        (server.folder / "account.cnf").write_text(re.sub(r"\$\{secret:[^}]*\}", PASSWORD, file))
        yield server


@pytest.fixture
def site(live: mariadb.Server, storage: Storage, tmp_path: Path, request: pytest.FixtureRequest) -> Site:
    live.root(
        "DROP DATABASE IF EXISTS clinic; RESET MASTER; CREATE DATABASE clinic; "
        "CREATE TABLE clinic.patient (name VARCHAR(50) PRIMARY KEY, written BIGINT, record TEXT)"
    )
    url = storage.container(f"c{abs(hash(request.node.name)) % 10**12}", days=1)
    connection = (f"--defaults-extra-file={live.folder / 'account.cnf'}", f"--socket={live.socket}")
    for part in ("programs", "state", "restored"):
        (tmp_path / part).mkdir()
    server = Server(programs(tmp_path / "programs"), connection)
    return Site(live, Archive(store(storage, url), RsaWrapper()), server, tmp_path / "state", tmp_path)


def test_exactly_the_rows_of_a_moment_come_back(site: Site) -> None:
    site.write("before the backup")
    full = site.full()
    moments = []
    for name in ("a", "b", "c"):
        site.write(f"{name}1", f"{name}2")
        moments.append(next_second())
        if name == "b":
            assert not site.archiver.round().problems
        site.write(f"{name}3")
    assert not site.archiver.round().problems
    for number, moment in enumerate(moments):
        target = site.folder / "restored" / str(number)
        (target.parent / f".{number}.restore-killed").mkdir()  # what a restore that was killed leaves
        done = site.restore(moment, target)
        expected = site.of_before(moment)
        assert site.rows(target) == expected
        assert done.full == full.name
        assert not list(target.parent.glob(".*"))
    assert len({frozenset(site.of_before(moment)) for moment in moments}) == len(moments)


def test_the_next_change_of_a_restored_server_has_the_next_number(site: Site) -> None:
    site.full()
    site.write("a")
    moment = next_second()
    site.archiver.round()
    target = site.folder / "restored" / "data"
    done = site.restore(moment, target)
    before = int(done.gtid["0"].rpartition("-")[2])
    with site.started(target) as restored:
        restored.root("INSERT INTO clinic.patient VALUES ('after', 0, '')")
        assert int(restored.root("SELECT @@gtid_binlog_pos").strip().rpartition("-")[2]) == before + 1


@dataclass
class Prepared:
    """A site with a backup, two files of the log behind it, and a moment that is reached by both."""

    site: Site
    full: Full
    moment: float

    @property
    def store(self) -> BlobStore:
        assert isinstance(self.site.archive.store, BlobStore)
        return self.site.archive.store

    def refused(self, archive: Archive, message: str, **programs: Any) -> None:
        """A restore fails with that sentence, and leaves the folder as it was."""
        target = self.site.folder / "restored" / "refused"
        with pytest.raises(BackupError, match=message):
            restore(archive, self.site.programs, instance="mariadb", moment=self.moment, target=target, **programs)
        assert not list(target.parent.iterdir())


@pytest.fixture
def prepared(site: Site) -> Prepared:
    full = site.full()
    for name in ("a", "b"):
        next_second()
        site.write(name)
        assert not site.archiver.round().problems
    moment = next_second()
    site.write("too-late")
    assert not site.archiver.round().problems
    return Prepared(site, full, moment)


@dataclass
class Changed:
    """A store that is read in another way than it was written."""

    store: BlobStore
    read: Callable[[str, bytes], bytes] = lambda name, content: content
    shown: Callable[[Blob], bool] = lambda blob: True

    def list(self, prefix: str) -> list[Blob]:
        return [blob for blob in self.store.list(prefix) if self.shown(blob)]

    def get(self, name: str) -> Iterator[bytes]:
        yield self.read(name, b"".join(self.store.get(name)))

    def put(self, name: str, parts: Iterable[bytes], manifest: Callable[[], str]) -> None:
        self.store.put(name, parts, manifest)

    def delete(self, names: Iterable[str]) -> Mapping[str, str]:
        return self.store.delete(names)


def flipped(name: str, content: bytes) -> bytes:
    """One bit in the middle of the backup is another."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :] if "/full/" in name else content


def test_what_does_not_fit_is_refused_and_nothing_is_touched(prepared: Prepared) -> None:
    keys, store = prepared.site.archive.keys, prepared.store
    prepared.refused(Archive(Changed(store, flipped), keys), "/full/.*piece .* is not what was stored")
    cut_off = Changed(store, lambda name, content: content[:-50] if "/full/" in name else content)
    prepared.refused(Archive(cut_off, keys), "/full/.*is not what was stored")
    other_log = Changed(store, lambda name, content: content[:-50] if "/log/" in name else content)
    prepared.refused(Archive(other_log, keys), "/log/.*is not what was stored")
    prepared.refused(Archive(store, RsaWrapper()), "key-1 does not unwrap the key of a backup")
    without = Changed(store, shown=lambda blob: not blob.name.endswith(prepared.full.log))
    prepared.refused(Archive(without, keys), "is in no range that can be restored")


@pytest.mark.parametrize(("shift", "message"), [(-3600, "no range"), (3600, "no range")])
def test_a_moment_outside_of_the_range_is_refused(prepared: Prepared, shift: float, message: str) -> None:
    prepared.moment += shift
    prepared.refused(prepared.site.archive, message)


def test_another_series_of_mariadb_is_refused(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Programs, "version", lambda self: "11.8.8-MariaDB")
    prepared.refused(
        prepared.site.archive, "is of MariaDB 10.11.* and this is 11.8.8.*restore it with the image of its own"
    )


def test_a_restore_never_goes_over_what_is_there(prepared: Prepared) -> None:
    target = prepared.site.folder / "restored" / "data"
    target.mkdir()
    (target / "ibdata1").write_text("the old data")
    with pytest.raises(BackupError, match="is not empty"):
        prepared.site.restore(prepared.moment, target)
    assert [path.name for path in target.parent.rglob("*")] == ["data", "ibdata1"]


@pytest.mark.sabotage
def test_without_the_cut_later_rows_come_back_too(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    site = prepared.site
    monkeypatch.setattr("mariadb_archive.restore.cut", lambda *_, **__: None)
    target = site.folder / "restored" / "data"
    site.restore(prepared.moment, target)
    assert site.rows(target) - site.of_before(prepared.moment) == {"too-late"}


# A backup that never ends, in a process of its own.
ENDLESS = """
import json, os, sys
from azure.identity import ClientSecretCredential
from mariadb_archive.azure_store import BlobStore
from mariadb_archive.envelope import Archive
from mariadb_archive.manifests import Full
from tests.contract.archive import RsaWrapper

def endless():
    while True:
        yield os.urandom(1 << 20)

asked = json.load(sys.stdin)
credential = ClientSecretCredential(*asked["identity"], authority=asked["authority"], disable_instance_discovery=True)
names = {"instance": "mariadb", "lineage": "0123456789ab", "server_version": "10.11.18", "log": "bin.000001"}
full = Full(**names, started=1, finished=2, position=0, gtid={})
Archive(BlobStore(asked["url"], credential), RsaWrapper()).add(full, endless())
"""


def test_a_killed_backup_is_none(site: Site, storage: Storage) -> None:
    assert isinstance(site.archive.store, BlobStore)
    settings, before = storage.azure.settings, storage.blocks()
    identity = [settings.tenant_id, settings.client_id, settings.client_secret]
    asked = {"url": site.archive.store.url, "identity": identity, "authority": storage.azure.base_url}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", ENDLESS], stdin=subprocess.PIPE, env=environment, text=True)
    try:
        assert process.stdin
        process.stdin.write(json.dumps(asked))
        process.stdin.close()
        deadline = time.monotonic() + 120
        while storage.blocks() < before + 3:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    assert site.archive.entries("mariadb") == []
    with pytest.raises(BackupError, match="there is no complete backup"):
        site.restore(time.time(), site.folder / "restored" / "data")
    assert site.full().name in {entry.manifest.name for entry in site.archive.entries("mariadb")}


@pytest.mark.parametrize("fault", [{"fault": "throttle"}, {"fault": "error", "status": 500}, {"fault": "drop"}])
def test_a_store_that_fails_for_a_moment_is_asked_again(site: Site, storage: Storage, fault: dict[str, Any]) -> None:
    storage.azure.control("POST", "/lab/faults", {"match": "PUT /blob/.*", "count": 2, "retry_after": 0, **fault})
    full = site.full()
    assert [entry.manifest.name for entry in site.archive.entries("mariadb")] == [full.name]


def test_a_store_that_goes_on_failing_is_one_error_and_the_next_round_goes_on(site: Site, storage: Storage) -> None:
    site.archiver.round()
    site.write("a")
    known = len(site.archive.entries("mariadb"))
    match = {"match": "PUT /blob/.*", "count": 100, "fault": "error", "status": 503}
    storage.azure.control("POST", "/lab/faults", match)
    done = site.archiver.round()
    storage.azure.control("DELETE", "/lab/faults")
    assert (done.stored, len(done.problems)) == ([], 1)
    assert re.match(r"mariadb-bin\.\d+: .* was not stored: https://.* answered ", done.problems[0])
    assert len(site.archive.entries("mariadb")) == known
    site.write("b")
    done = site.archiver.round()
    assert (len(done.stored), done.problems) == (2, [])


def test_each_file_is_stored_once_by_however_many(site: Site) -> None:
    one, other = site.archiver, site.archiver
    first = one.round()
    assert other.round().stored != []
    names = [entry.manifest.name for entry in site.archive.entries("mariadb")]
    assert len(names) == len(set(names))
    assert one.round().problems == []
    assert first.problems == []


@dataclass
class Kept:
    """What keeps the archive of a site, and what it says."""

    site: Site
    said: list[dict[str, Any]] = field(default_factory=list)

    @functools.cached_property
    def keeper(self) -> Keeper:
        return Keeper(self.site.archiver, self.site.full, self.said.append, every=240, full_hours=24)

    def round(self) -> list[dict[str, Any]]:
        """Do one round, with the full backup that it begins; what was said."""
        self.said.clear()
        self.keeper.round()
        if self.keeper._running:
            self.keeper._running.join(120)
        return list(self.said)


def test_the_archive_takes_what_is_missing_by_itself(site: Site) -> None:
    kept = Kept(site)
    site.write("before")
    first = kept.round()
    assert [step.get("full", "log") for step in first] == ["log", "begins", first[-1]["full"]]
    site.write("a")
    moment = next_second()
    assert [list(step) for step in kept.round()] == [["stored", "problems"]]
    target = site.folder / "restored" / "data"
    assert site.restore(moment, target).full == first[-1]["full"]
    assert site.rows(target) == {"before", "a"}


def test_a_gap_is_closed_by_a_full_backup_at_once(site: Site) -> None:
    kept = Kept(site)
    kept.round()
    kept.round()
    for name in ("a", "b"):
        site.write(name)
        site.live.root("FLUSH BINARY LOGS")
    last = site.live.root("SHOW BINARY LOGS").splitlines()[-1].split()[0]
    site.live.root(f"PURGE BINARY LOGS TO '{last}'")
    said = kept.round()
    assert said[0]["problems"]
    assert "files are missing in the log behind" in said[1]["because"]
    site.write("c")
    moment = next_second()
    kept.round()
    target = site.folder / "restored" / "data"
    site.restore(moment, target)
    assert site.rows(target) == {"a", "b", "c"}


def test_a_log_that_was_begun_anew_is_another_line(site: Site) -> None:
    """As when a replica is seeded: the same names come again, with other changes."""
    kept = Kept(site)
    for name in ("a", "b", "c"):
        site.write(name)
        kept.round()
    site.live.root("RESET MASTER; DELETE FROM clinic.patient; RESET MASTER")
    site.write("d")
    said = kept.round()
    assert "begun anew" in said[0]["problems"][0]
    assert "there is no full backup of the lineage" in said[1]["because"]
    site.write("e")
    moment = next_second()
    assert kept.round()[0]["problems"] == []
    target = site.folder / "restored" / "data"
    assert site.restore(moment, target).full == f"{said[2]['full']}"
    assert site.rows(target) == {"d", "e"}


def test_a_server_that_takes_no_writes_is_left_to_its_primary(site: Site) -> None:
    kept = Kept(site)
    site.live.root("SET GLOBAL read_only = ON")
    try:
        assert kept.round() == [{"idle": REPLICA}]
        assert site.archive.entries("mariadb") == []
    finally:
        site.live.root("SET GLOBAL read_only = OFF")
    assert kept.round()[0]["stored"]


LIMITS = Limits(full_hours=26, log_minutes=10)


def tried(prepared: Prepared, archive: Archive | None = None, limits: Limits = LIMITS) -> Drill:
    """Restore the latest moment for nothing."""
    site, target = prepared.site, prepared.site.folder / "restored" / "drill"
    return drill(archive or site.archive, site.programs, instance="mariadb", target=target, limits=limits)


def test_a_drill_says_what_comes_back(prepared: Prepared) -> None:
    done = tried(prepared)
    assert done.problems == []
    assert done.counts["clinic.patient"] >= len(prepared.site.of_before(prepared.moment))
    assert (done.full, set(done.seconds)) == (prepared.full.name, {"restore", "check"})


def held(prepared: Prepared) -> Snapshot:
    """What the server holds, as the module asks for it."""
    live = prepared.site.live
    return take_snapshot(Session(mariadb.LocalTransport(live), live.login("root"), where="Pod/mariadb/mariadb-0"))


def snapshot_under_writes(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> Snapshot:
    """Taken while a row is written every few milliseconds, for a second between the position and the counting."""
    monkeypatch.setattr(snapshots, "_POSITION", f"{snapshots._POSITION}, SLEEP(1) AS pause")
    over = threading.Event()

    def write() -> None:
        for number in itertools.takewhile(lambda _: not over.is_set(), itertools.count()):
            prepared.site.write(f"meanwhile-{number}")

    with ThreadPoolExecutor() as pool:
        writing = pool.submit(write)
        try:
            time.sleep(0.3)
            snapshot = held(prepared)
            time.sleep(0.3)
        finally:
            over.set()
        writing.result()
    return snapshot


def restored(prepared: Prepared, snapshot: Snapshot) -> Drill:
    """Restore the transactions of a snapshot, of which the last come into the archive meanwhile."""
    site, target = prepared.site, prepared.site.folder / "restored" / "drill"
    where: dict[str, Any] = {"instance": "mariadb", "target": target, "limits": LIMITS}
    later = threading.Timer(1, site.archiver.round)
    later.start()
    moment = snapshot.moment.timestamp()
    done = drill(site.archive, site.programs, until=by_domain(snapshot.gtid), moment=moment, **where)
    later.join()
    return done


def test_what_is_restored_is_what_the_server_held(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """While others write, so that no moment of whole seconds would do."""
    live = prepared.site.live
    live.root("CREATE TABLE clinic.visit (id INT PRIMARY KEY, date_created DATETIME NOT NULL)")
    live.root("INSERT INTO clinic.visit VALUES (1, '2026-11-20 14:03:00')")
    snapshot = snapshot_under_writes(prepared, monkeypatch)
    done = restored(prepared, snapshot)
    assert 0 < snapshot.counts["clinic.patient"] < int(live.root("SELECT COUNT(*) FROM clinic.patient"))
    assert snapshot.newest["clinic.visit.date_created"] == "2026-11-20 14:03:00"
    assert (done.problems, differences(snapshot, done.facts()["drill"])) == ([], [])


@pytest.mark.sabotage
def test_what_was_counted_without_a_snapshot_is_not_what_comes_back(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "_SNAPSHOT", "DO 0")
    snapshot = snapshot_under_writes(prepared, monkeypatch)
    told = differences(snapshot, restored(prepared, snapshot).facts()["drill"])
    assert any(line.startswith("clinic.patient: ") for line in told)


@pytest.mark.sabotage
def test_one_row_more_or_fewer_is_told(prepared: Prepared) -> None:
    site, target = prepared.site, prepared.site.folder / "restored" / "drill"
    snapshot = held(prepared)
    site.archiver.round()
    where: dict[str, Any] = {"instance": "mariadb", "target": target, "moment": snapshot.moment.timestamp()}
    drilled = drill(site.archive, site.programs, limits=LIMITS, until=by_domain(snapshot.gtid), **where)
    fewer = replace(snapshot, counts={**snapshot.counts, "clinic.patient": snapshot.counts["clinic.patient"] + 1})
    [told] = differences(fewer, drilled.facts()["drill"])
    assert re.fullmatch(r"clinic\.patient: (\d+) rows came back of \d+", told)
    shutil.rmtree(target)
    site.archiver.round()
    site.write("not archived")
    until = by_domain(held(prepared).gtid)
    with pytest.raises(BackupError, match="did not come into the archive within"):
        drill(site.archive, site.programs, limits=replace(LIMITS, log_minutes=0.2), until=until, **where)


@pytest.mark.sabotage
def test_a_drill_is_not_passed_by_what_is_spoiled(prepared: Prepared) -> None:
    keys, store = prepared.site.archive.keys, prepared.store
    for archive, message in (
        (Archive(Changed(store, flipped), keys), "is not what was stored"),
        (Archive(store, RsaWrapper()), "does not unwrap the key of a backup"),
        (Archive(Changed(store, shown=lambda blob: "/full/" not in blob.name), keys), "no complete backup"),
        (Archive(Changed(store, shown=last_but_one_log_missing(store)), keys), "files are missing in the log behind"),
    ):
        with pytest.raises(BackupError, match=message):
            tried(prepared, archive)
    with pytest.raises(BackupError, match=r"is 0\.0 hours old"):
        tried(prepared, limits=Limits(full_hours=0, log_minutes=10))
    with pytest.raises(BackupError, match="are not archived"):
        tried(prepared, limits=Limits(full_hours=26, log_minutes=0))


def restored_beside(prepared: Prepared, statements: str = "") -> Path:
    """What a restore for good makes of the moment, and says of it."""
    site, target = prepared.site, prepared.site.folder / "restored" / "mysql"
    where: dict[str, Any] = {"instance": "mariadb", "target": target, "moment": prepared.moment}
    done = proven(site.archive, site.programs, statements=statements, **where)
    assert done.problems == []
    assert done.counts["clinic.patient"] == len(site.of_before(prepared.moment))
    assert done.facts()["drill"]["moment"] == dt.datetime.fromtimestamp(prepared.moment, dt.UTC).isoformat()
    return target


def role_statements() -> str:
    """The statements of the role, as an inventory gives them."""
    text = (ROOT / "roles" / "mariadb" / "defaults" / "main.yml").read_text(encoding="utf-8")
    return str(yaml.safe_load(text)["mariadb_restore_sql"]).replace("{{ mariadb_database }}", "clinic")


def test_what_is_restored_for_good_is_checked_and_has_its_index_made_anew(prepared: Prepared) -> None:
    site = prepared.site
    site.live.root(
        "CREATE TABLE clinic.global_property (property VARCHAR(255) PRIMARY KEY, property_value TEXT); "
        "INSERT INTO clinic.global_property VALUES ('search.indexVersion', '8'), ('default_locale', 'fr')"
    )
    prepared.moment = next_second()
    site.archiver.round()
    target = restored_beside(prepared, role_statements())
    with site.started(target) as restored:
        rows = dict(line.split("\t") for line in restored.root("SELECT * FROM clinic.global_property").splitlines())
        assert rows == {"search.indexVersion": "", "default_locale": "fr"}
        logged = restored.root("SELECT @@gtid_binlog_state").strip()
        assert logged == "", "no log of changes has the statements"


def test_where_there_is_no_index_nothing_is_done(prepared: Prepared) -> None:
    target = restored_beside(prepared, role_statements())
    assert prepared.site.rows(target) == prepared.site.of_before(prepared.moment)


def test_a_statement_that_is_refused_is_an_error(prepared: Prepared) -> None:
    with pytest.raises(BackupError, match="doesn't exist"):
        restored_beside(prepared, "UPDATE clinic.nothing SET a = 1")


def test_an_archive_that_no_drill_would_take_is_restored_from(prepared: Prepared) -> None:
    with pytest.raises(BackupError, match="hours old"):
        tried(prepared, limits=Limits(full_hours=0, log_minutes=0))
    assert restored_beside(prepared).is_dir()


@pytest.mark.sabotage
def test_a_restore_that_brings_damage_back_is_not_passed(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(*arguments: Any, target: Path, **options: Any) -> Restored:
        done = restore(*arguments, target=target, **options)
        content = bytearray((target / "clinic" / "patient.ibd").read_bytes())
        content[16384 * 3 + 200 : 16384 * 3 + 300] = b"\xff" * 100
        (target / "clinic" / "patient.ibd").write_bytes(content)
        return done

    monkeypatch.setattr("mariadb_archive.drill.restore", damaged)
    with pytest.raises((AssertionError, BackupError)):
        restored_beside(prepared)


def last_but_one_log_missing(store: BlobStore) -> Callable[[Blob], bool]:
    logs = [blob.name for blob in store.list("mariadb/") if "/log/" in blob.name]
    return lambda blob: blob.name != logs[-2]


def test_an_identity_that_only_reads_and_adds_is_enough(site: Site, storage: Storage) -> None:
    assert isinstance(site.archive.store, BlobStore)
    container = site.archive.store.url.rpartition("/")[2]
    roles = [one for one in render("production", site.folder)["azure"] if "/roleDefinitions/" in one["id"]]
    [actions] = [role["properties"]["permissions"][0]["dataActions"] for role in roles]
    short = [action.partition("/blobs/")[2] for action in actions]
    storage.allow_actions(short, storage.azure.settings.second_object_id, "9", container=container)
    kept = Kept(replace(site, archive=Archive(store(storage, site.archive.store.url, second=True), RsaWrapper())))
    assert [step.get("problems") for step in kept.round()] == [[], None, None]
    site.write("a")
    moment = next_second()
    assert kept.round()[0]["problems"] == []
    kept.site.restore(moment, site.folder / "restored" / "data")


def test_a_log_that_was_purged_before_it_was_stored_is_told(site: Site) -> None:
    site.archiver.round()
    for name in ("a", "b"):
        site.write(name)
        site.live.root("FLUSH BINARY LOGS")
    last = site.live.root("SHOW BINARY LOGS").splitlines()[-1].split()[0]
    site.live.root(f"PURGE BINARY LOGS TO '{last}'")
    [problem] = site.archiver.round().problems
    assert re.search(r"between .* and .*: \d files are missing; take a full backup", problem)


def test_what_comes_back_is_a_beginning_of_the_log_also_when_the_clock_was_wrong(site: Site) -> None:
    site.full()
    site.write("before")
    moment = next_second()
    for name, skew in (("early", -3600), ("punctual", 0), ("late", 3600), ("again", 0)):
        time.sleep(0 if skew else 1)
        insert = f"INSERT INTO clinic.patient VALUES ('{name}', 0, '')"  # noqa: S608 (constants)
        site.live.root(f"SET TIMESTAMP = UNIX_TIMESTAMP() + {skew}; {insert}")
    assert site.archiver.round().problems == []
    log = ["before", "early", "punctual", "late", "again"]
    # The time of a transaction is what the server took it for. The first one that is too late ends the restore.
    for number, (after, last) in enumerate(((0, "early"), (5, "punctual"), (3600, "punctual"))):
        target = site.folder / "restored" / str(number)
        site.restore(moment + after, target)
        assert site.rows(target) == set(log[: log.index(last) + 1])


def test_a_full_disk_stops_the_backup_and_not_the_database(site: Site) -> None:
    with full_disk(site.folder / "scratch") as scratch:
        with pytest.raises(BackupError, match=r"told no position: .* room in"):
            back_up(site.archive, site.server, instance="mariadb", state=site.state, scratch=scratch)
        assert site.archive.entries("mariadb") == []
        site.write("the database goes on")
        assert site.archiver.round().problems == []


def test_a_restore_to_a_small_disk_is_refused(prepared: Prepared) -> None:
    with full_disk(prepared.site.folder / "small", "4m", fill=False) as small:
        with pytest.raises(BackupError, match=r"small has \d MiB free, the restore needs \d+ MiB"):
            prepared.site.restore(prepared.moment, small / "data")
        assert not list(small.iterdir())


@contextlib.contextmanager
def full_disk(folder: Path, size: str = "64k", *, fill: bool = True) -> Iterator[Path]:
    """A small disk of its own."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.decode().strip()}")
    try:
        if fill:
            with contextlib.suppress(OSError), (folder / "filler").open("wb") as file:
                for _ in range(64):
                    file.write(b"x" * 1024)
                    file.flush()
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_nobody_overwrites_or_removes_a_backup(prepared: Prepared, storage: Storage) -> None:
    name = prepared.full.name
    assert prepared.store.delete([name]) == {name: "BlobImmutableDueToPolicy"}
    with pytest.raises(AlreadyThere):
        prepared.store.put(name, [b"other"], lambda: "other")
    reader = store(storage, prepared.store.url, second=True)
    assert any(blob.name == name for blob in reader.list("mariadb/"))
    with pytest.raises(BackupError, match="AuthorizationPermissionMismatch"):
        reader.put("mariadb/new", [b"content"], lambda: "")
    assert site_is_unchanged(prepared)


def site_is_unchanged(prepared: Prepared) -> bool:
    entry = next(
        found for found in prepared.site.archive.entries("mariadb") if found.manifest.name == prepared.full.name
    )
    return sum(map(len, prepared.site.archive.read(entry))) > 0


def test_a_restored_server_is_looked_through(prepared: Prepared) -> None:
    target = prepared.site.folder / "restored" / "data"
    prepared.site.restore(prepared.moment, target)
    found = check(prepared.site.programs, target)
    assert found.problems == []
    assert found.rows["clinic.patient"] == len(prepared.site.of_before(prepared.moment))
    damaged = next(target.glob("clinic/patient.ibd"))
    content = bytearray(damaged.read_bytes())
    content[16384 * 3 + 200 : 16384 * 3 + 300] = b"\xff" * 100
    damaged.write_bytes(content)
    with pytest.raises(BackupError):
        assert check(prepared.site.programs, target).problems == []
        raise BackupError("the damage is not found")


@pytest.mark.parametrize(
    ("seconds", "moments"), [(20, 2), pytest.param(600, 20, marks=[pytest.mark.soak, pytest.mark.timeout(7200)])]
)
def test_moments_chosen_at_random_while_rows_are_written(site: Site, seconds: int, moments: int) -> None:
    stop, written = threading.Event(), itertools.count()

    def write() -> None:
        while not stop.is_set():
            site.write(*(f"row-{next(written)}" for _ in range(3)))

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write) for _ in range(2)]
        try:
            end = time.monotonic() + seconds
            full = site.full()
            while time.monotonic() < end:
                time.sleep(2)
                assert site.archiver.round().problems == []
        finally:
            stop.set()
        for writer in writers:
            writer.result()
    assert site.archiver.round().problems == []
    [reached] = ranges(entry.manifest for entry in site.archive.entries("mariadb"))
    chosen = random.Random(seconds)  # noqa: S311
    for number in range(moments):
        moment = chosen.uniform(full.finished, reached.until)
        target = site.folder / "restored" / str(number)
        site.restore(moment, target)
        assert site.rows(target) == site.of_before(moment), f"{number}: {moment}"
    assert next(written) > seconds
