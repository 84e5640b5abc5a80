# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read live objects: as few requests as the members of a set allow, and never a part of the answer."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.kube.applyset import PART_OF, ApplySet, Scope
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.client import KubeClient
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.errors import ApiError
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.objects import Manifest, ObjectId

if t.TYPE_CHECKING:
    from openshift.dynamic import Resource

__all__ = ["Live", "read", "read_parent"]

_FORBIDDEN = 403

Object = dict[str, t.Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Live:
    """What the cluster holds.

    Attributes:
        desired: the live object of each desired one that exists.
        members: every member of the set, desired or not.
        namespaces: names of all namespaces, or None when they may not be listed.
    """

    desired: Mapping[ObjectId, Object]
    members: Mapping[ObjectId, Object]
    namespaces: frozenset[str] | None


def read_parent(client: KubeClient, applyset: ApplySet) -> Object | None:
    """The set's parent object, or None."""
    resource = client.resource("v1", "ConfigMap")
    assert resource is not None  # noqa: S101 - no API server is without ConfigMaps
    return client.get(resource, applyset.name, applyset.namespace)


def read(client: KubeClient, applyset: ApplySet, manifests: Sequence[Manifest], remembered: Scope) -> Live:
    """Everything a plan needs.

    One list per kind finds the members, wherever they are; what is desired and not among them is asked for by name.

    Raises:
        KubeError: any part of it cannot be read.
    """
    scope = Scope.of(manifest.id for manifest in manifests) | remembered
    places = sorted(scope.namespaces | {applyset.namespace})
    wanted = _resources(client, manifests, remembered)
    lists = client.all(lambda resource: _members(client, resource, applyset, places), wanted)
    members = {ObjectId.of(obj): obj for objects in lists for obj in objects}
    namespaces = _namespaces(client)
    served = {m.id: client.resource(m.api_version, m.id.kind) for m in manifests}
    missing = [
        manifest
        for manifest in manifests
        if (members.get(manifest.id) or {}).get("apiVersion") != manifest.api_version
        and served[manifest.id] is not None
        and (not manifest.id.namespace or namespaces is None or manifest.id.namespace in namespaces)
    ]

    def by_name(manifest: Manifest) -> Object | None:
        resource = served[manifest.id]
        assert resource is not None  # noqa: S101 - filtered above
        return client.get(resource, manifest.id.name, manifest.id.namespace)

    others = {m.id: obj for m, obj in zip(missing, client.all(by_name, missing), strict=True) if obj is not None}
    live = {**members, **others}
    return Live({m.id: live[m.id] for m in manifests if m.id in live}, members, namespaces)


def _resources(client: KubeClient, manifests: Iterable[Manifest], remembered: Scope) -> list[Resource]:
    found: dict[tuple[str, str], Resource] = {}
    for manifest in manifests:
        resource = client.resource(manifest.api_version, manifest.id.kind)
        if resource is not None:
            found[(manifest.id.group, manifest.id.kind)] = resource
    for group_kind in sorted(remembered.kinds):
        kind, _dot, group = group_kind.partition(".")
        resource = client.preferred(group, kind)
        if resource is not None:
            found.setdefault((group, kind), resource)
    return list(found.values())


def _members(client: KubeClient, resource: Resource, applyset: ApplySet, namespaces: Sequence[str]) -> list[Object]:
    selector = f"{PART_OF}={applyset.id}"
    try:
        return client.find(resource, selector=selector)
    except ApiError as exc:
        if exc.status != _FORBIDDEN or not resource.namespaced:
            raise
    return [obj for namespace in namespaces for obj in client.find(resource, namespace=namespace, selector=selector)]


def _namespaces(client: KubeClient) -> frozenset[str] | None:
    resource = client.resource("v1", "Namespace")
    assert resource is not None  # noqa: S101 - no API server is without namespaces
    try:
        return frozenset(obj["metadata"]["name"] for obj in client.find(resource))
    except ApiError as exc:
        if exc.status == _FORBIDDEN:
            return None
        raise
