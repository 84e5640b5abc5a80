"""Helm judges the chart and its values."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError

from tests.contract.conftest import ROOT, Manifests, find, render_openmrs
from tests.lab.build.builder import built

DIGEST = "sha256:" + "0123456789abcdef" * 4


def containers(manifests: Manifests) -> dict[str, dict[str, Any]]:
    found = {}
    for manifest in manifests:
        if manifest["kind"] in ("Deployment", "StatefulSet"):
            for container in manifest["spec"]["template"]["spec"]["containers"]:
                found[container["name"]] = container
    return found


def test_lint() -> None:
    done = subprocess.run(
        [built("helm").binary, "lint", "--strict", "charts/openmrs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "values",
    [
        {"backend": {"replica": 2}},
        {"unknown": True},
        {"backend": {"image": {"tag": "latest"}}},
        {"backend": {"image": {"digest": "sha256:123"}}},
        {"backend": {"environment": {"OMRS_DB_PASSWORD": "x"}}},
        {"backend": {"environment": {"PATH": "x"}}},
        {"backend": {"volatileDirectories": ["complex_obs"]}},
        {"gateway": {"frameAncestors": ["https://x.example; script-src *"]}},
        {"gateway": {"maxBodySize": "25m; deny all"}},
        {"gateway": {"replicas": 0}},
        {"gateway": {"readTimeout": 5}},
        {"backend": {"coreVersion": "2.8"}},
        {"backend": {"replicas": 0}},
        {"lockDoctor": {"image": {"tag": "latest"}}},
        {"frontend": {"resources": {"limits": {"memory": None}}}},
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"values|schema|additional"):
        render_openmrs(values)


def test_a_digest_decides_what_is_pulled_and_the_registry_can_be_replaced() -> None:
    values = {"imageRegistry": "registry.example", "backend": {"image": {"digest": DIGEST}}}
    image = containers(render_openmrs(values))["backend"]["image"]
    assert image.startswith("registry.example/openmrs/openmrs-reference-application-3-backend:3.7.0-no-demo@sha256:")


def test_a_backend_that_is_stopped_is_all_that_changes(chart: Manifests) -> None:
    stopped = render_openmrs({"backend": {"stopped": True}})
    assert find(stopped, "StatefulSet", "openmrs-backend")["spec"]["replicas"] == 0
    assert [m for m in stopped if m not in chart] == [find(stopped, "StatefulSet", "openmrs-backend")]


def test_changed_configuration_restarts_the_pods(chart: Manifests) -> None:
    def checksum(manifests: Manifests) -> str:
        template = find(manifests, "Deployment", "openmrs-gateway")["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/configuration"])

    assert checksum(render_openmrs({"gateway": {"hstsMaxAge": 60}})) != checksum(chart)
    assert checksum(render_openmrs()) == checksum(chart)


def test_selectors_do_not_change_with_the_version(chart: Manifests) -> None:
    for manifest in chart:
        if manifest["kind"] in ("Deployment", "StatefulSet"):
            selector = manifest["spec"]["selector"]["matchLabels"]
            assert set(selector) == {
                "app.kubernetes.io/name",
                "app.kubernetes.io/instance",
                "app.kubernetes.io/component",
            }
            assert selector.items() <= manifest["spec"]["template"]["metadata"]["labels"].items()


def test_the_backend_hands_over_what_the_image_needs(chart: Manifests) -> None:
    backend = containers(chart)["backend"]
    variables = {variable["name"]: variable["value"] for variable in backend["env"]}
    assert variables["OMRS_MODULE_WEB_ADMIN"] == "false"
    assert "sslMode=verify-full" in variables["OMRS_DB_URL"]
    assert variables["OMRS_EXTRA_CONNECTION_URL"] == variables["OMRS_DB_URL"]
    mounts = {mount["mountPath"] for mount in backend["volumeMounts"]}
    assert {f"/openmrs/data/{name}" for name in ("modules", "owa", "configuration", "frontend")} <= mounts
    newer = containers(render_openmrs({"backend": {"volatileDirectories": []}}))["backend"]
    assert "/openmrs/data/modules" not in {mount["mountPath"] for mount in newer["volumeMounts"]}
    assert backend["startupProbe"]["failureThreshold"] * backend["startupProbe"]["periodSeconds"] == 1200


def test_a_single_replica_has_no_budget_that_blocks_drains() -> None:
    single = render_openmrs({"gateway": {"replicas": 1}})
    budgets = {m["metadata"]["name"]: m["spec"] for m in single if m["kind"] == "PodDisruptionBudget"}
    assert set(budgets) == {"openmrs-backend", "openmrs-frontend"}
    assert budgets["openmrs-backend"]["maxUnavailable"] == 1


CLUSTERED = {
    "OMRS_SEARCH": "elasticsearch",
    "OMRS_SEARCH_ES_URIS": "http://elasticsearch:9200",
    "OMRS_EXTRA_STORAGE_TYPE": "s3",
}


@pytest.mark.parametrize(
    ("backend", "named"),
    [
        ({}, ["OMRS_SEARCH:", "OMRS_SEARCH_ES_URIS", "OMRS_EXTRA_STORAGE_TYPE"]),
        ({"environment": CLUSTERED, "coreVersion": "2.7.9"}, ["coreVersion"]),
        ({"environment": {**CLUSTERED, "OMRS_SEARCH": "lucene"}}, ["OMRS_SEARCH:"]),
        ({"environment": {**CLUSTERED, "OMRS_SEARCH_ES_URIS": ""}}, ["OMRS_SEARCH_ES_URIS"]),
        ({"environment": {**CLUSTERED, "OMRS_EXTRA_STORAGE_TYPE": "local"}}, ["OMRS_EXTRA_STORAGE_TYPE"]),
    ],
)
def test_several_backends_are_refused_without_what_they_need(backend: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(InputError, match="more than one loses sessions") as refused:
        render_openmrs({"backend": {"replicas": 2, **backend}})
    conditions = ("coreVersion", "OMRS_SEARCH:", "OMRS_SEARCH_ES_URIS", "OMRS_EXTRA_STORAGE_TYPE")
    assert [condition for condition in conditions if condition in str(refused.value)] == named
    assert "or backend.replicas: 1" in str(refused.value)


def test_several_backends_share_caches_and_keep_their_sessions() -> None:
    manifests = render_openmrs({"backend": {"replicas": 2, "environment": CLUSTERED}})
    backend = containers(manifests)["backend"]
    names = [variable["name"] for variable in backend["env"]]
    options = backend["env"][names.index("OMRS_JAVA_SERVER_OPTS")]["value"]
    assert names.index("POD_NAME") < names.index("OMRS_JAVA_SERVER_OPTS")
    assert "-DjvmRoute=$(POD_NAME)" in options
    assert "-Djgroups.dns.query=openmrs-backend-headless.openmrs.svc.cluster.local" in options
    stateful_set = find(manifests, "StatefulSet", "openmrs-backend")["spec"]
    assert (stateful_set["replicas"], stateful_set["podManagementPolicy"]) == (2, "OrderedReady")
    for number in (0, 1):
        selector = find(manifests, "Service", f"openmrs-backend-{number}")["spec"]["selector"]
        assert selector["statefulset.kubernetes.io/pod-name"] == f"openmrs-backend-{number}"


def test_one_backend_is_the_default_and_changes_the_schema_alone(chart: Manifests) -> None:
    stateful_set = find(chart, "StatefulSet", "openmrs-backend")["spec"]
    assert (stateful_set["replicas"], stateful_set["podManagementPolicy"]) == (1, "OrderedReady")
    assert [m["metadata"]["name"] for m in chart if m["kind"] == "Service" and "backend" in m["metadata"]["name"]] == [
        "openmrs-backend",
        "openmrs-backend-headless",
    ]


def test_the_lock_doctor_runs_as_long_as_the_pod_and_sees_one_password(chart: Manifests) -> None:
    pod = find(chart, "StatefulSet", "openmrs-backend")["spec"]["template"]["spec"]
    (sidecar,) = (one for one in pod["initContainers"] if one["name"] != "metrics-agent")
    assert (sidecar["name"], sidecar["restartPolicy"]) == ("lock-doctor", "Always")
    assert sidecar["securityContext"]["readOnlyRootFilesystem"] is True
    mounts = {mount["name"] for mount in sidecar["volumeMounts"]}
    assert "passwords" not in mounts
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert [item["key"] for item in volumes["database-password"]["secret"]["items"]] == ["database-password"]
    (backend,) = pod["containers"]
    assert {"/run/lock-doctor"} == {m["mountPath"] for m in backend["volumeMounts"] if m["name"] == "lock-doctor"}


def test_the_server_alone_loads_the_agent_that_tells_of_the_java_machine(chart: Manifests) -> None:
    pod = find(chart, "StatefulSet", "openmrs-backend")["spec"]["template"]["spec"]
    (agent,) = (one for one in pod["initContainers"] if one["name"] == "metrics-agent")
    assert "restartPolicy" not in agent
    folder = agent["command"][-1]
    assert agent["volumeMounts"] == [{"name": "metrics-agent", "mountPath": folder.rstrip("/")}]
    (backend,) = pod["containers"]
    port = next(one["containerPort"] for one in backend["ports"] if one["name"] == "metrics")
    variables = {one["name"]: one.get("value", "") for one in backend["env"]}
    told = [name for name, value in variables.items() if f"-javaagent:{folder}agent.jar={port}" in value]
    assert told == ["OMRS_JAVA_MEMORY_OPTS"]


def test_frontend_and_gateway_are_spread_and_keep_one_pod(chart: Manifests) -> None:
    for name in ("openmrs-frontend", "openmrs-gateway"):
        deployment = find(chart, "Deployment", name)["spec"]
        assert deployment["replicas"] >= 2
        assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
        spread = deployment["template"]["spec"]["topologySpreadConstraints"]
        assert {rule["topologyKey"] for rule in spread} == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
        assert find(chart, "PodDisruptionBudget", name)["spec"]["minAvailable"] == 1


def every_pod(manifests: Manifests) -> list[dict[str, Any]]:
    kinds = ("Deployment", "StatefulSet")
    return [manifest["spec"]["template"]["spec"] for manifest in manifests if manifest["kind"] in kinds]


def test_every_pod_is_restricted_and_has_no_token(chart: Manifests) -> None:
    pods = every_pod(chart)
    assert len(pods) == 3
    for pod in pods:
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            # Tomcat's directories and /openmrs are written to at every start.
            assert security.get("readOnlyRootFilesystem", False) is (container["name"] != "backend")
            assert set(container["resources"]["requests"]) >= {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]
