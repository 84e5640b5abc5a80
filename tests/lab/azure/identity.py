"""The `identity` of any resource: system assigned principals come and go with it, user assigned ones must exist.

Source: https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/overview
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tests.lab.azure.arm_id import ArmId
from tests.lab.azure.authorization import Caller
from tests.lab.azure.errors import ArmError
from tests.lab.azure.principals import Principal
from tests.lab.azure.store import Resource

if TYPE_CHECKING:
    from tests.lab.azure.engine import Engine

IDENTITY_TYPE = "microsoft.managedidentity/userassignedidentities"
_SPELLINGS = {
    "none": "None",
    "systemassigned": "SystemAssigned",
    "userassigned": "UserAssigned",
    "systemassigned,userassigned": "SystemAssigned, UserAssigned",
}


def apply_identity(engine: Engine, arm_id: ArmId, asked: Any, stored: dict[str, Any] | None) -> dict[str, Any]:
    """What the service stores for an identity that was asked for; raises ArmError."""
    kind = _SPELLINGS.get(str(asked.get("type", "")).replace(" ", "").lower()) if isinstance(asked, dict) else None
    if kind is None:
        raise ArmError(
            400,
            "InvalidIdentityType",
            f"The identity type of '{arm_id.text}' is not one of {', '.join(_SPELLINGS.values())}.",
        )
    out: dict[str, Any] = {"type": kind}
    if "SystemAssigned" in kind:
        principal_id = (stored or {}).get("principalId") or str(uuid.uuid4())
        principal = Principal(
            object_id=principal_id,
            client_id=str(uuid.uuid4()),
            kind="ManagedIdentity",
            name=arm_id.name,
            resource=arm_id.text,
        )
        if engine.directory.by_object_id(principal_id) is None:
            engine.directory.save(principal)
        out |= {"principalId": principal_id, "tenantId": engine.settings.tenant_id}
    elif stored and stored.get("principalId"):
        engine.directory.delete(stored["principalId"])
    if "UserAssigned" in kind:
        named = {
            name: value for name, value in (asked.get("userAssignedIdentities") or {}).items() if value is not None
        }
        if not named and not (stored or {}).get("userAssignedIdentities"):
            raise ArmError(
                400,
                "InvalidUserAssignedIdentities",
                "The user assigned identities must not be null or empty when the identity type is 'UserAssigned'.",
            )
        out["userAssignedIdentities"] = {name: _user_assigned(engine, arm_id, name) for name in named}
    return out


def _user_assigned(engine: Engine, arm_id: ArmId, name: str) -> dict[str, str]:
    found = engine.store.get(ArmId.parse(name))
    if found is None or found.type != IDENTITY_TYPE:
        raise ArmError(
            400,
            "FailedIdentityOperation",
            f"Identity operation for resource '{arm_id.text}' failed with error 'Failed to perform resource identity "
            "operation. Status: "
            f"'BadRequest'. Response: 'Resource '{name}' was not found.''.",
        )
    properties = found.body.get("properties", {})
    return {"principalId": properties.get("principalId", ""), "clientId": properties.get("clientId", "")}


def forget_identity(engine: Engine, resource: Resource) -> None:
    """The system assigned principal of a deleted resource is gone with it."""
    principal_id = (resource.body.get("identity") or {}).get("principalId")
    if principal_id:
        engine.directory.delete(principal_id)


def callers(identity: Mapping[str, Any] | None) -> list[Caller]:
    """Who acts for a resource with that identity."""
    known = identity or {}
    ids = [one.get("principalId", "") for one in (known.get("userAssignedIdentities") or {}).values()]
    return [Caller(object_id=one) for one in (known.get("principalId", ""), *ids) if one]
