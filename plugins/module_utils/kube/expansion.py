# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Disks of a StatefulSet that grow: its claim templates cannot be changed in place, the claims themselves can. Pure.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/ (only a few fields of a StatefulSet may
change) and https://kubernetes.io/docs/concepts/storage/persistent-volumes/#expanding-persistent-volumes-claims.
"""

from __future__ import annotations

import copy
import re
import typing as t
from collections.abc import Iterable, Mapping
from decimal import Decimal

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import GuardError
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.objects import ObjectId
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.volumes import is_claim_of

__all__ = ["claims_to_grow", "growing", "grown_claim", "quantity", "sizes_of", "with_sizes"]

Object = Mapping[str, t.Any]

_QUANTITY = re.compile(r"([0-9.]+)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_DECIMAL = {"m": -1, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
_BINARY = ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei")


def quantity(text: str) -> Decimal:
    """A quantity of Kubernetes as a number.

    Raises:
        ValueError: it is none.

    Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
    """
    match = _QUANTITY.fullmatch(str(text).strip())
    if not match:
        raise ValueError(f"{text!r} is no quantity")
    number, suffix = Decimal(match.group(1)), match.group(2)
    if not suffix:
        return number
    if suffix in _BINARY:
        return number * int(1024 ** (_BINARY.index(suffix) + 1))
    return number.scaleb(3 * _DECIMAL[suffix])


def growing(desired: Object, live: Object) -> dict[str, str]:
    """Size wanted by name of a claim template, for a StatefulSet whose claims grow; empty when none does.

    Raises:
        GuardError: one would shrink.
    """
    if desired.get("kind") != "StatefulSet":
        return {}
    wanted, have = _sizes(desired), _sizes(live)
    grown = {}
    for name in wanted.keys() & have.keys():
        try:
            new, old = quantity(wanted[name]), quantity(have[name])
        except ValueError:
            return {}
        if new < old:
            raise GuardError(
                f"spec.volumeClaimTemplates[{name}] would shrink from {have[name]} to {wanted[name]}",
                where=str(ObjectId.of(desired)),
                remedy="A disk can grow only: declare at least the live size",
            )
        if new > old:
            grown[name] = wanted[name]
    return grown


def with_sizes(statefulset: Object, sizes: Mapping[str, str]) -> dict[str, t.Any]:
    """A copy whose claim templates ask for these sizes."""
    changed: dict[str, t.Any] = copy.deepcopy(dict(statefulset))
    for template in changed["spec"].get("volumeClaimTemplates") or ():
        if template["metadata"]["name"] in sizes:
            template["spec"]["resources"]["requests"]["storage"] = sizes[template["metadata"]["name"]]
    return changed


def sizes_of(statefulset: Object, names: Iterable[str]) -> dict[str, str]:
    """Sizes that the claim templates of these names ask for."""
    return {name: size for name, size in _sizes(statefulset).items() if name in set(names)}


def claims_to_grow(statefulset: Object, sizes: Mapping[str, str], claims: Iterable[Object]) -> list[tuple[Object, str]]:
    """The claims of a StatefulSet, of any of its pods past or present, that ask for less, each with its new size."""
    found = []
    for claim in claims:
        for name, size in sizes.items():
            asked = claim["spec"]["resources"]["requests"]["storage"]
            if is_claim_of(claim, statefulset, name) and quantity(asked) < quantity(size):
                found.append((claim, size))
    return found


def grown_claim(claim: Object, size: str) -> dict[str, t.Any]:
    """What is applied to make a claim ask for a size."""
    metadata = {key: claim["metadata"][key] for key in ("name", "namespace")}
    spec = {"resources": {"requests": {"storage": size}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}


def _sizes(statefulset: Object) -> dict[str, str]:
    templates = (statefulset.get("spec") or {}).get("volumeClaimTemplates") or ()
    sizes = {}
    for template in templates:
        requests = ((template.get("spec") or {}).get("resources") or {}).get("requests") or {}
        if requests.get("storage"):
            sizes[template["metadata"]["name"]] = str(requests["storage"])
    return sizes
