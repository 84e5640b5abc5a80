"""Blob storage's data plane: Azurite keeps the bytes, and this stands in front of it for what Azurite does not check.

Below `/blob/ACCOUNT` of the simulator, as `https://ACCOUNT.blob.core.windows.net` in Azure. An account and a container
exist when ARM has them. Tokens only: of the right tenant, for storage, with a role that allows the operation:
https://learn.microsoft.com/rest/api/storageservices/authorize-with-azure-active-directory#permissions-for-blob-service-operations
Retention of a container's immutability policy:
https://learn.microsoft.com/azure/storage/blobs/immutable-container-level-worm-policies
"""

from __future__ import annotations

import asyncio
import datetime as dt
import email.utils
import functools
import hashlib
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

import httpx
from azure.storage.blob import generate_account_sas
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from tests.lab.azure.authorization import Caller
from tests.lab.azure.store import Resource
from tests.lab.azure.tokens import TokenError, Tokens
from tests.lab.blob.server import ACCOUNT, KEY

if TYPE_CHECKING:
    from tests.lab.azure.engine import Engine

ACCOUNT_TYPE = "microsoft.storage/storageaccounts"
POLICY_TYPE = "microsoft.storage/storageaccounts/blobservices/containers/immutabilitypolicies"
HOLDS_BLOBS = "holds_blobs"
"""Of a container, kept for whoever decides whether it may be deleted."""
AUDIENCE = "https://storage.azure.com"
_CONTAINER = "Microsoft.Storage/storageAccounts/blobServices/containers"
_DATA = f"{_CONTAINER}/blobs"
# Enough to make a blob, and not to change one.
_ADD = f"{_DATA}/add/action"
DAY = 86400
# Sent on by neither side.
HOP = {"host", "authorization", "connection", "content-length", "transfer-encoding", "keep-alive"}
LONGEST_NAME = 63


