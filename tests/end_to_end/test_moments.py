"""Whatever moment is chosen while centres write and backups run, exactly the rows of that moment come back."""

from __future__ import annotations

import datetime as dt
import random
import time

import pytest

from tests.end_to_end.conftest import Platform
from tests.end_to_end.support import archive
from tests.end_to_end.support.database import query
from tests.end_to_end.support.history import History, being_written, restored_rows

BACKUP_EVERY = 45


def write_and_back_up(platform: Platform, seconds: float, seed: int) -> History:
    """Write for a while, with a full backup now and then; return what was written, all of it archived."""
    with being_written(platform.lab, seed) as history:
        over = time.monotonic() + seconds
        while (left := over - time.monotonic()) > 0:
            time.sleep(min(left, BACKUP_EVERY / 3))
            if time.monotonic() < over:
                platform.run("backup").ok()
                time.sleep(max(0.0, min(over - time.monotonic(), BACKUP_EVERY)))
    archive.await_archived(platform.lab, dt.datetime.now(dt.UTC))
    return history


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("seconds", "restores"), [(60, 2), pytest.param(600, 20, marks=pytest.mark.soak)], ids=["a minute", "ten minutes"]
)
def test_exactly_the_rows_of_any_moment_come_back(well: Platform, seconds: float, restores: int) -> None:
    seed = time.time_ns()
    history = write_and_back_up(well, seconds, seed)
    chance, wrong = random.Random(seed), []  # noqa: S311 (not a secret)
    first, last = history.transactions[0].ended, history.transactions[-1].began
    try:
        for number in range(restores):
            moment = dt.datetime.fromtimestamp(int(chance.uniform(first + 1, last)), dt.UTC)
            extra = {"restore_to": moment.isoformat(), "restore_volume": f"moment-{number}"}
            run = well.run("restore", extra=extra).ok()
            [result] = run.results_of("mariadb_restore")
            reached = int(result["report"]["gtid"]["0"].split("-")[2])
            history.assert_is_of(moment.timestamp(), reached)
            rows, expected = restored_rows(well.lab, result["claim"]), history.rows(reached)
            print(f"seed {seed}: {moment.isoformat()} is 0-1-{reached}: {len(rows)} rows, {len(expected)} expected")
            if rows != expected:
                wrong.append(moment)
            # It would have been seen: no two transactions leave the same rows.
            assert rows != history.rows(reached - 1) or reached not in {one.number for one in history.transactions}
    finally:
        query(well.lab, "DROP DATABASE history")
    assert (len(history.transactions) > seconds * 5, wrong) == (True, [])
