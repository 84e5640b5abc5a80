"""A moment comes back beside the database, and with consent takes its place: exactly its records are there."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import Platform
from tests.end_to_end.support import archive
from tests.end_to_end.support.database import query
from tests.end_to_end.support.pods import pod_names, pods
from tests.integration.support.playbook import PlaybookRun, kill_playbook, start_playbook
from tests.integration.support.waiting import until

# The platform is on another volume afterwards, without the records of after the moment.
pytestmark = pytest.mark.spoils

PARIS = dt.timezone(dt.timedelta(hours=1))
LONG_AGO = dt.datetime.fromtimestamp(0, PARIS)
ERASED = (
    "DELETE FROM openmrs.patient_identifier WHERE patient_id ="
    " (SELECT person_id FROM openmrs.person WHERE uuid = '{key}')"
)


def next_second() -> dt.datetime:
    """Wait until a second begins; it."""
    moment = dt.datetime.now(PARIS).replace(microsecond=0) + dt.timedelta(seconds=2)
    time.sleep((moment - dt.datetime.now(PARIS)).total_seconds())
    return moment


def claims(platform: Platform) -> dict[str, str]:
    """Return the uids of the claims of MariaDB by their names."""
    listed = json.loads(platform.lab.kubectl("get", "pvc", "-n", "mariadb", "-o", "json"))["items"]
    return {claim["metadata"]["name"]: claim["metadata"]["uid"] for claim in listed}


def uids(platform: Platform) -> set[str]:
    """Return what tells the pods of database and backend from their successors."""
    found = [*pods(platform.lab, "mariadb"), *pods(platform.lab, "openmrs", "app.kubernetes.io/component=backend")]
    return {pod["metadata"]["uid"] for pod in found}


@dataclass
class Accident:
    """What centres wrote before a moment and after it, and what was erased then."""

    platform: Platform
    name: str
    kept: list[str] = field(default_factory=list)
    erased: str = ""
    lost: list[str] = field(default_factory=list)
    moment: dt.datetime = LONG_AGO

    @property
    def text(self) -> str:
        return self.moment.isoformat()

    @property
    def volume(self) -> str:
        return self.moment.astimezone(dt.UTC).strftime("r%Y%m%dt%H%M%Sz")

    @property
    def before(self) -> str:
        """Name of the volume in use."""
        return str(self.platform.declared.get("mariadb_volume", "data"))

    def happen(self) -> None:
        """Write, note the moment, erase and write on; the search index knows of it."""
        clinic, ledger, name = self.platform.clinic, self.platform.ledger, self.name
        self.kept = [ledger.write(f"{name}-avant-{number}") for number in range(3)]
        self.erased = ledger.write(f"{name}-effacée")
        self.moment = next_second()
        query(self.platform.lab, ERASED.format(key=self.erased))
        self.lost = [clinic.register(f"{name}-après-{number}") for number in range(3)]
        clinic.reindex()
        assert clinic.patient(self.erased) is None
        assert clinic.search(f"{name}-effacée") == set()
        archive.await_archived(self.platform.lab, self.moment)

    def restore(self, *arguments: str, **extra: object) -> PlaybookRun:
        return self.platform.run("restore", *arguments, extra={"restore_to": self.text, **extra})

    def cut_short(self, record: Path, when: Callable[[], bool], **extra: object) -> None:
        """Kill the run with all its processes at some moment."""
        variables = {**self.platform.declared, "restore_to": self.text, **extra}
        lab = self.platform.lab
        process = start_playbook(lab, "restore", record=record, extra=variables, output=subprocess.DEVNULL)
        try:
            until(lambda: when() or process.poll() is not None, "the run is where it is to be cut short", every=0.1)
            assert process.poll() is None, "the run ended before it could be cut short"
        finally:
            kill_playbook(process, record)

    def assert_as_it_was(self) -> None:
        """Expect the platform of after the accident."""
        clinic = self.platform.clinic
        assert clinic.patient(self.erased) is None
        assert [key for key in [*self.kept, *self.lost] if clinic.patient(key) is None] == []

    def assert_as_of_the_moment(self) -> None:
        """Expect every record of before the moment, and none of after it."""
        self.platform.ledger.assert_complete()
        clinic = self.platform.clinic
        assert clinic.patient(self.erased) is not None
        assert [key for key in self.lost if clinic.patient(key) is not None] == []

    def assert_found(self) -> None:
        """Expect the search index to know what the database does."""
        assert self.platform.clinic.search(self.name) == {*self.kept, self.erased}


@pytest.fixture(scope="module")
def accident(platform: Platform) -> Accident:
    """Have records erased, and others written after that."""
    happened = Accident(platform, f"Accident{uuid.uuid4().hex[:6]}")
    happened.happen()
    return happened


def result_of(run: PlaybookRun) -> dict[str, Any]:
    [result] = run.results_of("mariadb_restore")
    return dict(result)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"restore_to": "2026-01-01T00:00:00+01:00"}, "is in no range that can be restored"),
        ({"restore_to": "2126-01-01T00:00:00+01:00"}, "is in the future"),
        ({"restore_to": "2026-01-01T00:00:00"}, "has no offset from UTC"),
        ({"restore_volume": "data"}, "it is there and no restore made it"),
        ({"mariadb_restore_sql": "SELECT * FROM nowhere.nothing"}, "doesn't exist"),
    ],
)
def test_what_is_refused_touches_nothing(accident: Accident, extra: dict[str, object], message: str) -> None:
    before = claims(accident.platform), uids(accident.platform)
    disks = accident.platform.lab.kubectl("get", "pv", "-o", "name")
    run = accident.restore(**{"restore_switch": True, **extra})
    assert message in run.failure()
    assert (claims(accident.platform), uids(accident.platform)) == before
    until(lambda: accident.platform.lab.kubectl("get", "pv", "-o", "name") == disks, "no disk is left", 120)
    accident.assert_as_it_was()


def test_without_consent_it_is_restored_beside_and_nothing_else_changes(accident: Accident) -> None:
    platform = accident.platform
    before, running = claims(platform), uids(platform)
    predicted = result_of(accident.restore("--check").ok())
    assert (predicted["changed"], predicted["ready"], claims(platform)) == (True, False, before)
    result = result_of(accident.restore().ok())
    assert result["plan"] == predicted["plan"]
    patients = int(query(platform.lab, "SELECT COUNT(*) FROM openmrs.patient"))
    assert result["report"]["counts"]["openmrs.patient"] == patients - len(accident.lost)
    assert set(claims(platform)) - set(before) == {f"{accident.volume}-mariadb-0"}
    again = accident.restore().ok()
    assert (again.changed, result_of(again)["report"]["rows"]) == (0, result["report"]["rows"])
    assert "-e restore_switch=true" in again.output
    assert uids(platform) == running
    assert pod_names(platform.lab, "mariadb", "app.kubernetes.io/name!=mysqld-exporter") == ["mariadb-0"]
    accident.assert_as_it_was()


@pytest.mark.soak
def test_a_restore_that_is_cut_short_is_nothing_to_start_on_and_goes_on(accident: Accident, tmp_path: Path) -> None:
    lab = accident.platform.lab
    job = ("get", "pods", "-n", "mariadb", "-l", "app.kubernetes.io/name=mariadb-restore", "-o", "name")
    accident.cut_short(tmp_path / "cut", lambda: lab.kubectl(*job) != "", restore_volume="cut")
    wanted = {"mariadb_volume": "cut", "estate_allow_other_volumes": ["StatefulSet/mariadb/mariadb"]}
    refused = accident.platform.deploy("mariadb", extra=wanted).failure()
    assert "half a restore: cut-mariadb-0 was never found to be whole" in refused
    assert result_of(accident.restore(restore_volume="cut").ok())["ready"]
    lab.kubectl("delete", "pvc", "cut-mariadb-0", "-n", "mariadb")
    accident.assert_as_it_was()


def gone(platform: Platform) -> bool:
    """Tell whether MariaDB's StatefulSet is gone or going."""
    path = "jsonpath={.metadata.deletionTimestamp}{.metadata.name}"
    return platform.lab.kubectl("get", "statefulset", "mariadb", "-n", "mariadb", "-o", path, check=False) != "mariadb"


