"""Workload identity as AKS has it: what pods get, and what Entra gives for the token they get."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import jwt
import pytest
import yaml

from tests.integration.support.lab import Lab
from tests.lab.cluster import workload_identity
from tests.lab.tests.clusters import Cluster, agent_pool, cluster_body

pytestmark = pytest.mark.lab

PREFIX = "azure.workload.identity"
CLIENT = "11111111-2222-4333-8444-555555555555"
AUDIENCE = "api://AzureADTokenExchange"
IDENTITY_API = "2023-01-31"
VAULT = "https://vault.azure.net"


@pytest.fixture(scope="module")
def cluster(lab: Lab) -> Iterator[Cluster]:
    """Bring up one cluster for the tests of this module."""
    lab.reset()
    cluster = Cluster(lab)
    cluster.put(cluster_body(agent_pool("apps", count=1)))
    yield cluster
    lab.reset()


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """Give a namespace with a ServiceAccount `app` that stands for an identity."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    cluster.lab.kubectl("create", "namespace", name)
    service_account(cluster, name, client_id=CLIENT)
    yield name
    cluster.lab.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false")


def service_account(cluster: Cluster, namespace: str, *, name: str = "app", **annotations: str) -> None:
    metadata = {"name": name, "namespace": namespace, "annotations": _prefixed(annotations)}
    cluster.apply(yaml.safe_dump({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}))


def _prefixed(annotations: dict[str, str]) -> dict[str, str]:
    return {f"{PREFIX}/{key.replace('_', '-')}": value for key, value in annotations.items()}


def pod(
    cluster: Cluster, namespace: str, *, label: str = "true", account: str = "app", spec: Any = None, **annotations: str
) -> dict[str, Any]:
    """Make a pod and return its spec as the API server keeps it."""
    document = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"p-{uuid.uuid4().hex[:6]}",
            "namespace": namespace,
            "labels": {f"{PREFIX}/use": label},
            "annotations": _prefixed(annotations),
        },
        "spec": {"serviceAccountName": account, "containers": [{"name": "app", "image": "lab.invalid/app:1"}]}
        | (spec or {}),
    }
    made = cluster.lab.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(document))
    found: dict[str, Any] = json.loads(made)["spec"]
    return found


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container.get("env", [])}


def tokens(spec: dict[str, Any]) -> list[dict[str, Any]]:
    found = [one for one in spec.get("volumes", []) if one["name"] == "azure-identity-token"]
    return [source["serviceAccountToken"] for one in found for source in one["projected"]["sources"]]


def mounts(container: dict[str, Any]) -> list[dict[str, Any]]:
    return [mount for mount in container.get("volumeMounts", []) if mount["name"] == "azure-identity-token"]


def test_a_pod_gets_its_token_and_environment(cluster: Cluster, namespace: str) -> None:
    spec = pod(cluster, namespace, spec={"initContainers": [{"name": "init", "image": "lab.invalid/init:1"}]})
    info = cluster.lab.info
    for container in (*spec["containers"], *spec["initContainers"]):
        assert environment(container) == {
            "AZURE_CLIENT_ID": CLIENT,
            "AZURE_TENANT_ID": info["tenant_id"],
            "AZURE_FEDERATED_TOKEN_FILE": "/var/run/secrets/azure/tokens/azure-identity-token",
            "AZURE_AUTHORITY_HOST": f"{info['authority_host']}/",
        }
        mount = {"name": "azure-identity-token", "mountPath": "/var/run/secrets/azure/tokens", "readOnly": True}
        assert mounts(container) == [mount]
    assert tokens(spec) == [{"path": "azure-identity-token", "audience": AUDIENCE, "expirationSeconds": 3600}]


def test_a_pod_without_service_account_token_gets_it_too(cluster: Cluster, namespace: str) -> None:
    assert tokens(pod(cluster, namespace, spec={"automountServiceAccountToken": False}))


