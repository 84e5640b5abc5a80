# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import json
import typing as t
from collections.abc import Callable, Mapping, Sequence

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import (
    GuardError,
    InputError,
    OutcomeError,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.volumes import RESTORE_TO, RESTORED
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb import restore
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.errors import MariaDBError
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.jobs import Outcome
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.pods import Pod
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.restore import Found, Wanted
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.restore_runner import RestoreRunner
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.transport import Completed

Document = dict[str, t.Any]
NOW = dt.datetime(2026, 11, 20, 14, 5, tzinfo=dt.UTC)
MOMENT = dt.datetime(2026, 11, 20, 13, 3, tzinfo=dt.UTC)
TEXT = "2026-11-20T13:03:00+00:00"
RANGE = {"backup": "m/a/full/1", "from": "2026-11-20T01:00:00+00:00", "until": "2026-11-20T14:03:00+00:00", "logs": 3}
DRILL: Document = {
    "moment": TEXT,
    "full": "m/a/full/1",
    "logs": 3,
    "gtid": {"0": "0-1-42"},
    "server_version": "10.11.18",
    "counts": {"openmrs.patient": 1200, "openmrs.obs": 4},
    "newest": {"openmrs.obs.date_created": "2026-11-20 13:02:00"},
    "seconds": {"restore": 40.1, "check": 3.0},
    "problems": [],
}
POD = Pod(namespace="db", name="m-0")
WANTED = Wanted(
    namespace="db", statefulset="m", primary=0, moment=MOMENT, volume="r1", storage_class="disks", size="64Gi"
)
JOB: Document = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "restore", "namespace": "db"},
    "spec": {
        "template": {
            "spec": {
                "containers": [{"args": ["restore"], "volumeMounts": [{"name": "restored", "mountPath": "/r"}]}],
                "volumes": [{"name": "temporary", "emptyDir": {}}],
            }
        }
    },
}


def claim(*, to: str = TEXT, whole: bool = False, uid: str = "c-1") -> Document:
    made = restore.claim_manifest(WANTED)
    made["metadata"]["uid"] = uid
    made["metadata"]["annotations"] = {RESTORE_TO: to}
    if whole:
        made["metadata"]["annotations"][RESTORED] = json.dumps({"moment": to, "rows": 1204, "tables": 2})
    return made


