# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rotation as people run it: vault, Secrets and pods' annotations follow; killed anywhere, the next run goes on.

Nodes are simulated here, so nobody can sign in at MariaDB: tests/contract/test_rotation.py does that with a real one.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.vault import certificates

from tests.integration.support.lab import Lab
from tests.integration.support.lab_vault import enabled, platform_vault, tags, value
from tests.integration.support.playbook import PlaybookRun, kill_playbook, run_playbook, start_playbook
from tests.integration.support.secrets import all_secrets, leaks
from tests.integration.support.waiting import until

PASSWORD, KEY, PAIR = "mariadb-openmrs-password", "redaction-key", "mariadb-tls"
AUTHORITY = "platform-ca"


def delivered(lab: Lab, namespace: str, name: str, key: str) -> str:
    """Return what the cluster's Secret holds."""
    data = json.loads(lab.kubectl("get", "secret", name, "-n", namespace, "-o", "json"))["data"]
    return base64.b64decode(data[key]).decode()


def annotation(lab: Lab) -> str:
    """Return the version that the backend's pods say they run with."""
    path = "{.spec.template.metadata.annotations.secret-version/database-password}"
    return lab.kubectl("get", "statefulset", "openmrs-backend", "-n", "openmrs", "-o", f"jsonpath={path}").strip()


def template(lab: Lab) -> str:
    """Return what the backend's pods are started from."""
    return lab.kubectl("get", "statefulset", "openmrs-backend", "-n", "openmrs", "-o", "jsonpath={.spec.template}")


def rotate(lab: Lab, secret: str, *arguments: str, **extra: Any) -> PlaybookRun:
    """Run the playbook for one secret."""
    return run_playbook(lab, "rotate", *arguments, extra={"secret": secret, **extra})


@pytest.fixture
def lab(converged_lab: Lab) -> Lab:
    """Give the converged lab, whose secrets differ afterwards from what they were."""
    return converged_lab


def test_check_mode_says_what_would_be_rotated_and_writes_nothing(lab: Lab) -> None:
    before, writes = value(lab, PASSWORD), lab.writes()
    run = rotate(lab, PASSWORD, "--check", "--diff").ok()
    assert (value(lab, PASSWORD), lab.writes()) == (before, writes)
    assert run.converged_by("key_vault_rotation")[0]["plan"][0]["action"] == "rotate"


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        ("mariadb-openmrs", "has no such secret"),
        ("gateway-tls", "a public authority issues it"),
    ],
)
def test_what_cannot_be_rotated_is_refused_before_the_first_write(lab: Lab, secret: str, message: str) -> None:
    writes = lab.writes()
    run = rotate(lab, secret)
    assert run.returncode != 0
    assert message in " ".join(run.output.split())
    assert lab.writes() == writes


def test_a_key_is_rotated_to_its_end_and_nothing_is_shown(lab: Lab) -> None:
    before = value(lab, KEY)
    run = rotate(lab, KEY, "--diff", "-vvv").ok()
    assert value(lab, KEY) != before
    assert not {"rotation", "rotation-before"} & set(tags(lab, KEY))
    assert enabled(lab, KEY).count(True) == 1
    assert leaks(run.output, {**all_secrets(lab), "before": before}) == []
    again = run_playbook(lab, "deploy").ok()
    assert (again.changed, again.findings()) == (0, [])


@pytest.mark.spoils
def test_a_pair_reaches_the_cluster_and_waits_for_its_proof(lab: Lab) -> None:
    before = value(lab, f"{PAIR}-key")
    rotate(lab, PAIR).ok()
    key, certificate = value(lab, f"{PAIR}-key"), value(lab, f"{PAIR}-certificate")
    assert key != before
    assert certificates.key_matches(key_pem=key, certificate_pem=certificate)
    assert delivered(lab, "mariadb", "mariadb-tls", "tls.key") == key
    assert delivered(lab, "mariadb", "mariadb-tls", "tls.crt") == certificate
    assert tags(lab, f"{PAIR}-certificate")["rotation"] == "open", "closed although nobody serves it"


