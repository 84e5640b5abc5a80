"""Operations, faults, counters, restarts."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
from azure.core.exceptions import HttpResponseError

from tests.lab.azure.testing import Running, serve
from tests.lab.tests.test_engine_arm import VNET, code, finish, make, vnet


@pytest.fixture
def client(azure: Running):
    with azure.client() as found:
        yield found


def fault(azure: Running, kind: str, match: str, **more: Any) -> None:
    azure.control("POST", "/lab/faults", {"fault": kind, "match": match} | more)


def test_a_throttled_request(azure: Running, client: httpx.Client, group: str) -> None:
    fault(azure, "throttle", "PUT .*virtualNetworks", count=2, retry_after=7)
    for _ in range(2):
        answer = client.put(vnet(group), json=VNET)
        assert code(answer) == (429, "TooManyRequests")
        assert answer.headers["retry-after"] == "7"
    assert client.get(f"{group}?api-version=2021-04-01").status_code == 200
    make(client, vnet(group), VNET)


def test_an_internal_error(azure: Running, client: httpx.Client, group: str) -> None:
    fault(azure, "error", "GET .*resourceGroups", status=503, code="ServiceUnavailable")
    assert code(client.get(f"{group}?api-version=2021-04-01")) == (503, "ServiceUnavailable")
    assert client.get(f"{group}?api-version=2021-04-01").status_code == 200


def test_a_dropped_connection(azure: Running, client: httpx.Client, group: str) -> None:
    fault(azure, "drop", "GET .*resourceGroups")
    with pytest.raises(httpx.TransportError):
        client.get(f"{group}?api-version=2021-04-01")
    assert client.get(f"{group}?api-version=2021-04-01").status_code == 200


def test_latency(azure: Running, client: httpx.Client, group: str) -> None:
    fault(azure, "latency", "GET .*resourceGroups", milliseconds=300)
    started = time.monotonic()
    client.get(f"{group}?api-version=2021-04-01")
    assert time.monotonic() - started >= 0.3


def test_a_failed_operation(azure: Running, client: httpx.Client, group: str) -> None:
    fault(azure, "fail-operation", "PUT .*virtualNetworks/v", code="AllocationFailed", message="no room")
    status = finish(client, client.put(vnet(group), json=VNET))
    assert (status["status"], status["error"]["code"]) == ("Failed", "AllocationFailed")
    assert client.get(vnet(group)).json()["properties"]["provisioningState"] == "Failed"
    make(client, vnet(group), VNET)
    assert client.get(vnet(group)).json()["properties"]["provisioningState"] == "Succeeded"


def test_a_failed_deletion_by_location(azure: Running, client: httpx.Client, group: str) -> None:
    fault(azure, "fail-operation", "DELETE .*resourceGroups")
    assert finish(client, client.delete(f"{group}?api-version=2021-04-01"))["status"] == "Failed"
    assert client.get(f"{group}?api-version=2021-04-01").status_code == 200


def test_a_cancelled_operation(azure: Running, client: httpx.Client, group: str) -> None:
    fault(azure, "fail-operation", "PUT .*virtualNetworks/v", code="Canceled", message="somebody changed their mind")
    assert finish(client, client.put(vnet(group), json=VNET))["status"] == "Canceled"
    assert client.get(vnet(group)).json()["properties"]["provisioningState"] == "Canceled"
    make(client, vnet(group), VNET)


def test_faults_can_be_listed_and_cleared(azure: Running, client: httpx.Client, group: str) -> None:
    fault(azure, "error", "GET .*resourceGroups", count=5)
    assert [entry["count"] for entry in azure.control("GET", "/lab/faults")["value"]] == [5]
    azure.control("DELETE", "/lab/faults")
    assert client.get(f"{group}?api-version=2021-04-01").status_code == 200


def test_a_fault_of_an_unknown_kind_is_refused(azure: Running) -> None:
    with pytest.raises(httpx.HTTPStatusError):
        fault(azure, "meteor", ".*")


def test_the_control_api_needs_its_token(azure: Running, client: httpx.Client) -> None:
    assert client.get("/lab/requests").status_code == 401
    assert client.post("/lab/reset").status_code == 401
    assert client.get("/lab/health").status_code == 200


def test_requests_are_counted_by_effect(azure: Running, client: httpx.Client, group: str) -> None:
    make(client, vnet(group), VNET)
    azure.control("DELETE", "/lab/requests")
    client.get(vnet(group))
    client.head(f"{group}?api-version=2021-04-01")
    assert azure.control("GET", "/lab/requests")["azure"] == {
        "write": 0,
        "read": 2,
        "token": 0,
        "list_action": 0,
        "access_review": 0,
        "metadata": 0,
    }
    client.put(vnet(group), content=b"refused as well")
    client.patch(vnet(group), json={"tags": {}})
    client.delete(vnet(group, "missing"))
    client.post(
        f"{group}/providers/Microsoft.ContainerService/managedClusters/x/listClusterUserCredential?api-version=2025-01-01"
    )
    client.post(f"{azure.base_url}/{azure.settings.tenant_id}/oauth2/v2.0/token", data={})
    client.post("/kubernetes/authorize/none", json={"spec": {}})
    counted = azure.control("GET", "/lab/requests")
    assert counted["azure"] == {"write": 3, "read": 2, "token": 1, "list_action": 1, "access_review": 1, "metadata": 0}
    assert counted["by_verb"] == {"GET": 1, "HEAD": 1, "PUT": 1, "PATCH": 1, "DELETE": 1, "POST": 3}


def test_the_generic_client_of_azure_core_waits_for_operations(azure: Running, group: str) -> None:
    from azure.core.polling import LROPoller  # noqa: PLC0415
    from azure.core.rest import HttpRequest  # noqa: PLC0415
    from azure.identity import ClientSecretCredential  # noqa: PLC0415
    from azure.mgmt.core import ARMPipelineClient  # noqa: PLC0415
    from azure.mgmt.core.policies import ARMChallengeAuthenticationPolicy  # noqa: PLC0415
    from azure.mgmt.core.polling.arm_polling import ARMPolling  # noqa: PLC0415

    known = azure.settings
    credential = ClientSecretCredential(
        known.tenant_id, known.client_id, known.client_secret, authority=azure.base_url, disable_instance_discovery=True
    )
    from azure.core.pipeline.policies import CustomHookPolicy, HeadersPolicy, RequestIdPolicy, RetryPolicy  # noqa: PLC0415

    policies = [
        RequestIdPolicy(),
        HeadersPolicy(),
        RetryPolicy(),
        ARMChallengeAuthenticationPolicy(credential, f"{azure.base_url}/.default"),
        CustomHookPolicy(),
    ]
    pipeline: ARMPipelineClient[Any, Any] = ARMPipelineClient(azure.base_url, policies=policies)
    with pipeline as core:

        def run(method: str, body: Any = None) -> Any:
            request = HttpRequest(method, azure.base_url + vnet(group), json=body)
            first = core._pipeline.run(request)
            poller: LROPoller[Any] = LROPoller(
                core,
                first,
                lambda found: found.http_response.json() if found.http_response.text() else None,
                ARMPolling(5),
            )
            return poller.result(timeout=20)

        started = time.monotonic()
        assert run("PUT", VNET)["properties"]["provisioningState"] == "Succeeded"
        fault(azure, "fail-operation", "PUT .*virtualNetworks", code="AllocationFailed", message="no room")
        with pytest.raises(HttpResponseError, match="AllocationFailed"):
            run("PUT", VNET)
        run("DELETE")
        with azure.client() as client:
            assert client.get(vnet(group)).status_code == 404
        assert time.monotonic() - started < 5, "the answers say when to ask again"


def test_a_killed_simulator_goes_on(tmp_path) -> None:
    """What was accepted before a crash is finished after it; what was stored is there."""
    with serve(tmp_path, time_scale=1.5) as azure, azure.client() as client:
        group = f"{azure.subscription}/resourceGroups/r"
        client.put(f"{group}?api-version=2021-04-01", json={"location": "francecentral"})
        address = client.put(vnet(group), json=VNET).headers["azure-asyncoperation"]
        assert client.get(address).json()["status"] == "InProgress"
    with serve(tmp_path) as again, again.client() as client:
        for _ in range(200):
            status = client.get(address).json()["status"]
            if status != "InProgress":
                break
            time.sleep(0.02)
        assert status == "Succeeded"
        assert client.get(vnet(group)).json()["properties"]["provisioningState"] == "Succeeded"


def test_reset_forgets_everything_but_who_may_ask(tmp_path) -> None:
    with serve(tmp_path) as azure, azure.client() as client:
        group = f"{azure.subscription}/resourceGroups/r"
        client.put(f"{group}?api-version=2021-04-01", json={"location": "francecentral"})
        client.put(vnet(group), json=VNET)
        azure.control("POST", "/lab/reset")
        assert azure.control("GET", "/lab/requests")["by_verb"] == {}
        assert client.get(f"{group}?api-version=2021-04-01").status_code == 404
        assert client.put(f"{group}?api-version=2021-04-01", json={"location": "francecentral"}).status_code == 201


def test_latency_of_every_request_can_be_set(tmp_path) -> None:
    with serve(tmp_path, latency_ms=100) as azure, azure.client() as client:
        started = time.monotonic()
        client.get(f"{azure.subscription}?api-version=2022-12-01")
        assert time.monotonic() - started >= 0.1
