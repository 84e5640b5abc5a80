# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import typing as t
from collections.abc import Callable

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import LeaseError, OutcomeError
from ansible_collections.audioprothese.platform.plugins.module_utils.kube import apply, runner
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.applyset import PART_OF
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.errors import ApiError
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.handover import (
    ARGO_CD,
    TRACKING,
    application_of,
    bare,
    is_handed_back,
    is_taken_over,
    marks_of,
    split,
    takes_along,
    undelivered,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.objects import ObjectId, normalise

from tests.unit.module_utils.kube.fake import FakeCluster, Kind, Object
from tests.unit.module_utils.kube.test_runner import PARENT, SET, actions, config, drifts, namespace, problem_of, run

TAKES_OVER = "platform.audioprothese/takes-over"
INSTANCE = "argocd.argoproj.io/instance"
CASCADE = "resources-finalizer.argocd.argoproj.io"
KINDS_ANNOTATION = "applyset.kubernetes.io/contains-group-kinds"
SHOP = ObjectId("argoproj.io", "Application", "argocd", "shop")
WEB = ObjectId("", "ConfigMap", "default", "shop-web")
DB = ObjectId("apps", "StatefulSet", "default", "shop-db")


def marked(obj: Object, application: str = "shop") -> Object:
    mark = {TRACKING: f"{application}:/{obj['kind']}:{obj['metadata'].get('namespace', '')}/{obj['metadata']['name']}"}
    return {**obj, "metadata": {**obj["metadata"], "annotations": {**obj["metadata"].get("annotations", {}), **mark}}}


def application(
    name: str = "shop", space: str = "argocd", *, takes: str = "*/default/shop-*", finalizers: t.Sequence[str] = ()
) -> Object:
    metadata: Object = {"name": name, "namespace": space, "annotations": {TAKES_OVER: takes}}
    if finalizers:
        metadata["finalizers"] = list(finalizers)
    spec = {
        "source": {"repoURL": "https://git.example/shop", "path": "chart", "targetRevision": "main"},
        "destination": {"server": "https://kubernetes.default.svc", "namespace": "default"},
    }
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": metadata, "spec": spec}


def web(**data: str) -> Object:
    return config("shop-web", **(data or {"x": "1"}))


def database() -> Object:
    spec = {"replicas": 1, "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"storageClassName": "a"}}]}
    metadata = {"name": "shop-db", "namespace": "default"}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": spec}


class WithArgo(FakeCluster):
    """Argo CD delivers what Git has for an Application whenever somebody looks at it or takes it away."""

    def __init__(self, *objects: Object, git: t.Sequence[Object] = ()) -> None:
        names = {"kind": "Application"}
        spec = {"group": "argoproj.io", "versions": [{"name": "v1alpha1"}], "names": names, "scope": "Namespaced"}
        definition = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "applications.argoproj.io"},
            "spec": spec,
        }
        super().__init__(namespace("argocd"), definition, *objects)
        self.git = list(git)
        self.works = True
        # It marks nothing that is as Git has it, until it is asked to sync.
        self.lazy = False

    def get(self, resource: Kind, name: str, namespace: str = "") -> Object | None:
        if resource.kind == "Application":
            self.deliver()
        return super().get(resource, name, namespace)

    def delete(self, resource: Kind, live: t.Mapping[str, t.Any], *, dry_run: bool, **how: bool) -> None:
        if resource.kind == "Application" and not dry_run:
            self.deliver()
        super().delete(resource, live, dry_run=dry_run, **how)

    def deliver(self) -> None:
        live = self.store.get(SHOP)
        if live is None or not self.works:
            return
        said = len(self.log)
        asked = live.pop("operation", None)
        for obj in self.git if asked or not self.lazy else ():
            kind = self.resource(obj["apiVersion"], obj["kind"])
            assert kind is not None
            self.apply(kind, marked(obj), dry_run=False, force=True, manager=ARGO_CD)
        del self.log[said:]
        sync = {"status": "Synced", "revision": "abc", "comparedTo": copy.deepcopy(live["spec"])}
        live["status"] = {"sync": sync, "health": {"status": "Healthy"}}

    def remembers(self) -> str:
        return str(self.store[SET.parent_id]["metadata"]["annotations"][KINDS_ANNOTATION])

    def content(self) -> dict[str, t.Any]:
        def plain(obj: Object) -> Object:
            drop = ("uid", "resourceVersion")
            return {**obj, "metadata": {key: item for key, item in obj["metadata"].items() if key not in drop}}

        return {str(identity): plain(obj) for identity, obj in self.store.items() if identity != SHOP}


