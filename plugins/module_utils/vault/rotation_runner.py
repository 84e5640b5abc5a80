# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One step of the rotation of a vault's secrets: read, choose, write, report. Check mode leaves out the writes."""

from __future__ import annotations

import dataclasses
import datetime as dt
import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import GuardError, InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.findings import Finding
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.plan import Action, Change
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.report import Report
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.certificates import (
    bundle,
    read_certificate,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.maker import Maker
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.plan import SOURCE, TYPE, resource_id
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.rotation import (
    CLOSING,
    OPEN,
    TRUSTED,
    Current,
    Subject,
    before_of,
    choose,
    closed,
    going_back,
    leaves_of,
    moved,
    opened,
    phase_of,
    subjects_of,
)

if t.TYPE_CHECKING:
    from ansible_collections.audioprothese.platform.plugins.module_utils.vault.certificates import CertificateFacts
    from ansible_collections.audioprothese.platform.plugins.module_utils.vault.client import VaultClient
    from ansible_collections.audioprothese.platform.plugins.module_utils.vault.wanted import Wanted

__all__ = ["RotationOptions", "RotationRunner"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RotationOptions:
    """What the user asked for.

    Attributes:
        vault_id: ARM id of the vault.
        step: one of rotation.STEPS.
        only: names of rows of the catalogue, or of their secrets.
        check: write nothing.
        expect_plan: digest of the approved plan, or empty.
    """

    vault_id: str
    step: str = "report"
    only: tuple[str, ...] = ()
    check: bool = False
    expect_plan: str = ""


class RotationRunner:
    """One run of the module.

    Args:
        vault: the vault.
        options: what the user asked for.
        hold: takes the environment's lease and gives what to call before each write.
        learn: told every new value, so that Ansible keeps it out of its own output.
        report: gets what is found and done.
    """

    def __init__(
        self,
        vault: VaultClient,
        options: RotationOptions,
        *,
        hold: Callable[[], Callable[[], None]] = lambda: lambda: None,
        learn: Callable[[str], None] = lambda value: None,
        report: Report | None = None,
    ) -> None:
        self._vault, self._options, self._hold, self._learn_too = vault, options, hold, learn
        self._report = report or Report()
        self._now = dt.datetime.now(dt.UTC)
        self._maker = Maker(vault, vault_id=options.vault_id, learn=self._learn, now=self._now)

    def run(self, entries: Sequence[Mapping[str, t.Any]], wanted: Sequence[Wanted]) -> dict[str, t.Any]:
        """Do the step.

        Args:
            entries: the catalogue.
            wanted: what it expands to.

        Raises:
            PlatformError: before the first write.
            OutcomeError: a write failed, with what was done until then.
        """
        options, report = self._options, self._report
        with report.timing.phase("read"):
            if options.step != "report" and not options.check and not self._vault.exists():
                raise InputError(
                    "the vault does not exist", where=options.vault_id, remedy="Create it first (role key_vault)"
                )
            subjects = self._subjects(entries, wanted)
            signed = self._signed(subjects) if options.step == "proven" else frozenset()
        chosen = choose(subjects, options.step, options.only, now=self._now, signed=signed)
        report.actions = [self._action(subject) for subject in chosen]
        report.check_expected(None if options.check else options.expect_plan)
        if not options.check and chosen:
            before_write = self._hold()
            with report.timing.phase("apply"):
                with report.reporting(lambda exc: self._result(self._subjects(entries, wanted))):
                    self._apply(chosen, before_write)
                subjects = self._subjects(entries, wanted)
        return self._result(subjects)

    def _subjects(self, entries: Sequence[Mapping[str, t.Any]], wanted: Sequence[Wanted]) -> list[Subject]:
        return subjects_of(entries, wanted, self._vault.list())

    def _signed(self, subjects: Sequence[Subject]) -> frozenset[str]:
        """The rows whose certificate was signed by the current version of an authority whose rotation is under way."""
        found = set()
        for authority in (subject for subject in subjects if subject.proof == TRUSTED and subject.phase):
            issuer = self._certificate(authority)
            found |= {leaf.name for leaf in leaves_of(authority, subjects) if self._certificate(leaf).issued_by(issuer)}
        return frozenset(found)

    def _certificate(self, subject: Subject) -> CertificateFacts:
        return read_certificate(self._current(subject.parts[-1].name).value, where=self._resource(subject))

    def _step(self, subject: Subject) -> str:
        """What is done about it: what an authority is to sign is opened when that goes on."""
        step = self._options.step
        return "open" if step == "proven" and not subject.phase else step

    def _action(self, subject: Subject) -> Action:
        """The plan's view; the values are nobody's business."""
        step = self._step(subject)
        target = {"open": OPEN, "back": subject.phase_back, "proven": subject.following, "close": "closed"}[step]
        changes = [Change("rotation", target, subject.phase or "closed")]
        if step in ("open", "back"):
            what = "the one before" if step == "back" else "a new one"
            changes.append(Change("value", what, "the current one"))
        if step == "close":
            changes.append(Change("olderVersions.enabled", False, True))
        return Action(verb="rotate", resource=self._resource(subject), type=TYPE, changes=changes)

    def _apply(self, chosen: Sequence[Subject], before_write: Callable[[], None]) -> None:
        write = {"open": self._open, "back": self._back, "proven": self._proven, "close": self._close}
        planned, self._report.actions = self._report.actions, []
        for subject, action in zip(chosen, planned, strict=True):
            step = self._step(subject)
            self._report.progress.say(f"{step} the rotation of {subject.name}")
            write[step](subject, before_write)
            self._report.actions.append(action)

    # -- steps; each can be cut short anywhere, and done again

    def _open(self, subject: Subject, before_write: Callable[[], None]) -> None:
        for part in subject.to_write():
            stored = subject.stored[part.name.lower()]
            current = self._current(part.name)
            tags = {**closed(stored.tags), **part.tags, **opened(current.version)}
            before_write()
            self._set(part, self._maker.make(part), tags)

    def _back(self, subject: Subject, before_write: Callable[[], None]) -> None:
        for part in subject.to_take_back():
            current = self._current(part.name)
            before = self._current(part.name, before_of(current.tags))
            value = bundle(before.value, current.value) if part.trust else self._learn(before.value)
            tags = {**closed(current.tags), **opened(current.version, back=True, phase=subject.phase_back)}
            before_write()
            self._set(part, value, tags)

    def _proven(self, subject: Subject, before_write: Callable[[], None]) -> None:
        if subject.carrier and going_back(subject.carrier.tags):
            self._back(subject, before_write)  # the rest of a way back that was cut short
        for part in subject.parts:
            current = self._current(part.name)
            if phase_of(current.tags) != subject.phase:
                continue
            tags = moved(current.tags, subject.following)
            before_write()
            if part.trust and subject.following == CLOSING:
                self._set(part, bundle(current.value), tags)
            else:
                self._vault.update(part.name, content_type=current.content_type, tags=tags)

    def _close(self, subject: Subject, before_write: Callable[[], None]) -> None:
        for part in subject.parts:
            current = self._current(part.name)
            for version in self._vault.versions(part.name):
                if version.enabled and version.id != current.version:
                    before_write()
                    self._vault.disable(part.name, version.id)
            if phase_of(current.tags):
                before_write()
                self._vault.update(part.name, content_type=current.content_type, tags=closed(current.tags))

    def _set(self, part: Wanted, value: str, tags: Mapping[str, str]) -> None:
        expires_on = part.expires_on(self._now)
        self._vault.set(part.name, value, content_type=part.content_type, tags=tags, expires_on=expires_on)

    def _current(self, name: str, version: str = "") -> Current:
        found = self._vault.read(name, version)
        if found is None:
            raise GuardError(
                f"its version {version} is not there" if version else "it is not there any more",
                where=resource_id(self._options.vault_id, name),
                remedy="Run again; another writer removed it",
            )
        return found

    def _learn(self, value: str) -> str:
        self._report.redactor.add(value)
        self._learn_too(value)
        return value

    # -- report

    def _resource(self, subject: Subject) -> str:
        return resource_id(self._options.vault_id, subject.name)

    def _result(self, subjects: Sequence[Subject]) -> dict[str, t.Any]:
        report = self._report
        report.findings = [finding for subject in subjects for finding in self._findings(subject)]
        report.resources = {self._resource(subject): self._shown(subject) for subject in subjects if subject.carrier}
        return {**report.result(), "rotations": {subject.name: self._shown(subject) for subject in subjects}}

    def _shown(self, subject: Subject) -> dict[str, t.Any]:
        return {
            "phase": subject.phase or "closed",
            "proof": subject.proof,
            "because": subject.because,
            "effect": subject.effect,
            "days": subject.days,
            "age": subject.age(self._now),
            "due": subject.due(self._now),
            "secrets": [part.name for part in subject.parts],
        }

    def _findings(self, subject: Subject) -> list[Finding]:
        if subject.phase and subject.carrier:
            back = "its way back" if going_back(subject.carrier.tags) else "its rotation"
            message = f"{back[0].upper()}{back[1:]} is not over: the next run of site.yml goes on with it."
            return [self._finding(subject, "rotation", "closed", subject.phase, message)]
        if subject.due(self._now):
            message = f"It is due: playbooks/rotate.yml -e secret={subject.name}"
            live = f"{subject.age(self._now)} days"
            return [self._finding(subject, "age", f"less than {subject.days} days", live, message)]
        return []

    def _finding(self, subject: Subject, path: str, desired: str, live: str, message: str) -> Finding:
        return Finding(
            source=SOURCE,
            resource=self._resource(subject),
            type=TYPE,
            path=path,
            verdict="drift",
            desired=desired,
            live=live,
            message=message,
        )
