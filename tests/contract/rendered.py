"""The documents of both inventories, rendered once by a real ansible-playbook run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).resolve().parents[2]
INVENTORIES = ("lab", "production")
Documents = dict[str, list[dict[str, Any]]]

# What `lab up` writes, without a lab: rendering needs the names only.
LAB_ENVIRONMENT = {
    "ca_file": "/nonexistent/ca.pem",
    "arm_endpoint": "https://127.0.0.1:1",
    "metadata_url": "https://127.0.0.1:1/metadata/endpoints?api-version=2022-09-01",
    "authority_host": "https://127.0.0.1:1",
    "tenant_id": "10000000-0000-4000-8000-000000000001",
    "subscription_id": "10000000-0000-4000-8000-000000000002",
    "client_id": "10000000-0000-4000-8000-000000000003",
    "client_secret": "rendering-needs-no-secret",
    "object_id": "10000000-0000-4000-8000-000000000004",
    "admin_kubeconfig": "/nonexistent/kubeconfig",
    "helm": "helm",
    "kubectl": "kubectl",
    "nodes": "simulated",
}


def render(inventory: str, folder: Path, **variables: Any) -> Documents:
    """Run the rendering playbook on an inventory, with variables that differ."""
    output = folder / f"{inventory}.json"
    play(inventory, "render", folder, **variables, render_output=str(output))
    documents: Documents = json.loads(output.read_text(encoding="utf-8"))
    return documents


def charts(collected: Documents) -> list[dict[str, Any]]:
    """The charts of an inventory: those that we apply, and those that Argo CD is told to."""
    applications = [manifest for manifest in collected["kubernetes"] if manifest["kind"] == "Application"]
    delivered = [
        {
            "path": str(ROOT / one["spec"]["source"]["path"]),
            "release": one["spec"]["source"]["helm"]["releaseName"],
            "namespace": one["spec"]["destination"]["namespace"],
            "values": one["spec"]["source"]["helm"]["valuesObject"],
        }
        for one in applications
    ]
    return [*collected.get("charts", []), *delivered]


def templated(role: str, name: str, **variables: Any) -> str:
    """A template of a role, with the role's defaults and what an inventory says otherwise."""
    folder, loader = ROOT / "roles" / role, DataLoader()
    known = loader.load_from_file(str(folder / "defaults" / "main.yml"), trusted_as_template=True)
    text = trust_as_template((folder / "templates" / name).read_text(encoding="utf-8"))
    return str(Templar(loader, variables={**known, **variables}).template(text))


def play(inventory: str, playbook: str, folder: Path, **variables: Any) -> None:
    """Run a playbook of this folder on an inventory, without a lab."""
    (folder / "env.json").write_text(json.dumps(LAB_ENVIRONMENT), encoding="utf-8")
    binaries = Path(sys.executable).parent
    done = subprocess.run(
        [
            binaries / "ansible-playbook",
            *("-i", f"inventories/{inventory}", f"tests/contract/{playbook}.yml"),
            *("-e", json.dumps(variables)),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "LAB_HOME": str(folder),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Documents]:
    """Return a function that gives the documents of an inventory, rendered at most once."""
    folder = tmp_path_factory.mktemp("rendered")
    known: dict[str, Documents] = {}

    def documents_of(inventory: str) -> Documents:
        if inventory not in known:
            known[inventory] = render(inventory, folder)
        return known[inventory]

    return documents_of


@pytest.fixture(params=INVENTORIES)
def documents(request: pytest.FixtureRequest, rendered: Callable[[str], Documents]) -> Documents:
    """Give the documents of each inventory in turn."""
    return rendered(request.param)
