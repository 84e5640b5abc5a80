# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""key_vault_acme_certificate as a task of a real run: a real ACME server, the simulated vault and zone."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.rcode
import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.acme.wanted import DIRECTORY_TAG
from ansible_collections.audioprothese.platform.plugins.module_utils.vault import certificates
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.client import VaultClient
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import PolicyBuilder, Store

from tests.integration.support.lab import free_port_block
from tests.integration.support.playbook import kill_playbook
from tests.integration.support.sabotage import Break, collection_with
from tests.integration.support.secrets import leaks
from tests.integration.support.vaults import (
    client,
    connection,
    create_vault,
    group_id,
    run_task,
    start_task,
    vault_id,
)
from tests.lab.azure.testing import Running, serve
from tests.lab.build import builder
from tests.lab.control.acme import AcmeServer
from tests.lab.control.home import Home

ZONE = "soins.example"
HOSTS = [f"openmrs.{ZONE}"]
NAMES = ("gateway-tls-key", "gateway-tls-certificate", "gateway-tls-order", "acme-account-key")
DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class World:
    """A vault, a zone and an authority, for one test."""

    azure: Running
    acme: AcmeServer
    dns_port: int
    vault: VaultClient
    folder: Path

    @property
    def zone_id(self) -> str:
        return f"{group_id(self.azure)}/providers/Microsoft.Network/dnsZones/{ZONE}"

    def options(self, **options: Any) -> dict[str, Any]:
        return {
            "vault_id": vault_id(self.azure),
            "name": "gateway-tls",
            "dns_names": HOSTS,
            "zone_ids": [self.zone_id],
            "directory": self.acme.directory,
            "contact": "securite@audioprothese.example",
            "terms_agreed": True,
            "certificate_profile": "default",
            "dns_servers": [f"127.0.0.1:{self.dns_port}"],
            "dns_timeout": 10,
            "timeout": 30,
            "lease": {"environment": self.folder.name},
            **connection(self.azure),
            **options,
        }

    def run(self, *arguments: str, collections: Path | None = None, **options: Any) -> tuple[dict[str, Any], str]:
        return run_task(
            "key_vault_acme_certificate", self.options(**options), self.folder, *arguments, collections=collections
        )

    def values(self) -> dict[str, str]:
        return {name: value for name in NAMES if (value := self.vault.get(name)) is not None}

    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.vault.get("gateway-tls-certificate") or "").encode())

    def issued(self) -> int:
        """How many certificates the authority has issued in its life."""
        return len(re.findall("Issued certificate serial", self.acme.daemon.log.read_text()))

    def orders(self) -> int:
        """How many orders were placed in its life."""
        return len(re.findall(r"POST /order-plz", self.acme.daemon.log.read_text()))

    def writes(self) -> int:
        return int(self.azure.control("GET", "/lab/requests")["azure"]["write"])

    def records(self) -> list[str]:
        listed = self.azure.control("GET", "/lab/resources")["value"]
        return [entry for entry in listed if "/TXT/" in entry]

    def fault(self, **fault: Any) -> None:
        self.azure.control("POST", "/lab/faults", fault)


