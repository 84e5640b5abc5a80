"""The real API server, with Pod Security and quotas, judges every object that the roles render for the cluster."""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.vault import certificates, passwords
from ansible_collections.audioprothese.platform.plugins.plugin_utils.helm import render_chart

from tests.contract.api_server import ApiServer, api_server
from tests.contract.conftest import Manifests, find
from tests.contract.rendered import INVENTORIES, Documents, charts
from tests.lab.build.builder import built

# Applied for good because the judgement of others depends on them.
FIRST = ("Namespace", "PriorityClass", "StorageClass", "ServiceAccount")
SIGN_IN = ("alertmanager-sign-in", "prometheus-sign-in")
# With their pods under the standard "restricted"; what sees machines has tests of its own.
WORKLOADS = {
    *SIGN_IN,
    "alertmanager",
    "blackbox-exporter",
    "kube-state-metrics",
    "loki",
    "mariadb",
    "mysqld-exporter",
    "openmrs-backend",
    "openmrs-frontend",
    "openmrs-gateway",
    "prometheus",
    "run-reports",
}
ARGO_CD = {
    "argocd-application-controller",
    "argocd-notifications-controller",
    "argocd-redis",
    "argocd-repo-server",
    "argocd-server",
}
# Left out where platform_grafana and platform_argocd are false.
OPTIONAL = {"grafana", *ARGO_CD}
ASKS_THE_API = {"kube-state-metrics", "prometheus"} | ARGO_CD - {"argocd-redis", "argocd-repo-server"}
# Argo CD keeps in Secrets where it delivers from and to. A repository that anybody may read has no password.
NO_SECRETS = {"cluster-in-cluster", "repository"}
KUBERNETES = "1.35"
PORTS = {22, 80, 443, 3000, 3100, 3306, 4180, 6379, 8080, 8081, 8082, 8083, 8084, 8888, 9001}
PORTS |= {9090, 9093, 9100, 9104, 9105, 9113, 9115, 44180}
NAMESPACES = ("access", "argocd", "openmrs", "mariadb", "gateway", "monitoring", "logging", "node-monitoring")


@pytest.fixture(scope="module", params=INVENTORIES)
def manifests(request: pytest.FixtureRequest, rendered: Callable[[str], Documents]) -> Manifests:
    """All objects of an inventory, those of charts included."""
    collected, helm = rendered(request.param), str(built("helm").binary)
    made = [manifest for one in charts(collected) for manifest in render_chart(one, helm_binary=helm)]
    return [*collected["kubernetes"], *made]


@contextlib.contextmanager
def prepared(manifests: Manifests, folder: Path, free_port: Callable[[], int]) -> Iterator[ApiServer]:
    """A server with the Gateway API and with what the judgement of other objects depends on."""
    with api_server(folder, free_port) as found:
        found.define_gateway_api()
        found.define_cilium()
        found.define_argo_cd()
        for kind in FIRST:
            for manifest in manifests:
                if manifest["kind"] == kind:
                    answer = found.apply(manifest)
                    assert answer.status in (200, 201), answer.message
        yield found


