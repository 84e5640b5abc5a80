# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a secret is rotated: phases, and what is due. Pure, and without a single secret value.

The vault alone knows how far a rotation is, by two tags of the secret's current version. C(open): the version before,
named by the second tag, is accepted beside it. C(closing): the new one was proven, only that is accepted, and the old
one must be proven refused. Then the tags go, and every older version is disabled. Going back is a rotation to the old
value, as a version of its own, for Key Vault knows no current version but the newest.

An authority has a phase between the two. C(open): everybody learns to trust it, and the one before signs. C(signing):
it signs, and what the other one signed is rotated. In both the value of its certificate is a bundle: the authority, and
the one before. C(closing) takes the latter out.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
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
    "SIGNING",
    "STEPS",
    "TRUSTED",
    "Current",
    "Subject",
    "Version",
    "before_of",
    "choose",
    "closed",
    "going_back",
    "leaves_of",
    "moved",
    "opened",
    "phase_of",
    "subjects_of",
]

OPEN, SIGNING, CLOSING = "open", "signing", "closing"
STEPS = ("report", "open", "back", "proven", "close")
TRUSTED = "trusted"
PROOFS = ("login", "served", "exchanged", "delivered", TRUSTED)

_PHASE, _BEFORE, _BACK, _DUE = "rotation", "rotation-before", "rotation-back", "rotation-due"
_PAIR = ("private_key", "certificate")
_PHASES: t.Final = {TRUSTED: (OPEN, SIGNING, CLOSING)}
_USUAL_PHASES: t.Final = (OPEN, CLOSING)


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
    """C(open), C(signing), C(closing), or nothing where no rotation is under way."""
    return tags.get(_PHASE, "")


def before_of(tags: Mapping[str, str]) -> str:
    """The version that a rotation under way replaces."""
    return tags.get(_BEFORE, "")


def going_back(tags: Mapping[str, str]) -> bool:
    """Whether a rotation under way is the way back of another one."""
    return tags.get(_BACK, "") == "true"


def opened(before: str, *, back: bool = False, phase: str = OPEN) -> dict[str, str]:
    """Tags of a version that begins a rotation."""
    return {_PHASE: phase, _BEFORE: before, **({_BACK: "true"} if back else {})}


def moved(tags: Mapping[str, str], phase: str) -> dict[str, str]:
    """The tags of a rotation under way once it is in another phase."""
    return {**tags, _PHASE: phase}


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
        issuer: the row of the authority that signs it.
    """

    name: str
    parts: tuple[Wanted, ...]
    stored: Mapping[str, Stored]
    issuer: str = ""
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
    def following(self) -> str:
        """The phase that comes after its own; nothing after the last one, or where no rotation is under way."""
        return dict(itertools.pairwise(_PHASES.get(self.proof, _USUAL_PHASES))).get(self.phase, "")

    @property
    def phase_back(self) -> str:
        """The phase in which its way back begins.

        Up to the last phase everybody trusts an authority that is gone back to, and it may sign at once.
        """
        if going_back(self.carrier.tags if self.carrier else {}):
            return self.phase
        return SIGNING if self.proof == TRUSTED and self.phase != CLOSING else OPEN

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

    def to_take_back(self) -> list[Wanted]:
        """The parts that do not go back yet; the last one first, for its state is that of the pair."""
        return [part for part in reversed(self.parts) if not going_back(self.stored[part.name.lower()].tags)]


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
        issuer=entry.get("issuer") or "",
    )


def leaves_of(authority: Subject, subjects: Sequence[Subject]) -> list[Subject]:
    """What an authority signs and is rotated by command."""
    return [leaf for leaf in subjects if leaf.issuer == authority.name and leaf.proof and leaf.complete]


def choose(
    subjects: Sequence[Subject],
    step: str,
    only: Collection[str],
    *,
    now: dt.datetime,
    signed: Collection[str] = (),
) -> list[Subject]:
    """Those that a step is about to change; what is further on already is left out.

    Args:
        subjects: the catalogue.
        step: one of STEPS.
        only: names of rows or of their secrets. For C(open) none means all that are due; C(back) needs them.
        now: time of the run.
        signed: rows whose certificate the current version of their authority has signed.

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
        return [subject for subject in named if subject.to_take_back()]
    if step == "proven":
        return [found for subject in named if subject.following for found in _go_on(subject, subjects, signed)]
    return [subject for subject in named if step == "close" and subject.phase == CLOSING]


def _go_on(subject: Subject, subjects: Sequence[Subject], signed: Collection[str]) -> list[Subject]:
    """What changes when a subject was proven: itself, and what it is to sign from then on.

    An authority is not let go before all that it signs was rotated to its end.
    """
    leaves = leaves_of(subject, subjects)
    to_sign = [leaf for leaf in leaves if leaf.name not in signed and not leaf.phase]
    if subject.phase == SIGNING and any(leaf.phase or leaf.name not in signed for leaf in leaves):
        return to_sign
    return [subject, *(to_sign if subject.following == SIGNING else [])]


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
    if len(subject.parts) > 1 and subject.proof != TRUSTED:
        raise GuardError(
            "a certificate does not go back",
            where=subject.name,
            remedy="Let this rotation end (playbooks/site.yml), and rotate it again",
        )
