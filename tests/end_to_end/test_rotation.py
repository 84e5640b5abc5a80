"""Secrets are rotated while centres work: an overlap costs no request, a start of the backend its window."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.conftest import Platform
from tests.end_to_end.support.load import Load, assert_served, run_load
from tests.integration.support.lab_vault import enabled, tags, value
from tests.integration.support.playbook import PlaybookRun, kill_playbook, start_playbook
from tests.integration.support.waiting import until

CLIENTS = 20
# Of these nobody who asks the front door notices anything: an overlap, or another system is started again.
UNNOTICED = [
    "redaction-key",
    "mariadb-root-password",
    "mariadb-monitor-password",
    "mariadb-backup-password",
    "mariadb-archive-password",
    "mariadb-audit-password",
    "mariadb-replication-password",
    "sign-in-cookie-key",
]
BACKEND = "/openmrs/ws"
"""The only pages that wait for the backend, of which there is one."""


async def rotated_under_load(platform: Platform, *secrets: str, **more: object) -> tuple[Load, PlaybookRun]:
    """Rotate secrets while clients ask, until the playbook ends."""
    extra = {"secrets_rotation_only": list(secrets), **more}
    rotation = asyncio.create_task(asyncio.to_thread(platform.run, "rotate", extra=extra))
    load = Load()
    while not rotation.done():
        part = await run_load(platform.clinic, clients=CLIENTS, seconds=15)
        load.answers += part.answers
        load.failures += part.failures
    return load, await rotation


def backend_started(platform: Platform) -> str:
    """Return when the containers of the backend's pod were started."""
    path = "{.metadata.uid} {.status.containerStatuses[*].state.running.startedAt}"
    return platform.lab.kubectl("get", "pod", "openmrs-backend-0", "-n", "openmrs", "-o", f"jsonpath={path}")


def assert_rotated(platform: Platform, secret: str, before: str) -> None:
    """Expect a new value, and no other one that can be read."""
    assert value(platform.lab, secret) != before
    assert "rotation" not in tags(platform.lab, secret)
    assert enabled(platform.lab, secret).count(True) == 1


@pytest.mark.soak
@pytest.mark.parametrize("secrets", [[one] for one in UNNOTICED] + [UNNOTICED], ids=[*UNNOTICED, "all of them at once"])
def test_a_rotation_that_the_backend_does_not_need_costs_no_request(well: Platform, secrets: list[str]) -> None:
    before = {name: value(well.lab, name) for name in secrets}
    load, run = asyncio.run(rotated_under_load(well, *secrets))
    run.ok()
    assert_served(load)
    for name in secrets:
        assert_rotated(well, name, before[name])


@pytest.mark.soak
def test_mariadb_serves_a_new_certificate_without_a_failed_request(well: Platform) -> None:
    before = value(well.lab, "mariadb-tls-certificate")
    load, run = asyncio.run(rotated_under_load(well, "mariadb-tls"))
    run.ok()
    assert_served(load)
    assert_rotated(well, "mariadb-tls-certificate", before)


@pytest.mark.soak
def test_the_authority_is_replaced_without_a_failed_request(well: Platform) -> None:
    """In one command: bundle, what it signs, and the new one alone, with no start of the backend."""
    name, leaf = "platform-ca-certificate", "mariadb-tls-certificate"
    before, signed, started = value(well.lab, name), value(well.lab, leaf), backend_started(well)
    load, run = asyncio.run(rotated_under_load(well, "platform-ca"))
    run.ok()
    assert_served(load)
    assert_rotated(well, name, before)
    assert_rotated(well, leaf, signed)
    assert value(well.lab, name).count("BEGIN CERTIFICATE") == 1
    assert backend_started(well) == started
    well.lab.kubectl("delete", "pod", "openmrs-backend-0", "-n", "openmrs", "--wait=true")
    well.run("site").ok()
    well.ledger.write("Nouvelle-autorité")


@pytest.mark.soak
def test_an_authority_whose_rotation_is_killed_while_it_signs_goes_back(well: Platform, tmp_path: Path) -> None:
    name, record = "platform-ca-certificate", tmp_path / "record.jsonl"
    before, started = value(well.lab, name), backend_started(well)
    with (tmp_path / "log").open("w") as output:
        extra = {**well.declared, "secret": "platform-ca"}
        process = start_playbook(well.lab, "rotate", record=record, extra=extra, output=output)
        try:
            until(lambda: tags(well.lab, name).get("rotation") == "signing", "the new authority signs", 900, every=0.3)
        finally:
            kill_playbook(process, record)
    load, run = asyncio.run(rotated_under_load(well, "platform-ca", rotate_back=True))
    run.ok()
    assert_served(load)
    assert (value(well.lab, name), tags(well.lab, name).get("rotation-due")) == (before, "true")
    assert "rotation" not in tags(well.lab, name)
    assert backend_started(well) == started
    well.ledger.write("Ancienne-autorité")


def test_the_password_of_openmrs_costs_one_start_of_the_backend(well: Platform) -> None:
    """And nothing that does not need the backend fails."""
    before = value(well.lab, "mariadb-openmrs-password")
    load, run = asyncio.run(rotated_under_load(well, "mariadb-openmrs-password"))
    run.ok()
    print(f"{len(load.failures)} of {load.requests} requests failed while the backend was started again")
    assert [failure for failure in load.failures if not failure.startswith(BACKEND)] == []
    assert_rotated(well, "mariadb-openmrs-password", before)
    well.ledger.write("Après la rotation")


def test_openmrs_exchanges_the_password_of_its_administrator(well: Platform) -> None:
    name = "openmrs-admin-password"
    before = value(well.lab, name)
    well.run("rotate", extra={"secret": name}).ok()
    assert_rotated(well, name, before)
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        well.clinic.register("Ancienne-clé")
    well.clinic.password = value(well.lab, name)
    well.ledger.write("Nouvelle-clé")
