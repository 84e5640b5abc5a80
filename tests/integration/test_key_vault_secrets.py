# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""key_vault_secrets as a task of a real ansible-playbook run, against the simulated vault."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.vault import certificates
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.client import VaultClient

from tests.integration.support.secrets import leaks
from tests.integration.support.vaults import connection, create_vault, run_task, vault_id
from tests.lab.azure.testing import Running, serve

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


def playbook(azure: Running, folder: Path, *arguments: str, **options: Any) -> tuple[dict[str, Any], str]:
    """The task's result and all that the run printed."""
    lease = {"environment": folder.name}
    task = {"vault_id": vault_id(azure), "secrets": SECRETS, "lease": lease, **connection(azure), **options}
    return run_task("key_vault_secrets", task, folder, *arguments)


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
