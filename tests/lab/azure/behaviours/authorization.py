"""Microsoft.Authorization: role assignments, role definitions, locks.

Source: https://learn.microsoft.com/azure/role-based-access-control/troubleshooting and
https://learn.microsoft.com/rest/api/authorization/role-assignments
"""

from __future__ import annotations

import re

from tests.lab.azure.arm_id import ArmId
from tests.lab.azure.authorization import ASSIGNMENT_TYPE, DEFINITION_TYPE, built_in_roles
from tests.lab.azure.behaviour import ArmError, Behaviour, Listing, Read, Write, behaviour
from tests.lab.azure.operations import timestamp
from tests.lab.azure.store import Resource

_PRINCIPAL_FILTER = re.compile(r"principalid\s+eq\s+'?\{?([0-9a-f-]+)\}?'?", re.IGNORECASE)
_ASSIGNED_FILTER = re.compile(r"assignedto\('([0-9a-f-]+)'\)", re.IGNORECASE)
_ROLE_NAME_FILTER = re.compile(r"rolename\s+eq\s+'([^']+)'", re.IGNORECASE)
_ROLE_TYPE_FILTER = re.compile(r"type\s+eq\s+'([^']+)'", re.IGNORECASE)


@behaviour("Microsoft.Authorization/roleAssignments")
class RoleAssignments(Behaviour):
    """One triple of scope, role and principal, once."""

    def before_put(self, ctx: Write) -> None:
        """The principal and the role exist, the triple is new, and nothing of an assignment changes."""
        properties = ctx.body["properties"]
        scope = ctx.id.scope
        definition = ctx.engine.authorization.definition(str(properties["roleDefinitionId"]))
        if definition is None:
            raise ArmError(
                404,
                "RoleDefinitionDoesNotExist",
                f"The specified role definition with ID '{properties['roleDefinitionId'].rsplit('/', 1)[-1]}' does "
                "not exist.",
            )
        principal = ctx.engine.directory.by_object_id(str(properties["principalId"]))
        if principal is None:
            raise ArmError(
                400,
                "PrincipalNotFound",
                f"Principal {str(properties['principalId']).replace('-', '')} does not exist in the directory "
                f"{ctx.settings.tenant_id}. Check that you "
                "have the correct principal ID. If you are creating this principal and then immediately assigning a "
                "role, this error might be "
                "related to a replication delay. In this case, set the role assignment principalType property to a "
                "value, such as "
                "ServicePrincipal, User, or Group.  See https://aka.ms/docs-principaltype",
            )
        asked = properties.get("principalType")
        if asked and asked.lower() != principal.arm_type.lower():
            raise ArmError(
                400,
                "UnmatchedPrincipalType",
                f"The PrincipalId '{principal.object_id.replace('-', '')}' has type '{principal.arm_type}' , which "
                f"is different from specified PrinciaplType '{asked}'.",
            )
        properties["principalType"] = principal.arm_type
        guid = str(properties["roleDefinitionId"]).rstrip("/").rsplit("/", 1)[-1]
        prefix = f"/subscriptions/{ctx.id.subscription}" if ctx.id.subscription else ""
        properties["roleDefinitionId"] = f"{prefix}/providers/Microsoft.Authorization/roleDefinitions/{guid}"
        self._refuse_second(ctx, scope, guid, str(properties["principalId"]))
        properties["scope"] = scope.text
        now = timestamp(ctx.clock)
        author = ctx.caller.object_id if ctx.caller else ""
        before = (ctx.stored or {}).get("properties", {})
        properties |= {
            "createdOn": before.get("createdOn", now),
            "updatedOn": now,
            "createdBy": before.get("createdBy", author),
            "updatedBy": author,
        }

    def _refuse_second(self, ctx: Write, scope: ArmId, role: str, principal: str) -> None:
        for other in ctx.store.children(scope, ASSIGNMENT_TYPE):
            known = other.body["properties"]
            same = known["principalId"].lower() == principal.lower() and known["roleDefinitionId"].lower().endswith(
                role.lower()
            )
            if same and other.key != ctx.id.key:
                raise ArmError(
                    409,
                    "RoleAssignmentExists",
                    "The role assignment already exists. The ID of the existing role assignment is "
                    f"{other.id.name.replace('-', '')}.",
                )

    def list(self, ctx: Listing) -> list[Resource]:
        """At the scope and above, and below it unless the filter says ``atScope()``."""
        condition = ctx.params.get("$filter", "")
        found = [entry for place in ctx.id.ancestors() for entry in ctx.store.children(place, ASSIGNMENT_TYPE)]
        if "atscope()" not in condition.lower():
            known = {entry.key for entry in found}
            found += [
                entry
                for entry in reversed(ctx.store.below(ctx.id))
                if entry.type == ASSIGNMENT_TYPE and entry.key not in known
            ]
        principal = _PRINCIPAL_FILTER.search(condition)
        assigned = _ASSIGNED_FILTER.search(condition)
        if principal:
            found = [
                entry for entry in found if entry.body["properties"]["principalId"].lower() == principal[1].lower()
            ]
        if assigned:
            who = ctx.engine.directory.by_object_id(assigned[1])
            ids = {assigned[1].lower(), *(group.lower() for group in (who.groups if who else ()))}
            found = [entry for entry in found if entry.body["properties"]["principalId"].lower() in ids]
        return found


