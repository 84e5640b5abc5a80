# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disk encryption sets: the key they name, the identity that may use it, and how they follow its rotation.

Sources: https://learn.microsoft.com/azure/virtual-machines/disk-encryption and
https://learn.microsoft.com/azure/virtual-machines/disks-enable-customer-managed-keys-portal . A set with an identity of
its own is made before anybody can give that identity access, so nothing of the key is looked at then (recording:
Azure/azure-cli test_disk_encryption_set); with a user-assigned identity the service looks at once
(https://github.com/ansible-collections/azure/pull/1676).
"""

from __future__ import annotations

import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.lab.azure import vault_keys
from tests.lab.azure.arm_id import ArmId
from tests.lab.azure.behaviour import ArmError, Behaviour, Listing, Write, behaviour, collection
from tests.lab.azure.identity import callers
from tests.lab.azure.operations import timestamp
from tests.lab.azure.store import Resource

if TYPE_CHECKING:
    from tests.lab.azure.engine import Engine

TYPE = "microsoft.compute/diskencryptionsets"
_VAULT_TYPE = "microsoft.keyvault/vaults"
_ACTIONS = {"keys/read": "get", "keys/wrap/action": "wrapkey", "keys/unwrap/action": "unwrapkey"}


@dataclass(frozen=True)
class ActiveKey:
    """The parts of a key's address."""

    authority: str
    name: str
    version: str

    @classmethod
    def parse(cls, url: str) -> ActiveKey | None:
        """None for what is no full address of a key's version."""
        parts = urllib.parse.urlsplit(url)
        path = parts.path.strip("/").split("/")
        if parts.scheme != "https" or len(path) != 3 or path[0].lower() != "keys" or not all(path):
            return None
        return cls(parts.netloc.lower().removesuffix(":443"), path[1], path[2].lower())

    def vault(self, engine: Engine) -> Resource | None:
        """The vault at that address."""
        return next((one for one in engine.store.find(_VAULT_TYPE) if self.authority == authority_of(one)), None)


@behaviour("Microsoft.Compute/diskEncryptionSets")
class DiskEncryptionSets(Behaviour):
    """One key, and who may use it."""

    def before_put(self, ctx: Write) -> None:
        properties = ctx.body["properties"]
        kind = (ctx.body.get("identity") or {}).get("type", "None")
        if ctx.create and kind == "None":
            raise _refused("Required parameter 'diskEncryptionSet.identity' is missing (null).")
        key = ActiveKey.parse(str(properties["activeKey"]["keyUrl"]))
        if key is None:
            raise _refused(
                f"The key URL '{properties['activeKey']['keyUrl']}' is invalid: the version segment is required."
            )
        vault = key.vault(ctx.engine)
        source = (properties["activeKey"].get("sourceVault") or {}).get("id")
        if vault is None or (source and ArmId.parse(source).key != vault.key):
            raise _refused(f"The vault of the key '{properties['activeKey']['keyUrl']}' is not '{source}'.")
        if vault.body["location"] != ctx.body["location"]:
            raise _refused(f"The vault '{vault.id.text}' is in another region than the disk encryption set.")
        if not ctx.create or "UserAssigned" in kind:
            require_usable(ctx.engine, ctx.id, ctx.body)
            if properties.get("rotationToLatestKeyVersionEnabled"):
                use_latest(ctx.engine, ctx.body)

    @collection("associatedResources")
    def associated_resources(self, ctx: Listing) -> list[Resource]:
        """Disks that are encrypted with it: the lab has none in ARM."""
        return []


def authority_of(vault: Resource) -> str:
    """Host and port of a vault."""
    return urllib.parse.urlsplit(str(vault.body["properties"]["vaultUri"])).netloc.lower().removesuffix(":443")


def require_usable(engine: Engine, arm_id: ArmId, body: Mapping[str, Any]) -> None:
    """Raise what keeps disks from being encrypted with the set."""
    url = str(body["properties"]["activeKey"]["keyUrl"])
    key = ActiveKey.parse(url)
    vault = key.vault(engine) if key else None
    if key is None or vault is None:
        raise _refused(f"There is no key vault for '{url}'.")
    if not vault.body["properties"].get("enablePurgeProtection"):
        # https://learn.microsoft.com/azure/aks/azure-disk-customer-managed-keys#prerequisites
        raise _refused(f"The key vault '{vault.id.text}' must have soft delete and purge protection enabled.")
    if not _permitted(engine, vault, key.name, body.get("identity") or {}):
        whom = next(iter((body.get("identity") or {}).get("userAssignedIdentities") or ()), arm_id.text)
        raise ArmError(
            403,
            "KeyVaultAccessForbidden",
            f"Unable to access key vault resource '{url}' to enable encryption at rest. Please grant get, wrap and "
            f"unwrap key permissions to '{whom}'. Please visit https://aka.ms/keyvaultaccessssecmk for more "
            "information.",
        )
    record = vault_keys.find(engine.store, vault, key.name)
    version = next((one for one in (record or {}).get("versions", ()) if one["version"] == key.version), None)
    if version is None:
        raise ArmError(404, "KeyVaultKeyNotFound", f"The key '{url}' was not found in the key vault.")
    if not version["enabled"] or time.time() >= version.get("exp", time.time() + 1):
        raise ArmError(
            400, "KeyVaultKeyNotEnabled", f"The key '{url}' is not enabled or has expired: encryption needs it."
        )
    if not version["kty"].startswith("RSA"):
        # https://learn.microsoft.com/azure/virtual-machines/disk-encryption#customer-managed-key-restrictions
        raise _refused(f"The key '{url}' is of type {version['kty']}: only RSA keys are supported.")


def require_usable_by(engine: Engine, cluster: Resource, set_id: str) -> None:
    """Raise what keeps the cluster from making a disk that is encrypted with the set.

    Sources: https://learn.microsoft.com/azure/aks/azure-disk-customer-managed-keys (its identity needs to read the set)
    and https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/error-linked-authorization
    """
    arm_id = ArmId.parse(set_id)
    found = engine.store.get(arm_id)
    if found is None or found.type != TYPE:
        raise ArmError(404, "ResourceNotFound", f"The disk encryption set '{set_id}' was not found.")
    acting, needed = callers(cluster.body.get("identity")), "Microsoft.Compute/diskEncryptionSets/read"
    if not any(engine.authorization.allowed(caller, needed, arm_id) for caller in acting):
        raise ArmError(
            403,
            "LinkedAuthorizationFailed",
            f"The identity of the cluster '{cluster.id.name}' does not have permission to perform action '{needed}' on "
            f"the linked scope '{set_id}'.",
        )
    require_usable(engine, arm_id, found.body)


def use_latest(engine: Engine, body: dict[str, Any]) -> None:
    """Move to the newest version of the key."""
    active = body["properties"]["activeKey"]
    key = ActiveKey.parse(str(active["keyUrl"]))
    vault = key.vault(engine) if key else None
    record = vault_keys.find(engine.store, vault, key.name) if key and vault else None
    if key is None or vault is None or record is None or record["versions"][-1]["version"] == key.version:
        return
    base = str(vault.body["properties"]["vaultUri"]).rstrip("/")
    active["keyUrl"] = f"{base}/keys/{record['name']}/{record['versions'][-1]['version']}"
    body["properties"]["lastKeyRotationTimestamp"] = timestamp(time.time())


def follow(engine: Engine, vault: Resource, record: Mapping[str, Any]) -> None:
    """A key has a new version: the sets that follow it take it (Azure: within an hour, the lab: at once).

    After a failure nothing more is tried until the set is written again (type definition: autoKeyRotationError).
    """
    for found in engine.store.find(TYPE) if engine.settings.keys_followed else ():
        properties = found.body["properties"]
        key = ActiveKey.parse(str(properties["activeKey"]["keyUrl"]))
        ours = key is not None and (key.authority, key.name.lower()) == (authority_of(vault), record["name"].lower())
        if not (ours and properties.get("rotationToLatestKeyVersionEnabled")) or "autoKeyRotationError" in properties:
            continue
        try:
            require_usable(engine, found.id, found.body)
        except ArmError as exc:
            properties["autoKeyRotationError"] = {"code": exc.code, "message": exc.message}
        else:
            use_latest(engine, found.body)
        engine.store.save(found)


def _permitted(engine: Engine, vault: Resource, name: str, identity: Mapping[str, Any]) -> bool:
    acting, properties = callers(identity), vault.body["properties"]
    if properties.get("enableRbacAuthorization"):
        scope = vault.id.child("keys", name)
        allowed = engine.authorization.allowed
        return any(
            all(allowed(caller, f"Microsoft.KeyVault/vaults/{action}", scope, data=True) for action in _ACTIONS)
            for caller in acting
        )
    wanted = set(_ACTIONS.values())
    return any(
        str(entry.get("objectId", "")).lower() in caller.ids and ({"all"} & granted or wanted <= granted)
        for caller in acting
        for entry in properties.get("accessPolicies") or []
        for granted in [{str(one).lower() for one in (entry.get("permissions") or {}).get("keys") or []}]
    )


def _refused(message: str) -> ArmError:
    return ArmError(400, "InvalidParameter", message)
