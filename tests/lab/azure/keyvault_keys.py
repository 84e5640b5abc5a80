"""Key Vault's data plane for keys: create, read, wrap and unwrap, rotate, rotation policy, soft delete.

Operations: https://learn.microsoft.com/rest/api/keyvault/keys/operation-groups . Data actions of the roles:
https://learn.microsoft.com/azure/role-based-access-control/permissions/security#microsoftkeyvault
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tests.lab.azure import vault_keys
from tests.lab.azure.behaviours import disk_encryption_sets
from tests.lab.azure.vault_keys import DELETED, KEY, KeyRefused, Wanted

if TYPE_CHECKING:
    from tests.lab.azure.engine import Engine
    from tests.lab.azure.keyvault import Call

Answer = tuple[int, Any]
Permit = Callable[..., None]
# Path of an operation to its name in key_ops and its data action.
OPERATIONS = {
    "encrypt": ("encrypt", "encrypt/action"),
    "decrypt": ("decrypt", "decrypt/action"),
    "wrapkey": ("wrapKey", "wrap/action"),
    "unwrapkey": ("unwrapKey", "unwrap/action"),
}
# What a key without a policy is said to have.
UNSET: dict[str, Any] = {"expiryTime": None, "actions": [{"type": "notify", "timeBeforeExpiry": "P30D"}]}


class Keys:
    """Keys of all vaults. `permit(call, data action, kind, name, policy)` refuses who may not."""

    def __init__(self, engine: Engine, permit: Permit, page: Callable[[Call, list[dict[str, Any]]], Answer]) -> None:
        self._engine, self._store, self._permit, self._page = engine, engine.store, permit, page
        self.routes: dict[tuple[str, ...], Callable[..., Answer]] = {
            ("GET", "keys"): self._list,
            ("POST", "keys", "*", "create"): self._create,
            ("POST", "keys", "*", "rotate"): self._rotate,
            ("GET", "keys", "*", "rotationpolicy"): self._policy,
            ("PUT", "keys", "*", "rotationpolicy"): self._set_policy,
            ("GET", "keys", "*", "versions"): self._versions,
            ("GET", "keys", "*"): self._get,
            ("GET", "keys", "*", "*"): self._get,
            ("PATCH", "keys", "*"): self._update,
            ("PATCH", "keys", "*", "*"): self._update,
            ("DELETE", "keys", "*"): self._delete,
            **{("POST", "keys", "*", path): self._transform for path in OPERATIONS},
            **{("POST", "keys", "*", "*", path): self._transform for path in OPERATIONS},
            ("GET", "deletedkeys"): self._list_deleted,
            ("GET", "deletedkeys", "*"): self._get_deleted,
            ("DELETE", "deletedkeys", "*"): self._purge,
            ("POST", "deletedkeys", "*", "recover"): self._recover,
        }

    def _allow(self, call: Call, operation: str, name: str = "", *, policy: str, kind: str = "keys") -> None:
        self._permit(call, f"{kind}/{operation}", kind="keys", name=name, policy=policy)

    def _load(self, call: Call, name: str, version: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
        record = vault_keys.find(self._store, call.vault, name)
        versions = record["versions"] if record else []
        found = next((one for one in reversed(versions) if version.lower() in ("", one["version"])), None)
        if record is None or found is None:
            raise KeyRefused(
                f"A key with (name/id) {name}{f'/{version}' if version else ''} was not found in this key vault. If "
                "you recently deleted this key you may be able to recover it using the correct recovery command. For "
                "help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182",
                status=404,
                code="KeyNotFound",
            )
        return record, found

    def _create(self, call: Call, name: str) -> Answer:
        self._allow(call, "create/action", name, policy="create")
        if not call.body.get("kty"):
            raise KeyRefused("Property kty is required.")
        wanted = Wanted(
            kty=str(call.body["kty"]),
            size=call.body.get("key_size"),
            curve=call.body.get("crv"),
            operations=call.body.get("key_ops"),
            attributes=call.body.get("attributes"),
            tags=call.body.get("tags"),
        )
        record = vault_keys.make_version(self._store, call.vault, name, wanted)
        disk_encryption_sets.follow(self._engine, call.vault, record)
        return 200, self._bundle(call, record, record["versions"][-1])

    def _rotate(self, call: Call, name: str) -> Answer:
        self._allow(call, "rotate/action", name, policy="rotate")
        record, _ = self._load(call, name)
        made = vault_keys.rotate(self._store, call.vault, record)
        disk_encryption_sets.follow(self._engine, call.vault, record)
        return 200, self._bundle(call, record, made)

    def _get(self, call: Call, name: str, version: str = "") -> Answer:
        self._allow(call, "read", name, policy="get")
        record, found = self._load(call, name, version)
        return 200, self._bundle(call, record, found)

    def _versions(self, call: Call, name: str) -> Answer:
        self._allow(call, "read", name, policy="list")
        record, _ = self._load(call, name)
        return self._page(call, [self._item(call, record, found, versioned=True) for found in record["versions"]])

    def _list(self, call: Call) -> Answer:
        self._allow(call, "read", policy="list")
        rows = [raw for _, raw in self._store.records(KEY, f"{call.vault.key}|")]
        return self._page(call, [self._item(call, row, row["versions"][-1]) for row in rows])

    def _update(self, call: Call, name: str, version: str = "") -> Answer:
        self._allow(call, "update/action", name, policy="update")
        record, found = self._load(call, name, version)
        vault_keys.set_attributes(found, call.body.get("attributes") or {})
        if call.body.get("key_ops") is not None:
            found["operations"] = list(call.body["key_ops"])
        if call.body.get("tags") is not None:
            found["tags"] = dict(call.body["tags"])
        found["updated"] = int(time.time())
        vault_keys.save(self._store, call.vault, record)
        return 200, self._bundle(call, record, found)

    def _transform(self, call: Call, name: str, version: str = "") -> Answer:
        operation, action = OPERATIONS[call.parts[-1]]
        self._allow(call, action, name, policy=operation)
        record, found = self._load(call, name, version)
        vault_keys.allow(found, operation)
        value = vault_keys.decode(str(call.body.get("value", "")))
        done = vault_keys.transform(found, operation, str(call.body.get("alg", "")), value)
        return 200, {"kid": self._kid(call, record, found), "value": vault_keys.encode(done)}

    # --- rotation policy

    def _policy(self, call: Call, name: str) -> Answer:
        self._allow(call, "read", name, policy="getrotationpolicy", kind="keyrotationpolicies")
        record, _ = self._load(call, name)
        return 200, self._shown_policy(call, record)

    def _set_policy(self, call: Call, name: str) -> Answer:
        self._allow(call, "write", name, policy="setrotationpolicy", kind="keyrotationpolicies")
        record, _ = self._load(call, name)
        record["policy"] = vault_keys.policy_of(call.body, record.get("policy"))
        vault_keys.save(self._store, call.vault, record)
        return 200, self._shown_policy(call, record)

    def _shown_policy(self, call: Call, record: Mapping[str, Any]) -> dict[str, Any]:
        policy: dict[str, Any] = record.get("policy") or UNSET
        actions = [
            {
                "trigger": {name: text for name, text in action.items() if name != "type"},
                "action": {"type": action["type"].capitalize()},
            }
            for action in policy["actions"]
        ]
        times = {name: policy[name] for name in ("created", "updated") if name in policy}
        return {
            "id": f"{call.base}/keys/{record['name']}/rotationpolicy",
            "lifetimeActions": actions,
            "attributes": {"expiryTime": policy["expiryTime"], **times},
        }

    # --- soft delete

    def _delete(self, call: Call, name: str) -> Answer:
        self._allow(call, "delete", name, policy="delete")
        record, _ = self._load(call, name)
        now = int(time.time())
        record |= {"deleted": now, "purge": now + vault_keys.retention(call.vault) * 86_400}
        self._store.delete_record(KEY, vault_keys.key_of(call.vault, name))
        self._store.put_record(DELETED, vault_keys.key_of(call.vault, name), record)
        vault_keys.hide(self._store, call.vault, record)
        return 200, self._deleted_bundle(call, record)

    def _load_deleted(self, call: Call, name: str) -> dict[str, Any]:
        found = self._store.record(DELETED, vault_keys.key_of(call.vault, name))
        if found is None:
            raise KeyRefused(f"Deleted Key not found: {name}", status=404, code="KeyNotFound")
        return found

    def _get_deleted(self, call: Call, name: str) -> Answer:
        self._allow(call, "read", name, policy="get")
        return 200, self._deleted_bundle(call, self._load_deleted(call, name))

    def _list_deleted(self, call: Call) -> Answer:
        self._allow(call, "read", policy="list")
        rows = [raw for _, raw in self._store.records(DELETED, f"{call.vault.key}|")]
        items = [self._item(call, row, row["versions"][-1]) | self._deletion(call, row) for row in rows]
        return self._page(call, items)

    def _purge(self, call: Call, name: str) -> Answer:
        self._allow(call, "purge/action", name, policy="purge")
        self._load_deleted(call, name)
        if call.vault.body["properties"].get("enablePurgeProtection"):
            raise KeyRefused(
                'Operation "purge" is not allowed because purge protection is enabled for this vault. Key Vault '
                "service will automatically purge it after the retention period has passed.\r\n"
                f"Vault: {call.vault.id.name}",
                status=403,
                code="Forbidden",
                inner="ForbiddenByPolicy",
            )
        self._store.delete_record(DELETED, vault_keys.key_of(call.vault, name))
        return 204, None

    def _recover(self, call: Call, name: str) -> Answer:
        self._allow(call, "recover/action", name, policy="recover")
        record = self._load_deleted(call, name)
        for field in ("deleted", "purge"):
            record.pop(field, None)
        self._store.delete_record(DELETED, vault_keys.key_of(call.vault, name))
        vault_keys.save(self._store, call.vault, record)
        return 200, self._bundle(call, record, record["versions"][-1])

    # --- shapes

    def _kid(self, call: Call, record: Mapping[str, Any], found: Mapping[str, Any]) -> str:
        return f"{call.base}/keys/{record['name']}/{found['version']}"

    def _attributes(self, call: Call, found: Mapping[str, Any]) -> dict[str, Any]:
        return vault_keys.attributes(call.vault, found) | {"recoverableDays": vault_keys.retention(call.vault)}

    def _item(
        self, call: Call, record: Mapping[str, Any], found: Mapping[str, Any], *, versioned: bool = False
    ) -> dict[str, Any]:
        kid = self._kid(call, record, found) if versioned else f"{call.base}/keys/{record['name']}"
        tags = {"tags": found["tags"]} if found.get("tags") else {}
        return {"kid": kid, "attributes": self._attributes(call, found), **tags}

    def _bundle(self, call: Call, record: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
        key = {"kid": self._kid(call, record, found), "kty": found["kty"], "key_ops": found["operations"]}
        tags = {"tags": found["tags"]} if found.get("tags") else {}
        return {"key": key | vault_keys.public(found), "attributes": self._attributes(call, found), **tags}

    def _deletion(self, call: Call, record: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "recoveryId": f"{call.base}/deletedkeys/{record['name']}",
            "deletedDate": record["deleted"],
            "scheduledPurgeDate": record["purge"],
        }

    def _deleted_bundle(self, call: Call, record: Mapping[str, Any]) -> dict[str, Any]:
        return self._deletion(call, record) | self._bundle(call, record, record["versions"][-1])