KEPT = config("kept", a="1")
DIRECT = [KEPT, web(), database()]
BY_ARGO = [KEPT, application()]


def ours() -> WithArgo:
    """Everything is delivered by the set, and Git has the same."""
    cluster = WithArgo(git=[web(), database()])
    run(cluster, DIRECT)
    cluster.log.clear()
    return cluster


def theirs(app: Object | None = None) -> WithArgo:
    """Argo CD has taken it over."""
    cluster = ours()
    run(cluster, [KEPT, app or application()], wait=True)
    cluster.log.clear()
    return cluster


def labels(cluster: FakeCluster, identity: ObjectId) -> dict[str, str]:
    return cluster.store[identity]["metadata"].get("labels") or {}


def managers(cluster: FakeCluster, identity: ObjectId) -> list[str]:
    return [entry["manager"] for entry in cluster.store[identity]["metadata"].get("managedFields") or ()]


# -- what an object says


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        (None, ""),
        ({}, ""),
        ({"annotations": None, "labels": None}, ""),
        ({"annotations": {TRACKING: ""}}, ""),
        ({"annotations": {TRACKING: "shop:apps/Deployment:default/web"}}, "shop"),
        ({"annotations": {TRACKING: "team_shop:/Service:default/web"}}, "team_shop"),
        ({"labels": {INSTANCE: "shop"}}, "shop"),
        ({"annotations": {TRACKING: "one:/Service:default/web"}, "labels": {INSTANCE: "other"}}, "one"),
        ({"labels": {"app.kubernetes.io/instance": "shop"}}, ""),
    ],
)
def test_the_application_that_an_object_is_marked_with(metadata: t.Any, name: str) -> None:
    assert application_of({"metadata": metadata}) == name


def test_what_does_not_exist_is_marked_with_no_application() -> None:
    assert application_of(None) == ""
    assert not is_handed_back(None, ["shop"])


@pytest.mark.parametrize(
    ("mark", "applications", "expected"),
    [
        ("", [], False),
        ("", ["shop"], False),
        ("shop", ["shop", "other"], False),
        ("shop", ["other"], True),
        ("shop", [], True),
    ],
)
def test_what_no_application_is_left_for_is_handed_back(mark: str, applications: list[str], expected: bool) -> None:
    live = marked(config(), mark) if mark else config()
    assert is_handed_back(live, applications) is expected


def test_an_application_marks_with_its_name_or_also_with_its_namespace() -> None:
    assert marks_of([application("a", "argocd"), application("b", "team")]) == {"a", "argocd_a", "b", "team_b"}
    assert marks_of([]) == set()


@pytest.mark.parametrize(
    ("patterns", "taken"),
    [
        ("", []),
        (None, []),
        ("ConfigMap/default/shop-web", ["ConfigMap/default/shop-web"]),
        ("*/default/shop-*", ["ConfigMap/default/shop-web", "StatefulSet/default/shop-db"]),
        ("StatefulSet/*, Namespace/shop ,", ["StatefulSet/default/shop-db", "Namespace/shop"]),
        ("Namespace//shop", ["Namespace/shop"]),
        ("configmap/default/*", []),
        ("*/other/*", []),
        ("shop-web", []),
    ],
)
def test_what_an_application_takes_over_by_its_patterns(patterns: str | None, taken: list[str]) -> None:
    surplus = [web(), database(), namespace("shop")]
    declared = application(takes=patterns or "")
    if patterns is None:
        del declared["metadata"]["annotations"]
    staying, doomed = split(surplus, normalise([declared, KEPT]))
    assert [str(ObjectId.of(obj)) for obj in staying] == taken
    assert doomed == [obj for obj in surplus if obj not in staying]


