"""PUT, PATCH and DELETE: rules, hooks, children, links, operations."""

from __future__ import annotations

import copy
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tests.lab.azure import paths, quotas, rules
from tests.lab.azure.arm_id import RESOURCE_GROUP_TYPE, ArmId
from tests.lab.azure.authorization import Caller
from tests.lab.azure.behaviour import Accepted, Action, Behaviour, Write, behaviour_of
from tests.lab.azure.errors import ArmError, OperationError
from tests.lab.azure.identity import apply_identity, forget_identity
from tests.lab.azure.operations import FAILED, SUCCEEDED, Operation
from tests.lab.azure.store import Link, Resource
from tests.lab.azure.typedata import Asynchronous, Rule, TypeData

if TYPE_CHECKING:
    from tests.lab.azure.engine import Answer, Engine

MAX_TAGS = 50


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


class Writer:
    """Changes resources. Every public method runs in one transaction and returns what to answer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # --- PUT and PATCH

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
                operation = self._operation(request, verb, timing or _ASYNC, before=None, fault=failing)
                return self._answer_put(request, operation, timing or _ASYNC, stored)
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
                return self._answer(code, engine.show(resource, request.api_version, caller=request.caller))
            operation = self._operation(
                request, verb, timing or _INLINE, before=before, fault=request.fault, resource=resource.id
            )
            return self._answer_put(request, operation, timing or _INLINE, resource, created=before is None)

    def _answer(self, status: int, body: Any = None, **more: Any) -> Answer:
        from tests.lab.azure.engine import Answer  # noqa: PLC0415 - the engine makes this class

        return Answer(status=status, body=body, **more)

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
            return self._answer(code, body, operation=operation, inline=True)
        headers = self.operation_headers(operation, timing.via, timing.retry_after)
        return self._answer(timing.status, body, headers=headers, operation=operation)

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

    # --- concurrency

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

    # --- the write itself

    def _write(
        self,
        *,
        arm_id: ArmId,
        data: TypeData,
        body: dict[str, Any],
        stored: Resource | None,
        api_version: str,
        caller: Caller | None,
        state: str,
        embedded: bool = False,
        method: str = "PUT",
        renumber: bool = False,
    ) -> Resource:
        engine = self._engine
        if stored is None:
            self._check_name(arm_id, data, api_version)
            quotas.check_limits(engine, arm_id, data, api_version, body)
        body = copy.deepcopy(body)
        children = self._take_children(arm_id, data, body, api_version)
        _require_object(body, arm_id)
        values = engine.values(arm_id, data, api_version, body)
        values["caller"] = (caller.client_id or caller.object_id) if caller else ""
        facts = rules.Facts(
            api_version=api_version,
            create=stored is None,
            values=values,
            stored=stored.body if stored else None,
            make=engine.make,
        )
        merging = data.put == "merge" or method == "PATCH"
        location = self._location(arm_id, data, body, stored)
        tags = _tags(body, data, stored)
        identity = body.get("identity")
        if identity is None and stored is not None and merging:
            identity = stored.body.get("identity")
        if identity is not None:
            identity = apply_identity(engine, arm_id, identity, stored.body.get("identity") if stored else None)
        head = {"location": location, "tags": tags, "identity": identity}
        prepared = rules.prepare(data.rules, {**body, **head}, facts, merge=merging)
        # Of the envelope only a default of tags is the rules' to say; the rest was decided above.
        keeping = merging and stored is not None
        head["tags"] = prepared.get("tags") if tags is None and data.tags and not keeping else tags
        body = {key: value for key, value in head.items() if value is not None}
        body |= {key: value for key, value in prepared.items() if key not in head}
        etag = data.etag
        self._check_siblings(arm_id, data, body, facts)
        links = self._check_references(arm_id, data, body, facts, caller)
        private = dict(stored.private) if stored else {}
        context = Write(
            engine=engine,
            id=arm_id,
            type=data,
            api_version=api_version,
            caller=caller,
            body=body,
            stored=stored.body if stored else None,
            private=private,
            method=method,
            embedded=embedded,
        )
        behaviour = behaviour_of(data.key)
        behaviour.before_put(context)
        body = context.body
        rules.finish(
            data.rules,
            body,
            rules.Facts(**{**_shallow(facts), "values": {**values, "location": location or values["location"]}}),
        )
        if etag is not None:
            paths.put(body, etag.steps, _ETAGS[data.etag_form](uuid.uuid4()))
        if data.provisioning_state is not None:
            paths.put(body, data.provisioning_state.steps, state)
        resource = Resource(
            id=arm_id, body=body, private=context.private, position=stored.position if stored and not renumber else 0
        )
        engine.store.save(resource)
        engine.store.set_links(arm_id.key, links)
        context.body = resource.body
        self._write_children(context, children, state)
        if stored is None:
            self._implicit_children(context)
        behaviour.after_put(context)
        resource.body, resource.private = context.body, context.private
        engine.store.save(resource)
        return resource

    def _check_name(self, arm_id: ArmId, data: TypeData, api_version: str) -> None:
        values = {
            "name": arm_id.name,
            "id": arm_id.text,
            "type": data.full_name,
            "resource_group": arm_id.resource_group,
            "parent_name": arm_id.parent.name,
        }
        for rule in data.of_kind("name", api_version=api_version):
            options = {
                "pattern": str(rule.subject),
                "min_length": rule.options.get("min", 0),
                "max_length": rule.options.get("max", len(arm_id.name)),
            }
            if not rules.fits(arm_id.name, options):
                message = rule.message or "Resource name {name} is invalid."
                raise ArmError(rule.status or 400, rule.code or "InvalidResourceName", rules.say(message, values))
        for rule in data.of_kind("unique_name", api_version=api_version):
            where = {"name": arm_id.name} | (
                {"subscription": arm_id.subscription} if rule.subject == "subscription" else {}
            )
            taken = [found for found in self._engine.store.find(data.key, **where) if found.key != arm_id.key]
            if taken:
                message = rule.message or "The name '{name}' is already in use."
                raise ArmError(rule.status or 409, rule.code or "NameAlreadyInUse", rules.say(message, values))

    def _location(self, arm_id: ArmId, data: TypeData, body: dict[str, Any], stored: Resource | None) -> str | None:
        sent = body.get("location")
        kept = stored.body.get("location") if stored else None
        if data.location in ("none", "inherited"):
            return None
        if sent is None or sent == "":
            if kept is not None:
                return str(kept)
            if data.location == "optional":
                group = self._engine.resource_group(arm_id)
                return str(group.body["location"]) if group else None
            raise ArmError(400, "LocationRequired", "The location property is required for this definition.")
        location = str(sent).replace(" ", "").lower()
        allowed = ("global",) if data.location == "global" else data.locations
        if location not in allowed:
            raise ArmError(
                400,
                "LocationNotAvailableForResourceType",
                f"The provided location '{sent}' is not available for resource type '{data.full_name}'. List of available regions for the "
                f"resource type is '{','.join(allowed)}'.",
            )
        if kept is not None and str(kept).lower() != location:
            if data.key == RESOURCE_GROUP_TYPE:
                raise ArmError(
                    409,
                    "InvalidResourceGroupLocation",
                    f"Invalid resource group location '{location}'. The Resource group already exists in location '{kept}'.",
                )
            raise ArmError(
                409,
                "InvalidResourceLocation",
                f"The resource '{arm_id.name}' already exists in location '{kept}' in resource group '{arm_id.resource_group}'. A resource "
                f"with the same name cannot be created in location '{location}'. Please select a new resource name.",
            )
        return location

    def _check_siblings(self, arm_id: ArmId, data: TypeData, body: dict[str, Any], facts: rules.Facts) -> None:
        for rule in data.of_kind("unique", api_version=facts.api_version):
            if rule.options.get("among") != "siblings":
                continue
            mine = rules.identity_of(body, rule.paths)
            for sibling in self._engine.store.children(arm_id.parent, data.key):
                if sibling.key != arm_id.key and rules.identity_of(sibling.body, rule.paths) == mine:
                    raise rules.refusal(
                        rule,
                        facts,
                        rule.paths[0].steps,
                        mine,
                        code="InvalidParameter",
                        message="{path} of {name} is the same as that of {target}.",
                        extra={"target": sibling.id.text, "target_name": sibling.id.name},
                    )

    def _check_references(
        self, arm_id: ArmId, data: TypeData, body: dict[str, Any], facts: rules.Facts, caller: Caller | None
    ) -> list[Link]:
        links = []
        for target in rules.references(data.rules, body, facts):
            rule, named = target.rule, ArmId.parse(target.id)
            wanted = rule.options["type"]
            kinds = [kind.lower() for kind in (wanted if isinstance(wanted, list) else [wanted])]
            found = self._engine.store.get(named)
            extra = {"target": target.id, "target_name": named.name}
            if named.type not in kinds or found is None:
                raise rules.refusal(
                    rule,
                    facts,
                    target.path,
                    target.id,
                    code="InvalidResourceReference",
                    extra=extra,
                    message="Resource {target} referenced by resource {id} was not found. Please make sure that the referenced resource "
                    "exists, and that both resources are in the same region.",
                )
            same_location = "location" in (rule.options.get("same") or ())
            mine = body.get("location")
            if same_location and mine and found.body.get("location") not in (None, mine, "global"):
                raise rules.refusal(
                    rule,
                    facts,
                    target.path,
                    target.id,
                    code="InvalidResourceReference",
                    extra=extra,
                    message="Resource {target} referenced by resource {id} is not in the same region.",
                )
            linked = rule.options.get("linked_action")
            if linked and caller is not None and not self._engine.authorization.allowed(caller, linked, named):
                raise ArmError(
                    403,
                    "LinkedAuthorizationFailed",
                    f"The client with object id '{caller.object_id}' has permission to perform action '{data.full_name}/write' on scope "
                    f"'{arm_id.text}'; however, it does not have permission to perform action '{linked}' on the linked scope(s) '{named.text}'.",
                )
            links.append(
                Link(source=arm_id.key, target=named.key, type=data.key, rule=rule.id, path=paths.text(target.path))
            )
        return links

    # --- embedded children

    def _take_children(
        self, arm_id: ArmId, data: TypeData, body: dict[str, Any], api_version: str
    ) -> list[tuple[Rule, list[dict[str, Any]] | None]]:
        taken = []
        for rule in data.of_kind("child", api_version=api_version):
            value = paths.get(body, rule.paths[0])
            if value is paths.MISSING or value is None:
                paths.remove(body, rule.paths[0].steps)
                taken.append((rule, None))
                continue
            if not isinstance(value, list) or not all(isinstance(item, dict) and item.get("name") for item in value):
                raise ArmError(
                    400,
                    "InvalidRequestFormat",
                    f"Cannot parse the request: '{rule.paths[0]}' must be a list of named objects.",
                )
            names = [str(item["name"]).lower() for item in value]
            repeated = next((name for name in names if names.count(name) > 1), None)
            if repeated is not None:
                raise ArmError(
                    400,
                    rule.code or "InvalidRequestFormat",
                    f"Cannot parse the request: '{rule.paths[0]}' of {arm_id.text} has more than one element named '{repeated}'.",
                )
            paths.remove(body, rule.paths[0].steps)
            taken.append((rule, value))
        return taken

    def _write_children(
        self, parent: Write, children: list[tuple[Rule, list[dict[str, Any]] | None]], state: str
    ) -> None:
        engine = self._engine
        for rule, items in children:
            data = engine.types[f"{parent.type.key}/{rule.options['type']}".lower()]
            existing = {child.id.name.lower(): child for child in engine.store.children(parent.id, data.key)}
            if items is None:
                if (
                    rule.options.get("absent", "delete") == "keep"
                    or parent.type.put == "merge"
                    or parent.method == "PATCH"
                ):
                    continue
                items = []
            named = {str(item["name"]).lower() for item in items}
            for name, child in existing.items():
                if name in named or rule.options.get("removed") == "keep":
                    continue
                if rule.options.get("removed") == "refuse":
                    raise ArmError(
                        rule.status or 400,
                        rule.code or "InvalidParameter",
                        rules.say(
                            rule.message or "{target} may not be left out.",
                            {"target": child.id.text, "target_name": child.id.name},
                        ),
                    )
                self._check_blockers(child.id, api_version=parent.api_version, message_id=child.id)
                self._remove(child, parent.caller, parent.api_version)
            # New positions keep the order of the request, whatever was there before.
            for item in items:
                old = existing.get(str(item["name"]).lower())
                child_id = old.id if old else parent.id.child(data.casing.rsplit("/", 1)[-1], str(item["name"]))
                content = (
                    {"properties": {key: value for key, value in item.items() if key != "name"}}
                    if rule.options.get("flat")
                    else item
                )
                self._write(
                    arm_id=child_id,
                    data=data,
                    body=content,
                    stored=old,
                    api_version=parent.api_version,
                    caller=parent.caller,
                    state=state,
                    embedded=True,
                    renumber=True,
                )

    def _implicit_children(self, parent: Write) -> None:
        for rule in parent.type.of_kind("implicit_child", api_version=parent.api_version):
            data = self._engine.types[f"{parent.type.key}/{rule.subject}".lower()]
            child_id = parent.id.child(data.casing.rsplit("/", 1)[-1], str(rule.options.get("name", "default")))
            facts = rules.Facts(
                api_version=parent.api_version,
                create=True,
                values=self._engine.values(child_id, data, parent.api_version, parent.body),
                make=self._engine.make,
            )
            self._write(
                arm_id=child_id,
                data=data,
                body=rules.fill(copy.deepcopy(rule.options.get("body") or {}), facts, parent.body),
                stored=None,
                api_version=_version_for(data, parent.api_version),
                caller=parent.caller,
                state=SUCCEEDED,
                embedded=True,
            )

    # --- DELETE

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
                return self._answer(data.delete_status["missing"])
            if request.id.type != "microsoft.authorization/locks":
                engine.check_locks(stored.id, delete=True, below=True)
            self._check_conditions(request, stored)
            running = self._deletion_running(stored)
            timing = data.asynchronous.get("delete")
            if running is not None and timing is not None:
                return self._answer(
                    timing.status,
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
                self._remove_tree(stored, request.caller, request.api_version)
                return self._answer(data.delete_status["found"])
            timing = timing or _INLINE
            fault = failing or request.fault
            if fault is None:
                self._set_state(stored, timing.state if timing.state != "Updating" else "Deleting")
            operation = self._operation(request, "delete", timing, before=None, fault=fault, resource=stored.id)
            if timing.via == "none":
                return self._answer(data.delete_status["found"], operation=operation, inline=True)
            return self._answer(
                timing.status,
                headers=self.operation_headers(operation, timing.via, timing.retry_after),
                operation=operation,
            )

    def _deletion_running(self, stored: Resource) -> Operation | None:
        for operation in self._engine.operations.running():
            if operation.verb == "delete" and operation.resource.lower() == stored.key:
                return operation
        return None

    def _check_deletable(self, stored: Resource, data: TypeData, api_version: str) -> None:
        for rule in data.of_kind("delete_blocked_by", api_version=api_version):
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
        if stored.type == RESOURCE_GROUP_TYPE:
            return  # looked at when the content goes, as Azure does
        self._check_blockers(stored.id, api_version=api_version, message_id=stored.id)

    def _check_blockers(self, root: ArmId, *, api_version: str, message_id: ArmId) -> None:
        """Refuse when something outside of `root` refers to it or to what is below it, and its rule blocks the deletion."""
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

    # --- actions

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
                payload=accepted.payload,
            )
            return self._answer(202, headers=self.operation_headers(operation, accepted.via, 0), operation=operation)

    # --- operations

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

    async def work(self, operation: Operation) -> Any:
        """The long-running part, as the behaviours have it."""
        engine = self._engine
        arm_id = ArmId.parse(operation.resource)
        resource = engine.store.get(arm_id)
        if resource is None:
            return None
        data = engine.types[resource.type]
        caller = operation.caller or {}
        context = Write(
            engine=engine,
            id=resource.id,
            type=data,
            api_version=operation.api_version,
            caller=Caller(**{**caller, "groups": tuple(caller.get("groups", ()))}) if caller else None,
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

    def _save_changes(self, context: Write) -> None:
        current = self._engine.store.get(context.id)
        if current is not None and (current.body != context.body or current.private != context.private):
            self._engine.store.save(
                Resource(id=current.id, body=context.body, private=context.private, position=current.position)
            )

    async def _work_delete(self, resource: Resource, context: Write) -> None:
        if resource.type == RESOURCE_GROUP_TYPE:
            try:
                self._check_blockers(resource.id, api_version=context.api_version, message_id=resource.id)
            except ArmError as exc:
                raise OperationError(
                    "ResourceGroupDeletionBlocked",
                    f"Deletion of resource group '{resource.id.name}' failed as resources in it are still in use: {exc.code}: {exc.message}",
                ) from exc
            for below in self._engine.store.below(resource.id):
                data = self._engine.types[below.type]
                inner = Write(
                    engine=self._engine,
                    id=below.id,
                    type=data,
                    api_version=_version_for(data, context.api_version),
                    caller=context.caller,
                    body=below.body,
                    stored=below.body,
                    private=below.private,
                    method="DELETE",
                )
                await behaviour_of(below.type).run_delete(inner)
            return
        await behaviour_of(resource.type).run_delete(context)

    def finish(self, operation: Operation) -> None:
        """Settle the resource when an operation has ended."""
        engine = self._engine
        resource = engine.store.get(operation.resource)
        if resource is None or operation.payload.get("untouched"):
            return
        if operation.verb == "delete" and operation.status == SUCCEEDED:
            caller = operation.caller or {}
            who = Caller(**{**caller, "groups": tuple(caller.get("groups", ()))}) if caller else None
            self._remove_tree(resource, who, operation.api_version)
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

    def answer_after(self, answer: Answer, request: Request) -> Answer:
        """The answer of an inline operation, now that it has ended."""
        operation = self._engine.operations.get(answer.operation.id) if answer.operation else None
        if operation is not None and operation.error is not None:
            raise ArmError(
                int(operation.payload.get("status", 409)), operation.error["code"], operation.error["message"]
            )
        resource = self._engine.store.get(request.id)
        if request.method == "DELETE" or resource is None:
            return self._answer(answer.status)
        return self._answer(answer.status, self._engine.show(resource, request.api_version, caller=request.caller))


_INLINE = Asynchronous(status=200, via="none", seconds=0.0)
_ETAGS = {
    "weak": lambda made: f'W/"{made}"',
    "strong": lambda made: f'"{made}"',
    "bare": str,
    "blob": lambda made: f'"0x8D{made.hex[:13].upper()}"',
}
_ASYNC = Asynchronous(status=202, via="both", seconds=0.1)


def _require_object(body: dict[str, Any], arm_id: ArmId) -> None:
    properties = body.get("properties")
    if properties is not None and not isinstance(properties, dict):
        raise ArmError(
            400,
            "InvalidRequestContent",
            f"The request content was invalid: 'properties' of {arm_id.text} must be an object.",
        )


def _tags(body: dict[str, Any], data: TypeData, stored: Resource | None) -> dict[str, str] | None:
    """Tags to store. A type without tags drops them. (limits: https://learn.microsoft.com/azure/azure-resource-manager/management/tag-resources)"""
    tags = body.get("tags")
    if not data.tags:
        return None
    if tags is None:
        kept: dict[str, str] | None = stored.body.get("tags") if stored is not None and data.put == "merge" else None
        return kept
    if not isinstance(tags, dict) or not all(isinstance(value, str) for value in tags.values()):
        raise ArmError(400, "InvalidRequestContent", "The request content was invalid: tags must be a map of strings.")
    if len(tags) > MAX_TAGS:
        raise ArmError(
            400,
            "TagsCountExceeded",
            f"A maximum of {MAX_TAGS} tags can be applied to a resource, {len(tags)} were sent.",
        )
    if any(len(name) > 512 or len(value) > 256 for name, value in tags.items()):
        raise ArmError(400, "InvalidTag", "Tag names have at most 512 and values at most 256 characters.")
    return dict(tags)


def _shallow(facts: rules.Facts) -> dict[str, Any]:
    return {
        "api_version": facts.api_version,
        "create": facts.create,
        "values": facts.values,
        "stored": facts.stored,
        "make": facts.make,
    }


def _version_for(data: TypeData, api_version: str) -> str:
    return api_version if api_version in data.api_versions else data.api_versions[-1]


__all__ = ["Action", "Request", "Writer"]
