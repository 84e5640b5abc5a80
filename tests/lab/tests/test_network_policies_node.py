"""Network policies on a real node: a kubelet's pods, kube-proxy's Services, the cluster's DNS."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.support.lab import Lab
from tests.lab.tests.clusters import Cluster, eventually

pytestmark = pytest.mark.lab

NAMESPACES = ("shop", "other")

# Says "open", "closed" (the packet got there, and nobody listens), or "cut".
CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3).close()
    print("open")
except ConnectionRefusedError:
    print("closed")
except OSError:
    print("cut")
"""
DENY = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
SERVES = 8080
COREFILE = f""".:{SERVES} {{
  template ANY ANY {{
    rcode NXDOMAIN
  }}
}}
"""


@dataclass
class Pods:
    """Pods of a lab's real node, which all run CoreDNS: a static program that the node has, and that listens."""

    lab: Lab

    def kubectl(self, *arguments: str, typed: Any = None) -> str:
        done = subprocess.run(
            [self.lab.info["kubectl"], f"--kubeconfig={self.lab.home / 'admin.kubeconfig'}", *arguments],
            input=json.dumps(typed) if typed else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def apply(self, *objects: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", typed={"apiVersion": "v1", "kind": "List", "items": list(objects)})

    def start(self, namespace: str, *names: str) -> None:
        """Start pods and wait until their probes, which the node makes, are answered."""
        about = {"namespace": namespace, "name": "corefile"}
        corefile = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": {"Corefile": COREFILE}}
        self.apply(corefile, *(self.manifest(namespace, name) for name in names))
        self.kubectl("-n", namespace, "wait", "--for=condition=Ready", "--timeout=110s", *(f"pod/{n}" for n in names))

    def manifest(self, namespace: str, name: str) -> dict[str, Any]:
        deployment = json.loads(self.kubectl("-n", "kube-system", "get", "deployment", "coredns", "-o", "json"))
        image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
        container = {
            "name": "main",
            "image": image,
            "imagePullPolicy": "Never",
            "args": ["-conf", "/etc/coredns/Corefile"],
            "volumeMounts": [{"name": "corefile", "mountPath": "/etc/coredns"}],
            "readinessProbe": {"tcpSocket": {"port": SERVES}, "periodSeconds": 1},
            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
        }
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": namespace, "name": name, "labels": {"app": name}},
            "spec": {
                "containers": [container],
                "volumes": [{"name": "corefile", "configMap": {"name": "corefile"}}],
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 0,
            },
        }

    def address(self, namespace: str, name: str) -> str:
        return self.kubectl("-n", namespace, "get", "pod", name, "-o", "jsonpath={.status.podIP}")

    def reaches(self, namespace: str, name: str, address: str, port: int) -> str:
        """Connect from inside the network of a pod."""
        uid = self.kubectl("-n", namespace, "get", "pod", name, "-o", "jsonpath={.metadata.uid}")
        for process in Path("/proc").glob("[0-9]*"):
            try:
                inside = uid in (process / "cgroup").read_text().replace("_", "-")
            except OSError:
                continue
            if inside:
                done = subprocess.run(
                    ["nsenter", f"--net={process}/ns/net", sys.executable, "-c", CONNECT, address, str(port)],
                    capture_output=True,
                    text=True,
                    check=True,
                    timeout=30,
                )
                return done.stdout.strip()
        raise AssertionError(f"no process of pod {namespace}/{name}")


@pytest.fixture(scope="module")
def pods(real_cluster: Cluster) -> Iterator[Pods]:
    """Two namespaces with pods."""
    found = Pods(real_cluster.lab)
    for name in NAMESPACES:
        found.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        accounts = ("-n", name, "get", "serviceaccounts", "-o", "name")
        eventually(functools.partial(_contains, found, "default", *accounts))
    found.start("shop", "web", "db")
    found.start("other", "stranger")
    yield found
    found.kubectl("delete", "namespace", *NAMESPACES)


def _contains(pods: Pods, what: str, *arguments: str) -> bool:
    return what in pods.kubectl(*arguments)


def policy(name: str, spec: dict[str, Any], kind: str = "NetworkPolicy") -> dict[str, Any]:
    api = {"NetworkPolicy": "networking.k8s.io/v1", "CiliumNetworkPolicy": "cilium.io/v2"}[kind]
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": "shop"}, "spec": spec}


def test_policies_hold_on_real_pods_through_services_and_restarts(pods: Pods) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "db", "namespace": "shop"},
        "spec": {"selector": {"app": "db"}, "ports": [{"port": 3306, "targetPort": SERVES}]},
    }
    pods.apply(service)
    address = pods.kubectl("-n", "shop", "get", "service", "db", "-o", "jsonpath={.spec.clusterIP}")

    def answers() -> tuple[str, str]:
        return pods.reaches("shop", "web", address, 3306), pods.reaches("other", "stranger", address, 3306)

    eventually(lambda: answers() == ("open", "open"), seconds=60)
    peer = {"podSelector": {"matchLabels": {"app": "web"}}}
    rule = {"from": [peer], "ports": [{"port": SERVES}]}
    from_web = policy("db", {"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [rule]})
    to_db = policy(
        "web",
        {
            "podSelector": {"matchLabels": {"app": "web"}},
            "policyTypes": ["Egress"],
            "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "db"}}}]}],
        },
    )
    pods.apply(policy("deny", DENY), from_web, to_db)
    eventually(lambda: answers() == ("open", "cut"), seconds=60)
    # Probes come from the node: a pod of an isolated namespace becomes ready.
    pods.kubectl("-n", "shop", "delete", "pod", "db")
    pods.start("shop", "db")
    eventually(lambda: answers() == ("open", "cut"), seconds=60)
    # The enforcer is gone: its rules stay.
    _kill_enforcer(pods.lab)
    assert answers() == ("open", "cut")
    pods.lab.up()
    # Sabotage: without the policy of the database, nobody gets through.
    pods.kubectl("-n", "shop", "delete", "networkpolicy", "db")
    eventually(lambda: answers() == ("cut", "cut"), seconds=60)


def test_the_api_server_and_azure_are_reached_by_who_may(pods: Pods) -> None:
    pods.apply(policy("deny", DENY))
    api = pods.kubectl("-n", "default", "get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}")
    eventually(lambda: pods.reaches("shop", "web", api, 443) == "cut", seconds=60)
    ports = [{"ports": [{"port": "443", "protocol": "TCP"}]}]
    selector = {"matchLabels": {"app": "web"}}
    rules = [{"toEntities": ["kube-apiserver"], "toPorts": ports}]
    pods.apply(policy("api", {"endpointSelector": selector, "egress": rules}, "CiliumNetworkPolicy"))
    eventually(lambda: pods.reaches("shop", "web", api, 443) == "open", seconds=60)
    assert pods.reaches("shop", "db", api, 443) == "cut"

    name = pods.lab.info["authority_host_in_cluster"].removeprefix("https://").partition(":")[0]
    port = int(pods.lab.info["authority_host_in_cluster"].rpartition(":")[2])
    node = json.loads(pods.kubectl("get", "nodes", "-o", "json"))["items"]
    azure = next(
        entry["address"]
        for item in node
        if "kwok.x-k8s.io/node" not in item["metadata"].get("annotations", {})
        for entry in item["status"]["addresses"]
        if entry["type"] == "InternalIP"
    )
    assert pods.reaches("shop", "web", azure, port) == "cut"
    servers = {"matchLabels": {"k8s:io.kubernetes.pod.namespace": "kube-system", "k8s:k8s-app": "kube-dns"}}
    asking = [{"ports": [{"port": "53", "protocol": "ANY"}], "rules": {"dns": [{"matchName": name}]}}]
    rules = [{"toEndpoints": [servers], "toPorts": asking}, {"toFQDNs": [{"matchName": name}], "toPorts": ports}]
    pods.apply(policy("azure", {"endpointSelector": selector, "egress": rules}, "CiliumNetworkPolicy"))
    eventually(lambda: pods.reaches("shop", "web", azure, port) == "open", seconds=60)
    assert pods.reaches("shop", "db", azure, port) == "cut"


def _kill_enforcer(lab: Lab) -> None:
    (part,) = [part for name, part in lab.status()["parts"].items() if name.endswith("network-policies")]
    os.kill(int(part["pid"]), signal.SIGKILL)
