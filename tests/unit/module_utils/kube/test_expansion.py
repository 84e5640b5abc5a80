# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from decimal import Decimal

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import GuardError, OutcomeError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.redaction import Redactor
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.errors import ApiError
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.expansion import (
    claims_to_grow,
    growing,
    quantity,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.runner import Options, Runner

from tests.unit.module_utils.kube.fake import FakeCluster

Document = dict[str, t.Any]


def database(size: str = "64Gi", image: str = "db:1", service: str = "db") -> Document:
    template = {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": size}}}}
    spec = {"serviceName": service, "template": {"image": image}, "volumeClaimTemplates": [template]}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": _named("db"), "spec": spec}


def claim(name: str, size: str = "64Gi") -> Document:
    spec = {"resources": {"requests": {"storage": size}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": _named(name), "spec": spec}


def _named(name: str) -> Document:
    return {"name": name, "namespace": "default"}


def converge(cluster: FakeCluster, *documents: Document, **options: t.Any) -> Document:
    settings = Options(applyset="s", wait=False, **options)
    return Runner(settings, connect=lambda: t.cast("t.Any", cluster), redactor=Redactor(b"key")).present(documents)


@pytest.fixture
def cluster() -> FakeCluster:
    cluster = FakeCluster()
    converge(cluster, database())
    for name in ("data-db-0", "data-db-1", "data-other-0", "more-db-0"):
        cluster.put(claim(name))
    cluster.log.clear()
    return cluster


@pytest.mark.parametrize(
    ("text", "number"),
    [("64Gi", 64 * 2**30), ("0.5Gi", 2**29), ("1T", 10**12), ("100", 100), ("1500m", Decimal("1.5")), ("2k", 2000)],
)
def test_quantities(text: str, number: Decimal) -> None:
    assert quantity(text) == number


@pytest.mark.parametrize("text", ["", "Gi", "12 apples", "-1Gi"])
def test_no_quantities(text: str) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        quantity(text)


@pytest.mark.parametrize(("new", "grown"), [("65Gi", {"data": "65Gi"}), ("64Gi", {}), ("65536Mi", {})])
def test_what_grows(new: str, grown: dict[str, str]) -> None:
    assert growing(database(new), database()) == grown


def test_a_disk_does_not_shrink() -> None:
    with pytest.raises(GuardError, match="would shrink from 64Gi to 32Gi"):
        growing(database("32Gi"), database())


def test_claims_of_all_pods_past_and_present() -> None:
    claims = [claim("data-db-0"), claim("data-db-7"), claim("data-db-x"), claim("data-db-1", "128Gi")]
    found = claims_to_grow(database(), {"data": "128Gi"}, [*claims, claim("data-other-0")])
    assert [(c["metadata"]["name"], size) for c, size in found] == [("data-db-0", "128Gi"), ("data-db-7", "128Gi")]


def test_growth_is_planned_and_done_in_a_safe_order(cluster: FakeCluster) -> None:
    predicted = converge(cluster, database("128Gi"), check=True)
    assert not cluster.writes()
    done = converge(cluster, database("128Gi"), expect_plan=predicted["plan_digest"])
    assert done["plan"] == predicted["plan"]
    assert [(a["action"], a["resource"]) for a in done["plan"]] == [
        ("update", "PersistentVolumeClaim/default/data-db-0"),
        ("update", "PersistentVolumeClaim/default/data-db-1"),
        ("update", "StatefulSet/default/db"),
    ]
    assert "made anew around its running pods" in str(done["findings"])
    assert cluster.writes() == [
        "apply PersistentVolumeClaim/default/data-db-0 by force",
        "apply PersistentVolumeClaim/default/data-db-1 by force",
        "delete StatefulSet/default/db alone",
        "apply StatefulSet/default/db",
    ]
    assert not converge(cluster, database("128Gi"))["changed"]


def test_shrinking_is_refused_before_the_first_write(cluster: FakeCluster) -> None:
    with pytest.raises(OutcomeError, match="would shrink"):
        converge(cluster, database("32Gi"))
    assert not cluster.writes()


def test_another_change_of_what_is_immutable_is_still_refused(cluster: FakeCluster) -> None:
    text = "updates to statefulset spec are forbidden"
    cluster.refuse["StatefulSet/default/db"] = ApiError(text, status=422, reason="Invalid")
    with pytest.raises(OutcomeError, match="cannot be changed in place"):
        converge(cluster, database("128Gi", service="another"))
    assert not cluster.writes()


def test_a_claim_that_cannot_grow_stops_everything_before_the_first_write(cluster: FakeCluster) -> None:
    text = "only dynamically provisioned pvc can be resized"
    cluster.refuse["PersistentVolumeClaim/default/data-db-1"] = ApiError(text, status=403, reason="Forbidden")
    with pytest.raises(OutcomeError, match="only dynamically provisioned"):
        converge(cluster, database("128Gi"))
    assert not cluster.writes()


@pytest.mark.parametrize("step", ["PersistentVolumeClaim/default/data-db-1", "StatefulSet/default/db"])
def test_the_next_run_completes_an_interrupted_one(cluster: FakeCluster, step: str) -> None:
    cluster.fail_write[step] = ApiError("the connection was lost", status=500)
    with pytest.raises(OutcomeError):
        converge(cluster, database("128Gi"))
    cluster.fail_write.clear()
    assert converge(cluster, database("128Gi"))["changed"]
    assert not converge(cluster, database("128Gi"))["changed"]
    sizes = {o["metadata"]["name"]: o["spec"]["resources"]["requests"]["storage"] for o in cluster.store.values()
             if o["kind"] == "PersistentVolumeClaim"}  # fmt: skip
    assert sizes == {"data-db-0": "128Gi", "data-db-1": "128Gi", "data-other-0": "64Gi", "more-db-0": "64Gi"}
