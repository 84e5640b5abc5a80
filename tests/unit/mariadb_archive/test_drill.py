"""What of a restored server is wrong, by the times in its rows."""

from __future__ import annotations

import datetime as dt

import pytest
from mariadb_archive.drill import later_than

MOMENT = dt.datetime(2026, 11, 20, 14, 3, tzinfo=dt.timezone(dt.timedelta(hours=1)))


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("2026-11-20 13:02:59", False),
        ("2026-11-20 23:59:59", False),
        ("2026-11-21 13:03:00", False),
        ("2026-11-21 13:03:01", True),
        ("2027-01-01", True),
        ("NULL", False),
    ],
)
def test_a_row_of_after_the_moment_is_wrong(text: str, wrong: bool) -> None:
    found = later_than(MOMENT, {"openmrs.obs.date_created": text})
    assert [line.partition(" ")[0] for line in found] == ["openmrs.obs.date_created"] * wrong