@dataclass(frozen=True)
class Servers:
    """What all tests share."""

    azure: Running
    acme: AcmeServer
    dns_port: int


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Serve a simulated Azure with its name servers, and an ACME server that asks them."""
    builder.build_missing()
    home = Home(tmp_path_factory.mktemp("azure"), free_port_block())
    with serve(home.path, dns_port=home.port("dns")) as azure:
        acme = AcmeServer(home)
        acme.up()
        try:
            yield Servers(azure, acme, home.port("dns"))
        finally:
            acme.daemon.stop()


@pytest.fixture
def world(servers: Servers, tmp_path: Path) -> World:
    """Give an empty vault and an empty zone."""
    servers.azure.control("POST", "/lab/reset")
    vault = create_vault(servers.azure)
    made = World(servers.azure, servers.acme, servers.dns_port, vault, tmp_path)
    client(servers.azure).put(made.zone_id, "2018-05-01", {"location": "global"})
    return made


def plant(world: World, *, names: list[str], starts: dt.datetime, ends: dt.datetime) -> None:
    """Put another certificate, with its key, in the place of the one that is there."""
    key, authority = certificates.signing_key(), certificates.signing_key(authority=True)
    root = certificates.certificate_authority(key_pem=authority, common_name="old", validity_days=9000, now=starts)
    pem = certificates.issue_certificate(
        key_pem=key,
        issuer_key_pem=authority,
        issuer_certificate_pem=root,
        common_name=names[0],
        dns_names=names,
        validity_days=(ends - starts).days,
        now=starts,
    )
    tags = {DIRECTORY_TAG: world.acme.directory}
    kind = "application/x-pem-file"
    world.vault.set("gateway-tls-key", key, content_type=kind)
    world.vault.set("gateway-tls-certificate", pem, content_type=kind, tags=tags)


def paths(result: dict[str, Any]) -> list[str]:
    return [finding["path"] for finding in result["findings"]]


def test_ordered_once_trusted_and_never_shown(world: World) -> None:
    before, orders = world.writes(), world.orders()
    predicted, shown_by_check = world.run("--check", "--diff")
    assert (world.writes(), world.orders(), world.values()) == (before, orders, {})
    assert not predicted.get("failed"), predicted
    assert [action["action"] for action in predicted["plan"]] == ["create", "create"]

    done, shown = world.run("--diff")
    assert done["changed"], done
    assert done["plan_digest"] == predicted["plan_digest"]
    made = world.values()
    assert set(made) == set(NAMES)
    chain = x509.load_pem_x509_certificates(made["gateway-tls-certificate"].encode())
    roots = x509.load_pem_x509_certificates(world.acme.roots.read_bytes())
    verifier = PolicyBuilder().store(Store(roots)).build_server_verifier(x509.DNSName(HOSTS[0]))
    assert verifier.verify(chain[0], chain[1:])
    assert certificates.key_matches(
        key_pem=made["gateway-tls-key"], certificate_pem=chain[0].public_bytes(Encoding.PEM).decode()
    )
    assert world.records() == []
    assert "writing the TXT record _acme-challenge.openmrs.soins.example" in shown

    writes = world.writes()
    again, shown_again = world.run("--diff")
    assert (again["changed"], again["plan"], again["findings"]) == (False, [], [])
    assert (world.values(), world.writes(), world.orders()) == (made, writes, orders + 1)

    text = shown_by_check + shown + shown_again + json.dumps([predicted, done, again])
    secrets = {**made, "client secret": world.azure.settings.client_secret}
    del secrets["gateway-tls-certificate"]
    assert leaks(text, secrets) == []


@pytest.mark.parametrize(
    ("starts", "ends", "left"),
    [(-100 * DAY, -10 * DAY, "It has expired"), (-80.5 * DAY, 10.5 * DAY, "10 days left")],
    ids=["expired", "about to end"],
)
def test_renewed_in_time(world: World, starts: dt.timedelta, ends: dt.timedelta, left: str) -> None:
    now = dt.datetime.now(dt.UTC)
    plant(world, names=HOSTS, starts=now + starts, ends=now + ends)
    old = world.values()
    predicted, _shown = world.run("--check")
    assert paths(predicted) == ["", "notAfter"]
    assert left in predicted["findings"][-1]["message"]
    assert world.values() == old
    done, _shown = world.run()
    assert done["changed"], done
    assert world.certificate().not_valid_after_utc > now + 80 * DAY
    assert world.values()["gateway-tls-key"] != old["gateway-tls-key"]
    assert not world.run()[0]["changed"]


def test_a_short_lived_certificate_is_not_ordered_by_every_run(world: World) -> None:
    done, _shown = world.run(certificate_profile="shortlived")
    assert done["changed"], done
    assert not world.run(certificate_profile="shortlived")[0]["changed"]


def test_another_host_name_is_another_certificate(world: World) -> None:
    world.run()
    more = [*HOSTS, f"*.{ZONE}", ZONE]
    predicted, _shown = world.run("--check", dns_names=more)
    assert paths(predicted) == ["dnsNames"]
    done, _shown = world.run(dns_names=more)
    assert done["changed"], done
    found = world.certificate().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert sorted(found.get_values_for_type(x509.DNSName)) == sorted(more)
    assert world.records() == []


def test_a_refusal_is_one_sentence_and_the_old_certificate_stays(world: World) -> None:
    zone = f"{group_id(world.azure)}/providers/Microsoft.Network/dnsZones/refused.example"
    client(world.azure).put(zone, "2018-05-01", {"location": "global"})
    world.run()
    old = world.values()
    refused, _shown = world.run(dns_names=[*HOSTS, "refused.example"], zone_ids=[world.zone_id, zone])
    assert refused["failed"]
    assert "the authority refuses (rejectedIdentifier)" in refused["msg"]
    assert "refused.example" in refused["msg"]
    assert "use another authority" in refused["msg"]
    assert world.values() == old
    assert world.records() == []


def test_a_proof_that_cannot_be_seen_is_not_offered(world: World) -> None:
    """A failed proof counts against the name for an hour: nobody is told to look before the record is there."""
    orders = world.orders()
    refused, _shown = world.run(dns_servers=["127.0.0.1:9"], dns_timeout=3)
    assert refused["failed"]
    assert "127.0.0.1:9 does not show the TXT record" in refused["msg"]
    assert "Set dns_servers" in refused["msg"]
    assert world.records() == []
    log = world.acme.daemon.log.read_text().partition("POST /order-plz")[2]
    assert "gateway-tls-certificate" not in world.values()
    done, shown = world.run()
    assert done["changed"], done
    assert "going on with the order of an interrupted run" in shown
    assert world.orders() == orders + 1
    assert log


def test_a_failed_proof_is_cleaned_up_and_ordered_anew(world: World) -> None:
    """Somebody answers the wrong thing at the record: the order is lost, the next run starts another."""
    collections = collection_with(
        [
            Break(
                "plugins/module_utils/acme/records.py",
                old='[{"value": [text]} for text in texts]',
                new='[{"value": ["wrong"]} for text in texts]',
            ),
            Break("plugins/module_utils/acme/records.py", old="if values <= seen:", new="if seen:"),
        ],
        world.folder / "broken",
    )
    refused, _shown = world.run(collections=collections)
    assert refused["failed"]
    assert "the authority refuses (" in refused["msg"]
    assert "delegates" in refused["msg"]
    assert world.records() == []
    orders = world.orders()
    done, _shown = world.run()
    assert done["changed"], done
    assert world.orders() == orders + 1


@pytest.mark.parametrize(
    "where", ["PUT .*/TXT/", "PUT .*/secrets/gateway-tls-key", "PUT .*/secrets/gateway-tls-certificate"]
)
def test_a_killed_run_is_continued_with_the_same_order(world: World, where: str) -> None:
    orders, issued = world.orders(), world.issued()
    world.fault(fault="latency", match=where, milliseconds=20000)
    process = start_task("key_vault_acme_certificate", world.options(), world.folder)
    deadline = time.monotonic() + 60
    while world.azure.control("GET", "/lab/faults")["value"]:
        assert time.monotonic() < deadline, "the run never came to the place where it is killed"
        time.sleep(0.1)
    kill_playbook(process, world.folder / "result.json")
    assert "gateway-tls-certificate" not in world.values()
    done, shown = world.run()
    assert done["changed"], done
    assert "going on with the order of an interrupted run" in shown
    assert (world.orders(), world.issued()) == (orders + 1, issued + 1)
    assert world.records() == []
    assert not world.run()[0]["changed"]


def test_values_of_others_at_the_same_name_stay(world: World) -> None:
    arm, record = client(world.azure), f"{world.zone_id}/TXT/_acme-challenge.openmrs"
    theirs = {"properties": {"TTL": 300, "TXTRecords": [{"value": ["of another client"]}]}}
    arm.put(record, "2018-05-01", theirs)
    assert world.run()[0]["changed"]
    found = arm.get(record, "2018-05-01")
    assert found["properties"]["TXTRecords"] == theirs["properties"]["TXTRecords"]


def test_where_a_lock_forbids_deletions_the_record_is_emptied(world: World) -> None:
    arm, lock = client(world.azure), f"{group_id(world.azure)}/providers/Microsoft.Authorization/locks/keep"
    arm.put(lock, "2020-05-01", {"properties": {"level": "CanNotDelete"}})
    done, _shown = world.run()
    assert done["changed"], done
    query = dns.message.make_query(f"_acme-challenge.{HOSTS[0]}.", "TXT")
    assert dns.query.udp(query, "127.0.0.1", port=world.dns_port, timeout=5).answer == []
    assert not world.run()[0]["changed"]
    arm.delete(lock, "2020-05-01")


def test_what_is_wrong_is_said_before_anything_is_written(world: World) -> None:
    before = world.writes()
    for options, words in (
        ({"dns_names": ["openmrs.elsewhere.example"]}, "is in none of the zones (soins.example)"),
        ({"dns_names": ["10.0.0.1"]}, "is no full host name"),
        ({"terms_agreed": False}, "terms of service"),
        ({"directory": "http://acme.example"}, "is no https address"),
        ({"zone_ids": [f"{world.zone_id}-other"], "dns_names": [f"a.{ZONE}-other"]}, "it does not exist"),
    ):
        refused, _shown = world.run(**options)
        assert refused["failed"], options
        assert words in refused["msg"], refused["msg"]
    assert (world.writes(), world.values()) == (before, {})


def test_an_authority_that_is_away_is_one_sentence(world: World) -> None:
    refused, _shown = world.run(directory="https://127.0.0.1:9/dir")
    assert refused["failed"]
    assert "https://127.0.0.1:9/dir: cannot read the authority's directory: it does not answer" in refused["msg"]


def test_nothing_is_served_for_a_name_outside_of_the_zones(world: World) -> None:
    query = dns.message.make_query("openmrs.elsewhere.example.", "TXT")
    answer = dns.query.udp(query, "127.0.0.1", port=world.dns_port, timeout=5)
    assert answer.rcode() == dns.rcode.REFUSED


@pytest.mark.sabotage
@pytest.mark.parametrize(
    ("name", "old", "new", "proof"),
    [
        ("runner.py", "self._withdraw(values)", "None", "records"),
        ("runner.py", "self._write_down(request, observed, begun)", "None", "order"),
        ("plan.py", "if now >= renewal_time(", "if False and renewal_time(", "renewal"),
        ("plan.py", "if list(certificate.names) != list(request.dns_names)", "if False", "names"),
        ("runner.py", "self._redactor.add(value)", "self._progress.say(value)", "canary"),
    ],
)
def test_the_proofs_notice_when_it_is_taken_away(world: World, name: str, old: str, new: str, proof: str) -> None:
    """Sabotage: each proof above turns red without what it proves."""
    broken = collection_with([Break(f"plugins/module_utils/acme/{name}", old=old, new=new)], world.folder / "broken")
    now = dt.datetime.now(dt.UTC)
    if proof == "renewal":
        plant(world, names=HOSTS, starts=now - 100 * DAY, ends=now - 10 * DAY)
    if proof == "names":
        plant(world, names=["other.soins.example"], starts=now, ends=now + 90 * DAY)
    done, shown = world.run(collections=broken)
    assert not done.get("failed"), done
    with contextlib.suppress(KeyError):
        assert done["plan"] is not None
    red = {
        "records": lambda: world.records() != [],
        "order": lambda: "gateway-tls-order" not in world.values(),
        "renewal": lambda: not done["changed"],
        "names": lambda: not done["changed"],
        "canary": lambda: leaks(shown, world.values()) != [],
    }
    assert red[proof]()
