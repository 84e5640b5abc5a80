# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a secret is rotated: phases, and what is due. Pure, and without a single secret value.

The vault alone knows how far a rotation is, by two tags of the secret's current version. C(open): the version before,
named by the second tag, is accepted beside it. C(closing): the new one was proven, only that is accepted, and the old
one must be proven refused. Then the tags go, and every older version is disabled. Going back is a rotation to the old
value, as a version of its own, for Key Vault knows no current version but the newest.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import typing as t
from collections.abc import Collection, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import GuardError, InputError

if t.TYPE_CHECKING:
    from ansible_collections.audioprothese.platform.plugins.module_utils.vault.plan import Stored
    from ansible_collections.audioprothese.platform.plugins.module_utils.vault.wanted import Wanted

__all__ = [
    "CLOSING",
    "OPEN",
    "PROOFS",
    "STEPS",
    "Current",
    "Subject",
    "Version",
    "before_of",
    "choose",
    "closed",
    "closing",
    "going_back",
    "opened",
    "phase_of",
    "subjects_of",
]

OPEN, CLOSING = "open", "closing"
STEPS = ("report", "open", "back", "proven", "close")
PROOFS = ("login", "served", "exchanged", "delivered")

_PHASE, _BEFORE, _BACK, _DUE = "rotation", "rotation-before", "rotation-back", "rotation-due"
_PAIR = ("private_key", "certificate")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Current:
    """A version of a secret with its value."""

    value: str
    version: str
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)
    content_type: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version of a secret as the vault lists it."""

    id: str
    enabled: bool = True


def phase_of(tags: Mapping[str, str]) -> str:
    """C(open), C(closing), or nothing where no rotation is under way."""
    return tags.get(_PHASE, "")


def before_of(tags: Mapping[str, str]) -> str:
    """The version that a rotation under way replaces."""
    return tags.get(_BEFORE, "")


def going_back(tags: Mapping[str, str]) -> bool:
    """Whether a rotation under way is the way back of another one."""
    return tags.get(_BACK, "") == "true"


def opened(before: str, *, back: bool = False) -> dict[str, str]:
    """Tags of a version that begins a rotation."""
    return {_PHASE: OPEN, _BEFORE: before, **({_BACK: "true"} if back else {})}


def closing(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags of an open one once it was proven."""
    return {**tags, _PHASE: CLOSING}