@pytest.mark.spoils
def test_an_authority_signs_nothing_before_it_is_proven_to_be_trusted(lab: Lab) -> None:
    """Both are brought everywhere, no pod is started again, and on the way back the same."""
    before, leaf, started = value(lab, f"{AUTHORITY}-certificate"), value(lab, f"{PAIR}-certificate"), template(lab)
    rotate(lab, AUTHORITY).ok()
    both = value(lab, f"{AUTHORITY}-certificate")
    assert both.endswith(before)
    assert both.count("BEGIN CERTIFICATE") == 2
    for namespace, name in (("openmrs", "platform-ca"), ("mariadb", "mariadb-tls")):
        assert delivered(lab, namespace, name, "ca.crt") == both
    assert (value(lab, f"{PAIR}-certificate"), template(lab)) == (leaf, started)
    assert tags(lab, f"{AUTHORITY}-certificate")["rotation"] == "open", "signs although nobody was asked"
    check = run_playbook(lab, "deploy", "--check").ok()
    assert ("rotation", "open") in {(finding["path"], finding["live"]) for finding in check.findings()}
    assert run_playbook(lab, "deploy").ok().changed == 0, "the next run finds something else"
    rotate(lab, f"{AUTHORITY}-key", rotate_back=True).ok()
    again = value(lab, f"{AUTHORITY}-certificate")
    assert again == before + both.removesuffix(before)
    assert delivered(lab, "openmrs", "platform-ca", "ca.crt") == again
    assert tags(lab, f"{AUTHORITY}-certificate")["rotation-back"] == "true"


@pytest.mark.spoils
def test_killed_after_the_new_value_was_written_the_next_run_brings_it_everywhere(lab: Lab, tmp_path: Path) -> None:
    """And leaves the rotation open, for nobody can sign in at a simulated node."""
    before, annotated = value(lab, PASSWORD), annotation(lab)
    kill_once(lab, lambda: value(lab, PASSWORD) != before, tmp_path)
    assert tags(lab, PASSWORD)["rotation"] == "open"
    assert enabled(lab, PASSWORD).count(True) == 2
    partly = run_playbook(lab, "deploy", "--tags", "openmrs")
    assert partly.returncode != 0
    assert "run again without tags" in " ".join(partly.output.split())
    assert annotation(lab) == annotated
    check = run_playbook(lab, "deploy", "--check").ok()
    assert ("rotation", "open") in {(finding["path"], finding["live"]) for finding in check.findings()}
    run_playbook(lab, "deploy").ok()
    new = value(lab, PASSWORD)
    assert delivered(lab, "openmrs", "openmrs-passwords", "database-password") == new
    assert delivered(lab, "mariadb", "mariadb-passwords", "openmrs-password") == new
    with platform_vault(lab) as client:
        assert annotation(lab) == client.get_secret(PASSWORD).properties.version
    assert tags(lab, PASSWORD)["rotation"] == "open", "closed without a proof"
    rotate(lab, PASSWORD, rotate_back=True).ok()
    assert value(lab, PASSWORD) == before
    assert delivered(lab, "openmrs", "openmrs-passwords", "database-password") == before
    assert tags(lab, PASSWORD)["rotation-back"] == "true"


def kill_once(lab: Lab, happened: Callable[[], bool], folder: Path) -> None:
    """Kill a rotation as soon as something is so."""
    record, log = folder / "record.jsonl", folder / "log"
    with log.open("w") as output:
        process = start_playbook(lab, "rotate", record=record, extra={"secret": PASSWORD}, output=output)
        try:
            until(lambda: process.poll() is not None or happened(), "the new value is written", 300, every=0.3)
            assert process.poll() is None, log.read_text()[-3000:]
        finally:
            kill_playbook(process, record)
