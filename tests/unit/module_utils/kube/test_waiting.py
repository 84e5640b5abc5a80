# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time
import typing as t

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.progress import Progress
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.errors import KubeError
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.objects import ObjectId
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.readiness import blocks_rollout
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.waiting import (
    evidence,
    pod_troubles,
    wait_gone,
    wait_ready,
)

from tests.unit.module_utils.kube.fake import FakeCluster, Kind

JOB = ObjectId("batch", "Job", "default", "migrate")
WEB = ObjectId("apps", "Deployment", "default", "web")


def job(**condition: str) -> dict[str, t.Any]:
    status = {"conditions": [{"status": "True", **condition}]} if condition else {}
    metadata = {"name": "migrate", "namespace": "default"}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "status": status}


def deployment(available: int) -> dict[str, t.Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "generation": 1},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}},
        "status": {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": available},
    }


class Clock:
    """Time that passes only when somebody sleeps, and what happens meanwhile."""

    def __init__(self, cluster: FakeCluster, *later: dict[str, t.Any]) -> None:
        self.now, self.cluster, self.later = 0.0, cluster, list(later)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.later:
            self.cluster.put(self.later.pop(0))


class Said(Progress):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def cluster() -> FakeCluster:
    made = FakeCluster()
    made.kinds += [Kind("batch", "v1", "Job"), Kind("", "v1", "Pod")]
    return made


def wait(
    cluster: FakeCluster,
    monkeypatch: pytest.MonkeyPatch,
    first: dict[str, t.Any],
    *later: dict[str, t.Any],
    timeout: float = 60,
) -> tuple[dict[ObjectId, t.Any], list[str]]:
    cluster.put(first)
    clock, said = Clock(cluster, *later), Said()
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    seen = wait_ready(
        t.cast("t.Any", cluster), {ObjectId.of(first): first}, timeout=timeout, progress=said, sleep=clock.sleep
    )
    return seen, said.lines


def test_each_change_of_state_is_said_once(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, lines = wait(cluster, monkeypatch, deployment(0), deployment(0), deployment(1), deployment(1), deployment(2))
    assert seen[WEB]["status"]["availableReplicas"] == 2
    assert lines == [
        "Deployment/default/web is waiting: 0 of 2 replicas available",
        "Deployment/default/web is waiting: 1 of 2 replicas available",
        "Deployment/default/web is ready",
    ]


def test_a_long_wait_speaks_every_thirty_seconds(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KubeError, match=r"not ready after 100 s: Deployment/default/web: 0 of 2 replicas available"):
        wait(cluster, monkeypatch, deployment(0), timeout=100)
    said = Said()
    clock = Clock(cluster)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    with pytest.raises(KubeError):
        wait_ready(t.cast("t.Any", cluster), {WEB: deployment(0)}, timeout=100, progress=said, sleep=clock.sleep)
    heartbeats = [line for line in said.lines if line.startswith("waiting for Deployment/default/web (")]
    assert len(heartbeats) == 3


def test_what_is_ready_is_not_talked_about(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    assert wait(cluster, monkeypatch, deployment(2))[1] == []


def test_a_failed_job_ends_the_wait_at_once(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KubeError, match=r"failed after 0 s: Job/default/migrate: Job has reached the backoff limit"):
        failed = job(type="Failed", message="Job has reached the backoff limit")
        wait(cluster, monkeypatch, job(), failed, timeout=3600)


def test_what_is_deleted_meanwhile_is_an_error(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(cluster)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    with pytest.raises(KubeError, match="it was deleted while it was waited for"):
        wait_ready(t.cast("t.Any", cluster), {JOB: job()}, timeout=60, progress=Said(), sleep=clock.sleep)


def test_claims_of_late_binding_classes_are_not_waited_for(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.put(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": "disk"},
            "volumeBindingMode": "WaitForFirstConsumer",
        }
    )
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "default"},
        "spec": {"storageClassName": "disk"},
        "status": {"phase": "Pending"},
    }
    assert wait(cluster, monkeypatch, claim)[1] == []


def test_finalizers_are_named_when_an_object_stays(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    held = job()
    held["metadata"] |= {"finalizers": ["backup/hold"], "uid": "u"}
    cluster.put(held)
    clock = Clock(cluster)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    with pytest.raises(KubeError, match=r"Job/default/migrate: still being deleted after .* held by backup/hold"):
        wait_gone(t.cast("t.Any", cluster), [held], timeout=5, progress=Said(), sleep=clock.sleep)
    again = {**held, "metadata": {**held["metadata"], "uid": "another"}}
    wait_gone(t.cast("t.Any", cluster), [again], timeout=5, progress=Said(), sleep=clock.sleep)


def test_evidence_is_what_pods_and_events_say(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web-1", "namespace": "default", "labels": {"app": "web"}},
        "status": {"containerStatuses": [{"name": "app", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]},
    }
    cluster.put(pod)
    events = {"web-1": [{"reason": "Failed", "message": "no such image"}], "web": [{"reason": "Late"}]}
    monkeypatch.setattr(cluster, "events", lambda identity: events[identity.name])
    assert evidence(t.cast("t.Any", cluster), deployment(0)) == [
        "pod web-1: container app ImagePullBackOff",
        "pod web-1: Failed: no such image",
        "Late:",
    ]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, []),
        ({"containerStatuses": [{"name": "a", "state": {"waiting": {"reason": "ContainerCreating"}}}]}, []),
        (
            {
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no node"}
                ]
            },
            ["Unschedulable: no node"],
        ),
        (
            {"initContainerStatuses": [{"name": "a", "state": {}, "lastState": {"terminated": {"exitCode": 3}}}]},
            ["container a ended with code 3"],
        ),
    ],
)
def test_pod_troubles(status: dict[str, t.Any], expected: list[str]) -> None:
    assert pod_troubles({"metadata": {"name": "p"}, "status": status}) == expected


