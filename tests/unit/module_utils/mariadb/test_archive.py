# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime as dt
import json
import typing as t
from collections.abc import Callable, Mapping, Sequence

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import OutcomeError
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb import archive
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.archive_runner import ArchiveRunner
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.jobs import Outcome, outcome_of, state_of
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.pods import Pod
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.snapshot import Snapshot
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.transport import Completed

NOW = dt.datetime(2026, 11, 20, 14, 5, tzinfo=dt.UTC)
RANGE = {"backup": "m/a/full/1", "from": "2026-11-20T01:00:00+00:00", "until": "2026-11-20T14:03:00+00:00", "logs": 3}
LISTED: dict[str, t.Any] = {"ranges": [RANGE], "gaps": [], "bytes": 1}
GAP = {"after": "m/a/log/bin.3", "before": "m/a/log/bin.5", "why": "1 files are missing"}
DRILL: dict[str, t.Any] = {
    "moment": "2026-11-20T14:03:00+00:00",
    "full": "m/a/full/1",
    "logs": 3,
    "gtid": {"0": "0-1-42"},
    "server_version": "10.11.18",
    "counts": {"openmrs.patient": 1200, "openmrs.obs": 4},
    "newest": {"openmrs.obs.date_created": "2026-11-20 14:02:00"},
    "seconds": {"restore": 40.1, "check": 3.0},
    "problems": [],
}
POD = Pod(namespace="mariadb", name="mariadb-0")


def said(*lines: t.Any) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (said({"step": "restore"}, {"error": "no key"}), "no key"),
        ("Traceback\nMemoryError\n", "MemoryError"),
        ("", "it said nothing"),
    ],
)
def test_why_it_failed(text: str, error: str) -> None:
    assert archive.error_of(text) == error


@pytest.mark.parametrize(
    ("listed", "stale", "verdicts"),
    [
        (LISTED, "", ["equal"]),
        (LISTED, "the last backup is 30.0 hours old", ["error"]),
        ({**LISTED, "gaps": [GAP]}, "", ["equal", "missing"]),
        ({"ranges": [], "gaps": []}, "", ["error"]),
        ({"ranges": [{**RANGE, "logs": 0}], "gaps": []}, "", ["error"]),
    ],
)
def test_what_is_said_about_an_archive(listed: dict[str, t.Any], stale: str, verdicts: list[str]) -> None:
    found = archive.range_findings(listed, stale, resource="A")
    assert [finding.verdict for finding in found] == verdicts
    assert not stale or found[0].message == stale


@pytest.mark.parametrize(
    ("reached", "shown"),
    [
        ([], []),
        ([("01", "09"), ("05", "09")], ["01 to 09"]),
        ([("05", "09"), ("01", "06")], ["01 to 09"]),
        ([("01", "09"), ("02", "03")], ["01 to 09"]),
        ([("01", "03"), ("04", "09")], ["01 to 03", "04 to 09"]),
    ],
)
def test_what_backups_reach_together_is_one_range(reached: list[tuple[str, str]], shown: list[str]) -> None:
    ranges = [{"backup": "b", "from": begin, "until": end, "logs": 1} for begin, end in reached]
    assert archive.shown_ranges({"ranges": ranges}) == shown


@pytest.mark.parametrize(
    ("lines", "error", "message"),
    [
        ([{"drill": DRILL}], "", "comes back: yes, 1204 rows in 2 tables, within 43 s"),
        ([{"drill": {**DRILL, "problems": ["t: corrupt"]}}], "BackoffLimitExceeded", "comes back: no, t: corrupt"),
        ([{"step": "restore"}], "wrong key", "comes back: no, wrong key"),
        ([], "", "comes back: no, it ended without an answer"),
    ],
)
def test_the_one_line(lines: list[t.Any], error: str, message: str) -> None:
    report = archive.drill_report(lines, error, instance="m", now=NOW)
    finding = archive.drill_finding(report, resource="A")
    assert finding.message.endswith(message)
    assert (finding.verdict == "equal") is report["comes_back"] is ("yes" in message)


