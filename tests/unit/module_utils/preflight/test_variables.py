# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.preflight.variables import (
    Problem,
    RoleVariables,
    unknown_variables,
)

ROLES = [
    RoleVariables(
        "network", {"main": {"options": {"network_subnets": {"type": "dict"}}}}, ["network_tags", "__hidden"]
    ),
    RoleVariables("platform", {"variables": {"options": {"platform_location": {}}}}, ["platform_location"]),
]


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("platform_locaton", "Did you mean platform_location?"),
        ("network_subnet", "Did you mean network_subnets?"),
        ("network_zzzzzzzzzzzzzz", "Remove it"),
    ],
)
def test_an_unknown_variable_is_named_with_the_nearest_one(name, suggestion):
    (problem,) = unknown_variables([name], ROLES)
    assert problem.where == name
    assert suggestion in str(problem)


@pytest.mark.parametrize("name", ["network_subnets", "network_tags", "platform_location", "centre_count", "networks"])
def test_known_variables_and_those_of_other_prefixes_pass(name):
    assert unknown_variables([name], ROLES) == []


def test_an_ignored_name_passes():
    assert unknown_variables(["network_contact"], ROLES)
    assert unknown_variables(["network_contact"], ROLES, ["network_contact"]) == []


def test_a_hidden_default_is_no_public_variable():
    assert "__hidden" not in ROLES[0].names


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem(where="x", what="is wrong"), "x: is wrong."),
        (Problem(where="x", what="is wrong", remedy="Set y", origin="all.yml:3"), "x (all.yml:3): is wrong. Set y."),
        (Problem(where="x", what="is wrong", remedy="Did you mean y?"), "x: is wrong. Did you mean y?"),
    ],
)
def test_a_problem_reads_as_sentences(problem, text):
    assert str(problem) == text
