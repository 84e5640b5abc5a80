# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.kube import readiness as module
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


COMMIT, OLDER = "a" * 40, "b" * 40
SOURCE = {
    "repoURL": "https://git.example/shop",
    "path": "chart",
    "targetRevision": COMMIT,
    "helm": {"valuesObject": {"size": 1, "debug": False}},
}
PLACE = {"server": "https://kubernetes.default.svc", "namespace": "shop"}


def application(
    spec: t.Any = None,
    compared: t.Any = None,
    *,
    sync: str = "Synced",
    revision: str = COMMIT,
    health: t.Any = None,
    **status: t.Any,
) -> dict[str, t.Any]:
    declared = {"source": SOURCE, "destination": PLACE, **(spec or {})}
    return obj(
        "argoproj.io/v1alpha1",
        "Application",
        declared,
        {
            "sync": {"status": sync, "revision": revision, "comparedTo": {**declared, **(compared or {})}},
            "health": {"status": "Healthy"} if health is None else health,
            **status,
        },
    )


def source(**change: t.Any) -> dict[str, t.Any]:
    return {"source": {**SOURCE, **change}}


def values(**change: t.Any) -> dict[str, t.Any]:
    return source(helm={"valuesObject": change})


def operation(phase: str, revision: str = COMMIT, message: str = "", of: t.Any = SOURCE) -> dict[str, t.Any]:
    result = {"syncResult": {"revision": revision, "source": of}} if revision else {}
    return {"operationState": {"phase": phase, **({"message": message} if message else {}), **result}}


def trouble(kind: str, message: str) -> dict[str, t.Any]:
    return {"conditions": [{"type": "OrphanedResourceWarning", "message": "x"}, {"type": kind, "message": message}]}


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


UNSEEN = "Argo CD has not seen the change yet"


@pytest.mark.parametrize(
    ("live", "state", "reason"),
    [
        (application(), READY, ""),
        (obj("argoproj.io/v1alpha1", "Application", {"source": SOURCE, "destination": PLACE}), WAITING, UNSEEN),
        (application(compared=source(targetRevision=OLDER)), WAITING, UNSEEN),
        (application(compared=source(path="other")), WAITING, UNSEEN),
        (application(compared={"destination": {**PLACE, "namespace": "other"}}), WAITING, UNSEEN),
        (application(compared=values(size=2, debug=False)), WAITING, UNSEEN),
        (application(compared=values(size=1)), WAITING, UNSEEN),
        (application(compared=values(size=1, debug=True)), WAITING, UNSEEN),
        (
            application(compared=source(path="other"), **trouble("ComparisonError", "no such path")),
            WAITING,
            "no such path",
        ),
        (application(sync="Unknown", revision="", **trouble("ComparisonError", "no access")), WAITING, "no access"),
        (application(**trouble("InvalidSpecError", "no such project")), WAITING, "no such project"),
        (application(**trouble("SharedResourceWarning", "shared")), READY, ""),
        (application(revision=OLDER), WAITING, f"at revision {OLDER}, not {COMMIT}"),
        (application(revision="", sync="Unknown"), WAITING, f"at revision none, not {COMMIT}"),
        (application(source(targetRevision="main"), revision=OLDER), READY, ""),
        (application(source(targetRevision="v1.2.3"), revision=OLDER), READY, ""),
        (application(source(targetRevision=None), revision=OLDER), READY, ""),
        (application(**operation("Running")), WAITING, "a sync is under way"),
        (application(sync="OutOfSync", **operation("Running", message="1 of 3")), WAITING, "1 of 3"),
        (application(sync="OutOfSync", **operation("Failed", message="quota")), FAILED, "quota"),
        (application(sync="OutOfSync", **operation("Error")), FAILED, "its sync failed"),
        (
            application(sync="OutOfSync", **operation("Failed", message="quota"), **trouble("SyncError", "will not")),
            FAILED,
            "quota",
        ),
        (application(sync="OutOfSync", **operation("Failed", OLDER, "quota")), WAITING, "OutOfSync at revision aaaa"),
        (
            application(revision=OLDER, sync="OutOfSync", **operation("Failed", OLDER, "quota")),
            WAITING,
            f"not {COMMIT}",
        ),
        (
            application(sync="OutOfSync", **operation("Failed", of=values(size=2)["source"], message="quota")),
            WAITING,
            "OutOfSync",
        ),
        (
            application(source(targetRevision="main"), sync="Unknown", revision="", **operation("Error", "")),
            WAITING,
            "Unknown at revision none",
        ),
        (application(**operation("Failed", message="quota")), READY, ""),
        (application(**operation("Succeeded")), READY, ""),
        (application(sync="OutOfSync", **operation("Succeeded")), WAITING, "OutOfSync at revision aaaa"),
        (application(sync="OutOfSync", **trouble("SyncError", "would wipe all out")), WAITING, "would wipe all out"),
        (application(sync=""), WAITING, "not compared at revision aaaa"),
        (application(health={"status": "Progressing"}), WAITING, "Progressing"),
        (application(health={"status": "Degraded", "message": "it crashes"}), WAITING, "Degraded it crashes"),
        (application(health={"status": "Missing"}), WAITING, "Missing"),
        (application(health={}), WAITING, "of unknown health"),
        (application(source(targetRevision="main"), sync="OutOfSync", revision=""), WAITING, "at revision none"),
    ],
)
def test_an_application_is_ready_when_what_is_declared_runs(live: dict[str, t.Any], state: str, reason: str) -> None:
    test_readiness(live, state, reason)
    if state == READY:
        assert readiness(live).reason == ""


