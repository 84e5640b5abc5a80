"""The lease of a blob container: one holder at a time, for 15 to 60 seconds or without end.

States and transitions: https://learn.microsoft.com/rest/api/storageservices/lease-container#lease-states
The ARM action: https://learn.microsoft.com/rest/api/storagerp/blob-containers/lease
"""

from __future__ import annotations

import re
import uuid
from dataclasses import asdict, dataclass, replace
from typing import Any

from tests.lab.azure.behaviour import Action, ArmError, Behaviour, Read, Write, action, behaviour

_GUID = re.compile(r"[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
INFINITE = -1
SHORTEST, LONGEST = 15, 60


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A lease as stored, times in seconds since the epoch: when it `ends` (None: never), when a break takes effect."""

    id: str
    duration: int
    ends: float | None
    broken: float | None = None

    def state(self, now: float) -> str:
        """Leased, Expired, Breaking or Broken."""
        if self.broken is not None:
            return "Broken" if now >= self.broken else "Breaking"
        return "Expired" if self.ends is not None and now >= self.ends else "Leased"


def acquire(lease: Lease | None, *, now: float, duration: int, proposed: str | None) -> Lease:
    """Take the lease; the holder may take it again."""
    if duration != INFINITE and not SHORTEST <= duration <= LONGEST:
        raise ArmError(
            400,
            "InvalidHeaderValue",
            f"The lease duration {duration} is not between {SHORTEST} and {LONGEST} seconds or {INFINITE}.",
        )
    if proposed is not None and not _GUID.fullmatch(proposed):
        raise ArmError(400, "InvalidHeaderValue", "The proposed lease id is not a GUID.")
    state = lease.state(now) if lease else "Available"
    same = lease is not None and proposed is not None and lease.id.lower() == proposed.lower()
    if state == "Leased" and not same:
        raise ArmError(409, "LeaseAlreadyPresent", "There is already a lease present.")
    if state == "Breaking":
        code = "LeaseIsBreakingAndCannotBeAcquired" if same else "LeaseAlreadyPresent"
        raise ArmError(409, code, "The lease is being broken and cannot be acquired until it is broken.")
    return Lease(id=proposed or str(uuid.uuid4()), duration=duration, ends=_end(now, duration))


def renew(lease: Lease | None, *, now: float, lease_id: str) -> Lease:
    """Start the lease's time again; an expired one as well while nobody else took it."""
    held = _matching(lease, lease_id)
    if held.broken is not None:
        raise ArmError(
            409,
            "LeaseIsBrokenAndCannotBeRenewed",
            "The lease ID matched, but the lease has been broken explicitly and cannot be renewed.",
        )
    return replace(held, ends=_end(now, held.duration))


def change(lease: Lease | None, *, now: float, lease_id: str, proposed: str | None) -> Lease:
    """Give a running lease another id."""
    if proposed is None or not _GUID.fullmatch(proposed):
        raise ArmError(400, "InvalidHeaderValue", "A change needs the proposed lease id, a GUID.")
    if lease is not None and lease.id.lower() == proposed.lower():
        return lease
    held = _matching(lease, lease_id)
    state = held.state(now)
    if state == "Breaking":
        raise ArmError(
            409,
            "LeaseIsBreakingAndCannotBeChanged",
            "The lease ID matched, but the lease is currently in breaking state and cannot be changed.",
        )
    if state != "Leased":
        raise ArmError(409, "LeaseNotPresentWithLeaseOperation", "There is currently no lease on the container.")
    return replace(held, id=proposed)


def release(lease: Lease | None, *, lease_id: str) -> None:
    """Give it up."""
    _matching(lease, lease_id)


def break_(lease: Lease | None, *, now: float, period: int | None) -> tuple[Lease, int]:
    """End it without its id: at once when it is endless, else after the shorter of period and what is left."""
    if lease is None:
        raise ArmError(409, "LeaseNotPresentWithLeaseOperation", "There is currently no lease on the container.")
    if period is not None and not 0 <= period <= LONGEST:
        raise ArmError(400, "InvalidHeaderValue", f"The break period {period} is not between 0 and {LONGEST} seconds.")
    left = 0.0 if lease.ends is None else max(0.0, lease.ends - now)
    if lease.broken is not None:
        left = max(0.0, lease.broken - now)
    wait = (
        left
        if period is None
        else (float(period) if lease.ends is None and lease.broken is None else min(float(period), left))
    )
    return replace(lease, broken=now + wait), round(wait)


def _matching(lease: Lease | None, lease_id: str) -> Lease:
    if lease is None or lease.id.lower() != lease_id.lower():
        raise ArmError(
            409,
            "LeaseIdMismatchWithLeaseOperation",
            "The lease ID specified did not match the lease ID for the container.",
        )
    return lease


def _end(now: float, duration: int) -> float | None:
    return None if duration == INFINITE else now + duration


@behaviour("Microsoft.Storage/storageAccounts/blobServices/containers")
class Containers(Behaviour):
    """The lease is kept beside the container; a leased container cannot be deleted."""

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
        """A lease protects the container."""
        held = _stored(ctx.private)
        if held is not None and held.state(ctx.clock) in ("Leased", "Breaking"):
            raise ArmError(
                412,
                "LeaseIdMissing",
                "There is currently a lease on the container and no lease ID was specified in the request.",
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


def _stored(private: dict[str, Any]) -> Lease | None:
    raw = private.get("lease")
    return Lease(**raw) if raw else None
