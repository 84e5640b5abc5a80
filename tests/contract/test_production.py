"""The production inventory, the manual by example: it parses, passes preflight without a network, goes no further."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
# As `make pin-images` leaves the table of images.
IMAGES = yaml.safe_load((ROOT / "roles/platform/files/images.yml").read_text())
PINNED = {"platform_image_overrides": {name: {"digest": "sha256:" + "0" * 64} for name in IMAGES}}
PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))


def play(playbook: str, *arguments: str, extra: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a playbook on the production inventory, where nothing answers."""
    binaries = Path(sys.executable).parent
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AZURE_", "LAB_"))}
    return subprocess.run(
        [
            binaries / "ansible-playbook",
            *("-i", "inventories/production", f"playbooks/{playbook}.yml"),
            *("-e", json.dumps(extra or {})),
            *arguments,
        ],
        cwd=ROOT,
        env={
            **environment,
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "HTTPS_PROXY": "http://127.0.0.1:9",
        },
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def preflight(extra: dict[str, Any], *, pinned: bool = True) -> str:
    """What the static part says to these variables; empty when it passes."""
    extra = {**(PINNED if pinned else {}), **extra}
    done = play("preflight", "--tags", "preflight_static", extra=extra)
    assert "Traceback" not in done.stdout + done.stderr
    return "" if done.returncode == 0 else " ".join(done.stdout.split())


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_every_playbook_parses(playbook: str) -> None:
    done = play(playbook, "--syntax-check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_passes_preflight_without_a_network() -> None:
    assert preflight({}) == ""


def test_an_image_without_a_digest_is_refused() -> None:
    images = {name: {"digest": ""} for name in IMAGES}
    message = preflight({"platform_image_overrides": images}, pinned=False)
    assert "platform_images: the value holds an image without a digest" in message
    assert "make pin-images" in message


def test_a_flow_without_a_target_is_refused() -> None:
    message = preflight({"namespaces_flows": [{"from": "openmrs-backend", "ports": [443]}]})
    assert "namespaces_flows: the value holds a flow with neither or both of to and fqdn" in message


def test_backups_that_azure_would_not_keep_are_refused() -> None:
    schedule = {"interval": "PT4H", "start": "25:00", "retention_days": 90}
    message = preflight({"backup_vault_schedule": schedule, "backup_vault_soft_delete_days": 7})
    assert "backup_vault_schedule: the value starts at no hour of the day" in message
    assert "backup_vault_schedule: the value keeps recovery points for 0 or over 360 days, or over 500" in message
    assert "backup_vault_soft_delete_days: 7 is no time" in message


def test_a_backup_or_a_lock_that_azure_does_not_have_is_refused() -> None:
    schedule = {"interval": "PT1H", "start": "01:00", "retention_days": 30}
    locked = ["data", "shared", "snapshots"]
    message = preflight({"backup_vault_schedule": schedule, "landing_zone_locked_groups": locked})
    assert "PT1H" in message
    assert "snapshots" in message


def test_its_example_ids_reach_no_service() -> None:
    done = play("site", extra=PINNED)
    assert done.returncode != 0
    assert "ids of this inventory are examples" in " ".join(done.stdout.split())
    assert "Check identity, quota and network path" not in done.stdout


def test_everything_that_is_wrong_is_said_at_once() -> None:
    message = preflight(
        {
            "platform_locaton": "francecentral",
            "cluster_tier": "Free",
            "key_vault_public_network_access": "Enabled",
            "network_subnets": {"nodes": {"address_prefx": "10.0.0.0/20"}},
        }
    )
    for words in (
        "Did you mean platform_location?",
        "cluster_tier: Free has no service level",
        "key_vault_public_network_access: Enabled is reachable from the internet",
        "address_prefx",
    ):
        assert words in message


def test_a_lab_may_do_what_production_may_not() -> None:
    open_vault = {"key_vault_public_network_access": "Enabled"}
    assert "internet" in preflight(open_vault)
    assert preflight({**open_vault, "platform_production": False}) == ""


def test_a_secret_in_the_inventory_is_refused_and_not_shown(tmp_path: Path) -> None:
    canary = "canary-7d1f3a"
    inventory = tmp_path / "secrets.yml"
    inventory.write_text(f"all:\n  vars:\n    centre_api_key: {canary}\n", encoding="utf-8")
    done = play("preflight", "--tags", "preflight_static", "-i", str(inventory))
    assert done.returncode != 0
    assert "centre_api_key: holds a secret in clear text" in " ".join(done.stdout.split())
    assert canary not in done.stdout + done.stderr
