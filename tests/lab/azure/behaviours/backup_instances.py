# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backup instances: protected a while after the operation that made them has ended, and soft-deleted.

Recorded 2 of 2 clusters: the operation has succeeded, the protection is still being configured.
Soft delete: https://learn.microsoft.com/azure/backup/backup-azure-security-feature-cloud ; that it holds snapshots as
well: recording azure-cli-extensions test_dataprotection_backup_instance_softdelete (a disk).
"""

from __future__ import annotations

import copy
import uuid
from typing import Any

from tests.lab.azure.behaviour import Accepted, Action, ArmError, Behaviour, Read, Write, action, behaviour
from tests.lab.azure.behaviours import backup_checks
from tests.lab.azure.behaviours.backup_checks import DELETED, INSTANCE, Asked
from tests.lab.azure.operations import timestamp
from tests.lab.azure.store import Link, Resource

DONE = {"objectType": "OperationJobExtendedInfo"}
SECONDS = 0.5
_POLICY_RULE = "policy"
_DAY = 86_400


def _asked(ctx: Write, properties: dict[str, Any]) -> Asked:
    vault = ctx.store.get(ctx.id.parent)
    if vault is None:
        raise backup_checks.not_there(ctx.id.parent.text)
    return Asked(engine=ctx.engine, vault=vault, name=ctx.id.name, properties=properties)


def _state(properties: dict[str, Any], status: str) -> None:
    properties["protectionStatus"] = {"status": status}
    properties["currentProtectionState"] = status


def _link(source: Resource, kind: str) -> Link:
    policy = str(source.body["properties"]["policyInfo"]["policyId"])
    return Link(source=source.key, target=policy.lower(), type=kind, rule=_POLICY_RULE, path="properties")


@behaviour("Microsoft.DataProtection/backupVaults/backupInstances")
class BackupInstances(Behaviour):
    """One cluster under one policy."""

    def before_put(self, ctx: Write) -> None:
        """Azure validates before it stores anything."""
        properties = ctx.body["properties"]
        asked = _asked(ctx, properties)
        for check in backup_checks.VALIDATION:
            check(asked)
        # Recorded 1 of 1 that leaves it empty: filled in here, and not in dataSourceSetInfo.
        properties["dataSourceInfo"]["resourceName"] = (
            properties["dataSourceInfo"].get("resourceName") or asked.cluster.id.name
        )
        ctx.private.pop("settled", None)
        _state(properties, "ConfiguringProtection" if ctx.create else "UpdatingProtection")

    async def run(self, ctx: Write) -> None:
        """Configure protection; how that ends is seen a little later."""
        asked, error = _asked(ctx, ctx.body["properties"]), None
        try:
            for check in backup_checks.CONFIGURATION:
                check(asked)
        except ArmError as exc:
            error = {"code": exc.code, "message": exc.message}
        ctx.private["settled"] = {"at": ctx.clock + SECONDS * ctx.settings.time_scale, "error": error}

    async def configure(self, ctx: Write, payload: dict[str, Any]) -> Any:
        """Once more, after something was repaired."""
        del payload
        asked = _asked(ctx, ctx.body["properties"])
        for check in backup_checks.VALIDATION:
            check(asked)
        _state(ctx.body["properties"], "ConfiguringProtection")
        await self.run(ctx)
        return DONE

    @action("sync", effect="write")
    def sync(self, ctx: Action) -> Accepted:
        """Try again what failed last."""
        return Accepted(run="configure")

    @action("resumeProtection", effect="write")
    def resume(self, ctx: Action) -> Accepted:
        """Protect again what was brought back."""
        return Accepted(run="configure")

    def show(self, ctx: Read) -> None:
        """How protection stands now."""
        settled = ctx.resource.private.get("settled")
        if not settled or ctx.clock < settled["at"]:
            return
        properties = ctx.body["properties"]
        if settled["error"] is None:
            _state(properties, "ProtectionConfigured")
        else:
            _state(properties, "ConfiguringProtectionFailed")
            properties["protectionStatus"]["errorDetails"] = settled["error"]
            properties["protectionErrorDetails"] = settled["error"]

    def after_delete(self, ctx: Write) -> None:
        """Its backups stay for a while, unless the vault's soft delete is off."""
        vault = ctx.store.get(ctx.id.parent)
        if vault is None:
            return
        settings = vault.body["properties"]["securitySettings"]["softDeleteSettings"]
        if settings["state"] == "Off":
            return
        kept = Resource(id=ctx.id.parent.child("deletedBackupInstances", ctx.id.name), body=copy.deepcopy(ctx.body))
        properties = kept.body["properties"]
        properties.pop("protectionErrorDetails", None)
        _state(properties, "SoftDeleted")
        properties["provisioningState"] = "Succeeded"
        end = timestamp(ctx.clock + settings["retentionDurationInDays"] * _DAY)
        properties["deletionInfo"] = {
            "deletionTime": timestamp(ctx.clock),
            "billingEndDate": end,
            "scheduledPurgeTime": end,
            "deleteActivityID": str(uuid.uuid4()),
        }
        ctx.store.save(kept)
        ctx.store.set_links(kept.key, [_link(kept, DELETED)])


@behaviour("Microsoft.DataProtection/backupVaults/deletedBackupInstances")
class DeletedBackupInstances(Behaviour):
    """What was deleted and can come back."""

    @action("undelete", effect="write")
    def undelete(self, ctx: Action) -> Accepted:
        """Bring it back."""
        return Accepted(run="bring_back")

    async def bring_back(self, ctx: Write, payload: dict[str, Any]) -> Any:
        """It comes back without protection: https://learn.microsoft.com/azure/role-based-access-control/permissions/security"""
        del payload
        back = Resource(id=ctx.id.parent.child("backupInstances", ctx.id.name), body=copy.deepcopy(ctx.body))
        back.body["properties"].pop("deletionInfo", None)
        _state(back.body["properties"], "ProtectionStopped")
        with ctx.store.transaction():
            ctx.store.delete(ctx.id)
            ctx.store.save(back)
            ctx.store.set_links(back.key, [_link(back, INSTANCE)])
        return DONE
