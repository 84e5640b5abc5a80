"""No secret leaves the vault through anything a run prints, returns or records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.conftest import Creation
from tests.integration.support.lab import ROOT, Lab
from tests.integration.support.playbook import run_playbook
from tests.integration.support.sabotage import BREAKS, collection_with
from tests.integration.support.secrets import all_secrets, everything, leaks

# The creation runs what these consist of, drift and status begin with `compare`; the one that destroys has a test of
# its own in which nothing is left.
ELSEWHERE = {"compare", "deploy", "destroy", "preflight", "provision", "site", "verify"}
PLAYBOOKS = sorted({path.stem for path in (ROOT / "playbooks").glob("*.yml")} - ELSEWHERE)
# Without these a playbook says what is missing, and does no more.
ARGUMENTS = {"restore_to": "2026-01-02T03:04:05Z", "secret": "mariadb-openmrs-password", "mariadb_primary": 0}


@pytest.fixture
def secrets(converged_lab: Lab) -> dict[str, str]:
    """Give every secret value that exists in the lab now."""
    return all_secrets(converged_lab)


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


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_nothing_leaks_from_any_playbook(converged_lab: Lab, secrets: dict[str, str], playbook: str) -> None:
    run = run_playbook(converged_lab, playbook, "--check", "--diff", "-vvv", extra=ARGUMENTS)
    assert run.tasks, run.output
    assert leaks(everything(run), secrets) == []


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