@pytest.mark.parametrize("change", [{"kind": "ApplicationSet"}, {"apiVersion": "app.k8s.io/v1beta1"}])
def test_only_an_application_takes_over(change: dict[str, str]) -> None:
    assert split([web()], normalise([application(takes="*") | change])) == ([], [web()])


def test_several_applications_take_over() -> None:
    manifests = normalise([application("a", takes="ConfigMap/*"), application("b", takes="StatefulSet/*")])
    assert split([web(), database(), namespace("shop")], manifests) == ([web(), database()], [namespace("shop")])


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        (
            marked(web()) | {"status": {}},
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shop-web", "namespace": "default"}},
        ),
        (namespace("x"), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}}),
    ],
)
def test_a_bare_object_is_but_a_name(live: Object, expected: Object) -> None:
    assert bare(live) == expected


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        (application(), False),
        (application(finalizers=["foregroundDeletion", "post-delete-finalizer.argocd.argoproj.io"]), False),
        (application(finalizers=["foregroundDeletion", CASCADE]), True),
        (application(finalizers=[f"{CASCADE}/background"]), True),
        (application(finalizers=[f"{CASCADE}/foreground"]), True),
        (application(finalizers=[CASCADE]) | {"kind": "AppProject"}, False),
    ],
)
def test_an_application_takes_along_what_it_delivers(live: Object, expected: bool) -> None:
    assert takes_along(live) is expected


@pytest.mark.parametrize(
    ("manager", "operation", "mark", "expected"),
    [
        (ARGO_CD, "Apply", "shop", True),
        (ARGO_CD, "Apply", "", False),
        (ARGO_CD, "Update", "shop", False),
        ("kubectl", "Apply", "shop", False),
    ],
)
def test_argo_cd_delivers_what_it_marked_and_holds(manager: str, operation: str, mark: str, expected: bool) -> None:
    live = marked(web(), mark) if mark else web()
    live["metadata"]["managedFields"] = [{"manager": "us", "operation": "Apply"}]
    assert not is_taken_over(live)
    live["metadata"]["managedFields"].append({"manager": manager, "operation": operation})
    assert is_taken_over(live) is expected


def row(status: str | None, **more: t.Any) -> dict[str, t.Any]:
    return {
        "kind": "Deployment",
        "group": "apps",
        "version": "v1",
        "namespace": "n",
        "name": "web",
        "status": status,
    } | more


@pytest.mark.parametrize(
    ("rows", "revision", "expected"),
    [
        (None, "a", []),
        ([row("Synced"), row(None)], "a", []),
        (
            [row("Synced"), row("OutOfSync")],
            "0123456789abcdef",
            [("Deployment/n/web", "apps/v1/Deployment", "Argo CD: OutOfSync at revision 0123456789ab")],
        ),
        (
            [{"kind": "Namespace", "version": "v1", "name": "x", "status": "OutOfSync", "requiresPruning": True}],
            "",
            [("Namespace/x", "v1/Namespace", "Argo CD: OutOfSync at revision none, and Git has it no more")],
        ),
    ],
)
def test_what_argo_cd_says_is_not_as_git_has_it(rows: t.Any, revision: str, expected: t.Any) -> None:
    status = {"sync": {"revision": revision}, "resources": rows}
    assert undelivered(application() | {"status": status}) == expected
    assert undelivered(config() | {"status": status}) == []


def test_nobody_speaks_of_what_an_application_delivers_before_it_exists() -> None:
    assert undelivered(None) == undelivered(application()) == []


# -- Argo CD takes over