@pytest.fixture(scope="module")
def server(
    manifests: Manifests, tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> Iterator[ApiServer]:
    """One server for all tests that only ask."""
    with prepared(manifests, tmp_path_factory.mktemp("kubernetes"), free_port) as found:
        yield found


@pytest.fixture
def own_server(manifests: Manifests, tmp_path: Path, free_port: Callable[[], int]) -> Iterator[ApiServer]:
    """A server for a test that leaves objects behind."""
    with prepared(manifests, tmp_path, free_port) as found:
        yield found


def pod_of(workload: dict[str, Any], *, number: int = 0) -> dict[str, Any]:
    """The pod a controller would create."""
    template = copy.deepcopy(workload["spec"]["template"])
    for claim in workload["spec"].get("volumeClaimTemplates", []):
        name = claim["metadata"]["name"]
        template["spec"].setdefault("volumes", []).append(
            {"name": name, "persistentVolumeClaim": {"claimName": f"{name}-0"}}
        )
    metadata = {
        **template["metadata"],
        "name": f"{workload['metadata']['name']}-{number}",
        "namespace": workload["metadata"]["namespace"],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def workloads(manifests: Manifests) -> Manifests:
    found = [manifest for manifest in manifests if manifest["kind"] in ("Deployment", "StatefulSet")]
    assert {manifest["metadata"]["name"] for manifest in found} - OPTIONAL == WORKLOADS
    return found


def disclosed(manifest: dict[str, Any], pair: tuple[str, str]) -> dict[str, Any]:
    """A Secret with values of the kind that the vault would give; anything else as it is."""
    if manifest["kind"] != "Secret":
        return manifest
    values = {
        key: pair[0] if "-key}" in marker else pair[1] if "-certificate}" in marker else passwords.random_password()
        for key, marker in manifest["stringData"].items()
    }
    return {**manifest, "stringData": values}


def test_every_object_is_accepted_without_a_warning(server: ApiServer, manifests: Manifests) -> None:
    refused, warned = [], []
    key = certificates.signing_key()
    authority = certificates.certificate_authority(
        key_pem=key, common_name="contract", validity_days=1, now=dt.datetime.now(dt.UTC)
    )
    for manifest in manifests:
        answer = server.apply(disclosed(manifest, (key, authority)), dry_run=True)
        name = f"{manifest['kind']}/{manifest['metadata']['name']}"
        if answer.status not in (200, 201):
            refused.append(f"{name}: {answer.message}")
        warned += [f"{name}: {warning}" for warning in answer.warnings]
    assert refused == []
    assert warned == []


def test_the_published_schemas_agree(manifests: Manifests) -> None:
    """Strict: what they do not name is refused. Who defines a kind of his own has no schema there."""
    strangers = set()
    for manifest in manifests:
        try:
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            strangers.add(manifest["apiVersion"].partition("/")[0])
    assert strangers <= {"gateway.networking.k8s.io", "cilium.io", "argoproj.io"}


@pytest.mark.sabotage
def test_the_published_schemas_refuse_what_they_do_not_name(manifests: Manifests) -> None:
    workload = copy.deepcopy(workloads(manifests)[0])
    workload["spec"]["template"]["spec"]["containers"][0]["imagePolicy"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError, match="imagePolicy"):
        kubernetes_validate.validate(workload, KUBERNETES, strict=True)


def test_every_pod_meets_the_restricted_standard(server: ApiServer, manifests: Manifests) -> None:
    for workload in workloads(manifests):
        answer = server.create(pod_of(workload), dry_run=True)
        assert (answer.status, answer.warnings) == (201, []), answer.message


@pytest.mark.sabotage
@pytest.mark.parametrize(
    "weaken",
    [
        lambda spec: spec["securityContext"].pop("seccompProfile"),
        lambda spec: spec["securityContext"].update(runAsNonRoot=False),
        lambda spec: spec["containers"][0]["securityContext"].pop("capabilities"),
        lambda spec: spec["containers"][0]["securityContext"].update(allowPrivilegeEscalation=True),
        lambda spec: spec.setdefault("volumes", []).append({"name": "host", "hostPath": {"path": "/"}}),
    ],
)
def test_a_weakened_pod_is_refused(
    server: ApiServer, manifests: Manifests, weaken: Callable[[dict[str, Any]], Any]
) -> None:
    for workload in workloads(manifests):
        weakened = copy.deepcopy(workload)
        weaken(weakened["spec"]["template"]["spec"])
        assert server.create(pod_of(weakened), dry_run=True).status == 403
        assert server.apply(weakened, dry_run=True).warnings


def test_two_daemons_see_machines_and_no_other_pod_does(manifests: Manifests) -> None:
    daemons = [manifest for manifest in manifests if manifest["kind"] == "DaemonSet"]
    assert {(daemon["metadata"]["namespace"], daemon["metadata"]["name"]) for daemon in daemons} == {
        ("node-monitoring", "node-exporter"),
        ("node-monitoring", "otel-collector"),
    }
    for workload in workloads(manifests):
        spec = workload["spec"]["template"]["spec"]
        assert workload["metadata"]["namespace"] != "node-monitoring"
        assert not {"hostNetwork", "hostPID"} & set(spec)
        assert not [volume for volume in spec.get("volumes", []) if "hostPath" in volume]


def test_the_collector_reads_logs_as_their_owner_and_writes_its_own_folder_only(
    server: ApiServer, manifests: Manifests
) -> None:
    daemon = find(manifests, "DaemonSet", "otel-collector")
    assert server.create(pod_of(daemon), dry_run=True).status == 201
    spec = daemon["spec"]["template"]["spec"]
    [container] = spec["containers"]
    volumes = {volume["name"]: volume.get("hostPath", {}).get("path") for volume in spec["volumes"]}
    mounts = {mount["name"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
    assert volumes == {"configuration": None, "logs": "/var/log/pods", "state": "/var/lib/platform-otel-collector"}
    assert mounts == {"configuration": True, "logs": True, "state": False}
    assert spec["automountServiceAccountToken"] is False
    # As another user and without the folders of the node, nothing is left that the standard of all others would refuse.
    spec["securityContext"] |= {"runAsUser": 10001, "runAsNonRoot": True}
    spec["volumes"] = [volume for volume in spec["volumes"] if "hostPath" not in volume]
    container["volumeMounts"] = [mount for mount in container["volumeMounts"] if mount["name"] == "configuration"]
    spec["serviceAccountName"] = "run-reports"
    daemon["metadata"]["namespace"] = "monitoring"
    answer = server.create(pod_of(daemon), dry_run=True)
    assert (answer.status, answer.warnings) == (201, []), answer.message


def test_the_node_exporter_sees_machines_and_changes_nothing(server: ApiServer, manifests: Manifests) -> None:
    daemon = find(manifests, "DaemonSet", "node-exporter")
    assert daemon["metadata"]["namespace"] == "node-monitoring"
    assert server.create(pod_of(daemon), dry_run=True).status == 201
    spec = daemon["spec"]["template"]["spec"]
    assert all(mount["readOnly"] for container in spec["containers"] for mount in container["volumeMounts"])
    for field in ("hostNetwork", "hostPID", "volumes"):
        spec.pop(field)
    for container in spec["containers"]:
        container.pop("volumeMounts")
        container["ports"] = [{key: port[key] for key in ("name", "containerPort")} for port in container["ports"]]
    spec["serviceAccountName"] = "run-reports"
    daemon["metadata"]["namespace"] = "monitoring"
    # Without the machine nothing is left that the standard of all others would refuse.
    assert server.create(pod_of(daemon), dry_run=True).status == 201


@pytest.mark.sabotage
def test_an_unknown_field_is_refused(server: ApiServer, manifests: Manifests) -> None:
    broken = copy.deepcopy(find(manifests, "StatefulSet", "mariadb"))
    broken["spec"]["template"]["spec"]["terminationGracePeriod"] = 300
    assert server.apply(broken, dry_run=True).status >= 400


def test_all_pods_fit_into_the_quotas_during_an_update(own_server: ApiServer, manifests: Manifests) -> None:
    quotas(own_server, manifests)
    for workload in workloads(manifests):
        surge = 1 if workload["kind"] == "Deployment" else 0
        for number in range(workload["spec"]["replicas"] + surge):
            answer = own_server.create(pod_of(workload, number=number))
            assert answer.status == 201, answer.message


@pytest.mark.sabotage
def test_a_quota_that_is_too_small_is_noticed(own_server: ApiServer, manifests: Manifests) -> None:
    smaller = copy.deepcopy(manifests)
    for manifest in smaller:
        if manifest["kind"] == "ResourceQuota":
            manifest["spec"]["hard"]["limits.memory"] = "1Gi"
    with pytest.raises(AssertionError, match="exceeded quota"):
        test_all_pods_fit_into_the_quotas_during_an_update(own_server, smaller)


def quotas(server: ApiServer, manifests: Manifests) -> None:
    """Put the quotas into force, with the status that their controller would write."""
    for manifest in manifests:
        if manifest["kind"] == "LimitRange":
            assert server.apply(manifest).status == 201
        if manifest["kind"] == "ResourceQuota":
            assert server.apply(manifest).status == 201
            hard = manifest["spec"]["hard"]
            path = f"{server.collection(manifest)}/{manifest['metadata']['name']}/status"
            status = {"status": {"hard": hard, "used": dict.fromkeys(hard, "0")}}
            assert server.request("PATCH", path, status, kind="application/merge-patch+json").status == 200


def test_no_password_and_no_token_is_in_any_document(manifests: Manifests) -> None:
    for manifest in manifests:
        if manifest["kind"] == "Secret":
            for value in manifest["stringData"].values():
                lines = [line for line in value.splitlines() if "password" in line] or [value]
                assert manifest["metadata"]["name"] in NO_SECRETS or all("${secret:" in line for line in lines)
            assert "data" not in manifest
    for workload in workloads(manifests):
        spec = workload["spec"]["template"]["spec"]
        assert spec["automountServiceAccountToken"] is (workload["metadata"]["name"] in ASKS_THE_API)
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            for variable in container.get("env", []):
                assert "PASSWORD" not in variable["name"] or variable["name"].endswith("_FILE")


def test_every_account_mounts_no_token(manifests: Manifests) -> None:
    accounts = [manifest for manifest in manifests if manifest["kind"] == "ServiceAccount"]
    assert {a["metadata"]["namespace"] for a in accounts if a["metadata"]["name"] == "default"} == set(NAMESPACES)
    assert all(account["automountServiceAccountToken"] is False for account in accounts)
    used = {workload["spec"]["template"]["spec"]["serviceAccountName"] for workload in workloads(manifests)}
    assert used == {account["metadata"]["name"] for account in accounts} - {
        "argocd-deployer",
        "default",
        "gateway",
        "node-exporter",
        "otel-collector",
    }


def test_references_inside_the_set_exist(manifests: Manifests) -> None:
    def names(kind: str) -> set[tuple[str, str]]:
        return {(m["metadata"]["namespace"], m["metadata"]["name"]) for m in manifests if m["kind"] == kind}

    for workload in workloads(manifests):
        namespace, spec = workload["metadata"]["namespace"], workload["spec"]["template"]["spec"]
        for volume in spec.get("volumes", []):
            if "configMap" in volume:
                assert (namespace, volume["configMap"]["name"]) in names("ConfigMap")
            if "secret" in volume:
                assert (namespace, volume["secret"]["secretName"]) in names("Secret")
        if workload["kind"] == "StatefulSet":
            assert (namespace, workload["spec"]["serviceName"]) in names("Service")
    for route in (manifest for manifest in manifests if manifest["kind"] == "HTTPRoute"):
        for rule in route["spec"]["rules"]:
            for backend in rule.get("backendRefs", []):
                assert (route["metadata"]["namespace"], backend["name"]) in names("Service")


def allowed(manifests: Manifests, source: dict[str, Any] | None, target: dict[str, Any], port: int) -> bool:
    """Whether the NetworkPolicies let a pod (None: a stranger) open a TCP connection to a pod."""
    outgoing = source is None or any(
        peers(rule.get("to"), target) and ports(rule, port)
        for policy in policies(manifests, source, "Egress")
        for rule in policy["spec"].get("egress", [])
    )
    incoming = any(
        peers(rule.get("from"), source) and ports(rule, port)
        for policy in policies(manifests, target, "Ingress")
        for rule in policy["spec"].get("ingress", [])
    )
    return outgoing and incoming


def policies(manifests: Manifests, pod: dict[str, Any], direction: str) -> Manifests:
    found = [
        m
        for m in manifests
        if m["kind"] == "NetworkPolicy"
        and m["metadata"]["namespace"] == pod["metadata"]["namespace"]
        and direction in m["spec"]["policyTypes"]
        and matches(m["spec"]["podSelector"], pod["metadata"].get("labels", {}))
    ]
    assert found, "a pod that no policy selects is open"
    return found


def peers(listed: list[dict[str, Any]] | None, pod: dict[str, Any] | None) -> bool:
    if listed is None:
        return True
    if pod is None:
        return False
    namespace = {"kubernetes.io/metadata.name": pod["metadata"]["namespace"]}
    return any(
        matches(peer["namespaceSelector"], namespace)
        and matches(peer.get("podSelector", {}), pod["metadata"].get("labels", {}))
        for peer in listed
    )


def ports(rule: dict[str, Any], port: int) -> bool:
    return any(item["port"] == port and item["protocol"] == "TCP" for item in rule["ports"])


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    return (selector.get("matchLabels") or {}).items() <= labels.items()


def test_exactly_the_declared_flows_pass(manifests: Manifests) -> None:
    pods: dict[str, dict[str, Any] | None] = {
        workload["metadata"]["name"]: pod_of(workload) for workload in workloads(manifests)
    }
    pods["otel-collector"] = pod_of(find(manifests, "DaemonSet", "otel-collector"))
    pods["gateway"] = {
        "metadata": {"namespace": "gateway", "labels": {"gateway.networking.k8s.io/gateway-name": "platform"}}
    }
    pods["stranger"] = {"metadata": {"namespace": "openmrs", "labels": {"app": "stranger"}}}
    pods["internet"] = None
    passing = {
        (source, target, port)
        for source in pods
        for target, pod in pods.items()
        for port in PORTS
        if pod is not None and source != target and allowed(manifests, pods[source], pod, port)
    }
    grafana = {("gateway", "grafana", 3000), ("grafana", "prometheus", 9090), ("prometheus", "grafana", 3000)}
    grafana |= {("grafana", "loki", 3100)}
    argo_cd = {(f"argocd-{name}", "argocd-repo-server", 8081) for name in ("server", "application-controller")}
    argo_cd |= {
        (f"argocd-{name}", "argocd-redis", 6379) for name in ("server", "application-controller", "repo-server")
    }
    argo_cd |= {("gateway", "argocd-server", 8080), ("argocd-notifications-controller", "alertmanager", 9093)}
    argo_cd |= {("argocd-notifications-controller", "argocd-repo-server", 8081)}
    argo_cd |= {
        ("prometheus", f"argocd-{name}", port)
        for name, port in (
            ("application-controller", 8082),
            ("notifications-controller", 9001),
            ("repo-server", 8084),
            ("server", 8083),
        )
    }
    people = {(source, proxy, port) for proxy in SIGN_IN for source, port in (("gateway", 4180), ("prometheus", 44180))}
    people |= {
        (proxy, site, port) for proxy in SIGN_IN for site, port in (("prometheus", 9090), ("alertmanager", 9093))
    }
    optional = (grafana if "grafana" in pods else set()) | (argo_cd if "argocd-server" in pods else set())
    assert passing == people | optional | {
        ("internet", "gateway", 80),
        ("internet", "gateway", 443),
        ("gateway", "openmrs-gateway", 8080),
        ("openmrs-gateway", "openmrs-frontend", 8080),
        ("openmrs-gateway", "openmrs-backend", 8080),
        ("openmrs-backend", "mariadb", 3306),
        ("blackbox-exporter", "gateway", 443),
        ("mysqld-exporter", "mariadb", 3306),
        ("otel-collector", "loki", 3100),
        ("loki", "alertmanager", 9093),
        ("prometheus", "alertmanager", 9093),
        ("prometheus", "blackbox-exporter", 9115),
        ("prometheus", "kube-state-metrics", 8080),
        ("prometheus", "loki", 3100),
        ("prometheus", "mariadb", 9105),
        ("prometheus", "mysqld-exporter", 9104),
        ("prometheus", "openmrs-gateway", 9113),
        ("prometheus", "otel-collector", 8888),
        ("prometheus", "run-reports", 9100),
    }