class BlobError(Exception):
    """A refusal in the shape of Blob storage: https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes"""

    def __init__(self, status: int, code: str, message: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers or {}

    def response(self, request_id: str) -> Response:
        """The XML answer."""
        text = escape(f"{self.message}\nRequestId:{request_id}\nTime:{dt.datetime.now(dt.UTC).isoformat()}")
        body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{self.code}</Code><Message>{text}</Message></Error>'
        headers = {"x-ms-error-code": self.code, "x-ms-request-id": request_id, **self.headers}
        return Response(body, status_code=self.status, media_type="application/xml", headers=headers)


@dataclass(frozen=True)
class Call:
    """A request to one container or blob, after it was read."""

    caller: Caller
    container: Resource
    blob: str
    method: str
    component: str

    @property
    def writes_blob(self) -> bool:
        """Whether it makes, changes or removes a blob; a block that nobody committed is none."""
        return self.method in ("PUT", "DELETE") and self.component not in ("block", "lease")

    @property
    def asks_for_container(self) -> bool:
        """Whether it reads what a container is: no right on data, one on the container."""
        return not self.blob and self.component != "list"

    @property
    def permission(self) -> str:
        """The action that the caller needs."""
        if self.asks_for_container:
            return f"{_CONTAINER}/read"
        return {"GET": f"{_DATA}/read", "HEAD": f"{_DATA}/read", "DELETE": f"{_DATA}/delete"}.get(
            self.method, f"{_DATA}/write"
        )

    @property
    def may_add(self) -> bool:
        """Whether the right to add is enough, as long as the blob is not there yet."""
        return self.method == "PUT" and self.component in ("", "block", "blocklist")


class BlobStorage:
    """All storage accounts of the lab."""

    def __init__(self, engine: Engine, tokens: Tokens, azurite: Callable[[], str]) -> None:
        self._engine, self._tokens, self._azurite = engine, tokens, azurite
        self._starting = asyncio.Lock()
        self._upstream = ""
        self._made: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request, request_id = Request(scope, receive), str(uuid.uuid4())
        try:
            response = await self._answer(request)
        except BlobError as error:
            response = error.response(request_id)
        except httpx.TransportError as error:
            self._upstream = ""  # the next request finds out whether it can be started again
            response = BlobError(503, "ServerBusy", f"Azurite does not answer: {error}").response(request_id)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        call = self._read(request)
        adds = call.may_add and not self._allowed(call, call.permission) and self._allowed(call, _ADD)
        if not adds and not self._allowed(call, call.permission):
            raise _mismatch()
        await self._ensure_azurite()
        async with httpx.AsyncClient(base_url=self._upstream, trust_env=False, timeout=60) as client:
            await self._ensure_container(client, call.container)
            made = await self._made_at(client, call) if call.writes_blob else None
        if made is not None:
            if adds:
                raise _mismatch()
            self._refuse_immutable(call, made)
        response = await self._forward(request, call)
        if call.writes_blob and response.status_code < 300:
            await self._remember_content(call)
        return response

    async def _remember_content(self, call: Call) -> None:
        holds = call.method == "PUT" or await self._holds_blobs(call.container)
        container = self._engine.store.get(call.container.id)
        if container is not None and container.private.get(HOLDS_BLOBS, False) != holds:
            container.private[HOLDS_BLOBS] = holds
            self._engine.store.save(container)

    async def _holds_blobs(self, container: Resource) -> bool:
        query = f"restype=container&comp=list&maxresults=1&{_signature()}"
        async with httpx.AsyncClient(base_url=self._upstream, trust_env=False, timeout=60) as client:
            answer = await client.get(f"/{ACCOUNT}/{stored_name(container)}?{query}")
        return "<Blob>" in answer.text

    def _allowed(self, call: Call, action: str) -> bool:
        data = not call.asks_for_container
        return self._engine.authorization.allowed(call.caller, action, call.container.id, data=data)

    def _read(self, request: Request) -> Call:
        _, _, account, *rest = request.url.path.split("/")
        caller = self._authenticate(request.headers.get("authorization", ""))
        found = self._engine.store.find(ACCOUNT_TYPE, name=account.lower())
        if not found:
            raise BlobError(404, "ResourceNotFound", f"There is no storage account {account}.")
        if not rest or not rest[0]:
            raise BlobError(400, "InvalidUri", "The lab serves containers and blobs, not the account.")
        place = found[0].id.child("blobServices", "default").child("containers", rest[0])
        container = self._engine.store.get(place)
        if container is None:
            raise BlobError(404, "ContainerNotFound", "The specified container does not exist.")
        blob, component = "/".join(rest[1:]), request.query_params.get("comp", "")
        reads = request.method == "GET" or (request.method == "HEAD" and not component)
        if not blob and not (reads and component in ("", "list")):
            raise BlobError(
                403, "AuthorizationPermissionMismatch", "Containers are made and changed through ARM in this lab."
            )
        return Call(caller, container, blob, request.method, component)

    def _authenticate(self, authorization: str) -> Caller:
        settings = self._engine.settings
        challenge = (
            f"Bearer authorization_uri={settings.base_url}/{settings.tenant_id}/oauth2/authorize resource_id={AUDIENCE}"
        )
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise BlobError(
                401,
                "NoAuthenticationInformation",
                "Server failed to authenticate the request. Please refer to the information in the www-authenticate "
                "header.",
                headers={"WWW-Authenticate": challenge},
            )
        try:
            return Caller.from_claims(self._tokens.check(token.strip(), AUDIENCE))
        except TokenError as exc:
            raise BlobError(
                401,
                "InvalidAuthenticationInfo",
                f"Server failed to authenticate the request. {exc.message}",
                headers={"WWW-Authenticate": challenge},
            ) from exc

    async def _ensure_azurite(self) -> None:
        async with self._starting:
            if not self._upstream:
                self._upstream = (await asyncio.to_thread(self._azurite)).rstrip("/")
                self._made.clear()
        if not self._upstream:
            raise BlobError(503, "ServerBusy", "This lab keeps no blobs: its simulator was started without Azurite.")

    async def _ensure_container(self, client: httpx.AsyncClient, container: Resource) -> None:
        name = stored_name(container)
        if name in self._made:
            return
        answer = await client.put(f"/{ACCOUNT}/{name}?restype=container&{_signature()}")
        if answer.status_code not in (201, 409):
            raise BlobError(503, "ServerBusy", f"Azurite made no container: {answer.status_code}")
        self._made.add(name)

    async def _made_at(self, client: httpx.AsyncClient, call: Call) -> float | None:
        """When a blob was made, in seconds of the epoch; None while there is none."""
        answer = await client.head(f"/{ACCOUNT}/{stored_name(call.container)}/{call.blob}?{_signature()}")
        if answer.status_code != 200:
            return None
        return email.utils.parsedate_to_datetime(answer.headers["x-ms-creation-time"]).timestamp()

    def _refuse_immutable(self, call: Call, made: float) -> None:
        """A blob that is there is not written again while there is a policy, nor removed before its time is over."""
        policies = self._engine.store.children(call.container.id, POLICY_TYPE)
        if not policies:
            return
        days = int(policies[0].body["properties"]["immutabilityPeriodSinceCreationInDays"])
        if call.method != "DELETE" or time.time() < made + days * DAY:
            raise BlobError(
                409,
                "BlobImmutableDueToPolicy",
                "This operation is not permitted as the blob is immutable due to a policy.",
            )

    async def _forward(self, request: Request, call: Call) -> Response:
        path = f"/{ACCOUNT}/{stored_name(call.container)}" + (f"/{call.blob}" if call.blob else "")
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP}
        query = "&".join(part for part in (request.url.query, _signature()) if part)
        client = httpx.AsyncClient(base_url=self._upstream, trust_env=False, timeout=60)
        content = await request.body()
        answer = await client.send(
            client.build_request(call.method, f"{path}?{query}", headers=headers, content=content), stream=True
        )

        async def body() -> AsyncIterator[bytes]:
            try:
                async for part in answer.aiter_raw():
                    yield part
            finally:
                await answer.aclose()
                await client.aclose()

        kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP - {"content-length"}}
        return StreamingResponse(body(), status_code=answer.status_code, headers=kept)


def _mismatch() -> BlobError:
    return BlobError(
        403,
        "AuthorizationPermissionMismatch",
        "This request is not authorized to perform this operation using this permission.",
    )


def stored_name(container: Resource) -> str:
    """The container of Azurite's one account that holds a container."""
    made = container.private.get("made", "")
    name = f"{container.id.names[0]}-{container.id.name}-{made}".lower().rstrip("-")
    return name if len(name) <= LONGEST_NAME else hashlib.sha256(name.encode()).hexdigest()[:LONGEST_NAME]


@functools.cache
def _signature() -> str:
    """What Azurite wants to see in each request."""
    return generate_account_sas(
        account_name=ACCOUNT,
        account_key=KEY,
        resource_types="sco",
        permission="rwdlac",
        expiry=dt.datetime(2099, 1, 1, tzinfo=dt.UTC),
    )
