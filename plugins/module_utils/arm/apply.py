# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carry out a plan: as much at once as the graph and the services allow."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import itertools
import time
import typing as t
import uuid
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.arm import ids
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.compare import merge
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.documents import Document
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.errors import ArmError
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.plan import (
    Step,
    Verdict,
    child_may_go,
    differences_of,
    findings_of,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.reader import Reader, ResourceClient
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import PlatformError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.findings import Finding
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.progress import HEARTBEAT, Progress
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.redaction import Redactor
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.references import (
    find_references,
    get_path,
)

__all__ = ["Applier", "Outcome"]

# Refusals that pass by themselves. Sources: "Troubleshoot common Azure deployment errors", the Network and AKS
# troubleshooting pages of learn.microsoft.com; PrincipalNotFound: replication of a new identity inside Entra ID.
_PASSING: t.Final = frozenset(
    (
        "anotheroperationinprogress",
        "concurrentfederatedidentitycredentialswritesforsinglemanagedidentity",
        "conflictingconcurrentwritenotallowed",
        "etagmismatch",
        "operationpreempted",
        "principalnotfound",
        "referencedresourcenotprovisioned",
        "retryableerror",
        "retryableerrorduetoanotheroperation",
        "storageaccountoperationinprogress",
        "toomanyrequests",
    )
)
# A role that was assigned a moment ago is not known to every service yet: "up to 10 minutes" (Troubleshoot Azure RBAC).
# One that is missing for good must not be waited for until the run times out.
# The others: "Troubleshoot Azure Kubernetes Service backup and restore".
_SPREADING: t.Final = frozenset(
    (
        "keyvaultaccessforbidden",
        "kubernetesbackuplistextensionserror",
        "usererrorbackupstoragelocationnotready",
        "usererrorextensionmsimissingpermissionsonbackupstoragelocation",
    )
)
_SPREADING_ATTEMPTS: t.Final = 33
_BUSY_WORDS: t.Final = ("in progress", "another operation", "is being", "currently being", "try again")
_CONFLICT: t.Final = 409
_PRECONDITION: t.Final = 412
_THROTTLED: t.Final = 429
_ASSIGNMENT_EXISTS: t.Final = "roleassignmentexists"
_LOCKED: t.Final = "scopelocked"
# "Azure Key Vault recovery management": a deleted vault keeps its name; a PUT with createMode recover restores it.
_SOFT_DELETED: t.Final = {"microsoft.keyvault/vaults": {"createMode": "recover"}}
_WAITS: t.Final = (1.0, 2.0, 5.0, 10.0, 20.0)
# A read straight after a write may still be the old one.
_REREADS: t.Final = (0.0, 0.5, 1.5)


@dataclasses.dataclass(slots=True)
class Outcome:
    """What became of the steps.

    Attributes:
        failed: C(resource), C(action), C(message) of each that failed.
        skipped: C(resource), C(action), C(because) of each that was left out.
        findings: what the run found beyond the plan: errors, and what a service did not take.
        warnings: the same, as sentences.
    """

    failed: list[dict[str, str]] = dataclasses.field(default_factory=list)
    skipped: list[dict[str, str]] = dataclasses.field(default_factory=list)
    findings: list[Finding] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)