def test_what_an_application_takes_over_leaves_the_set_and_stays() -> None:
    cluster = ours()
    before = copy.deepcopy(cluster.store)
    check = run(cluster, BY_ARGO, check=True, wait=True)
    assert (cluster.writes(), cluster.store) == ([], before)
    real = run(cluster, BY_ARGO, wait=True, expect_plan=check["plan_digest"])
    for part in ("changed", "plan", "plan_digest", "findings", "diff"):
        assert check[part] == real[part]
    assert actions(real) == [
        ("update", PARENT),
        ("create", str(SHOP)),
        ("update", str(DB)),
        ("update", str(WEB)),
    ]
    assert cluster.writes() == [
        f"apply {PARENT} by force",
        f"apply {SHOP}",
        f"apply {DB} by force",
        f"apply {WEB} by force",
        f"apply {PARENT} by force",
    ]
    for identity, part in ((WEB, "data"), (DB, "spec")):
        live = cluster.store[identity]
        assert live[part] == before[identity][part]
        assert live["metadata"]["uid"] == before[identity]["metadata"]["uid"]
        assert PART_OF not in labels(cluster, identity)
        assert managers(cluster, identity) == [ARGO_CD]
    assert cluster.remembers() == "Application.argoproj.io,ConfigMap"


def test_plan_and_findings_tell_what_leaves_the_set() -> None:
    result = run(ours(), BY_ARGO, check=True)
    told = {f["resource"]: f for f in result["findings"] if f["resource"] in (str(WEB), str(DB))}
    path = f'metadata.labels["{PART_OF}"]'
    for found in told.values():
        assert (found["verdict"], found["action"], found["path"]) == ("drift", "update", path)
        assert (found["desired"], found["live"]) == (None, SET.id)
        assert "leaves the set, and stays" in found["message"]
    assert {f["type"] for f in told.values()} == {"v1/ConfigMap", "apps/v1/StatefulSet"}
    assert result["diff"]["before"][str(WEB)] == {path: SET.id}


def test_after_a_takeover_nothing_is_left_to_do() -> None:
    cluster = theirs()
    again = run(cluster, BY_ARGO, wait=True)
    assert (again["changed"], again["plan"], again["findings"], cluster.writes()) == (False, [], [], [])


def test_what_is_not_taken_over_is_pruned_as_ever() -> None:
    cluster = ours()
    cluster.git = [web()]
    documents = [KEPT, application(takes="ConfigMap/*")]
    assert "it holds state" in str(problem_of(cluster, documents))
    result = run(cluster, documents, wait=True, allow_delete=("StatefulSet/*",))
    assert [name for verb, name in actions(result) if verb == "delete"] == [str(DB)]
    assert (DB in cluster.store, WEB in cluster.store) == (False, True)


def test_what_argo_cd_has_not_marked_stays_a_member_until_it_has() -> None:
    cluster = ours()
    cluster.git = [web()]
    for _again in range(2):
        with pytest.raises(OutcomeError, match="shop-db: Argo CD has synced, and not taken it over"):
            run(cluster, BY_ARGO, wait=True)
        assert (labels(cluster, WEB), labels(cluster, DB)) == ({}, {PART_OF: SET.id})
        assert cluster.remembers() == "Application.argoproj.io,ConfigMap,StatefulSet.apps"
    assert actions(run(cluster, BY_ARGO, check=True)) == [("update", PARENT), ("update", str(DB))]
    cluster.git = [web(), database()]
    cluster.deliver()
    run(cluster, BY_ARGO, wait=True)
    assert (labels(cluster, DB), cluster.remembers()) == ({}, "Application.argoproj.io,ConfigMap")
    assert run(cluster, BY_ARGO, wait=True)["changed"] is False


def test_argo_cd_is_asked_to_mark_what_is_as_git_has_it() -> None:
    cluster = ours()
    cluster.lazy = True
    run(cluster, BY_ARGO, wait=True)
    assert (labels(cluster, WEB), labels(cluster, DB)) == ({}, {})
    assert run(cluster, BY_ARGO, wait=True)["changed"] is False


