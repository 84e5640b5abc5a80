# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""Maintenance windows of clusters begin today unless they say otherwise (recorded 4 of 4)."""

from __future__ import annotations

import datetime

from tests.lab.azure.behaviour import ArmError, Behaviour, Read, Write, behaviour

SCHEDULES = ("daily", "weekly", "absoluteMonthly", "relativeMonthly")


@behaviour("Microsoft.ContainerService/managedClusters/maintenanceConfigurations")
class MaintenanceConfigurations(Behaviour):
    """One schedule per window (https://learn.microsoft.com/azure/aks/planned-maintenance)."""

    def before_put(self, ctx: Write) -> None:
        window = (ctx.body.get("properties") or {}).get("maintenanceWindow")
        if ctx.id.name == "default" or window is None:
            return
        chosen = [name for name in SCHEDULES if window.get("schedule", {}).get(name)]
        if len(chosen) != 1:
            raise ArmError(
                400,
                "InvalidParameter",
                f"A maintenance window has exactly one schedule of {', '.join(SCHEDULES)}, got {len(chosen)}.",
            )
        window.setdefault("startDate", datetime.datetime.now(datetime.UTC).date().isoformat())

    def show(self, ctx: Read) -> None:
        ctx.body.pop("type", None)  # recorded 10 of 10 without it
