"""What the repository shows of SOPS works with the real program: the rules, the pattern of a file, the commands."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.support.sops import Key, encrypt, make_key, sops, sops_environment

ROOT = Path(__file__).resolve().parents[2]
VARIABLES = Path("inventories/production/group_vars/all")
FILE = VARIABLES / "bootstrap.sops.yml"
PATTERN = yaml.safe_load((ROOT / f"{FILE}.example").read_text(encoding="utf-8"))
SECRET = "filled-" + "in-8a61"


@pytest.fixture
def anna(tmp_path: Path) -> Key:
    """Give the key of an administrator."""
    return make_key(tmp_path / "anna.txt")


@pytest.fixture
def bashir(tmp_path: Path) -> Key:
    """Give the key of another one."""
    return make_key(tmp_path / "bashir.txt")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Give the production inventory and the rules as they are committed."""
    shutil.copytree(ROOT / "inventories" / "production", tmp_path / "inventories" / "production")
    shutil.copy(ROOT / ".sops.yaml", tmp_path)
    return tmp_path


def let_read(clone: Path, *keys: Key) -> None:
    """Put keys into the rules in place of those that are there."""
    rules = clone / ".sops.yaml"
    lines = [line for line in rules.read_text(encoding="utf-8").splitlines() if not line.startswith("      - age1")]
    at = lines.index("    age:") + 1
    rules.write_text("\n".join([*lines[:at], *(f"      - {key.recipient}" for key in keys), *lines[at:], ""]))


def fill_in(clone: Path, **values: str) -> subprocess.CompletedProcess[str]:
    """Make the file as an administrator does: in an editor, which here writes the values."""
    editor = clone / "editor"
    text = yaml.safe_dump({**PATTERN, **values})
    editor.write_text(f"#!/bin/sh\ncat > \"$1\" <<'END'\n{text}END\n", encoding="utf-8")
    editor.chmod(0o755)
    return sops("edit", FILE, folder=clone, variables={"EDITOR": str(editor)})


def parse(clone: Path, key: Key | None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Let Ansible read the inventory for somebody with a key."""
    done = subprocess.run(
        ["ansible-inventory", "-i", "inventories/production", "--host", "production"],
        cwd=clone,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
            **sops_environment(key, clone),
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            **variables,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


def read(clone: Path, key: Key | None) -> dict[str, Any]:
    """What Ansible has of the inventory for somebody with a key; nothing when it is refused."""
    done = parse(clone, key)
    found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
    return found


def test_the_rules_are_refused_as_long_as_an_example_is_in_them(clone: Path) -> None:
    done = fill_in(clone)
    assert done.returncode != 0
    assert "age1-of-anna" in done.stderr
    assert not (clone / FILE).exists()


def test_a_file_made_by_the_pattern_is_read_by_each_administrator_and_nobody_else(
    clone: Path, anna: Key, bashir: Key, tmp_path: Path
) -> None:
    let_read(clone, anna, bashir)
    values = dict.fromkeys(PATTERN, SECRET)
    done = fill_in(clone, **values)
    assert done.returncode == 0, done.stderr
    assert SECRET not in (clone / FILE).read_text(encoding="utf-8")
    for key in (anna, bashir):
        assert values.items() <= read(clone, key).items()
    assert read(clone, make_key(tmp_path / "stranger.txt")) == {}
    assert read(clone, None) == {}


def test_without_a_file_neither_program_nor_key_is_needed(clone: Path) -> None:
    assert read(clone, None)["platform_env"] == "prod"


def test_without_a_file_no_collection_is_needed_either(clone: Path, anna: Key, tmp_path: Path) -> None:
    ours = tmp_path / "collections" / "ansible_collections" / "audioprothese"
    ours.mkdir(parents=True)
    (ours / "platform").symlink_to(ROOT)
    alone = {"ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "collections")}
    assert parse(clone, anna, **alone).returncode == 0
    encrypt(clone / FILE, dict.fromkeys(PATTERN, SECRET), anna)
    done = parse(clone, anna, **alone)
    assert done.returncode != 0
    assert (
        "bootstrap.sops.yml: needs the collection community.sops. Run: ansible-galaxy collection install" in done.stderr
    )


def test_an_administrator_who_leaves_reads_no_longer(clone: Path, anna: Key, bashir: Key) -> None:
    encrypt(clone / FILE, dict.fromkeys(PATTERN, SECRET), anna, bashir)
    let_read(clone, anna)
    assert sops("updatekeys", "--yes", FILE, folder=clone, key=anna).returncode == 0
    before = (clone / FILE).read_text(encoding="utf-8")
    assert sops("rotate", "--in-place", FILE, folder=clone, key=anna).returncode == 0
    assert (clone / FILE).read_text(encoding="utf-8") != before
    assert read(clone, anna)
    assert read(clone, bashir) == {}


@pytest.mark.parametrize(
    "check",
    [
        ("yamllint", "--strict", FILE),
        ("ansible-lint", "--offline", "-q", "inventories"),
        ("detect-secrets-hook", "--baseline", ".secrets.baseline", FILE),
    ],
    ids=lambda check: check[0],
)
def test_an_encrypted_file_passes_the_checks_of_the_repository(
    clone: Path, anna: Key, check: tuple[str | Path, ...]
) -> None:
    encrypt(clone / FILE, {**dict.fromkeys(PATTERN, SECRET), "bootstrap_note": "line\n" * 60}, anna)
    for name in (".yamllint", ".ansible-lint", ".secrets.baseline"):
        shutil.copy(ROOT / name, clone)
    done = subprocess.run(
        check,
        cwd=clone,
        env={**os.environ, **sops_environment(anna, clone)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_a_whole_process_needs_is_in_its_environment_only(clone: Path, anna: Key) -> None:
    encrypt(clone / "runner.sops.yml", {"HTTPS_PROXY": f"http://runner:{SECRET}@proxy.example:3128"}, anna)
    done = sops("exec-env", "runner.sops.yml", "printenv HTTPS_PROXY", folder=clone, key=anna)
    assert SECRET in done.stdout
    assert SECRET not in (clone / "runner.sops.yml").read_text(encoding="utf-8")


def test_the_pattern_names_what_the_inventory_reads() -> None:
    """Each variable of the pattern stands in a file beside it, and each one that is read stands in the pattern."""
    beside = "".join(path.read_text(encoding="utf-8") for path in (ROOT / VARIABLES).glob("*.yml"))
    assert set(PATTERN) == set(re.findall(r"\bbootstrap_\w+", beside))
