# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All dashboards, in the order of the menu."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from roles.grafana.dashboards.backup import backup
from roles.grafana.dashboards.costs import costs
from roles.grafana.dashboards.drift import drift
from roles.grafana.dashboards.gateway import gateway
from roles.grafana.dashboards.gitops import gitops
from roles.grafana.dashboards.kubernetes import kubernetes
from roles.grafana.dashboards.mariadb import mariadb
from roles.grafana.dashboards.openmrs import openmrs
from roles.grafana.dashboards.overview import overview

__all__ = ["dashboards"]


def dashboards() -> dict[str, Dashboard]:
    """Return every dashboard by the name of its file."""
    found = (overview, openmrs, mariadb, gateway, kubernetes, backup, gitops, drift, costs)
    return {build.__name__: build() for build in found}
