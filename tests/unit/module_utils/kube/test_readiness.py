# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.readiness import (
    FAILED,
    READY,
    WAITING,
    binds_late,
    readiness,
)


def obj(api: str, kind: str, spec: t.Any = None, status: t.Any = None, generation: int = 2) -> dict[str, t.Any]:
    return {
        "apiVersion": api,
        "kind": kind,
        "metadata": {"name": "x", "generation": generation},
        "spec": spec or {},
        "status": status or {},
    }


def condition(kind: str, status: str = "True", **rest: t.Any) -> dict[str, t.Any]:
    return {"conditions": [{"type": kind, "status": status, **rest}]}


def deployment(wanted: int = 2, **status: t.Any) -> dict[str, t.Any]:
    return obj("apps/v1", "Deployment", {"replicas": wanted}, {"observedGeneration": 2, **status})


def stateful(spec: t.Any = None, **status: t.Any) -> dict[str, t.Any]:
    return obj("apps/v1", "StatefulSet", {"replicas": 3, **(spec or {})}, {"observedGeneration": 2, **status})


def route(*parents: t.Any) -> dict[str, t.Any]:
    return obj("gateway.networking.k8s.io/v1", "HTTPRoute", {"parentRefs": [{}]}, {"parents": list(parents)})


FULL = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
SAME = {"currentRevision": "a", "updateRevision": "a"}
AHEAD = {"currentRevision": "a", "updateRevision": "b"}


@pytest.mark.parametrize(
    ("live", "state", "reason"),
    [
        (obj("v1", "ConfigMap"), READY, ""),
        (obj("example.org/v1", "Deployment"), READY, ""),
        (obj("v1", "Namespace", status={"phase": "Active"}), READY, ""),
        (obj("v1", "Namespace", status={"phase": "Terminating"}), WAITING, "Terminating"),
        (deployment(**FULL), READY, ""),
        (deployment(0, replicas=0), READY, ""),
        (deployment(observedGeneration=1, **FULL), WAITING, "not seen"),
        (deployment(replicas=2, updatedReplicas=1, availableReplicas=2), WAITING, "1 of 2 replicas updated"),
        (deployment(replicas=3, updatedReplicas=2, availableReplicas=3), WAITING, "1 old replicas"),
        (deployment(replicas=2, updatedReplicas=2, availableReplicas=1), WAITING, "1 of 2 replicas available"),
        (
            deployment(**condition("Progressing", "False", reason="ProgressDeadlineExceeded", message="late")),
            FAILED,
            "late",
        ),
        (deployment(**condition("ReplicaFailure", message="quota")), FAILED, "quota"),
        (stateful(readyReplicas=3, updatedReplicas=3, **SAME), READY, ""),
        (stateful(readyReplicas=2, **SAME), WAITING, "2 of 3 replicas ready"),
        (stateful({"replicas": 0}, replicas=1, readyReplicas=1, **SAME), WAITING, "1 replicas too many still running"),
        (stateful({"replicas": 0}, replicas=0, **SAME), READY, ""),
        (stateful(readyReplicas=3, updatedReplicas=1, **AHEAD), WAITING, "1 of 3 replicas updated"),
        (stateful(readyReplicas=3, **SAME), WAITING, "0 of 3 replicas updated"),
        (stateful({"updateStrategy": {"type": "OnDelete"}}, readyReplicas=3, **AHEAD), READY, ""),
        (
            stateful(
                {"updateStrategy": {"rollingUpdate": {"partition": 2}}}, readyReplicas=3, updatedReplicas=1, **AHEAD
            ),
            READY,
            "",
        ),
        (
            obj(
                "apps/v1",
                "DaemonSet",
                status={
                    "observedGeneration": 2,
                    "desiredNumberScheduled": 2,
                    "numberAvailable": 1,
                    "updatedNumberScheduled": 2,
                },
            ),
            WAITING,
            "1 of 2 pods available",
        ),
        (obj("apps/v1", "DaemonSet", status={"observedGeneration": 2, "desiredNumberScheduled": 0}), READY, ""),
        (obj("batch/v1", "Job", status=condition("Complete")), READY, ""),
        (
            obj("batch/v1", "Job", status=condition("Failed", reason="BackoffLimitExceeded")),
            FAILED,
            "BackoffLimitExceeded",
        ),
        (obj("batch/v1", "Job", {"completions": 2}, {"succeeded": 1}), WAITING, "1 of 2 completions"),
        (obj("v1", "Pod", status={"phase": "Succeeded"}), READY, ""),
        (obj("v1", "Pod", status={"phase": "Failed", "reason": "Evicted"}), FAILED, "Evicted"),
        (obj("v1", "Pod", status={"phase": "Pending"}), WAITING, "Pending"),
        (obj("v1", "PersistentVolumeClaim", status={"phase": "Bound"}), READY, ""),
        (obj("v1", "PersistentVolumeClaim", status={"phase": "Pending"}), WAITING, "Pending"),
        (obj("v1", "PersistentVolumeClaim", status={"phase": "Lost"}), FAILED, "lost"),
        (obj("apiextensions.k8s.io/v1", "CustomResourceDefinition", status=condition("Established")), READY, ""),
        (obj("apiextensions.k8s.io/v1", "CustomResourceDefinition"), WAITING, "not established"),
        (
            obj(
                "apiextensions.k8s.io/v1",
                "CustomResourceDefinition",
                status=condition("NamesAccepted", "False", message="taken"),
            ),
            FAILED,
            "taken",
        ),
        (obj("gateway.networking.k8s.io/v1", "Gateway", status=condition("Programmed")), READY, ""),
        (
            obj("gateway.networking.k8s.io/v1", "Gateway", status=condition("Programmed", observedGeneration=1)),
            WAITING,
            "not seen",
        ),
        (
            obj("gateway.networking.k8s.io/v1", "Gateway", status=condition("Accepted", "False", reason="Pending")),
            WAITING,
            "programmed",
        ),
        (
            obj("gateway.networking.k8s.io/v1", "Gateway", status=condition("Accepted", "False", reason="Invalid")),
            FAILED,
            "Invalid",
        ),
        (route(condition("Accepted")), READY, ""),
        (route(), WAITING, "accepted by 0 of 1 gateways"),
        (route(condition("ResolvedRefs", "False", message="no such service")), WAITING, "no such service"),
        (obj("cert-manager.io/v1", "Certificate", status=condition("Ready")), READY, ""),
        (
            obj("cert-manager.io/v1", "Certificate", status=condition("Ready", "False", message="order pending")),
            WAITING,
            "order",
        ),
    ],
)
def test_readiness(live: dict[str, t.Any], state: str, reason: str) -> None:
    verdict = readiness(live)
    assert (verdict.state, reason in verdict.reason) == (state, True), verdict


def test_what_is_being_deleted_is_not_ready() -> None:
    live = obj("v1", "ConfigMap")
    live["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert readiness(live).state == WAITING


@pytest.mark.parametrize(("name", "late"), [("late", True), ("now", False), (None, True), ("unknown", False)])
def test_claims_of_a_late_binding_class_wait_for_their_pod(name: str | None, late: bool) -> None:
    default = {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}
    classes = {
        "late": {"metadata": default, "volumeBindingMode": "WaitForFirstConsumer"},
        "now": {"metadata": {}, "volumeBindingMode": "Immediate"},
    }
    claim = obj("v1", "PersistentVolumeClaim", {"storageClassName": name} if name else {})
    assert binds_late(claim, classes) is late
