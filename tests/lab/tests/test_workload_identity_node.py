"""Workload identity on a real node: a pod logs in with what it was given, at the address that pods have for Entra."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.build import builder
from tests.lab.nodes import containerd
from tests.lab.nodes.images import Image
from tests.lab.tests.clusters import Cluster, eventually
from tests.lab.tests.containers import real_node
from tests.lab.tests.test_workload_identity import PREFIX, VAULT, managed_identity

pytestmark = pytest.mark.lab

IMAGE = "lab.internal/federated-login:test"
NAMESPACES = ("trusted", "foreign")


@pytest.fixture(scope="module")
def identity(real_cluster: Cluster) -> Iterator[dict[str, str]]:
    """Make a managed identity that the ServiceAccount `trusted/app` may use, and an image that logs in."""
    image = Image(name=IMAGE, files={"login": builder.built("federated-login").binary}, entrypoint=["/login"])
    containerd.import_images(real_node(real_cluster.lab), [image])
    yield managed_identity(real_cluster)
    real_cluster.lab.kubectl("delete", "namespace", *NAMESPACES)


def login(cluster: Cluster, namespace: str, name: str, *, authorities: str = "", label: str = "true") -> dict[str, Any]:
    """Log in from a pod that trusts those authorities, else the lab's; what it printed."""
    about = {"name": name, "namespace": namespace}
    data = {"ca.crt": authorities or Path(cluster.lab.info["ca_file"]).read_text()}
    container = {
        "name": "login",
        "image": IMAGE,
        "args": [f"{VAULT}/.default"],
        "env": [{"name": "SSL_CERT_FILE", "value": "/authorities/ca.crt"}],
        "volumeMounts": [{"name": "authorities", "mountPath": "/authorities"}],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": about | {"labels": {f"{PREFIX}/use": label}},
        "spec": {
            "serviceAccountName": "app",
            "restartPolicy": "Never",
            "containers": [container],
            "volumes": [{"name": "authorities", "configMap": {"name": name}}],
        },
    }
    for document in ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": data}, pod):
        cluster.apply(json.dumps(document))
    about_it = ("-n", namespace, "get", "pod", name, "-o", "jsonpath={.status.phase}")
    eventually(lambda: cluster.lab.kubectl(*about_it) == "Succeeded", seconds=90, every=0.5)
    said: dict[str, Any] = json.loads(cluster.lab.kubectl("-n", namespace, "logs", name))
    return said


def test_a_pod_of_the_trusted_account_logs_in(real_cluster: Cluster, identity: dict[str, str]) -> None:
    said = login(real_cluster, "trusted", "good")
    assert said.get("status") == 200, said
    assert (said["claims"]["oid"], said["claims"]["aud"]) == (identity["principal_id"], VAULT)


@pytest.mark.sabotage
def test_a_pod_of_another_account_is_refused(real_cluster: Cluster, identity: dict[str, str]) -> None:
    """It has the client id, the issuer and the audience of the other: only its subject is wrong."""
    del identity
    said = login(real_cluster, "foreign", "wrong-subject")
    assert said["status"] in {400, 401}, said
    assert "AADSTS700213" in said["error"]


@pytest.mark.sabotage
def test_a_pod_without_the_label_has_nothing_to_log_in_with(real_cluster: Cluster, identity: dict[str, str]) -> None:
    del identity
    assert "no such file" in login(real_cluster, "trusted", "unlabelled", label="false")["error"]


@pytest.mark.sabotage
def test_a_pod_that_does_not_trust_the_lab_says_nothing_to_it(real_cluster: Cluster, identity: dict[str, str]) -> None:
    del identity
    other = Path(real_cluster.lab.kubectl("config", "view", "--raw", "-o", AUTHORITY)).read_text()
    said = login(real_cluster, "trusted", "distrustful", authorities=other)
    assert "unknown authority" in said["error"]


AUTHORITY = "jsonpath={.clusters[0].cluster.certificate-authority}"
