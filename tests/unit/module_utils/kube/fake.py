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
        self.applied: dict[ObjectId, Object] = {}
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
                self.kinds.append(Kind(spec["group"], "v1", spec["names"]["kind"], spec["scope"] == "Namespaced"))

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
        self.log.append(f"{'dry ' if dry_run else ''}apply {name}{' by force' if force else ''}")
        if name in self.meddle:
            self.meddle.pop(name)(self)
        if identity.namespace and ObjectId("", "Namespace", "", identity.namespace) not in self.store:
            raise ApiError(f"namespaces {identity.namespace} not found", status=404, reason="NotFound")
        if name in self.refuse:
            raise self.refuse[name]
        if not dry_run and name in self.fail_write:
            raise self.fail_write[name]
        live = self.store.get(identity)
        templates = "volumeClaimTemplates"
        if identity.kind == "StatefulSet" and live and live["spec"][templates] != body["spec"][templates]:
            text = "updates to statefulset spec for fields other than 'replicas' and a few more are forbidden"
            raise ApiError(text, status=422, reason="Invalid", causes=[Cause("FieldValueForbidden", "spec", text)])
        after = _merged(copy.deepcopy(live or {}), body, self.applied.get(identity, {}))
        causes = [
            Cause("FieldManagerConflict", f".{path}", f'conflict with "{manager}" using v1')
            for (held_by, path), manager in self.held.items()
            if held_by == name and _at(live or {}, path) != _at(dict(body), path) is not None
        ]
        if causes and not force:
            raise ConflictError("Apply failed with conflicts", status=409, reason="Conflict", causes=causes)
        after["metadata"].setdefault("uid", f"uid-{len(self.store)}")
        if not dry_run and after != live:
            after["metadata"]["resourceVersion"] = str(len(self.log))
        if after["kind"] == "Namespace":
            after.setdefault("status", {"phase": "Active"})
        if after["kind"] == "CustomResourceDefinition":
            after["status"] = {"conditions": [{"type": "Established", "status": "True"}]}
        if not dry_run:
            self.store[identity] = copy.deepcopy(after)
            self.applied[identity] = copy.deepcopy(dict(body))
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


def _merged(live: Object, desired: Mapping[str, t.Any], before: Mapping[str, t.Any]) -> Object:
    for key in before:
        if key not in desired:
            live.pop(key, None)
    for key, value in desired.items():
        if isinstance(value, Mapping):
            known = before.get(key)
            live[key] = _merged(dict(live.get(key) or {}), value, known if isinstance(known, Mapping) else {})
        else:
            live[key] = copy.deepcopy(value)
    return live


def _at(obj: t.Any, path: str) -> t.Any:
    for part in path.split("."):
        obj = obj.get(part) if isinstance(obj, Mapping) else None
    return obj
