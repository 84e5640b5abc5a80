# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import typing as t

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.redaction import Redactor
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.objects import (
    ObjectId,
    disclose,
    normalise,
    rank,
    seal,
    secret_values,
)

MARKER = "${secret:/v#root}"


def manifest(kind: str, name: str = "a", namespace: str | None = "n", **rest: t.Any) -> dict[str, t.Any]:
    api = {"Deployment": "apps/v1", "ClusterRole": "rbac.authorization.k8s.io/v1"}.get(kind, "v1")
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **rest}


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_documents_come_in_the_order_of_creation() -> None:
    kinds = ["ValidatingWebhookConfiguration", "HTTPRoute", "MariaDB", "Deployment", "Service", "ConfigMap"]
    kinds += ["ServiceAccount", "CustomResourceDefinition", "Namespace"]
    found = normalise([manifest(kind) for kind in kinds])
    assert [m.id.kind for m in found] == kinds[::-1]


def test_lists_are_unfolded_and_empty_documents_skipped() -> None:
    found = normalise([None, {}, {"kind": "List", "apiVersion": "v1", "items": [manifest("ConfigMap")]}])
    assert [str(m.id) for m in found] == ["ConfigMap/n/a"]


def test_what_the_server_owns_is_left_out() -> None:
    document = manifest("ConfigMap", status={"x": 1}, data={"a": "1", "b": None})
    document["metadata"] |= {"uid": "u", "resourceVersion": "1", "creationTimestamp": None}
    assert normalise([document])[0].body == manifest("ConfigMap", data={"a": "1"})


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"kind": "ConfigMap", "metadata": {"name": "a"}}, "apiVersion is missing"),
        ({"apiVersion": "v1", "metadata": {"name": "a"}}, "kind is missing"),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "a-"}}, "generateName"),
        (manifest("ConfigMap", namespace=None), "metadata.namespace is missing"),
        (manifest("ConfigMap", name=MARKER), "cannot be a deferred value"),
        ("text", "not a mapping"),
    ],
)
def test_what_is_no_manifest_is_refused(document: t.Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        normalise([document])


def test_an_object_is_declared_once_whatever_the_version() -> None:
    one = {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "a", "namespace": "n"},
    }
    with pytest.raises(InputError, match="declared more than once"):
        normalise([one, {**one, "apiVersion": "autoscaling/v2"}])


def test_a_namespace_on_a_cluster_scoped_object_is_dropped() -> None:
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.x.io"},
        "spec": {"group": "x.io", "names": {"kind": "Thing"}, "scope": "Cluster"},
    }
    thing = {"apiVersion": "x.io/v1", "kind": "Thing", "metadata": {"name": "t", "namespace": "n"}}
    other = {"apiVersion": "y.io/v1", "kind": "Other", "metadata": {"name": "o", "namespace": "n"}}
    found = normalise([crd, thing, manifest("ClusterRole"), other], namespaced={("y.io", "Other"): False})
    assert {str(m.id) for m in found} == {
        "CustomResourceDefinition/things.x.io",
        "Thing/t",
        "ClusterRole/a",
        "Other/o",
    }


def test_a_secret_is_sent_as_data_without_what_is_not_known() -> None:
    body = manifest("Secret", stringData={"user": "anna", "pass": MARKER}, data={"old": encoded("x")})
    assert seal(body)["data"] == {"user": encoded("anna"), "old": encoded("x")}
    assert seal(body, keep_deferred=True)["data"]["pass"] == MARKER
    assert "stringData" not in seal(body)
    assert body["stringData"]["pass"] == MARKER


def test_desired_and_live_secrets_show_the_same_fingerprint() -> None:
    redactor = Redactor(b"k")
    desired = disclose(manifest("Secret", stringData={"p": "correct horse", "q": MARKER}), redactor)
    live = disclose(manifest("Secret", data={"p": encoded("correct horse")}), redactor)
    assert desired["data"]["p"] == live["data"]["p"] == redactor.fingerprint("correct horse")
    assert desired["data"]["q"] == MARKER
    assert "correct horse" not in str(desired) + str(live)
    assert encoded("correct horse") not in str(live)


def test_disclosed_objects_hold_no_bookkeeping() -> None:
    live = manifest("ConfigMap", data={"a": "1"})
    live["metadata"] |= {
        "uid": "u",
        "managedFields": [{}],
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "secret", "keep": "me"},
    }
    shown = disclose(live, Redactor())
    assert shown["metadata"] == {"name": "a", "namespace": "n", "annotations": {"keep": "me"}}


def test_secret_values_are_plain() -> None:
    body = manifest("Secret", stringData={"a": "one", "m": MARKER}, data={"b": encoded("two"), "c": "%%%"})
    assert sorted(secret_values(body)) == ["%%%", "one", "two"]
    assert secret_values(manifest("ConfigMap", data={"a": "one"})) == []


def test_ids_read_as_kind_namespace_name() -> None:
    assert str(ObjectId("", "Namespace", "", "x")) == "Namespace/x"
    assert ObjectId.of(manifest("Deployment")).group_kind == "Deployment.apps"
    assert ObjectId.of(manifest("ConfigMap")).group_kind == "ConfigMap"
    assert rank("Namespace") < rank("CustomResourceDefinition") < rank("Secret") < rank("Deployment") < rank("Thing")
