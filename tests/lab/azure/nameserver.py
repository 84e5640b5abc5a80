"""The name servers of the simulated public zones: what is in a zone is what a resolver sees.

They answer what Azure DNS answers: authoritatively, from the record sets of `Microsoft.Network/dnsZones`, with the
longest matching zone, NXDOMAIN or an empty answer with the zone's SOA, REFUSED for what is in no zone.
Source: https://learn.microsoft.com/azure/dns/dns-zones-records and RFC 1034, section 4.3.2.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from tests.lab.azure.store import Resource, Store

__all__ = ["answer", "serve"]

ZONES = "microsoft.network/dnszones"
APEX = "@"
# The largest answer over UDP: https://dnsflagday.net/2020
UDP_PAYLOAD = 1232


def answer(store: Store, wire: bytes) -> dns.message.Message | None:
    """Answer one query; None for what is not a DNS message."""
    try:
        query = dns.message.from_wire(wire)
    except dns.exception.DNSException:
        return None
    response = dns.message.make_response(query, our_payload=UDP_PAYLOAD)
    question = query.question[0] if query.question else None
    zone = _zone_of(store, question.name) if question is not None else None
    if question is None or zone is None:
        response.set_rcode(dns.rcode.REFUSED)
        return response
    response.flags |= dns.flags.AA
    origin = dns.name.from_text(zone.id.name)
    here = {kind: record for kind, record in _records(store, zone) if _owner(record, origin) == question.name}
    wanted = dns.rdatatype.to_text(question.rdtype)
    for kind in dict.fromkeys(("CNAME", wanted)):
        if kind in here and (rrset := _rrset(here[kind], kind, origin)):
            response.answer.append(rrset)
    if not response.answer:
        soa = next((record for kind, record in _records(store, zone) if kind == "SOA"), None)
        if soa is not None:
            response.authority.append(_rrset(soa, "SOA", origin))
        if not any(_owner(record, origin).is_subdomain(question.name) for _, record in _records(store, zone)):
            response.set_rcode(dns.rcode.NXDOMAIN)
    return response


@contextlib.asynccontextmanager
async def serve(store: Store, port: int) -> AsyncIterator[None]:
    """Answer on loopback over UDP and TCP until the block ends."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(store), local_addr=("127.0.0.1", port))
    server = await asyncio.start_server(lambda *streams: _stream(store, *streams), "127.0.0.1", port)
    try:
        yield
    finally:
        transport.close()
        server.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, store: Store) -> None:
        self._store = store
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport)
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        response = _safely(lambda: answer(self._store, data))
        if response is None or self._transport is None:
            return
        try:
            wire = response.to_wire(max_size=UDP_PAYLOAD)
        except dns.exception.TooBig:
            response.answer.clear()
            response.flags |= dns.flags.TC
            wire = response.to_wire()
        self._transport.sendto(wire, addr)


async def _stream(store: Store, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            length = int.from_bytes(await reader.readexactly(2))
            data = await reader.readexactly(length)
            response = _safely(lambda data=data: answer(store, data))  # type: ignore[misc]
            if response is None:
                break
            wire = response.to_wire()
            writer.write(len(wire).to_bytes(2) + wire)
            await writer.drain()
    writer.close()


def _safely(ask: Callable[[], dns.message.Message | None]) -> dns.message.Message | None:
    """A broken record set costs one answer, not the server."""
    try:
        return ask()
    except Exception:
        logging.getLogger("uvicorn.error").exception("cannot answer a DNS query")
        return None


def _zone_of(store: Store, name: dns.name.Name) -> Resource | None:
    zones = [zone for zone in store.find(ZONES) if name.is_subdomain(dns.name.from_text(zone.id.name))]
    return max(zones, key=lambda zone: len(zone.id.name), default=None)


def _records(store: Store, zone: Resource) -> Iterator[tuple[str, Resource]]:
    for record in store.children(zone.id):
        if record.type.startswith(f"{ZONES}/"):
            yield record.type.rpartition("/")[2].upper(), record


def _owner(record: Resource, origin: dns.name.Name) -> dns.name.Name:
    return origin if record.id.name == APEX else dns.name.from_text(record.id.name, origin)


def _rrset(record: Resource, kind: str, origin: dns.name.Name) -> dns.rrset.RRset:
    properties = record.body["properties"]
    texts = [_text(kind, entry) for entry in _entries(properties, kind)]
    return dns.rrset.from_text_list(_owner(record, origin), int(properties.get("TTL", 3600)), "IN", kind, texts)


def _entries(properties: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    names = (f"{kind}record".lower(), f"{kind}records".lower())
    found = [value for name, value in properties.items() if name.lower() in names]
    return [entry for value in found for entry in (value if isinstance(value, list) else [value])]


def _text(kind: str, entry: dict[str, Any]) -> str:
    """One record in the master file format of RFC 1035, section 5."""
    if kind not in _FORMATS:
        raise NotImplementedError(f"record sets of type {kind} are stored and not served")
    return _FORMATS[kind](entry)


def _soa(entry: dict[str, Any]) -> str:
    numbers = (entry[name] for name in ("serialNumber", "refreshTime", "retryTime", "expireTime", "minimumTTL"))
    return f"{_absolute(entry['host'])} {_absolute(entry['email'])} {' '.join(map(str, numbers))}"


def _only(entry: dict[str, Any]) -> str:
    return str(next(iter(entry.values())))


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _absolute(name: str) -> str:
    return f"{name.rstrip('.')}."


_FORMATS: dict[str, Callable[[dict[str, Any]], str]] = {
    "A": _only,
    "AAAA": _only,
    "CAA": lambda entry: f"{entry['flags']} {entry['tag']} {_quoted(entry['value'])}",
    "CNAME": lambda entry: _absolute(_only(entry)),
    "MX": lambda entry: f"{entry['preference']} {_absolute(entry['exchange'])}",
    "NS": lambda entry: _absolute(_only(entry)),
    "PTR": lambda entry: _absolute(_only(entry)),
    "SOA": _soa,
    "SRV": lambda entry: f"{entry['priority']} {entry['weight']} {entry['port']} {_absolute(entry['target'])}",
    "TXT": lambda entry: " ".join(_quoted(part) for part in entry["value"]),
}
