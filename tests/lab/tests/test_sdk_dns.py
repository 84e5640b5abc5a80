# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""azure-mgmt-privatedns and azure-mgmt-dns drive zones, links and record sets."""

from __future__ import annotations

from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mgmt.dns import models

from tests.lab.azure.testing import Running
from tests.lab.tests.sdk import Clients, code, made, vnet_body

ZONE = "lab.example.org"
PRIVATE_RECORDS: dict[str, dict[str, Any]] = {
    "A": {"aRecords": [{"ipv4Address": "10.0.0.4"}]},
    "AAAA": {"aaaaRecords": [{"ipv6Address": "2001:db8::1"}]},
    "CNAME": {"cnameRecord": {"cname": "www.example.org."}},
    "MX": {"mxRecords": [{"preference": 10, "exchange": "mail.example.org."}]},
    "PTR": {"ptrRecords": [{"ptrdname": "host.example.org."}]},
    "SRV": {"srvRecords": [{"priority": 1, "weight": 5, "port": 443, "target": "www.example.org."}]},
    "TXT": {"txtRecords": [{"value": ["v=spf1 -all"]}]},
}
PUBLIC_RECORDS = {
    "A": models.RecordSet(ttl=300, a_records=[models.ARecord(ipv4_address="192.0.2.1")]),
    "AAAA": models.RecordSet(ttl=300, aaaa_records=[models.AaaaRecord(ipv6_address="2001:db8::1")]),
    "CAA": models.RecordSet(ttl=300, caa_records=[models.CaaRecord(flags=0, tag="issue", value="letsencrypt.org")]),
    "CNAME": models.RecordSet(ttl=300, cname_record=models.CnameRecord(cname="www.example.org")),
    "MX": models.RecordSet(ttl=300, mx_records=[models.MxRecord(preference=10, exchange="mail.example.org")]),
    "NS": models.RecordSet(ttl=300, ns_records=[models.NsRecord(nsdname="ns.example.org.")]),
    "PTR": models.RecordSet(ttl=300, ptr_records=[models.PtrRecord(ptrdname="host.example.org")]),
    "SRV": models.RecordSet(
        ttl=300, srv_records=[models.SrvRecord(priority=1, weight=5, port=1, target="a.example.org")]
    ),
    "TXT": models.RecordSet(ttl=300, txt_records=[models.TxtRecord(value=["hello"])]),
}


@pytest.fixture
def sdk(azure: Running) -> Clients:
    return Clients(azure)


@pytest.fixture
def rg(group: str) -> str:
    return group.rsplit("/", 1)[-1]


@pytest.fixture
def private(sdk: Clients, rg: str) -> Any:
    return made(sdk.private_dns.private_zones, rg, ZONE, {"location": "global"})


@pytest.fixture
def public(sdk: Clients, rg: str) -> Any:
    return sdk.dns.zones.create_or_update(rg, ZONE, models.Zone(location="global"))


def test_private_zone_counts_links_and_records(sdk: Clients, rg: str, private: Any) -> None:
    assert (private.number_of_record_sets, private.max_number_of_record_sets) == (1, 25000)
    network = made(sdk.network.virtual_networks, rg, "hub", vnet_body())
    link = {"location": "global", "properties": {"virtualNetwork": {"id": network.id}, "registrationEnabled": True}}
    created = made(sdk.private_dns.virtual_network_links, rg, ZONE, "hub", link)
    assert created.virtual_network_link_state == "Completed"
    zone = sdk.private_dns.private_zones.get(rg, ZONE)
    assert zone.number_of_virtual_network_links_with_registration == 1
    with pytest.raises(HttpResponseError) as held:
        sdk.private_dns.private_zones.begin_delete(rg, ZONE)
    assert code(held.value) == "CannotDeleteResource"
    sdk.private_dns.virtual_network_links.begin_delete(rg, ZONE, "hub").result(30)
    sdk.private_dns.private_zones.begin_delete(rg, ZONE).result(30)
    with pytest.raises(ResourceNotFoundError):
        sdk.private_dns.private_zones.get(rg, ZONE)


def test_a_network_registers_in_one_zone_only(sdk: Clients, rg: str, private: Any) -> None:
    network = made(sdk.network.virtual_networks, rg, "hub", vnet_body())
    link = {"location": "global", "properties": {"virtualNetwork": {"id": network.id}, "registrationEnabled": True}}
    made(sdk.private_dns.virtual_network_links, rg, private.name, "first", link)
    made(sdk.private_dns.private_zones, rg, "other.example.org", {"location": "global"})
    with pytest.raises(HttpResponseError) as refused:
        made(sdk.private_dns.virtual_network_links, rg, "other.example.org", "second", link)
    assert refused.value.status_code == 409
    with pytest.raises(HttpResponseError) as twice:
        made(sdk.private_dns.virtual_network_links, rg, private.name, "again", link)
    assert code(twice.value) == "Conflict"


