# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.audioprothese.platform.plugins.module_utils.preflight.rules import RULES, check_rules

ROLES = Path(__file__).resolve().parents[4] / "roles"
GUID = "00000000-1111-4222-8333-444444444444"
DIGEST = "sha256:" + "0" * 64
TAINT = "CriticalAddonsOnly=true:NoSchedule"
# As the role has them: a name that changes there changes here.
REDACTIONS = yaml.safe_load((ROLES / "otel_collector" / "vars" / "main.yml").read_text())["__otel_collector_redactions"]
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
    "key_vault_network_bypass": "AzureServices",
    "key_vault_keys": {"disks": {"type": "RSA-HSM", "size": 3072}, "backups": {}},
    "namespaces_storage_classes": [{"name": "c", "sku": "Premium_ZRS", "disk_encryption_set_id": "/subscriptions/s"}],
    "landing_zone_locked_groups": ["data", "shared"],
    "storage_sku": "Standard_ZRS",
    "monitoring_workspace_retention_days": 365,
    "monitoring_workspace_daily_quota_gb": -1,
    "loki_retention_security_days": 366,
    "otel_collector_redactions": REDACTIONS,
    "cluster_tier": "Standard",
    "cluster_zones": ["1", "2", "3"],
    "cluster_node_pools": [
        {"name": "system", "mode": "System", "min_count": 3, "taints": [TAINT]},
        {"name": "user", "mode": "User", "min_count": 2},
    ],
    "cluster_upgrade_channel": "patch",
    "cluster_node_os_upgrade_channel": "NodeImage",
    "cluster_host_encryption": True,
    "platform_images": {
        "mariadb": {"tag": "10.11.18", "digest": DIGEST},
        "mariadb_backup": {"tag": "10.11-1", "digest": "sha256:" + "1" * 64},
    },
    "mariadb_archive": True,
    "platform_backup_vault": True,
    "platform_grafana": True,
    "grafana_application_id": GUID,
    "platform_guarded_sites": {"prometheus": {"host": "prometheus.example.fr", "port": 9090}},
    "platform_argocd": True,
    "platform_repository": "https://git.example.fr/platform.git",
    "argocd_application_id": GUID,
    "oauth2_proxy_application_id": GUID,
    "oauth2_proxy_allowed_groups": [GUID],
    "backup_vault_schedule": {"interval": "PT4H", "start": "01:00", "retention_days": 30},
    "backup_vault_redundancy": "ZoneRedundant",
    "backup_vault_soft_delete_state": "On",
    "backup_vault_soft_delete_days": 14,
    "backup_vault_immutability_state": "Unlocked",
    "backup_vault_namespaces": ["gateway", "mariadb", "openmrs"],
    "storage_backup_immutable_days": 30,
    "platform_image_registry": "cr.azurecr.io",
    "gateway_acme": {"directory": "https://acme.example/directory", "terms_agreed": True},
    "namespaces_flows": [
        {"from": "gateway", "to": "backend", "ports": [8080]},
        {"from": "backup", "fqdn": ["login.microsoftonline.com"], "ports": [443]},
    ],
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
    ("platform_images", {"mariadb": {"repository": "library/mariadb", "digest": ""}}, True),
    ("platform_images", {"mariadb": {"repository": "library/mariadb", "digest": "sha256:1234"}}, True),
    ("platform_images", {}, True),
    ("platform_images", {**GOOD["platform_images"], "mariadb": {"tag": "11.8.8", "digest": DIGEST}}, False),
    ("mariadb_archive", False, True),
    ("mariadb_archive", "false", True),
    ("platform_backup_vault", False, True),
    ("platform_backup_vault", "no", True),
    ("grafana_application_id", "", False),
    ("grafana_application_id", "grafana", False),
    ("argocd_application_id", "", False),
    ("platform_repository", "http://git.example.fr/platform.git", False),
    ("oauth2_proxy_application_id", "", False),
    ("oauth2_proxy_allowed_groups", [], False),
    ("oauth2_proxy_allowed_groups", ["operators"], False),
    ("backup_vault_schedule", {"interval": "PT4H", "start": "1:00", "retention_days": 30}, False),
    ("backup_vault_schedule", {"interval": "PT4H", "start": 720, "retention_days": 30}, False),
    ("backup_vault_schedule", {"interval": "PT4H", "start": "24:00", "retention_days": 30}, False),
    ("backup_vault_schedule", {"interval": "PT4H", "start": "01:00", "retention_days": 84}, False),
    ("backup_vault_schedule", {"interval": "P1D", "start": "01:00", "retention_days": 361}, False),
    ("backup_vault_schedule", {"interval": "P1W", "start": "01:00", "retention_days": 30}, False),
    ("backup_vault_schedule", {"interval": "P1D", "start": "01:00", "retention_days": 7}, True),
    ("backup_vault_redundancy", "LocallyRedundant", True),
    ("backup_vault_soft_delete_state", "Off", True),
    ("backup_vault_soft_delete_days", 13, False),
    ("backup_vault_soft_delete_days", 181, False),
    ("backup_vault_immutability_state", "Disabled", True),
    ("backup_vault_namespaces", [], False),
    ("backup_vault_namespaces", ["mariadb"], True),
    ("storage_backup_immutable_days", 1, True),
    ("platform_image_registry", "", True),
    ("gateway_acme", {"directory": "http://acme.example/directory", "terms_agreed": True}, False),
    ("gateway_acme", {"directory": "https://acme.example/directory"}, False),
    ("namespaces_flows", [*GOOD["namespaces_flows"], {"from": "backup", "ports": [443]}], False),
    ("namespaces_flows", [{"from": "backup", "fqdn": [], "ports": [443]}], False),
    ("namespaces_flows", [{"from": "backup", "to": "backend", "fqdn": ["x.example"], "ports": [443]}], False),
    ("gateway_acme", "https://acme.example/directory", False),
    ("key_vault_public_network_access", "Enabled", True),
    ("registry_public_network_access", "Enabled", True),
    ("storage_public_network_access", "Enabled", True),
    ("key_vault_purge_protection", False, False),
    ("key_vault_network_bypass", "None", False),
    ("key_vault_keys", {"backups": {}}, False),
    ("key_vault_keys", {"disks": {"type": "EC"}, "backups": {}}, False),
    ("key_vault_keys", {"disks": {}, "backups": {"size": 1024}}, False),
    ("key_vault_keys", {"disks": {"size": "large"}, "backups": {}}, False),
    ("namespaces_storage_classes", [{"name": "c", "sku": "Premium_ZRS"}], True),
    ("key_vault_soft_delete_retention_days", 7, True),
    ("landing_zone_locked_groups", ["data"], True),
    ("storage_sku", "Standard_LRS", True),
    ("monitoring_workspace_retention_days", 30, True),
    ("monitoring_workspace_daily_quota_gb", 5, True),
    ("loki_retention_security_days", 364, True),
    ("otel_collector_redactions", [], True),
    ("otel_collector_redactions", [one for one in REDACTIONS if one["name"] != "NIR without key"], True),
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


def test_an_environment_may_order_no_certificate():
    assert check_rules({**GOOD, "gateway_acme": {}}.__getitem__, production=True) == []


def test_an_environment_without_grafana_needs_no_application():
    values = {**GOOD, "platform_grafana": "false", "grafana_application_id": ""}
    assert check_rules(values.__getitem__, production=True) == []


def test_an_environment_without_argo_cd_needs_neither_application_nor_repository():
    values = {**GOOD, "platform_argocd": "false", "argocd_application_id": "", "platform_repository": ""}
    assert check_rules(values.__getitem__, production=True) == []


def test_an_environment_without_guarded_sites_needs_no_application():
    values = {
        **GOOD,
        "platform_guarded_sites": {},
        "oauth2_proxy_application_id": "",
        "oauth2_proxy_allowed_groups": [],
    }
    assert check_rules(values.__getitem__, production=True) == []


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
