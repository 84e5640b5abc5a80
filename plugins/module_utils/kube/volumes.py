# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A StatefulSet whose claim templates have other names: its pods would start on other volumes. Pure.

The claims of a StatefulSet are called C(<template>-<set>-<number>), and those that are there are used. Source:
https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#stable-storage
"""

from __future__ import annotations

import copy
import dataclasses
import re
import typing as t
from collections.abc import Iterable, Mapping

__all__ = ["RESTORED", "RESTORE_TO", "Exchange", "as_made_anew", "exchange", "is_claim_of", "trial", "volume_names"]

RESTORE_TO: t.Final = "platform.audioprothese/restore-to"
"""Annotation of a claim that a restore fills: the moment."""
RESTORED: t.Final = "platform.audioprothese/restored"
"""Annotation of such a claim once all of it is there and was looked through: what was found."""

_ANEW = "-anew"
_OF_SERVER = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields")

Object = Mapping[str, t.Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Volumes of a StatefulSet that others take the place of.

    Attributes:
        left: names of the claim templates that are not wanted any more.
        taken: names of the new ones.
        empty: of the new ones, those without any claim to start on.
        unfinished: claims of the new ones into which a restore did not end.
        discards: the claims of the old ones would be deleted together with the StatefulSet.
    """

    left: tuple[str, ...]
    taken: tuple[str, ...]
    empty: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
    discards: bool = False


def exchange(desired: Object, live: Object, claims: Iterable[Object]) -> Exchange | None:
    """What takes the place of what, or None when nothing does.

    Args:
        desired: the StatefulSet as declared.
        live: as it is.
        claims: those of its namespace.
    """
    if desired.get("kind") != "StatefulSet":
        return None
    wanted, have = volume_names(desired), volume_names(live)
    left, taken = [name for name in have if name not in wanted], [name for name in wanted if name not in have]
    if not left or not taken:
        return None
    known = list(claims)
    found = {name: [claim for claim in known if is_claim_of(claim, desired, name)] for name in taken}
    retention = (live.get("spec") or {}).get("persistentVolumeClaimRetentionPolicy") or {}
    return Exchange(
        left=tuple(left),
        taken=tuple(taken),
        empty=tuple(name for name in taken if not found[name]),
        unfinished=tuple(one["metadata"]["name"] for name in taken for one in found[name] if _is_unfinished(one)),
        discards=retention.get("whenDeleted") == "Delete",
    )


def is_claim_of(claim: Object, statefulset: Object, template: str) -> bool:
    """Whether a claim was made from a template of a StatefulSet, for any of its pods past or present."""
    name = rf"{re.escape(template)}-{re.escape(statefulset['metadata']['name'])}-\d+"
    return re.fullmatch(name, claim["metadata"]["name"]) is not None


def volume_names(statefulset: Object) -> list[str]:
    """Names of the claim templates."""
    templates = (statefulset.get("spec") or {}).get("volumeClaimTemplates") or ()
    return [str(template["metadata"]["name"]) for template in templates]


def trial(statefulset: Object) -> dict[str, t.Any]:
    """A copy under a name that nobody has: what the API server would make of one that does not exist yet."""
    metadata = {**statefulset["metadata"], "name": statefulset["metadata"]["name"] + _ANEW}
    return {**statefulset, "metadata": metadata}


def as_made_anew(predicted: Object, live: Object) -> dict[str, t.Any]:
    """What became of a trial, as the object that takes the live one's place."""
    made: dict[str, t.Any] = copy.deepcopy(dict(predicted))
    kept = {key: live["metadata"][key] for key in _OF_SERVER if key in live["metadata"]}
    mine = {key: value for key, value in made["metadata"].items() if key not in _OF_SERVER}
    made["metadata"] = {**mine, **kept, "name": live["metadata"]["name"]}
    return made


def _is_unfinished(claim: Object) -> bool:
    annotations = claim["metadata"].get("annotations") or {}
    return RESTORE_TO in annotations and RESTORED not in annotations