def test_what_was_compared_is_told() -> None:
    counts, newest, moment = DRILL["counts"], DRILL["newest"], dt.datetime.fromisoformat(DRILL["moment"])
    snapshot = Snapshot(gtid="0-1-42", moment=moment, counts=counts, newest=newest)
    report = archive.drill_report([{"drill": DRILL}], "", instance="m", now=NOW, snapshot=snapshot)
    assert (report["compared"], report["problems"]) == (2, [])
    assert (
        "1204 rows in 2 tables, as the server had them, within" in archive.drill_finding(report, resource="A").message
    )
    fewer = {**DRILL, "counts": {**counts, "openmrs.obs": 3}}
    report = archive.drill_report([{"drill": fewer}], "", instance="m", now=NOW, snapshot=snapshot)
    message = archive.drill_finding(report, resource="A").message
    assert message == "the data comes back: no, openmrs.obs: 3 rows came back of 4"


def test_the_report_for_prometheus() -> None:
    text = archive.drill_report([{"drill": DRILL}], "", instance='m"1', now=NOW)["metrics"]
    assert 'mariadb_restore_check_success{instance="m\\"1"} 1\n' in text
    assert 'mariadb_restore_check_duration_seconds{instance="m\\"1",step="restore"} 40.1\n' in text
    assert 'mariadb_restore_check_moment_seconds{instance="m\\"1"} 1795183380\n' in text
    named = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(named) == len(set(named)) == 5
    failed = archive.drill_report([], "wrong key", instance="m", now=NOW)["metrics"]
    assert 'mariadb_restore_check_success{instance="m"} 0\n' in failed
    assert "duration" not in failed


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ({}, None),
        ({"conditions": [{"type": "FailureTarget", "status": "True"}]}, None),
        ({"conditions": [{"type": "Complete", "status": "True"}]}, ""),
        ({"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]}, "DeadlineExceeded"),
    ],
)
def test_how_a_job_ended(status: dict[str, t.Any], outcome: str | None) -> None:
    assert outcome_of({"status": status}) == outcome


