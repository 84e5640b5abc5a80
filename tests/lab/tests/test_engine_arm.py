"""ARM's generic machinery, over HTTP, with the codes that Azure gives."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from tests.lab.azure.testing import Running, serve
from tests.lab.azure.typedata import standard_types

VNETS = "Microsoft.Network/virtualNetworks"
VERSION = "2024-05-01"
VNET: dict[str, Any] = {
    "location": "francecentral",
    "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}},
}
SUBNETS = [
    {"name": name, "properties": {"addressPrefix": f"10.0.{number}.0/24"}} for number, name in enumerate(("b", "a"))
]


@pytest.fixture
def client(azure: Running):
    with azure.client() as found:
        yield found


def vnet(group: str, name: str = "v", version: str = VERSION, tail: str = "") -> str:
    return f"{group}/providers/{VNETS}/{name}{tail}?api-version={version}"


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def finish(client: httpx.Client, answer: httpx.Response) -> dict[str, Any]:
    """Wait for a long-running operation; its last status."""
    assert answer.status_code in (200, 201, 202), answer.text
    address = answer.headers.get("azure-asyncoperation")
    for _ in range(200):
        if address is None:
            again = client.get(answer.headers["location"])
            if again.status_code != 202:
                return {"status": "Succeeded" if again.is_success else "Failed", "code": again.status_code}
        else:
            found: dict[str, Any] = client.get(address).json()
            if found["status"] != "InProgress":
                return found
        time.sleep(0.02)
    raise AssertionError("the operation does not end")


def make(client: httpx.Client, path: str, body: dict[str, Any]) -> httpx.Response:
    answer = client.put(path, json=body)
    assert answer.status_code in (200, 201), answer.text
    if "azure-asyncoperation" in answer.headers:
        assert finish(client, answer)["status"] == "Succeeded"
    return answer


# --- who asks


def test_without_a_token(azure: Running, group: str) -> None:
    with azure.client(token="nonsense") as client:
        answer = client.get(vnet(group))
    assert code(answer) == (401, "InvalidAuthenticationToken")
    assert answer.headers["www-authenticate"].startswith("Bearer authorization_uri=")
    bare = httpx.get(azure.base_url + vnet(group), verify=azure.context())
    assert code(bare) == (401, "AuthenticationFailed")


def test_an_expired_token(azure: Running, group: str) -> None:
    known = azure.simulator.directory.by_object_id(azure.settings.object_id)
    assert known is not None
    old, _ = azure.simulator.tokens.issue(known, azure.base_url, lifetime=-10)
    with azure.client(token=old) as client:
        assert code(client.get(vnet(group))) == (401, "ExpiredAuthenticationToken")


def test_a_token_for_another_audience(azure: Running, group: str) -> None:
    known = azure.simulator.directory.by_object_id(azure.settings.object_id)
    assert known is not None
    other, _ = azure.simulator.tokens.issue(known, "https://vault.azure.net")
    with azure.client(token=other) as client:
        assert code(client.get(vnet(group))) == (401, "InvalidAuthenticationTokenAudience")


def test_a_principal_without_roles(azure: Running, group: str) -> None:
    with azure.client(second=True) as client:
        answer = client.put(vnet(group), json=VNET)
    assert code(answer) == (403, "AuthorizationFailed")
    message = answer.json()["error"]["message"]
    assert f"{VNETS}/write" in message
    assert azure.settings.second_object_id in message
    assert group in message


# --- what for


def test_without_an_api_version(client: httpx.Client, group: str) -> None:
    assert code(client.get(f"{group}/providers/{VNETS}/v")) == (400, "MissingApiVersionParameter")


def test_an_unknown_api_version_names_the_known_ones(client: httpx.Client, group: str) -> None:
    answer = client.put(vnet(group, version="2050-01-01"), json=VNET)
    assert code(answer) == (400, "NoRegisteredProviderFound")
    assert VERSION in answer.json()["error"]["message"]
    reading = client.get(vnet(group, version="2050-01-01"))
    assert code(reading) == (404, "InvalidResourceType")
    assert VERSION in reading.json()["error"]["message"]
    assert code(client.get(f"{group}?api-version=2050-01-01")) == (400, "InvalidApiVersionParameter")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/providers/Microsoft.Nothing/things/x", (404, "InvalidResourceNamespace")),
        ("/providers/Microsoft.Network/things/x", (404, "InvalidResourceType")),
        ("/providers/Microsoft.Network/virtualNetworks/missing", (404, "ResourceNotFound")),
        ("/providers/Microsoft.Network/virtualNetworks/missing/subnets/s", (404, "ParentResourceNotFound")),
    ],
)
def test_what_is_not_there(client: httpx.Client, group: str, path: str, expected: tuple[int, str]) -> None:
    assert code(client.get(f"{group}{path}?api-version={VERSION}")) == expected


def test_without_its_group(azure: Running, client: httpx.Client) -> None:
    nowhere = f"{azure.subscription}/resourceGroups/nowhere"
    assert code(client.put(vnet(nowhere), json=VNET)) == (404, "ResourceGroupNotFound")
    assert code(client.get(vnet(nowhere))) == (404, "ResourceGroupNotFound")
    assert code(client.get(f"{nowhere}/providers/{VNETS}?api-version={VERSION}")) == (404, "ResourceGroupNotFound")


def test_without_its_parent(client: httpx.Client, group: str) -> None:
    answer = client.put(
        vnet(group, "missing", tail="/subnets/s"), json={"properties": {"addressPrefix": "10.0.0.0/24"}}
    )
    assert code(answer) == (404, "ParentResourceNotFound")


def test_another_subscription(client: httpx.Client) -> None:
    other = "/subscriptions/99999999-0000-4000-8000-000000000000/resourceGroups/x"
    assert code(client.get(f"{other}?api-version=2021-04-01")) == (404, "SubscriptionNotFound")


def test_a_body_that_is_no_json(client: httpx.Client, group: str) -> None:
    assert code(client.put(vnet(group), content=b"{")) == (400, "InvalidRequestContent")
    assert code(client.put(vnet(group), json=[])) == (400, "InvalidRequestContent")


# --- create, read, update, delete


def test_a_long_creation(client: httpx.Client, group: str) -> None:
    answer = client.put(vnet(group), json=VNET)
    assert answer.status_code == 201
    assert answer.json()["properties"]["provisioningState"] == "Updating"
    assert answer.headers["azure-asyncoperation"].startswith("https://127.0.0.1")
    assert "x-ms-request-id" in answer.headers
    assert finish(client, answer)["status"] == "Succeeded"
    live = client.get(vnet(group)).json()
    assert live["properties"]["provisioningState"] == "Succeeded"
    assert live["type"] == VNETS
    assert live["etag"]


def test_ids_match_in_any_case_and_keep_their_first_spelling(client: httpx.Client, group: str) -> None:
    make(client, vnet(group, "MyNet"), VNET)
    again = make(client, vnet(group.upper(), "mynet"), VNET)
    assert again.status_code == 200
    assert again.json()["id"] == f"{group}/providers/{VNETS}/MyNet"
    assert len(client.get(f"{group}/providers/{VNETS}?api-version={VERSION}").json()["value"]) == 1


def test_location_is_normalized_checked_and_kept(client: httpx.Client, group: str) -> None:
    assert make(client, vnet(group), VNET | {"location": "France Central"}).json()["location"] == "francecentral"
    assert code(client.put(vnet(group), json=VNET | {"location": "westeurope"})) == (409, "InvalidResourceLocation")
    assert code(client.put(vnet(group, "w"), json=VNET | {"location": "atlantis"})) == (
        400,
        "LocationNotAvailableForResourceType",
    )
    assert code(client.put(vnet(group, "w"), json={"properties": VNET["properties"]})) == (400, "LocationRequired")
    assert code(client.put(f"{group}?api-version=2021-04-01", json={"location": "westeurope"})) == (
        409,
        "InvalidResourceGroupLocation",
    )


def test_subnets_are_resources_and_part_of_their_network(client: httpx.Client, group: str) -> None:
    make(client, vnet(group), {**VNET, "properties": {**VNET["properties"], "subnets": SUBNETS}})
    assert [item["name"] for item in client.get(vnet(group)).json()["properties"]["subnets"]] == ["b", "a"]
    make(client, vnet(group, tail="/subnets/c"), {"properties": {"addressPrefix": "10.0.9.0/24"}})
    assert [item["name"] for item in client.get(vnet(group)).json()["properties"]["subnets"]] == ["b", "a", "c"]
    listed = client.get(vnet(group, tail="/subnets")).json()["value"]
    assert [item["id"].rsplit("/", 1)[-1] for item in listed] == ["b", "a", "c"]
    assert finish(client, client.delete(vnet(group, tail="/subnets/b")))["status"] == "Succeeded"
    assert [item["name"] for item in client.get(vnet(group)).json()["properties"]["subnets"]] == ["a", "c"]


def test_a_missing_resource_is_deleted_without_complaint(client: httpx.Client, group: str) -> None:
    assert client.delete(vnet(group)).status_code == 204
    assert code(client.delete(f"{group}-missing?api-version=2021-04-01")) == (404, "ResourceGroupNotFound")


def test_tags_are_replaced_by_patch(client: httpx.Client, group: str) -> None:
    make(client, vnet(group), VNET | {"tags": {"a": "1", "b": "2"}})
    answer = client.patch(vnet(group), json={"tags": {"c": "3"}})
    assert answer.status_code == 200, answer.text
    assert client.get(vnet(group)).json()["tags"] == {"c": "3"}
    assert code(client.patch(vnet(group), json={"properties": {}})) == (400, "InvalidRequestContent")
    assert code(client.put(vnet(group), json=VNET | {"tags": {str(number): "" for number in range(51)}}))[0] == 400


def test_an_etag_of_before_is_refused(client: httpx.Client, group: str) -> None:
    make(client, vnet(group), VNET)
    old = client.get(vnet(group)).json()["etag"]
    make(client, vnet(group), VNET)
    assert code(client.put(vnet(group), json=VNET, headers={"If-Match": old})) == (412, "PreconditionFailed")
    assert code(client.put(vnet(group), json=VNET, headers={"If-None-Match": "*"})) == (412, "PreconditionFailed")
    now = client.get(vnet(group)).json()["etag"]
    assert client.put(vnet(group), json=VNET, headers={"If-Match": now}).status_code == 200


def test_a_group_takes_its_content_along(azure: Running, client: httpx.Client, group: str) -> None:
    make(client, vnet(group), VNET)
    answer = client.delete(f"{group}?api-version=2021-04-01")
    assert answer.status_code == 202
    assert code(client.put(vnet(group, "late"), json=VNET)) == (409, "ResourceGroupBeingDeleted")
    assert finish(client, answer)["code"] == 200
    assert code(client.get(vnet(group))) == (404, "ResourceGroupNotFound")
    assert client.head(f"{group}?api-version=2021-04-01").status_code == 404
    assert not [found for found in azure.control("GET", "/lab/resources")["value"] if found.startswith(f"{group}/")]


def test_lists_come_in_pages(azure: Running, client: httpx.Client, group: str) -> None:
    names = [f"identity-{number:03d}" for number in range(105)]
    base = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
    for name in names:
        assert (
            client.put(f"{base}/{name}?api-version=2023-01-31", json={"location": "francecentral"}).status_code == 201
        )
    first = client.get(f"{base}?api-version=2023-01-31").json()
    second = client.get(first["nextLink"]).json()
    assert [item["name"] for item in first["value"] + second["value"]] == names
    assert "nextLink" not in second


# --- registration, references, locks, concurrency


def test_a_provider_must_be_registered(tmp_path) -> None:
    with serve(tmp_path, preregistered=()) as azure, azure.client() as client:
        group = f"{azure.subscription}/resourceGroups/r"
        client.put(f"{group}?api-version=2021-04-01", json={"location": "francecentral"})
        assert code(client.put(vnet(group), json=VNET)) == (409, "MissingSubscriptionRegistration")
        assert client.get(f"{group}/providers/{VNETS}?api-version={VERSION}").json() == {"value": []}
        provider = f"{azure.subscription}/providers/Microsoft.Network"
        states = [client.post(f"{provider}/register?api-version=2021-04-01").json()["registrationState"]]
        for _ in range(100):
            states.append(client.get(f"{provider}?api-version=2021-04-01").json()["registrationState"])
            if states[-1] == "Registered":
                break
            time.sleep(0.02)
        assert states[0] == "Registering"
        assert states[-1] == "Registered"
        make(client, vnet(group), VNET)


def nsg(group: str, name: str = "n") -> str:
    return f"{group}/providers/Microsoft.Network/networkSecurityGroups/{name}"


def with_nsg(target: str) -> dict[str, Any]:
    subnet = {"name": "a", "properties": {"addressPrefix": "10.0.0.0/24", "networkSecurityGroup": {"id": target}}}
    return {**VNET, "properties": {**VNET["properties"], "subnets": [subnet]}}


def test_a_reference_must_exist_and_keeps_its_target(client: httpx.Client, group: str) -> None:
    refused = client.put(vnet(group), json=with_nsg(nsg(group)))
    assert code(refused) == (400, "InvalidResourceReference")
    assert client.get(vnet(group)).status_code == 404, "a refused write leaves nothing behind"
    make(client, f"{nsg(group)}?api-version={VERSION}", {"location": "francecentral"})
    make(client, vnet(group), with_nsg(nsg(group)))
    shown = client.get(f"{nsg(group)}?api-version={VERSION}").json()["properties"]["subnets"]
    assert shown == [{"id": f"{group}/providers/{VNETS}/v/subnets/a"}]
    assert code(client.delete(f"{nsg(group)}?api-version={VERSION}")) == (
        400,
        "InUseNetworkSecurityGroupCannotBeDeleted",
    )
    make(client, vnet(group), VNET | {"properties": {**VNET["properties"], "subnets": []}})
    assert client.delete(f"{nsg(group)}?api-version={VERSION}").status_code == 202


@pytest.mark.sabotage
def test_without_the_rule_a_reference_may_lead_nowhere(tmp_path) -> None:
    off = [
        rule
        for rule in standard_types()["microsoft.network/virtualnetworks/subnets"].rules
        if rule.kind == "reference" and "networksecuritygroup" in rule.paths[0].text.lower()
    ]
    assert len(off) == 1
    with serve(tmp_path, without_rules=(f"{VNETS}/subnets#{off[0].id}",)) as azure, azure.client() as client:
        group = f"{azure.subscription}/resourceGroups/r"
        client.put(f"{group}?api-version=2021-04-01", json={"location": "francecentral"})
        assert client.put(vnet(group), json=with_nsg(nsg(group))).status_code == 201


def lock(scope: str, level: str = "CanNotDelete") -> tuple[str, dict[str, Any]]:
    path = f"{scope}/providers/Microsoft.Authorization/locks/keep?api-version=2020-05-01"
    return path, {"properties": {"level": level, "notes": "test"}}


@pytest.mark.parametrize("at", ["group", "resource", "child"])
def test_a_lock_refuses_deletion_there_and_below_and_of_what_is_above(
    client: httpx.Client, group: str, at: str
) -> None:
    make(client, vnet(group), {**VNET, "properties": {**VNET["properties"], "subnets": SUBNETS}})
    network = f"{group}/providers/{VNETS}/v"
    scope = {"group": group, "resource": network, "child": f"{network}/subnets/a"}[at]
    path, body = lock(scope)
    assert client.put(path, json=body).status_code == 201
    for target in (f"{group}?api-version=2021-04-01", vnet(group), vnet(group, tail="/subnets/a")):
        assert code(client.delete(target)) == (409, "ScopeLocked"), target
    make(client, vnet(group), {**VNET, "tags": {"still": "writable"}})
    assert client.delete(path).status_code == 200
    assert finish(client, client.delete(vnet(group)))["status"] == "Succeeded"


def test_a_read_only_lock_refuses_writes(client: httpx.Client, group: str) -> None:
    make(client, vnet(group), VNET)
    path, body = lock(group, "ReadOnly")
    assert client.put(path, json=body).status_code == 201
    assert code(client.put(vnet(group), json=VNET)) == (409, "ScopeLocked")
    assert code(client.put(vnet(group, "new"), json=VNET)) == (409, "ScopeLocked")
    assert client.get(vnet(group)).status_code == 200
    assert client.delete(path).status_code == 200
    make(client, vnet(group), VNET)


def test_two_writes_on_one_network_at_once(azure: Running, client: httpx.Client, group: str) -> None:
    azure.control("POST", "/lab/settings", {"time_scale": 2})
    try:
        first = client.put(vnet(group), json=VNET)
        refused = client.put(vnet(group, tail="/subnets/a"), json={"properties": {"addressPrefix": "10.0.0.0/24"}})
        assert code(refused) == (429, "RetryableError")
        assert "retry-after" in refused.headers
        assert finish(client, first)["status"] == "Succeeded"
    finally:
        azure.control("POST", "/lab/settings", {"time_scale": 0.1})
    make(client, vnet(group, tail="/subnets/a"), {"properties": {"addressPrefix": "10.0.0.0/24"}})


# --- quotas


def test_a_full_quota_refuses_creation(azure: Running, client: httpx.Client, group: str) -> None:
    path = "/lab/quota/francecentral/Microsoft.Network/VirtualNetworks"
    used = azure.control("GET", path)["currentValue"]
    azure.control("PUT", path, {"limit": used + 1})
    try:
        make(client, vnet(group, "fits"), VNET)
        assert code(client.put(vnet(group, "too-many"), json=VNET)) == (400, "QuotaExceeded")
        make(client, vnet(group, "fits"), VNET)
        rows = client.get(
            f"{azure.subscription}/providers/Microsoft.Network/locations/francecentral/usages?api-version={VERSION}"
        )
        row = next(row for row in rows.json()["value"] if row["name"]["value"] == "VirtualNetworks")
        assert (row["currentValue"], row["limit"]) == (used + 1, used + 1)
    finally:
        azure.control("PUT", path, {"limit": 1000})
