# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What one run plans, finds and leaves behind, and the result made of it."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import PlatformError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.findings import Finding
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.plan import (
    Action,
    check_expected,
    plan_digest,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.redaction import Redactor
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.result import build_result
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.timing import Timing
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.applyset import ApplySet
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.objects import (
    Manifest,
    ObjectId,
    disclose,
    secret_values,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.plan import (
    SOURCE,
    State,
    deliveries,
    join,
    plan_claims,
    plan_deletion,
    plan_object,
    plan_release,
)

__all__ = ["Report"]

_SHORTEST_SECRET = 8

Object = Mapping[str, t.Any]


class Report:
    """Filled while a run goes on, so that also a run that fails says what it planned and did.

    Args:
        redactor: takes secrets out of what is reported.

    Attributes:
        actions: the plan, in order.
        planned: whether there is a plan.
        resources: the live objects that are shown.
        wrote: whether anything was written.
    """

    def __init__(self, redactor: Redactor) -> None:
        self.redactor = redactor
        self.actions: list[Action] = []
        self.planned = False
        self.resources: dict[ObjectId, Object] = {}
        self.wrote = False
        self._findings: list[Finding] = []
        self.timing = Timing()
        self._to_write: frozenset[str] = frozenset()

    def plan(
        self,
        states: Iterable[State],
        doomed: Iterable[Object],
        *,
        message: str = "it is a member of the set and no longer declared",
    ) -> None:
        """Plan what makes these objects as desired and removes those; C(message) says why the latter go."""
        for state in states:
            action, findings = plan_object(state, self.redactor)
            claims = plan_claims(state)
            self.actions += [claim for claim, _finding in claims] + ([action] if action else [])
            self._findings += [finding for _claim, finding in claims] + findings + deliveries(state)
        for obj in doomed:
            action, finding = plan_deletion(obj, self.redactor, message=message)
            self.actions.append(action)
            self._findings.append(finding)
        self._to_write = frozenset(action.resource for action in self.actions if action.verb != "delete")
        self.planned = True

    def plan_releases(self, taken: Iterable[Object], applyset: ApplySet) -> None:
        """Plan that these members leave the set, and stay."""
        for obj in taken:
            action, finding = plan_release(obj, applyset)
            self.actions.append(action)
            self._findings.append(finding)

    def is_planned(self, state: State) -> bool:
        """Whether the plan writes this object."""
        return str(state.manifest.id) in self._to_write

    def check_expected(self, digest: str) -> None:
        """Refuse any plan but the one with this digest; without one, none is refused.

        Raises:
            PlanMismatch: it is another plan.
        """
        check_expected(plan_digest(self.actions, stable_fingerprints=self.redactor.stable), digest)

    def stop_on(self, problems: Sequence[PlatformError]) -> None:
        """Report problems and raise them as one; nothing happens when there is none."""
        self._findings += [
            Finding(source=SOURCE, resource=p.where, type="", verdict="error", message=str(self.safe(p)))
            for p in problems
        ]
        if problems:
            raise join([self.safe(problem) for problem in problems])

    def safe(self, problem: PlatformError) -> PlatformError:
        """The same error without secrets in its message."""
        problem.what = str(self.redactor.redact(problem.what))
        return problem

    def learn_secrets(self, bodies: Iterable[Object], manifests: Iterable[Manifest]) -> None:
        """Hide the values that these bodies hold, wherever they appear from now on."""
        # What is also the name of an object is no secret worth hiding, and hiding it would garble the report.
        names = " ".join(f"{m.id} {m.type}" for m in manifests)
        for body in bodies:
            for value in secret_values(body):
                if len(value) >= _SHORTEST_SECRET and value not in names:
                    self.redactor.add(value)

    def result(self, requests: Mapping[str, t.Any]) -> dict[str, t.Any]:
        """The module's result.

        Args:
            requests: counts by verb.
        """
        return build_result(
            resources={str(i): _shown(obj, self.redactor) for i, obj in self.resources.items()},
            findings=self._findings,
            actions=self.actions,
            timing=self.timing.seconds(),
            requests=requests,
            redactor=self.redactor,
        )


def _shown(obj: Object, redactor: Redactor) -> dict[str, t.Any]:
    shown = disclose(obj, redactor)
    versions = (shown.get("spec") or {}).get("versions")
    if shown.get("kind") == "CustomResourceDefinition" and versions:
        brief = [{key: value for key, value in version.items() if key != "schema"} for version in versions]
        shown["spec"] = {**shown["spec"], "versions": brief}
    return shown