@pytest.mark.parametrize("kind", PRIVATE_RECORDS)
def test_private_record_sets(sdk: Clients, rg: str, private: Any, kind: str) -> None:
    records = sdk.private_dns.record_sets
    body = {"properties": {"ttl": 300, **PRIVATE_RECORDS[kind]}}
    created = records.create_or_update(rg, ZONE, kind, "name", body)
    assert created.fqdn == f"name.{ZONE}."
    assert created.type == f"Microsoft.Network/privateDnsZones/{kind}"
    assert records.get(rg, ZONE, kind, "name").ttl == 300
    assert [found.name for found in records.list_by_type(rg, ZONE, kind)] == ["name"]
    assert records.update(rg, ZONE, kind, "name", {"properties": {"ttl": 600}}).ttl == 600
    assert {found.name for found in records.list(rg, ZONE)} == {"@", "name"}
    records.delete(rg, ZONE, kind, "name")
    with pytest.raises(ResourceNotFoundError):
        records.get(rg, ZONE, kind, "name")


def test_private_soa_is_there_and_keeps_its_host(sdk: Clients, rg: str, private: Any) -> None:
    soa = sdk.private_dns.record_sets.get(rg, ZONE, "SOA", "@")
    assert soa.soa_record.host == "azureprivatedns.net"
    body = {"properties": {"ttl": 60, "soaRecord": {"host": "elsewhere.example.org"}}}
    with pytest.raises(HttpResponseError) as refused:
        sdk.private_dns.record_sets.create_or_update(rg, ZONE, "SOA", "@", body)
    assert code(refused.value) == "BadRequest"


def test_public_zone_has_name_servers_and_records_at_its_apex(sdk: Clients, rg: str, public: Any) -> None:
    assert len(public.name_servers) == 4
    assert (public.number_of_record_sets, public.zone_type) == (2, "Public")
    apex = {found.type.rsplit("/", 1)[-1]: found for found in sdk.dns.record_sets.list_by_dns_zone(rg, ZONE)}
    assert [entry.nsdname for entry in apex["NS"].ns_records] == public.name_servers
    assert apex["SOA"].soa_record.host == public.name_servers[0]
    again = sdk.dns.zones.create_or_update(rg, ZONE, models.Zone(location="global", tags={"a": "b"}))
    assert again.name_servers == public.name_servers
    assert [zone.name for zone in sdk.dns.zones.list_by_resource_group(rg)] == [ZONE]
    sdk.dns.zones.begin_delete(rg, ZONE).result(30)
    with pytest.raises(ResourceNotFoundError):
        sdk.dns.zones.get(rg, ZONE)


@pytest.mark.parametrize("kind", PUBLIC_RECORDS)
def test_public_record_sets(sdk: Clients, rg: str, public: Any, kind: str) -> None:
    records, wanted = sdk.dns.record_sets, PUBLIC_RECORDS[kind]
    created = records.create_or_update(rg, ZONE, "name", kind, wanted)
    assert created.fqdn == f"name.{ZONE}."
    assert created.id.endswith(f"/dnszones/{ZONE}/{kind}/name")
    found = records.get(rg, ZONE, "name", kind)
    member = next(key for key, value in wanted.as_dict().items() if isinstance(value, list | dict))
    assert found.as_dict()[member] == wanted.as_dict()[member]
    records.delete(rg, ZONE, "name", kind)
    with pytest.raises(ResourceNotFoundError):
        records.get(rg, ZONE, "name", kind)


def test_an_alias_and_another_record_exclude_each_other(sdk: Clients, rg: str, public: Any) -> None:
    records = sdk.dns.record_sets
    records.create_or_update(rg, ZONE, "www", "A", PUBLIC_RECORDS["A"])
    with pytest.raises(HttpResponseError) as second:
        records.create_or_update(rg, ZONE, "www", "CNAME", PUBLIC_RECORDS["CNAME"])
    assert second.value.status_code == 409
    records.create_or_update(rg, ZONE, "ftp", "CNAME", PUBLIC_RECORDS["CNAME"])
    with pytest.raises(HttpResponseError) as first:
        records.create_or_update(rg, ZONE, "ftp", "A", PUBLIC_RECORDS["A"])
    assert code(first.value) == "Conflict"
    with pytest.raises(HttpResponseError) as apex:
        records.create_or_update(rg, ZONE, "@", "CNAME", PUBLIC_RECORDS["CNAME"])
    assert code(apex.value) == "BadRequest"


def test_conditions_on_etags(sdk: Clients, rg: str, public: Any) -> None:
    records = sdk.dns.record_sets
    created = records.create_or_update(rg, ZONE, "www", "A", PUBLIC_RECORDS["A"], if_none_match="*")
    with pytest.raises(HttpResponseError) as exists:
        records.create_or_update(rg, ZONE, "www", "A", PUBLIC_RECORDS["A"], if_none_match="*")
    assert exists.value.status_code == 412
    records.create_or_update(rg, ZONE, "www", "A", PUBLIC_RECORDS["A"], if_match=created.etag)
    with pytest.raises(HttpResponseError) as stale:
        records.create_or_update(rg, ZONE, "www", "A", PUBLIC_RECORDS["A"], if_match=created.etag)
    assert stale.value.status_code == 412
