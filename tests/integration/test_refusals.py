"""What cannot work is said in one clear sentence before the first write of its layer."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import SharedLab, State
from tests.integration.support.lab import Lab
from tests.integration.support.playbook import PlaybookRun, run_playbook
from tests.integration.support.sabotage import BREAKS, collection_with

LONGEST = 700


def assert_refused(run: PlaybookRun, *words: str) -> None:
    """Expect one failure that a person can act on."""
    message = run.failure()
    assert "Traceback" not in run.output
    assert "MODULE FAILURE" not in run.output
    assert 20 < len(message) < LONGEST, message
    for word in words:
        assert word.lower() in message.lower(), message


@contextlib.contextmanager
def without_writes(lab: Lab) -> Iterator[None]:
    """Expect that nothing was written."""
    before = lab.writes()
    yield
    assert lab.writes() == before


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"platform_locaton": "francecentral"}, ("platform_locaton", "platform_location")),
        ({"network_adress_prefixes": ["10.0.0.0/8"]}, ("network_adress_prefixes", "network_address_prefixes")),
        ({"network_nat_idle_timeout_minutes": "ten"}, ("network_nat_idle_timeout_minutes",)),
        ({"cluster_tier": "Gold"}, ("cluster_tier", "Gold")),
    ],
    ids=["misspelt platform variable", "misspelt role variable", "wrong type", "value outside the choices"],
)
def test_a_wrong_variable(converged_lab: Lab, extra: dict[str, object], words: tuple[str, ...]) -> None:
    with without_writes(converged_lab):
        assert_refused(run_playbook(converged_lab, "site", extra=extra), *words)


def test_an_expired_credential(converged_lab: Lab) -> None:
    client = f"/lab/principals/{converged_lab.info['client_id']}"
    converged_lab.control("POST", client, {"secret_expired": True})
    try:
        with without_writes(converged_lab):
            assert_refused(run_playbook(converged_lab, "site"), "expired")
    finally:
        converged_lab.control("POST", client, {"secret_expired": False})


def test_an_unreachable_api_server(converged_lab: Lab) -> None:
    part = next(part for name, part in converged_lab.status()["parts"].items() if "apiserver" in name)
    os.kill(part["pid"], signal.SIGKILL)
    before = converged_lab.status()["requests"]["azure"]["write"]
    try:
        run = run_playbook(converged_lab, "site")
        assert_refused(run, "API server")
        assert converged_lab.status()["requests"]["azure"]["write"] == before
    finally:
        converged_lab.up()


IMMUTABLE = {"cluster_service_cidr": "10.99.0.0/16", "cluster_dns_service_ip": "10.99.0.10"}


def assert_immutable_refused(run: PlaybookRun, writes: int) -> None:
    """Expect the refusal of a change that Azure cannot make."""
    assert_refused(run, "serviceCidr")
    assert writes == 0


def test_an_immutable_change(converged_lab: Lab) -> None:
    before = converged_lab.writes()
    run = run_playbook(converged_lab, "site", extra={**IMMUTABLE, "network_nat_idle_timeout_minutes": 11})
    assert_immutable_refused(run, converged_lab.writes() - before)


@pytest.mark.sabotage
@pytest.mark.spoils
def test_a_missing_guard_is_noticed(shared_lab: SharedLab, tmp_path: Path) -> None:
    """Sabotage: without the guard the run writes before anybody refuses."""
    lab = shared_lab.converged()
    shared_lab.state = State.SPOILT
    collections = collection_with(BREAKS["immutable properties are not guarded"], tmp_path)
    before = lab.writes()
    run = run_playbook(
        lab,
        "audioprothese.platform.provision",
        extra={**IMMUTABLE, "network_nat_idle_timeout_minutes": 11},
        collections=collections,
    )
    with pytest.raises(AssertionError):
        assert_immutable_refused(run, lab.writes() - before)


CORES = "/lab/quota/francecentral/Microsoft.Compute/cores"


def test_a_full_quota(empty_lab: Lab) -> None:
    lab = empty_lab
    limit = lab.control("GET", CORES)["limit"]
    lab.register("Microsoft.Compute")  # a subscription tells its quotas only then
    lab.control("PUT", CORES, {"limit": 10})
    try:
        with without_writes(lab):
            assert_refused(run_playbook(lab, "site"), "vCPUs", "10")
            assert_refused(run_playbook(lab, "site", "--check"), "vCPUs", "10")
    finally:
        lab.control("PUT", CORES, {"limit": limit})
