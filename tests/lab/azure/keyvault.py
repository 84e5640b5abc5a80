"""Key Vault's data plane, one host per vault: secrets here, keys in keyvault_keys.py.

Operations: https://learn.microsoft.com/rest/api/keyvault/secrets/operation-groups . Permissions by data action:
https://learn.microsoft.com/azure/key-vault/general/rbac-guide . Only vaults with RBAC and with access policies for the
caller answer; names and error codes are those of the service.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.lab.azure import vault_keys
from tests.lab.azure.arm_id import ArmId
from tests.lab.azure.authorization import Caller
from tests.lab.azure.keyvault_keys import Keys
from tests.lab.azure.names import ADDRESS, VAULT_TYPE
from tests.lab.azure.store import Resource
from tests.lab.azure.tokens import VAULT_AUDIENCE, TokenError, Tokens

if TYPE_CHECKING:
    from tests.lab.azure.engine import Engine

API_VERSIONS = ("7.0", "7.1", "7.2", "7.3", "7.4", "7.5", "7.6", "2025-07-01")
SECRET = "vault-secret"
DELETED = "vault-deleted"
_NAME = re.compile(r"[0-9a-zA-Z-]{1,127}")
_DATA = "Microsoft.KeyVault/vaults"
DEFAULT_RETENTION_DAYS = 90
MAX_BYTES = 25_600


class VaultError(Exception):
    """A refusal in Key Vault's shape."""

    def __init__(
        self, status: int, code: str, message: str, *, inner: str = "", headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.inner, self.headers = status, code, message, inner, headers or {}

    def body(self) -> dict[str, Any]:
        """The JSON body."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.inner:
            error["innererror"] = {"code": self.inner}
        return {"error": error}


@dataclass(frozen=True)
class Call:
    """One authenticated request to one vault."""

    vault: Resource
    base: str
    caller: Caller
    api_version: str
    method: str
    parts: tuple[str, ...]
    params: Any
    body: dict[str, Any]


class ByHost:
    """Sends requests for a vault's host to the vaults and the rest on."""

    def __init__(self, app: ASGIApp, vaults: KeyVault) -> None:
        self._app = app
        self._vaults = vaults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one event."""
        if scope["type"] == "http" and not scope["path"].startswith("/lab/"):
            host = next((value.decode() for name, value in scope["headers"] if name == b"host"), "")
            number = self._vaults.number_of(host)
            if number:
                response = await self._vaults.answer(Request(scope, receive), number)
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)


class KeyVault:
    """All vaults of the lab."""

    def __init__(self, engine: Engine, tokens: Tokens) -> None:
        self._engine = engine
        self._store = engine.store
        self._tokens = tokens
        self._keys = Keys(engine, self._permit, self._page)
        before, _, after = engine.settings.vault_host.partition("{number}")
        self._host = re.compile(rf"{re.escape(before)}(\d+){re.escape(after)}(:\d+)?")

    def number_of(self, host: str) -> int:
        """Number of the vault that a Host header means; 0 for any other host."""
        match = self._host.fullmatch(host)
        return int(match[1]) if match else 0

    async def answer(self, request: Request, number: int) -> Response:
        """Answer one request to vault `number`."""
        headers = {
            "x-ms-request-id": str(uuid.uuid4()),
            "x-ms-keyvault-service-version": "1.9.0.0",
            "Cache-Control": "no-cache",
        }
        try:
            call = await self._call(request, number)
            with self._store.transaction():
                status, body = self._dispatch(call)
        except vault_keys.KeyRefused as error:
            refused = VaultError(error.status, error.code, error.message, inner=error.inner)
            return JSONResponse(refused.body(), status_code=refused.status, headers=headers)
        except VaultError as error:
            return JSONResponse(error.body(), status_code=error.status, headers=headers | error.headers)
        return (
            JSONResponse(body, status_code=status, headers=headers)
            if body is not None
            else Response(status_code=status, headers=headers)
        )

    async def _call(self, request: Request, number: int) -> Call:
        vault = self._vault(number)
        caller = self._authenticate(request.headers.get("authorization", ""))
        version = request.query_params.get("api-version", "")
        if version not in API_VERSIONS:
            raise VaultError(
                400,
                "BadParameter",
                f"The specified version ({version}) is not recognized. Consider using the latest supported version "
                f"({API_VERSIONS[-1]}).",
            )
        raw = await request.body()
        try:
            body = json.loads(raw) if raw.strip() else {}
        except ValueError as exc:
            raise VaultError(400, "BadParameter", f"The request body is not JSON: {exc}") from exc
        base = str(request.scope.get(ADDRESS) or vault.body["properties"]["vaultUri"]).rstrip("/")
        parts = tuple(part for part in request.url.path.split("/") if part)
        return Call(
            vault,
            base,
            caller,
            version,
            request.method,
            parts,
            request.query_params,
            body if isinstance(body, dict) else {},
        )

    def _vault(self, number: int) -> Resource:
        for vault in self._store.find(VAULT_TYPE):
            if vault.private.get("number") == number:
                return vault
        raise VaultError(404, "VaultNotFound", "There is no vault at this address.")

    def _authenticate(self, authorization: str) -> Caller:
        settings = self._engine.settings
        challenge = f'Bearer authorization="{settings.base_url}/{settings.tenant_id}", resource="{VAULT_AUDIENCE}"'
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise VaultError(
                401,
                "Unauthorized",
                "AKV10000: Request is missing a Bearer or PoP token.",
                headers={"WWW-Authenticate": challenge},
            )
        try:
            return Caller.from_claims(self._tokens.check(token.strip(), VAULT_AUDIENCE))
        except TokenError as exc:
            text = (
                f"AKV10022: Invalid audience. {exc.message}"
                if "Audience" in exc.code
                else f"AKV10032: Invalid token. {exc.message}"
            )
            raise VaultError(401, "Unauthorized", text, headers={"WWW-Authenticate": challenge}) from exc

    # --- permission

    def _require(self, call: Call, operation: str, *, secret: str = "", policy: str = "") -> None:
        self._permit(call, f"secrets/{operation}", kind="secrets", name=secret, policy=policy)

    def _permit(self, call: Call, operation: str, *, kind: str, name: str, policy: str) -> None:
        """Role assignments at the vault or the object decide; a vault without RBAC asks its access policies."""
        action = f"{_DATA}/{operation}"
        if call.vault.body["properties"].get("enableRbacAuthorization"):
            scope = call.vault.id.child(kind, name) if name else call.vault.id
            if self._engine.authorization.allowed(call.caller, action, scope, data=True):
                return
            raise VaultError(
                403,
                "Forbidden",
                "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or "
                "role definitions were "
                "changed recently, please observe propagation time.\r\nCaller: "
                f"appid={call.caller.client_id};oid={call.caller.object_id}\r\n"
                f"Action: '{action}'\r\nResource: '{scope.text.lower()}'\r\nAssignment: (not found)\r\nVault: "
                f"{call.vault.id.name};location={call.vault.body.get('location')}",
                inner="ForbiddenByRbac",
            )
        for entry in call.vault.body["properties"].get("accessPolicies") or []:
            allowed = {str(one).lower() for one in (entry.get("permissions") or {}).get(kind) or []}
            if str(entry.get("objectId", "")).lower() in call.caller.ids and allowed & {policy.lower(), "all"}:
                return
        raise VaultError(
            403,
            "Forbidden",
            f"The user, group or application 'appid={call.caller.client_id};oid={call.caller.object_id}' does not "
            f"have {kind} {policy} permission "
            f"on key vault '{call.vault.id.name};location={call.vault.body.get('location')}'.",
            inner="AccessDenied",
        )

    # --- routes

    def _dispatch(self, call: Call) -> tuple[int, Any]:
        answers: dict[tuple[str, ...], Callable[..., tuple[int, Any]]] = {
            ("GET", "secrets"): self._list,
            ("PUT", "secrets", "*"): self._set,
            ("GET", "secrets", "*", "versions"): self._versions,
            ("GET", "secrets", "*"): self._get,
            ("GET", "secrets", "*", "*"): self._get,
            ("PATCH", "secrets", "*"): self._update,
            ("PATCH", "secrets", "*", "*"): self._update,
            ("DELETE", "secrets", "*"): self._delete,
            ("GET", "deletedsecrets"): self._list_deleted,
            ("GET", "deletedsecrets", "*"): self._get_deleted,
            ("DELETE", "deletedsecrets", "*"): self._purge,
            ("POST", "deletedsecrets", "*", "recover"): self._recover,
            **self._keys.routes,
        }
        asked = (call.method, *call.parts)
        for pattern, answer in answers.items():
            if len(pattern) == len(asked) and all(want in ("*", got) for want, got in zip(pattern, asked, strict=True)):
                return answer(call, *(got for want, got in zip(pattern, asked, strict=True) if want == "*"))
        raise VaultError(404, "NotFound", f"The lab's vaults know no {call.method} /{'/'.join(call.parts)}.")

    def _key(self, call: Call, name: str) -> str:
        return f"{call.vault.key}|{name.lower()}"

    def _load(self, call: Call, name: str) -> dict[str, Any]:
        found = self._store.record(SECRET, self._key(call, name))
        if found is None:
            raise VaultError(
                404,
                "SecretNotFound",
                f"A secret with (name/id) {name} was not found in this key vault. If you recently deleted this "
                "secret you may be able to recover it using the correct recovery command. For help resolving this "
                "issue, please see https://go.microsoft.com/fwlink/?linkid=2125182",
            )
        return found

    def _set(self, call: Call, name: str) -> tuple[int, Any]:
        self._require(call, "setSecret/action", secret=name, policy="set")
        if not _NAME.fullmatch(name):
            raise VaultError(400, "BadParameter", f"The request URI contains an invalid name: {name}")
        if self._store.record(DELETED, self._key(call, name)) is not None:
            raise VaultError(
                409,
                "Conflict",
                f"Secret {name} is currently in a deleted but recoverable state, and its name cannot be reused; in "
                "this state, the secret can only be recovered or purged.",
                inner="ObjectIsDeletedButRecoverable",
            )
        value = call.body.get("value")
        if not isinstance(value, str):
            raise VaultError(400, "BadParameter", "Property value is required and must be a string.")
        if len(value.encode()) > MAX_BYTES:
            raise VaultError(400, "BadParameter", f"Secret value is larger than {MAX_BYTES} bytes.")
        record = self._store.record(SECRET, self._key(call, name)) or {"name": name, "versions": []}
        now = int(time.time())
        version: dict[str, Any] = {
            "version": uuid.uuid4().hex,
            "value": value,
            "created": now,
            "updated": now,
            "enabled": True,
        }
        _apply(version, call.body)
        record["versions"].append(version)
        self._store.put_record(SECRET, self._key(call, name), record)
        return 200, self._bundle(call, record["name"], version)

    def _find(self, call: Call, name: str, version: str) -> tuple[dict[str, Any], dict[str, Any]]:
        record = self._load(call, name)
        if not version:
            return record, record["versions"][-1]
        for found in record["versions"]:
            if found["version"] == version.lower():
                return record, found
        raise VaultError(
            404, "SecretNotFound", f"A secret with (name/id) {name}/{version} was not found in this key vault."
        )

    def _get(self, call: Call, name: str, version: str = "") -> tuple[int, Any]:
        self._require(call, "getSecret/action", secret=name, policy="get")
        record, found = self._find(call, name, version)
        # A secret outside of nbf/exp can still be read; only a disabled one cannot:
        # https://learn.microsoft.com/azure/key-vault/secrets/about-secrets#secret-attributes
        if not found["enabled"]:
            raise VaultError(
                403, "Forbidden", "Operation get is not allowed on a disabled secret.", inner="SecretDisabled"
            )
        return 200, self._bundle(call, record["name"], found)

    def _versions(self, call: Call, name: str) -> tuple[int, Any]:
        self._require(call, "readMetadata/action", secret=name, policy="list")
        record = self._load(call, name)
        return self._page(
            call, [self._item(call, record["name"], found, versioned=True) for found in record["versions"]]
        )

    def _list(self, call: Call) -> tuple[int, Any]:
        self._require(call, "readMetadata/action", policy="list")
        rows = [raw for _, raw in self._store.records(SECRET, f"{call.vault.key}|")]
        return self._page(call, [self._item(call, row["name"], row["versions"][-1]) for row in rows])

    def _page(self, call: Call, items: list[dict[str, Any]]) -> tuple[int, Any]:
        size = min(int(call.params.get("maxresults", 25)), 25)
        start = int(call.params.get("$skiptoken", 0))
        following = None
        if start + size < len(items):
            query = f"api-version={call.api_version}&$skiptoken={start + size}&maxresults={size}"
            following = f"{call.base}/{'/'.join(call.parts)}?{query}"
        return 200, {"value": items[start : start + size], "nextLink": following}

    def _update(self, call: Call, name: str, version: str = "") -> tuple[int, Any]:
        self._require(call, "update/action", secret=name, policy="set")
        record, found = self._find(call, name, version)
        _apply(found, call.body)
        found["updated"] = int(time.time())
        self._store.put_record(SECRET, self._key(call, name), record)
        bundle = self._bundle(call, record["name"], found)
        bundle.pop("value")
        return 200, bundle

    def _delete(self, call: Call, name: str) -> tuple[int, Any]:
        self._require(call, "delete", secret=name, policy="delete")
        record = self._load(call, name)
        now = int(time.time())
        record |= {"deleted": now, "purge": now + self._retention(call) * 86_400}
        self._store.delete_record(SECRET, self._key(call, name))
        self._store.put_record(DELETED, self._key(call, name), record)
        return 200, self._deleted_bundle(call, record)

    def _load_deleted(self, call: Call, name: str) -> dict[str, Any]:
        found = self._store.record(DELETED, self._key(call, name))
        if found is None:
            raise VaultError(404, "SecretNotFound", f"Deleted Secret not found: {name}")
        return found

    def _get_deleted(self, call: Call, name: str) -> tuple[int, Any]:
        self._require(call, "readMetadata/action", secret=name, policy="get")
        return 200, self._deleted_bundle(call, self._load_deleted(call, name))

    def _list_deleted(self, call: Call) -> tuple[int, Any]:
        self._require(call, "readMetadata/action", policy="list")
        rows = [raw for _, raw in self._store.records(DELETED, f"{call.vault.key}|")]
        items = [self._item(call, row["name"], row["versions"][-1]) | self._deletion(call, row) for row in rows]
        return self._page(call, items)

    def _purge(self, call: Call, name: str) -> tuple[int, Any]:
        self._require(call, "purge/action", secret=name, policy="purge")
        self._load_deleted(call, name)
        if call.vault.body["properties"].get("enablePurgeProtection"):
            raise VaultError(
                403,
                "Forbidden",
                'Operation "purge" is not allowed because purge protection is enabled for this vault. Key Vault '
                "service will automatically purge it after the retention period has passed.\r\n"
                f"Vault: {call.vault.id.name}",
                inner="ForbiddenByPolicy",
            )
        self._store.delete_record(DELETED, self._key(call, name))
        return 204, None

    def _recover(self, call: Call, name: str) -> tuple[int, Any]:
        self._require(call, "recover/action", secret=name, policy="recover")
        record = self._load_deleted(call, name)
        for field in ("deleted", "purge"):
            record.pop(field, None)
        self._store.delete_record(DELETED, self._key(call, name))
        self._store.put_record(SECRET, self._key(call, name), record)
        bundle = self._bundle(call, record["name"], record["versions"][-1])
        bundle.pop("value")
        return 200, bundle

    # --- shapes

    def _retention(self, call: Call) -> int:
        return int(call.vault.body["properties"].get("softDeleteRetentionInDays") or DEFAULT_RETENTION_DAYS)

    def _attributes(self, call: Call, found: dict[str, Any]) -> dict[str, Any]:
        out: dict[str, Any] = {"enabled": found["enabled"]}
        out |= {name: found[name] for name in ("nbf", "exp") if found.get(name) is not None}
        level = "Recoverable" if call.vault.body["properties"].get("enablePurgeProtection") else "Recoverable+Purgeable"
        return out | {
            "created": found["created"],
            "updated": found["updated"],
            "recoveryLevel": level,
            "recoverableDays": self._retention(call),
        }

    def _item(self, call: Call, name: str, found: dict[str, Any], *, versioned: bool = False) -> dict[str, Any]:
        tail = f"/{found['version']}" if versioned else ""
        out: dict[str, Any] = {"id": f"{call.base}/secrets/{name}{tail}", "attributes": self._attributes(call, found)}
        out |= {key: found[key] for key in ("contentType", "tags") if found.get(key) is not None}
        return out

    def _bundle(self, call: Call, name: str, found: dict[str, Any]) -> dict[str, Any]:
        return {"value": found["value"], **self._item(call, name, found, versioned=True)}

    def _deletion(self, call: Call, record: dict[str, Any]) -> dict[str, Any]:
        return {
            "recoveryId": f"{call.base}/deletedsecrets/{record['name']}",
            "deletedDate": record["deleted"],
            "scheduledPurgeDate": record["purge"],
        }

    def _deleted_bundle(self, call: Call, record: dict[str, Any]) -> dict[str, Any]:
        return self._deletion(call, record) | self._item(call, record["name"], record["versions"][-1], versioned=True)


def _apply(version: dict[str, Any], body: dict[str, Any]) -> None:
    """Take contentType, tags and attributes from a request."""
    for name in ("contentType", "tags"):
        if body.get(name) is not None:
            version[name] = body[name]
    attributes = body.get("attributes") or {}
    if attributes.get("enabled") is not None:
        version["enabled"] = bool(attributes["enabled"])
    for name in ("nbf", "exp"):
        if attributes.get(name) is not None:
            version[name] = int(attributes[name])


def forget(engine: Engine, vault: ArmId) -> None:
    """Remove all that a purged vault held."""
    vault_keys.forget(engine.store, vault)
    for kind in (SECRET, DELETED):
        for key, _ in engine.store.records(kind, f"{vault.key}|"):
            engine.store.delete_record(kind, key)
