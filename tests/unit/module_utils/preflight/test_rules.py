# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.preflight.rules import RULES, check_rules

GUID = "00000000-1111-4222-8333-444444444444"
TAINT = "CriticalAddonsOnly=true:NoSchedule"
GOOD: dict[str, t.Any] = {
    "platform_env": "prod",
    "platform_name": "audioprothese",
    "platform_tenant_id": GUID,
    "platform_subscription_id": GUID,
    "platform_deployer_object_id": GUID,
    "platform_admin_group_ids": [GUID],
    "platform_location": "francecentral",
    "platform_tags": {"env": "prod", "owner": "x", "data-class": "health", "criticality": "high"},
    "platform_no_log": True,
    "key_vault_public_network_access": "Disabled",
    "registry_public_network_access": "Disabled",
    "storage_public_network_access": "Disabled",
    "key_vault_purge_protection": True,
    "key_vault_soft_delete_retention_days": 90,
    "landing_zone_locked_groups": ["data", "shared"],
    "storage_sku": "Standard_ZRS",
    "monitoring_workspace_retention_days": 365,
    "monitoring_workspace_daily_quota_gb": -1,
    "cluster_tier": "Standard",
    "cluster_zones": ["1", "2", "3"],
    "cluster_node_pools": [
        {"name": "system", "mode": "System", "min_count": 3, "taints": [TAINT]},
        {"name": "user", "mode": "User", "min_count": 2},
    ],
    "cluster_upgrade_channel": "patch",
    "cluster_node_os_upgrade_channel": "NodeImage",
    "cluster_host_encryption": True,
}
BAD = [
    ("platform_env", "Production!", False),
    ("platform_tenant_id", "", False),
    ("platform_subscription_id", "my-subscription", False),
    ("platform_deployer_object_id", "", True),
    ("platform_admin_group_ids", [], True),
    ("platform_admin_group_ids", ["someone@example.org"], True),
    ("platform_location", "eastus", True),
    ("platform_tags", {"env": "prod"}, True),
    ("platform_no_log", False, True),
    ("key_vault_public_network_access", "Enabled", True),
    ("registry_public_network_access", "Enabled", True),
    ("storage_public_network_access", "Enabled", True),
    ("key_vault_purge_protection", False, True),
    ("key_vault_soft_delete_retention_days", 7, True),
    ("landing_zone_locked_groups", ["data"], True),
    ("storage_sku", "Standard_LRS", True),
    ("monitoring_workspace_retention_days", 30, True),
    ("monitoring_workspace_daily_quota_gb", 5, True),
    ("cluster_tier", "Free", True),
    ("cluster_zones", ["1"], True),
    (
        "cluster_node_pools",
        [{"mode": "System", "min_count": 1, "taints": [TAINT]}, GOOD["cluster_node_pools"][1]],
        True,
    ),
    ("cluster_node_pools", [GOOD["cluster_node_pools"][0]], True),
    ("cluster_node_pools", [{"mode": "System", "min_count": 3}, GOOD["cluster_node_pools"][1]], True),
    ("cluster_upgrade_channel", "none", True),
    ("cluster_node_os_upgrade_channel", "None", True),
    ("cluster_host_encryption", False, True),
]


def test_a_good_production_passes():
    assert check_rules(GOOD.__getitem__, production=True) == []


@pytest.mark.parametrize(("variable", "value", "production_only"), BAD)
def test_each_rule_refuses_what_it_is_for(variable, value, production_only):
    values = {**GOOD, variable: value}
    problems = check_rules(values.__getitem__, production=True)
    assert [problem.where for problem in problems] == [variable]
    assert problems[0].remedy
    assert bool(check_rules(values.__getitem__, production=False)) is not production_only


def test_every_rule_has_a_value_that_breaks_it():
    broken = {problem.what for variable, value, _ in BAD for problem in _problems(variable, value)}
    untested = [
        rule for rule in RULES if not any(rule.what in what for what in broken) and rule.variable != "platform_name"
    ]
    assert untested == []


def _problems(variable, value):
    return check_rules({**GOOD, variable: value}.__getitem__, production=True)


def test_a_value_of_the_wrong_type_is_refused_not_a_traceback():
    assert check_rules({**GOOD, "cluster_node_pools": None}.__getitem__, production=True)
