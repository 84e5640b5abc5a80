"""The archive of MariaDB on real pods takes what is written; what fails around it is nothing to the database."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import ARCHIVE_SECONDS, Platform
from tests.end_to_end.support import archive
from tests.end_to_end.support.database import query
from tests.end_to_end.support.pods import restarts
from tests.end_to_end.support.writing import writing
from tests.integration.support.lab import Lab
from tests.integration.support.lab_vault import value
from tests.integration.support.playbook import PlaybookRun
from tests.integration.support.waiting import until


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def ready(platform: Platform) -> bool:
    path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
    return platform.lab.kubectl("get", "pod", "mariadb-0", "-n", "mariadb", "-o", path) == "True"


def test_what_is_written_is_archived(well: Platform) -> None:
    well.ledger.write("Archivée")
    archive.await_archived(well.lab, now())
    listed = archive.run(well.lab, "list")
    assert listed["gaps"] == []
    assert sum(found["logs"] for found in listed["ranges"]) > 0
    assert archive.run(well.lab, "fresh") == {"fresh": True}


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_the_recovery_point_stays_below_five_minutes_while_centres_write(well: Platform) -> None:
    """With the interval that the role has by itself: how old the youngest change that could be restored is at worst."""
    shorter = well.declared.pop("mariadb_archive_every")
    try:
        well.site("--skip-tags", "verify").ok()
        with writing(well.ledger) as writer:
            archive.await_archived(well.lab, now(), 600)
            ages, end = [], time.monotonic() + 3 * 240
            while time.monotonic() < end:
                ages.append((now() - archive.archived_until(well.lab)).total_seconds())
                time.sleep(5)
        print(f"{max(ages):.0f} s at worst, of {len(ages)} looks, while {writer.confirmed} records were confirmed")
        assert max(ages) < 300
    finally:
        well.declared["mariadb_archive_every"] = shorter
        well.site("--skip-tags", "verify").ok()


@pytest.mark.sabotage
def test_an_archive_that_stands_still_is_told(well: Platform) -> None:
    archive.await_archived(well.lab, now() - dt.timedelta(seconds=ARCHIVE_SECONDS))
    assert archive.run(well.lab, "fresh", "--log-minutes", "0.01", check=False) == {}


def test_a_storage_that_fails_is_nothing_to_the_database(well: Platform) -> None:
    before = restarts(well.lab, "mariadb", "mariadb-0")
    well.lab.fault("error", "--match", "PUT /blob/.*", "--status", "503", "--count", "100000")
    try:
        written = now()
        well.ledger.write("Sans-stockage")
        failed = "was not stored"
        until(lambda: any(failed in str(step.get("problems")) for step in archive.said(well.lab)), failed, 240)
        assert ready(well)
        assert archive.archived_until(well.lab) < written
    finally:
        well.lab.fault("clear")
    archive.await_archived(well.lab, now())
    assert restarts(well.lab, "mariadb", "mariadb-0") == before


@pytest.mark.soak
def test_a_new_password_is_taken_without_a_restart(well: Platform) -> None:
    before, started = value(well.lab, "mariadb-archive-password"), restarts(well.lab, "mariadb", "mariadb-0")
    well.run("rotate", extra={"secret": "mariadb-archive-password"}).ok()
    assert value(well.lab, "mariadb-archive-password") != before
    # The kubelet brings the new file within two minutes.
    archive.await_archived(well.lab, now())
    assert restarts(well.lab, "mariadb", "mariadb-0") == started


def test_its_account_reads_no_table(well: Platform) -> None:
    client = ["mariadb", "--defaults-extra-file=/run/secrets/mariadb-archive/account.cnf", "-e"]
    for statement in ("SELECT * FROM openmrs.patient", "CREATE DATABASE other", "SELECT * FROM mysql.global_priv"):
        command = ["exec", "-n", "mariadb", "mariadb-0", "-c", "archive", "--", *client, statement]
        with pytest.raises(AssertionError, match="denied"):
            well.lab.kubectl(*command)


def test_it_writes_no_file_of_the_server(well: Platform) -> None:
    with pytest.raises(AssertionError, match="Read-only file system"):
        well.lab.kubectl("exec", "-n", "mariadb", "mariadb-0", "-c", "archive", "--", "touch", "/var/lib/mysql/mine")


def restore_check(platform: Platform, report: Path, **extra: object) -> tuple[PlaybookRun, dict[str, Any]]:
    """Run the playbook; the run and its report."""
    run = platform.run("restore_check", extra={"mariadb_restore_check_report": str(report), **extra})
    return run, json.loads(report.read_text(encoding="utf-8"))


def assert_nothing_left(lab: Lab) -> None:
    """Expect no Job, pod, claim or volume of a restore."""
    selector = ("-n", "mariadb", "-l", "app.kubernetes.io/name=mariadb-restore")
    assert lab.kubectl("get", "jobs,pods", *selector, "-o", "name") == ""
    claims = lab.kubectl("get", "pvc", "-n", "mariadb", "-o", "name").split()
    assert claims == ["persistentvolumeclaim/data-mariadb-0"]
    scratch = "jsonpath={.items[?(@.spec.storageClassName=='platform-scratch')].metadata.name}"
    until(lambda: lab.kubectl("get", "pv", "-o", scratch) == "", "the disk is gone", 120)


def test_a_full_backup_on_request(well: Platform) -> None:
    before = {entry["backup"] for entry in archive.run(well.lab, "list")["ranges"]}
    run = well.run("backup").ok()
    assert run.changed == 1
    assert "is stored" in run.output
    assert "can be restored: " in run.output
    assert len({entry["backup"] for entry in archive.run(well.lab, "list")["ranges"]} - before) == 1


def test_what_was_written_comes_back(well: Platform, tmp_path: Path) -> None:
    for name in ("Premier", "Deuxième", "Troisième"):
        well.ledger.write(name)
    tables = ("openmrs.patient", "openmrs.person_name")
    expected = {table: int(query(well.lab, f"SELECT COUNT(*) FROM {table}")) for table in tables}  # noqa: S608
    run, report = restore_check(well, tmp_path / "report.json")
    assert run.ok().changed == 0
    assert "comes back: yes" in run.output
    assert report["compared"] == report["tables"] > len(tables)
    assert {table: report["counts"][table] for table in tables} == expected
    assert (report["comes_back"], report["problems"]) == (True, [])
    assert set(report["seconds"]) == {"restore", "check"}
    assert "mariadb_restore_check_success" in report["metrics"]
    assert_nothing_left(well.lab)


@contextlib.contextmanager
def tampered(lab: Lab) -> Iterator[None]:
    """Another bit in each full backup, where Azurite keeps it."""
    changed: dict[Path, bytes] = {}
    for extent in (lab.home / "blobs" / "__blobstorage__").iterdir():
        content = bytearray(extent.read_bytes())
        found = content.find(b"MARIADB-ARCHIVE-1\n")
        while found >= 0:
            header = content[found : found + 2000]
            if b"/full/" in header[: header.find(b"}")]:
                changed.setdefault(extent, extent.read_bytes())
                content[found + 5000] ^= 1
            found = content.find(b"MARIADB-ARCHIVE-1\n", found + 1)
        if extent in changed:
            extent.write_bytes(bytes(content))
    assert changed
    try:
        yield
    finally:
        for extent, before in changed.items():
            # What was added meanwhile stays.
            extent.write_bytes(before + extent.read_bytes()[len(before) :])


@pytest.mark.sabotage
def test_a_changed_backup_does_not_come_back(well: Platform, tmp_path: Path) -> None:
    archive.await_archived(well.lab, now() - dt.timedelta(seconds=ARCHIVE_SECONDS))
    with tampered(well.lab):
        run, report = restore_check(well, tmp_path / "report.json")
    assert "comes back: no" in run.failure()
    assert "is not what was stored" in run.failure()
    assert report["comes_back"] is False
    assert "mariadb_restore_check_success" in report["metrics"]
    assert_nothing_left(well.lab)


@pytest.mark.sabotage
@pytest.mark.soak
def test_a_backup_that_is_too_old_is_one_clear_error(well: Platform, tmp_path: Path) -> None:
    run, report = restore_check(well, tmp_path / "report.json", mariadb_archive_limit_hours=0)
    assert "hours old, at most 0 are allowed" in run.failure()
    assert report["comes_back"] is False
    assert_nothing_left(well.lab)
