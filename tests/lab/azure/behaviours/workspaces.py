# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""Log Analytics workspaces and diagnostic settings."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from tests.lab.azure.behaviour import Action, ArmError, Behaviour, Read, Write, action, behaviour

DESTINATIONS = (
    "workspaceId",
    "storageAccountId",
    "eventHubAuthorizationRuleId",
    "marketplacePartnerId",
    "serviceBusRuleId",
)


@behaviour("Microsoft.OperationalInsights/workspaces")
class Workspaces(Behaviour):
    """Keys of agents."""

    @action("sharedKeys", effect="list")
    def shared_keys(self, ctx: Action) -> dict[str, Any]:
        """The keys of agents (https://learn.microsoft.com/rest/api/loganalytics/shared-keys/get-shared-keys)."""
        secrets = [hashlib.sha512(f"{ctx.id.key}/{number}".encode()).digest() for number in (1, 2)]
        first, second = (base64.b64encode(secret).decode() for secret in secrets)
        return {"primarySharedKey": first, "secondarySharedKey": second}


@behaviour("Microsoft.Insights/diagnosticSettings")
class DiagnosticSettings(Behaviour):
    """A setting sends something somewhere, and no two settings send the same to the same place.

    Source: https://learn.microsoft.com/azure/azure-monitor/platform/diagnostic-settings; ids as recorded 3 of 3.
    """

    def before_put(self, ctx: Write) -> None:
        properties = ctx.body.setdefault("properties", {})
        targets = {name: properties[name] for name in DESTINATIONS if properties.get(name)}
        if not targets:
            raise ArmError(
                400,
                "BadRequest",
                "At least one data sink needs to be specified: workspaceId, storageAccountId, "
                "eventHubAuthorizationRuleId or marketplacePartnerId.",
            )
        for other in ctx.store.children(ctx.id.scope, ctx.type.key):
            if other.key != ctx.id.key:
                _check_overlap(properties, other.body["properties"], targets, other.id.name)

    def show(self, ctx: Read) -> None:
        scope, _, _ = ctx.id.text.rpartition("/providers/")
        head, _, target = scope.partition("/providers/")
        if target:
            head = head.replace("/resourceGroups/", "/resourcegroups/")
            provider, *rest = target.split("/")
            # Provider and type names are lowered, names of resources stay.
            rest = [part.lower() if number % 2 == 0 else part for number, part in enumerate(rest)]
            scope = "/".join([head, "providers", provider.lower(), *rest])
        ctx.body |= dict.fromkeys(("identity", "kind", "location", "tags"))  # shown as null, recorded 3 of 3
        ctx.body["id"] = f"{scope}/providers/microsoft.insights/diagnosticSettings/{ctx.id.name}"


def _check_overlap(mine: dict[str, Any], theirs: dict[str, Any], targets: dict[str, Any], name: str) -> None:
    for kind, target in targets.items():
        if str(theirs.get(kind) or "").lower() != str(target).lower():
            continue
        shared = _categories(mine) & _categories(theirs)
        if shared:
            raise ArmError(
                409,
                "Conflict",
                f"Data sink '{target}' is already used in diagnostic setting '{name}' for '{sorted(shared)[0]}'"
                ". Data sinks can't be reused in different settings on the same category for the same resource.",
            )


def _categories(properties: dict[str, Any]) -> set[str]:
    return {
        str(entry.get("category") or entry.get("categoryGroup")).lower()
        for name in ("logs", "metrics")
        for entry in properties.get(name, [])
        if entry.get("enabled")
    }
