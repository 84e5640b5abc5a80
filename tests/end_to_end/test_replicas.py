"""A copy of the database on pods: it follows, takes no writes, and takes over with everything that was confirmed."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.end_to_end.conftest import Platform
from tests.end_to_end.support.database import query
from tests.end_to_end.support.writing import writing
from tests.integration.support.lab_vault import enabled, value
from tests.integration.support.waiting import until

pytestmark = pytest.mark.soak  # four runs of the platform

PLANNED = ["primary_alive"]
POSITION = "SELECT @@gtid_binlog_pos"


def promote(platform: Platform, number: int) -> None:
    """Move the primary while centres work, and write the new one into the inventory."""
    with writing(platform.ledger) as writer:
        platform.run("promote", extra={"mariadb_primary": number, "mariadb_promote_allow": PLANNED}).ok()
        platform.declared["mariadb_primary"] = number
        platform.clinic.await_healthy()
        platform.ledger.write("Promu")
    print(f"{writer.confirmed} records were confirmed meanwhile, {writer.refused} were not")


@pytest.fixture(scope="module")
def replicated(platform: Platform) -> Iterator[Platform]:
    """Give the platform with one copy of its database; afterwards it has none."""
    platform.ledger.write("Avant la copie")
    platform.declared["mariadb_replicas"] = 1
    started = time.monotonic()
    run = platform.site("--skip-tags", "verify")
    try:
        print(f"the copy was there after {time.monotonic() - started:.0f} s")
        run.ok()
        yield platform
    finally:
        if platform.declared.pop("mariadb_primary", 0):
            promote(platform, 0)
        platform.declared |= {"mariadb_replicas": 0, "mariadb_primary": 0}
        platform.site("--skip-tags", "verify").ok()


def test_a_copy_follows_and_takes_no_writes(replicated: Platform) -> None:
    replicated.ledger.write("Suivi")
    written = query(replicated.lab, POSITION)
    until(lambda: query(replicated.lab, POSITION, pod="mariadb-1") == written, "the copy has the last record")
    assert query(replicated.lab, "SELECT @@read_only", pod="mariadb-1") == "1"
    addresses = ["get", "endpoints", "mariadb-replicas", "-n", "mariadb", "-o", "jsonpath={..targetRef.name}"]
    assert replicated.lab.kubectl(*addresses) == "mariadb-1"


def test_a_copy_follows_with_another_password(replicated: Platform) -> None:
    names = ["mariadb-replication-password", "mariadb-backup-password"]
    before = {name: value(replicated.lab, name) for name in names}
    replicated.run("rotate", extra={"secrets_rotation_only": names}).ok()
    assert [name for name in names if value(replicated.lab, name) == before[name]] == []
    assert {name: enabled(replicated.lab, name).count(True) for name in names} == dict.fromkeys(names, 1)
    dump = "SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'"
    for connection in query(replicated.lab, dump).split():
        query(replicated.lab, f"KILL {connection}")
    replicated.ledger.write("Autre-clé")
    written = query(replicated.lab, POSITION)
    until(lambda: query(replicated.lab, POSITION, pod="mariadb-1") == written, "the copy has signed in again")


def test_a_second_run_with_a_copy_changes_nothing(replicated: Platform) -> None:
    assert replicated.site("--skip-tags", "verify").ok().changed == 0


def test_the_copy_takes_over_with_every_confirmed_record(replicated: Platform) -> None:
    promote(replicated, 1)
    assert replicated.site().ok().findings() == []
    replicated.assert_well()
    assert query(replicated.lab, "SELECT @@read_only", pod="mariadb-1") == "0"
    assert query(replicated.lab, "SELECT @@read_only", pod="mariadb-0") == "1"
    written = query(replicated.lab, POSITION, pod="mariadb-1")
    until(lambda: query(replicated.lab, POSITION) == written, "the old primary follows")
