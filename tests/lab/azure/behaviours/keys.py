# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""Microsoft.KeyVault/vaults/keys: ARM makes the first version of a key, and never changes nor deletes one.

Source: https://learn.microsoft.com/rest/api/keyvault/keyvault/keys/create-if-not-exist and, for the shape of answers,
the recording DiskEncryptionSet_CRUD of Azure/azure-service-operator.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from tests.lab.azure import vault_keys
from tests.lab.azure.arm_id import ArmId
from tests.lab.azure.behaviour import ArmError, Behaviour, Read, Write, behaviour
from tests.lab.azure.store import Resource
from tests.lab.azure.vault_keys import KeyRefused, Wanted


@behaviour("Microsoft.KeyVault/vaults/keys")
class Keys(Behaviour):
    """What is asked for counts once."""

    def before_put(self, ctx: Write) -> None:
        """Make the key, or leave it as it is."""
        if ctx.stored is not None:
            ctx.body = copy.deepcopy(ctx.stored)
            return
        asked = ctx.body["properties"]
        try:
            policy = vault_keys.policy_of(asked["rotationPolicy"]) if asked.get("rotationPolicy") else None
            wanted = Wanted(
                kty=str(asked["kty"]),
                size=asked.get("keySize"),
                curve=asked.get("curveName"),
                operations=asked.get("keyOps"),
                attributes=asked.get("attributes"),
                tags=ctx.body.get("tags"),
            )
            vault_keys.make_version(ctx.store, _vault(ctx.store.get(ctx.id.parent)), ctx.id.name, wanted, policy)
        except KeyRefused as exc:
            code = "Conflict" if exc.status == 409 else "BadRequest"
            raise ArmError(exc.status, code, exc.message) from exc
        ctx.body = {"properties": {}}

    def show(self, ctx: Read) -> None:
        """Its newest version."""
        _show(ctx, ctx.id, -1)


@behaviour("Microsoft.KeyVault/vaults/keys/versions")
class KeyVersions(Behaviour):
    """Every version is a resource that can be read."""

    def show(self, ctx: Read) -> None:
        """That version."""
        vault = _vault(ctx.store.get(ctx.id.parent.parent))
        record = vault_keys.find(ctx.store, vault, ctx.id.parent.name) or {"versions": []}
        index = next(i for i, one in enumerate(record["versions"]) if one["version"] == ctx.id.name.lower())
        _show(ctx, ctx.id.parent, index)


def _vault(found: Resource | None) -> Resource:
    assert found is not None  # the engine has looked for the parent
    return found


def _show(ctx: Read, key: ArmId, index: int) -> None:
    vault = _vault(ctx.store.get(key.parent))
    record = vault_keys.find(ctx.store, vault, key.name)
    assert record is not None  # a key without a record is not shown in ARM
    version = record["versions"][index]
    address = f"{str(vault.body['properties']['vaultUri']).rstrip('/')}/keys/{record['name']}"
    shown: dict[str, Any] = {
        "attributes": vault_keys.attributes(vault, version) | {"exportable": False},
        "kty": version["kty"],
        "keyOps": version["operations"],
        "keyUri": address,
        "keyUriWithVersion": f"{address}/{version['version']}",
    }
    shown |= {name: version[field] for name, field in (("keySize", "size"), ("curveName", "curve")) if field in version}
    if record.get("policy"):
        shown["rotationPolicy"] = _policy(record["policy"])
    ctx.body["properties"] = shown
    ctx.body["location"] = vault.body.get("location")
    if version.get("tags"):
        ctx.body["tags"] = version["tags"]


def _policy(policy: Mapping[str, Any]) -> dict[str, Any]:
    actions = [
        {
            "action": {"type": action["type"]},
            "trigger": {name: text for name, text in action.items() if name != "type"},
        }
        for action in policy["actions"]
    ]
    times = {name: policy[name] for name in ("created", "updated")}
    expiry = {"expiryTime": policy["expiryTime"]} if policy["expiryTime"] else {}
    return {"attributes": {**times, **expiry}, "lifetimeActions": actions}
