"""Who may do what: role assignments and definitions, as ARM, Key Vault and the cluster's webhook ask for them."""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.lab.azure.arm_id import ArmId
from tests.lab.azure.settings import Settings
from tests.lab.azure.store import Store

ASSIGNMENT_TYPE = "microsoft.authorization/roleassignments"
DEFINITION_TYPE = "microsoft.authorization/roledefinitions"
LOCK_TYPE = "microsoft.authorization/locks"
OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"


@dataclass(frozen=True, kw_only=True)
class Caller:
    """The identity behind a request."""

    object_id: str
    client_id: str = ""
    groups: tuple[str, ...] = ()

    @classmethod
    def from_claims(cls, claims: Mapping[str, Any]) -> Caller:
        """The caller of a checked token."""
        return cls(
            object_id=str(claims["oid"]),
            client_id=str(claims.get("appid", "")),
            groups=tuple(claims.get("groups") or ()),
        )

    @property
    def ids(self) -> frozenset[str]:
        """Object ids that a role assignment may name to mean this caller."""
        return frozenset(entry.lower() for entry in (self.object_id, *self.groups))


@functools.cache
def built_in_roles() -> dict[str, dict[str, Any]]:
    """Built-in role definitions as ARM bodies, by GUID."""
    raw = yaml.safe_load((Path(__file__).parent / "roles.yml").read_text(encoding="utf-8"))
    return {
        role["id"]: {
            "roleName": role["name"],
            "type": "BuiltInRole",
            "description": f"Built-in role {role['name']}.",
            "assignableScopes": ["/"],
            "permissions": [
                {kind: list(role.get(kind, [])) for kind in ("actions", "notActions", "dataActions", "notDataActions")}
            ],
        }
        for role in raw
    }


@functools.lru_cache(maxsize=4096)
def _pattern(action: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(action.lower().replace("[", "[[]").replace("?", "[?]")))


def matches(patterns: Iterable[str], action: str) -> bool:
    """Whether one of the patterns (with ``*``) covers the action, in any case."""
    lowered = action.lower()
    return any(_pattern(pattern).match(lowered) for pattern in patterns)


def grants(permissions: Iterable[Mapping[str, Any]], action: str, *, data: bool) -> bool:
    """Whether a role's permissions cover a (data) action."""
    yes, no = ("dataActions", "notDataActions") if data else ("actions", "notActions")
    return any(
        matches(permission.get(yes) or (), action) and not matches(permission.get(no) or (), action)
        for permission in permissions
    )


class Authorization:
    """Answers from the role assignments that are stored."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def permissions(self, definition_id: str) -> list[dict[str, Any]]:
        """Permissions of a role definition, built in or custom; empty when there is none."""
        found = self.definition(definition_id)
        return list(found.get("permissions", [])) if found else []

    def definition(self, definition_id: str) -> dict[str, Any] | None:
        """Properties of the role definition that an id (with or without a scope) names."""
        guid = definition_id.rstrip("/").rsplit("/", 1)[-1].lower()
        if guid in built_in_roles():
            return built_in_roles()[guid]
        custom = self._store.find(DEFINITION_TYPE, name=guid)
        properties: dict[str, Any] | None = custom[0].body.get("properties") if custom else None
        return properties

    def assignments(self, scope: ArmId) -> list[dict[str, Any]]:
        """Assignments that count at a scope: there and above, up to the subscription and the tenant."""
        found = []
        for place in scope.ancestors():
            found += [resource.body["properties"] for resource in self._store.children(place, ASSIGNMENT_TYPE)]
        return found

    def allowed(self, caller: Caller, action: str, scope: ArmId, *, data: bool = False) -> bool:
        """Whether the caller may do that there."""
        ids = caller.ids
        return any(
            str(assignment.get("principalId", "")).lower() in ids
            and grants(self.permissions(assignment["roleDefinitionId"]), action, data=data)
            for assignment in self.assignments(scope)
        )

    def locks(self, scope: ArmId, *, below: bool) -> list[tuple[ArmId, str]]:
        """(id, level) of the locks at a scope and above, and below it where asked."""
        found = [lock for place in scope.ancestors() for lock in self._store.children(place, LOCK_TYPE)]
        if below:
            known = {lock.key for lock in found}
            found += [entry for entry in self._store.below(scope) if entry.type == LOCK_TYPE and entry.key not in known]
        return [(lock.id, str(lock.body.get("properties", {}).get("level", ""))) for lock in found]
