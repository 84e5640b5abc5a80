# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ApplySets: which objects belong to a set, as KEP-3659 writes it down on the cluster.

Source: kubernetes/enhancements, keps/sig-cli/3659-kubectl-apply-prune, and the constants of kubectl, with which a set
written here can be listed.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import typing as t
from collections.abc import Iterable, Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import GuardError
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.handover import application_of
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.objects import Manifest, ObjectId

__all__ = ["PART_OF", "TOOLING", "ApplySet", "Scope", "foreign_owner", "is_controlled"]

ID_LABEL = "applyset.kubernetes.io/id"
PART_OF = "applyset.kubernetes.io/part-of"
TOOLING_ANNOTATION = "applyset.kubernetes.io/tooling"
KINDS_ANNOTATION = "applyset.kubernetes.io/contains-group-kinds"
NAMESPACES_ANNOTATION = "applyset.kubernetes.io/additional-namespaces"

TOOLING = "audioprothese.platform/v1"


@dataclasses.dataclass(frozen=True, slots=True)
class Scope:
    """Where members of a set may be: kinds (C(Deployment.apps)) and namespaces."""

    kinds: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()

    def __or__(self, other: Scope) -> Scope:
        return Scope(self.kinds | other.kinds, self.namespaces | other.namespaces)

    @classmethod
    def of(cls, ids: Iterable[ObjectId]) -> Scope:
        """The smallest scope that holds these objects."""
        ids = list(ids)
        return cls(frozenset(i.group_kind for i in ids), frozenset(i.namespace for i in ids if i.namespace))


@dataclasses.dataclass(frozen=True, slots=True)
class ApplySet:
    """A set and its parent object, a ConfigMap.

    Attributes:
        name: name of the parent.
        namespace: namespace of the parent.
    """

    name: str
    namespace: str

    @property
    def id(self) -> str:
        """The set's id: a hash of name, namespace, kind and group of the parent."""
        unencoded = f"{self.name}.{self.namespace}.ConfigMap."
        encoded = base64.urlsafe_b64encode(hashlib.sha256(unencoded.encode()).digest()).decode().rstrip("=")
        return f"applyset-{encoded}-v1"

    @property
    def parent_id(self) -> ObjectId:
        """The parent as an object."""
        return ObjectId("", "ConfigMap", self.namespace, self.name)

    def parent(self, scope: Scope) -> Manifest:
        """The parent's manifest for a set of this scope."""
        namespaces = scope.namespaces - {self.namespace}
        annotations = {TOOLING_ANNOTATION: TOOLING, KINDS_ANNOTATION: ",".join(sorted(scope.kinds))}
        if namespaces:
            annotations[NAMESPACES_ANNOTATION] = ",".join(sorted(namespaces))
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": self.name,
                "namespace": self.namespace,
                "labels": {ID_LABEL: self.id},
                "annotations": annotations,
            },
        }
        return Manifest(id=self.parent_id, api_version="v1", body=body)

    def remembered(self, parent: Mapping[str, t.Any] | None) -> Scope:
        """The scope the live parent remembers.

        Raises:
            GuardError: the object of this name is the parent of another tool's set, or no parent at all.
        """
        if parent is None:
            return Scope()
        metadata = parent.get("metadata") or {}
        annotations, labels = metadata.get("annotations") or {}, metadata.get("labels") or {}
        where = str(self.parent_id)
        tool = str(annotations.get(TOOLING_ANNOTATION, ""))
        if labels.get(ID_LABEL) != self.id:
            raise GuardError(
                "a ConfigMap of this name exists and is not the parent of this set",
                where=where,
                remedy="Choose another name for the set",
            )
        if tool.partition("/v")[0] != TOOLING.partition("/v")[0]:
            raise GuardError(
                f"this set belongs to another tool ({tool or 'unnamed'})",
                where=where,
                remedy="Choose another name for the set, or remove the annotation once the other tool let go of it",
            )
        return Scope(_split(annotations.get(KINDS_ANNOTATION)), _split(annotations.get(NAMESPACES_ANNOTATION)))

    def label(self, manifest: Manifest) -> Manifest:
        """The manifest as a member of this set.

        Raises:
            GuardError: the document names another set itself.
        """
        metadata = manifest.body["metadata"]
        labels = dict(metadata.get("labels") or {})
        if labels.get(PART_OF, self.id) != self.id:
            raise GuardError(
                f"the document carries the label {PART_OF} of another set",
                where=str(manifest.id),
                remedy="Remove the label: the set an object belongs to is given by the task",
            )
        body = {**manifest.body, "metadata": {**metadata, "labels": {**labels, PART_OF: self.id}}}
        return dataclasses.replace(manifest, body=body)

    def owns(self, live: Mapping[str, t.Any]) -> bool:
        """Whether a live object is a member."""
        return bool(((live.get("metadata") or {}).get("labels") or {}).get(PART_OF) == self.id)


def foreign_owner(live: Mapping[str, t.Any], applyset: ApplySet, *, handed_back: bool = False) -> str:
    """Who else manages a live object as a whole: another ApplySet or Argo CD. Empty when nobody does.

    Args:
        live: the object.
        applyset: the set that asks.
        handed_back: Argo CD no longer does, whatever the object is marked with.
    """
    application = "" if handed_back else application_of(live)
    if application:
        return f"Argo CD (application {application})"
    other = ((live.get("metadata") or {}).get("labels") or {}).get(PART_OF)
    return f"another ApplySet ({other})" if other and other != applyset.id else ""


def is_controlled(live: Mapping[str, t.Any]) -> bool:
    """Whether a controller made the object for one of its own: such a copy of labels is no membership."""
    return any(owner.get("controller") for owner in (live.get("metadata") or {}).get("ownerReferences") or ())


def _split(value: t.Any) -> frozenset[str]:
    return frozenset(part.strip() for part in str(value or "").split(",") if part.strip())
