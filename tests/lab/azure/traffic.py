"""What happens to every request before it is answered: counted, delayed, or spoiled by a fault."""

from __future__ import annotations

import asyncio
import json
import urllib.parse
import uuid
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.lab.azure.arm_id import ARM_ROOTS, ArmId
from tests.lab.azure.behaviour import behaviour_of
from tests.lab.azure.faults import Fault

if TYPE_CHECKING:
    from tests.lab.azure.app import Simulator

_UNTOUCHED = ("/lab/",)
# A key is used, and nothing is kept: https://learn.microsoft.com/rest/api/keyvault/keys/operation-groups
_KEY_USES = ("/wrapkey", "/unwrapkey", "/encrypt", "/decrypt", "/sign", "/verify")
_READS = frozenset({"GET", "HEAD", "OPTIONS"})


class Traffic:
    """Outermost layer of the application."""

    def __init__(self, app: ASGIApp, simulator: Simulator) -> None:
        self._app = app
        self._simulator = simulator

    @property
    def simulator(self) -> Simulator:
        """For tests that look inside."""
        return self._simulator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] != "http" or scope["path"].startswith(_UNTOUCHED):
            await self._app(scope, receive, send)
            return
        simulator = self._simulator
        scope = simulator.names.translated(scope)
        method, path = scope["method"], scope["path"]
        part, effect = self._classify(scope)
        simulator.store.count(part, effect, method)
        if effect in ("read", "write", "list_action") and simulator.settings.latency_ms:
            await asyncio.sleep(simulator.settings.latency_ms / 1000)
        fault = simulator.faults.take(method, path, "throttle", "error", "latency", "drop")
        if fault is not None and fault.fault == "latency":
            await asyncio.sleep(fault.milliseconds / 1000)
        elif fault is not None and fault.fault == "drop":
            await _drop(receive, send)
            return
        elif fault is not None:
            await _answer(send, fault)
            return
        await self._app(scope, receive, send)

    def _classify(self, scope: Scope) -> tuple[str, str]:
        """(part, effect). A write is whatever can persist, whether or not it is then refused."""
        method, path = scope["method"], scope["path"]
        if self._simulator.vaults.number_of(_host(scope)):
            return "vault", "read" if method in _READS or path.endswith(_KEY_USES) else "write"
        if path.startswith("/blob/"):
            return "storage", "read" if method in _READS else "write"
        if path.startswith("/kubernetes/"):
            return "kubernetes", "access_review"
        if path.split("/", 2)[1].lower() in ARM_ROOTS:
            return "arm", _arm_effect(method, path)
        if path.endswith("/token"):
            return "entra", "token"
        return "entra", "metadata"


def _arm_effect(method: str, path: str) -> str:
    if method in _READS:
        return "read"
    if method != "POST":
        return "write"
    parsed = ArmId.parse(urllib.parse.unquote(path))
    for depth in (1, 2, 3):
        above = ArmId(parsed.segments[:-depth])
        name = "/".join(parsed.segments[-depth:])
        spec = behaviour_of(above.type).actions.get(name.lower()) if above.is_resource else None
        if spec is not None:
            return {"list": "list_action", "read": "read"}.get(spec.effect, "write")
    return "list_action" if parsed.name.lower().startswith(("list", "checknameavailability")) else "write"


def _host(scope: Scope) -> str:
    return next((value.decode() for name, value in scope["headers"] if name == b"host"), "")


async def _answer(send: Send, fault: Fault) -> None:
    throttled = fault.fault == "throttle"
    status = 429 if throttled else fault.status
    error = (
        {"code": "TooManyRequests", "message": "The request is being throttled as the limit has been reached."}
        if throttled
        else {"code": fault.code, "message": fault.message}
    )
    body = json.dumps({"error": error}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"x-ms-request-id", str(uuid.uuid4()).encode()),
    ]
    if throttled:
        headers.append((b"retry-after", str(fault.retry_after).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _drop(receive: Receive, send: Send) -> None:
    """Break the connection without an answer where the server lets us, else in the middle of one."""
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if transport is not None:
        transport.abort()
        await asyncio.sleep(0)
        message: Message = await receive()
        while message["type"] != "http.disconnect":
            message = await receive()
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
    await send({"type": "http.response.body", "body": b"{", "more_body": True})