def closed(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags when all is done; a value that was gone back to is due from then on."""
    kept = {name: value for name, value in tags.items() if name not in (_PHASE, _BEFORE, _BACK, _DUE)}
    return {**kept, _DUE: "true"} if going_back(tags) else kept


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A row of the catalogue with what the vault says about it.

    Attributes:
        name: its name in the catalogue.
        parts: its secrets in the order in which they are written; the last one carries the state of the pair.
        stored: the parts that the vault has, by lower-case name.
        days: period; 0 where it is not rotated by command.
        proof: one of PROOFS, or empty.
        because: why it is not rotated by command.
        effect: what else a rotation brings about.
    """

    name: str
    parts: tuple[Wanted, ...]
    stored: Mapping[str, Stored]
    days: int = 0
    proof: str = ""
    because: str = ""
    effect: str = ""

    @property
    def carrier(self) -> Stored | None:
        """The secret whose tags say how far its rotation is."""
        return self.stored.get(self.parts[-1].name.lower())

    @property
    def phase(self) -> str:
        """See phase_of."""
        return phase_of(self.carrier.tags) if self.carrier else ""

    @property
    def complete(self) -> bool:
        """Whether every part is there and can be read."""
        found = [self.stored.get(part.name.lower()) for part in self.parts]
        return all(stored is not None and stored.enabled for stored in found)

    def age(self, now: dt.datetime) -> int | None:
        """Days since its current version was written; None where that is not known."""
        made = self.carrier.created if self.carrier else None
        return None if made is None else (now - made).days

    def due(self, now: dt.datetime) -> bool:
        """Whether its period is over."""
        age = self.age(now)
        over = age is not None and age >= self.days
        return bool(self.proof and self.carrier and (over or self.carrier.tags.get(_DUE) == "true"))

    def to_write(self) -> list[Wanted]:
        """The parts that its new version lacks: all of them, or the rest where it was cut short."""
        return [part for part in self.parts if phase_of(self.stored[part.name.lower()].tags) != OPEN]


def subjects_of(
    entries: Sequence[Mapping[str, t.Any]], wanted: Sequence[Wanted], stored: Mapping[str, Stored]
) -> list[Subject]:
    """The rows of the catalogue.

    Args:
        entries: the option C(secrets).
        wanted: what they expand to.
        stored: the vault's secrets by lower-case name.

    Raises:
        InputError: a row says neither how it is rotated nor why it is not.
    """
    return [_subject(entry, wanted, stored) for entry in entries]


def _subject(entry: Mapping[str, t.Any], wanted: Sequence[Wanted], stored: Mapping[str, Stored]) -> Subject:
    name, rotation = entry["name"], entry.get("rotation") or {}
    proof, days, because = rotation.get("proof") or "", rotation.get("days") or 0, rotation.get("because") or ""
    if bool(proof and days > 0) == bool(because):
        raise InputError(
            "its rotation is not declared",
            where=name,
            remedy="Give rotation.days and rotation.proof, or rotation.because, and not both",
        )
    pair = entry["kind"] in ("certificate", "certificate_authority")
    parts = tuple(part for part in wanted if name == (part.pair if pair and part.part in _PAIR else part.name))
    names = {part.name.lower() for part in parts}
    return Subject(
        name=name,
        parts=parts,
        stored={key: value for key, value in stored.items() if key in names},
        days=days,
        proof=proof,
        because=because,
        effect=rotation.get("effect") or "",
    )


def choose(subjects: Sequence[Subject], step: str, only: Collection[str], *, now: dt.datetime) -> list[Subject]:
    """Those that a step is about to change; what is further on already is left out.

    Args:
        subjects: the catalogue.
        step: one of STEPS.
        only: names of rows or of their secrets. For C(open) none means all that are due; C(back) needs them.
        now: time of the run.

    Raises:
        InputError: a name that the catalogue does not have.
        GuardError: it cannot be rotated.
    """
    named = _named(subjects, only)
    if step == "open":
        chosen = named if only else [subject for subject in subjects if subject.due(now) and subject.complete]
        for subject in chosen:
            _check_can_open(subject)
        return [subject for subject in chosen if not subject.phase]
    if step == "back":
        if not named:
            raise InputError("nothing was named to go back", remedy="Name the secret (only)")
        for subject in named:
            _check_can_go_back(subject)
        return [subject for subject in named if subject.carrier and not going_back(subject.carrier.tags)]
    wanted_phase = {"proven": OPEN, "close": CLOSING}.get(step, "-")
    return [subject for subject in named if subject.phase == wanted_phase]


def _named(subjects: Sequence[Subject], only: Collection[str]) -> list[Subject]:
    known = {name: subject for subject in subjects for name in (subject.name, *(part.name for part in subject.parts))}
    unknown = sorted(set(only) - set(known))
    if unknown:
        raise InputError(
            "the catalogue has no such secret",
            where=unknown[0],
            remedy=f"Name one of {', '.join(subject.name for subject in subjects)}",
        )
    chosen = {known[name].name for name in only}
    return [subject for subject in subjects if subject.name in chosen]


def _check_can_open(subject: Subject) -> None:
    if not subject.proof:
        raise GuardError(
            f"it is not rotated by command, because {subject.because}", where=subject.name, remedy="See docs/secrets.md"
        )
    if not subject.complete:
        raise GuardError(
            "it is not in the vault, or disabled there", where=subject.name, remedy="Make it first (playbooks/site.yml)"
        )


def _check_can_go_back(subject: Subject) -> None:
    if not subject.phase:
        raise GuardError(
            "no rotation of it is under way, and its value before is no longer accepted",
            where=subject.name,
            remedy="Rotate it, which gives it a new value",
        )
    if len(subject.parts) > 1:
        raise GuardError(
            "a certificate does not go back",
            where=subject.name,
            remedy="Let this rotation end (playbooks/site.yml), and rotate it again",
        )
