"""Whatever fails while backups are made, what the restore check says of them is true: it compares with the server."""

from __future__ import annotations

import contextlib
import datetime as dt
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import Platform
from tests.end_to_end.support import archive
from tests.end_to_end.support.pods import kill_process, pod_names
from tests.end_to_end.support.writing import writing
from tests.end_to_end.test_backup import assert_nothing_left, ready, restore_check
from tests.integration.support.playbook import start_playbook
from tests.integration.support.waiting import until

ROUNDS = 20
LONGEST = 20
STORAGE = ("--match", ".* /blob/.*", "--count", "100000")

Fault = Callable[[Platform], contextlib.AbstractContextManager[None]]


def storage(kind: str, *options: str) -> Fault:
    """Every request to the storage fails so for a while."""

    @contextlib.contextmanager
    def fault(platform: Platform) -> Iterator[None]:
        platform.lab.fault(kind, *STORAGE, *options)
        try:
            yield
        finally:
            platform.lab.fault("clear")

    return fault


def killed(program: str) -> Fault:
    """A process of the database's pod dies, and nothing more."""

    @contextlib.contextmanager
    def fault(platform: Platform) -> Iterator[None]:
        kill_process(platform.lab, "mariadb", "mariadb-0", program)
        yield

    return fault


@contextlib.contextmanager
def killed_in_a_backup(platform: Platform) -> Iterator[None]:
    """The archive dies while it takes a full backup."""
    with tempfile.TemporaryDirectory() as folder:
        where: dict[str, Any] = {"record": Path(folder) / "record", "output": subprocess.DEVNULL}
        process = start_playbook(platform.lab, "backup", extra=platform.declared, **where)
        try:
            yield
            kill_process(platform.lab, "mariadb", "mariadb-0", "python3")
        finally:
            process.wait(300)


FAULTS: dict[str, Fault] = {
    "500": storage("error", "--status", "500"),
    "503": storage("error", "--status", "503"),
    "429": storage("throttle", "--retry-after", "2"),
    "slow": storage("latency", "--milliseconds", "3000"),
    "dropped": storage("drop"),
    "archive killed": killed("python3"),
    "database killed": killed("mariadbd"),
    "killed in a backup": killed_in_a_backup,
}


@pytest.mark.soak
@pytest.mark.timeout(2 * 3600)
def test_what_is_said_to_come_back_does_whatever_failed_before(well: Platform, tmp_path: Path) -> None:
    seed = time.time_ns()
    chance = random.Random(seed)  # noqa: S311 (not a secret)
    names = [*FAULTS, *chance.choices(list(FAULTS), k=ROUNDS - len(FAULTS))]
    chance.shuffle(names)
    # A first full backup that is cut short is tried again after a quarter of an hour; until then nothing comes back.
    archive.await_archived(well.lab, dt.datetime.now(dt.UTC))
    for number, name in enumerate(names):
        with writing(well.ledger) as writer:
            time.sleep(chance.uniform(0, 3))
            with FAULTS[name](well):
                time.sleep(chance.uniform(0, LONGEST))
            until(lambda: ready(well), "the database is ready", 240)
            # Killed twice, it is started again after a pause; without it nothing is compared. Its state is told late.
            until(lambda: bool(archive.run(well.lab, "list", check=False)), "the archive answers", 240)
            well.clinic.await_healthy()
            # They write on meanwhile: the snapshot is of a moment in between.
            run, report = restore_check(well, tmp_path / f"{number}.json")
        told = f"seed {seed}, round {number}, {name}: {report['problems']}, {writer.confirmed} records"
        print(told)
        run.ok()
        assert report["comes_back"], told
        assert report["compared"] == report["tables"] > 0, told
        assert 0 < report["counts"]["openmrs.patient"] <= len(well.ledger.confirmed) + 50, told
    assert_nothing_left(well.lab)


@pytest.mark.soak
@pytest.mark.sabotage
def test_a_restore_that_dies_is_not_said_to_come_back(well: Platform, tmp_path: Path) -> None:
    def restoring() -> list[str]:
        return pod_names(well.lab, "mariadb", "app.kubernetes.io/name=mariadb-restore")

    def die() -> bool:
        with contextlib.suppress(AssertionError, ValueError):
            kill_process(well.lab, "mariadb", restoring()[0], "mariadbd")
            return True
        return False

    extra = {**well.declared, "mariadb_restore_check_report": str(tmp_path / "report.json")}
    process = start_playbook(well.lab, "restore_check", extra=extra, record=tmp_path / "record")
    until(lambda: bool(restoring()) and die(), "the restore is under way", 240, every=0.1)
    output, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "comes back: no" in output
    assert_nothing_left(well.lab)
