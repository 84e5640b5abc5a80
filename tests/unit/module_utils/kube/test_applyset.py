# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import GuardError
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.applyset import (
    PART_OF,
    ApplySet,
    Scope,
    foreign_owner,
    is_controlled,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.objects import ObjectId, normalise

SET = ApplySet("platform", "kube-system")


def test_the_id_is_the_one_other_tools_compute() -> None:
    # printf platform.kube-system.ConfigMap. | openssl dgst -sha256 -binary | base64 | tr '+/' '-_' | tr -d =
    assert SET.id == "applyset-YNFKM2z2k3C5XFUK7fPqs92nEYZ84J6dbb45Rtg7ycQ-v1"  # pragma: allowlist secret
    assert len(SET.id) <= 63


def test_the_parent_remembers_kinds_and_other_namespaces() -> None:
    ids = [
        ObjectId("apps", "Deployment", "b", "x"),
        ObjectId("", "ConfigMap", "kube-system", "y"),
        ObjectId("", "Namespace", "", "b"),
    ]
    parent = SET.parent(Scope.of(ids))
    metadata = parent.body["metadata"]
    assert metadata["labels"] == {"applyset.kubernetes.io/id": SET.id}
    assert metadata["annotations"] == {
        "applyset.kubernetes.io/tooling": "audioprothese.platform/v1",
        "applyset.kubernetes.io/contains-group-kinds": "ConfigMap,Deployment.apps,Namespace",
        "applyset.kubernetes.io/additional-namespaces": "b",
    }
    assert SET.remembered(parent.body) == Scope(
        frozenset({"ConfigMap", "Deployment.apps", "Namespace"}), frozenset({"b"})
    )
    assert SET.remembered(None) == Scope()


@pytest.mark.parametrize(
    ("labels", "annotations", "message"),
    [
        ({}, {}, "not the parent of this set"),
        ({"applyset.kubernetes.io/id": "applyset-x-v1"}, {}, "not the parent of this set"),
        ({"applyset.kubernetes.io/id": SET.id}, {"applyset.kubernetes.io/tooling": "kubectl/v1.35"}, "another tool"),
        ({"applyset.kubernetes.io/id": SET.id}, {}, "another tool"),
    ],
)
def test_a_foreign_parent_is_refused(labels: dict[str, str], annotations: dict[str, str], message: str) -> None:
    with pytest.raises(GuardError, match=message):
        SET.remembered({"metadata": {"labels": labels, "annotations": annotations}})


def test_members_carry_the_label_and_never_another_sets() -> None:
    document = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "namespace": "n", "labels": {"x": "y"}},
    }
    (manifest,) = normalise([document])
    labelled = SET.label(manifest)
    assert labelled.body["metadata"]["labels"] == {"x": "y", PART_OF: SET.id}
    assert PART_OF not in manifest.body["metadata"]["labels"]
    other = ApplySet("other", "kube-system").label(manifest)
    with pytest.raises(GuardError, match="of another set"):
        SET.label(other)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, ""),
        ({"labels": {PART_OF: SET.id, "app.kubernetes.io/instance": "openmrs"}}, ""),
        ({"labels": {PART_OF: "applyset-x-v1"}}, "another ApplySet (applyset-x-v1)"),
        ({"annotations": {"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:n/x"}}, "Argo CD (application shop)"),
        ({"labels": {"argocd.argoproj.io/instance": "shop"}}, "Argo CD (application shop)"),
    ],
)
def test_foreign_owners(metadata: dict[str, t.Any], expected: str) -> None:
    assert foreign_owner({"metadata": metadata}, SET) == expected


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, ""),
        ({PART_OF: SET.id}, ""),
        ({PART_OF: "applyset-x-v1"}, "another ApplySet (applyset-x-v1)"),
        ({"argocd.argoproj.io/instance": "shop"}, ""),
    ],
)
def test_what_argo_cd_handed_back_may_still_be_of_another_set(labels: dict[str, str], expected: str) -> None:
    metadata = {"labels": labels, "annotations": {"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:n/x"}}
    assert foreign_owner({"metadata": metadata}, SET, handed_back=True) == expected


def test_copies_made_by_controllers_are_no_members() -> None:
    assert is_controlled({"metadata": {"ownerReferences": [{"controller": True}]}})
    assert not is_controlled({"metadata": {"ownerReferences": [{"kind": "X"}]}})
    assert not is_controlled({"metadata": {}})
