# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import OutcomeError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.redaction import Redactor
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.errors import ApiError
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.runner import Options, Runner
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.volumes import (
    RESTORE_TO,
    RESTORED,
    Exchange,
    exchange,
)

from tests.unit.module_utils.kube.fake import FakeCluster

Document = dict[str, t.Any]
RUNNER = "ansible_collections.audioprothese.platform.plugins.module_utils.kube.runner"
CONSENT = {"allow_other_volumes": ("StatefulSet/default/*",)}


def database(*volumes: str, image: str = "db:1", deleted: str = "Retain") -> Document:
    templates = [
        {"metadata": {"name": name}, "spec": {"resources": {"requests": {"storage": "64Gi"}}}} for name in volumes
    ]
    spec = {
        "template": {"image": image, "volumeMounts": [{"name": name} for name in volumes]},
        "volumeClaimTemplates": templates,
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": deleted},
    }
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": named("db"), "spec": spec}


def claim(name: str, **annotations: str) -> Document:
    spec = {"resources": {"requests": {"storage": "64Gi"}}}
    metadata = {**named(name), "annotations": annotations}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}


def named(name: str) -> Document:
    return {"name": name, "namespace": "default"}


HALF = claim("new-db-0", **{RESTORE_TO: "2026"})
WHOLE = claim("new-db-0", **{RESTORE_TO: "2026", RESTORED: "{}"})


@pytest.mark.parametrize(
    ("desired", "live", "left", "taken"),
    [
        (["new"], ["data"], ("data",), ("new",)),
        (["new", "logs"], ["data", "logs"], ("data",), ("new",)),
        (["data"], ["data"], None, None),
        # One more or one less is no exchange: the API server says what it is.
        (["data", "logs"], ["data"], None, None),
        (["data"], ["data", "logs"], None, None),
        (["data"], [], None, None),
    ],
)
def test_what_takes_the_place_of_what(
    desired: list[str], live: list[str], left: tuple[str, ...] | None, taken: tuple[str, ...] | None
) -> None:
    found = exchange(database(*desired), database(*live), [])
    assert (found and found.left, found and found.taken) == (left, taken)


def test_only_statefulsets_have_volumes_of_their_own() -> None:
    assert exchange({**database("new"), "kind": "Deployment"}, database("data"), []) is None


@pytest.mark.parametrize(
    ("claims", "empty", "unfinished"),
    [
        ([], ("new",), ()),
        ([claim("new-db-1")], (), ()),
        ([claim("new-other-0"), claim("new-db-x"), claim("newer-db-0"), claim("data-db-0")], ("new",), ()),
        ([HALF], (), ("new-db-0",)),
        ([WHOLE], (), ()),
    ],
)
def test_which_claims_there_are(claims: list[Document], empty: tuple[str, ...], unfinished: tuple[str, ...]) -> None:
    found = exchange(database("new"), database("data"), claims)
    assert found == Exchange(left=("data",), taken=("new",), empty=empty, unfinished=unfinished)


def converge(cluster: FakeCluster, *documents: Document, **options: t.Any) -> Document:
    settings = Options(applyset="s", wait=False, **options)
    return Runner(settings, connect=lambda: t.cast("t.Any", cluster), redactor=Redactor(b"key")).present(documents)


@pytest.fixture
def cluster() -> FakeCluster:
    cluster = FakeCluster()
    converge(cluster, database("data"))
    cluster.put(claim("data-db-0"))
    cluster.log.clear()
    return cluster


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("there", "options", "message"),
    [
        ([WHOLE], {}, "would start on other volumes, new instead of data, with the data that is there"),
        ([WHOLE], {"allow_other_volumes": ("StatefulSet/default/other",)}, "would start on other volumes"),
        ([WHOLE], {"allow_upgrade": ("*",), "allow_delete": ("*",), "force_conflicts": True}, "on other volumes"),
        ([], CONSENT, "would start on empty volumes: there is no claim new-db-0"),
        ([HALF], CONSENT, "would start on half a restore: new-db-0 was never found to be whole"),
    ],
)
def test_what_is_refused_before_the_first_write(
    cluster: FakeCluster, there: list[Document], options: dict[str, t.Any], message: str, check: bool
) -> None:
    for one in there:
        cluster.put(one)
    with pytest.raises(OutcomeError, match=message) as refused:
        converge(cluster, database("new"), check=check, **options)
    assert not cluster.writes()
    [action] = refused.value.outcome["plan"]
    assert (action["action"], action["resource"]) == ("update", "StatefulSet/default/db")


def test_claims_that_would_go_with_it_are_refused() -> None:
    cluster = FakeCluster()
    converge(cluster, database("data", deleted="Delete"))
    cluster.put(WHOLE)
    cluster.log.clear()
    with pytest.raises(OutcomeError, match="the claims of data would be deleted with it"):
        converge(cluster, database("new"), **CONSENT)
    assert not cluster.writes()


def test_with_consent_it_is_made_anew_after_its_pods(cluster: FakeCluster) -> None:
    cluster.put(WHOLE)
    predicted = converge(cluster, database("new", image="db:2"), check=True, **CONSENT)
    assert not cluster.writes()
    done = converge(cluster, database("new", image="db:2"), expect_plan=predicted["plan_digest"], **CONSENT)
    assert done["plan"] == predicted["plan"]
    changes = {change["path"]: (change["live"], change["desired"]) for change in done["plan"][0]["changes"]}
    assert changes["spec.volumeClaimTemplates[0].metadata.name"] == ("data", "new")
    assert changes["spec.template.image"] == ("db:1", "db:2")
    assert "deleted with its pods, and made anew on the other volumes; no claim is touched" in str(done["findings"])
    assert cluster.writes() == ["delete StatefulSet/default/db after its pods", "apply StatefulSet/default/db"]
    assert not converge(cluster, database("new", image="db:2"))["changed"]


def test_it_is_completed_by_the_next_run_when_it_was_cut_short(cluster: FakeCluster) -> None:
    cluster.put(WHOLE)
    cluster.fail_write["StatefulSet/default/db"] = ApiError("the connection was lost", status=500)
    with pytest.raises(OutcomeError):
        converge(cluster, database("new"), **CONSENT)
    cluster.fail_write.clear()
    assert converge(cluster, database("new"), **CONSENT)["changed"]
    assert not converge(cluster, database("new"))["changed"]


def test_what_the_cluster_does_not_accept_is_said_before_the_first_write(cluster: FakeCluster) -> None:
    cluster.put(WHOLE)
    cluster.refuse["StatefulSet/default/db-anew"] = ApiError("no such field", status=400, reason="BadRequest")
    with pytest.raises(OutcomeError, match="no such field"):
        converge(cluster, database("new"), **CONSENT)
    assert not cluster.writes()


@pytest.mark.sabotage
def test_without_the_guard_pods_start_on_empty_volumes(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{RUNNER}.volume_problems", lambda *_: [])
    assert converge(cluster, database("new"))["changed"]