class Applier:
    """Carries out steps.

    Args:
        client: to write with.
        reader: holds live state, and is kept up to date.
        allow_delete: ids, with wildcards, of stateful things that may go.
        threads: writes at once.
        timeout: seconds for one step.
        progress: told about each state change, and every 30 s what is waited for.
        redactor: takes secrets out of messages.
        still_held: raises when the environment's lease was lost.
    """

    def __init__(
        self,
        client: ResourceClient,
        reader: Reader,
        *,
        allow_delete: Sequence[str],
        threads: int,
        timeout: float,
        progress: Progress,
        redactor: Redactor,
        still_held: Callable[[], None],
    ) -> None:
        self._client, self._reader = client, reader
        self._allow_delete, self._threads, self._timeout = allow_delete, threads, timeout
        self._progress, self._redactor, self._still_held = progress, redactor, still_held
        self._states: dict[str, tuple[str, float]] = {}

    def apply(self, steps: Sequence[Step]) -> Outcome:
        """Carry out all steps that can be.

        A step that fails takes those that depend on it out; the others are finished.
        """
        outcome = Outcome()
        waiting = {step.key: step for step in steps}
        busy: set[str] = set()
        done: set[str] = set()
        running: dict[concurrent.futures.Future[list[Finding]], Step] = {}
        beat = time.monotonic() + HEARTBEAT
        with concurrent.futures.ThreadPoolExecutor(self._threads, "arm-write") as pool:
            while waiting or running:
                for step in [s for s in waiting.values() if s.waits_for <= done and not s.groups & busy]:
                    # Two that are ready may share a group: only the first of them starts.
                    if step.groups & busy or len(running) >= self._threads:
                        continue
                    del waiting[step.key]
                    busy |= step.groups
                    running[pool.submit(self._carry_out, step)] = step
                if not running:
                    break
                ended, _open = concurrent.futures.wait(
                    running, timeout=max(0.1, beat - time.monotonic()), return_when=concurrent.futures.FIRST_COMPLETED
                )
                for future in ended:
                    step = running.pop(future)
                    busy -= step.groups
                    if self._finish(future, step, outcome):
                        done.add(step.key)
                    else:
                        _leave_out(step, waiting, outcome)
                if time.monotonic() >= beat:
                    self._say_what_runs(running.values(), len(waiting))
                    beat = time.monotonic() + HEARTBEAT
        return outcome

    def _finish(self, future: concurrent.futures.Future[list[Finding]], step: Step, outcome: Outcome) -> bool:
        self._states.pop(step.key, None)
        try:
            left = future.result()
        except PlatformError as exc:
            message = str(exc)
            outcome.failed.append({"resource": step.id, "action": step.action.verb, "message": message})
            outcome.findings.append(
                Finding(
                    source="azure",
                    resource=step.id,
                    type=step.action.type,
                    verdict="error",
                    message=self._redactor.redact(message),
                )
            )
            self._progress.say(self._redactor.redact(f"{step.action.verb} failed: {message}"))
            return False
        outcome.findings.extend(left)
        outcome.warnings.extend(
            f"{finding.resource}: the service did not take {finding.path or 'the change'}" for finding in left
        )
        return True

    def _carry_out(self, step: Step) -> list[Finding]:
        started = time.monotonic()
        deadline = started + self._timeout
        self._note(step, "starts")
        self._still_held()
        if step.action.verb == "delete":
            self._delete(step, deadline)
            left: list[Finding] = []
        else:
            assert step.document is not None  # noqa: S101  (only deletions have none)
            if step.replace:
                self._make_way(step, step.document, deadline)
            self._write(step, step.document, deadline)
            self._settle(step, step.document, deadline)
            left = self._confirm(step.document)
        verb = {"create": "created", "update": "updated", "delete": "deleted"}[step.action.verb]
        self._progress.say(f"{verb} {step.action.type} {_name(step.id)} in {time.monotonic() - started:.1f} s")
        return left

    def _write(self, step: Step, document: Document, deadline: float) -> None:
        if document.facts.write == "register":
            self._register(step, document, deadline)
            return
        path = self._path(document)
        attempt = 0
        while True:
            body = self._body(document, exists=step.action.verb == "update" and not step.replace)
            try:
                self._client.put(
                    path,
                    document.api_version,
                    body,
                    verb=document.facts.write,
                    doing=step.action.verb,
                    on_state=lambda state: self._note(step, state),
                    timeout=max(1.0, deadline - time.monotonic()),
                )
                return
            except ArmError as exc:
                if exc.code.lower() == _ASSIGNMENT_EXISTS and self._adopt(document):
                    return
                if "deleted state" in exc.text and attempt == 0 and document.id.type.lower() in _SOFT_DELETED:
                    self._recover(document, body)
                    attempt += 1
                    continue
                self._wait_or_raise(exc, step, deadline, attempt)
                attempt += 1

    def _recover(self, document: Document, body: Mapping[str, t.Any]) -> None:
        """Bring a soft-deleted resource back with what it holds; the next write gives it its desired state."""
        self._progress.say(f"recovering the deleted {document.id.type} {document.id.short}")
        mode = _SOFT_DELETED[document.id.type.lower()]
        recovery = {**body, "properties": {**body.get("properties", {}), **mode}}
        self._client.put(document.id.text, document.api_version, recovery, doing="recover")

    def _make_way(self, step: Step, document: Document, deadline: float) -> None:
        """Delete what is to be replaced. A role assignment that a lock keeps is left: the new one gets another name.

        That of an identity which was made anew gives nobody anything, and its lock protects what cannot be made anew.
        """
        try:
            self._delete(step, deadline)
        except ArmError as exc:
            if exc.code.lower() != _LOCKED or not document.facts.lookup:
                raise
            principal = document.resolved(self._reader.value_of)["properties"]["principalId"]
            name = uuid.uuid5(uuid.NAMESPACE_URL, f"{document.id.text}|{principal}".lower())
            beside = f"{document.id.text.rpartition('/')[0]}/{name}"
            self._progress.say(f"a lock keeps {_name(step.id)}: the assignment of {principal} is made beside it")
            self._reader.remember(document.key, {"id": beside})

    def _delete(self, step: Step, deadline: float) -> None:
        attempt = 0
        path = self._path(step.document) if step.document is not None else step.id
        while True:
            try:
                self._client.delete(
                    path,
                    step.api_version,
                    on_state=lambda state: self._note(step, state),
                    timeout=max(1.0, deadline - time.monotonic()),
                )
                break
            except ArmError as exc:
                if step.replace and exc.code.lower() == _LOCKED:
                    raise  # nobody is about to take it away
                self._wait_or_raise(exc, step, deadline, attempt)
                attempt += 1
        self._reader.forget(step.key)

    def _register(self, step: Step, document: Document, deadline: float) -> None:
        try:
            self._client.post(f"{document.id.text}/register", document.api_version, doing="register")
        except ArmError as exc:
            exc.where = document.id.text
            raise
        attempt = 0
        while True:
            body = self._reader.refresh(document)
            state = str((body or {}).get("registrationState", "not registered"))
            self._note(step, state)
            if state.lower() == "registered":
                return
            if time.monotonic() > deadline:
                raise ArmError(f"cannot register: still {state}", where=document.id.text, remedy="Run again later")
            time.sleep(_WAITS[min(attempt, len(_WAITS) - 1)])
            attempt += 1

    def _body(self, document: Document, *, exists: bool) -> dict[str, t.Any]:
        desired = document.resolved(self._reader.value_of)
        unknown = find_references(desired)
        if unknown:
            raise ArmError(
                f"the value of {unknown[0].path} is not known: {unknown[0].target} does not have it",
                where=document.id.text,
                remedy="Check the path of the reference",
            )
        # What is there is read again just before, so that nothing somebody wrote in between is undone.
        current = self._reader.refresh(document) if exists and document.facts.write != "PATCH" else None
        return merge(
            desired,
            current or {},
            document.facts,
            declared=self._reader.estate.declared_children(document),
            removable=lambda child: child_may_go(document, child, self._allow_delete),
        )

    def _settle(self, step: Step, document: Document, deadline: float) -> None:
        """Wait for what the service still does when its operation has ended.

        Raises:
            ArmError: it came to another end.
        """
        settling = document.facts.settles
        if settling is None:
            return
        for attempt in itertools.count():
            body = self._reader.refresh(document) or {}
            state = str(get_path(body, settling.path))
            if state not in settling.through or time.monotonic() > deadline:
                break
            self._note(step, state)
            time.sleep(_WAITS[min(attempt, len(_WAITS) - 1)])
        if state != settling.end:
            why = get_path(body, settling.why, "")
            raise ArmError(
                f"{settling.path} is {state} instead of {settling.end}{f': {why}' if why else ''}",
                where=document.id.text,
                remedy="Put that right, and run again",
            )

    def _confirm(self, document: Document) -> list[Finding]:
        """Read again; what is still different the service did not take."""
        verdict = Verdict(document, False, ())
        for pause in _REREADS:
            time.sleep(pause)
            self._reader.refresh(document)
            verdict = differences_of(document, self._reader.estate, self._reader.live)
            if verdict.exists and not verdict.repairs:
                return []
        if not verdict.exists:
            raise ArmError("it is not there after Azure said it was made", where=document.id.text, remedy="Run again")
        left = dataclasses.replace(verdict, differences=tuple(verdict.repairs))
        return [
            dataclasses.replace(finding, action="", message="the service did not take it")
            for finding in findings_of(left, self._allow_delete, self._redactor)
        ]

    def _adopt(self, document: Document) -> bool:
        found = self._reader.find_role_assignment(document)
        self._reader.remember(document.key, found)
        return found is not None

    def _path(self, document: Document) -> str:
        """Where the resource is; a role assignment may have another name than the document's."""
        live = self._reader.live.get(document.key)
        return str(live["id"]) if document.facts.lookup and live and live.get("id") else document.id.text

    def _wait_or_raise(self, exc: ArmError, step: Step, deadline: float, attempt: int) -> None:
        pause = exc.wait or _WAITS[min(attempt, len(_WAITS) - 1)]
        if not _passes(exc, attempt) or time.monotonic() + pause > deadline:
            raise exc
        self._progress.say(
            f"{step.action.type} {_name(step.id)}: {exc.code or exc.status}, trying again in {pause:.0f} s"
        )
        time.sleep(pause)

    def _note(self, step: Step, state: str) -> None:
        before = self._states.get(step.key)
        if before is not None and before[0] == state:
            return
        self._states[step.key] = (state, before[1] if before else time.monotonic())
        if state != "starts":
            self._progress.say(f"{step.action.verb} {step.action.type} {_name(step.id)}: {state}")

    def _say_what_runs(self, steps: t.Iterable[Step], waiting: int) -> None:
        now = time.monotonic()
        parts = []
        for step in steps:
            state, since = self._states.get(step.key, ("", now))
            parts.append(f"{_name(step.id)} ({step.action.verb}, {state}, {now - since:.0f} s)")
        self._progress.say(f"waiting for {', '.join(parts)}" + (f"; {waiting} to follow" if waiting else ""))


def _leave_out(failed: Step, waiting: dict[str, Step], outcome: Outcome) -> None:
    """Take out what depends on a failed step, and what depends on that."""
    gone = {failed.key: failed.id}
    while True:
        hit = next((step for step in waiting.values() if step.waits_for & gone.keys()), None)
        if hit is None:
            return
        del waiting[hit.key]
        because = gone[next(iter(hit.waits_for & gone.keys()))]
        gone[hit.key] = hit.id
        outcome.skipped.append({"resource": hit.id, "action": hit.action.verb, "because": because})


def _passes(exc: ArmError, attempt: int) -> bool:
    if exc.code.lower() in _SPREADING:
        return attempt < _SPREADING_ATTEMPTS
    if exc.code.lower() in _PASSING or exc.status in (_THROTTLED, _PRECONDITION):
        return True
    return exc.status in (0, _CONFLICT) and any(word in exc.text.lower() for word in _BUSY_WORDS)


def _name(text: str) -> str:
    return ids.parse(text).short
