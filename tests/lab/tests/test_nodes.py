"""A lab with a real node: pods run, find each other, and cannot get out."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.lab.control.home import AZURE_NAME, CONTROL_PORTS, ENTRA_NAME, NODE_PORTS, Home
from tests.lab.images.registry import Registry
from tests.lab.nodes.node import RealNode
from tests.lab.tests.clusters import Cluster, eventually
from tests.lab.tests.containers import BUSYBOX, busybox, real_node
from tests.lab.tests.registries import push_image

pytestmark = pytest.mark.lab

SECONDS = 90
NOT_DAEMONS = {"etcd-peer", "dns", "acme-management", "gateway-http", "gateway-https", "envoy-gateway"}
NOT_DAEMONS |= {"blobs"}  # nobody asked for one
WEB = """
apiVersion: v1
kind: Namespace
metadata: {name: NAME, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: v1
kind: Secret
metadata: {name: page, namespace: NAME}
stringData: {index.html: "kept in a Secret"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NAME}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      securityContext:
        {runAsNonRoot: true, runAsUser: 1001, fsGroup: 2002, seccompProfile: {type: RuntimeDefault}}
      volumes:
        - {name: page, secret: {secretName: page}}
        - {name: data, emptyDir: {}}
      containers:
        - name: web
          image: IMAGE
          command: [sh, -c, "id; trap exit TERM; httpd -p 8080 -h /page; while :; do sleep 1; done"]
          ports: [{containerPort: 8080}]
          readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
          resources: {requests: {cpu: "1", memory: 1Gi}, limits: {memory: 2Gi}}
          volumeMounts: [{name: page, mountPath: /page}, {name: data, mountPath: /data}]
          securityContext:
            {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: NAME}
spec:
  type: LoadBalancer
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
"""


@pytest.fixture(scope="module")
def cluster(real_cluster: Cluster) -> Cluster:
    """Share the one of the session."""
    return real_cluster


@pytest.fixture(scope="module")
def web(cluster: Cluster) -> Iterator[str]:
    """Run two web servers behind a load balancer; the namespace."""
    name = "web"
    cluster.apply(WEB.replace("NAME", name).replace("IMAGE", BUSYBOX))
    cluster.lab.kubectl("-n", name, "rollout", "status", "deployment/web", f"--timeout={SECONDS}s")
    yield name
    cluster.lab.kubectl("delete", "namespace", name)


def in_pod(cluster: Cluster, namespace: str, *command: str, check: bool = True) -> str:
    return cluster.lab.kubectl("-n", namespace, "exec", "deployment/web", "--", *command, check=check)


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - an address of the lab
        return str(answer.read().decode())


def run_pod(cluster: Cluster, namespace: str, name: str, spec: dict[str, Any]) -> None:
    """Run one pod; `spec` is what differs from one that sleeps."""
    container = {"name": "main", "image": BUSYBOX, "command": ["sleep", "600"], **spec.pop("container", {})}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container], **spec},
    }
    cluster.apply(json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}))
    cluster.apply(json.dumps(pod))


def phase(cluster: Cluster, namespace: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cluster.lab.kubectl("-n", namespace, "get", "pod", name, "-o", "json"))
    return found


# --- what comes up


def test_every_part_is_well_and_status_says_what_pods_run_on(cluster: Cluster) -> None:
    status = cluster.lab.status()
    assert {name for name, part in status["parts"].items() if part["healthy"]} == (
        {*CONTROL_PORTS, *NODE_PORTS} - NOT_DAEMONS
    )
    assert (status["nodes"], cluster.lab.info["nodes"]) == ("containers", "containers")
    assert f"nodes: containers ({status['nodes_why']})" in cluster.lab.command("status").stdout
    assert status["nodes_why"]


def test_one_node_is_real_and_has_what_its_virtual_machine_would_have(cluster: Cluster, node: RealNode) -> None:
    nodes = {found["metadata"]["name"]: found for found in cluster.items("nodes")}
    real = nodes.pop(node.name)
    assert real["status"]["nodeInfo"]["containerRuntimeVersion"].startswith("containerd://1.")
    assert real["status"]["capacity"] | {"cpu": "4", "memory": "16Gi", "pods": "250"} == real["status"]["capacity"]
    assert real["status"]["allocatable"] | {"cpu": "3860m"} == real["status"]["allocatable"]
    assert real["metadata"]["labels"]["topology.kubernetes.io/zone"] == "francecentral-1"
    assert real["metadata"]["labels"]["agentpool"] == "apps"
    assert "taints" not in real["spec"]
    assert {found["status"]["nodeInfo"]["osImage"] for found in nodes.values()} == {"simulated by kwok"}
    assert len(nodes) == 5


def test_requests_of_the_node_are_not_counted(cluster: Cluster, web: str) -> None:
    del web
    cluster.lab.command("reset", "--counters")
    time.sleep(2)
    assert sum(cluster.lab.status()["requests"]["kubernetes"].values()) == 0


# --- pods


def test_a_restricted_pod_runs_with_its_volumes_and_its_user(cluster: Cluster, web: str) -> None:
    said = cluster.lab.kubectl("-n", web, "logs", "deployment/web")
    assert "uid=1001" in said
    assert "2002" in said
    assert "kept in a Secret" in in_pod(cluster, web, "cat", "/page/index.html")
    in_pod(cluster, web, "touch", "/data/mine")
    assert "2002" in in_pod(cluster, web, "ls", "-ln", "/data/mine")
    refused = in_pod(cluster, web, "sh", "-c", "touch /mine 2>&1 || true")
    assert "Read-only file system" in refused


def test_pods_have_names_and_services(cluster: Cluster, web: str) -> None:
    found = in_pod(cluster, web, "nslookup", f"web.{web}.svc.cluster.local")
    service = json.loads(cluster.lab.kubectl("-n", web, "get", "service", "web", "-o", "json"))
    assert service["spec"]["clusterIP"] in found
    assert "kept in a Secret" in in_pod(cluster, web, "sh", "-c", ask(service["spec"]["clusterIP"], 80))
    balancer = service["status"]["loadBalancer"]["ingress"][0]["ip"]
    assert "kept in a Secret" in in_pod(cluster, web, "sh", "-c", ask(balancer, 80))


def ask(address: str, port: int) -> str:
    return f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {address} {port}"


def test_the_machine_reaches_a_load_balancer(cluster: Cluster, web: str) -> None:
    del web
    assert fetch(cluster.lab.info["gateway_http"]) == "kept in a Secret"
    with pytest.raises((urllib.error.URLError, OSError)):
        fetch(cluster.lab.info["gateway_https"].replace("https", "http"))


def test_pods_use_the_api_server_by_its_service(cluster: Cluster, web: str) -> None:
    endpoints = cluster.items("endpointslices", "-n", "default", "-l", "kubernetes.io/service-name=kubernetes")
    assert endpoints[0]["endpoints"][0]["addresses"] == [real_node(cluster.lab).address]
    in_pod(cluster, web, "nc", "-z", "-w", "5", "kubernetes.default.svc.cluster.local", "443", check=False)
    in_pod(cluster, web, "sh", "-c", "nc -w 5 10.0.0.1 443 < /dev/null")


def test_an_image_comes_from_the_registry_of_the_lab_whatever_its_name(cluster: Cluster, namespace: str) -> None:
    # Another image than the one that is there, for a kubelet asks again for one that it has by another name.
    digest = push_image(Registry(Home.open(cluster.lab.home)), busybox(namespace, user="1:1"), "platform/tool", "1")
    image = {"image": "crlab.azurecr.io/platform/tool:1", "imagePullPolicy": "Always"}
    run_pod(cluster, namespace, "pulled", {"container": image})
    eventually(lambda: phase(cluster, namespace, "pulled")["status"]["phase"] == "Running", seconds=SECONDS)
    (container,) = phase(cluster, namespace, "pulled")["status"]["containerStatuses"]
    assert container["imageID"] == f"crlab.azurecr.io/platform/tool@{digest}"


@pytest.mark.sabotage
def test_what_the_registry_does_not_hold_is_not_pulled(cluster: Cluster, namespace: str) -> None:
    image = {"image": "crlab.azurecr.io/platform/other:1", "imagePullPolicy": "Always"}
    run_pod(cluster, namespace, "pulled", {"container": image})

    def reason() -> bool:
        states = phase(cluster, namespace, "pulled")["status"].get("containerStatuses") or []
        return bool(states) and states[0]["state"].get("waiting", {}).get("reason") in {
            "ErrImagePull",
            "ImagePullBackOff",
        }

    eventually(reason, seconds=SECONDS)


# --- where pods go


def test_ordinary_pods_go_to_the_real_node_and_are_measured_by_its_virtual_machine(
    cluster: Cluster, node: RealNode, namespace: str
) -> None:
    for number in range(3):
        request = {"resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}}
        run_pod(cluster, namespace, f"plain-{number}", {"container": request})
    run_pod(cluster, namespace, "large", {"container": {"resources": {"requests": {"cpu": "3500m"}}}})

    def placed() -> bool:
        pods = {pod["metadata"]["name"]: pod for pod in cluster.items("pods", "-n", namespace)}
        plain = [pod for name, pod in pods.items() if name != "large"]
        running = all(pod["status"]["phase"] == "Running" and pod["spec"]["nodeName"] == node.name for pod in plain)
        return running and len(plain) == 3 and "nodeName" not in pods["large"]["spec"]

    eventually(placed, seconds=SECONDS)


def test_a_daemon_set_runs_on_the_real_node_alone(cluster: Cluster, namespace: str) -> None:
    cluster.apply(json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}))
    template = {
        "metadata": {"labels": {"app": "agent"}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "tolerations": [{"key": "CriticalAddonsOnly", "operator": "Exists"}],
            "containers": [{"name": "agent", "image": BUSYBOX, "command": ["sleep", "600"]}],
        },
    }
    document = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "agent", "namespace": namespace},
        "spec": {"selector": {"matchLabels": {"app": "agent"}}, "template": template},
    }
    cluster.apply(json.dumps(document))
    cluster.lab.kubectl("-n", namespace, "rollout", "status", "daemonset/agent", f"--timeout={SECONDS}s")
    found = json.loads(cluster.lab.kubectl("-n", namespace, "get", "daemonset", "agent", "-o", "json"))
    assert found["status"]["desiredNumberScheduled"] == 1


@pytest.mark.parametrize(
    ("policy", "tolerated", "zones"),
    [("Ignore", True, 3), ("Honor", False, 1)],
    ids=["three zones for pods that tolerate simulated nodes", "all on the real node when taints are honoured"],
)
def test_zones(cluster: Cluster, namespace: str, policy: str, tolerated: bool, zones: int) -> None:
    cluster.apply(json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}))
    toleration = {"key": "kwok.x-k8s.io/node", "operator": "Exists", "effect": "NoSchedule"}
    spread = {
        "maxSkew": 1,
        "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "nodeTaintsPolicy": policy,
        "labelSelector": {"matchLabels": {"app": "spread"}},
    }
    spec = {
        "terminationGracePeriodSeconds": 0,
        "tolerations": [toleration] if tolerated else [],
        "topologySpreadConstraints": [spread],
        "containers": [{"name": "main", "image": BUSYBOX, "command": ["sleep", "600"]}],
    }
    document = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "spread", "namespace": namespace},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "spread"}},
            "template": {"metadata": {"labels": {"app": "spread"}}, "spec": spec},
        },
    }
    cluster.apply(json.dumps(document))
    cluster.lab.kubectl("-n", namespace, "rollout", "status", "deployment/spread", f"--timeout={SECONDS}s")
    labels = {found["metadata"]["name"]: found["metadata"]["labels"] for found in cluster.items("nodes")}
    used = {
        labels[pod["spec"]["nodeName"]]["topology.kubernetes.io/zone"] for pod in cluster.items("pods", "-n", namespace)
    }
    assert len(used) == zones


# --- in and out


@pytest.mark.parametrize("name", [AZURE_NAME, ENTRA_NAME])
def test_pods_reach_the_simulated_azure_by_names_that_its_certificate_carries(
    cluster: Cluster, node: RealNode, web: str, name: str
) -> None:
    assert node.address in in_pod(cluster, web, "nslookup", name)
    port = 443 if name == ENTRA_NAME else httpx.URL(cluster.lab.info["authority_host_in_cluster"]).port
    in_pod(cluster, web, "sh", "-c", f"nc -w 5 {node.address} {port} < /dev/null")
    # busybox speaks no TLS: the same connection, with its certificate verified, from beside the pods.
    code = (
        "import socket, ssl, sys\n"
        "host, address, port, ca = sys.argv[1:]\n"
        "raw = socket.create_connection((address, int(port)), timeout=5)\n"
        "tls = ssl.create_default_context(cafile=ca).wrap_socket(raw, server_hostname=host)\n"
        "path = '/metadata/endpoints?api-version=2022-09-01'\n"
        "tls.sendall(f'GET {path} HTTP/1.0\\r\\nHost: {host}\\r\\n\\r\\n'.encode())\n"
        "print(tls.recv(100).decode().splitlines()[0])"
    )
    ca = cluster.lab.info["ca_file"]
    assert "200" in node.namespace.run(sys.executable, "-c", code, name, node.address, str(port), ca)


def test_nothing_else_of_the_outside_is_reached(cluster: Cluster, node: RealNode, web: str) -> None:
    for address in ("1.1.1.1", "192.0.2.1", "10.224.1.5"):
        refused = in_pod(cluster, web, "sh", "-c", f"nc -w 20 {address} 443 < /dev/null 2>&1; echo code $?")
        assert "code 1" in refused
        assert "timed out" not in refused, "it should be refused, not be left waiting"
    assert "NXDOMAIN" in in_pod(cluster, web, "sh", "-c", "nslookup graph.microsoft.com 2>&1 || true")
    links = node.namespace.run("ip", "-brief", "link").splitlines()
    assert {line.split("@")[0].split()[0] for line in links if not line.startswith("veth")} == {"lo", "lab0", "lab1"}


@pytest.mark.sabotage
def test_an_address_that_exists_inside_is_reached(cluster: Cluster, node: RealNode, web: str) -> None:
    """Without this the refusals above would prove nothing."""
    node.namespace.run("ip", "address", "add", "192.0.2.1/32", "dev", "lab0")
    server = [sys.executable, "-c", "import socket; s = socket.create_server(('192.0.2.1', 443)); s.accept()"]
    with subprocess.Popen(node.namespace.command(server)) as process:
        try:

            def reached() -> bool:
                answer = in_pod(cluster, web, "sh", "-c", "nc -w 5 192.0.2.1 443 < /dev/null 2>&1; echo code $?")
                return "code 0" in answer

            eventually(reached, seconds=20)
        finally:
            process.kill()
            node.namespace.run("ip", "address", "del", "192.0.2.1/32", "dev", "lab0")


def test_the_machine_has_no_route_into_the_node(cluster: Cluster, node: RealNode, web: str) -> None:
    pod = cluster.items("pods", "-n", web)[0]["status"]["podIP"]
    for address in (pod, node.address):
        route = subprocess.run(["ip", "route", "get", address], capture_output=True, text=True, check=False)
        assert not any(name in route.stdout for name in ("lab0", "veth")), route.stdout


def test_the_kubelet_refuses_strangers(node: RealNode) -> None:
    code = (
        "import ssl, sys, urllib.error, urllib.request\n"
        "context = ssl._create_unverified_context()\n"
        "try: urllib.request.urlopen(sys.argv[1], context=context, timeout=5)\n"
        "except urllib.error.HTTPError as exc: print(exc.code)"
    )
    assert node.namespace.run(sys.executable, "-c", code, f"https://{node.address}:10250/pods").strip() == "401"
