"""The programs of monitoring that tests use: what they accept and what they refuse."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.contract.api_server import ApiServer, api_server
from tests.lab.build.builder import built, tools
from tests.lab.images.definitions import FOLDERS
from tests.lab.tests.clusters import eventually
from tests.lab.tests.enforcer import free_port, kubeconfig_of

# Each way to find targets that the build keeps.
TARGETS = """
  - job_name: pods
    kubernetes_sd_configs: [{role: pod}]
  - job_name: names
    dns_sd_configs: [{names: [replica.example]}]
  - job_name: files
    file_sd_configs: [{files: [targets.yml]}]
"""
RULES = """groups:
  - name: nodes
    rules:
      - alert: NodeNotReady
        expr: kube_node_status_condition{condition="Ready",status="true"} == 0
        for: 5m
"""

OBJECTS = """
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: shop}}
---
{apiVersion: v1, kind: Node, metadata: {name: one}, spec: {unschedulable: true}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec:
  nodeName: one
  automountServiceAccountToken: false
  containers: [{name: web, image: "lab.invalid/web:1", resources: {limits: {memory: 64Mi}}}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: shop}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
{apiVersion: v1, kind: Secret, metadata: {name: hidden, namespace: shop}}
"""
STATUSES = {
    "nodes/one": {"conditions": [{"type": "Ready", "status": "False"}]},
    "namespaces/shop/pods/web": {
        "phase": "Pending",
        "containerStatuses": [
            {
                **{"name": "web", "ready": False, "restartCount": 3, "image": "lab.invalid/web:1", "imageID": ""},
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
            }
        ],
    },
}
# https://github.com/kubernetes/kube-state-metrics/tree/v2.20.0/docs/metrics
TOLD = (
    'kube_namespace_status_phase{namespace="shop",phase="Active"} 1',
    'kube_node_spec_unschedulable{node="one"} 1',
    'kube_node_status_condition{node="one",condition="Ready",status="true"} 0',
    'kube_pod_container_status_restarts_total{namespace="shop",pod="web",uid="UID",container="web"} 3',
    'kube_pod_container_status_waiting_reason{namespace="shop",pod="web",uid="UID",container="web",'
    'reason="CrashLoopBackOff"} 1',
    'kube_pod_container_status_last_terminated_reason{namespace="shop",pod="web",uid="UID",container="web",'
    'reason="OOMKilled"} 1',
    'kube_pod_container_resource_limits{namespace="shop",pod="web",uid="UID",container="web",node="one",'
    'resource="memory",unit="byte"} 6.7108864e+07',
    'kube_persistentvolumeclaim_resource_requests_storage_bytes{namespace="shop",persistentvolumeclaim="data"} '
    "1.073741824e+09",
)


def run(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([built(name).binary, *arguments], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("name", ["promtool", "amtool"])
def test_it_says_its_version(name: str) -> None:
    assert f"{name}, version {tools()[name].version} " in run(name, "--version").stdout


def test_promtool_checks_a_configuration_and_rules(tmp_path: Path) -> None:
    rules, configuration = tmp_path / "rules.yml", tmp_path / "prometheus.yml"
    rules.write_text(RULES)
    default = (FOLDERS[0] / "prometheus/prometheus.yml").read_text()
    configuration.write_text(f"{default}{TARGETS}rule_files: [{rules}]\n")
    checked = run("promtool", "check", "config", configuration)
    assert checked.returncode == 0, checked.stderr
    assert "1 rules found" in checked.stdout
    rules.write_text(RULES.replace("== 0", "=== 0"))
    assert run("promtool", "check", "config", configuration).returncode == 1


def test_amtool_checks_a_configuration(tmp_path: Path) -> None:
    configuration = tmp_path / "alertmanager.yml"
    configuration.write_text((FOLDERS[0] / "alertmanager/alertmanager.yml").read_text())
    assert run("amtool", "check-config", configuration).returncode == 0
    configuration.write_text(configuration.read_text().replace("receiver: nobody", "receiver: somebody"))
    assert run("amtool", "check-config", configuration).returncode == 1


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """Serve an API with a pod that crashes on a node that is not ready."""
    with api_server(tmp_path_factory.mktemp("kubernetes"), free_port) as running:
        for manifest in yaml.safe_load_all(OBJECTS):
            assert running.apply(manifest).status in {200, 201}
        for path, status in STATUSES.items():
            patch = {"status": status}
            answer = running.request("PATCH", f"/api/v1/{path}/status", patch, kind="application/merge-patch+json")
            assert answer.status == 200, answer.message
        yield running


@contextmanager
def kube_state_metrics(
    server: ApiServer, folder: Path, resources: str
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Let it watch these resources; yields its address and its process."""
    tool, kubeconfig, port = built("kube-state-metrics"), folder / "kubeconfig", free_port()
    kubeconfig.write_text(yaml.safe_dump(kubeconfig_of(server)))
    ports = ["--host=127.0.0.1", f"--port={port}", "--telemetry-host=127.0.0.1", f"--telemetry-port={free_port()}"]
    command = [str(tool.binary), f"--kubeconfig={kubeconfig}", f"--resources={resources}", *ports]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.terminate()


def page(url: str) -> str:
    try:
        answer = httpx.get(url, timeout=5, trust_env=False)
    except httpx.HTTPError:
        return ""
    return answer.text if answer.is_success else ""


def test_kube_state_metrics_tells_what_rules_ask_for(server: ApiServer, tmp_path: Path) -> None:
    pod: dict[str, Any] = server.request("GET", "/api/v1/namespaces/shop/pods/web").body
    told = [line.replace("UID", pod["metadata"]["uid"]) for line in TOLD]
    resources = "namespaces,nodes,persistentvolumeclaims,pods"
    with kube_state_metrics(server, tmp_path, resources) as (address, _):
        eventually(lambda: all(line in page(f"{address}/metrics").splitlines() for line in told), seconds=60)
        assert page(f"{address}/livez")
        assert "kube_secret" not in page(f"{address}/metrics")


@pytest.mark.sabotage
def test_kube_state_metrics_does_not_tell_what_it_is_not_asked_for(server: ApiServer, tmp_path: Path) -> None:
    with kube_state_metrics(server, tmp_path, "namespaces") as (address, _):
        eventually(lambda: TOLD[0] in page(f"{address}/metrics").splitlines(), seconds=60)
        assert "kube_pod" not in page(f"{address}/metrics")


def test_kube_state_metrics_refuses_unknown_resources(server: ApiServer, tmp_path: Path) -> None:
    with kube_state_metrics(server, tmp_path, "nothing") as (_, process):
        assert process.wait(60) != 0
    assert "nothing" in (tmp_path / "log").read_text()
