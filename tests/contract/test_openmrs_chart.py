"""Helm judges the chart and its values."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError

from tests.contract.conftest import ROOT, Manifests, built, find, render_openmrs

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
    assert backend["startupProbe"]["failureThreshold"] * backend["startupProbe"]["periodSeconds"] == 3600


def test_a_single_replica_has_no_budget_that_blocks_drains() -> None:
    single = render_openmrs({"gateway": {"replicas": 1}})
    budgets = {m["metadata"]["name"]: m["spec"] for m in single if m["kind"] == "PodDisruptionBudget"}
    assert set(budgets) == {"openmrs-backend", "openmrs-frontend"}
    assert budgets["openmrs-backend"]["maxUnavailable"] == 1
