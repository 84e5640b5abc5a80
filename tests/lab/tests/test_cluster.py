"""The Kubernetes of the lab: what a managed cluster brings up, who may use it, that it survives."""

from __future__ import annotations

import base64
import json
import ssl
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.integration.support.lab import Lab, running_lab
from tests.lab.tests.clusters import API_VERSION, Cluster, agent_pool, cluster_body, eventually
from tests.lab.tests.leftovers import leftovers
from tests.lab.tests.test_control import kill

pytestmark = pytest.mark.lab

READER = "7f6c6a51-bcf8-42ba-9220-52d62157d7db"
# What runs without a cluster too.
ALWAYS = {"simulator", "acme"}
PARTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "aks-addons", "envoy-gateway")

WORKLOAD = """
apiVersion: v1
kind: Namespace
metadata: {name: NAME, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: NAME}
spec:
  replicas: 1
  serviceName: db
  selector: {matchLabels: {app: db}}
  volumeClaimTemplates:
    - metadata: {name: data}
      spec:
        accessModes: [ReadWriteOnce]
        storageClassName: managed-csi-premium
        resources: {requests: {storage: 1500Mi}}
  template:
    metadata: {labels: {app: db}}
    spec:
      securityContext: {runAsNonRoot: true, runAsUser: 999, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: db
          image: lab.invalid/db:1
          volumeMounts: [{name: data, mountPath: /data}]
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
"""

JOB = """
apiVersion: batch/v1
kind: Job
metadata: {name: once, namespace: NAME}
spec:
  template:
    spec:
      restartPolicy: Never
      securityContext: {runAsNonRoot: true, runAsUser: 999, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: once
          image: lab.invalid/once:1
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
"""

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front, namespace: NAME}
spec:
  gatewayClassName: approuting-istio
  listeners:
    - {name: http, port: 80, protocol: HTTP}
    - {name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: front-tls}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: front, namespace: NAME}
spec:
  parentRefs: [{name: front, sectionName: http}]
  rules: [{backendRefs: [{name: SERVICE, port: 80}]}]
"""


@pytest.fixture(scope="module")
def cluster(lab: Lab) -> Iterator[Cluster]:
    """Bring up one cluster for the tests of this module."""
    lab.reset()
    cluster = Cluster(lab)
    cluster.put(cluster_body(agent_pool("apps", count=2, nodeLabels={"tier": "apps"})))
    yield cluster
    lab.reset()


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """Give a namespace of the test's own."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    yield name
    cluster.lab.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false")


def conditions(status: dict[str, Any]) -> dict[str, str]:
    return {entry["type"]: entry["status"] for entry in status.get("conditions", [])}


# --- what comes up


def test_every_part_is_well(cluster: Cluster) -> None:
    parts = cluster.lab.status()["parts"]
    assert {name for name, part in parts.items() if part["healthy"]} == ALWAYS | set(PARTS)


def test_nodes_are_what_the_pools_say(cluster: Cluster) -> None:
    nodes = cluster.items("nodes")
    pools = [node["metadata"]["labels"]["kubernetes.azure.com/agentpool"] for node in nodes]
    assert sorted(pools) == ["apps", "apps", "system", "system", "system"]
    assert all(conditions(node["status"])["Ready"] == "True" for node in nodes)
    system = [node for node in nodes if node["metadata"]["labels"]["agentpool"] == "system"]
    assert {node["metadata"]["labels"]["topology.kubernetes.io/zone"] for node in system} == {
        "francecentral-1",
        "francecentral-2",
        "francecentral-3",
    }
    taint = {"key": "CriticalAddonsOnly", "value": "true", "effect": "NoSchedule"}
    assert all(taint in node["spec"]["taints"] for node in system)
    apps = next(node for node in nodes if node["metadata"]["labels"]["agentpool"] == "apps")
    assert apps["metadata"]["labels"]["tier"] == "apps"
    assert apps["status"]["capacity"] | {"cpu": "2", "memory": "8Gi"} == apps["status"]["capacity"]
    assert apps["status"]["allocatable"]["cpu"] == "1900m"
    assert apps["status"]["nodeInfo"]["kubeletVersion"] == "v1.35.4"


def test_storage_classes_are_those_of_aks(cluster: Cluster) -> None:
    classes = {item["metadata"]["name"]: item for item in cluster.items("storageclasses")}
    assert {"default", "managed-csi", "managed-csi-premium", "azurefile-csi"} <= classes.keys()
    premium = classes["managed-csi-premium"]
    assert (premium["provisioner"], premium["volumeBindingMode"]) == ("disk.csi.azure.com", "WaitForFirstConsumer")
    default = classes["default"]["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"]
    assert default == "true"


