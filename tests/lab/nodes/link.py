"""The link between the machine and the namespace of the node: TCP ports on loopback, and no route.

A socket belongs to the network namespace of the thread that makes it, whoever
uses it later. So one thread stays inside and makes sockets; all else is one loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx

__all__ = ["Plan", "balancer_address", "main"]

CHUNK = 1 << 16
REMEMBER_SECONDS = 2.0
GATEWAY_LABEL = "gateway.networking.k8s.io/gateway-name"
Address = tuple[str, int]
Find = Callable[[], Awaitable[Address]]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is linked. Ports are the same on both sides, but those of the gateways.

    `into` are ports of the node's loopback, reached on the machine's; `out` ports
    of the machine's loopback, reached on the node's loopback and on its address;
    `https` the one that port 443 of the node's address leads to, 0 for none;
    `gateways` maps ports of the machine's loopback to the port of a load balancer.
    `health` is where the link says that it works; `api` a URL with the files of a
    client certificate by which it finds load balancers.
    """

    network: str
    node_address: str
    health: int
    into: list[int]
    out: list[int]
    https: int = 0
    gateways: dict[str, int] = field(default_factory=dict)
    api: dict[str, str] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write it as `main` reads it."""
        path.write_text(json.dumps(asdict(self), indent=1, sort_keys=True))


def balancer_address(services: list[dict[str, Any]], port: int) -> str | None:
    """Return the address of the Service of type LoadBalancer that has a port: a Gateway's before any other."""
    found = [
        service
        for service in services
        if service["spec"].get("type") == "LoadBalancer"
        and any(entry["port"] == port for entry in service["spec"].get("ports") or [])
        and any(entry.get("ip") for entry in (service.get("status", {}).get("loadBalancer", {}).get("ingress") or []))
    ]
    found.sort(
        key=lambda service: (
            GATEWAY_LABEL not in (service["metadata"].get("labels") or {}),
            service["metadata"].get("creationTimestamp", ""),
        )
    )
    return str(found[0]["status"]["loadBalancer"]["ingress"][0]["ip"]) if found else None


class Balancers:
    """The load balancers of the cluster, asked for when somebody connects and remembered for a moment."""

    def __init__(self, api: dict[str, str]) -> None:
        self._api = api
        self._services: list[dict[str, Any]] = []
        self._asked = -REMEMBER_SECONDS

    def of(self, port: int) -> Find:
        """Return the function that finds the load balancer with that port."""

        async def find() -> Address:
            return await self.find(port)

        return find

    async def find(self, port: int) -> Address:
        """Return the address of the load balancer with that port; ConnectionRefusedError when there is none."""
        if time.monotonic() - self._asked > REMEMBER_SECONDS:
            context = ssl.create_default_context(cafile=self._api["ca"])
            context.load_cert_chain(self._api["certificate"], self._api["key"])
            async with httpx.AsyncClient(verify=context, trust_env=False, timeout=5) as client:
                answer = await client.get(self._api["server"] + "/api/v1/services")
            self._services = answer.raise_for_status().json()["items"]
            self._asked = time.monotonic()
        address = balancer_address(self._services, port)
        if address is None:
            self._asked = -REMEMBER_SECONDS
            raise ConnectionRefusedError(f"no load balancer has port {port}")
        return address, port


class Link:
    """Forwards connections between the two namespaces."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._inside = ThreadPoolExecutor(1, initializer=_enter, initargs=(plan.network,))
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Listen and forward until a signal."""
        plan, loop = self._plan, asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        balancers = Balancers(plan.api)
        for port in plan.into:
            self._serve(_listen("127.0.0.1", port), _always("127.0.0.1", port), inward=True)
        for outside, port in plan.gateways.items():
            self._serve(_listen("127.0.0.1", int(outside)), balancers.of(port), inward=True)
        for port in plan.out:
            for address in ("127.0.0.1", plan.node_address):
                listener = await loop.run_in_executor(self._inside, _listen, address, port)
                self._serve(listener, _always("127.0.0.1", port), inward=False)
        if plan.https:
            listener = await loop.run_in_executor(self._inside, _listen, plan.node_address, 443)
            self._serve(listener, _always("127.0.0.1", plan.https), inward=False)
        await asyncio.start_server(_say_ok, sock=_listen("127.0.0.1", plan.health))
        await stop.wait()

    def _serve(self, listener: socket.socket, find: Find, *, inward: bool) -> None:
        self._start(self._accept(listener, find, inward=inward))

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listener: socket.socket, find: Find, *, inward: bool) -> None:
        loop = asyncio.get_running_loop()
        while True:
            near, _ = await loop.sock_accept(listener)
            self._start(self._forward(near, find, inward=inward))

    async def _forward(self, near: socket.socket, find: Find, *, inward: bool) -> None:
        loop = asyncio.get_running_loop()
        with near:
            try:
                target = await find()
                make = loop.run_in_executor(self._inside if inward else None, _socket)
                far = await make
            except (OSError, httpx.HTTPError) as exc:
                print(f"link: {type(exc).__name__}: {exc}", file=sys.stderr, flush=True)
                return
            with far:
                try:
                    _prompt(near)
                    await loop.sock_connect(far, target)
                except OSError:
                    return
                await asyncio.gather(_pump(near, far), _pump(far, near))


async def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Move bytes until the source ends, then end the sink's direction; a broken side ends both."""
    loop = asyncio.get_running_loop()
    try:
        while data := await loop.sock_recv(source, CHUNK):
            await loop.sock_sendall(sink, data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for side in (source, sink):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)


def _always(host: str, port: int) -> Find:
    async def find() -> Address:
        return host, port

    return find


async def _say_ok(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        await writer.drain()
    writer.close()


def _enter(network: str) -> None:
    with Path(network).open() as file:
        os.setns(file.fileno(), os.CLONE_NEWNET)


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setblocking(False)
    _prompt(made)
    return made


def _prompt(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _listen(address: str, port: int) -> socket.socket:
    listener = _socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(512)
    return listener


def main() -> None:
    """Serve the plan whose file is the only argument."""
    plan = Plan(**json.loads(Path(sys.argv[1]).read_text()))
    asyncio.run(Link(plan).run())


if __name__ == "__main__":
    main()
