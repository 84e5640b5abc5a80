# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one result shape, the same in check and real mode, for one resource or a thousand."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.findings import Finding, sort_findings
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.plan import Action, diff_of, plan_digest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.redaction import Redactor
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.references import present

__all__ = ["build_result"]


def build_result(
    *,
    resources: Mapping[str, t.Any],
    findings: Iterable[Finding],
    actions: Iterable[Action],
    timing: Mapping[str, float],
    requests: Mapping[str, t.Any],
    redactor: Redactor,
) -> dict[str, t.Any]:
    """Put a run's outcome into the shape every caller can rely on.

    Args:
        resources: live state by resource after the run (before it, in check mode).
        findings: every place that is not equal.
        actions: the plan in order; C(changed) is true exactly when it is not empty.
        timing: seconds by phase.
        requests: counts by verb, with C(retries) and C(throttled).
        redactor: takes the run's secrets out of everything returned.
    """
    plan = list(actions)
    result = {
        "changed": bool(plan),
        "resources": dict(resources),
        "findings": [present(finding.to_dict()) for finding in sort_findings(findings)],
        "plan": [action.to_dict() for action in plan],
        "diff": diff_of(plan),
        "timing": {phase: round(seconds, 3) for phase, seconds in timing.items()},
        "requests": dict(requests),
    }
    return {
        **redactor.redact(result),
        "plan_digest": plan_digest(plan, stable_fingerprints=redactor.stable),
    }
