# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names of variables: which are known, and which one somebody may have meant."""

from __future__ import annotations

import dataclasses
import difflib
import typing as t
from collections.abc import Iterable, Mapping

__all__ = ["Problem", "RoleVariables", "unknown_variables"]

# Below this similarity a suggestion confuses more than it helps.
_SIMILAR_ENOUGH: t.Final = 0.6


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that has to be put right before a run.

    Attributes:
        where: the variable, program or address it is about.
        what: what is wrong, without the final stop; never holds a secret.
        remedy: what to do.
        origin: file and line of the value, where known.
    """

    where: str
    what: str
    remedy: str = ""
    origin: str = ""

    def __str__(self) -> str:
        place = f"{self.where} ({self.origin})" if self.origin else self.where
        return " ".join(_sentence(text) for text in (f"{place}: {self.what}", self.remedy) if text)


@dataclasses.dataclass(frozen=True, slots=True)
class RoleVariables:
    """What one role declares.

    Attributes:
        role: its name, which all its public variables begin with.
        specs: argument specification by entry point.
        defaults: names in its defaults.
    """

    role: str
    specs: Mapping[str, Mapping[str, t.Any]]
    defaults: Iterable[str]

    @property
    def names(self) -> set[str]:
        """All public variables of the role."""
        declared = {name for spec in self.specs.values() for name in spec.get("options") or {}}
        return declared | {name for name in self.defaults if not name.startswith("_")}


def unknown_variables(
    names: Iterable[str], roles: Iterable[RoleVariables], ignored: Iterable[str] = ()
) -> list[Problem]:
    """Variables that carry the prefix of a role but are no variable of it.

    Args:
        names: of the variables an inventory sets.
        roles: all roles of the collection.
        ignored: names that are fine although no role declares them.
    """
    roles = list(roles)
    known = set(ignored).union(*(role.names for role in roles))
    prefixes = tuple(f"{role.role}_" for role in roles)
    return [_unknown(name, known) for name in sorted(names) if name.startswith(prefixes) and name not in known]


def _unknown(name: str, known: set[str]) -> Problem:
    near = difflib.get_close_matches(name, known, n=1, cutoff=_SIMILAR_ENOUGH)
    remedy = f"Did you mean {near[0]}?" if near else "Remove it, or list it in preflight_ignored_variables"
    return Problem(where=name, what="no role has a variable of this name", remedy=remedy)
