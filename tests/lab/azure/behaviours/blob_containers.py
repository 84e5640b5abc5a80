"""Blob containers: their leases, and what protects one from deletion.

The ARM action: https://learn.microsoft.com/rest/api/storagerp/blob-containers/lease
Deletion under a retention policy, locked or not, only of an empty container:
https://learn.microsoft.com/rest/api/storagerp/blob-containers/delete-immutability-policy and
https://github.com/MicrosoftDocs/azure-docs/issues/104048 (the error). Its account is protected by locked policies only,
which the lab does not have: https://github.com/Azure/azure-powershell/issues/26148
"""

from __future__ import annotations

import uuid
from dataclasses import asdict
from typing import Any

from tests.lab.azure.behaviour import Action, ArmError, Behaviour, Read, Write, action, behaviour
from tests.lab.azure.behaviours.container_leases import INFINITE, Lease, acquire, break_, change, release, renew
from tests.lab.azure.blob import HOLDS_BLOBS, POLICY_TYPE
from tests.lab.azure.store import Resource


@behaviour("Microsoft.Storage/storageAccounts/blobServices/containers")
class Containers(Behaviour):
    """The lease is kept beside the container; a leased one is not deleted, nor one whose policy keeps blobs."""

    def before_put(self, ctx: Write) -> None:
        """One that is made anew is another one, without the blobs of the one before."""
        ctx.private.setdefault("made", uuid.uuid4().hex[:8])

    @action("lease", effect="write")
    def lease(self, ctx: Action) -> Any:
        """Acquire, renew, change, release or break."""
        asked = ctx.body if isinstance(ctx.body, dict) else {}
        held = _stored(ctx.resource.private)
        verb, lease_id = str(asked.get("action", "")).lower(), str(asked.get("leaseId") or "")
        answer: dict[str, Any] = {}
        match verb:
            case "acquire":
                duration = asked.get("leaseDuration")
                if not isinstance(duration, int):
                    raise ArmError(400, "MissingRequiredHeader", "Acquire needs leaseDuration, a number of seconds.")
                held = acquire(held, now=ctx.clock, duration=duration, proposed=asked.get("proposedLeaseId"))
                answer = {"leaseId": held.id}
            case "renew":
                held = renew(held, now=ctx.clock, lease_id=lease_id)
                answer = {"leaseId": held.id}
            case "change":
                held = change(held, now=ctx.clock, lease_id=lease_id, proposed=asked.get("proposedLeaseId"))
                answer = {"leaseId": held.id}
            case "release":
                release(held, lease_id=lease_id)
                held = None
            case "break":
                held, seconds = break_(held, now=ctx.clock, period=asked.get("breakPeriod"))
                answer = {"leaseTimeSeconds": str(seconds)}
            case _:
                raise ArmError(
                    400,
                    "InvalidHeaderValue",
                    f"The lease action '{asked.get('action')}' is not one of Acquire, Renew, Change, Release, Break.",
                )
        if held is None:
            ctx.resource.private.pop("lease", None)
        else:
            ctx.resource.private["lease"] = asdict(held)
        ctx.store.save(ctx.resource)
        return answer

    def before_delete(self, ctx: Write) -> None:
        """A lease protects the container, and so does a retention policy until it is empty."""
        held = _stored(ctx.private)
        if held is not None and held.state(ctx.clock) in ("Leased", "Breaking"):
            raise ArmError(
                412,
                "LeaseIdMissing",
                "There is currently a lease on the container and no lease ID was specified in the request.",
            )
        if ctx.private.get(HOLDS_BLOBS) and ctx.store.children(ctx.id, POLICY_TYPE):
            raise ArmError(
                409,
                "ContainerProtectedFromDeletion",
                f"The container {ctx.id.name} is protected from deletion: its ImmutabilityPolicy keeps blobs.",
            )

    def show(self, ctx: Read) -> None:
        """How the lease stands now."""
        held = _stored(ctx.resource.private)
        properties = ctx.body.setdefault("properties", {})
        state = held.state(ctx.clock) if held else "Available"
        properties["leaseState"] = state
        properties["leaseStatus"] = "Locked" if state in ("Leased", "Breaking") else "Unlocked"
        properties.pop("leaseDuration", None)
        if held is not None and state == "Leased":
            properties["leaseDuration"] = "Infinite" if held.duration == INFINITE else "Fixed"


@behaviour("Microsoft.Storage/storageAccounts/blobServices/containers/immutabilityPolicies")
class ImmutabilityPolicies(Behaviour):
    """One that was deleted is answered as one of no days (same page as above)."""

    def deleted(self, ctx: Write) -> Any:
        shown = ctx.engine.show(Resource(id=ctx.id, body=ctx.body), ctx.api_version)
        shown["properties"] |= {"immutabilityPeriodSinceCreationInDays": 0}
        return shown


def _stored(private: dict[str, Any]) -> Lease | None:
    raw = private.get("lease")
    return Lease(**raw) if raw else None
