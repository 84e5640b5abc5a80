# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.compare import (
    differences,
    fill_deferred,
    owners,
    path_of_cause,
    uncovered,
)

APP = {"name": "app", "image": "a:1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}


def pod(*containers: dict[str, t.Any]) -> dict[str, t.Any]:
    return {"spec": {"containers": list(containers)}}


@pytest.mark.parametrize(
    ("desired", "live", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [("a", 1, 2)]),
        ({"a": 1}, {}, [("a", 1, None)]),
        ({}, {"a": 1}, [("a", None, 1)]),
        ({"a": True}, {"a": 1}, [("a", True, 1)]),
        ({"a": [1, 2]}, {"a": [2, 1]}, [("a", [1, 2], [2, 1])]),
        ({"a": [True]}, {"a": [1]}, [("a", [True], [1])]),
        ({"a": []}, {"a": [{"x": 1}]}, [("a[0]", None, {"x": 1})]),
        ({"labels": {"a": "1"}}, {}, [("labels.a", "1", None)]),
        ({}, {"labels": {"a": "1"}}, [("labels.a", None, "1")]),
        ({"probe": {"http": {"port": 1}}}, {}, [("probe", {"http": {"port": 1}}, None)]),
        ({"status": {"x": 1}}, {"status": {"x": 2}}, []),
        ({"m": {"a.b/c": "1"}}, {"m": {"a.b/c": "2"}}, [('m["a.b/c"]', "1", "2")]),
        (pod(APP), pod({**APP, "image": "a:2"}), [("spec.containers[name=app].image", "a:1", "a:2")]),
        (
            pod(APP),
            pod({**APP, "env": [*APP["env"], {"name": "C", "value": "3"}]}),
            [("spec.containers[name=app].env[name=C]", None, {"name": "C", "value": "3"})],
        ),
        (
            pod(APP, {"name": "side"}),
            pod({"name": "side"}, APP),
            [("spec.containers", ["app", "side"], ["side", "app"])],
        ),
        (
            {"ports": [{"port": 80}, {"port": 443}]},
            {"ports": [{"port": 80}, {"port": 8443}]},
            [("ports[port=443]", {"port": 443}, None), ("ports[port=8443]", None, {"port": 8443})],
        ),
        (
            {"rules": [{"verbs": ["get"]}]},
            {"rules": [{"verbs": ["get", "list"]}]},
            [("rules[0].verbs", ["get"], ["get", "list"])],
        ),
    ],
)
def test_differences(desired: t.Any, live: t.Any, expected: list[tuple[str, t.Any, t.Any]]) -> None:
    assert [(d.path, d.desired, d.live) for d in differences(desired, live)] == expected


def test_uncovered_ignores_what_only_the_live_object_has() -> None:
    live = {"spec": {"a": 1, "defaulted": 2, "list": [{"name": "x", "more": 1}, {"name": "y"}]}}
    assert uncovered({"spec": {"a": 1, "list": [{"name": "x"}]}}, live) == []
    found = uncovered({"spec": {"a": 3, "b": 4}}, live)
    assert [(d.path, d.desired, d.live) for d in found] == [("spec.a", 3, 1), ("spec.b", 4, None)]


LIVE = {
    "metadata": {
        "managedFields": [
            {
                "manager": "audioprothese.platform",
                "operation": "Apply",
                "time": "2026-01-01T00:00:00Z",
                "fieldsV1": {
                    "f:spec": {
                        "f:replicas": {},
                        "f:containers": {'k:{"name":"app"}': {".": {}, "f:name": {}, "f:image": {}}},
                    }
                },
            },
            {
                "manager": "kubectl-edit",
                "operation": "Update",
                "time": "2026-02-01T00:00:00Z",
                "fieldsV1": {
                    "f:metadata": {"f:labels": {"f:team": {}}},
                    "f:spec": {"f:containers": {'k:{"name":"app"}': {"f:image": {}}}},
                },
            },
        ]
    }
}


@pytest.mark.parametrize(
    ("desired", "live", "expected"),
    [
        ({"spec": {"replicas": 1}}, {"spec": {"replicas": 2}}, ["audioprothese.platform"]),
        (pod(APP), pod({**APP, "image": "b"}), ["kubectl-edit", "audioprothese.platform"]),
        ({"metadata": {"labels": {}}}, {"metadata": {"labels": {"team": "x"}}}, ["kubectl-edit"]),
        ({"metadata": {"labels": {}}}, {"metadata": {"labels": {"other": "x"}}}, []),
        ({"spec": {}}, {"spec": {"paused": True}}, []),
    ],
)
def test_the_latest_writer_of_a_place_comes_first(desired: t.Any, live: t.Any, expected: list[str]) -> None:
    place = differences(desired, live)[0].place
    assert [owner.manager for owner in owners(LIVE, place)] == expected


def test_paths_of_causes_read_like_ours() -> None:
    field = '.spec.template.spec.containers[name="app"].image'
    assert path_of_cause(field) == "spec.template.spec.containers[name=app].image"


def test_unknown_values_are_taken_from_the_live_object() -> None:
    marker = "${ref:/i#properties.clientId}"
    body = {"a": marker, "b": {"c": f"x-{marker}"}, "list": [{"name": "n", "value": marker}, {"name": "o", "value": 1}]}
    live = {"a": "1", "b": {}, "list": [{"name": "o", "value": 2}, {"name": "n", "value": "v"}]}
    filled, unfilled = fill_deferred(body, live)
    assert filled == {
        "a": "1",
        "b": {"c": f"x-{marker}"},
        "list": [{"name": "n", "value": "v"}, {"name": "o", "value": 1}],
    }
    assert unfilled == ["b.c"]