def test_what_argo_cd_did_not_apply_on_the_server_is_not_stripped() -> None:
    cluster = ours()
    cluster.git = []
    cluster.store[WEB] = marked(cluster.store[WEB])
    with pytest.raises(OutcomeError, match="web: Argo CD has synced, and not taken it over"):
        run(cluster, BY_ARGO, wait=True)
    assert (cluster.store[WEB]["data"], labels(cluster, WEB)) == ({"x": "1"}, {PART_OF: SET.id})


def test_an_application_that_is_not_ready_takes_nothing_over_yet() -> None:
    cluster = ours()
    cluster.works = False
    with pytest.raises(OutcomeError, match="Argo CD has not seen the change yet"):
        run(cluster, BY_ARGO, wait=True)
    assert all(labels(cluster, identity) == {PART_OF: SET.id} for identity in (WEB, DB))
    cluster.works = True
    run(cluster, BY_ARGO, wait=True)
    assert all(labels(cluster, identity) == {} for identity in (WEB, DB))


def test_an_application_that_is_refused_takes_nothing_over() -> None:
    cluster = ours()
    cluster.fail_write[str(SHOP)] = ApiError("quota", status=403, reason="Forbidden")
    with pytest.raises(OutcomeError, match="quota"):
        run(cluster, BY_ARGO, wait=True)
    assert cluster.writes() == [f"apply {PARENT} by force", f"apply {SHOP}"]
    assert all(labels(cluster, identity) == {PART_OF: SET.id} for identity in (WEB, DB))


def test_without_waiting_what_is_marked_by_then_is_let_go_of() -> None:
    cluster = ours()
    run(cluster, BY_ARGO)
    assert labels(cluster, WEB) == {PART_OF: SET.id}
    cluster.deliver()
    run(cluster, BY_ARGO)
    assert labels(cluster, WEB) == {}


def test_without_prune_nothing_leaves_the_set() -> None:
    cluster = ours()
    result = run(cluster, BY_ARGO, wait=True, prune=False)
    assert actions(result) == [("update", PARENT), ("create", str(SHOP))]
    assert all(labels(cluster, identity) == {PART_OF: SET.id} for identity in (WEB, DB))


# -- Argo CD hands back


def test_what_an_application_delivered_is_taken_back_when_it_goes() -> None:
    cluster = theirs()
    before = copy.deepcopy(cluster.store)
    check = run(cluster, DIRECT, check=True)
    assert (cluster.writes(), cluster.store) == ([], before)
    real = run(cluster, DIRECT, expect_plan=check["plan_digest"])
    for part in ("changed", "plan", "plan_digest", "findings", "diff"):
        assert check[part] == real[part]
    assert actions(real) == [
        ("update", PARENT),
        ("update", str(WEB)),
        ("update", str(DB)),
        ("delete", str(SHOP)),
    ]
    assert [line for line in cluster.writes() if line.startswith("delete")] == [f"delete {SHOP}"]
    for identity, part in ((WEB, "data"), (DB, "spec")):
        live = cluster.store[identity]
        assert live[part] == before[identity][part]
        assert live["metadata"]["uid"] == before[identity]["metadata"]["uid"]
        assert (labels(cluster, identity), application_of(live)) == ({PART_OF: SET.id}, "")
        assert managers(cluster, identity) == []
        assert real["resources"][str(identity)]["metadata"].get("annotations") in (None, {})
    cluster.log.clear()
    again = run(cluster, DIRECT)
    assert (again["changed"], again["plan"], again["findings"], cluster.writes()) == (False, [], [], [])


def test_a_mark_is_removed_only_when_nobody_would_set_it_again() -> None:
    cluster = theirs()
    run(cluster, DIRECT)
    writes = cluster.writes()
    for identity in (WEB, DB):
        assert writes.index(f"apply {identity}") < writes.index(f"delete {SHOP}")
        assert writes.index(f"delete {SHOP}") < writes.index(f"apply {identity} by force as {ARGO_CD}")


