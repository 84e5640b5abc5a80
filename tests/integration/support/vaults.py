"""One module as a task of a real ansible-playbook run, against a vault of a simulated Azure without clusters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.client import ArmClient, connect
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.client import VaultClient

from tests.integration.support.lab import ROOT
from tests.lab.azure.testing import Running

OFFICER = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"
GROUP_VERSION, VAULT_VERSION, ASSIGNMENT_VERSION = "2022-09-01", "2024-11-01", "2022-04-01"


def connection(azure: Running) -> dict[str, Any]:
    """Give the options with which a module reaches the simulated Azure."""
    settings = azure.settings
    return {
        "client_id": settings.client_id,
        "secret": settings.client_secret,
        "tenant": settings.tenant_id,
        "cloud_environment": azure.base_url,
        "disable_instance_discovery": True,
    }


def client(azure: Running) -> ArmClient:
    """Sign in as the main client."""
    return connect(connection(azure))


def group_id(azure: Running) -> str:
    """Id of the resource group of everything here."""
    return f"{azure.subscription}/resourceGroups/rg"


def vault_id(azure: Running) -> str:
    """Id of the vault."""
    return f"{group_id(azure)}/providers/Microsoft.KeyVault/vaults/kv-platform-test"


def create_vault(azure: Running, *, with_role: bool = True) -> VaultClient:
    """Make the vault, and let the main client in."""
    arm, vault = client(azure), vault_id(azure)
    arm.put(group_id(azure), GROUP_VERSION, {"location": "francecentral"})
    properties = {
        "tenantId": azure.settings.tenant_id,
        "sku": {"family": "A", "name": "standard"},
        "enableRbacAuthorization": True,
        "accessPolicies": [],
    }
    arm.put(vault, VAULT_VERSION, {"location": "francecentral", "properties": properties})
    if with_role:
        assignment = f"{vault}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
        role = f"{azure.subscription}/providers/Microsoft.Authorization/roleDefinitions/{OFFICER}"
        principal = {"principalId": azure.settings.object_id, "principalType": "ServicePrincipal"}
        arm.put(assignment, ASSIGNMENT_VERSION, {"properties": {"roleDefinitionId": role, **principal}})
    return VaultClient(arm, vault)


def start_task(
    module: str, options: dict[str, Any], folder: Path, *arguments: str, collections: Path | None = None
) -> subprocess.Popen[str]:
    """Start ansible-playbook with one task; its result goes to `result.json` in the folder."""
    result = folder / "result.json"
    result.unlink(missing_ok=True)
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"},
        "tasks": [
            {
                "name": "Make",
                f"audioprothese.platform.{module}": options,
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
    program = Path(sys.executable).with_name("ansible-playbook")
    return subprocess.Popen(
        [program, "-i", "localhost,", folder / "play.yml", "-vvv", *arguments],
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(collections or ROOT / ".ansible" / "collections"),
            "RECORDER_PATH": str(result),
            "XDG_STATE_HOME": str(folder / "state"),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run_task(
    module: str, options: dict[str, Any], folder: Path, *arguments: str, **more: Any
) -> tuple[dict[str, Any], str]:
    """Run one task to its end: its result, and all that the run printed."""
    process = start_task(module, options, folder, *arguments, **more)
    try:
        shown, _nothing = process.communicate(timeout=180)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    result = folder / "result.json"
    assert result.exists(), shown[-5000:]
    return json.loads(result.read_text(encoding="utf-8")), shown
