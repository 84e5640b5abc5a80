# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import random
import typing as t

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import (
    GuardError,
    InputError,
    OutcomeError,
    PlanMismatch,
    PlatformError,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.redaction import Redactor
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.references import Reference
from ansible_collections.audioprothese.platform.plugins.module_utils.kube import plan
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.applyset import PART_OF, ApplySet
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.errors import ApiError, Cause
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.objects import ObjectId
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.runner import Options, Runner

from tests.unit.module_utils.kube.fake import FakeCluster

SET = ApplySet("s", "kube-system")
PARENT = "ConfigMap/kube-system/s"
ID_REF = "${ref:/subscriptions/s/resourceGroups/g#properties.clientId}"
SECRET_REF = "${secret:/vault#root}"
CANARY = "canary-7f3a9b-do-not-leak"


def config(name: str = "a", namespace: str = "default", **data: t.Any) -> dict[str, t.Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


def namespace(name: str) -> dict[str, t.Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def secret(**data: str) -> dict[str, t.Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s", "namespace": "default"},
        "type": "Opaque",
        "stringData": data,
    }


def definition() -> dict[str, t.Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.x.io"},
        "spec": {"group": "x.io", "names": {"kind": "Thing"}, "scope": "Namespaced"},
    }


def thing() -> dict[str, t.Any]:
    return {
        "apiVersion": "x.io/v1",
        "kind": "Thing",
        "metadata": {"name": "t", "namespace": "default"},
        "spec": {"a": 1},
    }


def claim() -> dict[str, t.Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "c", "namespace": "default"},
        "spec": {"storageClassName": "x"},
        "status": {"phase": "Bound"},
    }


def member(obj: dict[str, t.Any]) -> dict[str, t.Any]:
    return {**obj, "metadata": {**obj["metadata"], "labels": {PART_OF: SET.id}}}


def run(
    cluster: FakeCluster | None,
    documents: list[t.Any],
    *,
    state: str = "present",
    values: dict[str, t.Any] | None = None,
    key: bytes | None = b"key",
    hold: t.Callable[[], t.Callable[[], None]] = lambda: lambda: None,
    **options: t.Any,
) -> dict[str, t.Any]:
    def lookup(reference: Reference) -> t.Any:
        return (values or {}).get(str(reference))

    settings = {"applyset": "s", "wait": False, "timeout": 0.2, "wait_timeout": 0.2, **options}
    runner = Runner(
        Options(**settings),
        connect=lambda: t.cast("t.Any", cluster),
        lookup=lookup,
        hold=hold,
        redactor=Redactor(key),
    )
    return runner.present(documents) if state == "present" else runner.absent(documents)


def actions(result: dict[str, t.Any]) -> list[tuple[str, str]]:
    return [(action["action"], action["resource"]) for action in result["plan"]]


def drifts(result: dict[str, t.Any]) -> list[tuple[str, str, t.Any, t.Any]]:
    return [(f["resource"], f["path"], f["desired"], f["live"]) for f in result["findings"] if f["verdict"] == "drift"]


# -- present


def test_a_set_is_created_then_left_alone() -> None:
    cluster = FakeCluster()
    documents = [config("a", "new"), namespace("new"), thing(), definition()]
    first = run(cluster, documents)
    assert actions(first) == [
        ("create", PARENT),
        ("create", "Namespace/new"),
        ("create", "CustomResourceDefinition/things.x.io"),
        ("create", "ConfigMap/new/a"),
        ("create", "Thing/default/t"),
    ]
    assert [f["verdict"] for f in first["findings"]] == ["missing"] * 5
    assert cluster.writes() == [
        f"apply {name} by force" if name == PARENT else f"apply {name}" for _verb, name in actions(first)
    ]
    cluster.log.clear()
    second = run(cluster, documents)
    assert (second["changed"], second["plan"], second["findings"]) == (False, [], [])
    assert cluster.writes() == []


def test_drift_is_reported_by_path_and_corrected() -> None:
    cluster = FakeCluster()
    run(cluster, [config(x="1", y="2")])
    cluster.store[ObjectId("", "ConfigMap", "default", "a")]["data"] = {"x": "9"}
    result = run(cluster, [config(x="1", y="2")])
    assert drifts(result) == [("ConfigMap/default/a", "data.x", "1", "9"), ("ConfigMap/default/a", "data.y", "2", None)]
    assert result["diff"]["before"] == {"ConfigMap/default/a": {"data.x": "9", "data.y": None}}
    assert run(cluster, [config(x="1", y="2")])["changed"] is False


def test_what_a_controller_writes_meanwhile_is_no_drift() -> None:
    cluster = FakeCluster()
    run(cluster, [config(x="1")])

    def annotate(it: FakeCluster) -> None:
        live = it.store[ObjectId("", "ConfigMap", "default", "a")]
        live["metadata"] |= {"annotations": {"seen": "yes"}, "resourceVersion": "later"}

    cluster.meddle["ConfigMap/default/a"] = annotate
    result = run(cluster, [config(x="1")])
    assert (result["changed"], result["findings"]) == (False, [])
    assert cluster.meddle == {}


def test_a_field_taken_out_of_a_document_is_removed() -> None:
    cluster = FakeCluster()
    run(cluster, [config(x="1", y="2")])
    assert drifts(run(cluster, [config(x="1")])) == [("ConfigMap/default/a", "data.y", None, "2")]


def test_without_a_cluster_everything_is_missing_and_unverified() -> None:
    documents = [namespace("new"), config("a", "new"), definition(), thing(), secret(p=SECRET_REF)]
    predicted = run(None, documents, check=True, values={})
    assert all(action["unverified"] for action in predicted["plan"])
    real = run(FakeCluster(), documents, values={SECRET_REF: CANARY})
    assert predicted["plan_digest"] == real["plan_digest"]
    assert actions(predicted) == actions(real)
    with pytest.raises(PlatformError, match="no such cluster yet"):
        run(None, documents)


def test_what_cannot_be_asked_yet_is_predicted_in_check_mode() -> None:
    cluster = FakeCluster()
    result = run(cluster, [config("a", "elsewhere"), thing(), config("b")], check=True)
    assert {a["resource"]: a["unverified"] for a in result["plan"]} == {
        PARENT: False,
        "ConfigMap/default/b": False,
        "ConfigMap/elsewhere/a": True,
        "Thing/default/t": True,
    }
    assert cluster.writes() == []


@pytest.mark.parametrize(
    ("document", "message"),
    [(config("a", "elsewhere"), "namespace elsewhere does not exist"), (thing(), "does not serve x.io/v1/Thing")],
)
def test_what_has_no_foundation_stops_a_real_run_before_it_writes(document: t.Any, message: str) -> None:
    cluster = FakeCluster()
    with pytest.raises(OutcomeError, match=message):
        run(cluster, [config("b"), document])
    assert cluster.writes() == []


def test_objects_of_new_namespaces_are_verified_before_any_of_them_is_written() -> None:
    cluster = FakeCluster()
    cluster.refuse["ConfigMap/new/bad"] = ApiError("bad", status=422, reason="Invalid")
    with pytest.raises(OutcomeError, match="ConfigMap/new/bad"):
        run(cluster, [namespace("new"), config("bad", "new"), config("good", "new")])
    assert cluster.writes() == [f"apply {PARENT} by force", "apply Namespace/new"]


# -- check mode and plan


@pytest.mark.parametrize("seed", range(25))
def test_check_mode_predicts_exactly_what_the_real_run_does(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311
    names = [f"c{i}" for i in range(6)]
    cluster = FakeCluster()

    def documents() -> list[t.Any]:
        chosen = [name for name in names if dice.random() < 0.6]
        return [config(name, **{k: str(dice.randrange(2)) for k in "xyz" if dice.random() < 0.7}) for name in chosen]

    run(cluster, documents(), allow_delete=("*",))
    for obj in list(cluster.store.values()):
        if obj["kind"] == "ConfigMap" and obj["metadata"]["namespace"] == "default" and dice.random() < 0.5:
            obj["data"] = {"x": "changed"}
    wanted = documents()
    before = len(cluster.writes())
    check = run(cluster, wanted, check=True, allow_delete=("*",))
    assert len(cluster.writes()) == before
    real = run(cluster, wanted, allow_delete=("*",), expect_plan=check["plan_digest"])
    for part in ("changed", "plan", "plan_digest", "findings", "diff"):
        assert check[part] == real[part]
    assert run(cluster, wanted, allow_delete=("*",))["changed"] is False


def test_only_the_approved_plan_is_run() -> None:
    cluster = FakeCluster()
    approved = run(cluster, [config(x="1")], check=True)["plan_digest"]
    with pytest.raises(OutcomeError, match="approved") as caught:
        run(cluster, [config(x="2")], expect_plan=approved)
    assert isinstance(caught.value.__cause__, PlanMismatch)
    assert cluster.writes() == []
    assert run(cluster, [config(x="1")], expect_plan=approved)["changed"]


# -- deferred values and secrets


def test_unknown_values_do_not_count_as_drift_in_check_mode() -> None:
    cluster = FakeCluster()
    document = config(id=ID_REF, other="1")
    run(cluster, [document], values={ID_REF: "guid"})
    assert run(cluster, [document], check=True)["changed"] is False
    assert run(cluster, [document], values={ID_REF: "guid"})["changed"] is False
    assert drifts(run(cluster, [document], values={ID_REF: "new"}, check=True)) == [
        ("ConfigMap/default/a", "data.id", "new", "guid")
    ]
    with pytest.raises(InputError, match=r"clientId.*is not known"):
        run(cluster, [document])


def test_a_missing_object_with_an_unknown_value_is_known_after_apply() -> None:
    result = run(FakeCluster(), [config(id=ID_REF)], check=True)
    assert result["diff"]["after"]["ConfigMap/default/a"]["data"] == {"id": "known after apply"}
    assert [a["unverified"] for a in result["plan"]] == [False, True]


def test_secrets_appear_as_fingerprints_only() -> None:
    cluster = FakeCluster()
    values = {SECRET_REF: CANARY}
    results = [run(cluster, [secret(p=SECRET_REF, q="plain-" + CANARY)], values=values)]
    live = cluster.store[ObjectId("", "Secret", "default", "s")]
    assert base64.b64decode(live["data"]["p"]).decode() == CANARY
    live["data"]["p"] = base64.b64encode(b"tampered-" + CANARY.encode()).decode()
    results.append(run(cluster, [secret(p=SECRET_REF, q="plain-" + CANARY)], values=values))
    results.append(run(cluster, [config()], check=True))
    cluster.refuse["Secret/default/s"] = ApiError(f"bad {CANARY}", status=422, causes=[Cause("", "data.p", CANARY)])
    with pytest.raises(OutcomeError) as caught:
        run(cluster, [secret(p=SECRET_REF)], values=values)
    text = str(results) + str(caught.value) + str(caught.value.outcome)
    for form in (
        CANARY,
        base64.b64encode(CANARY.encode()).decode(),
        base64.b64encode(b"tampered-" + CANARY.encode()).decode(),
    ):
        assert form not in text
    ((resource, path, desired, was),) = drifts(results[1])
    assert (resource, path) == ("Secret/default/s", "data.p")
    assert desired == Redactor(b"key").fingerprint(CANARY)
    assert was != desired
    assert was.startswith("<secret ")


def test_a_secret_that_cannot_be_read_yet_is_no_drift() -> None:
    cluster = FakeCluster()
    run(cluster, [secret(p=SECRET_REF)], values={SECRET_REF: CANARY})
    assert run(cluster, [secret(p=SECRET_REF)], check=True)["changed"] is False


def test_the_lease_is_asked_before_each_write_and_only_then() -> None:
    cluster = FakeCluster()
    asked: list[str] = []

    def hold() -> t.Callable[[], None]:
        asked.append("held")
        return lambda: asked.append(f"{len(cluster.writes())} writes so far")

    def converge(*documents: t.Any) -> None:
        options = Options(applyset="s", wait=False)
        Runner(options, connect=lambda: t.cast("t.Any", cluster), hold=hold, redactor=Redactor(b"k")).present(documents)

    converge(config("a"), config("b"))
    assert asked == ["held", "0 writes so far", "1 writes so far", "2 writes so far"]
    asked.clear()
    converge(config("a"), config("b"))
    assert asked == []


# -- guards


def problem_of(cluster: FakeCluster, documents: list[t.Any], **options: t.Any) -> OutcomeError:
    with pytest.raises(OutcomeError) as caught:
        run(cluster, documents, **options)
    assert cluster.writes() == []
    assert caught.value.outcome["changed"] is False
    return caught.value


@pytest.mark.parametrize("check", [True, False])
def test_what_holds_state_is_pruned_only_when_named(check: bool) -> None:
    cluster = FakeCluster(member(claim()))
    run(cluster, [config(), claim()])
    cluster.log.clear()
    error = problem_of(cluster, [config()], check=check)
    assert "PersistentVolumeClaim/default/c: it would be deleted, and it holds state" in str(error)
    assert ("delete", "PersistentVolumeClaim/default/c") in actions(error.outcome)
    assert [f["verdict"] for f in error.outcome["findings"] if f["resource"].startswith("Pers")] == [
        "error",
        "unexpected",
    ]
    result = run(cluster, [config()], allow_delete=("PersistentVolumeClaim/default/*",), check=check)
    assert ("delete", "PersistentVolumeClaim/default/c") in actions(result)
    assert (ObjectId("", "PersistentVolumeClaim", "default", "c") in cluster.store) is check


def of_series(series: str) -> dict[str, t.Any]:
    document = config(tag=series)
    document["metadata"]["annotations"] = {"platform.audioprothese/data-series": series} if series else {}
    return document


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("other", ["mariadb-11.8", "mariadb-10.6"])
def test_data_of_another_series_is_rewritten_only_when_named(other: str, check: bool) -> None:
    cluster = FakeCluster()
    run(cluster, [of_series("mariadb-10.11")])
    cluster.log.clear()
    error = problem_of(cluster, [of_series(other)], check=check)
    assert f"ConfigMap/default/a: its data is of mariadb-10.11 and would be rewritten for {other}" in str(error)
    assert "name it in allow_upgrade (ConfigMap/default/a)" in str(error)
    assert run(cluster, [of_series(other)], allow_upgrade=("ConfigMap/default/a",), check=check)["changed"]


@pytest.mark.parametrize(("live", "wanted"), [("", "mariadb-10.11"), ("mariadb-10.11", "mariadb-10.11"), ("a", "")])
def test_data_of_one_series_or_of_none_needs_no_consent(live: str, wanted: str) -> None:
    cluster = FakeCluster()
    run(cluster, [of_series(live)])
    run(cluster, [of_series(wanted) | {"data": {"other": "value"}}])


@pytest.mark.sabotage
def test_without_the_guard_data_is_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = FakeCluster()
    run(cluster, [of_series("mariadb-10.11")])
    runner = "ansible_collections.audioprothese.platform.plugins.module_utils.kube.runner"
    monkeypatch.setattr(f"{runner}.upgrade_problems", lambda *_: [])
    assert run(cluster, [of_series("mariadb-11.8")])["changed"]


def test_an_empty_set_needs_consent() -> None:
    cluster = FakeCluster()
    run(cluster, [config()])
    cluster.log.clear()
    assert "the set is empty" in str(problem_of(cluster, []))
    assert actions(run(cluster, [], allow_delete=("ConfigMap/*",)))[-1] == ("delete", "ConfigMap/default/a")


@pytest.mark.parametrize(
    ("metadata", "owner"),
    [
        ({"annotations": {"argocd.argoproj.io/tracking-id": "shop:/ConfigMap:default/a"}}, "Argo CD"),
        ({"labels": {PART_OF: "applyset-other-v1"}}, "another ApplySet"),
    ],
)
def test_objects_of_others_are_refused(metadata: dict[str, t.Any], owner: str) -> None:
    foreign = config(x="1")
    foreign["metadata"] |= metadata
    assert owner in str(problem_of(FakeCluster(foreign), [config(x="2")]))
    assert owner in str(problem_of(FakeCluster(foreign), [config()], state="absent"))


def test_a_field_of_a_controller_is_a_conflict_and_one_of_a_person_is_drift() -> None:
    cluster = FakeCluster(config(x="1"))
    cluster.held["ConfigMap/default/a", "data.x"] = "kube-controller-manager"
    error = problem_of(cluster, [config(x="2")], take_over=("kubectl*",))
    assert "data.x is held by the field manager kube-controller-manager" in str(error)
    forced = run(cluster, [config(x="2")], check=True, force_conflicts=True)
    assert [f["message"] for f in forced["findings"] if f["path"] == "data.x"] == [
        "taken over from the field manager kube-controller-manager"
    ]
    cluster.held["ConfigMap/default/a", "data.x"] = "kubectl-edit"
    result = run(cluster, [config(x="2")], take_over=("kubectl*",))
    assert ("ConfigMap/default/a", "data.x", "2", "1") in drifts(result)
    assert "apply ConfigMap/default/a by force" in cluster.writes()


def test_an_immutable_field_is_named_before_any_write() -> None:
    cluster = FakeCluster(config(x="1"))
    text = "Invalid: data: field is immutable when `immutable` is set"
    cluster.refuse["ConfigMap/default/a"] = ApiError(
        text, status=422, causes=[Cause("FieldValueForbidden", "data", "")]
    )
    error = problem_of(cluster, [config(x="2"), config("b")])
    assert "ConfigMap/default/a: data.x cannot be changed in place" in str(error)
    assert isinstance(error.__cause__, GuardError)


def test_an_immutable_field_that_is_declared_no_more_is_named() -> None:
    cluster = FakeCluster(config(x="1", y="2"))
    cluster.refuse["ConfigMap/default/a"] = ApiError(
        "Forbidden: updates to parameters are forbidden.", status=422, causes=[Cause("FieldValueForbidden", "data", "")]
    )
    assert "data.y cannot be changed in place" in str(problem_of(cluster, [config(x="1")]))


def test_a_partial_read_fails() -> None:
    cluster = FakeCluster()
    cluster.fail_read["ConfigMap"] = ApiError("etcd is slow", status=500)
    with pytest.raises(PlatformError, match="etcd is slow"):
        run(cluster, [config()])
    assert cluster.writes() == []


def test_a_failed_apply_cancels_every_prune() -> None:
    cluster = FakeCluster()
    run(cluster, [config("old"), config("a", x="1")])
    cluster.log.clear()
    cluster.fail_write["ConfigMap/default/a"] = ApiError("quota", status=403, reason="Forbidden")
    with pytest.raises(OutcomeError, match="quota") as caught:
        run(cluster, [config("a", x="2")])
    assert caught.value.outcome["changed"] is True
    assert not [line for line in cluster.writes() if line.startswith("delete")]
    assert ObjectId("", "ConfigMap", "default", "old") in cluster.store


# -- prune and absent


def test_prune_finds_members_in_remembered_kinds_and_namespaces() -> None:
    cluster = FakeCluster()
    run(cluster, [namespace("far"), config("x", "far"), config("a"), secret(a="1")])
    result = run(cluster, [namespace("far"), config("a")], check=True)
    assert [a for a in actions(result) if a[0] == "delete"] == [
        ("delete", "ConfigMap/far/x"),
        ("delete", "Secret/default/s"),
    ]
    run(cluster, [namespace("far"), config("a")])
    parent = cluster.store[SET.parent_id]["metadata"]["annotations"]
    assert parent["applyset.kubernetes.io/contains-group-kinds"] == "ConfigMap,Namespace"
    assert parent["applyset.kubernetes.io/additional-namespaces"] == "default"
    assert run(cluster, [namespace("far"), config("a")])["changed"] is False


def test_without_prune_a_part_of_the_set_leaves_the_rest_alone() -> None:
    cluster = FakeCluster()
    run(cluster, [config("a"), secret(a="1")])
    result = run(cluster, [config("a")], prune=False)
    assert (result["changed"], result["plan"]) == (False, [])
    assert (
        "Secret"
        in cluster.store[SET.parent_id]["metadata"]["annotations"]["applyset.kubernetes.io/contains-group-kinds"]
    )


def test_copies_of_the_label_made_by_controllers_are_not_pruned() -> None:
    copy = member(config("copy"))
    copy["metadata"]["ownerReferences"] = [{"controller": True}]
    cluster = FakeCluster(copy)
    assert [a for a in actions(run(cluster, [config("a")])) if a[0] == "delete"] == []


def test_absent_removes_what_exists_and_accepts_what_does_not() -> None:
    cluster = FakeCluster()
    documents = [config("a"), secret(a="1")]
    run(cluster, documents)
    check = run(cluster, [*documents, thing(), config("x", "nowhere")], state="absent", check=True)
    assert actions(check) == [
        ("delete", "ConfigMap/default/a"),
        ("delete", "Secret/default/s"),
        ("delete", PARENT),
    ]
    real = run(cluster, [*documents, thing(), config("x", "nowhere")], state="absent")
    assert (real["plan_digest"], real["diff"]) == (check["plan_digest"], check["diff"])
    assert not [i for i in cluster.store if i.kind != "Namespace"]
    assert run(cluster, documents, state="absent")["changed"] is False
    for dry in (True, False):
        assert run(None, documents, state="absent", check=dry)["changed"] is False, "its cluster is gone"


def test_absent_keeps_the_parent_while_other_members_exist() -> None:
    cluster = FakeCluster()
    run(cluster, [config("a"), config("b")])
    assert actions(run(cluster, [config("a")], state="absent")) == [("delete", "ConfigMap/default/a")]


def test_absent_needs_consent_for_what_holds_state() -> None:
    cluster = FakeCluster(namespace("x"))
    assert "Namespace/x: it would be deleted, and it holds state" in str(
        problem_of(cluster, [namespace("x")], state="absent")
    )
    assert run(cluster, [namespace("x")], state="absent", allow_delete=("Namespace/x",))["changed"]


# -- sabotage: the proofs above turn red when what they prove is taken away


def test_sabotage_no_deletion_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    module = "ansible_collections.audioprothese.platform.plugins.module_utils.kube.runner"
    monkeypatch.setattr(f"{module}.deletion_problems", lambda *args, **kwargs: [])
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_what_holds_state_is_pruned_only_when_named(check=False)


def test_sabotage_a_comparison_that_always_says_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "differences", lambda desired, live: [])
    with pytest.raises(AssertionError):
        test_drift_is_reported_by_path_and_corrected()


def test_sabotage_no_redaction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "disclose", lambda body, redactor: dict(body))
    monkeypatch.setattr(Redactor, "redact", lambda self, obj: obj)
    with pytest.raises(AssertionError):
        test_secrets_appear_as_fingerprints_only()


def test_sabotage_check_mode_that_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Writing(Options):
        def __init__(self, **kwargs: t.Any) -> None:
            super().__init__(**{**kwargs, "check": False})

    monkeypatch.setitem(globals(), "Options", Writing)
    with pytest.raises(AssertionError):
        test_check_mode_predicts_exactly_what_the_real_run_does(1)
