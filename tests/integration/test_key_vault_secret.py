# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lookup key_vault_secret in a real ansible-playbook run, against the simulated vault."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.client import VaultClient

from tests.integration.support.lab import ROOT
from tests.integration.support.vaults import connection, create_vault, vault_id
from tests.lab.azure.testing import Running, serve

LOOKUP = "audioprothese.platform.key_vault_secret"


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Serve one simulated Azure to all tests of this file."""
    with serve(tmp_path_factory.mktemp("azure")) as running:
        yield running


@pytest.fixture(scope="module")
def vault(azure: Running) -> VaultClient:
    """Give a vault with two versions of one secret, and one that is soft-deleted."""
    found = create_vault(azure)
    for name, value in {"a": "first", "b": "It's \\ {{ b }}", "gone": "gone"}.items():
        found.set(name, value)
    found.set("a", "second")
    found._call("DELETE", "secrets/gone", doing="delete")
    return found


def ask(azure: Running, folder: Path, *names: str, **options: Any) -> tuple[Any, str]:
    """Give the values, or the failure, and all that the run printed."""
    result = folder / "result.json"
    result.unlink(missing_ok=True)
    asked: dict[str, Any] = {
        "names": list(names),
        "options": {"vault_id": vault_id(azure), **connection(azure), **options},
    }
    found = f"{{{{ query('{LOOKUP}', *names, **options) | to_json }}}}"
    task = {"ansible.builtin.copy": {"content": found, "dest": str(result), "mode": "0600"}, "no_log": False}
    asked["ansible_python_interpreter"] = sys.executable
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": asked, "tasks": [task]}
    (folder / "play.yml").write_text(yaml.safe_dump([play]), encoding="utf-8")
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", "localhost,", folder / "play.yml"],
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
            "RECORDER_PATH": str(folder / "record"),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    text = " ".join((done.stdout + done.stderr).split())
    return (json.loads(result.read_text(encoding="utf-8")) if result.exists() else None), text


def current(vault: VaultClient, name: str) -> str:
    """Return the newest version of a secret."""
    found = vault.read(name)
    assert found is not None
    return found.version


def test_values_come_as_they_are_and_in_order(azure: Running, vault: VaultClient, tmp_path: Path) -> None:
    values, _text = ask(azure, tmp_path, "b", "a")
    assert values == ["It's \\ {{ b }}", "second"]
    (old,) = [version.id for version in vault.versions("a") if version.id != current(vault, "a")]
    assert ask(azure, tmp_path, "a", version=old)[0] == ["first"]


@pytest.mark.parametrize("case", [("nothing", "on_missing", "is not there"), ("gone", "on_deleted", "is soft-deleted")])
def test_what_is_not_there(azure: Running, vault: VaultClient, tmp_path: Path, case: tuple[str, str, str]) -> None:
    assert vault.exists()
    name, option, message = case
    values, text = ask(azure, tmp_path, "a", name)
    assert values is None
    assert message in text
    values, text = ask(azure, tmp_path, "a", name, **{option: "warn"})
    assert values == ["second"]
    assert f"[WARNING]: {LOOKUP}" in text
    values, text = ask(azure, tmp_path, "a", name, **{option: "skip"})
    assert values == ["second"]
    assert message not in text


def test_what_may_not_be_read(azure: Running, vault: VaultClient, tmp_path: Path) -> None:
    newest = current(vault, "b")
    vault.disable("b", newest)
    values, text = ask(azure, tmp_path, "b")
    assert values is None
    assert "it is disabled" in text
    assert ask(azure, tmp_path, "a", "b", on_denied="skip")[0] == ["second"]
    other = {"client_id": azure.settings.second_client_id, "secret": azure.settings.second_client_secret}
    values, text = ask(azure, tmp_path, "a", **other)
    assert values is None
    assert ask(azure, tmp_path, "a", **other, on_denied="skip", on_missing="skip")[0] == []


def test_what_is_refused(azure: Running, vault: VaultClient, tmp_path: Path) -> None:
    assert vault.exists()
    assert "a version needs exactly one name" in ask(azure, tmp_path, "a", "b", version="x")[1]
    assert "is not a vault" in ask(azure, tmp_path, "a", vault_id=f"{azure.subscription}/resourceGroups/rg")[1]
