"""The collection as users install it, without the clone around it."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.integration.support.lab import ROOT, Lab
from tests.integration.support.playbook import BIN, environment, run_playbook
from tests.integration.support.sabotage import OWN, neighbours_into

FORBIDDEN = ("tests/", ".lab", ".venv", ".ansible/", ".git/", "Makefile", "requirements-dev", "__pycache__")
NEEDED = (
    "playbooks/site.yml",
    "plugins/modules/arm_resources.py",
    "plugins/modules/k8s_applyset.py",
    "roles/estate/tasks/main.yml",
    "charts/openmrs/Chart.yaml",
    "requirements.txt",
    "meta/execution-environment.yml",
)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the collection."""
    folder = tmp_path_factory.mktemp("artifact")
    subprocess.run(
        [BIN / "ansible-galaxy", "collection", "build", "--output-path", folder, ROOT],
        env=environment(None),
        check=True,
        capture_output=True,
        timeout=120,
    )
    (found,) = folder.glob("audioprothese-platform-*.tar.gz")
    return found


def test_the_artifact_holds_the_product_and_nothing_of_the_workshop(artifact: Path) -> None:
    with tarfile.open(artifact) as archive:
        names = archive.getnames()
    assert [name for name in names if name.startswith(FORBIDDEN) or "__pycache__" in name] == []
    assert set(NEEDED) <= set(names)


def test_the_installed_collection_runs(converged_lab: Lab, artifact: Path, tmp_path: Path) -> None:
    collections = tmp_path / "collections"
    subprocess.run(
        [
            *(BIN / "ansible-galaxy", "collection", "install", artifact),
            *("-p", collections, "--no-deps", "--offline"),
        ],
        env=environment(None, collections=collections),
        check=True,
        capture_output=True,
        timeout=120,
    )
    neighbours_into(collections)
    assert (collections / OWN / "MANIFEST.json").exists()
    run = run_playbook(
        converged_lab, "audioprothese.platform.site", "--check", "-v", collections=collections, directory=tmp_path
    ).ok()
    assert run.changed == 0
    assert run.findings() == []
