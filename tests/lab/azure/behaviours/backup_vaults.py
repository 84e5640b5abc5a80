# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backup vaults and their policies: how secure a vault is, what of it cannot change, and what a policy has to have."""

from __future__ import annotations

from typing import Any

from tests.lab.azure.behaviour import Accepted, Action, Behaviour, Write, action, behaviour
from tests.lab.azure.behaviours import backup_checks
from tests.lab.azure.behaviours.backup_checks import DELETED, INSTANCE, Asked, invalid
from tests.lab.azure.behaviours.backup_instances import DONE


def security_level(settings: dict[str, Any]) -> tuple[str, str]:
    """secureScore and bcdrSecurityLevel (recorded 17 of 17; a resource guard would give more)."""
    soft = settings["softDeleteSettings"]["state"]
    immutability = (settings.get("immutabilitySettings") or {}).get("state")
    if soft == "AlwaysOn" or (soft == "On" and immutability == "Locked"):
        return "Adequate", "Good"
    return ("Minimum", "Fair") if soft == "On" and immutability == "Unlocked" else ("None", "Poor")


@behaviour("Microsoft.DataProtection/backupVaults")
class BackupVaults(Behaviour):
    """Where backups are kept."""

    def before_put(self, ctx: Write) -> None:
        """https://learn.microsoft.com/azure/backup/create-manage-backup-vault (redundancy before the first backup)"""
        properties = ctx.body["properties"]
        stored = (ctx.stored or {}).get("properties", {}).get("storageSettings", properties["storageSettings"])
        protected = any(ctx.store.children(ctx.id, kind) for kind in (INSTANCE, DELETED))
        if protected and stored != properties["storageSettings"]:
            raise invalid("storageSettings cannot change once the vault has backup instances.")
        restores = (properties.get("featureSettings") or {}).get("crossRegionRestoreSettings") or {}
        redundancy = {one.get("type") for one in properties["storageSettings"]}
        if restores.get("state") == "Enabled" and redundancy != {"GeoRedundant"}:
            raise invalid("crossRegionRestoreSettings need storage of the type GeoRedundant.")
        properties["secureScore"], properties["bcdrSecurityLevel"] = security_level(properties["securitySettings"])

    @action("validateForBackup", effect="read")
    def validate_for_backup(self, ctx: Action) -> Accepted:
        """What a new backup instance would be refused for; the CLI asks before it makes one."""
        asked = ctx.body.get("backupInstance") if isinstance(ctx.body, dict) else None
        if not isinstance(asked, dict):
            raise invalid("backupInstance is missing.")
        return Accepted(run="validate", payload={"backupInstance": asked})

    async def validate(self, ctx: Write, payload: dict[str, Any]) -> Any:
        """All that is looked at, also later."""
        vault = ctx.store.get(ctx.id)
        if vault is None:
            raise backup_checks.not_there(ctx.id.text)
        asked = Asked(engine=ctx.engine, vault=vault, name="", properties=payload["backupInstance"])
        for check in (*backup_checks.VALIDATION, *backup_checks.CONFIGURATION):
            check(asked)
        return DONE


@behaviour("Microsoft.DataProtection/backupVaults/backupPolicies")
class BackupPolicies(Behaviour):
    """When backups are made, and how long they are kept."""

    def before_put(self, ctx: Write) -> None:
        """Every tag has a retention rule, one of them is the default (azure-mgmt-dataprotection 2.2.0: isDefault)."""
        rules = ctx.body["properties"]["policyRules"]
        retention = [rule for rule in rules if rule["objectType"] == "AzureRetentionRule"]
        if len([rule for rule in retention if rule.get("isDefault")]) != 1:
            raise invalid("a policy has one default retention rule.")
        names = {rule["name"].lower() for rule in retention}
        for rule in rules:
            for tag in (rule.get("trigger") or {}).get("taggingCriteria") or []:
                info = tag["tagInfo"]
                if info["tagName"].lower() not in names:
                    raise invalid(f"there is no retention rule for the tag {info['tagName']}.")
                info.setdefault("id", f"{info['tagName']}_")  # recorded 3 of 3 without it
