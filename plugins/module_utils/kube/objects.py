# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Manifests: what they are called, where they live, and the form in which they are compared and sent."""

from __future__ import annotations

import base64
import binascii
import copy
import dataclasses
import fnmatch
import typing as t
from collections.abc import Iterable, Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.redaction import Redactor
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.references import is_deferred

__all__ = [
    "CLUSTER_SCOPED",
    "LAST_APPLIED",
    "Manifest",
    "ObjectId",
    "disclose",
    "normalise",
    "rank",
    "seal",
    "secret_values",
    "split_api_version",
]

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

CLUSTER_SCOPED = frozenset(
    {
        # built in (kubectl api-resources --namespaced=false, Kubernetes 1.35)
        "APIService",
        "CSIDriver",
        "CSINode",
        "CertificateSigningRequest",
        "ClusterRole",
        "ClusterRoleBinding",
        "ClusterTrustBundle",
        "CustomResourceDefinition",
        "DeviceClass",
        "FlowSchema",
        "IPAddress",
        "IngressClass",
        "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding",
        "MutatingWebhookConfiguration",
        "Namespace",
        "Node",
        "PersistentVolume",
        "PriorityClass",
        "PriorityLevelConfiguration",
        "RuntimeClass",
        "ServiceCIDR",
        "StorageClass",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
        "VolumeAttachment",
        "VolumeAttributesClass",
        # custom resources of what this platform installs
        "ClusterExternalSecret",
        "ClusterIssuer",
        "ClusterSecretStore",
        "GatewayClass",
        "VolumeSnapshotClass",
        "VolumeSnapshotContent",
    }
)
"""Kinds without a namespace, as far as they are known before a cluster can be asked."""

_RANKS = (
    ("Namespace",),
    ("CustomResourceDefinition",),
    ("PriorityClass", "StorageClass", "RuntimeClass", "IngressClass", "CSIDriver", "VolumeSnapshotClass"),
    ("ResourceQuota", "LimitRange", "NetworkPolicy"),
    ("ServiceAccount",),
    ("ClusterRole", "Role"),
    ("ClusterRoleBinding", "RoleBinding"),
    ("Secret", "ConfigMap"),
    ("PersistentVolume",),
    ("PersistentVolumeClaim",),
    ("PodDisruptionBudget",),
    ("Service",),
    ("StatefulSet", "DaemonSet", "Deployment", "ReplicaSet", "Pod", "Job", "CronJob"),
    ("HorizontalPodAutoscaler",),
    (),  # kinds not named here: custom resources, after the operators that serve them
    ("Application",),  # after its project
    ("GatewayClass",),
    ("Gateway", "Ingress"),
    ("HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute", "ReferenceGrant"),
    ("APIService",),
    ("ValidatingAdmissionPolicy", "MutatingAdmissionPolicy"),
    ("ValidatingAdmissionPolicyBinding", "MutatingAdmissionPolicyBinding"),
    ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"),
)
_RANK_OF = {kind: index for index, kinds in enumerate(_RANKS) for kind in kinds}
_OTHER = _RANKS.index(())

