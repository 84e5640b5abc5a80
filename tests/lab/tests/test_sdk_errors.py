# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors that any type can meet, as azure-core and azure-identity understand them: missing things, versions, faults."""

from __future__ import annotations

import time
from typing import Any

import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
    ServiceResponseError,
)
from azure.identity import ClientSecretCredential

from tests.lab.azure.testing import Running
from tests.lab.tests.sdk import Clients, cluster_body, code, made, vnet_body

#: A version that no service has.
FUTURE = "2099-01-01"


@pytest.fixture
def sdk(azure: Running) -> Clients:
    return Clients(azure)


@pytest.fixture
def rg(group: str) -> str:
    return group.rsplit("/", 1)[-1]


@pytest.fixture(autouse=True)
def without_faults(azure: Running) -> Any:
    yield
    azure.control("DELETE", "/lab/faults")


def test_missing_group_parent_and_resource(sdk: Clients, rg: str) -> None:
    with pytest.raises(ResourceNotFoundError) as no_group:
        made(sdk.network.virtual_networks, "nowhere", "hub", vnet_body())
    assert code(no_group.value) == "ResourceGroupNotFound"
    with pytest.raises(ResourceNotFoundError) as no_parent:
        made(sdk.network.subnets, rg, "nothing", "nodes", {"properties": {"addressPrefix": "10.0.0.0/24"}})
    assert code(no_parent.value) == "ParentResourceNotFound"
    with pytest.raises(ResourceNotFoundError) as nothing:
        sdk.network.virtual_networks.get(rg, "nothing")
    assert code(nothing.value) == "ResourceNotFound"
    # Deleting what is not there succeeds, as everywhere in ARM.
    sdk.network.virtual_networks.begin_delete(rg, "nothing").result(30)


def test_unknown_version_of_the_api(azure: Running, sdk: Clients, rg: str) -> None:
    network = made(sdk.network.virtual_networks, rg, "hub", vnet_body())
    assert sdk.resources.resources.get_by_id(network.id, api_version="2024-05-01").name == "hub"
    with pytest.raises(HttpResponseError) as refused:
        sdk.resources.resources.get_by_id(network.id, api_version=FUTURE)
    assert code(refused.value) in ("InvalidResourceType", "NoRegisteredProviderFound")
    assert FUTURE in str(refused.value)


def test_unknown_region(sdk: Clients, rg: str) -> None:
    with pytest.raises(HttpResponseError) as refused:
        made(sdk.network.virtual_networks, rg, "hub", vnet_body() | {"location": "atlantis"})
    assert code(refused.value) == "LocationNotAvailableForResourceType"


def test_wrong_secret_is_refused_by_entra(azure: Running, rg: str) -> None:
    settings = azure.settings
    credential = ClientSecretCredential(
        settings.tenant_id, settings.client_id, "wrong", authority=azure.base_url, disable_instance_discovery=True
    )
    with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
        credential.get_token(f"{azure.base_url}/.default")


def test_principal_without_a_role_is_refused(azure: Running, rg: str) -> None:
    settings = azure.settings
    powerless = Clients(azure)
    powerless.credential = ClientSecretCredential(
        settings.tenant_id,
        settings.second_client_id,
        settings.second_client_secret,
        authority=azure.base_url,
        disable_instance_discovery=True,
    )
    with pytest.raises(HttpResponseError) as refused:
        powerless.network.virtual_networks.get(rg, "hub")
    assert (refused.value.status_code, code(refused.value)) == (403, "AuthorizationFailed")


def test_throttling_is_waited_out_by_the_client(azure: Running, sdk: Clients, rg: str) -> None:
    made(sdk.network.virtual_networks, rg, "hub", vnet_body())
    azure.control(
        "POST", "/lab/faults", {"fault": "throttle", "match": "GET .*virtualNetworks/hub", "count": 2, "retry_after": 1}
    )
    started = time.monotonic()
    assert sdk.network.virtual_networks.get(rg, "hub").name == "hub"
    assert 2 <= time.monotonic() - started < 10


def test_failed_operation_says_why(azure: Running, sdk: Clients, rg: str) -> None:
    azure.control(
        "POST",
        "/lab/faults",
        {
            "fault": "fail-operation",
            "match": "PUT .*virtualNetworks/hub",
            "code": "AnotherOperationInProgress",
            "message": "Busy.",
        },
    )
    with pytest.raises(HttpResponseError) as failed:
        made(sdk.network.virtual_networks, rg, "hub", vnet_body())
    assert "AnotherOperationInProgress" in str(failed.value)
    assert sdk.network.virtual_networks.get(rg, "hub").provisioning_state == "Failed"
    assert made(sdk.network.virtual_networks, rg, "hub", vnet_body()).provisioning_state == "Succeeded"


def test_server_error_is_retried_and_a_lasting_one_reported(azure: Running, sdk: Clients, rg: str) -> None:
    made(sdk.network.virtual_networks, rg, "hub", vnet_body())
    azure.control(
        "POST", "/lab/faults", {"fault": "error", "match": "GET .*virtualNetworks/hub", "count": 1, "status": 503}
    )
    assert sdk.network.virtual_networks.get(rg, "hub").name == "hub"
    azure.control("POST", "/lab/faults", {"fault": "error", "match": "GET .*virtualNetworks/hub", "count": 50})
    with pytest.raises(HttpResponseError) as lasting:
        sdk.network.virtual_networks.get(rg, "hub", retry_total=1, retry_backoff_factor=0)
    assert lasting.value.status_code == 500


def test_dropped_connection_is_an_error_of_the_connection(azure: Running, sdk: Clients, rg: str) -> None:
    azure.control("POST", "/lab/faults", {"fault": "drop", "match": "GET .*virtualNetworks/hub", "count": 50})
    with pytest.raises((ServiceResponseError, HttpResponseError)) as dropped:
        sdk.network.virtual_networks.get(rg, "hub", retry_total=0)
    assert not isinstance(dropped.value, HttpResponseError)


def test_second_write_on_a_cluster_is_refused_while_the_first_runs(azure: Running, sdk: Clients, rg: str) -> None:
    azure.control("POST", "/lab/settings", {"time_scale": 5})
    try:
        first = sdk.clusters.managed_clusters.begin_create_or_update(rg, "aks", cluster_body())
        with pytest.raises(HttpResponseError) as refused:
            sdk.clusters.managed_clusters.begin_create_or_update(rg, "aks", cluster_body(), retry_total=0)
        assert (refused.value.status_code, code(refused.value)) == (409, "OperationNotAllowed")
        assert first.result(30).provisioning_state == "Succeeded"
    finally:
        azure.control("POST", "/lab/settings", {"time_scale": 0.1})


def test_second_write_on_a_network_is_told_to_come_back(azure: Running, sdk: Clients, rg: str) -> None:
    azure.control("POST", "/lab/settings", {"time_scale": 5})
    try:
        first = sdk.network.virtual_networks.begin_create_or_update(rg, "hub", vnet_body())
        subnet = {"properties": {"addressPrefix": "10.0.0.0/24"}}
        with pytest.raises(HttpResponseError) as refused:
            sdk.network.subnets.begin_create_or_update(rg, "hub", "nodes", subnet, retry_total=0)
        assert (refused.value.status_code, code(refused.value)) == (429, "RetryableError")
        first.result(30)
        assert made(sdk.network.subnets, rg, "hub", "nodes", subnet).name == "nodes"
    finally:
        azure.control("POST", "/lab/settings", {"time_scale": 0.1})