def test_pods_of_controllers_get_it_too(cluster: Cluster, namespace: str) -> None:
    cluster.apply(f"""
apiVersion: batch/v1
kind: Job
metadata: {{name: app, namespace: {namespace}}}
spec:
  template:
    metadata: {{labels: {{{PREFIX}/use: "true"}}}}
    spec:
      serviceAccountName: app
      restartPolicy: Never
      containers: [{{name: app, image: lab.invalid/app:1}}]
""")
    cluster.lab.kubectl("wait", "-n", namespace, "--for=create", "pod", "-l", "job-name=app", "--timeout=60s")
    (made,) = cluster.items("pods", "-n", namespace, "-l", "job-name=app")
    assert environment(made["spec"]["containers"][0])["AZURE_CLIENT_ID"] == CLIENT


@pytest.mark.parametrize("label", ["false", "yes"])
def test_only_the_label_asks_for_it(cluster: Cluster, namespace: str, label: str) -> None:
    spec = pod(cluster, namespace, label=label)
    assert (tokens(spec), environment(spec["containers"][0])) == ([], {})


def test_another_account_of_the_namespace_is_another_identity(cluster: Cluster, namespace: str) -> None:
    service_account(cluster, namespace, name="plain")
    service_account(cluster, namespace, name="elsewhere", client_id="second", tenant_id="other-tenant")
    plain = environment(pod(cluster, namespace, account="plain")["containers"][0])
    assert "AZURE_CLIENT_ID" not in plain
    assert plain["AZURE_TENANT_ID"] == cluster.lab.info["tenant_id"]
    elsewhere = environment(pod(cluster, namespace, account="elsewhere")["containers"][0])
    assert (elsewhere["AZURE_CLIENT_ID"], elsewhere["AZURE_TENANT_ID"]) == ("second", "other-tenant")


def test_containers_can_be_left_out_and_keep_what_they_say_themselves(cluster: Cluster, namespace: str) -> None:
    own = {"name": "AZURE_TENANT_ID", "value": "mine"}
    containers = [{"name": name, "image": "lab.invalid/app:1", "env": [own]} for name in ("app", "proxy", "log")]
    spec = pod(cluster, namespace, spec={"containers": containers}, skip_containers="proxy; log")
    found = {container["name"]: container for container in spec["containers"]}
    assert environment(found["app"])["AZURE_TENANT_ID"] == "mine"
    assert environment(found["app"])["AZURE_CLIENT_ID"] == CLIENT
    for name in ("proxy", "log"):
        assert (environment(found[name]), mounts(found[name])) == ({"AZURE_TENANT_ID": "mine"}, [])


@pytest.mark.parametrize(
    ("on_pod", "on_account", "seconds"), [("", "7200", 7200), ("86400", "7200", 86400), ("3600", "1", 3600)]
)
def test_the_token_lives_as_long_as_asked(
    cluster: Cluster, namespace: str, on_pod: str, on_account: str, seconds: int
) -> None:
    service_account(cluster, namespace, name="timed", service_account_token_expiration=on_account)
    annotations = {"service_account_token_expiration": on_pod} if on_pod else {}
    assert tokens(pod(cluster, namespace, account="timed", **annotations))[0]["expirationSeconds"] == seconds


