# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import dataclasses
import typing as t
from collections.abc import Callable, Iterable, Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import PlatformError
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.errors import ApiError, Cause, ConflictError
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.objects import ObjectId

Object = dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Kind:
    group: str
    version: str
    kind: str
    namespaced: bool = True

    @property
    def group_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


KINDS = [
    Kind("", "v1", "Namespace", namespaced=False),
    Kind("", "v1", "ConfigMap"),
    Kind("", "v1", "Secret"),
    Kind("", "v1", "Service"),
    Kind("", "v1", "PersistentVolumeClaim"),
    Kind("apps", "v1", "Deployment"),
    Kind("apps", "v1", "StatefulSet"),
    Kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition", namespaced=False),
    Kind("storage.k8s.io", "v1", "StorageClass", namespaced=False),
]


class FakeCluster:
    """A cluster in memory behind the interface of KubeClient; merges like server-side apply, roughly.

    Real API servers prove the module in tests/integration; this one makes failures on demand.
    """

    def __init__(self, *objects: Object) -> None:
        self.kinds = list(KINDS)
        self.store: dict[ObjectId, Object] = {}
        self.applied: dict[tuple[ObjectId, str], Object] = {}
        self.held: dict[tuple[str, str], str] = {}
        self.refuse: dict[str, ApiError] = {}
        self.fail_write: dict[str, ApiError] = {}
        self.meddle: dict[str, Callable[[FakeCluster], None]] = {}
        self.fail_read: dict[str, ApiError] = {}
        self.log: list[str] = []
        for name in ("kube-system", "default"):
            self.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        for obj in objects:
            self.put(obj)

    # -- for tests

    def put(self, obj: Object) -> None:
        obj = copy.deepcopy(obj)
        obj["metadata"].setdefault("uid", f"uid-{len(self.store)}")
        if obj["kind"] == "Namespace":
            obj.setdefault("status", {"phase": "Active"})
        self.store[ObjectId.of(obj)] = obj

    def writes(self) -> list[str]:
        return [line for line in self.log if not line.startswith(("dry", "read"))]

    # -- the interface

    @property
    def requests(self) -> dict[str, int]:
        return {"DRY_RUN": sum(line.startswith("dry") for line in self.log)}

    def close(self) -> None:
        pass

    def discover(self) -> None:
        self.kinds = list(KINDS)
        for obj in self.store.values():
            if obj["kind"] == "CustomResourceDefinition":
                spec = obj["spec"]
                version = (spec.get("versions") or [{"name": "v1"}])[0]["name"]
                self.kinds.append(Kind(spec["group"], version, spec["names"]["kind"], spec["scope"] == "Namespaced"))

    def resource(self, api_version: str, kind: str) -> Kind | None:
        return next((k for k in self.kinds if (k.group_version, k.kind) == (api_version, kind)), None)

    def preferred(self, group: str, kind: str) -> Kind | None:
        return next((k for k in self.kinds if (k.group, k.kind) == (group, kind)), None)

    def scopes(self) -> dict[tuple[str, str], bool]:
        return {(k.group, k.kind): k.namespaced for k in self.kinds}

    def gather(self, call: Callable[[t.Any], t.Any], items: Iterable[t.Any]) -> list[t.Any]:
        results: list[t.Any] = []
        for item in items:
            try:
                results.append(call(item))
            except PlatformError as exc:
                results.append(exc)
        return results

    def all(self, call: Callable[[t.Any], t.Any], items: Iterable[t.Any]) -> list[t.Any]:
        return [call(item) for item in items]

    def get(self, resource: Kind, name: str, namespace: str = "") -> Object | None:
        self.log.append(f"read {resource.kind}/{name}")
        return copy.deepcopy(self.store.get(ObjectId(resource.group, resource.kind, namespace, name)))

    def find(self, resource: Kind, *, namespace: str = "", selector: str = "") -> list[Object]:
        self.log.append(f"read {resource.kind}")
        if resource.kind in self.fail_read:
            raise self.fail_read[resource.kind]
        label, _equals, value = selector.partition("=")
        return [
            copy.deepcopy(obj)
            for identity, obj in self.store.items()
            if (identity.group, identity.kind) == (resource.group, resource.kind)
            and namespace in ("", identity.namespace)
            and (not selector or (obj["metadata"].get("labels") or {}).get(label) == value)
        ]

    def events(self, identity: ObjectId) -> list[Object]:
        return []

    def apply(
        self, resource: Kind, body: Mapping[str, t.Any], *, dry_run: bool, force: bool = False, manager: str = ""
    ) -> Object:
        identity = ObjectId.of(body)
        name = str(identity)
        who = f" as {manager}" if manager else ""
        self.log.append(f"{'dry ' if dry_run else ''}apply {name}{' by force' if force else ''}{who}")
        if name in self.meddle:
            self.meddle.pop(name)(self)
        if identity.namespace and ObjectId("", "Namespace", "", identity.namespace) not in self.store:
            raise ApiError(f"namespaces {identity.namespace} not found", status=404, reason="NotFound")
        if name in self.refuse:
            raise self.refuse[name]
        if not dry_run and name + who in self.fail_write:
            raise self.fail_write[name + who]
        live = self.store.get(identity)
        templates = "volumeClaimTemplates"
        wanted = (body.get("spec") or {}).get(templates)
        if identity.kind == "StatefulSet" and live and wanted and live["spec"][templates] != wanted:
            text = "updates to statefulset spec for fields other than 'replicas' and a few more are forbidden"
            raise ApiError(text, status=422, reason="Invalid", causes=[Cause("FieldValueForbidden", "spec", text)])
        others = {by: wants for (of, by), wants in self.applied.items() if of == identity and by != manager}
        held = [(tuple(path.split(".")), by) for (held_by, path), by in self.held.items() if held_by == name]
        held += [(place, by) for by, wants in others.items() for place in _leaves(wants)]
        causes = [
            Cause("FieldManagerConflict", f".{'.'.join(place)}", f'conflict with "{by}" using v1')
            for place, by in held
            if _at(live or {}, place) != _at(body, place) is not None
        ]
        if causes and not force:
            raise ConflictError("Apply failed with conflicts", status=409, reason="Conflict", causes=causes)
        others = {by: _yielded(wants, body) for by, wants in others.items()}
        after = copy.deepcopy(live or {})
        _merge(after, body, self.applied.get((identity, manager), {}), list(others.values()))
        after["metadata"].setdefault("uid", f"uid-{len(self.store)}")
        appliers = [by for by, wants in {manager: body, **others}.items() if by and _wants(wants)]
        if manager or appliers:
            after["metadata"]["managedFields"] = [{"manager": by, "operation": "Apply"} for by in appliers]
        if not dry_run and after != live:
            after["metadata"]["resourceVersion"] = str(len(self.log))
        if after["kind"] == "Namespace":
            after.setdefault("status", {"phase": "Active"})
        if after["kind"] == "CustomResourceDefinition":
            after["status"] = {"conditions": [{"type": "Established", "status": "True"}]}
        if not dry_run:
            self.store[identity] = copy.deepcopy(after)
            self.applied |= {(identity, by): wants for by, wants in others.items()}
            self.applied[identity, manager] = copy.deepcopy(dict(body))
        return after

    def delete(
        self,
        resource: Kind,
        live: Mapping[str, t.Any],
        *,
        dry_run: bool,
        orphan: bool = False,
        foreground: bool = False,
    ) -> None:
        identity = ObjectId.of(live)
        how = " alone" if orphan else " after its pods" if foreground else ""
        self.log.append(f"{'dry ' if dry_run else ''}delete {identity}{how}")
        if not dry_run:
            self.store.pop(identity, None)
            self.applied = {key: wants for key, wants in self.applied.items() if key[0] != identity}