def test_what_a_pod_waits_for() -> None:
    waiting = {"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}], "phase": "Pending"}
    assert state_of({"status": waiting}) == "ImagePullBackOff"
    assert state_of({"status": {"phase": "Running"}}) == "Running"


class Archive:
    """Answers as the program does."""

    def __init__(self, stale: str = "", full: int = 0) -> None:
        self.stale, self.full, self.asked = stale, full, list[str]()

    def run(
        self, command: Sequence[str], stdin: str, *, timeout: float, heard: Callable[[str], None] = print
    ) -> Completed:
        self.asked.append(command[3])
        if command[3] == "list":
            return Completed(status=0, stdout=said(LISTED), stderr="")
        if command[3] == "fresh":
            return Completed(status=bool(self.stale), stdout="", stderr=said({"error": self.stale}))
        made = {"name": "m/a/full/2", "stored": {"stored_bytes": 1 << 20}}
        return Completed(status=self.full, stdout=said(made), stderr=said({"error": "the disk is full"}))


class Jobs:
    """Runs no Job."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome, self.ran, self.arguments = outcome, 0, list[str]()

    def run(self, manifest: Mapping[str, t.Any], *, timeout: float, heard: Callable[[str], None]) -> Outcome:
        self.ran += 1
        self.arguments = manifest["spec"]["template"]["spec"]["containers"][0]["args"] if manifest else []
        return self.outcome


def runner(transport: Archive | None, *, check: bool = False, pod: Pod | None = POD) -> ArchiveRunner:
    return ArchiveRunner(pod, transport, limits=(26, 10), check=check)


def test_a_full_backup_and_what_can_be_restored() -> None:
    asked = Archive()
    result = runner(asked).full(timeout=1)
    assert (result["changed"], asked.asked) == (True, ["full", "list", "fresh"])
    assert result["ranges"] == ["2026-11-20T01:00:00+00:00 to 2026-11-20T14:03:00+00:00"]


def test_check_mode_takes_none() -> None:
    asked = Archive(stale="too old")
    result = runner(asked, check=True).full(timeout=1)
    assert (result["changed"], asked.asked) == (True, ["list", "fresh"])
    assert [finding["verdict"] for finding in result["findings"]] == ["error"]


@pytest.mark.parametrize(
    ("transport", "operation", "error"),
    [
        (Archive(full=1), "full", "the disk is full"),
        (Archive(stale="the last backup is 30.0 hours old"), "report", "the last backup is 30.0 hours old"),
    ],
)
def test_what_fails_is_one_error_with_a_finding(transport: Archive, operation: str, error: str) -> None:
    one = runner(transport)
    with pytest.raises(OutcomeError, match=error) as caught:
        one.full(timeout=1) if operation == "full" else one.report()
    assert [finding["verdict"] for finding in caught.value.outcome["findings"]] == ["error"]


@pytest.mark.parametrize(
    ("pod", "check", "runs"),
    [
        (POD, False, 1),
        (Pod(namespace="m", name="m-0", untold="its pod does not exist", missing=True), False, 1),
        (POD, True, 0),
        (Pod(namespace="m", name="m-0", untold="its pod is on a simulated node"), False, 0),
        (None, False, 0),
    ],
)
def test_when_a_restore_is_tried(pod: Pod | None, check: bool, runs: int) -> None:
    jobs = Jobs(Outcome(why="", log=said({"drill": DRILL})))
    result = runner(None, check=check, pod=pod).drill(lambda: jobs, {}, timeout=1)
    assert (jobs.ran, result["changed"]) == (runs, False)
    assert [finding["verdict"] for finding in result["findings"]] == ["equal" if runs else "not_verifiable"]


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (Outcome(why="BackoffLimitExceeded", log=said({"error": "wrong key"})), "no, wrong key"),
        (Outcome(why="DeadlineExceeded", log=""), "no, DeadlineExceeded"),
        (Outcome(why="", log=""), "no, it ended without an answer"),
    ],
)
def test_data_that_does_not_come_back_fails_the_run_and_is_in_its_report(outcome: Outcome, message: str) -> None:
    with pytest.raises(OutcomeError, match=message) as caught:
        runner(None).drill(lambda: Jobs(outcome), {}, timeout=1)
    assert caught.value.outcome["report"]["comes_back"] is False
    assert [finding["verdict"] for finding in caught.value.outcome["findings"]] == ["error"]


@pytest.mark.parametrize("rows", [1200, 1201])
def test_what_the_server_holds_is_what_is_restored_and_compared_with(rows: int) -> None:
    moment, counts = dt.datetime.fromisoformat(DRILL["moment"]), {"openmrs.patient": rows, "openmrs.obs": 4}
    snapshot = Snapshot(gtid="0-1-42", moment=moment, counts=counts, newest=DRILL["newest"])
    job = {"spec": {"template": {"spec": {"containers": [{"args": ["drill"]}]}}}}
    jobs = Jobs(Outcome(why="", log=said({"drill": DRILL})))
    if rows == DRILL["counts"]["openmrs.patient"]:
        runner(None).drill(lambda: jobs, job, timeout=1, snapshot=lambda: snapshot)
    else:
        with pytest.raises(OutcomeError, match=r"openmrs\.patient: 1200 rows came back of 1201"):
            runner(None).drill(lambda: jobs, job, timeout=1, snapshot=lambda: snapshot)
    assert jobs.arguments == ["drill", "--to", "2026-11-20T14:03:00+00:00", "--until", "0-1-42"]
    assert job["spec"]["template"]["spec"]["containers"] == [{"args": ["drill"]}]


def test_a_server_that_does_not_run_is_not_asked() -> None:
    down = Pod(namespace="m", name="m-0", untold="its container does not run", missing=True)
    jobs = Jobs(Outcome(why="", log=said({"drill": DRILL})))
    result = runner(None, pod=down).drill(lambda: jobs, {}, timeout=1, snapshot=lambda: pytest.fail("asked"))
    assert result["report"]["compared"] == 0
    told = {finding["verdict"]: finding["message"] for finding in result["findings"]}
    assert told["not_verifiable"] == "what comes back is compared with nothing: its container does not run"
