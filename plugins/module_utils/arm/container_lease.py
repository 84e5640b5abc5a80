# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lease of an environment that every machine sees: that of a blob container, taken through ARM.

Sources: operation "Blob Containers - Lease" of Microsoft.Storage 2025-06-01 (actions, 15 to 60 s or infinite,
C(proposedLeaseId)); "Lease Container" of the Blob service REST API: a lease guards the container against deletion
only, so that its metadata stay writable and can say who holds it, and acquiring again with the same id renews it.
"""

from __future__ import annotations

import contextlib
import typing as t
from collections.abc import Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.arm.catalogue import facts_of
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.client import ArmClient, connect
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.errors import ArmError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.lease import Run, describe

__all__ = ["ContainerLease"]

DURATION: t.Final = 60
"""Seconds a lease lasts without renewal: the longest that is not infinite."""

_CONFLICT: t.Final = 409
_CONTAINER: t.Final = "Microsoft.Storage/storageAccounts/blobServices/containers"


class ContainerLease:
    """Takes, renews and gives back one container's lease in the name of one run.

    Args:
        client: ARM, as the identity of the run.
        container_id: ARM id of the container.
        run: the run; its id is the lease's id.
    """

    def __init__(self, client: ArmClient, *, container_id: str, run: Run) -> None:
        self._client, self._container, self._run = client, container_id, run
        self._api_version = facts_of(_CONTAINER).api_version
        self._held = False

    @classmethod
    def connect(cls, connection: Mapping[str, t.Any], *, container_id: str, run: Run) -> ContainerLease:
        """With a client of its own, from the options of the Azure modules."""
        return cls(connect(connection, connections=1), container_id=container_id, run=run)

    def acquire(self, *, break_lease: bool) -> str | None:
        """Take the lease, or renew it.

        Returns:
            None when it is held, also while the container does not exist yet; else the other holder in words.

        Raises:
            ArmError: Azure could not be asked.
        """
        if break_lease and not self._held:
            with contextlib.suppress(ArmError):
                self._act(action="Break", breakPeriod=0)
        try:
            if self._held:
                self._act(action="Renew", leaseId=self._run.id)
            else:
                self._act(action="Acquire", leaseDuration=DURATION, proposedLeaseId=self._run.id)
        except ArmError as error:
            if error.not_there:
                return None
            if error.status == _CONFLICT:
                return self._holder()
            raise
        if not self._held:
            self._held = True
            self._say_who()
        return None

    def release(self) -> None:
        """Give the lease back; it ends by itself when this fails."""
        if self._held:
            self._held = False
            with contextlib.suppress(ArmError):
                self._act(action="Release", leaseId=self._run.id)

    def _act(self, **body: t.Any) -> None:
        self._client.post(f"{self._container}/lease", self._api_version, body, doing="lease the environment")

    def _say_who(self) -> None:
        metadata = {"holder": self._run.holder, "since": self._run.since}
        with contextlib.suppress(ArmError):
            self._client.put(self._container, self._api_version, {"properties": {"metadata": metadata}}, verb="PATCH")

    def _holder(self) -> str:
        with contextlib.suppress(ArmError):
            live = self._client.get(self._container, self._api_version)
            return describe((live.get("properties") or {}).get("metadata") or {})
        return describe({})
