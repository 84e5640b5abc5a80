# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime as dt
import typing as t
from collections.abc import Sequence

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.snapshot import (
    Snapshot,
    differences,
    take_snapshot,
)

MOMENT = dt.datetime(2026, 11, 20, 13, 3, tzinfo=dt.UTC)
SNAPSHOT = Snapshot(
    gtid="0-1-42",
    moment=MOMENT,
    counts={"openmrs.obs": 4, "openmrs.patient": 1200},
    newest={"openmrs.obs.date_created": "2026-11-20 14:02:00"},
)
REPORT: dict[str, t.Any] = {
    "gtid": {"0": "0-1-42"},
    "counts": {"openmrs.patient": 1200, "openmrs.obs": 4},
    "newest": {"openmrs.obs.date_created": "2026-11-20 14:02:00", "openmrs.patient.seen": "2026-11-20"},
}


class Server:
    """Answers as a server with two tables does."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def query(self, statements: Sequence[str]) -> list[list[dict[str, str]]]:
        self.asked += statements
        if len(statements) == 1:
            return [
                [
                    {"place": "openmrs", "name": "obs", "times": "date_created"},
                    {"place": "openmrs", "name": "patient", "times": ""},
                ]
            ]
        position = {"gtid": "0-1-42", "moment": "1795179780"}
        obs = {"total": "4", "date_created": "2026-11-20 14:02:00"}
        return [[], [position], [obs], [{"total": "1200"}], []]


def test_everything_is_counted_in_one_snapshot() -> None:
    server = Server()
    assert take_snapshot(server) == SNAPSHOT
    _, begin, _, obs, patient, end = server.asked
    assert (begin, end) == ("START TRANSACTION WITH CONSISTENT SNAPSHOT", "COMMIT")
    assert obs == "SELECT COUNT(*) AS total, MAX(`date_created`) AS date_created FROM `openmrs`.`obs`"
    assert patient == "SELECT COUNT(*) AS total FROM `openmrs`.`patient`"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, []),
        ({"counts": {"openmrs.patient": 1199, "openmrs.obs": 4}}, ["openmrs.patient: 1199 rows came back of 1200"]),
        ({"counts": {"openmrs.patient": 1200}}, ["openmrs.obs: 0 rows came back of 4"]),
        ({"counts": {**REPORT["counts"], "openmrs.new": 0}}, ["openmrs.new came back and was not there"]),
        (
            {"newest": {"openmrs.obs.date_created": "NULL"}},
            ["openmrs.obs.date_created: the newest that came back is NULL, and was 2026-11-20 14:02:00"],
        ),
        (
            {"gtid": {"0": "0-1-41"}, "counts": {}},
            ["the transactions up to 0-1-41 came back, the server had those up to 0-1-42"],
        ),
        ({"gtid": {}}, ["the transactions up to none came back, the server had those up to 0-1-42"]),
    ],
)
def test_what_came_back_otherwise(changed: dict[str, t.Any], told: list[str]) -> None:
    assert differences(SNAPSHOT, {**REPORT, **changed}) == told


def test_many_differences_are_a_few_and_their_number() -> None:
    counts = {f"openmrs.t{number}": 1 for number in range(9)}
    found = differences(Snapshot(gtid="0-1-42", moment=MOMENT, counts=counts, newest={}), {**REPORT, "counts": {}})
    assert len(found) == 6
    assert found[-1] == "and 4 more"
