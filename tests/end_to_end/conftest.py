"""One lab with a real node for all of these tests, and the platform that `site.yml` built in it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.support.clinic import Clinic, Ledger
from tests.end_to_end.support.pods import await_rollouts
from tests.integration.support.lab import UP_TIMEOUT, Lab, running_lab
from tests.integration.support.playbook import PlaybookRun, run_playbook
from tests.integration.support.secrets import all_secrets, everything, leaks, vault_secrets
from tests.lab.nodes.availability import obstacle

HOST = "openmrs.lab.audioprothese.example"
SITE_SECONDS = 1800
# Small, so that a disk can be seen to grow within what all disks of the lab may take: by variable, whose it is.
DISKS = {
    "mariadb_storage_size": ("mariadb", "mariadb", "3Gi"),
    "openmrs_storage_size": ("openmrs", "openmrs-backend", "3Gi"),
}
# So that a test sees what it waits for.
ARCHIVE_SECONDS = 20


@dataclass
class Platform:
    """The platform on a real node, the run that built it, and what it has confirmed since.

    `declared` is what its inventory says beyond that of the lab: a test that grows a disk leaves the size here, or each
    later run would ask for a smaller one. `secrets` are all that there ever were, as far as a run has seen them.
    """

    lab: Lab
    creation: PlaybookRun
    declared: dict[str, object] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)

    def site(self, *arguments: str, **options: Any) -> PlaybookRun:
        """Run `site.yml`."""
        return self.run("site", *arguments, **options)

    def deploy(self, *layers: str, **options: Any) -> PlaybookRun:
        """Converge the cluster in half of the time of `site.yml`, or some layers of it, where nothing is pruned."""
        return self.run("deploy", *(("--tags", ",".join(layers)) if layers else ()), **options)

    def run(
        self, playbook: str, *arguments: str, extra: Mapping[str, object] | None = None, **options: Any
    ) -> PlaybookRun:
        """Run a playbook with the variables of this platform, and others for this run alone; it shows no secret."""
        variables = {**self.declared, **(extra or {})}
        done = run_playbook(self.lab, playbook, *arguments, extra=variables, timeout=SITE_SECONDS, **options)
        if not self.secrets or playbook == "rotate":
            # Those of before count as well.
            now = len(self.secrets)
            self.secrets |= {f"{name} ({now})": value for name, value in all_secrets(self.lab).items()}
        assert leaks(everything(done), self.secrets) == []
        return done

    @cached_property
    def clinic(self) -> Clinic:
        """The front door."""
        values = {name.rpartition("#")[2]: value for name, value in vault_secrets(self.lab).items()}
        return Clinic(
            host=HOST,
            address=self.lab.info["gateway_https"],
            ca_file=self.lab.info["acme_roots"],
            password=values["openmrs-admin-password"],
        )

    @cached_property
    def ledger(self) -> Ledger:
        """The records that may never be lost."""
        return Ledger(self.clinic)

    def assert_well(self, seconds: float = 300) -> None:
        """Expect every workload ready, the front door open and every confirmed record there."""
        await_rollouts(self.lab, seconds)
        self.clinic.await_healthy(seconds)
        self.ledger.assert_complete(seconds)


@pytest.fixture(scope="session")
def platform() -> Iterator[Platform]:
    """Give the platform, built once from nothing."""
    if why := obstacle(Path(tempfile.gettempdir())):
        pytest.skip(f"real pods cannot run here: {why}")
    with running_lab(LAB_NODES="containers") as lab:
        status = json.loads(lab.command("status", "--json").stdout)
        assert status["nodes"] == "containers", status.get("nodes_why")
        lab.command("images", timeout=UP_TIMEOUT)
        declared = {**disks(lab), "mariadb_archive_every": ARCHIVE_SECONDS}
        creation = run_playbook(lab, "site", extra=declared, timeout=SITE_SECONDS)
        creation.ok()
        yield Platform(lab, creation, declared)


def disks(lab: Lab) -> dict[str, object]:
    """Return what to declare of disks: small ones, or those that are there in a lab that somebody works with."""
    found: dict[str, object] = {}
    there = "admin_kubeconfig" in lab.info and Path(lab.info["admin_kubeconfig"]).exists()
    template = "{.spec.volumeClaimTemplates[0]"
    path = f"jsonpath={template}.metadata.name}} {template}.spec.resources.requests.storage}}"
    for variable, (namespace, owner, size) in DISKS.items():
        live = lab.kubectl("get", "statefulset", owner, "-n", namespace, "-o", path, check=False) if there else ""
        volume, _, live_size = live.partition(" ")
        found[variable] = live_size or size
        if volume and owner == "mariadb":
            found["mariadb_volume"] = volume
    return found


@pytest.fixture
def well(platform: Platform) -> Iterator[Platform]:
    """Give the platform with one more confirmed record, and expect it well again after the test."""
    if not platform.ledger.confirmed:
        platform.ledger.write("Première")
    yield platform
    platform.assert_well()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run those last after which the platform is another one."""
    items.sort(key=lambda item: item.get_closest_marker("spoils") is not None)
