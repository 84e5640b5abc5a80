"""The role gives the chart what the version of OpenMRS core asks for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.contract.conftest import ROOT

ROLE = ROOT / "roles" / "openmrs"
VAULT = "/subscriptions/s/resourceGroups/g/providers/Microsoft.KeyVault/vaults/v"
VOLATILE = ["modules", "owa", "configuration", "frontend"]


def chart_values(folder: Path, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The values of the chart that the role computes for each set of variables, by Ansible itself."""
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars_files": [str(ROLE / part / "main.yml") for part in ("defaults", "vars")],
        "vars": {
            "ansible_python_interpreter": sys.executable,
            "role_path": str(ROLE),
            "platform_image_registry": "",
            "platform_priority_class": "p",
            "platform_storage_class": "s",
            "platform_ids": {"identities": {"openmrs": "/subscriptions/x"}, "key_vault": VAULT},
            "platform_images": yaml.safe_load((ROOT / "roles/platform/files/images.yml").read_text()),
        },
        "tasks": [
            {
                "vars": variables,
                "ansible.builtin.copy": {
                    "content": "{{ __openmrs_chart_values | to_json }}",
                    "dest": str(folder / f"{number}.json"),
                },
            }
            for number, variables in enumerate(cases)
        ],
    }
    playbook = folder / "values.yml"
    playbook.write_text(yaml.safe_dump([play]))
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,", "-c", "local", playbook],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads((folder / f"{number}.json").read_text()) for number in range(len(cases))]


def test_the_version_of_core_selects_the_work_arounds(tmp_path: Path) -> None:
    expected = {"2.7.2": VOLATILE, "2.8.7": VOLATILE, "2.8.10": VOLATILE, "2.9.0": [], "2.10.1": [], "3.0.0": []}
    found = chart_values(tmp_path, [{"openmrs_core_version": version} for version in expected])
    assert [values["backend"]["volatileDirectories"] for values in found] == list(expected.values())
    assert [values["backend"]["coreVersion"] for values in found] == list(expected)


def test_overrides_have_the_last_word(tmp_path: Path) -> None:
    overrides = {"backend": {"volatileDirectories": ["modules"], "startupTimeout": 3600}}
    (found,) = chart_values(tmp_path, [{"openmrs_values_overrides": overrides}])
    assert (found["backend"]["volatileDirectories"], found["backend"]["startupTimeout"]) == (["modules"], 3600)
    assert found["backend"]["replicas"] == 1
    assert found["lockDoctor"]["image"]["repository"] == "library/mariadb"


def test_the_estate_waits_longer_than_a_first_start_may_take() -> None:
    estate = yaml.safe_load((ROOT / "roles/estate/defaults/main.yml").read_text())
    role = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    assert estate["estate_wait_timeout"] > role["openmrs_startup_timeout"] == 1200


def test_the_backend_starts_again_for_a_new_password_only(tmp_path: Path) -> None:
    (found,) = chart_values(tmp_path, [{}])
    assert found["backend"]["podAnnotations"] == {
        "secret-version/database-password": f"${{secret_version:{VAULT}#mariadb-openmrs-password}}",
    }
