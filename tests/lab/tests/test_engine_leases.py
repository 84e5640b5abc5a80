"""The lease of a blob container."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.lab.azure.behaviours import container_leases as leases
from tests.lab.azure.errors import ArmError
from tests.lab.azure.testing import Running
from tests.lab.tests.test_engine_arm import finish

ONE, TWO = "50000000-0000-4000-8000-000000000001", "50000000-0000-4000-8000-000000000002"


def held(**changes: Any) -> leases.Lease:
    known: dict[str, Any] = {"id": ONE, "duration": 60, "ends": 160.0}
    return leases.Lease(**(known | changes))


@pytest.mark.parametrize(
    ("lease", "now", "state"),
    [
        (held(), 100, "Leased"),
        (held(), 160, "Expired"),
        (held(duration=-1, ends=None), 10**9, "Leased"),
        (held(broken=120.0), 110, "Breaking"),
        (held(broken=120.0), 120, "Broken"),
    ],
)
def test_states(lease: leases.Lease, now: float, state: str) -> None:
    assert lease.state(now) == state


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: leases.acquire(None, now=100, duration=60, proposed=TWO).ends, 160),
        (lambda: leases.acquire(held(), now=100, duration=60, proposed=TWO), "LeaseAlreadyPresent"),
        (lambda: leases.acquire(held(), now=130, duration=60, proposed=ONE).ends, 190),
        (lambda: leases.acquire(held(), now=161, duration=-1, proposed=TWO).ends, None),
        (lambda: leases.acquire(held(broken=120.0), now=110, duration=60, proposed=TWO), "LeaseAlreadyPresent"),
        (
            lambda: leases.acquire(held(broken=120.0), now=110, duration=60, proposed=ONE),
            "LeaseIsBreakingAndCannotBeAcquired",
        ),
        (lambda: leases.acquire(held(broken=120.0), now=121, duration=60, proposed=TWO).id, TWO),
        (lambda: leases.acquire(None, now=0, duration=14, proposed=TWO), "InvalidHeaderValue"),
        (lambda: leases.acquire(None, now=0, duration=61, proposed=TWO), "InvalidHeaderValue"),
        (lambda: leases.acquire(None, now=0, duration=60, proposed="x"), "InvalidHeaderValue"),
        (lambda: leases.renew(held(), now=150, lease_id=ONE).ends, 210),
        (lambda: leases.renew(held(), now=500, lease_id=ONE).ends, 560),
        (lambda: leases.renew(held(), now=150, lease_id=TWO), "LeaseIdMismatchWithLeaseOperation"),
        (lambda: leases.renew(None, now=150, lease_id=ONE), "LeaseIdMismatchWithLeaseOperation"),
        (lambda: leases.renew(held(broken=120.0), now=110, lease_id=ONE), "LeaseIsBrokenAndCannotBeRenewed"),
        (lambda: leases.change(held(), now=110, lease_id=ONE, proposed=TWO).id, TWO),
        (lambda: leases.change(held(), now=200, lease_id=ONE, proposed=TWO), "LeaseNotPresentWithLeaseOperation"),
        (lambda: leases.release(held(), lease_id=TWO), "LeaseIdMismatchWithLeaseOperation"),
        (lambda: leases.break_(held(), now=100, period=None)[1], 60),
        (lambda: leases.break_(held(), now=100, period=10)[1], 10),
        (lambda: leases.break_(held(), now=150, period=30)[1], 10),
        (lambda: leases.break_(held(duration=-1, ends=None), now=100, period=None)[1], 0),
        (lambda: leases.break_(None, now=100, period=None), "LeaseNotPresentWithLeaseOperation"),
        (lambda: leases.break_(held(), now=100, period=61), "InvalidHeaderValue"),
    ],
)
def test_transitions(call: Any, expected: Any) -> None:
    try:
        assert call() == expected
    except ArmError as error:
        assert error.code == expected


@pytest.fixture
def container(azure: Running, group: str):
    """A container, and a function that acts on its lease."""
    account = f"{group}/providers/Microsoft.Storage/storageAccounts/st{abs(hash(group)) % 10**12}"
    with azure.client() as client:
        made = client.put(
            f"{account}?api-version=2024-01-01",
            json={"location": "francecentral", "kind": "StorageV2", "sku": {"name": "Standard_ZRS"}, "properties": {}},
        )
        if made.status_code == 202 or "azure-asyncoperation" in made.headers:
            finish(client, made)
        path = f"{account}/blobServices/default/containers/lease"
        answer = client.put(f"{path}?api-version=2024-01-01", json={"properties": {}})
        assert answer.status_code in (200, 201), answer.text

        def act(**body: Any) -> httpx.Response:
            return client.post(f"{path}/lease?api-version=2024-01-01", json=body)

        def properties() -> dict[str, Any]:
            found: dict[str, Any] = client.get(f"{path}?api-version=2024-01-01").json()["properties"]
            return found

        yield act, properties, lambda: client.delete(f"{path}?api-version=2024-01-01")


def test_the_lease_of_a_container(container: Any) -> None:
    act, properties, delete = container
    assert properties()["leaseState"] == "Available"
    taken = act(action="Acquire", leaseDuration=60, proposedLeaseId=ONE)
    assert (taken.status_code, taken.json()) == (200, {"leaseId": ONE})
    shown = properties()
    assert (shown["leaseState"], shown["leaseStatus"], shown["leaseDuration"]) == ("Leased", "Locked", "Fixed")
    refused = act(action="Acquire", leaseDuration=60, proposedLeaseId=TWO)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "LeaseAlreadyPresent")
    assert act(action="Renew", leaseId=ONE).status_code == 200
    assert delete().json()["error"]["code"] == "LeaseIdMissing"
    broken = act(action="Break", breakPeriod=0)
    assert broken.json() == {"leaseTimeSeconds": "0"}
    assert properties()["leaseState"] == "Broken"
    assert act(action="Renew", leaseId=ONE).json()["error"]["code"] == "LeaseIsBrokenAndCannotBeRenewed"
    assert act(action="Acquire", leaseDuration=-1, proposedLeaseId=TWO).json() == {"leaseId": TWO}
    assert properties()["leaseDuration"] == "Infinite"
    assert act(action="Release", leaseId=TWO).status_code == 200
    assert properties()["leaseState"] == "Available"
    assert act(action="Sing").json()["error"]["code"] == "InvalidHeaderValue"
    assert delete().status_code == 200