@pytest.mark.parametrize(
    ("seconds", "why"), [("3599", "between 3600 and 86400"), ("86401", "between"), ("soon", "type conversion")]
)
def test_no_other_life_time_is_taken(cluster: Cluster, namespace: str, seconds: str, why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        pod(cluster, namespace, service_account_token_expiration=seconds)


def test_without_the_mutation_no_pod_starts_unnoticed(cluster: Cluster, namespace: str) -> None:
    """The sabotage of the tests above: their policy is taken away, as in the moment when an account is too new."""
    binding = ("MutatingAdmissionPolicyBinding", "azure-wi-webhook-mutating-webhook")
    (document,) = (
        one
        for one in workload_identity.policies(
            tenant_id=cluster.lab.info["tenant_id"], authority_host=cluster.lab.info["authority_host"]
        )
        if (one["kind"], one["metadata"]["name"]) == binding
    )
    cluster.lab.kubectl("delete", *binding)
    try:
        with pytest.raises(AssertionError, match="not known to the workload identity webhook yet"):
            for _ in range(50):  # until the API server has heard of it
                pod(cluster, namespace)
    finally:
        cluster.apply(yaml.safe_dump(document))
    cluster.lab.kubectl("wait", "--for=create", "/".join(binding))


@pytest.fixture(scope="module")
def identity(cluster: Cluster) -> dict[str, str]:
    """Make a managed identity for the ServiceAccount `trusted/app`, and the account."""
    return managed_identity(cluster)


def managed_identity(cluster: Cluster) -> dict[str, str]:
    group = cluster.id.partition("/providers/")[0]
    identity = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/app"
    made = cluster.lab.arm("PUT", identity, IDENTITY_API, {"location": "francecentral"})["properties"]
    issuer = cluster.settled()["properties"]["oidcIssuerProfile"]["issuerURL"]
    properties = {"issuer": issuer, "subject": "system:serviceaccount:trusted:app", "audiences": [AUDIENCE]}
    credential = f"{identity}/federatedIdentityCredentials/app"
    cluster.lab.arm("PUT", credential, IDENTITY_API, {"properties": properties})
    for name in ("trusted", "foreign"):
        cluster.lab.kubectl("create", "namespace", name)
        service_account(cluster, name, client_id=made["clientId"])
    return {"client_id": made["clientId"], "principal_id": made["principalId"]}


def exchange(cluster: Cluster, client_id: str, namespace: str, *, audience: str = AUDIENCE) -> httpx.Response:
    """Ask Entra for a token for Key Vault with one that the API server made for the ServiceAccount `app`."""
    token = cluster.lab.kubectl("create", "token", "app", "-n", namespace, f"--audience={audience}").strip()
    info = cluster.lab.info
    with cluster._http() as http:
        return http.post(
            f"{info['authority_host']}/{info['tenant_id']}/oauth2/v2.0/token",
            data={
                "grant_type": "client_credentials",
                "client_id": client_id,
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion": token,
                "scope": f"{VAULT}/.default",
            },
        )


def test_entra_takes_the_token_of_the_trusted_account(cluster: Cluster, identity: dict[str, str]) -> None:
    answer = exchange(cluster, identity["client_id"], "trusted")
    assert answer.status_code == 200, answer.text
    claims = jwt.decode(answer.json()["access_token"], options={"verify_signature": False})
    assert (claims["oid"], claims["aud"]) == (identity["principal_id"], VAULT)


@pytest.mark.parametrize(
    ("namespace", "audience", "code"),
    [("foreign", AUDIENCE, "AADSTS700213"), ("trusted", "https://elsewhere.example", "AADSTS700212")],
)
def test_entra_takes_no_other_token(
    cluster: Cluster, identity: dict[str, str], namespace: str, audience: str, code: str
) -> None:
    answer = exchange(cluster, identity["client_id"], namespace, audience=audience)
    assert answer.status_code in {400, 401}
    assert code in answer.json()["error_description"]


def test_it_goes_where_it_is_switched_off(cluster: Cluster, namespace: str) -> None:
    body = cluster_body(agent_pool("apps", count=1))
    try:
        cluster.put(body | {"properties": body["properties"] | {"securityProfile": {}}})
        assert cluster.items("mutatingadmissionpolicies") == []
        deadline = time.monotonic() + 30
        found: list[dict[str, Any]] = [{"name": "not asked yet"}]
        while found and time.monotonic() < deadline:  # the API server judges by what it has seen of its policies so far
            with contextlib.suppress(AssertionError):
                found = tokens(pod(cluster, namespace))
            time.sleep(0.5)
        assert found == []
    finally:
        cluster.put(body)