def test_the_server_says_a_version_that_clients_understand(cluster: Cluster) -> None:
    assert json.loads(cluster.lab.kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"] == "v1.35.4"


# --- who may use it


def test_an_entra_token_is_accepted(cluster: Cluster) -> None:
    answer = cluster.api(
        "POST",
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        token=cluster.token(),
        json={"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"},
    )
    assert answer.status_code == 201, answer.text
    info = answer.json()["status"]["userInfo"]
    assert info["username"] == cluster.lab.info["object_id"]
    assert cluster.lab.info["admin_group_id"] in info["groups"]


def test_a_token_for_another_audience_is_refused(cluster: Cluster) -> None:
    token = cluster.token(audience=cluster.lab.info["arm_endpoint"])
    assert cluster.api("GET", "/api/v1/namespaces", token=token).status_code == 401


def test_a_token_that_somebody_else_signed_is_refused(cluster: Cluster) -> None:
    claims = jwt.decode(cluster.token(), options={"verify_signature": False})
    key_id = jwt.get_unverified_header(cluster.token())["kid"]
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    forged = jwt.encode(claims, stranger, algorithm="RS256", headers={"kid": key_id})
    assert cluster.api("GET", "/api/v1/namespaces", token=forged).status_code == 401


def test_without_a_token_only_health_is_told(cluster: Cluster) -> None:
    assert cluster.api("GET", "/api/v1/namespaces").status_code == 401
    assert cluster.api("GET", "/readyz").status_code == 200


def test_azure_roles_decide_who_may_do_what(cluster: Cluster) -> None:
    second = cluster.token(client="second")
    assert cluster.api("GET", "/api/v1/namespaces/default/pods", token=second).status_code == 403
    assignment = cluster.assign(READER, cluster.lab.info["second_object_id"])
    eventually(lambda: cluster.api("GET", "/api/v1/namespaces/default/pods", token=second).status_code == 200)
    assert cluster.api("GET", "/api/v1/namespaces/default/secrets", token=second).status_code == 403
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "no"}}
    written = cluster.api("POST", "/api/v1/namespaces/default/configmaps", token=second, json=config_map)
    assert written.status_code == 403
    cluster.lab.arm("DELETE", assignment, "2022-04-01")
    eventually(lambda: cluster.api("GET", "/api/v1/namespaces/default/pods", token=second).status_code == 403)


def test_kubectl_works_as_the_lab_points_it(cluster: Cluster) -> None:
    environment = cluster.lab.client_environment
    assert cluster.lab.info["admin_kubeconfig"] != environment["KUBECONFIG"]
    answer = cluster.lab.kubectl("--kubeconfig", environment["KUBECONFIG"], "auth", "whoami", "-o", "json")
    assert json.loads(answer)["status"]["userInfo"]["username"] == cluster.lab.info["object_id"]


def test_the_kubeconfig_that_azure_hands_out_holds_no_secret(cluster: Cluster) -> None:
    answer = cluster.lab.arm("POST", f"{cluster.id}/listClusterUserCredential", API_VERSION, {})
    config = base64.b64decode(answer["kubeconfigs"][0]["value"]).decode()
    assert cluster.server in config
    assert "kubelogin" in config
    for secret in ("client-key", "token:", "password"):
        assert secret not in config


def test_service_account_tokens_can_be_checked_with_what_azure_publishes(cluster: Cluster) -> None:
    audience = "api://AzureADTokenExchange"
    token = cluster.lab.kubectl("create", "token", "default", "--audience", audience).strip()
    issuer = cluster.settled()["properties"]["oidcIssuerProfile"]["issuerURL"]
    with httpx.Client(verify=ssl.create_default_context(cafile=cluster.lab.info["ca_file"]), trust_env=False) as http:
        found = http.get(f"{issuer}.well-known/openid-configuration").json()
        keys = {key["kid"]: jwt.PyJWK(key) for key in http.get(found["jwks_uri"]).json()["keys"]}
    claims = jwt.decode(
        token, keys[jwt.get_unverified_header(token)["kid"]], algorithms=["RS256"], audience=audience, issuer=issuer
    )
    assert claims["sub"] == "system:serviceaccount:default:default"


# --- what works in it


