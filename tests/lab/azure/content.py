"""What a PUT or PATCH stores: rules, references, embedded children."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.lab.azure import paths, quotas, rules
from tests.lab.azure.arm_id import RESOURCE_GROUP_TYPE, ArmId
from tests.lab.azure.authorization import Caller
from tests.lab.azure.behaviour import Write, behaviour_of
from tests.lab.azure.deletion import Deletion
from tests.lab.azure.errors import ArmError
from tests.lab.azure.identity import apply_identity
from tests.lab.azure.operations import SUCCEEDED
from tests.lab.azure.running import version_for
from tests.lab.azure.store import Link, Resource
from tests.lab.azure.typedata import Rule, TypeData

MAX_TAGS = 50
_ETAGS: dict[str, Callable[[uuid.UUID], str]] = {
    "weak": lambda made: f'W/"{made}"',
    "strong": lambda made: f'"{made}"',
    "bare": str,
    "blob": lambda made: f'"0x8D{made.hex[:13].upper()}"',
}


class Content(Deletion):
    """Turns a request's body into what is stored."""

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
        if not embedded:
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
            replace(facts, values={**values, "location": location or values["location"]}),
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
                f"The provided location '{sent}' is not available for resource type '{data.full_name}'. List of "
                "available regions for the "
                f"resource type is '{','.join(allowed)}'.",
            )
        if kept is not None and str(kept).lower() != location:
            if data.key == RESOURCE_GROUP_TYPE:
                raise ArmError(
                    409,
                    "InvalidResourceGroupLocation",
                    f"Invalid resource group location '{location}'. The Resource group already exists in location "
                    f"'{kept}'.",
                )
            raise ArmError(
                409,
                "InvalidResourceLocation",
                f"The resource '{arm_id.name}' already exists in location '{kept}' in resource group "
                f"'{arm_id.resource_group}'. A resource "
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
                    message="Resource {target} referenced by resource {id} was not found. Please make sure that the "
                    "referenced resource "
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
                    f"The client with object id '{caller.object_id}' has permission to perform action "
                    f"'{data.full_name}/write' on scope "
                    f"'{arm_id.text}'; however, it does not have permission to perform action '{linked}' on the "
                    f"linked scope(s) '{named.text}'.",
                )
            links.append(
                Link(source=arm_id.key, target=named.key, type=data.key, rule=rule.id, path=paths.text(target.path))
            )
        return links

    def _take_children(
        self, arm_id: ArmId, data: TypeData, body: dict[str, Any], api_version: str
    ) -> list[tuple[Rule, list[dict[str, Any]] | None]]:
        taken: list[tuple[Rule, list[dict[str, Any]] | None]] = []
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
                    f"Cannot parse the request: '{rule.paths[0]}' of {arm_id.text} has more than one element named "
                    f"'{repeated}'.",
                )
            paths.remove(body, rule.paths[0].steps)
            taken.append((rule, value))
        return taken

    def _write_children(
        self, parent: Write, children: list[tuple[Rule, list[dict[str, Any]] | None]], state: str
    ) -> None:
        engine = self._engine
        for rule, asked in children:
            data = engine.types[f"{parent.type.key}/{rule.options['type']}".lower()]
            existing = {child.id.name.lower(): child for child in engine.store.children(parent.id, data.key)}
            items = asked or []
            kept = (
                rule.options.get("absent", "delete") == "keep" or parent.type.put == "merge" or parent.method == "PATCH"
            )
            if asked is None and kept:
                continue
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
            # Only now: two elements of one request may have exchanged what has to be unique.
            for child in engine.store.children(parent.id, data.key) if items else []:
                values = engine.values(child.id, data, parent.api_version, child.body)
                facts = rules.Facts(api_version=parent.api_version, create=False, values=values)
                self._check_siblings(child.id, data, child.body, facts)

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
                api_version=version_for(data, parent.api_version),
                caller=parent.caller,
                state=SUCCEEDED,
                embedded=True,
            )


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
