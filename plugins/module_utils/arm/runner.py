# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run: read in parallel, compare, plan, apply, report."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.arm.apply import Applier, Outcome
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.documents import Estate
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.errors import ArmError
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.plan import Plan, make_plan
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.reader import Reader, ResourceClient
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.secrets import redaction_key, secret_values
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.findings import VERDICTS, Finding
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.plan import check_expected, plan_digest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.progress import Progress
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.redaction import Redactor
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.result import build_result
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.timing import Timing

__all__ = ["Options", "Report", "run"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a user asks of one run.

    Attributes:
        documents: desired resources.
        origins: file and number of each document, for errors.
        state: C(present) or C(absent).
        check_mode: stop before the first write.
        expect_plan: digest of the only plan that may be carried out.
        allow_delete: ids, with wildcards, of stateful things that may go.
        parallel: threads.
        timeout: seconds for one operation.
        redaction_secret: C(vault_id) and C(name) of the key for fingerprints, or None.
    """

    documents: Sequence[t.Any]
    origins: Sequence[str] = ()
    state: str = "present"
    check_mode: bool = False
    expect_plan: str | None = None
    allow_delete: Sequence[str] = ()
    parallel: int = 16
    timeout: float = 3600.0
    redaction_secret: Mapping[str, str] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """How a run ended.

    Attributes:
        result: the module's result.
        error: why it failed, empty when it did not.
        warnings: what the user should know.
    """

    result: dict[str, t.Any]
    error: str = ""
    warnings: Sequence[str] = ()


def run(
    options: Options,
    client: Callable[[], ResourceClient],
    *,
    progress: Progress,
    lease: Callable[[], Callable[[], None]] = lambda: lambda: None,
) -> Report:
    """Converge a set of documents.

    Args:
        options: see Options.
        client: makes the connection; called once the documents are known to be sound.
        progress: gets a line for each state change of a long operation.
        lease: takes the environment's lease before the first write, and gives what asks before each write whether it
            is still held.

    Raises:
        PlatformError: nothing was written; the message says why.
    """
    timing = Timing()
    with timing.phase("validate"):
        estate = Estate(options.documents, options.origins)
    if not estate.documents:
        empty = build_result(
            resources={}, findings=[], actions=[], timing=timing.seconds(), requests={}, redactor=Redactor()
        )
        return Report({**empty, "summary": _summary([], 0), "failed_resources": [], "skipped_resources": []})
    with timing.phase("connect"):
        azure = client()
        redactor, warnings = _redactor(options, estate, azure)
        reader = Reader(azure, estate, threads=options.parallel, timeout=options.timeout, progress=progress)
    with timing.phase("read"):
        reader.read_all()
        if not options.check_mode:
            reader.settle()
    with timing.phase("plan"):
        plan = make_plan(estate, reader.live, state=options.state, allow_delete=options.allow_delete, redactor=redactor)
        actions = [step.action for step in plan.steps]
        check_expected(plan_digest(actions, stable_fingerprints=redactor.stable), options.expect_plan)
    outcome = Outcome()
    if plan.steps and not options.check_mode:
        with timing.phase("lease"):
            still_held = lease()
        applier = Applier(
            azure,
            reader,
            allow_delete=options.allow_delete,
            threads=options.parallel,
            timeout=options.timeout,
            progress=progress,
            redactor=redactor,
            still_held=still_held,
        )
        with timing.phase("apply"):
            outcome = applier.apply(plan.steps)
    findings = [*plan.findings, *outcome.findings]
    result = build_result(
        resources={d.id.text: body for d in estate if (body := reader.live.get(d.key)) is not None},
        findings=findings,
        actions=actions,
        timing=timing.seconds(),
        requests=azure.requests(),
        redactor=redactor,
    )
    result.update(
        summary=_summary(findings, plan.equal),
        failed_resources=redactor.redact(outcome.failed),
        skipped_resources=redactor.redact(outcome.skipped),
    )
    return Report(result, redactor.redact(_error(plan, outcome)), redactor.redact([*warnings, *outcome.warnings]))


def _redactor(options: Options, estate: Estate, azure: ResourceClient) -> tuple[Redactor, list[str]]:
    secrets = [value for document in estate for value in secret_values(document.body, document.facts)]
    if not secrets:
        # Nothing to take a fingerprint of, so any key gives the same, stable plan.
        return Redactor(b"no secret in these documents"), []
    key, warning = None, ""
    if options.redaction_secret:
        try:
            key = redaction_key(azure, **options.redaction_secret)
        except ArmError as exc:
            warning = f"Fingerprints of secrets are of this run only. {exc}"
    redactor = Redactor(key)
    for value in secrets:
        redactor.add(value)
    return redactor, [warning] if warning else []


def _summary(findings: Sequence[Finding], equal: int) -> dict[str, int]:
    counts = dict.fromkeys(VERDICTS, 0)
    for finding in findings:
        counts[finding.verdict] += 1
    return {**counts, "equal": equal}


def _error(plan: Plan, outcome: Outcome) -> str:
    if not outcome.failed:
        return ""
    first = outcome.failed[0]["message"]
    more = len(outcome.failed) - 1
    skipped = f" {len(outcome.skipped)} that depend on it were left out." if outcome.skipped else ""
    others = f" {more} more failed, see the result." if more else ""
    done = len(plan.steps) - len(outcome.failed) - len(outcome.skipped)
    return f"{first}{others}{skipped} {done} of {len(plan.steps)} changes were made; run again to continue."
