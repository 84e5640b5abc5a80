"""What every write shares: its request, its answer, the operation it starts, and who else is writing."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tests.lab.azure import paths, rules
from tests.lab.azure.arm_id import ArmId
from tests.lab.azure.authorization import Caller
from tests.lab.azure.behaviour import Write
from tests.lab.azure.errors import ArmError
from tests.lab.azure.operations import Operation
from tests.lab.azure.store import Resource
from tests.lab.azure.typedata import Asynchronous, TypeData

if TYPE_CHECKING:
    from tests.lab.azure.engine import Engine

INLINE = Asynchronous(status=200, via="none", seconds=0.0)
ASYNCHRONOUS = Asynchronous(status=202, via="both", seconds=0.1)


@dataclass(frozen=True, kw_only=True)
class Request:
    """A write as the routes hand it on."""

    id: ArmId
    type: TypeData
    api_version: str
    caller: Caller
    body: dict[str, Any]
    headers: Mapping[str, str]
    method: str = "PUT"
    fault: dict[str, str] | None = None


@dataclass(kw_only=True)
class Answer:
    """An answer to be sent; `operation` is driven after the transaction, awaited first when `inline`."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    operation: Operation | None = None
    inline: bool = False


class Running:
    """Lowest of the floors that make up the Writer: conditions, concurrency, operations."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def _check_conditions(self, request: Request, stored: Resource | None) -> None:
        data = request.type
        wanted, refused = request.headers.get("if-match"), request.headers.get("if-none-match")
        if data.etag is None or (wanted is None and refused is None):
            return
        etag = paths.get(stored.body, data.etag) if stored else paths.MISSING
        matches = stored is not None and (
            wanted == "*" or (etag is not paths.MISSING and str(etag).strip('"') == str(wanted).strip('"'))
        )
        if (wanted is not None and not matches) or (refused == "*" and stored is not None):
            raise ArmError(
                412,
                "PreconditionFailed",
                f"Precondition Failed. The condition '{wanted or refused}' does not hold for '{request.id.text}'.",
            )

    def _check_state(self, request: Request, stored: Resource | None, parent: Resource | None) -> None:
        for resource in (stored, parent):
            if resource is None:
                continue
            path = self._engine.types[resource.type].provisioning_state
            if path is not None and paths.get(resource.body, path) == "Deleting":
                raise ArmError(
                    409,
                    "ResourceIsBeingDeleted",
                    f"The resource '{resource.id.text}' is being deleted and cannot perform this operation.",
                )

    def _lock_of(self, arm_id: ArmId, data: TypeData) -> str:
        return {"self": arm_id, "parent": arm_id.parent if len(arm_id.types) > 1 else arm_id, "root": arm_id.root}[
            data.concurrency.lock
        ].key

    def _check_concurrency(self, request: Request, verb: str) -> dict[str, str] | None:
        """None to go on; a fault for an operation that is accepted and then fails; raises where it is refused."""
        rule = request.type.concurrency
        running = self._engine.operations.running_on(self._lock_of(request.id, request.type))
        if running is None or rule.answer == "queue":
            return None
        values = {
            "id": request.id.text,
            "name": request.id.name,
            "operation": running.verb,
            "operation_id": running.id,
            "verb": verb,
        }
        message = rules.say(rule.message, values)
        if rule.answer == "fail":
            return {"code": rule.code, "message": message}
        raise ArmError(
            rule.status, rule.code, message, headers={"Retry-After": "1"} if rule.status in (409, 429) else None
        )

    def _operation(
        self,
        request: Request,
        verb: str,
        timing: Asynchronous,
        *,
        before: dict[str, Any] | None,
        fault: dict[str, str] | None,
        resource: ArmId | None = None,
        run: str = "",
        payload: dict[str, Any] | None = None,
    ) -> Operation:
        engine = self._engine
        arm_id = resource or request.id
        root = engine.store.get(arm_id.root)
        location = str(root.body.get("location") or "") if root else ""
        if location in ("", "global"):
            group = engine.resource_group(arm_id)
            location = str(group.body.get("location", "global")) if group else "global"
        refused = fault is not None and verb != "action" and self._check_refused(request, fault)
        operation = Operation(
            resource=arm_id.text,
            verb=verb,
            lock="" if refused else self._lock_of(arm_id, request.type),
            api_version=request.api_version,
            namespace=request.type.namespace,
            location=location,
            due=time.time() + timing.seconds * engine.settings.time_scale,
            via=timing.via,
            retry_after=timing.retry_after,
            before=before,
            caller=asdict(request.caller) | {"groups": list(request.caller.groups)},
            fault=fault,
            run=run,
            payload={**(payload or {}), "untouched": refused} if refused else (payload or {}),
        )
        engine.operations.record(operation)
        return operation

    def _check_refused(self, request: Request, fault: dict[str, str]) -> bool:
        """Whether the fault comes from concurrency: then the resource itself stays as it is."""
        return request.type.concurrency.answer == "fail" and fault.get("code") == request.type.concurrency.code

    def operation_headers(self, operation: Operation, via: str, retry_after: int) -> dict[str, str]:
        """Where to ask how it goes."""
        subscription = ArmId.parse(operation.resource).subscription
        base = self._engine.settings.base_url
        headers = self._engine.retry_after(retry_after)
        version = operation.api_version
        place = f"{base}/subscriptions/{subscription}/providers/{operation.namespace}/locations/{operation.location}"
        if via in ("Azure-AsyncOperation", "both"):
            headers["Azure-AsyncOperation"] = f"{place}/operations/{operation.id}?api-version={version}"
        if via in ("Location", "both"):
            headers["Location"] = (
                f"{base}/subscriptions/{subscription}/operationresults/{operation.id}?api-version={version}"
                if operation.namespace == "Microsoft.Resources"
                else f"{place}/operationResults/{operation.id}?api-version={version}"
            )
        return headers

    def _context(self, request: Request, stored: Resource | None) -> Write:
        return Write(
            engine=self._engine,
            id=stored.id if stored else request.id,
            type=request.type,
            api_version=request.api_version,
            caller=request.caller,
            body=copy.deepcopy(stored.body) if stored else {},
            stored=stored.body if stored else None,
            private=dict(stored.private) if stored else {},
            method=request.method,
        )

    def _save_changes(self, context: Write) -> None:
        current = self._engine.store.get(context.id)
        if current is not None and (current.body != context.body or current.private != context.private):
            self._engine.store.save(
                Resource(id=current.id, body=context.body, private=context.private, position=current.position)
            )

    def _set_state(self, resource: Resource, state: str) -> None:
        data = self._engine.types[resource.type]
        if data.provisioning_state is None:
            return
        before = paths.get(resource.body, data.provisioning_state)
        paths.put(resource.body, data.provisioning_state.steps, state)
        self._engine.store.save(resource)
        for rule in data.rules:
            if rule.kind != "child":
                continue
            child_type = f"{data.key}/{rule.options['type']}".lower()
            path = self._engine.types[child_type].provisioning_state
            for child in self._engine.store.children(resource.id, child_type):
                if path is not None and paths.get(child.body, path) in (before, "Updating", "Creating", "Deleting"):
                    paths.put(child.body, path.steps, state)
                    self._engine.store.save(child)


def caller_of(operation: Operation) -> Caller | None:
    """Who started an operation."""
    raw = operation.caller
    return Caller(**{**raw, "groups": tuple(raw.get("groups", ()))}) if raw else None


def version_for(data: TypeData, api_version: str) -> str:
    """The version if the type has it, else the type's newest."""
    return api_version if api_version in data.api_versions else data.api_versions[-1]
