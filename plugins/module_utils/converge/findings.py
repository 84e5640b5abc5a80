# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one shape in which a difference is reported, whatever the source."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Iterable

__all__ = ["VERDICTS", "Finding", "sort_findings"]

VERDICTS = ("equal", "drift", "missing", "unexpected", "not_verifiable", "error")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One place where live state was held against desired state.

    Attributes:
        source: C(azure), C(kubernetes), C(vault), C(preflight)...
        resource: ARM id, C(Kind/namespace/name) or another stable name.
        type: C(Microsoft.Network/virtualNetworks), C(apps/v1/Deployment)...
        path: dotted path inside the resource; empty for the resource as a whole.
        verdict: one of VERDICTS. An error is never drift, and what cannot be seen is never equal.
        action: what the plan does about it: C(create), C(update), C(delete) or empty.
        desired: the declared value, redacted, with deferred values as their markers.
        live: the value read, redacted.
        origin: who most likely made the difference; empty when the service does not tell.
        message: one sentence for a person.
    """

    source: str
    resource: str
    type: str
    path: str = ""
    verdict: str
    action: str = ""
    desired: t.Any = None
    live: t.Any = None
    origin: str = ""
    message: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"verdict {self.verdict!r} is not one of {', '.join(VERDICTS)}")

    def to_dict(self) -> dict[str, t.Any]:
        """The finding as plain data, every field present."""
        return dataclasses.asdict(self)

    @property
    def sort_key(self) -> tuple[str, str, str, str]:
        """Orders a report by source, resource and place."""
        return (self.source, self.resource.lower(), self.path, self.verdict)


def sort_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Findings in report order."""
    return sorted(findings, key=lambda finding: finding.sort_key)
