"""Cluster and network are lost, vault and backups are left: one command brings the records back."""

from __future__ import annotations

import datetime as dt
import time

import pytest

from tests.end_to_end.conftest import Platform
from tests.end_to_end.support import archive
from tests.integration.support.azure import resource_ids
from tests.integration.support.lab import Lab
from tests.integration.support.waiting import until

pytestmark = [pytest.mark.soak, pytest.mark.spoils]

LOST = ("cluster", "network", "shared")
LOCKS_VERSION, GROUPS_VERSION = "2020-05-01", "2025-04-01"


def left_of(lab: Lab, group: str) -> list[str]:
    """Return what there is in a resource group, and the group itself."""
    return [one for one in resource_ids(lab) if f"{one}/".lower().startswith(f"{group}/".lower())]


def lose(lab: Lab) -> None:
    """Take away everything but the group of the data."""
    groups = [one for one in resource_ids(lab, "Microsoft.Resources/resourceGroups") if one.endswith(LOST)]
    assert len(groups) == len(LOST)
    for lock in resource_ids(lab, "Microsoft.Authorization/locks"):
        lab.arm("DELETE", lock, LOCKS_VERSION)
    for group in sorted(groups):  # the cluster is on the network
        lab.arm("DELETE", group, GROUPS_VERSION)
        until(lambda group=group: left_of(lab, group) == [], f"{group} is lost")  # type: ignore[misc]


def test_one_command_brings_the_records_of_a_moment_back(platform: Platform) -> None:
    for number in range(3):
        platform.ledger.write(f"Avant-la-perte-{number}")
    time.sleep(1)  # a moment is as exact as a second
    moment = dt.datetime.now(dt.UTC).replace(microsecond=0)
    archive.await_archived(platform.lab, moment)
    lose(platform.lab)
    started = time.monotonic()
    run = platform.run("rebuild", extra={"restore_to": moment.isoformat()}).ok()
    print(f"from nothing to the verified platform: {time.monotonic() - started:.0f} s")
    [restored] = run.results_of("mariadb_restore")
    platform.declared["mariadb_volume"] = restored["volume"]
    platform.assert_well()
    assert platform.site().ok().changed == 0
    again = platform.run("rebuild", extra={"restore_to": moment.isoformat(), **platform.declared}).ok()
    assert again.changed == 0