_SERVER_FIELDS = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid")


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class ObjectId:
    """What makes an object one object, whatever version of its API is used."""

    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}" if self.namespace else f"{self.kind}/{self.name}"

    @property
    def group_kind(self) -> str:
        """C(Deployment.apps), or C(ConfigMap) for the core group."""
        return f"{self.kind}.{self.group}" if self.group else self.kind

    def matches(self, patterns: Iterable[str]) -> bool:
        """Whether a pattern names it, C(Kind/namespace/name), or C(Kind/name) without a namespace; C(*) is anything."""
        names = {str(self), f"{self.kind}/{self.namespace}/{self.name}"}
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in names)

    @classmethod
    def of(cls, obj: Mapping[str, t.Any]) -> ObjectId:
        """The id of an object as the API server returns it."""
        metadata = obj.get("metadata") or {}
        group, _version = split_api_version(obj["apiVersion"])
        return cls(group, obj["kind"], metadata.get("namespace") or "", metadata["name"])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A desired object.

    Attributes:
        id: which object.
        api_version: the version it is written in.
        body: the whole manifest, deferred values still as markers, C(stringData) still plain.
    """

    id: ObjectId
    api_version: str
    body: dict[str, t.Any]

    @property
    def type(self) -> str:
        """C(apps/v1/Deployment)."""
        return f"{self.api_version}/{self.id.kind}"


def split_api_version(api_version: str) -> tuple[str, str]:
    """Group and version; the core group is the empty string."""
    group, _slash, version = api_version.rpartition("/")
    return group, version


def rank(kind: str) -> int:
    """Place of a kind in the order of creation: what others need comes first, what judges them (webhooks) last."""
    return _RANK_OF.get(kind, _OTHER)


def normalise(
    documents: Iterable[Mapping[str, t.Any] | None], *, namespaced: Mapping[tuple[str, str], bool] | None = None
) -> list[Manifest]:
    """Documents as manifests, in order of creation.

    Lists are unfolded, empty documents skipped, server-owned fields and nulls left out.

    Args:
        documents: parsed YAML documents.
        namespaced: scope by (group, kind), as far as the cluster told it.

    Raises:
        InputError: a document is no manifest, has no fixed name, or occurs twice.
    """
    bodies = [body for document in documents for body in _unfold(document)]
    scopes = {**_scopes_of_crds(bodies), **(namespaced or {})}
    found: dict[ObjectId, Manifest] = {}
    for body in bodies:
        manifest = _manifest(body, scopes)
        if manifest.id in found:
            raise InputError(
                "declared more than once", where=str(manifest.id), remedy="Keep one of the documents of this name"
            )
        found[manifest.id] = manifest
    return sorted(found.values(), key=lambda manifest: (rank(manifest.id.kind), manifest.id.group_kind, manifest.id))


def seal(body: Mapping[str, t.Any], *, keep_deferred: bool = False) -> dict[str, t.Any]:
    """The body as it is sent: of a Secret C(stringData) becomes C(data).

    Args:
        body: the manifest.
        keep_deferred: keep the markers of values that are not known yet; otherwise they are left out.
    """
    sealed = copy.deepcopy(dict(body))
    if not _is_secret(sealed):
        return sealed
    data = dict(sealed.get("data") or {})
    plain = sealed.pop("stringData", None) or {}
    data |= {
        key: value if is_deferred(value) else base64.b64encode(str(value).encode()).decode()
        for key, value in plain.items()
    }
    if data or "data" in sealed:
        sealed["data"] = {key: value for key, value in data.items() if keep_deferred or not is_deferred(value)}
    return sealed


def disclose(body: Mapping[str, t.Any], redactor: Redactor) -> dict[str, t.Any]:
    """The body as it may be shown: a Secret's values are fingerprints, markers stay, no bookkeeping of the server.

    Works for a desired body (C(stringData)) and for a live object (C(data)) alike and gives equal results for equal
    secrets.
    """
    shown = dict(body)
    metadata = dict(shown.get("metadata") or {})
    for field in _SERVER_FIELDS:
        metadata.pop(field, None)
    if LAST_APPLIED in (metadata.get("annotations") or {}):
        metadata["annotations"] = {k: v for k, v in metadata["annotations"].items() if k != LAST_APPLIED}
    if metadata:
        shown["metadata"] = metadata
    if not _is_secret(shown):
        return shown
    plain = shown.pop("stringData", None) or {}
    data = {key: _fingerprint(_decoded(value), value, redactor) for key, value in (shown.get("data") or {}).items()}
    data |= {key: _fingerprint(str(value), value, redactor) for key, value in plain.items()}
    if data or "data" in shown:
        shown["data"] = data
    return shown


def secret_values(body: Mapping[str, t.Any]) -> list[str]:
    """Every plain value a Secret holds, whether desired or live."""
    if not _is_secret(body):
        return []
    values = [_decoded(value) for value in (body.get("data") or {}).values() if not is_deferred(value)]
    return values + [str(value) for value in (body.get("stringData") or {}).values() if not is_deferred(value)]


def _is_secret(body: Mapping[str, t.Any]) -> bool:
    return body.get("kind") == "Secret" and body.get("apiVersion") == "v1"


def _fingerprint(plain: str, written: t.Any, redactor: Redactor) -> str:
    return str(written) if is_deferred(written) else redactor.fingerprint(plain)


def _decoded(value: t.Any) -> str:
    try:
        return base64.b64decode(str(value), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return str(value)


def _unfold(document: t.Any) -> list[dict[str, t.Any]]:
    if not document:
        return []
    if not isinstance(document, Mapping):
        raise InputError(f"a document is {type(document).__name__}, not a mapping: {str(document)[:60]!r}")
    if str(document.get("kind", "")).endswith("List") and "items" in document:
        return [body for item in document["items"] or () for body in _unfold(item)]
    return [dict(document)]


def _scopes_of_crds(bodies: Iterable[Mapping[str, t.Any]]) -> dict[tuple[str, str], bool]:
    scopes = {}
    for body in bodies:
        spec = body.get("spec")
        if body.get("kind") == "CustomResourceDefinition" and isinstance(spec, Mapping):
            kind = (spec.get("names") or {}).get("kind", "")
            scopes[(str(spec.get("group", "")), str(kind))] = spec.get("scope") == "Namespaced"
    return scopes


def _manifest(body: dict[str, t.Any], scopes: Mapping[tuple[str, str], bool]) -> Manifest:
    api_version, kind = body.get("apiVersion"), body.get("kind")
    metadata = body.get("metadata")
    metadata = dict(metadata) if isinstance(metadata, Mapping) else {}
    name, namespace = metadata.get("name"), metadata.get("namespace")
    where = f"{kind or 'document'}/{name or '?'}"
    for field, value in (("apiVersion", api_version), ("kind", kind), ("metadata.name", name)):
        if not isinstance(value, str) or not value:
            remedy = "generateName makes a new object in every run: give it a name" if field == "metadata.name" else ""
            raise InputError(f"{field} is missing", where=where, remedy=remedy)
    for part in (name, namespace):
        if is_deferred(part):
            raise InputError("the name of an object cannot be a deferred value", where=where)
    group, _version = split_api_version(str(api_version))
    has_namespace = scopes.get((group, str(kind)), kind not in CLUSTER_SCOPED)
    if has_namespace and not namespace and (kind in _RANK_OF or (group, kind) in scopes):
        raise InputError("metadata.namespace is missing", where=where, remedy="Name the namespace it belongs to")
    if not has_namespace:
        metadata.pop("namespace", None)
    clean = _without_nulls({**body, "metadata": {k: v for k, v in metadata.items() if k not in _SERVER_FIELDS}})
    clean.pop("status", None)
    identity = ObjectId(group, str(kind), str(metadata.get("namespace") or ""), str(name))
    return Manifest(id=identity, api_version=str(api_version), body=clean)


def _without_nulls(value: t.Any) -> t.Any:
    if isinstance(value, Mapping):
        return {str(key): _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
