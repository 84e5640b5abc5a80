"""The ARM engine: reading, showing and listing resources, and what writes share (`writes.py` builds on it)."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from tests.lab.azure import paths, rules
from tests.lab.azure.arm_id import RESOURCE_GROUP_TYPE, ArmId
from tests.lab.azure.authorization import Authorization, Caller
from tests.lab.azure.behaviour import Read, behaviour_of
from tests.lab.azure.errors import ArmError
from tests.lab.azure.operations import Operations, timestamp
from tests.lab.azure.principals import Directory
from tests.lab.azure.running import Answer
from tests.lab.azure.settings import Settings
from tests.lab.azure.store import Resource, Store
from tests.lab.azure.typedata import Rule, TypeData
from tests.lab.azure.writes import Writer
from tests.lab.cluster.manager import ClusterManager

__all__ = ["Answer", "Engine", "full_type", "spelled"]

ALWAYS_REGISTERED = frozenset(
    {"microsoft.resources", "microsoft.authorization", "microsoft.features", "microsoft.consumption"}
)
REGISTRATION = "registration"
SEQUENCE = "sequence"


class Engine:
    """All that the routes, hooks and operations work with."""

    def __init__(
        self,
        *,
        store: Store,
        settings: Settings,
        types: Mapping[str, TypeData],
        directory: Directory,
        clusters: ClusterManager,
    ) -> None:
        self.store = store
        self.settings = settings
        self.types = types
        self.directory = directory
        self.clusters = clusters
        self.authorization = Authorization(store, settings)
        self.writer = Writer(self)
        self.operations = Operations(store, work=self.writer.work, finish=self.writer.finish)

    # --- types and registration

    def type_of(self, type_key: str) -> TypeData | None:
        """Type data by key."""
        return self.types.get(type_key.lower())

    def rule(self, type_key: str, rule_id: str) -> Rule | None:
        """One rule of a type."""
        found = self.types.get(type_key)
        return next((rule for rule in found.rules if rule.id == rule_id), None) if found else None

    def namespaces(self) -> dict[str, str]:
        """Known provider namespaces, lower case to their spelling."""
        known = {found.namespace.lower(): found.namespace for found in self.types.values()}
        return {
            "microsoft.compute": "Microsoft.Compute",
            "microsoft.policyinsights": "Microsoft.PolicyInsights",
            **known,
        }

    def registration(self, subscription: str, namespace: str) -> str:
        """NotRegistered, Registering or Registered."""
        if namespace.lower() in ALWAYS_REGISTERED:
            return "Registered"
        raw = self.store.record(REGISTRATION, f"{subscription.lower()}/{namespace.lower()}")
        if raw is None:
            preset = {entry.lower() for entry in self.settings.preregistered}
            return "Registered" if namespace.lower() in preset or "*" in preset else "NotRegistered"
        if raw["state"] == "Registering" and time.time() >= raw["due"]:
            return "Registered"
        return str(raw["state"])

    def require_registration(self, subscription: str, namespace: str) -> None:
        """Raise 409 until the provider is registered (a registration under way counts)."""
        if self.registration(subscription, namespace) == "NotRegistered":
            spelled = self.namespaces().get(namespace.lower(), namespace)
            raise ArmError(
                409,
                "MissingSubscriptionRegistration",
                f"The subscription is not registered to use namespace '{spelled}'. See https://aka.ms/rps-not-found "
                "for how to "
                "register subscriptions.",
                details=[
                    {
                        "code": "MissingSubscriptionRegistration",
                        "target": spelled,
                        "message": f"The subscription is not registered to use namespace '{spelled}'. "
                        "See https://aka.ms/rps-not-found "
                        "for how to register subscriptions.",
                    }
                ],
            )

    # --- authorization

    def authorize(self, caller: Caller, action: str, scope: ArmId) -> None:
        """Raise 403 unless a role assignment allows it."""
        if not self.authorization.allowed(caller, action, scope):
            raise ArmError(
                403,
                "AuthorizationFailed",
                f"The client '{caller.client_id or caller.object_id}' with object id '{caller.object_id}' does not "
                "have "
                f"authorization to perform action '{action}' over scope '{scope.text}' or the scope is invalid. If "
                "access was "
                "recently granted, please refresh your credentials.",
            )

    def check_locks(self, scope: ArmId, *, delete: bool, below: bool = False) -> None:
        """Raise 409 ScopeLocked where a lock forbids it.

        https://learn.microsoft.com/azure/azure-resource-manager/management/lock-resources
        """
        levels = ("cannotdelete", "readonly") if delete else ("readonly",)
        holding = [lock for lock, level in self.authorization.locks(scope, below=below) if level.lower() in levels]
        if holding:
            scopes = ",".join(sorted({lock.scope.text for lock in holding}))
            verb = "delete" if delete else "write"
            raise ArmError(
                409,
                "ScopeLocked",
                f"The scope '{scope.text}' cannot perform {verb} operation because following scope(s) are locked: "
                f"'{scopes}'. "
                "Please remove the lock and try again.",
            )

    # --- reading

    def resource_group(self, scope: ArmId) -> Resource | None:
        """The resource group that a scope is in."""
        return self.store.get(ArmId(scope.segments[:4])) if scope.resource_group else None

    def require_group(self, scope: ArmId, *, writing: bool = False) -> Resource | None:
        """The resource group; 404 when the scope names one that is not there, 409 while it is being deleted."""
        if not scope.resource_group:
            return None
        group = self.resource_group(scope)
        if group is None:
            raise ArmError(404, "ResourceGroupNotFound", f"Resource group '{scope.resource_group}' could not be found.")
        if writing and group.body.get("properties", {}).get("provisioningState") == "Deleting":
            raise ArmError(
                409,
                "ResourceGroupBeingDeleted",
                f"The resource group '{group.id.name}' is in deprovisioning state and cannot perform this operation.",
            )
        return group

    def require_parent(self, arm_id: ArmId, verb: str) -> Resource | None:
        """The parent resource of a child or the target of an extension; 404 when it is not there."""
        parent = arm_id.parent
        while len(arm_id.types) == 1 and len(parent.types) > 1 and self.type_of(parent.type) is None:
            # Assignments may name what is no ARM resource: a secret of a vault, a namespace of a cluster.
            parent = parent.parent
        if not parent.is_resource:
            self.require_group(parent, writing=verb == "write")
            return None
        self.require_group(parent, writing=verb == "write")
        found = self.store.get(parent)
        if found is None:
            data = self.type_of(arm_id.type)
            name = data.casing if data else "/".join(arm_id.types)
            raise ArmError(
                404,
                "ParentResourceNotFound",
                f"Failed to perform '{verb}' on resource(s) of type '{name}', because the parent resource "
                f"'{parent.text}' could not be found.",
            )
        return found

    def not_found(self, arm_id: ArmId) -> ArmError:
        """The 404 for a resource whose parents are there."""
        if arm_id.type == RESOURCE_GROUP_TYPE:
            return ArmError(404, "ResourceGroupNotFound", f"Resource group '{arm_id.name}' could not be found.")
        data = self.type_of(arm_id.type)
        label = "/".join(
            [
                data.namespace if data else arm_id.namespace,
                *(part for pair in zip(arm_id.types, arm_id.names, strict=True) for part in pair),
            ]
        )
        where = f" under resource group '{arm_id.resource_group}'" if arm_id.resource_group else ""
        return ArmError(
            404,
            "ResourceNotFound",
            f"The Resource '{label}'{where} was not found. For more details please go to "
            "https://aka.ms/ARMResourceNotFoundFix",
        )

    def show(self, resource: Resource, api_version: str, *, caller: Caller | None = None) -> dict[str, Any]:
        """The resource as GET answers it."""
        data = self.types[resource.type]
        shown_id = spelled(resource.id, data.group_segment)
        out: dict[str, Any] = {"id": shown_id, "name": resource.id.name, "type": full_type(data)}
        out |= rules.shown(data.rules, resource.body, api_version)
        if data.location == "inherited":
            parent = self.store.get(resource.id.parent)
            if parent is not None:
                out["location"] = parent.body.get("location")
        self._show_children(resource, data, out, api_version)
        self._show_referrers(resource, out)
        context = Read(
            engine=self, id=resource.id, type=data, api_version=api_version, caller=caller, body=out, resource=resource
        )
        behaviour_of(resource.type).show(context)
        return context.body

    def _show_children(self, resource: Resource, data: TypeData, out: dict[str, Any], api_version: str) -> None:
        for rule in data.rules:
            if rule.kind != "child":
                continue
            child_key = f"{resource.type}/{rule.options['type']}".lower()
            shown = [self.show(child, api_version) for child in self.store.children(resource.id, child_key)]
            if rule.options.get("flat"):
                shown = [{"name": child["name"], **child.get("properties", {})} for child in shown]
            paths.put(out, rule.paths[0].steps, shown)

    def _show_referrers(self, resource: Resource, out: dict[str, Any]) -> None:
        lists: dict[str, list[dict[str, str]]] = {}
        for link in self.store.links_to(resource.id):
            rule = self.rule(link.type, link.rule)
            where: str = (rule.options.get("shows") or rule.options.get("shows_one") or "") if rule else ""
            source = self.store.get(link.source) if where else None
            if rule is None or source is None:
                continue
            if rule.options.get("shows_one"):
                paths.put(out, paths.Path.parse(where).steps, {"id": source.id.text})
            elif {"id": source.id.text} not in lists.setdefault(where, []):
                lists[where].append({"id": source.id.text})
        for where, entries in lists.items():
            paths.put(out, paths.Path.parse(where).steps, entries)

    # --- values the service makes

    def values(self, arm_id: ArmId, data: TypeData, api_version: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Placeholders of templates and messages."""
        group = self.resource_group(arm_id)
        location = body.get("location") or (group.body.get("location") if group else "") or ""
        digest = hashlib.sha256(arm_id.key.encode()).hexdigest()
        base = self.settings.base_url
        return {
            "name": arm_id.name,
            "type": full_type(data),
            "id": arm_id.text,
            "parent_id": arm_id.parent.text,
            "parent_name": arm_id.parent.name,
            "root_name": arm_id.root.name,
            "resource_group": arm_id.resource_group,
            "subscription_id": arm_id.subscription,
            "tenant_id": self.settings.tenant_id,
            "location": location,
            "api_version": api_version,
            "arm_endpoint": base,
            "host": base.split("://", 1)[-1].rsplit(":", 1)[0],
            "port": self.settings.port,
            "guid5": str(uuid.uuid5(uuid.NAMESPACE_URL, arm_id.key)),
            "hex8": digest[:8],
            "hex32": digest[:32],
        }

    def make(self, name: str) -> Any:
        """Fresh values of templates; MISSING for an unknown name."""
        makers: dict[str, Callable[[], Any]] = {
            "guid": lambda: str(uuid.uuid4()),
            "now": lambda: timestamp(time.time()),
            "random_hex32": lambda: uuid.uuid4().hex,
            "int": lambda: self.next_number("int"),
            "public_ip": lambda: _address("20.74", self.next_number("public_ip")),
            "private_ip": lambda: _address("10.255", self.next_number("private_ip")),
        }
        return makers[name]() if name in makers else paths.MISSING

    def retry_after(self, seconds: float) -> dict[str, str]:
        """The header that says when to ask again: what the type's data says, else what the settings say."""
        wait = seconds or self.settings.retry_after
        return {"Retry-After": str(round(wait))} if wait >= 1 else {"x-ms-retry-after-ms": str(round(wait * 1000))}

    def next_number(self, name: str) -> int:
        """1, 2, 3 … by name."""
        raw = self.store.record(SEQUENCE, name) or {"last": 0}
        self.store.put_record(SEQUENCE, name, {"last": raw["last"] + 1})
        return int(raw["last"]) + 1


def _address(prefix: str, number: int) -> str:
    return f"{prefix}.{number // 250 % 256}.{number % 250 + 4}"


def spelled(arm_id: ArmId, group_segment: str) -> str:
    """The id with the word for resource groups as the type's service writes it."""
    if len(arm_id.segments) < 4 or arm_id.segments[2].lower() != "resourcegroups":
        return arm_id.text
    return ArmId((*arm_id.segments[:2], group_segment, *arm_id.segments[3:])).text


def full_type(data: TypeData) -> str:
    """The type as answers spell it."""
    return data.full_name if data.key != RESOURCE_GROUP_TYPE else "Microsoft.Resources/resourceGroups"
