"""The lease of a blob container: one holder at a time, for 15 to 60 seconds or without end.

States and transitions: https://learn.microsoft.com/rest/api/storageservices/lease-container#lease-states
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, replace

from tests.lab.azure.behaviour import ArmError

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