@pytest.mark.parametrize("text", ["2026-11-20T14:03:00+01:00", "2026-11-20T13:03:00Z", "2026-11-20 13:03:00.9+00:00"])
def test_a_moment(text: str) -> None:
    assert restore.parse_moment(text, now=NOW) == MOMENT


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no moment"),
        ("yesterday", "is no moment"),
        ("2026-11-20T14:03:00", "has no offset from UTC"),
        ("2026-11-20T14:05:01Z", "is in the future, it is 2026-11-20T14:05:00"),
    ],
)
def test_a_moment_that_is_none_could_be_several_or_is_not_over(text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        restore.parse_moment(text, now=NOW)


def test_the_name_of_a_volume_tells_the_moment() -> None:
    assert restore.default_volume(dt.datetime.fromisoformat("2026-11-20T14:03:00+01:00")) == "r20261120t130300z"
    assert restore.parse_volume("r20261120t130300z")


@pytest.mark.parametrize("name", ["", "Data", "a_b", "-a", "a-", "a.b", "x" * 41])
def test_no_name_for_a_volume(name: str) -> None:
    with pytest.raises(InputError, match="is no name for a volume"):
        restore.parse_volume(name)


@pytest.mark.parametrize(
    ("live", "in_use", "found"),
    [
        (None, False, Found.NOTHING),
        (claim(), False, Found.HALF),
        (claim(to="2026-01-01T00:00:00+00:00"), False, Found.HALF),
        (claim(whole=True), False, Found.WHOLE),
        (claim(whole=True), True, Found.WHOLE),
    ],
)
def test_what_a_claim_is(live: Document | None, in_use: bool, found: Found) -> None:
    assert restore.judge(WANTED, live, in_use=in_use) is found


@pytest.mark.parametrize(
    ("live", "in_use", "why"),
    [
        (None, True, "the servers run on the volume r1"),
        (claim(), True, "servers run on it though no restore into it ended"),
        ({"metadata": {"name": "r1-m-0"}}, False, "it is there and no restore made it"),
        (claim(to="2026-01-01T00:00:00+00:00", whole=True), False, "it holds the data of 2026-01-01"),
    ],
)
def test_a_claim_that_is_not_to_be_filled(live: Document | None, in_use: bool, why: str) -> None:
    with pytest.raises(GuardError, match=why):
        restore.judge(WANTED, live, in_use=in_use)


@pytest.mark.parametrize(
    ("moment", "remedy"),
    [
        ("2026-11-20T01:00:00+00:00", None),
        ("2026-11-20T14:03:00+00:00", None),
        ("2026-11-20T00:59:59+00:00", "Give a moment of these"),
        ("2026-11-20T14:03:01+00:00", "wait for it"),
    ],
)
def test_a_moment_that_the_archive_reaches_or_not(moment: str, remedy: str | None) -> None:
    listed = {"ranges": [RANGE, {**RANGE, "from": "2026-11-01T00:00:00+00:00", "logs": 0}], "gaps": []}
    wanted = dt.datetime.fromisoformat(moment)
    if remedy is None:
        restore.check_ranges(listed, wanted, ["a to b"], where="A")
        return
    with pytest.raises(MariaDBError, match="is in no range that can be restored: a to b") as refused:
        restore.check_ranges(listed, wanted, ["a to b"], where="A")
    assert remedy in str(refused.value)


def test_nothing_is_archived_yet() -> None:
    with pytest.raises(MariaDBError, match="there is none yet"):
        restore.check_ranges({"ranges": []}, MOMENT, [], where="A")


def test_the_job_gets_moment_and_claim() -> None:
    before = copy.deepcopy(JOB)
    made = restore.job_manifest(JOB, WANTED, claim())
    pod = made["spec"]["template"]["spec"]
    assert before == JOB
    assert pod["containers"][0]["args"] == ["restore", "--to", TEXT]
    assert pod["volumes"][0] == {"name": "restored", "persistentVolumeClaim": {"claimName": "r1-m-0"}}
    assert [volume["name"] for volume in pod["volumes"]] == ["restored", "temporary"]
    assert restore.resumable(made, WANTED, claim())
    assert not restore.resumable(made, WANTED, claim(uid="c-2"))
    assert not restore.resumable(JOB, WANTED, claim())
    assert not restore.resumable(made, dataclasses.replace(WANTED, moment=NOW), claim())
    failed = {"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]}
    assert not restore.resumable({**made, "status": failed}, WANTED, claim())


@pytest.mark.parametrize("job", [{}, {"spec": {"template": {"spec": {"containers": []}}}}])
def test_what_is_no_job(job: Document) -> None:
    with pytest.raises(InputError, match="is no Job with one container"):
        restore.job_manifest(job, WANTED, claim())


class Cluster:
    """Claims and Jobs in memory, in place of both."""

    def __init__(self, live: Document | None = None, *, volume: str = "data", outcome: Outcome | None = None) -> None:
        self.live, self.volume = live, volume
        self.outcome = outcome or Outcome(why="", log=json.dumps({"drill": DRILL}))
        self.log: list[str] = []
        self.job: Document | None = None

    def volumes_of(self, namespace: str, statefulset: str) -> list[str]:
        return [self.volume]

    def put(self, manifest: Mapping[str, t.Any]) -> Document:
        self.log.append("mark" if RESTORED in manifest["metadata"]["annotations"] else "create")
        self.live = copy.deepcopy(dict(manifest))
        self.live["metadata"]["uid"] = "c-1"
        return self.live

    def throw_away(self, namespace: str, name: str) -> None:
        self.log.append("throw away")
        self.live = None

    def run(
        self,
        manifest: Mapping[str, t.Any],
        *,
        timeout: float,
        heard: Callable[[str], None],
        resume: Callable[[Mapping[str, t.Any]], bool] = lambda job: False,
    ) -> Outcome:
        self.log.append("go on" if self.job is not None and resume(self.job) else "run")
        self.job = None
        if self.outcome.why == "lost":
            raise MariaDBError("the cluster does not answer")
        return self.outcome

    def get(self, one: str, other: str) -> Document | None:
        """A claim by namespace and name, or the Job by name and namespace."""
        return self.job if one == "restore" else self.live


class Archive:
    """Answers as the program does."""

    def __init__(self, *ranges: Document) -> None:
        self.ranges, self.asked = ranges, 0

    def run(
        self, command: Sequence[str], stdin: str, *, timeout: float, heard: Callable[[str], None] = print
    ) -> Completed:
        self.asked += 1
        listed = {"ranges": list(self.ranges), "gaps": [], "bytes": 1}
        return Completed(status=0, stdout=json.dumps(listed) + "\n", stderr="")


def run(cluster: Cluster, archive: Archive | None = None, *, check: bool = False, wanted: Wanted = WANTED) -> Document:
    runner = RestoreRunner(wanted, JOB, check=check)
    return runner.run(POD if archive else None, archive, cluster, cluster, timeout=1)


def test_a_restore_into_a_new_claim() -> None:
    cluster = Cluster()
    result = run(cluster, Archive(RANGE))
    assert cluster.log == ["create", "run", "mark"]
    assert (result["changed"], result["ready"], result["in_use"]) == (True, True, False)
    assert (result["volume"], result["claim"], result["moment"]) == ("r1", "r1-m-0", TEXT)
    assert (result["report"]["rows"], result["report"]["counts"]["openmrs.obs"]) == (1204, 4)
    assert [finding["verdict"] for finding in result["findings"]] == ["equal"]
    assert "1204 rows in 2 tables, every table was read" in result["findings"][0]["message"]


def test_a_second_run_changes_nothing_and_says_the_same() -> None:
    cluster, archive = Cluster(), Archive(RANGE)
    first = run(cluster, archive)
    cluster.log.clear()
    cluster.volume = "r1"
    again = run(cluster, archive)
    assert (cluster.log, archive.asked) == ([], 1)
    assert (again["changed"], again["ready"], again["in_use"]) == (False, True, True)
    assert [again["report"][key] for key in ("rows", "gtid")] == [first["report"][key] for key in ("rows", "gtid")]


def test_check_mode_makes_nothing_and_plans_the_same() -> None:
    cluster = Cluster()
    predicted = run(cluster, Archive(RANGE), check=True)
    assert (cluster.log, predicted["changed"], predicted["ready"]) == ([], True, False)
    assert [finding["verdict"] for finding in predicted["findings"]] == ["missing"]
    assert run(cluster, Archive(RANGE))["plan"] == predicted["plan"]


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("cluster", "archive", "why"),
    [
        (Cluster(), Archive(), "is in no range that can be restored"),
        (Cluster(claim(to="2026-01-01T00:00:00+00:00", whole=True)), None, "it holds the data of 2026-01-01"),
        (Cluster({"metadata": {"name": "r1-m-0"}}), None, "no restore made it"),
    ],
)
def test_what_is_refused_touches_nothing(cluster: Cluster, archive: Archive | None, why: str, check: bool) -> None:
    with pytest.raises(OutcomeError, match=why) as refused:
        run(cluster, archive, check=check)
    assert cluster.log == []
    assert refused.value.outcome["changed"] is False
    assert [finding["verdict"] for finding in refused.value.outcome["findings"]] == ["error"]


def test_a_half_restore_is_thrown_away_and_made_anew() -> None:
    cluster = Cluster(claim(to="2026-01-01T00:00:00+00:00"))
    result = run(cluster)
    assert cluster.log == ["throw away", "create", "run", "mark"]
    assert [action["action"] for action in result["plan"]] == ["delete", "create", "create"]


def test_what_a_run_left_that_was_cut_short_goes_on() -> None:
    cluster = Cluster(claim())
    cluster.job = restore.job_manifest(JOB, WANTED, claim())
    assert run(cluster, Archive())["ready"]
    assert cluster.log == ["go on", "mark"]


def test_another_restore_is_under_way() -> None:
    cluster = Cluster(claim())
    cluster.job = restore.job_manifest(JOB, WANTED, claim(uid="of another claim"))
    with pytest.raises(OutcomeError, match="another restore is under way"):
        run(cluster)
    assert cluster.log == []


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        (Outcome(why="BackoffLimitExceeded", log=json.dumps({"error": "wrong key"})), "was not restored: wrong key"),
        (Outcome(why="", log=json.dumps({"drill": {**DRILL, "problems": ["t: corrupt"]}})), "t: corrupt"),
        (Outcome(why="", log=""), "it ended without an answer"),
        (Outcome(why="lost", log=""), "does not answer"),
    ],
)
def test_a_restore_that_fails_leaves_no_claim(outcome: Outcome, why: str) -> None:
    cluster = Cluster(outcome=outcome)
    with pytest.raises(OutcomeError, match=why) as failed:
        run(cluster)
    assert (cluster.log, cluster.live) == (["create", "run", "throw away"], None)
    assert failed.value.outcome["ready"] is False


def test_where_nothing_runs_nothing_can_be_told() -> None:
    result = RestoreRunner(WANTED, JOB).untold("its pod is on a simulated node")
    assert [finding["verdict"] for finding in result["findings"]] == ["not_verifiable"]
    assert (result["changed"], result["ready"], result["report"]) == (False, False, {})
