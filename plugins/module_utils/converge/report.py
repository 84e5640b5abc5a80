# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What one run plans, finds and leaves behind, and the result made of it."""

from __future__ import annotations

import contextlib
import dataclasses
import typing as t
from collections.abc import Callable, Iterator, Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import OutcomeError, PlatformError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.findings import Finding
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.plan import (
    Action,
    check_expected,
    plan_digest,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.progress import Progress
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.redaction import Redactor
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.result import build_result
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.timing import Timing

__all__ = ["Report"]


@dataclasses.dataclass(slots=True, kw_only=True)
class Report:
    """Filled while a run goes on, so that also a run that fails says what it found and did.

    Attributes:
        redactor: takes secrets out of what is reported.
        requests: counts of the requests made.
        progress: tells the user what is going on.
        timing: how long the phases take.
        resources: live state by resource.
        findings: every place that is not equal.
        actions: the plan, in order.
    """

    redactor: Redactor = dataclasses.field(default_factory=Redactor)
    requests: Callable[[], Mapping[str, t.Any]] = dict
    progress: Progress = dataclasses.field(default_factory=Progress)
    timing: Timing = dataclasses.field(default_factory=Timing)
    resources: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    findings: list[Finding] = dataclasses.field(default_factory=list)
    actions: list[Action] = dataclasses.field(default_factory=list)

    def find(self, source: str, resource: str, verdict: str, message: str) -> None:
        """Add a finding about a resource as a whole."""
        self.findings.append(Finding(source=source, resource=resource, type="", verdict=verdict, message=message))

    def check_expected(self, digest: str | None) -> None:
        """Refuse any plan but the one with this digest; without one, none is refused.

        Raises:
            PlanMismatch: it is another plan.
        """
        check_expected(plan_digest(self.actions, stable_fingerprints=self.redactor.stable), digest)

    @contextlib.contextmanager
    def reporting(self, outcome: Callable[[PlatformError], Mapping[str, t.Any]] | None = None) -> Iterator[None]:
        """Give an error that leaves the block the result so far, and take secrets out of it.

        Args:
            outcome: gives the result for an error, where it is another than that of C(result).
        """
        try:
            yield
        except PlatformError as exc:
            exc.what = str(self.redactor.redact(exc.what))
            raise OutcomeError(exc, outcome(exc) if outcome else self.result()) from exc

    def result(self) -> dict[str, t.Any]:
        """The module's result."""
        return build_result(
            resources=self.resources,
            findings=self.findings,
            actions=self.actions,
            timing=self.timing.seconds(),
            requests=self.requests(),
            redactor=self.redactor,
        )
