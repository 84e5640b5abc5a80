# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Mapping

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.progress import Progress
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.claims import Claims
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.errors import MariaDBError
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.jobs import Jobs

from tests.unit.module_utils.kube.fake import FakeCluster, Kind, Object

JOB: Object = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "default"}}
DONE: Object = {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}


class Cluster(FakeCluster):
    """Every Job that is made there ends at once."""

    def __init__(self, *objects: Object) -> None:
        super().__init__(*objects)
        self.kinds += [Kind("batch", "v1", "Job"), Kind("", "v1", "Pod"), Kind("", "v1", "PersistentVolume", False)]

    def apply(
        self, resource: Kind, body: Mapping[str, t.Any], *, dry_run: bool, force: bool = False, manager: str = ""
    ) -> Object:
        made = {**body, **DONE} if resource.kind == "Job" else body
        return super().apply(resource, made, dry_run=dry_run, force=force)


def run(cluster: Cluster, *, resume: bool) -> str:
    jobs = Jobs(t.cast("t.Any", cluster), t.cast("t.Any", None), lambda text: None)
    return jobs.run(JOB, timeout=1, heard=lambda line: None, resume=lambda job: resume).why


@pytest.mark.parametrize(
    ("there", "resume", "writes"),
    [
        ([], False, ["apply Job/default/j by force", "delete Job/default/j"]),
        ([{**JOB, **DONE}], False, ["delete Job/default/j", "apply Job/default/j by force", "delete Job/default/j"]),
        ([{**JOB, **DONE}], True, ["delete Job/default/j"]),
    ],
)
def test_a_job_is_made_once_and_removed(there: list[Object], resume: bool, writes: list[str]) -> None:
    cluster = Cluster(*there)
    assert run(cluster, resume=resume) == ""
    assert cluster.writes() == writes


def test_a_job_of_somebody_else_is_left_alone() -> None:
    cluster = Cluster(JOB)
    with pytest.raises(MariaDBError, match="another run is at it"):
        run(cluster, resume=False)
    assert cluster.writes() == []


def claim(**spec: t.Any) -> Object:
    metadata = {"name": "c", "namespace": "default"}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}


def disk() -> Object:
    spec = {"persistentVolumeReclaimPolicy": "Retain", "capacity": {"storage": "1Gi"}}
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "d"}, "spec": spec}


@pytest.mark.parametrize(
    ("there", "writes"),
    [
        ([], []),
        ([claim()], ["delete PersistentVolumeClaim/default/c"]),
        ([claim(volumeName="lost")], ["delete PersistentVolumeClaim/default/c"]),
        (
            [claim(volumeName="d"), disk()],
            ["apply PersistentVolume/d by force", "delete PersistentVolumeClaim/default/c"],
        ),
    ],
)
def test_a_claim_is_thrown_away_with_its_disk(there: list[Object], writes: list[str]) -> None:
    cluster = Cluster(*there)
    Claims(t.cast("t.Any", cluster), Progress()).throw_away("default", "c")
    assert cluster.writes() == writes
    policies = [o["spec"]["persistentVolumeReclaimPolicy"] for o in cluster.store.values() if "capacity" in str(o)]
    assert policies in ([], ["Delete"])


def test_the_volumes_of_a_statefulset() -> None:
    spec = {"volumeClaimTemplates": [{"metadata": {"name": "data"}}]}
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "m", "namespace": "default"}}
    claims = Claims(t.cast("t.Any", Cluster({**owner, "spec": spec})), Progress())
    assert claims.volumes_of("default", "m") == ["data"]
    assert claims.volumes_of("default", "nobody") == []
