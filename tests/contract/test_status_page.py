"""The page that says how each system is, as a browser without a network shows it."""

from __future__ import annotations

import html
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.audioprothese.platform.plugins.filter.system_states import system_states
from PIL import Image

from tests.contract.rendered import ROOT, Documents, play
from tests.tools.browser import open_page

ROLE = ROOT / "roles" / "status_page"
SYSTEMS = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text(encoding="utf-8"))["status_page_systems"]
SCOPE = "/subscriptions/10000000-0000-4000-8000-000000000002/resourceGroups/rg/providers"
VAULT = f"{SCOPE}/Microsoft.KeyVault/vaults/kv"
VNET = f"{SCOPE}/Microsoft.Network/virtualNetworks/vnet"
IMAGE = "craudioprothese.azurecr.io/library/mariadb:10.11.18@sha256:0a1b"
HOSTILE = "<script>document.title = 'broken'</script>"


def finding(resource: str, verdict: str, path: str = "", message: str = "") -> dict[str, Any]:
    """One place that is not as declared."""
    return {"resource": resource, "verdict": verdict, "path": path, "message": message}


COMPARED: dict[str, Any] = {
    "azure": {
        "resources": {VAULT: {"properties": {"provisioningState": "Succeeded"}}, VNET: {"properties": {}}},
        "findings": [finding(VNET, "drift", "properties.addressSpace", HOSTILE)],
    },
    "kubernetes": {
        "resources": {
            "StatefulSet/mariadb/mariadb": {
                "apiVersion": "apps/v1",
                "kind": "StatefulSet",
                "metadata": {"generation": 1},
                "spec": {"replicas": 1, "template": {"spec": {"containers": [{"image": IMAGE}]}}},
                "status": {"observedGeneration": 1, "replicas": 1},
            },
            "ConfigMap/monitoring/prometheus-rules": {"apiVersion": "v1", "kind": "ConfigMap"},
        },
        "findings": [
            finding("Gateway/gateway/platform", "missing", message="it is not there"),
            finding("ConfigMap/monitoring/prometheus-rules", "not_verifiable", message="the token may not read it"),
        ],
    },
}
STATES = {
    "mariadb": "failed",
    "gateway": "absent",
    "prometheus": "unknown",
    "network": "differs",
    "key_vault": "running",
}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the page of a platform that has something of everything."""
    folder = tmp_path_factory.mktemp("status")
    play("lab", "status_page", folder, compared=COMPARED, status_page_path=str(folder / "status.html"))
    return folder / "status.html"


def colours() -> dict[str, tuple[int, ...]]:
    """The colour of each state, as the page declares it."""
    style = (ROLE / "templates" / "page.html.j2").read_text(encoding="utf-8")
    found = {state: re.search(rf"--{state}: #(\w{{6}})", style) for state in STATES.values()}
    return {state: tuple(bytes.fromhex(match[1])) for state, match in found.items() if match}


def test_a_browser_shows_each_state(page: Path, tmp_path: Path) -> None:
    picture = tmp_path / "status.png"
    shown = open_page(page.as_uri(), "--window-size=1280,1600", picture=picture, folder=tmp_path)
    assert re.findall(r'<article id="(\w+)">.*?class="state (\w+)"', shown, re.DOTALL) == [
        (system["key"], STATES[system["key"]]) for system in SYSTEMS if system["key"] in STATES
    ]
    assert "La plateforme a besoin de quelqu'un maintenant" in html.unescape(shown)
    assert "mariadb 10.11.18" in shown
    assert "StatefulSet/mariadb/mariadb: 0 of 1 replicas ready" in shown
    with Image.open(picture) as image:
        seen = Counter(image.convert("RGB").get_flattened_data())
    areas = {state: seen[colour] for state, colour in colours().items()}
    # Once beside the system and once in the line at the top; each some 100 pixels by 20.
    assert all(1500 < area < 8000 for area in areas.values()), areas


def test_what_services_say_is_text(page: Path, tmp_path: Path) -> None:
    shown = open_page(page.as_uri(), picture=tmp_path / "status.png", folder=tmp_path)
    assert "<title>audioprothese lab : En panne</title>" in shown
    assert HOSTILE not in shown
    assert html.escape(HOSTILE, quote=False) in shown


def test_it_needs_nothing_from_elsewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(src=|<link|<script|@import|url\()", text)
    assert "default-src 'none'" in text


def test_each_document_belongs_to_a_system(documents: Documents) -> None:
    objects = {
        "/".join(filter(None, [body["kind"], body["metadata"].get("namespace"), body["metadata"]["name"]])): body
        for body in documents["kubernetes"]
    }
    resources: dict[str, dict[str, Any]] = {body["id"]: {} for body in documents["azure"]}
    states = system_states(SYSTEMS, [{"resources": resources | objects}])
    assert {state["key"] for state in states} == {system["key"] for system in SYSTEMS}
