# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""key_vault_secrets as a task of a real ansible-playbook run, against the simulated vault."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.client import ArmClient, connect
from ansible_collections.audioprothese.platform.plugins.module_utils.vault import certificates
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.client import VaultClient

from tests.integration.support.lab import ROOT
from tests.integration.support.secrets import leaks
from tests.lab.azure.testing import Running, serve

OFFICER = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"
SECRETS: list[dict[str, Any]] = [
    {"name": "digest", "kind": "key"},
    {"name": "password", "kind": "password", "expires_days": 90},
    {"name": "web", "kind": "certificate", "issuer": "ca", "dns_names": ["web.example"]},
    {"name": "ca", "kind": "certificate_authority"},
]
NAMES = ("digest", "password", "web-key", "web-certificate", "ca-key", "ca-certificate")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Serve one simulated Azure to all tests of this file."""
    with serve(tmp_path_factory.mktemp("azure")) as running:
        yield running


@pytest.fixture
def azure(server: Running) -> Running:
    """Empty the simulated Azure."""
    server.control("POST", "/lab/reset")
    return server


def connection(azure: Running) -> dict[str, Any]:
    settings = azure.settings
    return {
        "client_id": settings.client_id,
        "secret": settings.client_secret,
        "tenant": settings.tenant_id,
        "cloud_environment": azure.base_url,
        "disable_instance_discovery": True,
    }


def client(azure: Running) -> ArmClient:
    return connect(connection(azure))


def vault_id(azure: Running) -> str:
    return f"{azure.subscription}/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/kv-platform-test"


def create_vault(azure: Running, *, with_role: bool = True) -> VaultClient:
    arm, vault = client(azure), vault_id(azure)
    arm.put(f"{azure.subscription}/resourceGroups/rg", "2022-09-01", {"location": "francecentral"})
    properties = {
        "tenantId": azure.settings.tenant_id,
        "sku": {"family": "A", "name": "standard"},
        "enableRbacAuthorization": True,
        "accessPolicies": [],
    }
    arm.put(vault, "2024-11-01", {"location": "francecentral", "properties": properties})
    if with_role:
        assignment = f"{vault}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
        role = f"{azure.subscription}/providers/Microsoft.Authorization/roleDefinitions/{OFFICER}"
        principal = {"principalId": azure.settings.object_id, "principalType": "ServicePrincipal"}
        arm.put(assignment, "2022-04-01", {"properties": {"roleDefinitionId": role, **principal}})
    return VaultClient(arm, vault)


def playbook(azure: Running, folder: Path, *arguments: str, **options: Any) -> tuple[dict[str, Any], str]:
    """The task's result and all that the run printed."""
    lease = {"environment": folder.name}
    task = {"vault_id": vault_id(azure), "secrets": SECRETS, "lease": lease, **connection(azure), **options}
    result = folder / "result.json"
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"},
        "tasks": [
            {
                "name": "Make",
                "audioprothese.platform.key_vault_secrets": task,
                "register": "made",
                "ignore_errors": True,
            },
            {
                "name": "Write down",
                "ansible.builtin.copy": {"content": "{{ made | to_json }}", "dest": str(result), "mode": "0600"},
                "check_mode": False,
                "diff": False,
            },
        ],
    }
    (folder / "play.yml").write_text(yaml.safe_dump([play]), encoding="utf-8")
    done = subprocess.run(
        [
            Path(sys.executable).with_name("ansible-playbook"),
            "-i",
            "localhost,",
            folder / "play.yml",
            "-vvv",
            *arguments,
        ],
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
            "XDG_STATE_HOME": str(folder / "state"),
        },
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert result.exists(), done.stdout[-5000:] + done.stderr
    return json.loads(result.read_text(encoding="utf-8")), done.stdout + done.stderr


def values(vault: VaultClient) -> dict[str, str]:
    return {name: value for name in NAMES if (value := vault.get(name)) is not None}


def test_made_once_and_never_shown(azure: Running, tmp_path: Path) -> None:
    vault = create_vault(azure)
    predicted, shown_by_check = playbook(azure, tmp_path, "--check", "--diff")
    assert values(vault) == {}
    done, shown = playbook(azure, tmp_path, "--diff")
    made = values(vault)
    assert set(made) == set(NAMES)
    assert done["plan_digest"] == predicted["plan_digest"]
    assert certificates.key_matches(key_pem=made["web-key"], certificate_pem=made["web-certificate"])
    assert (tmp_path / "state" / "audioprothese-platform" / f"{tmp_path.name}.lease").exists()
    again, shown_again = playbook(azure, tmp_path, "--diff")
    assert (again["changed"], again["plan"], again["findings"]) == (False, [], [])
    assert values(vault) == made
    text = shown_by_check + shown + shown_again + json.dumps([predicted, done, again])
    assert leaks(text, {**made, "client secret": azure.settings.client_secret}) == []


def test_before_there_is_a_vault(azure: Running, tmp_path: Path) -> None:
    predicted, _shown = playbook(azure, tmp_path, "--check")
    assert not predicted.get("failed")
    assert [action["unverified"] for action in predicted["plan"]] == [True] * len(NAMES)
    refused, _shown = playbook(azure, tmp_path)
    assert refused["failed"]
    assert "the vault does not exist" in refused["msg"]


def test_without_the_role_one_sentence_names_it(azure: Running, tmp_path: Path) -> None:
    create_vault(azure, with_role=False)
    refused, _shown = playbook(azure, tmp_path)
    assert refused["failed"]
    assert "Key Vault Secrets Officer on kv-platform-test" in refused["msg"]


def test_a_deleted_secret_comes_back_and_tags_follow(azure: Running, tmp_path: Path) -> None:
    vault = create_vault(azure)
    playbook(azure, tmp_path)
    made = values(vault)
    vault._call("DELETE", "secrets/password", doing="delete")
    tagged = [{**secret, "tags": {"owner": "platform"}} if secret["name"] == "digest" else secret for secret in SECRETS]
    done, _shown = playbook(azure, tmp_path, secrets=tagged)
    assert sorted((step["action"], step["resource"].rpartition("/")[2]) for step in done["plan"]) == [
        ("recover", "password"),
        ("update", "digest"),
    ]
    assert values(vault) == made
    assert vault.list()["digest"].tags == {"owner": "platform"}
    assert not playbook(azure, tmp_path, secrets=tagged)[0]["changed"]


def test_what_ends_soon_is_drift_and_stays(azure: Running, tmp_path: Path) -> None:
    vault = create_vault(azure)
    playbook(azure, tmp_path)
    made = values(vault)
    late, _shown = playbook(azure, tmp_path, renew_before_days=400)
    assert not late["changed"]
    ending = {finding["resource"].rpartition("/")[2]: finding["message"] for finding in late["findings"]}
    assert set(ending) == {"password", "web-certificate"}
    assert all("rotate" in message for message in ending.values())
    assert values(vault) == made