@behaviour("Microsoft.Authorization/roleDefinitions")
class RoleDefinitions(Behaviour):
    """Built-in roles beside custom ones."""

    def before_put(self, ctx: Write) -> None:
        """A built-in role cannot be written; a custom one needs a name that is free."""
        if ctx.id.name.lower() in built_in_roles():
            raise ArmError(
                403,
                "RoleDefinitionIsReadOnly",
                f"The role definition '{ctx.id.name}' is built in and cannot be changed.",
            )
        properties = ctx.body["properties"]
        properties["type"] = "CustomRole"
        wanted = str(properties["roleName"]).lower()
        for other in ctx.store.find(DEFINITION_TYPE):
            if other.key != ctx.id.key and other.body["properties"]["roleName"].lower() == wanted:
                raise ArmError(
                    409,
                    "RoleDefinitionWithSameNameExists",
                    f"A custom role with the same name '{properties['roleName']}' already exists in this directory. "
                    "Use a different name.",
                )

    def before_delete(self, ctx: Write) -> None:
        """A role in use stays."""
        for assignment in ctx.store.find(ASSIGNMENT_TYPE):
            if assignment.body["properties"]["roleDefinitionId"].lower().endswith(f"/{ctx.id.name.lower()}"):
                raise ArmError(
                    409,
                    "RoleDefinitionHasAssignments",
                    "There are existing role assignments referencing role (code: RoleDefinitionHasAssignments).",
                )

    def list(self, ctx: Listing) -> list[Resource]:
        """Built-in and custom roles; the filter knows roleName and type."""
        roles = [self.built_in(ctx.id, guid) for guid in built_in_roles()]
        roles += ctx.store.find(DEFINITION_TYPE)
        condition = ctx.params.get("$filter", "")
        name, kind = _ROLE_NAME_FILTER.search(condition), _ROLE_TYPE_FILTER.search(condition)
        if name:
            roles = [role for role in roles if role.body["properties"]["roleName"].lower() == name[1].lower()]
        if kind:
            roles = [role for role in roles if role.body["properties"]["type"].lower() == kind[1].lower()]
        return roles

    def unstored(self, arm_id: ArmId) -> Resource | None:
        """Built-in roles can be read one by one."""
        return self.built_in(arm_id.scope, arm_id.name.lower()) if arm_id.name.lower() in built_in_roles() else None

    @staticmethod
    def built_in(scope: ArmId, guid: str) -> Resource:
        """A built-in role as if it were stored at a scope."""
        plain = ArmId(scope.segments[:2]) if scope.subscription else ArmId(())
        return Resource(
            id=plain.extension("Microsoft.Authorization/roleDefinitions", guid),
            body={"properties": built_in_roles()[guid]},
        )


@behaviour("Microsoft.Authorization/locks")
class Locks(Behaviour):
    """Locks are shown with a level spelled as documented; checking them is the engine's."""

    def show(self, ctx: Read) -> None:
        """Nothing is computed but the owners that a service may add."""
        ctx.body.setdefault("properties", {})
