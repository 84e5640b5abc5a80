# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The TXT records that prove a name to the authority: written to the public zone, waited for, taken away.

Sources: RFC 8555, section 8.4 (dns-01); learn.microsoft.com/rest/api/dns/record-sets.
"""

from __future__ import annotations

import time
import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.acme.errors import AcmeError
from ansible_collections.audioprothese.platform.plugins.module_utils.acme.wanted import Zone
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.catalogue import facts_of
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.errors import ArmError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.progress import Progress

if t.TYPE_CHECKING:
    from ansible_collections.audioprothese.platform.plugins.module_utils.arm.client import ArmClient

__all__ = ["ChallengeRecords", "record_name"]

ZONE_TYPE: t.Final = "Microsoft.Network/dnsZones"
LABEL: t.Final = "_acme-challenge"
TTL: t.Final = 60
# Says in the portal whose they are; a set that carries it may be replaced as a whole.
OWNER: t.Final = {"managed-by": "audioprothese.platform"}
POLL_SECONDS: t.Final = 2.0
ASK_SECONDS: t.Final = 5.0
DNS_PORT: t.Final = 53
LOCKED: t.Final = "ScopeLocked"


def record_name(host: str, zone: Zone) -> str:
    """Name of the record set inside its zone; a wildcard is proven where its parent is."""
    below = host.removeprefix("*.").removesuffix(zone.name).rstrip(".")
    return f"{LABEL}.{below}" if below else LABEL


class ChallengeRecords:
    """Proofs in public zones.

    Args:
        azure: client of the identity that may write record sets.
        dns_servers: who is asked whether a record is there, C(address) or C(address:port); the zone's own when empty.
        progress: tells what is waited for.
    """

    def __init__(self, azure: ArmClient, dns_servers: Sequence[str] = (), progress: Progress | None = None) -> None:
        self._azure, self._dns_servers, self._progress = azure, dns_servers, progress or Progress()
        self._name_servers: dict[str, list[str]] = {}

    def exists(self, zone: Zone) -> bool:
        """Tell whether the zone is there."""
        try:
            found = self._azure.get(zone.id, facts_of(ZONE_TYPE).api_version, doing="read the DNS zone")
        except ArmError as exc:
            if exc.not_there:
                return False
            raise
        self._name_servers[zone.id] = [str(server) for server in found["properties"].get("nameServers") or []]
        return True

    def publish(self, zone: Zone, name: str, values: Iterable[str]) -> None:
        """Let a record set hold these values, and what somebody else put there."""
        foreign = self._foreign(zone, name)
        texts = [*foreign, *(value for value in values if value not in foreign)]
        body = {
            "properties": {
                "TTL": TTL,
                "TXTRecords": [{"value": [text]} for text in texts],
                "metadata": {} if foreign else OWNER,
            }
        }
        self._azure.put(_id(zone, name), _version(), body, doing=f"write the TXT record {name}")

    def withdraw(self, zone: Zone, name: str, values: Iterable[str] = ()) -> None:
        """Take our values away; the set goes with the last one. What is not there is fine.

        Where a lock forbids every deletion the set stays, without a value: no resolver sees it.
        Source: https://learn.microsoft.com/azure/azure-resource-manager/management/lock-resources
        """
        found = self._read(zone, name)
        if found is None:
            return
        ours = set(values)
        rest = [] if _owned(found) else [text for text in _texts(found) if text not in ours]
        if rest == _texts(found):
            return
        try:
            if not rest:
                self._azure.delete(_id(zone, name), _version(), doing=f"remove the TXT record {name}")
                return
        except ArmError as exc:
            if exc.code != LOCKED:
                raise
        body = {
            "properties": {
                "TTL": TTL,
                "TXTRecords": [{"value": [text]} for text in rest],
                "metadata": found["properties"].get("metadata") or {},
            }
        }
        self._azure.put(_id(zone, name), _version(), body, doing=f"clean the TXT record {name}")

    def wait(self, expected: Mapping[tuple[Zone, str], Sequence[str]], timeout: float) -> None:
        """Wait until every name server shows all values.

        A proof that is looked up too early fails, and the authority lets a name fail a few times an hour only.

        Raises:
            AcmeError: not in time; says which server did not.
        """
        deadline = time.monotonic() + timeout
        with self._progress.waiting("waiting for the name servers to show the TXT records"):
            for (zone, name), values in expected.items():
                for server in self._dns_servers or self._servers_of(zone):
                    self._wait_for(server, f"{name}.{zone.name}.", set(values), deadline, timeout)

    def _wait_for(self, server: str, name: str, values: set[str], deadline: float, timeout: float) -> None:
        while True:
            seen, why = _ask(server, name)
            if values <= seen:
                return
            if time.monotonic() + POLL_SECONDS > deadline:
                raise AcmeError(
                    f"the name server {server} does not show the TXT record after {timeout:.0f} s "
                    f"({why or 'it has others'})",
                    where=name.rstrip("."),
                    remedy="Set dns_servers to one that this machine reaches, or dns_timeout to a longer time",
                )
            time.sleep(POLL_SECONDS)

    def _servers_of(self, zone: Zone) -> list[str]:
        if zone.id not in self._name_servers:
            self.exists(zone)
        return self._name_servers.get(zone.id, [])

    def _foreign(self, zone: Zone, name: str) -> list[str]:
        found = self._read(zone, name)
        return [] if found is None or _owned(found) else _texts(found)

    def _read(self, zone: Zone, name: str) -> Mapping[str, t.Any] | None:
        try:
            found: Mapping[str, t.Any] = self._azure.get(
                _id(zone, name), _version(), doing=f"read the TXT record {name}"
            )
        except ArmError as exc:
            if exc.not_there:
                return None
            raise
        return found


def _id(zone: Zone, name: str) -> str:
    return f"{zone.id}/TXT/{name}"


def _version() -> str:
    return facts_of(f"{ZONE_TYPE}/TXT").api_version


def _texts(record: Mapping[str, t.Any]) -> list[str]:
    return ["".join(entry.get("value") or []) for entry in record["properties"].get("TXTRecords") or []]


def _owned(record: Mapping[str, t.Any]) -> bool:
    return OWNER.items() <= (record["properties"].get("metadata") or {}).items()


def _ask(server: str, name: str) -> tuple[set[str], str]:
    """TXT values that one server shows, and why there are none."""
    import dns.exception  # noqa: PLC0415
    import dns.resolver  # noqa: PLC0415

    host, _, port = server.rpartition(":") if server.count(":") == 1 else (server, "", "")
    try:
        addresses = (
            [host] if _is_address(host) else [str(found) for found in dns.resolver.resolve(host.rstrip("."), "A")]
        )
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers = list(addresses)
        resolver.port = int(port or DNS_PORT)
        answer = resolver.resolve(name, "TXT", lifetime=ASK_SECONDS, search=False)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return set(), "it has no such record"
    except (dns.exception.DNSException, OSError, ValueError) as exc:
        return set(), str(exc)
    return {b"".join(record.strings).decode("ascii", "replace") for record in answer}, ""


def _is_address(text: str) -> bool:
    import dns.inet  # noqa: PLC0415

    return bool(dns.inet.is_address(text))