def test_plan_and_findings_tell_what_is_taken_back() -> None:
    result = run(theirs(), DIRECT, check=True)
    path = f'metadata.annotations["{TRACKING}"]'
    assert (str(WEB), path, None, "shop") in drifts(result)
    (message,) = [f["message"] for f in result["findings"] if (f["resource"], f["path"]) == (str(WEB), path)]
    assert "it is taken back" in message


def test_what_argo_cd_wanted_otherwise_is_as_declared_afterwards() -> None:
    cluster = theirs()
    cluster.git = [web(x="theirs", more="2"), database()]
    cluster.deliver()
    assert "held by the field manager argocd-controller" in str(problem_of(cluster, [web(), database()]))
    documents = [KEPT, web(), database()]
    result = run(cluster, documents, take_over=(ARGO_CD,))
    assert (str(WEB), "data.x", "1", "theirs") in drifts(result)
    assert cluster.store[WEB]["data"] == {"x": "1"}
    assert run(cluster, documents, take_over=(ARGO_CD,))["changed"] is False


def test_what_is_marked_with_an_application_that_is_gone_is_taken_back() -> None:
    cluster = theirs()
    del cluster.store[SHOP]
    run(cluster, DIRECT)
    assert all(application_of(cluster.store[identity]) == "" for identity in (WEB, DB))
    assert all(labels(cluster, identity) == {PART_OF: SET.id} for identity in (WEB, DB))
    assert run(cluster, DIRECT)["changed"] is False


def test_a_mark_that_stays_is_an_error() -> None:
    cluster = WithArgo(marked(web()))
    with pytest.raises(OutcomeError, match="still marked with the application shop"):
        run(cluster, [web()])
    assert cluster.store[WEB]["data"] == {"x": "1"}


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("documents", "options"),
    [
        ([*DIRECT, application()], {}),
        (DIRECT, {"prune": False}),
    ],
)
def test_what_a_living_application_delivers_is_refused(documents: t.Any, options: t.Any, check: bool) -> None:
    cluster = theirs()
    error = problem_of(cluster, documents, check=check, **options)
    assert f"{WEB}: it is managed by Argo CD (application shop)" in str(error)


@pytest.mark.parametrize(
    ("place", "mark"), [("argocd", "shop"), ("team", "team_shop"), ("team", "shop"), ("argocd", "argocd_shop")]
)
def test_an_application_lives_in_any_namespace(place: str, mark: str) -> None:
    cluster = WithArgo(namespace("team"), marked(web(), mark), application("shop", place))
    assert f"managed by Argo CD (application {mark})" in str(problem_of(cluster, [web()]))


def test_an_application_of_another_cluster_is_not_taken_for_gone() -> None:
    assert "managed by Argo CD" in str(problem_of(FakeCluster(marked(web())), [web()]))


def test_what_is_handed_back_is_not_taken_from_another_set() -> None:
    live = marked(web())
    live["metadata"]["labels"] = {PART_OF: "applyset-other-v1"}
    assert "managed by another ApplySet (applyset-other-v1)" in str(problem_of(WithArgo(live), [web()]))


def test_no_application_is_asked_for_where_nothing_is_marked() -> None:
    cluster = ours()
    run(cluster, DIRECT)
    assert "read Application" not in cluster.log


# -- an Application that deletes what it delivers


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("finalizer", [CASCADE, f"{CASCADE}/background"])
def test_an_application_that_takes_its_objects_along_goes_only_when_named(finalizer: str, check: bool) -> None:
    cluster = theirs(application(finalizers=[finalizer]))
    error = problem_of(cluster, [KEPT], check=check)
    assert f"{SHOP}: it would be deleted, and all that it delivers with it" in str(error)
    assert f"name it in allow_delete ({SHOP})" in str(error)
    result = run(cluster, [KEPT], check=check, allow_delete=(str(SHOP),))
    assert (("delete", str(SHOP)) in actions(result), SHOP in cluster.store) == (True, check)