@pytest.mark.parametrize(
    ("declared", "compared"),
    [
        ({"helm": {"valueFiles": [], "parameters": None, "valuesObject": {}}}, {}),
        ({"helm": {"releaseName": "", "valuesObject": {"a": {}, "b": 1}}}, {"helm": {"valuesObject": {"b": 1}}}),
        ({"helm": {"skipCrds": False, "releaseName": "a"}}, {"helm": {"releaseName": "a"}}),
        ({"directory": {"recurse": False}}, {}),
        (
            {"helm": {"parameters": [{"name": "a", "value": "1", "forceString": False}]}},
            {"helm": {"parameters": [{"name": "a", "value": "1"}]}},
        ),
        ({"chart": "", "path": "chart"}, {"path": "chart"}),
    ],
)
def test_what_argo_cd_leaves_out_of_its_copy_is_no_change(declared: dict[str, t.Any], compared: t.Any) -> None:
    url = {"repoURL": "https://git.example/shop"}
    live = application({"source": {**url, **declared}}, {"source": {**url, **compared}})
    assert readiness(live).state == READY


def test_an_application_may_have_several_sources() -> None:
    sources = {"source": None, "sources": [SOURCE, {"repoURL": "https://git.example/values", "ref": "values"}]}
    # In Go it is a struct, which is never left out.
    empty = {"source": {"repoURL": ""}}
    assert readiness(application(sources, empty, revision="")).state == READY
    assert readiness(application(sources, {**empty, "sources": [SOURCE]}, revision="")).reason == UNSEEN


def test_an_application_of_another_group_is_not_argo_cds() -> None:
    assert readiness(application() | {"apiVersion": "app.k8s.io/v1beta1", "status": {}}).state == READY


@pytest.mark.sabotage
@pytest.mark.parametrize("name", ["_bare", "_is_commit"])
def test_sabotage_what_argo_cd_compared_is_not_looked_at(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, name, lambda *_: False)
    with pytest.raises(AssertionError):
        test_readiness(application(compared=source(path="other")), WAITING, UNSEEN)
        test_readiness(application(revision=OLDER), WAITING, "not")


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
