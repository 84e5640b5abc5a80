"""The writing half of the engine: PUT, PATCH, DELETE, long-running actions, and how their operations end."""

from __future__ import annotations

import copy
from typing import Any

from tests.lab.azure import rules
from tests.lab.azure.arm_id import ArmId
from tests.lab.azure.behaviour import Accepted, Behaviour, Write, behaviour_of
from tests.lab.azure.content import Content
from tests.lab.azure.errors import ArmError
from tests.lab.azure.operations import FAILED, SUCCEEDED, Operation
from tests.lab.azure.running import ASYNCHRONOUS, INLINE, Answer, Request, caller_of
from tests.lab.azure.store import Resource
from tests.lab.azure.typedata import Asynchronous


class Writer(Content):
    """Changes resources. Every public method runs in one transaction and returns what to answer."""

    def put(self, request: Request) -> Answer:
        """Create, replace or patch."""
        engine, data = self._engine, request.type
        with engine.store.transaction():
            parent = engine.require_parent(request.id, "write")
            stored = engine.store.get(request.id)
            patching = request.method == "PATCH"
            if stored is None and patching:
                raise engine.not_found(request.id)
            if request.id.type != "microsoft.authorization/locks":
                engine.check_locks(stored.id if stored else request.id, delete=False)
            self._check_conditions(request, stored)
            self._check_state(request, stored, parent)
            verb = "create" if stored is None else ("patch" if patching else "update")
            timing = data.asynchronous.get(verb) or (data.asynchronous.get("update") if patching else None)
            failing = self._check_concurrency(request, verb)
            if failing is not None:
                operation = self._operation(request, verb, timing or ASYNCHRONOUS, before=None, fault=failing)
                return self._answer_put(request, operation, timing or ASYNCHRONOUS, stored)
            before = None if stored is None else copy.deepcopy(stored.body)
            behaviour = behaviour_of(data.key)
            long = timing is not None and timing.via != "none"
            runs = type(behaviour).run is not Behaviour.run
            state = timing.state if timing is not None and (long or runs) else SUCCEEDED
            if request.fault is not None and not (long or runs):
                raise ArmError(500, request.fault["code"], request.fault["message"])
            resource = self._write(
                arm_id=stored.id if stored else request.id,
                data=data,
                body=self._patched(request, stored) if patching and stored else request.body,
                stored=stored,
                api_version=request.api_version,
                caller=request.caller,
                state=state,
                method=request.method,
            )
            if not long and not runs:
                code = data.put_status["create" if stored is None else "update"] if not patching else 200
                return Answer(status=code, body=engine.show(resource, request.api_version, caller=request.caller))
            operation = self._operation(
                request, verb, timing or INLINE, before=before, fault=request.fault, resource=resource.id
            )
            return self._answer_put(request, operation, timing or INLINE, resource, created=before is None)

    def _answer_put(
        self,
        request: Request,
        operation: Operation,
        timing: Asynchronous,
        resource: Resource | None,
        *,
        created: bool = False,
    ) -> Answer:
        body = self._engine.show(resource, request.api_version, caller=request.caller) if resource else None
        if timing.via == "none":
            code = request.type.put_status["create" if created else "update"] if request.method == "PUT" else 200
            return Answer(status=code, body=body, operation=operation, inline=True)
        headers = self.operation_headers(operation, timing.via, timing.retry_after)
        return Answer(status=timing.status, body=body, headers=headers, operation=operation)

    def _patched(self, request: Request, stored: Resource) -> dict[str, Any]:
        mode = request.type.patch
        if mode == "none":
            raise ArmError(
                405, "MethodNotAllowed", f"The resource type '{request.type.full_name}' does not support PATCH."
            )
        if mode == "tags" and set(request.body) - {"tags"}:
            extra = sorted(set(request.body) - {"tags"})[0]
            raise ArmError(
                400,
                "InvalidRequestContent",
                f"The request content was invalid: could not find member '{extra}' on object of type 'TagsObject'.",
            )
        body = rules.merge_patch(
            stored.body, {key: value for key, value in request.body.items() if key.lower() != "tags"}
        )
        if "tags" in request.body:
            body["tags"] = request.body["tags"]
        return dict(body)

    def act(self, request: Request, resource: Resource, accepted: Accepted) -> Answer:
        """Start a long-running action."""
        with self._engine.store.transaction():
            failing = self._check_concurrency(request, "action")
            timing = Asynchronous(status=202, via=accepted.via, seconds=accepted.seconds)
            if accepted.state:
                self._set_state(resource, accepted.state)
            operation = self._operation(
                request,
                "action",
                timing,
                before=None,
                fault=failing or request.fault,
                resource=resource.id,
                run=accepted.run,
                # How an action ends says nothing about the resource, unless the action set its state.
                payload={**accepted.payload, "untouched": accepted.state is None},
            )
            return Answer(status=202, headers=self.operation_headers(operation, accepted.via, 0), operation=operation)

    async def work(self, operation: Operation) -> Any:
        """The long-running part, as the behaviours have it."""
        engine = self._engine
        arm_id = ArmId.parse(operation.resource)
        resource = engine.store.get(arm_id)
        if resource is None:
            return None
        data = engine.types[resource.type]
        context = Write(
            engine=engine,
            id=resource.id,
            type=data,
            api_version=operation.api_version,
            caller=caller_of(operation),
            body=resource.body,
            stored=operation.before,
            private=resource.private,
            method="DELETE" if operation.verb == "delete" else "PUT",
        )
        behaviour = behaviour_of(resource.type)
        if operation.verb == "action":
            result = await getattr(behaviour, operation.run)(context, operation.payload)
            self._save_changes(context)
            return result
        if operation.verb == "delete":
            await self._work_delete(resource, context)
            return None
        await behaviour.run(context)
        self._save_changes(context)
        return None

    def finish(self, operation: Operation) -> None:
        """Settle the resource when an operation has ended."""
        engine = self._engine
        resource = engine.store.get(operation.resource)
        if resource is None or operation.payload.get("untouched"):
            return
        if operation.verb == "delete" and operation.status == SUCCEEDED:
            self._remove_tree(resource, caller_of(operation), operation.api_version)
            return
        later = [
            other
            for other in engine.operations.running()
            if other.resource.lower() == resource.key and other.id != operation.id
        ]
        if later:
            return
        state = SUCCEEDED if operation.status == SUCCEEDED else (operation.status or FAILED)
        self._set_state(resource, state)

    def answer_after(self, answer: Answer, request: Request) -> Answer:
        """The answer of an inline operation, now that it has ended."""
        operation = self._engine.operations.get(answer.operation.id) if answer.operation else None
        if operation is not None and operation.error is not None:
            raise ArmError(
                int(operation.payload.get("status", 409)), operation.error["code"], operation.error["message"]
            )
        resource = self._engine.store.get(request.id)
        if request.method == "DELETE" or resource is None:
            return Answer(status=answer.status)
        return Answer(
            status=answer.status, body=self._engine.show(resource, request.api_version, caller=request.caller)
        )
