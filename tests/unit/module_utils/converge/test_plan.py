# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import CycleError, PlanMismatch
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.findings import Finding, sort_findings
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.plan import (
    Action,
    Change,
    check_expected,
    diff_of,
    order,
    plan_digest,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.redaction import Redactor
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.result import build_result

MARKER = "${ref:/i#properties.clientId}"
CREATE = Action(verb="create", resource="/i/a", type="T", document={"b": MARKER, "a": 1})
UPDATE = Action(verb="update", resource="/i/b", type="T", changes=[Change("tags.env", "prod", "dev")])
DELETE = Action(verb="delete", resource="/i/c", type="T", live={"x": 1})


@pytest.mark.parametrize(
    ("items", "edges", "expected"),
    [
        (["c", "b", "a"], {}, ["c", "b", "a"]),
        (["cluster", "subnet", "vnet"], {"cluster": ["subnet"], "subnet": ["vnet"]}, ["vnet", "subnet", "cluster"]),
        (["b", "a", "c"], {"b": ["c", "elsewhere"]}, ["a", "c", "b"]),
        (["a"], {"a": ["a"]}, ["a"]),
    ],
)
def test_order_respects_dependencies_and_otherwise_keeps_the_given_order(
    items: list[str], edges: dict[str, list[str]], expected: list[str]
) -> None:
    assert order(items, edges) == expected


def test_a_circle_is_named() -> None:
    with pytest.raises(CycleError, match=r"b -> c -> b|c -> b -> c"):
        order(["a", "b", "c"], {"a": ["b"], "b": ["c"], "c": ["b"]})


@pytest.mark.parametrize(
    "other",
    [
        [UPDATE, CREATE],
        [CREATE],
        [Action(verb="create", resource="/i/a", type="T", document={"b": MARKER, "a": 2}), UPDATE],
        [CREATE, Action(verb="update", resource="/i/b", type="T", changes=[Change("tags.env", "prod", "test")])],
        [CREATE, Action(verb="delete", resource="/i/b", type="T")],
    ],
)
def test_every_difference_of_two_plans_changes_the_digest(other: list[Action]) -> None:
    assert plan_digest(other) != plan_digest([CREATE, UPDATE])


def test_the_digest_ignores_key_order_the_case_of_ids_and_whether_it_could_be_verified() -> None:
    twin = Action(verb="create", resource="/I/A", type="T", document={"a": 1, "b": MARKER}, unverified=True)
    assert plan_digest([twin]) == plan_digest([CREATE])


def test_fingerprints_of_one_run_do_not_enter_the_digest() -> None:
    def plan() -> list[Action]:
        mark = Redactor().fingerprint("value")
        return [Action(verb="update", resource="r", type="T", changes=[Change("data.k", mark, mark)])]

    assert plan_digest(plan(), stable_fingerprints=False) == plan_digest(plan(), stable_fingerprints=False)
    assert plan_digest(plan()) != plan_digest(plan())


def test_only_the_approved_plan_runs() -> None:
    check_expected("sha256:a", None)
    check_expected("sha256:a", "sha256:a")
    with pytest.raises(PlanMismatch, match="approve the new plan"):
        check_expected("sha256:a", "sha256:b")


def test_the_diff_shows_create_update_and_delete() -> None:
    assert diff_of([CREATE, UPDATE, DELETE]) == {
        "before": {"/i/b": {"tags.env": "dev"}, "/i/c": {"x": 1}},
        "after": {"/i/a": {"a": 1, "b": "known after apply"}, "/i/b": {"tags.env": "prod"}},
        "before_header": "live",
        "after_header": "desired",
    }


def test_the_result_is_redacted_sorted_and_complete() -> None:
    redactor = Redactor(b"key")
    redactor.add("the-password")
    findings = [
        Finding(source="azure", resource=r, type="T", verdict="drift", live="the-password") for r in ("/i/b", "/i/a")
    ]
    result = build_result(
        resources={"/i/a": {"secret": "the-password"}},
        findings=findings,
        actions=[UPDATE],
        timing={"read": 0.12345},
        requests={"GET": 1, "retries": 0, "throttled": 0},
        redactor=redactor,
    )
    assert "the-password" not in str(result)
    assert [finding["resource"] for finding in result["findings"]] == ["/i/a", "/i/b"]
    assert result["changed"] is True
    assert result["timing"] == {"read": 0.123}
    assert set(result) == {
        "changed", "resources", "findings", "plan", "plan_digest", "diff", "timing", "requests",
    }  # fmt: skip


def test_a_finding_has_a_known_verdict() -> None:
    with pytest.raises(ValueError, match="not one of"):
        Finding(source="azure", resource="r", type="T", verdict="changed")
    assert sort_findings([]) == []