def _merge(live: Object, desired: Mapping[str, t.Any], before: Mapping[str, t.Any], others: list[Object]) -> None:
    """Give an object what its manager wants, and take what only it wanted before."""
    for key in [*before, *(key for key in desired if key not in before)]:
        wanted, known = desired.get(key), before.get(key)
        theirs = [other[key] for other in others if key in other]
        if isinstance(wanted if key in desired else known, Mapping):
            below = live.setdefault(key, {})
            _merge(below, wanted or {}, known or {}, [other for other in theirs if isinstance(other, dict)])
            if key not in desired and not below:
                del live[key]
        elif key in desired:
            live[key] = copy.deepcopy(wanted)
        elif not theirs:
            live.pop(key, None)


def _yielded(wants: Object, body: Mapping[str, t.Any]) -> Object:
    """What a manager still holds of what it applied once another has applied a body by force."""
    held = {}
    for key, value in wants.items():
        if isinstance(value, dict) and isinstance(body.get(key), Mapping):
            held[key] = _yielded(value, body[key])
        elif key not in body or body[key] == value:
            held[key] = value
    return held


def _wants(body: Mapping[str, t.Any]) -> bool:
    names = [("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")]
    return any(place not in names for place in _leaves(body))


def _leaves(obj: Mapping[str, t.Any], place: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for key, value in obj.items():
        found += _leaves(value, (*place, key)) if isinstance(value, Mapping) else [(*place, key)]
    return found


def _at(obj: t.Any, place: tuple[str, ...]) -> t.Any:
    for part in place:
        obj = obj.get(part) if isinstance(obj, Mapping) else None
    return obj
