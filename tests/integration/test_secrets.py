"""No secret leaves the vault through anything a run prints, returns or records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.conftest import Creation
from tests.integration.support.lab import Lab
from tests.integration.support.playbook import PlaybookRun, run_playbook
from tests.integration.support.sabotage import BREAKS, collection_with
from tests.integration.support.secrets import all_secrets, leaks


@pytest.fixture
def secrets(converged_lab: Lab) -> dict[str, str]:
    """Give every secret value that exists in the lab now."""
    return all_secrets(converged_lab)


def everything(run: PlaybookRun) -> str:
    """Return what a run printed, what its tasks returned, and its command line."""
    return "\n".join([run.output, json.dumps(run.tasks, ensure_ascii=False), *run.arguments])


def test_nothing_leaks_from_the_creation(creation: Creation) -> None:
    creation.real.ok()
    assert "-vvv" in creation.real.arguments
    assert len([name for name in creation.secrets if "/vaults/" in name]) >= 8
    assert leaks(everything(creation.check), creation.secrets) == []
    assert leaks(everything(creation.real), creation.secrets) == []


def test_nothing_leaks_into_what_others_can_read(creation: Creation) -> None:
    """Command lines, and a fact cache that somebody turned on."""
    assert any("ansible-playbook" in line for line in creation.processes)
    assert any("helm" in line for line in creation.processes)
    assert leaks("\n".join(creation.processes), creation.secrets) == []
    assert leaks(creation.fact_cache, creation.secrets) == []


def test_nothing_leaks_into_the_audit_log_of_the_cluster(creation: Creation) -> None:
    assert "mariadb-passwords" in creation.audit_log
    assert leaks(creation.audit_log, creation.secrets) == []


def test_nothing_leaks_when_secrets_are_corrected(converged_lab: Lab, secrets: dict[str, str]) -> None:
    """The riskiest report: a Secret in the cluster that was changed behind our back, with its diff."""
    name = next(name for name in secrets if name.startswith("mariadb/"))
    namespace, _slash, rest = name.partition("/")
    secret, _hash, key = rest.partition("#")
    planted = "planted-behind-our-back-4711"
    patch = {"stringData": {key: planted}}
    converged_lab.kubectl("patch", "secret", secret, "-n", namespace, "--type=merge", "-p", json.dumps(patch))
    check = run_playbook(converged_lab, "deploy", "--check", "--diff", "-vvv").ok()
    assert [finding["resource"] for finding in check.findings()] == [f"Secret/{namespace}/{secret}"]
    real = run_playbook(converged_lab, "deploy", "--diff", "-vvv").ok()
    for run in (check, real):
        assert leaks(everything(run), {**secrets, "planted": planted}) == []


def test_nothing_leaks_from_a_failure(converged_lab: Lab, secrets: dict[str, str]) -> None:
    converged_lab.fault("error", "--match", "GET .*virtualNetworks.*", "--count", "20")
    try:
        run = run_playbook(converged_lab, "site", "-vvv")
    finally:
        converged_lab.fault("clear")
    assert run.returncode
    assert leaks(everything(run), secrets) == []


@pytest.mark.sabotage
def test_a_leak_is_noticed(converged_lab: Lab, secrets: dict[str, str], tmp_path: Path) -> None:
    """Sabotage: redaction lets everything through."""
    name = next(name for name in secrets if name.startswith("mariadb/"))
    namespace, _slash, rest = name.partition("/")
    secret, _hash, key = rest.partition("#")
    patch = {"stringData": {key: "planted-behind-our-back-4712"}}
    converged_lab.kubectl("patch", "secret", secret, "-n", namespace, "--type=merge", "-p", json.dumps(patch))
    collections = collection_with(BREAKS["secrets are shown"], tmp_path)
    run = run_playbook(
        converged_lab, "audioprothese.platform.deploy", "--check", "--diff", "-vvv", collections=collections
    )
    try:
        assert leaks(everything(run), {**secrets, "planted": "planted-behind-our-back-4712"}) != []
    finally:
        run_playbook(converged_lab, "deploy").ok()
