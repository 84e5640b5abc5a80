# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From documents and live state to findings and ordered steps, with every guard before the first write. Pure."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
import typing as t
from collections.abc import Callable, Collection, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.arm import ids
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.catalogue import facts_of
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.compare import (
    Difference,
    compare,
    merge,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.documents import (
    Document,
    Estate,
    serial_groups,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import GuardError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.findings import Finding
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.plan import Action, Change
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.redaction import Redactor
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.references import (
    Reference,
    get_path,
    present,
)

__all__ = [
    "Plan",
    "Step",
    "Verdict",
    "child_may_go",
    "differences_of",
    "findings_of",
    "lookup_in",
    "make_plan",
]

Live = Mapping[str, Mapping[str, t.Any] | None]
"""Live body by key of the resource; None for what does not exist."""

_FAILED: t.Final = ("failed", "canceled")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One action with what is needed to carry it out.

    Attributes:
        action: as reports show it.
        key: of the resource.
        id: of the resource.
        api_version: to use.
        document: what is desired; None for a deletion of something nobody declared.
        waits_for: keys of steps that must have succeeded.
        groups: in each of these only one write may be under way.
        replace: delete first, since an immutable property changes.
    """

    action: Action
    key: str
    id: str
    api_version: str
    document: Document | None = None
    waits_for: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    replace: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What a run found and is going to do.

    Attributes:
        findings: every place that is not equal.
        steps: in order.
        equal: number of resources without any difference.
    """

    findings: Sequence[Finding]
    steps: Sequence[Step]
    equal: int


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """One document held against live state."""

    document: Document
    exists: bool
    differences: Sequence[Difference]

    @property
    def repairs(self) -> list[Difference]:
        """What a write of the resource itself sets right, or would have to."""
        facts = self.document.facts
        return [
            d
            for d in self.differences
            if d.verdict in ("drift", "unexpected")
            and not d.kept
            and (not facts.made_once or d.pattern in facts.immutable)
        ]


def child_may_go(document: Document, child: str, allow_delete: Sequence[str]) -> bool:
    """Whether an embedded child that nobody declared, C(segment/name), may be removed."""
    return _allowed(f"{document.id.text}/{child}", allow_delete)


def lookup_in(live: Live) -> Callable[[Reference], t.Any]:
    """Values of references as far as the resources exist."""

    def lookup(reference: Reference) -> t.Any:
        body = live.get(ids.key_of(reference.target))
        return None if body is None else get_path(body, reference.path)

    return lookup


def differences_of(document: Document, estate: Estate, live: Live) -> Verdict:
    """Hold one document against live state."""
    body = live.get(document.key)
    if body is None:
        return Verdict(document, False, ())
    desired = document.resolved(lookup_in(live))
    found = compare(desired, body, document.facts, declared=estate.declared_children(document))
    state = str(get_path(body, "properties.provisioningState", "") or "")
    if state.lower() in _FAILED:
        found.append(
            Difference(
                path="properties.provisioningState",
                pattern="properties.provisioningstate",
                verdict="drift",
                desired="Succeeded",
                live=state,
                message="the last operation on it did not succeed",
            )
        )
    return Verdict(document, True, tuple(found))


def make_plan(
    estate: Estate,
    live: Live,
    *,
    state: str,
    allow_delete: Sequence[str],
    redactor: Redactor,
) -> Plan:
    """Decide what to do.

    Args:
        estate: the documents.
        live: what was read, complete for the estate and what it refers to.
        state: C(present) or C(absent).
        allow_delete: ids, with wildcards, of stateful things that may go.
        redactor: takes secrets out of everything that is shown.

    Raises:
        GuardError: the plan would delete or replace something that holds state, or change what cannot change,
            or skip a version.
    """
    if state == "absent":
        return _absent(estate, live, allow_delete, redactor)
    verdicts = [differences_of(document, estate, live) for document in estate]
    _guard_immutable(verdicts)
    _guard_versions(verdicts)
    findings: list[Finding] = []
    steps: list[Step] = []
    for verdict in verdicts:
        findings.extend(findings_of(verdict, allow_delete, redactor))
        step = _step(verdict, redactor)
        steps.extend([step] if step else [])
        steps.extend(_removals(verdict, allow_delete, redactor))
    equal = sum(verdict.exists and not verdict.differences for verdict in verdicts)
    return Plan(findings, _linked(steps, estate.depends_on), equal)


def findings_of(verdict: Verdict, allow_delete: Sequence[str], redactor: Redactor) -> list[Finding]:
    """A document's verdict as findings."""
    document = verdict.document
    common: dict[str, t.Any] = {"source": "azure", "resource": document.id.text, "type": document.type}
    if not verdict.exists:
        return [Finding(**common, verdict="missing", action="create", desired=redactor.redact(document.shown()))]
    findings = []
    for difference in verdict.differences:
        action, message = "update", difference.message
        if difference.verdict == "not_verifiable":
            action = ""
        elif document.facts.made_once:
            action, message = "", f"Azure makes it once and changes it by other means: {document.facts.made_once}"
        elif difference.kept:
            allowed = _allowed(f"{document.id.text}/{difference.child}", allow_delete)
            action = "delete" if allowed else ""
            message = "" if allowed else "nobody declared it; it is kept until allow_delete names it"
        elif difference.verdict == "unexpected" and difference.desired is None:
            message = message or "nobody declared it"
        findings.append(
            Finding(
                **common,
                path=difference.path,
                verdict=difference.verdict,
                action=action,
                desired=redactor.redact(difference.desired),
                live=redactor.redact(difference.live),
                origin=difference.origin,
                message=message,
            )
        )
    return findings


def _step(verdict: Verdict, redactor: Redactor) -> Step | None:
    document = verdict.document
    if not verdict.exists:
        action = Action(
            verb="create",
            resource=document.id.text,
            type=document.type,
            document=redactor.redact(document.shown()),
        )
    elif verdict.repairs:
        changes = [Change(d.path, redactor.redact(d.desired), redactor.redact(d.live)) for d in verdict.repairs]
        action = Action(verb="update", resource=document.id.text, type=document.type, changes=changes)
    else:
        return None
    return Step(
        action=action,
        key=document.key,
        id=document.id.text,
        api_version=document.api_version,
        document=document,
        groups=serial_groups(document),
        replace=verdict.exists and any(map(document.facts.immutable.__contains__, _patterns(verdict.repairs))),
    )


def _removals(verdict: Verdict, allow_delete: Sequence[str], redactor: Redactor) -> list[Step]:
    """Deletions of embedded children that nobody declared and that may go."""
    steps = []
    for difference in verdict.differences:
        child = f"{verdict.document.id.text}/{difference.child}"
        if not difference.kept or not _allowed(child, allow_delete):
            continue
        resource = ids.parse(child)
        facts = facts_of(resource.type)
        action = Action(
            verb="delete", resource=child, type=facts.type or resource.type, live=redactor.redact(difference.live)
        )
        steps.append(
            Step(
                action=action,
                key=resource.key,
                id=child,
                api_version=facts.api_version or verdict.document.api_version,
                waits_for=frozenset({verdict.document.key}),
                groups=serial_groups(verdict.document),
            )
        )
    return steps


def _absent(estate: Estate, live: Live, allow_delete: Sequence[str], redactor: Redactor) -> Plan:
    present_documents = [d for d in reversed(estate.documents) if live.get(d.key) is not None and d.facts.deletable]
    refused = [d for d in present_documents if d.facts.stateful and not _allowed(d.id.text, allow_delete)]
    if refused:
        raise GuardError(
            f"{len(refused)} of the resources to delete hold data or an identity: {_few([d.id.text for d in refused])}",
            remedy="Name them in allow_delete if they may really go",
        )
    needed_by: dict[str, set[str]] = {}
    for key, dependencies in estate.depends_on.items():
        for dependency in dependencies:
            needed_by.setdefault(dependency, set()).add(key)
    steps = [
        Step(
            action=Action(
                verb="delete",
                resource=d.id.text,
                type=d.type,
                live=redactor.redact(merge({}, live[d.key] or {}, d.facts)),
            ),
            key=d.key,
            id=d.id.text,
            api_version=d.api_version,
            document=d,
            groups=serial_groups(d),
        )
        for d in present_documents
    ]
    findings = [
        Finding(
            source="azure",
            resource=d.id.text,
            type=d.type,
            verdict="unexpected",
            action="delete",
            message="it is to go",
        )
        for d in present_documents
    ]
    return Plan(findings, _linked(steps, needed_by), len(estate) - len(steps))


def _linked(steps: list[Step], edges: Mapping[str, Collection[str]]) -> list[Step]:
    """Steps that wait for each other along the edges, also across resources that need nothing."""
    planned = {step.key for step in steps}

    def reached(key: str) -> set[str]:
        found: set[str] = set()
        seen, todo = {key}, list(edges.get(key, ()))
        while todo:
            other = todo.pop()
            if other in seen:
                continue
            seen.add(other)
            if other in planned:
                found.add(other)
            else:
                todo.extend(edges.get(other, ()))
        return found

    return [
        dataclasses.replace(step, waits_for=((step.waits_for & planned) | reached(step.key)) - {step.key})
        for step in steps
    ]


def _guard_immutable(verdicts: Sequence[Verdict]) -> None:
    refused = [
        f"{difference.path} of {verdict.document.id.text} is {_short(difference.live)},"
        f" desired {_short(difference.desired)}"
        for verdict in verdicts
        for difference in verdict.repairs
        if difference.pattern in verdict.document.facts.immutable and not verdict.document.facts.replaceable
    ]
    if refused:
        raise GuardError(
            f"what cannot change once it exists would have to change: {_few(refused, 5)}",
            remedy="Set the variable back to the live value, or give the resource another name",
        )


def _guard_versions(verdicts: Sequence[Verdict]) -> None:
    for verdict in verdicts:
        for difference in verdict.repairs:
            if difference.pattern not in verdict.document.facts.stepwise:
                continue
            live, desired = _minor(difference.live), _minor(difference.desired)
            if live and desired and desired not in (live, (live[0], live[1] + 1)):
                following = f"{live[0]}.{live[1] + 1}"
                raise GuardError(
                    f"{difference.path} of {verdict.document.id.text} is {_short(difference.live)},"
                    f" desired {_short(difference.desired)}: versions go up by one minor at a time, and never back",
                    remedy=f"Set the variable to {following} and run, then to the next one"
                    if desired > live
                    else f"Set the variable to {live[0]}.{live[1]} or {following}",
                )


def _minor(version: t.Any) -> tuple[int, int] | None:
    match = re.match(r"(\d+)\.(\d+)(?:\.|$)", str(version))
    return (int(match[1]), int(match[2])) if match else None


def _patterns(differences: Sequence[Difference]) -> list[str]:
    return [difference.pattern for difference in differences]


def _allowed(text: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(text.lower(), pattern.rstrip("/").lower()) for pattern in patterns)


def _short(value: t.Any) -> str:
    text = str(present(value))
    return text if len(text) <= 200 else text[:200] + "..."  # noqa: PLR2004


def _few(items: Sequence[str], most: int = 10) -> str:
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return "; ".join(items[:most]) + more