STATE = ObjectId("apps", "StatefulSet", "default", "db")


def stateful_set(*, ready: int = 0, updated: str = "db-2", current: str = "db-1") -> dict[str, t.Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db", "namespace": "default", "generation": 2},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "db"}}},
        "status": {
            "observedGeneration": 2,
            "readyReplicas": ready,
            "updatedReplicas": int(updated == current),
            "updateRevision": updated,
            "currentRevision": current,
        },
    }


def stateful_pod(revision: str, reason: str = "", *, ready: bool = False) -> dict[str, t.Any]:
    state = {"waiting": {"reason": reason}} if reason else {"running": {}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "db-0",
            "namespace": "default",
            "labels": {"app": "db", "controller-revision-hash": revision},
        },
        "status": {
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [{"name": "db", "state": state}],
        },
    }


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        (stateful_pod("db-1", "CrashLoopBackOff"), "CrashLoopBackOff"),
        (stateful_pod("db-1", "ImagePullBackOff"), "ImagePullBackOff"),
        (stateful_pod("db-1", "ContainerCreating"), ""),
        (stateful_pod("db-1"), ""),
        (stateful_pod("db-1", "CrashLoopBackOff", ready=True), ""),
        (stateful_pod("db-2", "CrashLoopBackOff"), ""),
    ],
    ids=["crashes", "no image", "starts", "runs and is not ready yet", "ready", "of the new revision"],
)
def test_only_a_stuck_pod_of_an_older_revision_blocks_a_rollout(pod: dict[str, t.Any], expected: str) -> None:
    assert blocks_rollout(pod, stateful_set()) == expected


@pytest.mark.parametrize("spec", [{"podManagementPolicy": "Parallel"}, {"updateStrategy": {"type": "OnDelete"}}])
def test_no_pod_blocks_a_rollout_that_does_not_wait_for_it(spec: dict[str, t.Any]) -> None:
    statefulset = stateful_set()
    statefulset["spec"] |= spec
    assert blocks_rollout(stateful_pod("db-1", "CrashLoopBackOff"), statefulset) == ""


def test_a_blocking_pod_is_replaced_and_named(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.kinds += [Kind("apps", "v1", "StatefulSet")]
    cluster.put(stateful_set())
    cluster.put(stateful_pod("db-1", "CrashLoopBackOff"))
    clock, said, replaced = Clock(cluster), Said(), []
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)

    def replace(pod: t.Any) -> None:
        replaced.append(pod["metadata"]["name"])
        cluster.put(stateful_pod("db-2", ready=True))
        cluster.put(stateful_set(ready=1, current="db-2"))

    wait_ready(
        t.cast("t.Any", cluster),
        {STATE: stateful_set()},
        timeout=60,
        progress=said,
        replace=replace,
        sleep=clock.sleep,
    )
    assert replaced == ["db-0"]
    assert any("Pod/default/db-0 is CrashLoopBackOff in an older revision" in line for line in said.lines)


def test_a_long_wait_says_what_its_pods_wait_for(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.kinds += [Kind("apps", "v1", "StatefulSet")]
    cluster.put(stateful_set(current="db-2"))
    cluster.put(stateful_pod("db-2", "ImagePullBackOff"))
    clock, said = Clock(cluster), Said()
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    with pytest.raises(KubeError):
        wait_ready(
            t.cast("t.Any", cluster),
            {STATE: stateful_set(current="db-2")},
            timeout=40,
            progress=said,
            sleep=clock.sleep,
        )
    assert any("pod db-0: container db ImagePullBackOff" in line for line in said.lines)