def test_another_volume_needs_consent_and_a_claim(accident: Accident) -> None:
    platform, running = accident.platform, uids(accident.platform)
    consent = {"estate_allow_other_volumes": ["StatefulSet/mariadb/mariadb"]}
    tags = ("--tags", "mariadb")
    for arguments in (tags, ("--check", *tags)):
        declared = {"mariadb_volume": accident.volume}
        refused = platform.run("deploy", *arguments, extra=declared).failure()
        assert f"its pods would start on other volumes, {accident.volume} instead of {accident.before}" in refused
        refused = platform.run("deploy", *arguments, extra={**consent, "mariadb_volume": "nothing"}).failure()
        assert "there is no claim nothing-mariadb-0" in refused
    assert uids(platform) == running


def test_with_consent_exactly_the_records_of_the_moment_are_there(accident: Accident, tmp_path: Path) -> None:
    platform = accident.platform
    before = claims(platform)
    predicted = accident.restore("--check", "--diff", restore_switch=True).ok()
    assert "volumeClaimTemplates" in predicted.output
    accident.assert_as_it_was()
    accident.cut_short(tmp_path / "cut", lambda: gone(platform), restore_switch=True)
    absent = ("get", "statefulset", "mariadb", "-n", "mariadb", "--ignore-not-found", "-o", "name")
    until(lambda: platform.lab.kubectl(*absent) == "", "the cut-off deletion has ended", 400)
    started = time.monotonic()
    run = accident.restore(restore_switch=True).ok()
    print(f"the switch took {time.monotonic() - started:.0f} s")
    assert f"Set mariadb_volume to {accident.volume} in the inventory" in " ".join(run.output.split())
    platform.assert_well()
    accident.assert_as_of_the_moment()
    accident.assert_found()
    assert claims(platform) == before
    refused = platform.deploy("mariadb").failure()
    assert f"its pods would start on other volumes, {accident.before} instead of {accident.volume}" in refused
    platform.declared["mariadb_volume"] = accident.volume
    assert platform.deploy().ok().changed == 0
    again = accident.restore(restore_switch=True).ok()
    assert (again.changed, result_of(again)["in_use"]) == (0, True)
    platform.ledger.write("Après la restauration")
    archive.await_archived(platform.lab, dt.datetime.now(dt.UTC))
    platform.assert_well()