def test_a_stateful_set_rolls_out_and_its_claim_is_bound(cluster: Cluster, namespace: str) -> None:
    cluster.apply(WORKLOAD.replace("NAME", namespace))
    cluster.lab.kubectl("-n", namespace, "rollout", "status", "statefulset/db", "--timeout=30s")
    claim = cluster.items("-n", namespace, "persistentvolumeclaims")[0]
    assert claim["status"]["phase"] == "Bound"
    assert claim["status"]["capacity"]["storage"] == "2Gi"
    volume = claim["spec"]["volumeName"]
    pod = cluster.items("-n", namespace, "pods")[0]
    node = next(item for item in cluster.items("nodes") if item["metadata"]["name"] == pod["spec"]["nodeName"])
    found = next(item for item in cluster.items("persistentvolumes") if item["metadata"]["name"] == volume)
    zone = found["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]["values"]
    assert zone == [node["metadata"]["labels"]["topology.kubernetes.io/zone"]]

    larger = json.dumps({"spec": {"resources": {"requests": {"storage": "5Gi"}}}})
    cluster.lab.kubectl("-n", namespace, "patch", "pvc", "data-db-0", "-p", larger)
    eventually(
        lambda: cluster.items("-n", namespace, "pvc")[0]["status"]["capacity"]["storage"] == "5Gi",
    )
    cluster.lab.kubectl("delete", "namespace", namespace, "--timeout=60s")
    eventually(lambda: volume not in {item["metadata"]["name"] for item in cluster.items("persistentvolumes")})


def test_a_pod_whose_node_was_away_is_ready_again(cluster: Cluster, namespace: str) -> None:
    cluster.apply(WORKLOAD.replace("NAME", namespace))
    cluster.lab.kubectl("-n", namespace, "rollout", "status", "statefulset/db", "--timeout=30s")
    away = json.dumps({"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "NodeNotReady"}]}})
    patch = ("patch", "pod", "db-0", "--subresource=status", "-p", away, "-o", "json")
    assert conditions(json.loads(cluster.lab.kubectl("-n", namespace, *patch))["status"])["Ready"] == "False"
    eventually(lambda: conditions(cluster.items("-n", namespace, "pods")[0]["status"])["Ready"] == "True")


def test_a_job_completes(cluster: Cluster, namespace: str) -> None:
    cluster.lab.kubectl("create", "namespace", namespace)
    cluster.apply(JOB.replace("NAME", namespace))
    cluster.lab.kubectl("-n", namespace, "wait", "job/once", "--for=condition=Complete", "--timeout=30s")


def test_pod_security_is_enforced(cluster: Cluster, namespace: str) -> None:
    cluster.apply(WORKLOAD.replace("NAME", namespace))
    with pytest.raises(AssertionError, match="violates PodSecurity"):
        cluster.lab.kubectl("-n", namespace, "run", "root", "--image=lab.invalid/root:1", "--privileged")


def test_pods_that_fit_nowhere_wait(cluster: Cluster, namespace: str) -> None:
    cluster.lab.kubectl("create", "namespace", namespace)
    huge = '{"spec":{"containers":[{"name":"huge","image":"x","resources":{"requests":{"cpu":"3"}}}]}}'
    cluster.lab.kubectl("-n", namespace, "run", "huge", "--image=x", f"--overrides={huge}")
    pod = eventually(lambda: [pod for pod in cluster.items("-n", namespace, "pods") if pod["status"].get("conditions")])
    assert pod[0]["status"]["conditions"][0]["reason"] == "Unschedulable"


def test_a_gateway_gets_an_address_and_says_what_is_wrong_with_it(cluster: Cluster, namespace: str) -> None:
    cluster.lab.kubectl("create", "namespace", namespace)
    cluster.lab.kubectl("-n", namespace, "create", "service", "clusterip", "web", "--tcp=80")
    cluster.apply(GATEWAY.replace("NAME", namespace).replace("SERVICE", "web"))
    cluster.lab.kubectl("-n", namespace, "wait", "gateway/front", "--for=condition=Programmed", "--timeout=30s")
    status = cluster.items("-n", namespace, "gateways")[0]["status"]
    assert status["addresses"][0]["value"]
    plain, encrypted = status["listeners"]
    assert (plain["attachedRoutes"], conditions(plain)["ResolvedRefs"]) == (1, "True")
    assert conditions(encrypted)["ResolvedRefs"] == "False"
    route = cluster.items("-n", namespace, "httproutes")[0]["status"]["parents"][0]
    assert conditions(route) | {"Accepted": "True", "ResolvedRefs": "True"} == conditions(route)

    cluster.apply(GATEWAY.replace("NAME", namespace).replace("SERVICE", "nobody"))

    def refused() -> bool:
        parents = cluster.items("-n", namespace, "httproutes")[0]["status"]["parents"]
        return conditions(parents[0])["ResolvedRefs"] == "False"

    eventually(refused)


def test_pools_grow_and_shrink(cluster: Cluster, namespace: str) -> None:
    cluster.lab.kubectl("create", "namespace", namespace)
    cluster.lab.kubectl("-n", namespace, "create", "deployment", "many", "--image=x", "--replicas=6")
    cluster.put(cluster_body(agent_pool("apps", count=4, nodeLabels={"tier": "apps"})))
    assert len(cluster.items("nodes", "-l", "agentpool=apps")) == 4
    cluster.put(cluster_body(agent_pool("apps", count=1, nodeLabels={"level": "apps"})))
    nodes = cluster.items("nodes", "-l", "agentpool=apps")
    assert len(nodes) == 1
    assert "tier" not in nodes[0]["metadata"]["labels"]
    assert nodes[0]["metadata"]["labels"]["level"] == "apps"
    cluster.lab.kubectl("-n", namespace, "rollout", "status", "deployment/many", "--timeout=60s")

    def hosts() -> set[str]:
        pods = cluster.items("-n", namespace, "pods", "--field-selector=status.phase=Running")
        return {pod["spec"]["nodeName"] for pod in pods}

    # A pod that was bound to a node just before that went is collected within a minute.
    eventually(lambda: hosts() == {nodes[0]["metadata"]["name"]}, seconds=240)
    cluster.put(cluster_body(agent_pool("apps", count=2, nodeLabels={"tier": "apps"})))


# --- what is counted


def test_requests_are_counted_by_what_they_can_do(cluster: Cluster) -> None:
    lab = cluster.lab

    def counted(*arguments: str) -> dict[str, int]:
        before = lab.status()["requests"]["kubernetes"]
        lab.kubectl(*arguments)
        after = lab.status()["requests"]["kubernetes"]
        return {effect: after[effect] - before[effect] for effect in after if after[effect] != before[effect]}

    create = ("create", "configmap", "counted", "--from-literal=a=b")
    assert counted(*create, "--dry-run=server") == {"dry_run": 1}
    assert counted(*create) == {"write": 1}
    assert counted("get", "--raw", "/api/v1/namespaces/default/configmaps/counted") == {"read": 1}
    assert counted("delete", "configmap", "counted", "--dry-run=server")["dry_run"] == 1
    assert counted("delete", "configmap", "counted", "--wait=false")["write"] == 1
    assert counted("auth", "can-i", "get", "pods")["access_review"] == 1


def test_what_the_cluster_does_by_itself_is_not_counted(cluster: Cluster, namespace: str) -> None:
    cluster.apply(WORKLOAD.replace("NAME", namespace))
    cluster.lab.kubectl("-n", namespace, "rollout", "status", "statefulset/db", "--timeout=30s")
    before = cluster.lab.status()["requests"]["kubernetes"]
    time.sleep(12)  # leases and heartbeats are renewed every ten seconds
    assert cluster.lab.status()["requests"]["kubernetes"] == before


@pytest.mark.sabotage
@pytest.mark.parametrize("part", ["kube-scheduler", "kwok", "aks-addons"])
def test_without_its_part_nothing_is_rolled_out(cluster: Cluster, namespace: str, part: str) -> None:
    kill(cluster.lab.status()["parts"][part]["pid"])
    try:
        cluster.apply(WORKLOAD.replace("NAME", namespace))
        with pytest.raises(AssertionError, match="timed out"):
            cluster.lab.kubectl("-n", namespace, "rollout", "status", "statefulset/db", "--timeout=5s")
    finally:
        cluster.lab.up()
    cluster.lab.kubectl("-n", namespace, "rollout", "status", "statefulset/db", "--timeout=30s")


@pytest.mark.sabotage
def test_without_azure_its_roles_give_nothing(cluster: Cluster) -> None:
    second = cluster.token(client="second")
    assignment = cluster.assign(READER, cluster.lab.info["second_object_id"])
    pods = "/api/v1/namespaces/default/pods"
    eventually(lambda: cluster.api("GET", pods, token=second).status_code == 200)
    server = cluster.server
    kill(cluster.lab.status()["parts"]["simulator"]["pid"])
    try:
        # What was allowed a moment ago is remembered for a few seconds; then nobody says yes (403, or 500 for why).
        eventually(lambda: not cluster.api("GET", pods, token=second, server=server).is_success, seconds=30)
    finally:
        cluster.lab.up()
    eventually(lambda: cluster.api("GET", pods, token=second).status_code == 200)
    cluster.lab.arm("DELETE", assignment, "2022-04-01")


# --- that it survives and goes


@pytest.mark.parametrize("part", PARTS)
def test_a_killed_part_comes_back_with_its_data(cluster: Cluster, namespace: str, part: str) -> None:
    lab = cluster.lab
    lab.kubectl("create", "namespace", namespace)
    kill(lab.status()["parts"][part]["pid"])
    assert not lab.status()["parts"][part]["healthy"]
    lab.up()
    assert all(found["healthy"] for found in lab.status()["parts"].values())
    cluster.apply(WORKLOAD.replace("NAME", namespace))
    lab.kubectl("-n", namespace, "rollout", "status", "statefulset/db", "--timeout=60s")
    assert cluster.api("GET", "/api/v1/namespaces", token=cluster.token()).status_code == 200


def test_everything_killed_at_once_comes_back(cluster: Cluster) -> None:
    lab = cluster.lab
    lab.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    for found in lab.status()["parts"].values():
        kill(found["pid"])
    lab.up()
    assert lab.kubectl("get", "configmap", "kept", "-o", "jsonpath={.data.a}") == "b"
    assert cluster.settled()["properties"]["provisioningState"] == "Succeeded"


def test_after_down_and_up_everything_is_there(cluster: Cluster) -> None:
    lab = cluster.lab
    lab.kubectl("create", "configmap", "stays", "--from-literal=a=b")
    lab.down()
    assert leftovers(lab.home, range(lab.port, lab.port + 8)) == []
    lab.up()
    assert lab.kubectl("get", "configmap", "stays", "-o", "jsonpath={.data.a}") == "b"


def test_the_lab_stays_below_one_gigabyte(cluster: Cluster) -> None:
    used = {name: memory(part["pid"]) for name, part in cluster.lab.status()["parts"].items()}
    print({name: f"{kilobytes / 1000:.0f} MB" for name, kilobytes in used.items()})
    assert sum(used.values()) < 1_000_000


def memory(pid: int) -> int:
    """Return the kB that a process has of its own, and its share of what it has in common with others."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def test_a_second_cluster_finds_no_quota(cluster: Cluster) -> None:
    second = Cluster(cluster.lab, name="aks-second")
    with pytest.raises((AssertionError, OSError)) as refused:
        second.put(cluster_body())
    assert "InsufficientVCPUQuota" in str(refused.value) or "400" in str(refused.value)


def test_a_deleted_cluster_is_gone_and_a_new_one_is_empty(cluster: Cluster) -> None:
    lab = cluster.lab
    lab.kubectl("create", "configmap", "forgotten", "--from-literal=a=b")
    pids = [part["pid"] for name, part in lab.status()["parts"].items() if name not in ALWAYS]
    lab.arm("DELETE", cluster.id, API_VERSION)
    eventually(lambda: set(lab.status()["parts"]) == ALWAYS, seconds=30)
    # The lab is still removing the folder when no part is left.
    eventually(lambda: not leftovers(lab.home / "clusters", range(lab.port + 1, lab.port + 8)), seconds=30)
    assert len(pids) == len(PARTS)
    cluster.put(cluster_body(agent_pool("apps", count=2, nodeLabels={"tier": "apps"})))
    assert lab.kubectl("get", "configmap", "forgotten", "--ignore-not-found") == ""


def test_an_external_cluster_takes_the_place_of_the_labs_own(cluster: Cluster) -> None:
    kubeconfig = cluster.lab.info["admin_kubeconfig"]
    with running_lab(LAB_KUBECONFIG=kubeconfig) as other:
        elsewhere = Cluster(other)
        elsewhere.put(cluster_body())
        status = other.status()
        assert set(status["parts"]) == ALWAYS | {"external-cluster"}
        assert status["parts"]["external-cluster"] == {
            "healthy": True,
            "pid": None,
            "address": cluster.server,
            "why": "",
        }
        assert other.client_environment["KUBECONFIG"] == kubeconfig
        other.arm("DELETE", elsewhere.id, API_VERSION)
    assert cluster.items("nodes")
