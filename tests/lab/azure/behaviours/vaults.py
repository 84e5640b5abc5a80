"""Microsoft.KeyVault/vaults: an address of its own, soft delete, recover and purge.

Source: https://learn.microsoft.com/azure/key-vault/general/soft-delete-overview and
https://learn.microsoft.com/rest/api/keyvault/keyvault/vaults
"""

from __future__ import annotations

import re
import time
from typing import Any

from tests.lab.azure import keyvault, names, vault_keys
from tests.lab.azure.arm_id import ArmId
from tests.lab.azure.behaviour import ArmError, Behaviour, ProviderRequest, Read, Write, behaviour, provider_route
from tests.lab.azure.behaviours.private_links import connections
from tests.lab.azure.engine import Answer, Engine
from tests.lab.azure.operations import timestamp
from tests.lab.azure.store import Resource

DELETED = "deleted-vault"
_NAMESPACE = "Microsoft.KeyVault"


@behaviour("Microsoft.KeyVault/vaults")
class Vaults(Behaviour):
    """Name and secrets survive a deletion until they are purged."""

    def before_put(self, ctx: Write) -> None:
        """Give the vault its address; a name held by a deleted vault can only be recovered."""
        name = ctx.id.name.lower()
        deleted = ctx.store.record(DELETED, name)
        recovering = str(ctx.body["properties"].get("createMode", "")).lower() == "recover"
        if ctx.create and deleted is not None and not recovering:
            raise ArmError(
                409,
                "ConflictError",
                "A vault with the same name already exists in deleted state. You need to either recover or purge "
                f"existing key vault. Vault: {ctx.id.name}.",
            )
        if ctx.create and recovering:
            if deleted is None or deleted["id"].lower() != ctx.id.key:
                raise ArmError(
                    400,
                    "SoftDeletedVaultDoesNotExist",
                    "A soft deleted vault with the given name does not exist. Ensure that the name for the vault "
                    f"that is being attempted to recover is in a recoverable state: {ctx.id.name}.",
                )
            asked = ctx.body["properties"]
            ctx.body = deleted["body"] | {"tags": ctx.body.get("tags") or deleted["body"].get("tags") or {}}
            ctx.body["properties"] = {
                **deleted["body"]["properties"],
                **{key: value for key, value in asked.items() if key in ("accessPolicies",) and value},
            }
            ctx.private = dict(deleted["private"])
            ctx.store.delete_record(DELETED, name)
        properties = ctx.body["properties"]
        properties.pop("createMode", None)
        if "number" not in ctx.private:
            ctx.private["number"] = free_number(ctx.engine)
        host = ctx.settings.vault_host.format(number=ctx.private["number"])
        properties["vaultUri"] = f"https://{host}:{ctx.settings.port}/"

    def after_put(self, ctx: Write) -> None:
        """A vault that was recovered has its keys again."""
        if ctx.create:
            vault_keys.show_again(ctx.store, Resource(id=ctx.id, body=ctx.body))

    def show(self, ctx: Read) -> None:
        """Private endpoints are shown once there are any."""
        found = connections(ctx)
        if found:
            ctx.body["properties"]["privateEndpointConnections"] = found

    def after_delete(self, ctx: Write) -> None:
        """Keep the vault recoverable."""
        properties = ctx.body["properties"]
        days = int(properties.get("softDeleteRetentionInDays") or keyvault.DEFAULT_RETENTION_DAYS)
        now = time.time()
        ctx.store.put_record(
            DELETED,
            ctx.id.name.lower(),
            {"id": ctx.id.text, "body": ctx.body, "private": ctx.private, "deleted": now, "purge": now + days * 86_400},
        )


def free_number(engine: Engine) -> int:
    """The lowest address number that no vault, living or deleted, has."""
    taken = {vault.private.get("number") for vault in engine.store.find(names.VAULT_TYPE)}
    taken |= {raw["private"].get("number") for _, raw in engine.store.records(DELETED)}
    free = (number for number in range(1, engine.settings.vault_count + 1) if number not in taken)
    number = next(free, None)
    if number is None:
        raise ArmError(
            400, "QuotaExceeded", f"The lab has addresses for {engine.settings.vault_count} vaults; purge deleted ones."
        )
    return number


def _shown(request: ProviderRequest, raw: dict[str, Any]) -> dict[str, Any]:
    vault = ArmId.parse(raw["id"])
    location = raw["body"].get("location", "")
    properties = {
        "vaultId": raw["id"],
        "location": location,
        "deletionDate": timestamp(raw["deleted"]),
        "scheduledPurgeDate": timestamp(raw["purge"]),
        "tags": raw["body"].get("tags") or {},
    }
    if raw["body"]["properties"].get("enablePurgeProtection"):
        properties["purgeProtectionEnabled"] = True
    return {
        "id": f"/subscriptions/{request.subscription}/providers/{_NAMESPACE}/locations/{location}/deletedVaults/"
        f"{vault.name}",
        "name": vault.name,
        "type": "Microsoft.KeyVault/deletedVaults",
        "properties": properties,
    }


@provider_route(_NAMESPACE, r"deletedVaults")
def list_deleted(request: ProviderRequest) -> Any:
    """All soft-deleted vaults of the subscription."""
    request.authorize(f"{_NAMESPACE}/deletedVaults/read")
    return {"value": [_shown(request, raw) for _, raw in request.engine.store.records(DELETED)]}


@provider_route(_NAMESPACE, r"locations/(?P<location>[^/]+)/deletedVaults/(?P<name>[^/]+)(?P<purge>/purge)?")
def deleted_vault(request: ProviderRequest) -> Any:
    """One soft-deleted vault, or its purge."""
    store, name = request.engine.store, request.groups["name"].lower()
    purging = "purge" in request.groups
    request.authorize(f"{_NAMESPACE}/locations/deletedVaults/{'purge/action' if purging else 'read'}")
    raw = store.record(DELETED, name)
    if raw is None or raw["body"].get("location", "").lower() != request.groups["location"].lower():
        raise ArmError(
            404, "DeletedVaultNotFound", f"The specified deleted vault '{request.groups['name']}' does not exist."
        )
    if not purging:
        return _shown(request, raw)
    if request.method != "POST":
        raise ArmError(405, "MethodNotAllowed", "Purge is a POST.")
    if raw["body"]["properties"].get("enablePurgeProtection"):
        raise ArmError(
            400,
            "DeletedVaultPurge",
            "Operation 'DeletedVaultPurge' is not allowed: purge protection is enabled for the vault "
            f"'{request.groups['name']}'.",
        )
    with store.transaction():
        store.delete_record(DELETED, name)
        keyvault.forget(request.engine, ArmId.parse(raw["id"]))
    return Answer(status=200)


@provider_route(_NAMESPACE, r"checkNameAvailability")
def check_name(request: ProviderRequest) -> Any:
    """Whether a vault's name is free."""
    name = str((request.body or {}).get("name", ""))
    taken = request.engine.store.find(names.VAULT_TYPE, name=name) or request.engine.store.record(DELETED, name.lower())
    if not re.fullmatch(r"[a-zA-Z][a-zA-Z0-9-]{1,22}[a-zA-Z0-9]", name):
        return {
            "nameAvailable": False,
            "reason": "AccountNameInvalid",
            "message": f"The vault name '{name}' is invalid.",
        }
    if taken:
        return {
            "nameAvailable": False,
            "reason": "AlreadyExists",
            "message": f"The vault name '{name}' is already in use.",
        }
    return {"nameAvailable": True}