@pytest.fixture(scope="module")
def second(accident: Accident) -> Iterator[Accident]:
    """Have another accident, on the restored volume: the database has a copy, and the index is left as it was."""
    platform = accident.platform
    platform.declared["mariadb_replicas"] = 1
    platform.deploy().ok()
    happened = Accident(platform, f"Second{uuid.uuid4().hex[:6]}")
    happened.happen()
    # With the copy the node has little left.
    happened.restore(restore_switch=True, mariadb_restore_sql="", mariadb_restore_cpu="50m").ok()
    platform.declared["mariadb_volume"] = happened.volume
    try:
        yield happened
    finally:
        platform.declared["mariadb_replicas"] = 0
        platform.deploy().ok()


@pytest.mark.soak
def test_a_copy_is_made_of_what_was_restored(second: Accident) -> None:
    platform = second.platform
    platform.assert_well()
    second.assert_as_of_the_moment()
    assert {f"{second.volume}-mariadb-0", f"{second.volume}-mariadb-1"} <= set(claims(platform))
    platform.ledger.write("Copiée")
    count = "SELECT COUNT(*) FROM openmrs.patient"
    until(lambda: query(platform.lab, count, pod="mariadb-1") == query(platform.lab, count), "the copy has everything")
    assert platform.deploy().ok().changed == 0


@pytest.mark.sabotage
@pytest.mark.soak
def test_an_index_that_is_left_as_it_was_is_noticed(second: Accident) -> None:
    with pytest.raises(AssertionError):
        second.assert_found()
    second.platform.clinic.reindex()
    second.assert_found()
