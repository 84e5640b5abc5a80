"""ARM over HTTP: who asks, what for, and which part of the engine answers."""

from __future__ import annotations

import inspect
import json
import re
import urllib.parse
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from tests.lab.azure import providers
from tests.lab.azure.arm_id import RESOURCE_GROUP_TYPE, ArmId
from tests.lab.azure.authorization import Caller
from tests.lab.azure.behaviour import Accepted, Action, Listing, ProviderRequest, behaviour_of, find_route
from tests.lab.azure.engine import Answer, Engine, full_type
from tests.lab.azure.errors import ArmError
from tests.lab.azure.faults import Faults
from tests.lab.azure.operations import FAILED, SUCCEEDED
from tests.lab.azure.running import Request
from tests.lab.azure.store import Resource
from tests.lab.azure.tokens import ARM_AUDIENCES, TokenError, Tokens
from tests.lab.azure.typedata import TypeData

_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-[a-z]+)?")


@dataclass(frozen=True)
class Call:
    """One request, read."""

    method: str
    path: ArmId
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    caller: Caller

    @property
    def api_version(self) -> str:
        """The api-version asked for, lower case; empty when absent."""
        return self.params.get("api-version", "").lower()


class Arm:
    """The endpoint for everything below `/subscriptions` and `/providers`."""

    def __init__(self, engine: Engine, tokens: Tokens, faults: Faults) -> None:
        self._engine = engine
        self._tokens = tokens
        self._faults = faults

    async def __call__(self, request: HttpRequest) -> Response:
        """Answer one request."""
        correlation = request.headers.get("x-ms-correlation-request-id", str(uuid.uuid4()))
        headers = {
            "x-ms-request-id": str(uuid.uuid4()),
            "x-ms-correlation-request-id": correlation,
            "Cache-Control": "no-cache",
        }
        try:
            answer = await self._answer(request)
        except ArmError as error:
            return JSONResponse(error.body(), status_code=error.status, headers=headers | error.headers)
        headers |= answer.headers
        if answer.body is None:
            return Response(status_code=answer.status, headers=headers)
        if isinstance(answer.body, dict) and "etag" in answer.body:
            headers["ETag"] = str(answer.body["etag"])
        return JSONResponse(answer.body, status_code=answer.status, headers=headers)

    async def _answer(self, request: HttpRequest) -> Answer:
        caller = self.authenticate(request.headers.get("authorization", ""))
        raw = await request.body()
        body: Any = None
        if raw.strip():
            try:
                body = json.loads(raw)
            except ValueError as exc:
                raise ArmError(
                    400,
                    "InvalidRequestContent",
                    f"The request content was invalid and could not be deserialized: '{exc}'.",
                ) from exc
        params = {
            name.lower() if name.lower() == "api-version" else name: value
            for name, value in request.query_params.items()
        }
        path = ArmId.parse(urllib.parse.unquote(request.url.path))
        return await self.dispatch(
            Call(method=request.method, path=path, params=params, headers=request.headers, body=body, caller=caller)
        )

    def authenticate(self, authorization: str) -> Caller:
        """The caller of a bearer token; 401 as ARM says it."""
        settings = self._engine.settings
        authority = f"{settings.base_url}/{settings.tenant_id}"
        challenge = f'Bearer authorization_uri="{authority}", error="invalid_token", error_description="{{}}"'
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            text = "Authentication failed. The 'Authorization' header is missing or of another scheme than Bearer."
            raise ArmError(401, "AuthenticationFailed", text, headers={"WWW-Authenticate": challenge.format(text)})
        try:
            return Caller.from_claims(self._tokens.check(token.strip(), settings.base_url, *ARM_AUDIENCES))
        except TokenError as exc:
            raise ArmError(
                401,
                exc.code,
                exc.message,
                headers={"WWW-Authenticate": challenge.format(exc.message.replace('"', "'"))},
            ) from exc

    async def dispatch(self, call: Call) -> Answer:
        """Find what a path means."""
        if not call.api_version:
            raise ArmError(
                400,
                "MissingApiVersionParameter",
                "The api-version query parameter (?api-version=) is required for all requests.",
            )
        if not _VERSION.fullmatch(call.api_version):
            raise ArmError(
                400,
                "InvalidApiVersionParameter",
                f"The api-version '{call.api_version}' is invalid. It has to be of the form yyyy-MM-dd[-preview].",
            )
        found = providers.fixed(self._engine, call)
        if found is not None:
            return found
        path = call.path
        if path.subscription and path.subscription.lower() != self._engine.settings.subscription_id.lower():
            raise ArmError(404, "SubscriptionNotFound", f"The subscription '{path.subscription}' could not be found.")
        answer = await self._provider_route(call)
        if answer is not None:
            return answer
        if (path.is_resource and self._engine.type_of(path.type) is not None) or path.type == RESOURCE_GROUP_TYPE:
            return await self._resource(call, path)
        if path.types and len(path.types) == len(path.names) + 1:
            return await self._collection_or_action(call)
        if path.segments and path.segments[-1].lower() == "resourcegroups" and len(path.segments) == 3:
            return self._list(call, self._types(RESOURCE_GROUP_TYPE), ArmId(path.segments[:2]))
        raise self._unknown_type(call, path)

    # --- what is no resource

    async def _provider_route(self, call: Call) -> Answer | None:
        segments = call.path.segments
        if len(segments) < 5 or segments[0].lower() != "subscriptions" or segments[2].lower() != "providers":
            return None
        handler = find_route(segments[3], "/".join(segments[4:]))
        if handler is None:
            return None
        request = ProviderRequest(
            engine=self._engine,
            method=call.method,
            subscription=segments[1],
            namespace=segments[3],
            groups=handler[1],
            params=call.params,
            body=call.body,
            caller=call.caller,
        )
        result = handler[0](request)
        return _answer_of(await result if inspect.isawaitable(result) else result)

    # --- resources

    async def _resource(self, call: Call, arm_id: ArmId) -> Answer:
        data = self._types(arm_id.type)
        self._check_version(call, data)
        verb = "read" if call.method in ("GET", "HEAD") else "delete" if call.method == "DELETE" else "write"
        action = f"{_permission_type(data)}/{verb}"
        self._engine.authorize(call.caller, action, arm_id)
        if call.method not in data.methods:
            if call.method == "POST":
                raise ArmError(404, "ResourceNotFound", f"There is no action at '{arm_id.text}'.")
            raise ArmError(
                405, "MethodNotAllowed", f"The resource type '{data.full_name}' does not support {call.method}."
            )
        if verb == "read":
            return self._read(call, data, arm_id)
        if arm_id.subscription and data.scope != "extension":
            self._engine.require_group(arm_id.scope if len(arm_id.types) else ArmId(()))
            self._engine.require_registration(arm_id.subscription, arm_id.namespace or "Microsoft.Resources")
        if call.method != "DELETE" and not isinstance(call.body, dict):
            raise ArmError(
                400, "InvalidRequestContent", "The request content was invalid: the body must be a JSON object."
            )
        fault = self._faults.take(call.method, call.path.text, "fail-operation")
        request = Request(
            id=arm_id,
            type=data,
            api_version=call.api_version,
            caller=call.caller,
            body=call.body if call.method != "DELETE" else {},
            headers=call.headers,
            method=call.method,
            fault={"code": fault.code, "message": fault.message} if fault else None,
        )
        writer = self._engine.writer
        answer = writer.delete(request) if call.method == "DELETE" else writer.put(request)
        return await self._started(answer, request)

    async def _started(self, answer: Answer, request: Request) -> Answer:
        if answer.operation is None:
            return answer
        task = self._engine.operations.drive(answer.operation)
        if not answer.inline:
            return answer
        await task
        return self._engine.writer.answer_after(answer, request)

    def _read(self, call: Call, data: TypeData, arm_id: ArmId) -> Answer:
        engine = self._engine
        resource = engine.store.get(arm_id) or behaviour_of(data.key).unstored(arm_id)
        if resource is None:
            engine.require_parent(arm_id, "read")
            raise engine.not_found(arm_id)
        if call.method == "HEAD":
            return Answer(status=204)
        return Answer(status=200, body=engine.show(resource, call.api_version, caller=call.caller))

    # --- lists and actions

    async def _collection_or_action(self, call: Call) -> Answer:
        path = call.path
        above = ArmId(path.segments[:-1])
        last = path.segments[-1]
        if call.method == "GET":
            data = self._engine.type_of(path.type)
            if data is not None:
                return self._list(call, data, above if len(path.types) > 1 else path.scope)
            named = behaviour_of(above.type).collections.get(last.lower()) if above.is_resource else None
            if named is not None:
                return self._custom_list(call, above, named, last)
            raise self._unknown_type(call, path)
        if call.method == "POST" and above.is_resource:
            return await self._act(call, above, last)
        for depth in (2, 3):  # actions with a longer name: default/checkSomething
            above = ArmId(path.segments[:-depth])
            if call.method == "POST" and above.is_resource and self._engine.type_of(above.type):
                return await self._act(call, above, "/".join(path.segments[-depth:]))
        raise ArmError(405, "MethodNotAllowed", f"{call.method} is not supported at '{path.text}'.")

    def _list(self, call: Call, data: TypeData, scope: ArmId) -> Answer:
        self._check_version(call, data)
        engine = self._engine
        engine.authorize(call.caller, f"{_permission_type(data)}/read", scope)
        level = _level(scope)
        allowed = {"extension": ("extension",)}.get(data.scope, (level,))
        if not set(allowed) & data.lists:
            raise ArmError(
                405, "MethodNotAllowed", f"The resource type '{data.full_name}' cannot be listed at '{scope.text}'."
            )
        if level == "parent" or data.scope == "extension":
            self._require_scope(scope)
            found = engine.store.children(scope, data.key)
        elif level == "resource_group":
            engine.require_group(scope)
            found = engine.store.find(data.key, subscription=scope.subscription, resource_group=scope.resource_group)
        else:
            found = engine.store.find(data.key, subscription=scope.subscription)
        context = Listing(
            engine=engine,
            id=scope,
            type=data,
            api_version=call.api_version,
            caller=call.caller,
            items=found,
            params=call.params,
        )
        found = behaviour_of(data.key).list(context)
        return self._page(call, found, data.page_size)

    def _custom_list(self, call: Call, parent: ArmId, method: str, name: str) -> Answer:
        data = self._types(parent.type)
        self._check_version(call, data)
        self._engine.authorize(call.caller, f"{_permission_type(data)}/{name}/read", parent)
        self._require_scope(parent)
        context = Listing(
            engine=self._engine,
            id=parent,
            type=data,
            api_version=call.api_version,
            caller=call.caller,
            items=[],
            params=call.params,
        )
        return self._page(call, getattr(behaviour_of(parent.type), method)(context), data.page_size)

    def _require_scope(self, scope: ArmId) -> None:
        if scope.is_resource:
            self._engine.require_parent(scope, "read")
            if not self._engine.store.exists(scope):
                raise ArmError(
                    404,
                    "ParentResourceNotFound",
                    f"Failed to perform 'read' on resource(s), because the parent resource '{scope.text}' could not "
                    "be found.",
                )
        elif scope.resource_group:
            self._engine.require_group(scope)

    def _page(self, call: Call, found: list[Resource], size: int) -> Answer:
        start = int(call.params.get("$skiptoken", "0") or 0)
        top = call.params.get("$top", "")
        size = min(size, int(top)) if top.isdigit() and int(top) else size
        shown = [
            self._engine.show(resource, call.api_version, caller=call.caller)
            for resource in found[start : start + size]
        ]
        body: dict[str, Any] = {"value": shown}
        if start + size < len(found) and not top:
            params = dict(call.params) | {"$skiptoken": str(start + size)}
            body["nextLink"] = f"{self._engine.settings.base_url}{call.path.text}?{urllib.parse.urlencode(params)}"
        return Answer(status=200, body=body)

    async def _act(self, call: Call, arm_id: ArmId, name: str) -> Answer:
        engine = self._engine
        data = self._types(arm_id.type) if engine.type_of(arm_id.type) else None
        if data is None:
            raise self._unknown_type(call, arm_id)
        self._check_version(call, data)
        behaviour = behaviour_of(data.key)
        spec = behaviour.actions.get(name.lower())
        permission = (
            spec.permission
            if spec and spec.permission
            else f"{_permission_type(data)}/{spec.name if spec else name}/action"
        )
        engine.authorize(call.caller, permission, arm_id)
        engine.require_registration(arm_id.subscription, arm_id.namespace)
        resource = engine.store.get(arm_id)
        if resource is None:
            engine.require_parent(arm_id, "action")
            raise engine.not_found(arm_id)
        if spec is None:
            raise ArmError(
                404, "InvalidAction", f"The action '{name}' is not known for the resource type '{data.full_name}'."
            )
        engine.check_locks(resource.id, delete=False)
        context = Action(
            engine=engine,
            id=resource.id,
            type=data,
            api_version=call.api_version,
            caller=call.caller,
            resource=resource,
            body=call.body,
            params=call.params,
            name=name,
        )
        method = getattr(behaviour, spec.call)
        if inspect.iscoroutinefunction(method):
            result = await method(context)
        else:
            with engine.store.transaction():
                result = method(context)
        if not isinstance(result, Accepted):
            return _answer_of(result)
        fault = self._faults.take(call.method, call.path.text, "fail-operation")
        request = Request(
            id=resource.id,
            type=data,
            api_version=call.api_version,
            caller=call.caller,
            body={},
            headers=call.headers,
            method="POST",
            fault={"code": fault.code, "message": fault.message} if fault else None,
        )
        return await self._started(engine.writer.act(request, resource, result), request)

    # --- types and versions

    def _types(self, key: str) -> TypeData:
        return self._engine.types[key.lower()]

    def _check_version(self, call: Call, data: TypeData) -> None:
        if call.api_version in data.api_versions:
            return
        versions = ", ".join(reversed(data.api_versions))
        if data.namespace == "Microsoft.Resources":
            raise ArmError(
                400,
                "InvalidApiVersionParameter",
                f"The api-version '{call.api_version}' is invalid. The supported versions are '{versions}'.",
            )
        if call.method != "PUT":
            # https://github.com/Azure/azure-rest-api-specs/issues/14807
            raise ArmError(
                404,
                "InvalidResourceType",
                f"The resource type '{data.casing}' could not be found in the namespace '{data.namespace}' for api "
                f"version '{call.api_version}'. The supported api-versions are '{versions}'.",
            )
        raise ArmError(
            400,
            "NoRegisteredProviderFound",
            f"No registered resource provider found for location '{_location_of(call)}' and API version "
            f"'{call.api_version}' for type "
            f"'{data.casing}'. The supported api-versions are '{versions}'. The supported locations are "
            f"'{', '.join(data.locations)}'.",
        )

    def _unknown_type(self, call: Call, path: ArmId) -> ArmError:
        if path.namespace and path.namespace.lower() not in self._engine.namespaces():
            return ArmError(404, "InvalidResourceNamespace", f"The resource namespace '{path.namespace}' is invalid.")
        if path.types:
            return ArmError(
                404,
                "InvalidResourceType",
                f"The resource type '{'/'.join(path.types)}' could not be found in the namespace '{path.namespace}' "
                "for api version "
                f"'{call.api_version}'.",
            )
        return ArmError(404, "NotFound", f"No HTTP resource was found that matches the request URI '{path.text}'.")


