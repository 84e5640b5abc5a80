# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an environment must and must not be set to: everywhere, and where patient records are."""

from __future__ import annotations

import dataclasses
import re
import typing as t
from collections.abc import Callable, Collection, Iterable, Mapping

from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.audioprothese.platform.plugins.module_utils.preflight.variables import Problem

__all__ = ["RULES", "Rule", "check_rules"]

_GUID: t.Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# Control GOV-01: patient data stays in France.
_FRENCH_REGIONS: t.Final = ("francecentral", "francesouth")
_MINIMUM_SYSTEM_NODES: t.Final = 3
_MINIMUM_USER_NODES: t.Final = 2
_ALL_ZONES: t.Final = 3
_YEAR: t.Final = 365
_SOFT_DELETE: t.Final = 90
# Names of the redactions without which a patient could be recognized or somebody's session taken over.
_PERSONAL: t.Final = (
    *("session", "query", "name in JSON", "name after a key"),
    *("NIR with key", "NIR without key", "telephone", "telephone from abroad", "mail"),
)
# Control STO-03: from an intrusion to its discovery.
_BACKUPS_KEPT: t.Final = 14
# learn.microsoft.com/azure/backup: "up to 360 days" (azure-kubernetes-service-cluster-backup), "the limit is 500
# snapshots" of a disk (azure-kubernetes-service-backup-troubleshoot), 14 to 180 days (secure-by-default).
_RECOVERY_POINT_DAYS: t.Final = 360
_SNAPSHOTS_OF_A_DISK: t.Final = 500
_RECOVERY_POINTS_A_DAY: t.Final = {"PT4H": 6, "PT6H": 4, "PT8H": 3, "PT12H": 2, "P1D": 1}
_VAULT_SOFT_DELETE: t.Final = (14, 180)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One condition on one variable.

    Attributes:
        variable: its name.
        holds: tells whether a value is fine.
        what: what is wrong when it is not.
        remedy: what to set.
        production_only: applies only where patient records are.
        when: a variable that switches on what the rule is about, or lists it; empty is always.
    """

    variable: str
    holds: Callable[[t.Any], bool]
    what: str
    remedy: str
    production_only: bool = True
    when: str = ""


def _on(value: t.Any) -> bool:
    if isinstance(value, (dict, list)):
        return bool(value)
    # -e name=false on the command line is text, as Ansible's filter bool takes it.
    return bool(boolean(value, strict=False))


def _guid(value: t.Any) -> bool:
    return isinstance(value, str) and bool(_GUID.fullmatch(value))


def _guids(value: t.Any) -> bool:
    return isinstance(value, list) and bool(value) and all(_guid(item) for item in value)


def _one_of(*allowed: t.Any) -> Callable[[t.Any], bool]:
    return lambda value: value in allowed


def _at_least(minimum: int) -> Callable[[t.Any], bool]:
    return lambda value: int(value) >= minimum


def _matches(pattern: str) -> Callable[[t.Any], bool]:
    return lambda value: bool(re.fullmatch(pattern, str(value)))


def _pools(mode: str) -> Callable[[t.Any], bool]:
    minimum = _MINIMUM_SYSTEM_NODES if mode == "System" else _MINIMUM_USER_NODES

    def enough(pools: t.Any) -> bool:
        counts = [int(pool.get("min_count", 0)) for pool in pools if pool.get("mode") == mode]
        return bool(counts) and min(counts) >= minimum

    return enough


def _tainted(pools: t.Any) -> bool:
    wanted = "CriticalAddonsOnly=true:NoSchedule"
    return all(wanted in (pool.get("taints") or []) for pool in pools if pool.get("mode") == "System")


def _orders(acme: t.Any) -> bool:
    return not acme or (str(acme.get("directory", "")).startswith("https://") and acme.get("terms_agreed") is True)


def _targeted(flows: t.Any) -> bool:
    return all(bool(flow.get("to")) != bool(flow.get("fqdn")) for flow in flows)


def _wrapping(keys: t.Any) -> bool:
    kinds, sizes = ("RSA", "RSA-HSM"), (2048, 3072, 4096)
    return {"disks", "backups"} <= set(keys) and all(
        key.get("type", kinds[0]) in kinds and int(key.get("size", sizes[0])) in sizes for key in keys.values()
    )


def _between(least: int, most: int) -> Callable[[t.Any], bool]:
    return lambda value: least <= int(value) <= most


def _starts(schedule: t.Any) -> bool:
    return bool(re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", str(schedule["start"])))


def _holds_recovery_points(schedule: t.Any) -> bool:
    days = int(schedule["retention_days"])
    snapshots = days * _RECOVERY_POINTS_A_DAY[schedule["interval"]]
    return 1 <= days <= _RECOVERY_POINT_DAYS and snapshots <= _SNAPSHOTS_OF_A_DISK


def _one_series(images: t.Any) -> bool:
    tags = [str(images.get(name, {}).get("tag", "")) for name in ("mariadb", "mariadb_backup")]
    # 10.11 of 10.11.18 and of 10.11-1
    server, backup = (re.split(r"[.-]", tag)[:2] for tag in tags)
    return server == backup


def _pinned(images: t.Any) -> bool:
    return bool(images) and all(re.fullmatch(r"sha256:[0-9a-f]{64}", image["digest"]) for image in images.values())


def _cuts_out(wanted: Collection[str]) -> Callable[[t.Any], bool]:
    return lambda redactions: set(wanted) <= {redaction["name"] for redaction in redactions}


def _closed(variable: str) -> Rule:
    return Rule(
        variable=variable,
        holds=_one_of("Disabled"),
        what="is reachable from the internet",
        remedy="Set it to Disabled; the private endpoint stays",
    )


RULES: t.Final = (
    Rule(
        variable="platform_env",
        holds=_matches(r"[a-z][a-z0-9]{2,7}"),
        what="is no short name",
        remedy="Use 3 to 8 lower-case letters or digits, a letter first",
        production_only=False,
    ),
    Rule(
        variable="platform_name",
        holds=_matches(r"[a-z][a-z0-9]{2,15}"),
        what="is no name that resources can begin with",
        remedy="Use 3 to 16 lower-case letters or digits, a letter first",
        production_only=False,
    ),
    Rule(
        variable="platform_tenant_id",
        holds=_guid,
        what="is not the id of a tenant",
        remedy="Set it to what 'az account show --query tenantId' prints",
        production_only=False,
    ),
    Rule(
        variable="platform_subscription_id",
        holds=_guid,
        what="is not the id of a subscription",
        remedy="Set it to what 'az account show --query id' prints",
        production_only=False,
    ),
    Rule(
        variable="gateway_acme",
        holds=_orders,
        what="is no authority that certificates could be ordered from",
        remedy="Give directory (https://…) and terms_agreed: true, once you have read the terms; or leave it empty",
        production_only=False,
    ),
    Rule(
        variable="namespaces_flows",
        holds=_targeted,
        what="holds a flow with neither or both of to and fqdn",
        remedy="Give each flow one of them: to, a workload or kube-apiserver, or fqdn, names outside of the cluster",
        production_only=False,
    ),
    Rule(
        variable="platform_deployer_object_id",
        holds=_guid,
        what="names no identity, so that the run could not write vault secrets and cluster objects",
        remedy="Set it to what 'az ad sp show --id CLIENT_ID --query id' prints",
    ),
    Rule(
        variable="platform_admin_group_ids",
        holds=_guids,
        what="names no group, so that nobody could administer the cluster",
        remedy="List object ids of Entra groups, not of users",
    ),
    Rule(
        variable="platform_location",
        holds=_one_of(*_FRENCH_REGIONS),
        what="is outside France",
        remedy=f"Choose one of {', '.join(_FRENCH_REGIONS)}",
    ),
    Rule(
        variable="platform_tags",
        holds=lambda tags: all(tags.get(key) for key in ("env", "owner", "data-class", "criticality")),
        what="lacks one of env, owner, data-class and criticality",
        remedy="Set all four: reports and invoices are sorted by them",
    ),
    Rule(
        variable="platform_no_log",
        holds=_on,
        what="shows results that hold secrets",
        remedy="Leave it at true",
    ),
    _closed("key_vault_public_network_access"),
    _closed("registry_public_network_access"),
    _closed("storage_public_network_access"),
    Rule(
        variable="key_vault_purge_protection",
        holds=_on,
        what="lets an administrator destroy every secret and key at once, and no disk can be encrypted with such a key",
        remedy="Set it to true",
        production_only=False,
    ),
    Rule(
        variable="key_vault_network_bypass",
        holds=_one_of("AzureServices"),
        what="shuts Azure Disk Storage out, so that no disk could be encrypted with the vault's key",
        remedy="Set it to AzureServices",
        production_only=False,
    ),
    Rule(
        variable="key_vault_keys",
        holds=_wrapping,
        what="lacks the key disks or backups, or holds one of a kind or size that disks are not encrypted with",
        remedy="Declare disks and backups; type is RSA or RSA-HSM, size 2048, 3072 or 4096",
        production_only=False,
    ),
    Rule(
        variable="namespaces_storage_classes",
        holds=lambda classes: any(item.get("disk_encryption_set_id") for item in classes),
        what="holds no class whose disks are encrypted with a key of your own",
        remedy="Give one disk_encryption_set_id; a class in use cannot change, so give the new one another name",
    ),
    Rule(
        variable="key_vault_soft_delete_retention_days",
        holds=_at_least(_SOFT_DELETE),
        what="forgets deleted secrets too soon",
        remedy=f"Set it to {_SOFT_DELETE}",
    ),
    Rule(
        variable="landing_zone_locked_groups",
        holds=lambda groups: {"data", "shared"} <= set(groups),
        what="leaves a group that cannot be rebuilt without a lock",
        remedy="List data and shared",
    ),
    Rule(
        variable="storage_sku",
        holds=lambda sku: "ZRS" in sku,
        what="keeps all copies in one zone",
        remedy="Use Standard_ZRS or Standard_GZRS",
    ),
    Rule(
        variable="monitoring_workspace_retention_days",
        holds=_at_least(_YEAR),
        what="keeps security logs for less than a year",
        remedy=f"Set it to {_YEAR} or more",
    ),
    Rule(
        variable="loki_retention_security_days",
        holds=_at_least(_YEAR),
        what="keeps security logs for less than a year",
        remedy=f"Set it to {_YEAR} or more",
    ),
    Rule(
        variable="otel_collector_redactions",
        holds=_cuts_out(_PERSONAL),
        what="lets personal data of the logs leave the nodes",
        remedy="Leave it as it is, and add to otel_collector_more_redactions",
    ),
    Rule(
        variable="monitoring_workspace_daily_quota_gb",
        holds=_one_of(-1),
        what="drops audit logs on busy days",
        remedy="Set it to -1 and watch the cost with a budget",
    ),
    Rule(
        variable="cluster_tier",
        holds=_one_of("Standard", "Premium"),
        what="has no service level",
        remedy="Use Standard",
    ),
    Rule(
        variable="cluster_zones",
        holds=lambda zones: len(set(zones)) >= _ALL_ZONES,
        what="does not survive the loss of a zone",
        remedy='Use ["1", "2", "3"]',
    ),
    Rule(
        variable="cluster_node_pools",
        holds=_pools("System"),
        what=f"starts with fewer than {_MINIMUM_SYSTEM_NODES} system nodes",
        remedy=f"Set min_count of the system pool to {_MINIMUM_SYSTEM_NODES}",
    ),
    Rule(
        variable="cluster_node_pools",
        holds=_pools("User"),
        what=f"has no user pool of at least {_MINIMUM_USER_NODES} nodes",
        remedy=f"Set min_count of the user pool to {_MINIMUM_USER_NODES} or more",
    ),
    Rule(
        variable="cluster_node_pools",
        holds=_tainted,
        what="lets workloads run on the system nodes",
        remedy='Give the system pool the taint "CriticalAddonsOnly=true:NoSchedule"',
    ),
    Rule(
        variable="cluster_upgrade_channel",
        holds=lambda channel: channel != "none",
        what="leaves Kubernetes without security fixes",
        remedy="Use patch",
    ),
    Rule(
        variable="cluster_node_os_upgrade_channel",
        holds=_one_of("NodeImage", "SecurityPatch"),
        what="leaves the nodes without security fixes",
        remedy="Use NodeImage",
    ),
    Rule(
        variable="platform_images",
        holds=_one_series,
        what="backs MariaDB up with the programs of another series, whose backups nothing could restore",
        remedy="Give mariadb and mariadb_backup tags of one series, 10.11.18 and 10.11-1 for example",
        production_only=False,
    ),
    Rule(
        variable="storage_backup_immutable_days",
        holds=_at_least(_BACKUPS_KEPT),
        what="lets somebody who took over an account remove the last backups",
        remedy=f"Set it to {_BACKUPS_KEPT} or more",
    ),
    Rule(
        variable="backup_vault_schedule",
        holds=_starts,
        what="starts at no hour of the day",
        remedy='Write start as HH:MM in UTC, "01:00" for example',
        production_only=False,
    ),
    Rule(
        variable="backup_vault_schedule",
        holds=_holds_recovery_points,
        what=f"keeps recovery points for 0 or over {_RECOVERY_POINT_DAYS} days, or over {_SNAPSHOTS_OF_A_DISK} of them",
        remedy="Set a longer interval or fewer retention_days; a disk has a limit of snapshots",
        production_only=False,
    ),
    Rule(
        variable="backup_vault_schedule",
        holds=lambda schedule: int(schedule["retention_days"]) >= _BACKUPS_KEPT,
        what="forgets recovery points before an intrusion is discovered",
        remedy=f"Set retention_days to {_BACKUPS_KEPT} or more",
    ),
    Rule(
        variable="backup_vault_soft_delete_days",
        holds=_between(*_VAULT_SOFT_DELETE),
        what="is no time that a backup vault keeps what was deleted",
        remedy=f"Set it to {_VAULT_SOFT_DELETE[0]} to {_VAULT_SOFT_DELETE[1]}",
        production_only=False,
    ),
    Rule(
        variable="backup_vault_namespaces",
        holds=bool,
        what="names no namespace, and Azure would back all of the cluster up",
        remedy="List the namespaces of the platform",
        production_only=False,
    ),
    Rule(
        variable="backup_vault_namespaces",
        holds=lambda namespaces: not namespaces or "openmrs" in namespaces,
        what="leaves out the disk of the attachments, which has no other backup",
        remedy="List openmrs",
    ),
    Rule(
        variable="platform_backup_vault",
        holds=_on,
        what="leaves the attachments of patient records without a backup",
        remedy="Set it to true",
    ),
    Rule(
        variable="grafana_application_id",
        holds=_guid,
        what="is not the id of an application, so that nobody could sign in to Grafana",
        remedy="Register one in Entra ID (roles/grafana/README.md), give its appId; or set platform_grafana to false",
        production_only=False,
        when="platform_grafana",
    ),
    Rule(
        variable="argocd_application_id",
        holds=_guid,
        what="is not the id of an application, so that nobody could sign in to Argo CD",
        remedy="Register one in Entra ID (roles/argocd/README.md), give its appId; or set platform_argocd to false",
        production_only=False,
        when="platform_argocd",
    ),
    Rule(
        variable="platform_repository",
        holds=lambda url: str(url).startswith("https://"),
        what="is not reached by HTTPS, so that whoever is on the way decides what runs",
        remedy="Give its https:// address",
        production_only=False,
        when="platform_argocd",
    ),
    Rule(
        variable="oauth2_proxy_application_id",
        holds=_guid,
        what="is not the id of an application, so that nobody could sign in to Prometheus and Alertmanager",
        remedy="Register one (roles/oauth2_proxy/README.md) and give its appId, or empty platform_guarded_sites",
        production_only=False,
        when="platform_guarded_sites",
    ),
    Rule(
        variable="oauth2_proxy_allowed_groups",
        holds=_guids,
        what="names no group of Entra ID, so that everybody in the tenant could sign in to Prometheus and Alertmanager",
        remedy="Give the object ids of the groups; by default they are those of platform_admin_group_ids",
        production_only=False,
        when="platform_guarded_sites",
    ),
    Rule(
        variable="backup_vault_soft_delete_state",
        holds=_one_of("On", "AlwaysOn"),
        what="lets somebody who took over an account remove backups at once",
        remedy="Set it to On or AlwaysOn",
    ),
    Rule(
        variable="backup_vault_immutability_state",
        holds=_one_of("Unlocked", "Locked"),
        what="lets the life of backups be shortened",
        remedy="Set it to Unlocked, or to Locked once the schedule is right for good",
    ),
    Rule(
        variable="backup_vault_redundancy",
        holds=_one_of("ZoneRedundant", "GeoRedundant"),
        what="keeps all copies in one zone",
        remedy="Use ZoneRedundant or GeoRedundant; a vault that exists cannot change, and needs another name",
    ),
    Rule(
        variable="mariadb_archive",
        holds=_on,
        what="leaves patient records without a backup",
        remedy="Set it to true",
    ),
    Rule(
        variable="platform_images",
        holds=_pinned,
        what="holds an image without a digest, so that whatever its tag means on that day would run",
        remedy="Run 'make pin-images' on a machine that reaches the registries, review and commit what it wrote",
    ),
    Rule(
        variable="platform_image_registry",
        holds=bool,
        what="lets the cluster pull its images from the internet",
        remedy="Set it to the login server of the environment's registry, which holds copies",
    ),
    Rule(
        variable="cluster_host_encryption",
        holds=_on,
        what="leaves temporary disks of the nodes in clear text",
        remedy="Set it to true",
    ),
)


def check_rules(value_of: Callable[[str], t.Any], *, production: bool, rules: Iterable[Rule] = RULES) -> list[Problem]:
    """What an environment's values break.

    Args:
        value_of: gives the final value of a variable.
        production: whether it holds patient records.
        rules: the conditions.
    """
    problems = []
    for rule in rules:
        if (rule.production_only and not production) or (rule.when and not _on(value_of(rule.when))):
            continue
        value = value_of(rule.variable)
        try:
            fine = rule.holds(value)
        except (AttributeError, KeyError, TypeError, ValueError):
            fine = False
        if not fine:
            problems.append(
                Problem(where=rule.variable, what=f"{_shown(value)} {rule.what}", remedy=rule.remedy),
            )
    return problems


def _shown(value: t.Any) -> str:
    if value in ("", None):
        return "the empty value"
    return "the value" if isinstance(value, (Mapping, list)) else f"{value!s}"
