# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ARM does per resource type, as data: the comparator, the planner and the writer ask here, never a service."""

from __future__ import annotations

import difflib
import typing as t

from ansible_collections.audioprothese.platform.plugins.module_utils.arm.catalogue import cluster, network, platform
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.catalogue.model import (
    EVERYWHERE,
    Embedded,
    TypeFacts,
)

__all__ = ["Embedded", "TypeFacts", "facts_of", "known_types", "nearest_type"]

_TYPES: t.Final[dict[str, TypeFacts]] = {
    entry.type.lower(): entry for entry in (*network.TYPES, *cluster.TYPES, *platform.TYPES)
}


def facts_of(type_name: str) -> TypeFacts:
    """What is known about a type; for an unknown one only what holds for all of them."""
    return _TYPES.get(type_name.lower(), EVERYWHERE)


def known_types() -> list[str]:
    """Canonical names of the types in the catalogue."""
    return sorted(entry.type for entry in _TYPES.values())


def nearest_type(type_name: str) -> str:
    """The catalogued type that a misspelt one most likely means, or an empty string."""
    found = difflib.get_close_matches(type_name.lower(), _TYPES, n=1, cutoff=0.75)
    return _TYPES[found[0]].type if found else ""
