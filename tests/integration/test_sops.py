"""What a run needs before the vault can be opened lies in the inventory encrypted by SOPS, and nowhere else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.support.lab import ROOT, Lab
from tests.integration.support.playbook import PlaybookRun, run_playbook
from tests.integration.support.sabotage import BREAKS, collection_with
from tests.integration.support.secrets import all_secrets, everything, leaks
from tests.integration.support.sops import Key, encrypt, make_key, sops_environment
from tests.integration.test_refusals import without_writes

NAME = "bootstrap_azure_client_secret"
OFF = {"ANSIBLE_VARS_ENABLED": "host_group_vars"}
Run = Callable[..., PlaybookRun]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    """Give the key of an administrator."""
    return make_key(tmp_path_factory.mktemp("age") / "keys.txt")


@pytest.fixture
def inventory(converged_lab: Lab, tmp_path: Path) -> Path:
    """Copy the lab's inventory, whose client secret is then in no file that it reads."""
    copy = tmp_path / "inventories" / "lab"
    shutil.copytree(ROOT / "inventories" / "lab", copy)
    (tmp_path / "roles").symlink_to(ROOT / "roles")
    known = {name: value for name, value in converged_lab.info.items() if name != "client_secret"}
    (copy / "env.json").write_text(json.dumps(known), encoding="utf-8")
    connection = copy / "group_vars" / "all" / "connection.yml"
    text = connection.read_text(encoding="utf-8")
    for old, new in (
        ("'ansible.builtin.file', lab_home ~", "'ansible.builtin.file', inventory_dir ~"),
        ("lab_environment.client_secret | default('')", NAME),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    connection.write_text(text, encoding="utf-8")
    return copy


@pytest.fixture
def sops_file(inventory: Path) -> Path:
    """Name the file in the inventory that is to be encrypted."""
    return inventory / "group_vars" / "all" / "bootstrap.sops.yml"


@pytest.fixture
def run(converged_lab: Lab, inventory: Path, tmp_path: Path) -> Run:
    """Run a playbook on the copy of the inventory, by somebody with a key or without."""

    def run(playbook: str, *arguments: str, key: Key | None, **options: Any) -> PlaybookRun:
        variables = {**sops_environment(key, tmp_path), **options.pop("variables", {})}
        return run_playbook(
            converged_lab, playbook, *arguments, inventory=str(inventory), variables=variables, **options
        )

    return run


def refused(run: PlaybookRun) -> str:
    """Return what a run that was refused said, as one line."""
    assert run.returncode != 0, run.output
    assert "Traceback" not in run.output
    return " ".join(run.output.split())


def secrets(lab: Lab, key: Key) -> dict[str, str]:
    """Everything that must not be seen, also the key itself."""
    return {**all_secrets(lab), "key of age": key.file.read_text(encoding="utf-8").splitlines()[-1]}


def test_a_run_signs_in_with_what_only_sops_holds(converged_lab: Lab, run: Run, sops_file: Path, key: Key) -> None:
    """With everything that may print, nothing of it is printed."""
    secret = converged_lab.info["client_secret"]
    encrypt(sops_file, {NAME: secret}, key)
    inventory = sops_file.parents[2]
    assert not [path for path in inventory.rglob("*") if path.is_file() and secret in path.read_text(encoding="utf-8")]
    done = run("site", "--check", "--diff", "-vvv", key=key).ok()
    assert done.findings() == []
    assert done.convergences["arm_resources"]["requests"]["GET"] > 0
    assert leaks(everything(done), secrets(converged_lab, key)) == []


@pytest.mark.sabotage
def test_a_shown_secret_is_noticed(converged_lab: Lab, run: Run, sops_file: Path, key: Key, tmp_path: Path) -> None:
    """Sabotage: the vars plugin prints what it has read."""
    encrypt(sops_file, {NAME: converged_lab.info["client_secret"]}, key)
    collections = collection_with(BREAKS["what SOPS decrypted is shown"], tmp_path / "broken")
    arguments = ("--check", "--tags", "network", "-vvv")
    done = run("audioprothese.platform.provision", *arguments, key=key, collections=collections).ok()
    assert "client secret" in leaks(everything(done), secrets(converged_lab, key))


def test_a_wrong_secret_does_not_sign_in(converged_lab: Lab, run: Run, sops_file: Path, key: Key) -> None:
    """What signs in is the value of the file."""
    encrypt(sops_file, {NAME: "another-" + converged_lab.info["client_secret"]}, key)
    with without_writes(converged_lab):
        assert "AADSTS7000215" in refused(run("provision", "--tags", "network", key=key))


@pytest.mark.parametrize(
    ("has_key", "variables", "words"),
    [
        (False, {}, ("cannot be decrypted", "age key", "~/.config/sops/age/keys.txt", "docs/secrets.md")),
        (True, {"ANSIBLE_SOPS_BINARY": "not-there"}, ("program not-there", "github.com/getsops/sops/releases")),
        (True, OFF, (f"{NAME}: is still encrypted", "vars_plugins_enabled = host_group_vars")),
    ],
    ids=["no key", "no program", "vars plugin off"],
)
def test_what_nobody_decrypts_is_refused(
    converged_lab: Lab,
    run: Run,
    sops_file: Path,
    key: Key,
    *,
    has_key: bool,
    variables: dict[str, str],
    words: tuple[str, ...],
) -> None:
    encrypt(sops_file, {NAME: converged_lab.info["client_secret"]}, key)
    with without_writes(converged_lab):
        said = refused(run("site", key=key if has_key else None, variables=variables))
    for word in words:
        assert word in said


@pytest.mark.parametrize("variables", [{}, OFF], ids=["vars plugin on", "vars plugin off"])
def test_a_file_that_is_not_encrypted_is_refused_and_not_shown(
    converged_lab: Lab, run: Run, sops_file: Path, key: Key, variables: dict[str, str]
) -> None:
    secret = converged_lab.info["client_secret"]
    sops_file.write_text(f"{NAME}: {secret}\n", encoding="utf-8")
    with without_writes(converged_lab):
        done = run("site", "-vvv", key=key, variables=variables)
    assert "bootstrap.sops.yml: is not encrypted. Run: sops encrypt --in-place " in refused(done)
    assert leaks(everything(done), {"client secret": secret}) == []


def test_a_value_that_was_pasted_into_an_encrypted_file_is_refused(
    converged_lab: Lab, run: Run, sops_file: Path, key: Key
) -> None:
    encrypt(sops_file, {NAME: converged_lab.info["client_secret"]}, key)
    pasted = "pasted-" + "4c2e8a"
    sops_file.write_text(f"bootstrap_token: {pasted}\n{sops_file.read_text(encoding='utf-8')}", encoding="utf-8")
    with without_writes(converged_lab):
        done = run("site", "-vvv", key=key)
    assert "bootstrap.sops.yml: holds values in clear text (bootstrap_token)" in refused(done)
    assert pasted not in everything(done)


def test_clear_text_under_the_name_of_an_encrypted_value_is_refused(
    converged_lab: Lab, run: Run, sops_file: Path, key: Key
) -> None:
    """The variables of a host win over those of its group, which are encrypted as they should be."""
    encrypt(sops_file, {NAME: "something else"}, key)
    secret = converged_lab.info["client_secret"]
    host = sops_file.parents[2] / "host_vars" / "lab.yml"
    host.parent.mkdir()
    host.write_text(f"{NAME}: {secret}\n", encoding="utf-8")
    with without_writes(converged_lab):
        done = run("site", "-vvv", key=key)
    assert f"{NAME}: holds a secret in clear text" in refused(done)
    assert leaks(everything(done), {"client secret": secret}) == []


CLEAR = "bootstrap_note: nothing that looks like a secret\n"


def clear_text_is_refused(run: PlaybookRun) -> None:
    """Expect a refusal because of the file alone."""
    assert "bootstrap.sops.yml: is not encrypted" in refused(run)


def test_a_file_is_judged_by_what_it_is_not_by_its_names(run: Run, sops_file: Path) -> None:
    sops_file.write_text(CLEAR, encoding="utf-8")
    extra = {NAME: "given on the command line"}
    clear_text_is_refused(run("preflight", "--tags", "preflight_static", key=None, variables=OFF, extra=extra))


@pytest.mark.sabotage
def test_a_missing_rule_is_noticed(run: Run, sops_file: Path, tmp_path: Path) -> None:
    """Sabotage: without the rule a file in clear text goes through."""
    sops_file.write_text(CLEAR, encoding="utf-8")
    collections = collection_with(BREAKS["SOPS files may hold clear text"], tmp_path / "broken")
    done = run(
        "audioprothese.platform.preflight",
        *("--tags", "preflight_static"),
        key=None,
        variables=OFF,
        extra={NAME: "given on the command line"},
        collections=collections,
    ).ok()
    with pytest.raises(AssertionError):
        clear_text_is_refused(done)
