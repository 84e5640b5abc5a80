# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What preflight asks of Azure."""

from __future__ import annotations

import concurrent.futures
import typing as t
from collections.abc import Iterable, Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.arm.catalogue import facts_of
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.errors import ArmError
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.ids import parse
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.connection import aks_cluster_entry
from ansible_collections.audioprothese.platform.plugins.module_utils.preflight.endpoints import Endpoint, reach
from ansible_collections.audioprothese.platform.plugins.module_utils.preflight.quota import (
    counted,
    demands,
    shortages,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.preflight.variables import Problem

if t.TYPE_CHECKING:
    from ansible_collections.audioprothese.platform.plugins.module_utils.arm.client import ArmClient

__all__ = ["Inspection"]

_SUBSCRIPTION: t.Final = "2022-12-01"
_USAGES: t.Final = {"Microsoft.Compute": "2024-07-01", "Microsoft.Network": "2025-05-01"}
_UNREGISTERED: t.Final = "MissingSubscriptionRegistration"
_THREADS: t.Final = 8


class Inspection:
    """Collects problems; each method is one check.

    Args:
        client: of the identity that will do the work.
        timeout: seconds to wait for an endpoint.

    Attributes:
        problems: what has to be put right.
        checked: what was looked at, one line each.
        unchecked: checks that could not be made because their subject does not exist yet.
    """

    def __init__(self, client: ArmClient, *, timeout: float) -> None:
        self._client, self._timeout = client, timeout
        self.problems: list[Problem] = []
        self.checked: list[str] = []
        self.unchecked: list[str] = []

    @property
    def requests(self) -> dict[str, int]:
        """Requests made so far."""
        return self._client.requests()

    def identity(self, *, tenant: str | None, subscription: str | None) -> None:
        """Sign in and read the subscription.

        Raises:
            ArmError: the credential is refused, or the identity may not read the subscription.
        """
        if not subscription:
            self.problems.append(
                Problem(where="platform_subscription_id", what="is empty", remedy="Set the subscription to work in")
            )
            return
        body = self._client.get(f"/subscriptions/{subscription}", _SUBSCRIPTION, doing="read the subscription")
        found = str(body.get("tenantId") or "")
        if tenant and found and found.lower() != tenant.lower():
            self.problems.append(
                Problem(
                    where=f"subscription {subscription}",
                    what=f"belongs to tenant {found}, not to {tenant}",
                    remedy="Correct platform_tenant_id or platform_subscription_id",
                )
            )
        state = str(body.get("state") or "Enabled")
        if state not in ("Enabled", "PastDue", "Warned"):
            self.problems.append(
                Problem(
                    where=f"subscription {subscription}",
                    what=f"is {state} and accepts no change",
                    remedy="Enable it in the Azure portal under Subscriptions",
                )
            )
        self.checked.append(f"subscription {subscription} of tenant {found or tenant}")

    def quota(self, documents: Iterable[Mapping[str, t.Any]]) -> None:
        """Compare what is still to be created with the quotas of its region.

        Raises:
            ArmError: a list of usages or a resource cannot be read.
        """
        subject = [document for document in documents if counted(document)]
        if not subject:
            return
        with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
            bodies = pool.map(lambda document: self._find(str(document["id"])), subject)
            live = {str(document["id"]).lower(): body for document, body in zip(subject, bodies, strict=True) if body}
            wanted = demands(subject, live)
            subscription = parse(str(subject[0]["id"])).subscription
            places = sorted({(demand.provider, demand.location) for demand in wanted})
            rows = pool.map(lambda place: self._usages(subscription, *place), places)
            usages = dict(zip(places, rows, strict=True))
        self.problems += shortages(wanted, usages)
        self.checked += [f"quota {d.name} in {d.location}: {d.amount} more" for d in wanted]

    def endpoints(self, endpoints: Iterable[Mapping[str, str]]) -> None:
        """Open a connection to each endpoint that exists.

        Raises:
            ArmError: a resource cannot be read.
        """
        wanted = list(endpoints)
        with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
            outcomes = list(pool.map(self._reach, wanted))
        for entry, (exists, problem) in zip(wanted, outcomes, strict=True):
            if not exists:
                if "endpoints" not in self.unchecked:
                    self.unchecked.append("endpoints")
            elif problem is not None:
                self.problems.append(problem)
            else:
                self.checked.append(f"way to {entry['name']}")

    def _reach(self, entry: Mapping[str, str]) -> tuple[bool, Problem | None]:
        url = self._address(entry["id"])
        if not url:
            return False, None
        return True, reach(Endpoint(entry["name"], url, entry.get("zone") or ""), timeout=self._timeout)

    def _address(self, resource_id: str) -> str:
        kind = parse(resource_id).type.lower()
        properties = (self._find(resource_id) or {}).get("properties") or {}
        if kind == "microsoft.containerservice/managedclusters":
            # Somebody else's run may be creating it, or one that was killed: then it has no address yet.
            if properties.get("provisioningState") in (None, "Creating"):
                return ""
            entry = aks_cluster_entry(self._client, resource_id)
            return str(entry["server"]) if entry else ""
        if kind == "microsoft.storage/storageaccounts":
            return str((properties.get("primaryEndpoints") or {}).get("blob") or "")
        return str(properties.get("vaultUri") or "")

    def _find(self, resource_id: str) -> Mapping[str, t.Any] | None:
        try:
            found: Mapping[str, t.Any] = self._client.get(resource_id, facts_of(parse(resource_id).type).api_version)
        except ArmError as exc:
            if exc.not_there:
                return None
            raise
        return found

    def _usages(self, subscription: str, provider: str, location: str) -> list[Mapping[str, t.Any]]:
        path = f"{subscription}/providers/{provider}/locations/{location}/usages"
        try:
            return list(self._client.get(path, _USAGES[provider], doing="read the quotas").get("value") or [])
        except ArmError as exc:
            if exc.code != _UNREGISTERED:
                raise
            # A subscription tells its quotas only once the provider is registered, which this run is about to do.
            if "quota" not in self.unchecked:
                self.unchecked.append("quota")
            return []
