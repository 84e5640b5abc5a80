"""Azurite as a part of the lab: from the first blob on, through kills, and nothing is left of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
from azure.core.exceptions import AzureError
from azure.storage.blob import ContainerClient

from tests.integration.support.azure import credential, trusted
from tests.integration.support.lab import Lab, running_lab
from tests.lab.control.home import PORTS
from tests.lab.tests.leftovers import leftovers
from tests.lab.tests.test_control import kill

pytestmark = pytest.mark.lab

ACCOUNT = "stlabblobs"
CONTRIBUTOR = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
# Azurite writes its index every five seconds.
INDEX_SECONDS = 6


@pytest.fixture
def container(own_lab: Lab) -> Iterator[ContainerClient]:
    """Give a container whose blobs the lab's main client may write."""
    subscription = f"/subscriptions/{own_lab.info['subscription_id']}"
    account = f"{subscription}/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/{ACCOUNT}"
    own_lab.register("Microsoft.Storage")
    own_lab.arm("PUT", f"{subscription}/resourceGroups/rg", "2025-04-01", {"location": "francecentral"})
    body = {"location": "francecentral", "kind": "StorageV2", "sku": {"name": "Standard_ZRS"}, "properties": {}}
    own_lab.arm("PUT", account, "2024-01-01", body)
    eventually(
        lambda: own_lab.arm("PUT", f"{account}/blobServices/default/containers/kept", "2024-01-01", {"properties": {}})
    )
    role = f"{subscription}/providers/Microsoft.Authorization/roleDefinitions/{CONTRIBUTOR}"
    properties = {"roleDefinitionId": role, "principalId": own_lab.info["object_id"]}
    assignment = f"{account}/providers/Microsoft.Authorization/roleAssignments/30000000-0000-4000-8000-000000000001"
    own_lab.arm("PUT", assignment, "2022-04-01", {"properties": properties})
    with trusted(own_lab):
        address = f"{own_lab.info['arm_endpoint']}/blob/{ACCOUNT}/kept"
        yield ContainerClient.from_container_url(address, credential(own_lab))


@pytest.fixture
def own_lab() -> Iterator[Lab]:
    """Give a lab that the test may stop."""
    with running_lab() as lab:
        yield lab


def eventually(call: Any, seconds: float = 90) -> Any:
    """Call until it does not fail."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, AzureError):
            return call()
        time.sleep(0.2)
    return call()


def test_it_runs_from_the_first_blob_on_and_keeps_it(own_lab: Lab, container: ContainerClient) -> None:
    assert "blobs" not in own_lab.status()["parts"]
    container.upload_blob("a", b"content")
    part = own_lab.status()["parts"]["blobs"]
    assert part["healthy"]
    time.sleep(INDEX_SECONDS)
    kill(part["pid"])
    assert not own_lab.status()["parts"]["blobs"]["healthy"]
    own_lab.up()
    assert own_lab.status()["parts"]["blobs"]["pid"] != part["pid"]
    assert eventually(lambda: container.download_blob("a").readall()) == b"content"
    ports = range(own_lab.port, own_lab.port + len(PORTS))
    own_lab.down()
    assert leftovers(own_lab.home, ports) == []
    own_lab.up()
    assert eventually(lambda: container.download_blob("a").readall()) == b"content"


def test_one_that_died_comes_back_with_the_next_request(own_lab: Lab, container: ContainerClient) -> None:
    container.upload_blob("a", b"content")
    kill(own_lab.status()["parts"]["blobs"]["pid"])
    eventually(lambda: container.upload_blob("b", b"content", overwrite=True))
    assert own_lab.status()["parts"]["blobs"]["healthy"]


def test_a_reset_forgets_the_blobs(own_lab: Lab, container: ContainerClient) -> None:
    container.upload_blob("a", b"content")
    own_lab.reset()
    assert "blobs" not in own_lab.status()["parts"]
    assert not (own_lab.home / "blobs").exists()