def test_one_that_leaves_them_alone_needs_no_consent() -> None:
    cluster = theirs()
    run(cluster, [KEPT])
    assert (SHOP in cluster.store, WEB in cluster.store, DB in cluster.store) == (False, True, True)


@pytest.mark.parametrize("allow_delete", [(), (str(SHOP),)])
def test_nothing_is_taken_back_from_one_that_would_delete_it(allow_delete: tuple[str, ...]) -> None:
    cluster = theirs(application(finalizers=[CASCADE]))
    error = problem_of(cluster, DIRECT, allow_delete=allow_delete)
    assert f"{DB}: it is managed by Argo CD (application shop)" in str(error)


def test_absent_needs_consent_for_one_as_well() -> None:
    cluster = theirs(application(finalizers=[CASCADE]))
    assert "all that it delivers with it" in str(problem_of(cluster, [application()], state="absent"))


# -- cut short


def limited(writes: int) -> Callable[[], Callable[[], None]]:
    """A lease that is lost after so many writes."""
    left = [writes]

    def check() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise LeaseError("the lease is lost")

    return lambda: check


def reached(before: Callable[[], WithArgo], documents: list[t.Any]) -> tuple[dict[str, t.Any], int]:
    cluster = before()
    run(cluster, documents, wait=documents is BY_ARGO)
    return cluster.content(), len(cluster.writes())


@pytest.mark.parametrize("writes", range(9))
@pytest.mark.parametrize(("before", "documents"), [(ours, BY_ARGO), (theirs, DIRECT)])
def test_a_run_cut_short_anywhere_is_finished_by_the_next(
    before: Callable[[], WithArgo], documents: list[t.Any], writes: int
) -> None:
    expected, needed = reached(before, documents)
    assert needed <= 9
    cluster = before()
    wait = documents is BY_ARGO
    if writes < needed:
        with pytest.raises(OutcomeError, match="lease is lost"):
            run(cluster, documents, wait=wait, hold=limited(writes))
        assert len(cluster.writes()) == writes
    run(cluster, documents, wait=wait)
    assert cluster.content() == expected
    assert not [line for line in cluster.writes() if line.startswith("delete") and str(SHOP) not in line]
    assert run(cluster, documents, wait=wait)["changed"] is False


# -- sabotage: the proofs above turn red when what they prove is taken away


@pytest.mark.sabotage
def test_sabotage_an_application_that_takes_nothing_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "split", lambda surplus, manifests: ([], surplus))
    with pytest.raises(OutcomeError, match="it holds state"):
        test_what_an_application_takes_over_leaves_the_set_and_stays()


@pytest.mark.sabotage
def test_sabotage_letting_go_of_what_is_not_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply, "is_taken_over", lambda live: True)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        test_what_argo_cd_has_not_marked_stays_a_member_until_it_has()
    with pytest.raises((AssertionError, KeyError, pytest.fail.Exception)):
        test_what_argo_cd_did_not_apply_on_the_server_is_not_stripped()


@pytest.mark.sabotage
def test_sabotage_a_parent_that_forgets_what_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply.Applier, "_remembering", lambda self, keeper, members: keeper.manifest)
    with pytest.raises(AssertionError):
        test_an_application_that_is_not_ready_takes_nothing_over_yet()


@pytest.mark.sabotage
def test_sabotage_every_application_counts_as_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "is_handed_back", lambda live, applications: bool(application_of(live)))
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_what_a_living_application_delivers_is_refused(DIRECT, {"prune": False}, check=True)


@pytest.mark.sabotage
def test_sabotage_no_application_takes_its_objects_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "takes_along", lambda live: False)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_nothing_is_taken_back_from_one_that_would_delete_it((str(SHOP),))
