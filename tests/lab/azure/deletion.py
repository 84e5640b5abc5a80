"""DELETE: what stands in its way, and what goes along."""

from __future__ import annotations

from tests.lab.azure import rules
from tests.lab.azure.arm_id import RESOURCE_GROUP_TYPE, ArmId
from tests.lab.azure.authorization import Caller
from tests.lab.azure.behaviour import Behaviour, Write, behaviour_of
from tests.lab.azure.errors import ArmError, OperationError
from tests.lab.azure.identity import forget_identity
from tests.lab.azure.operations import Operation
from tests.lab.azure.running import INLINE, Answer, Request, Running, version_for
from tests.lab.azure.store import Resource
from tests.lab.azure.typedata import TypeData


class Deletion(Running):
    """Removes resources."""

    def delete(self, request: Request) -> Answer:
        """Delete one resource, or a resource group with all that is in it."""
        engine, data = self._engine, request.type
        with engine.store.transaction():
            engine.require_parent(request.id, "delete")
            stored = engine.store.get(request.id)
            context = self._context(request, stored)
            behaviour = behaviour_of(data.key)
            if stored is None:
                if data.key == RESOURCE_GROUP_TYPE:
                    raise engine.not_found(request.id)
                behaviour.delete_missing(context)
                return Answer(status=data.delete_status["missing"])
            if request.id.type != "microsoft.authorization/locks":
                engine.check_locks(stored.id, delete=True, below=True)
            self._check_conditions(request, stored)
            running = self._deletion_running(stored)
            timing = data.asynchronous.get("delete")
            if running is not None and timing is not None:
                return Answer(
                    status=timing.status,
                    headers=self.operation_headers(running, timing.via, timing.retry_after),
                    operation=running,
                )
            failing = self._check_concurrency(request, "delete")
            self._check_deletable(stored, data, request.api_version)
            behaviour.before_delete(context)
            runs = type(behaviour).run_delete is not Behaviour.run_delete
            if (timing is None or timing.via == "none") and not runs:
                if request.fault is not None:
                    raise ArmError(500, request.fault["code"], request.fault["message"])
                body = behaviour.deleted(context)
                self._remove_tree(stored, request.caller, request.api_version)
                return Answer(status=data.delete_status["found"], body=body)
            timing = timing or INLINE
            fault = failing or request.fault
            if fault is None:
                self._set_state(stored, timing.state if timing.state != "Updating" else "Deleting")
            operation = self._operation(request, "delete", timing, before=None, fault=fault, resource=stored.id)
            if timing.via == "none":
                return Answer(status=data.delete_status["found"], operation=operation, inline=True)
            return Answer(
                status=timing.status,
                headers=self.operation_headers(operation, timing.via, timing.retry_after),
                operation=operation,
            )

    def _deletion_running(self, stored: Resource) -> Operation | None:
        for operation in self._engine.operations.running():
            if operation.verb == "delete" and operation.resource.lower() == stored.key:
                return operation
        return None

    def _check_deletable(self, stored: Resource, data: TypeData, api_version: str) -> None:
        self._check_children(stored, data, api_version)
        if stored.type == RESOURCE_GROUP_TYPE:
            return  # looked at when the content goes, as Azure does
        self._check_blockers(stored.id, api_version=api_version, message_id=stored.id)

    def _check_children(self, stored: Resource, data: TypeData, api_version: str, *, with_group: bool = False) -> None:
        for rule in data.of_kind("delete_blocked_by", api_version=api_version):
            if with_group and not rule.options.get("with_group"):
                continue
            for name in rule.subject if isinstance(rule.subject, list) else [rule.subject]:
                blocking = self._engine.store.children(stored.id, f"{data.key}/{name}")
                if blocking:
                    values = {
                        "id": stored.id.text,
                        "name": stored.id.name,
                        "target": blocking[0].id.text,
                        "target_name": blocking[0].id.name,
                    }
                    message = rule.message or "Can not delete resource before nested resources are deleted."
                    raise ArmError(rule.status or 409, rule.code or "CannotDeleteResource", rules.say(message, values))

    def _check_blockers(self, root: ArmId, *, api_version: str, message_id: ArmId) -> None:
        """Refuse when something outside of `root` refers to it or to what is below, and its rule blocks deletion."""
        store = self._engine.store
        for place in [root.key, *(below.key for below in store.below(root))]:
            for link in store.links_to(place):
                rule = self._engine.rule(link.type, link.rule)
                blocks = rule.options.get("blocks_delete") if rule else None
                if not blocks or link.source == root.key or link.source.startswith(f"{root.key}/"):
                    continue
                source, target = store.get(link.source), store.get(place)
                values = {
                    "id": target.id.text if target else place,
                    "name": target.id.name if target else place,
                    "target": source.id.text if source else link.source,
                    "target_name": source.id.name if source else link.source,
                }
                raise ArmError(int(blocks.get("status", 400)), blocks["code"], rules.say(blocks["message"], values))

    def _remove_tree(self, root: Resource, caller: Caller | None, api_version: str) -> None:
        for resource in self._engine.store.below(root.id):
            self._remove(resource, caller, api_version, tree=False)
        self._remove(root, caller, api_version, tree=False)

    def _remove(self, resource: Resource, caller: Caller | None, api_version: str, *, tree: bool = True) -> None:
        if tree:
            self._remove_tree(resource, caller, api_version)
            return
        data = self._engine.types[resource.type]
        self._engine.store.delete(resource.id)
        forget_identity(self._engine, resource)
        context = Write(
            engine=self._engine,
            id=resource.id,
            type=data,
            api_version=api_version,
            caller=caller,
            body=resource.body,
            stored=resource.body,
            private=resource.private,
            method="DELETE",
        )
        behaviour_of(resource.type).after_delete(context)

    async def _work_delete(self, resource: Resource, context: Write) -> None:
        if resource.type == RESOURCE_GROUP_TYPE:
            try:
                for below in self._engine.store.below(resource.id):
                    data = self._engine.types[below.type]
                    version = version_for(data, context.api_version)
                    self._check_children(below, data, version, with_group=True)
                self._check_blockers(resource.id, api_version=context.api_version, message_id=resource.id)
            except ArmError as exc:
                raise OperationError(
                    "ResourceGroupDeletionBlocked",
                    f"Deletion of resource group '{resource.id.name}' failed as resources in it are still in use: "
                    f"{exc.code}: {exc.message}",
                ) from exc
            for below in self._engine.store.below(resource.id):
                data = self._engine.types[below.type]
                inner = Write(
                    engine=self._engine,
                    id=below.id,
                    type=data,
                    api_version=version_for(data, context.api_version),
                    caller=context.caller,
                    body=below.body,
                    stored=below.body,
                    private=below.private,
                    method="DELETE",
                )
                await behaviour_of(below.type).run_delete(inner)
            return
        await behaviour_of(resource.type).run_delete(context)