def _level(scope: ArmId) -> str:
    if scope.is_resource:
        return "parent"
    return "resource_group" if scope.resource_group else "subscription" if scope.subscription else "tenant"


def _permission_type(data: TypeData) -> str:
    return "Microsoft.Resources/subscriptions/resourceGroups" if data.key == RESOURCE_GROUP_TYPE else full_type(data)


def _location_of(call: Call) -> str:
    return str(call.body.get("location", "")) if isinstance(call.body, dict) else ""


def _answer_of(result: Any) -> Answer:
    if isinstance(result, Answer):
        return result
    if isinstance(result, tuple):
        return Answer(status=result[0], body=result[1])
    return Answer(status=200, body=result)


def operation_answer(engine: Engine, operation_id: str, *, kind: str, url: str, api_version: str) -> Answer:
    """What an address of an operation answers: `kind` is operations (its status) or operationresults (its result)."""
    operation = engine.operations.get(operation_id)
    if operation is None:
        raise ArmError(404, "OperationNotFound", f"The operation '{operation_id}' could not be found.")
    waiting = engine.retry_after(operation.retry_after)
    if kind.lower() != "operationresults":
        return Answer(status=200, body=operation.status_body(url), headers={} if operation.done else waiting)
    if not operation.done:
        headers = engine.writer.operation_headers(operation, "Location", operation.retry_after)
        return Answer(status=202, headers=headers)
    if operation.status != SUCCEEDED:
        error = operation.error or {"code": FAILED, "message": "The operation failed."}
        raise ArmError(409, error["code"], error["message"])
    if operation.verb == "action":
        return Answer(status=200, body=operation.result)
    resource = engine.store.get(operation.resource)
    if operation.verb == "delete" or resource is None:
        return Answer(status=200 if operation.namespace == "Microsoft.Resources" else 204)
    return Answer(status=200, body=engine.show(resource, operation.api_version or api_version))


__all__ = ["Arm", "Call", "operation_answer"]
