"""Keys of vaults, as both planes see them: ARM makes the first version of one, the data plane everything else.

Sources: https://learn.microsoft.com/azure/key-vault/keys/about-keys-details and
https://learn.microsoft.com/azure/key-vault/keys/how-to-configure-key-rotation
"""

from __future__ import annotations

import base64
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tests.lab.azure.arm_id import ArmId
from tests.lab.azure.store import Resource, Store

KEY = "vault-key"
DELETED = "vault-deleted-key"
KEY_TYPE = "microsoft.keyvault/vaults/keys"
NAME = re.compile(r"[0-9a-zA-Z-]{1,127}")
RSA_SIZES = (2048, 3072, 4096)
OPERATIONS = ("encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey")
# What may still be done with a key outside of nbf and exp, "to allow recovery operations on data".
RECOVERING = ("decrypt", "unwrapKey", "verify")
MIN_EXPIRY_DAYS = 28
MIN_TRIGGER_DAYS = 7
DEFAULT_RETENTION_DAYS = 90
_DAYS = {"Y": 365, "M": 30, "W": 7, "D": 1}
_DURATION = re.compile(r"P(?=\d)(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?")
_CURVES: Mapping[str, type[ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1,
    "P-384": ec.SECP384R1,
    "P-521": ec.SECP521R1,
    "P-256K": ec.SECP256K1,
}


class KeyRefused(Exception):
    """What a vault does not take: `code` is the data plane's, ARM says the message in its own shape."""

    def __init__(self, message: str, *, status: int = 400, code: str = "BadParameter", inner: str = "") -> None:
        super().__init__(message)
        self.message, self.status, self.code, self.inner = message, status, code, inner


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A version to make."""

    kty: str
    size: int | None = None
    curve: str | None = None
    operations: Sequence[str] | None = None
    attributes: Mapping[str, Any] | None = None
    tags: Mapping[str, str] | None = None


def key_of(vault: Resource, name: str) -> str:
    """The key under which a vault's key is recorded."""
    return f"{vault.key}|{name.lower()}"


def find(store: Store, vault: Resource, name: str) -> dict[str, Any] | None:
    """A living key with all its versions."""
    return store.record(KEY, key_of(vault, name))


def make_version(
    store: Store, vault: Resource, name: str, wanted: Wanted, policy: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Make a key, or another version of it; the key is then a resource in ARM too."""
    if not NAME.fullmatch(name):
        raise KeyRefused(f"The request URI contains an invalid name: {name}")
    if store.record(DELETED, key_of(vault, name)) is not None:
        raise KeyRefused(
            f"Key {name} is currently in a deleted but recoverable state, and its name cannot be reused; in this "
            "state, the key can only be recovered or purged.",
            status=409,
            code="Conflict",
            inner="ObjectIsDeletedButRecoverable",
        )
    record = find(store, vault, name) or {"name": name, "versions": []}
    record["versions"].append(_version(vault, wanted))
    if policy is not None:
        record["policy"] = policy
    save(store, vault, record)
    return record


def save(store: Store, vault: Resource, record: dict[str, Any]) -> None:
    """Keep a key, and show it with its versions in ARM."""
    store.put_record(KEY, key_of(vault, record["name"]), record)
    arm_id = vault.id.child("keys", record["name"])
    for shown in (arm_id, *(arm_id.child("versions", one["version"]) for one in record["versions"])):
        if not store.exists(shown):
            store.save(Resource(id=shown, body={"properties": {}}))


def hide(store: Store, vault: Resource, record: Mapping[str, Any]) -> None:
    """A deleted key is no resource any more; role assignments at it stay behind, as in Azure."""
    arm_id = vault.id.child("keys", record["name"])
    for shown in (arm_id, *(arm_id.child("versions", one["version"]) for one in record["versions"])):
        store.delete(shown)


def rotate(store: Store, vault: Resource, record: dict[str, Any]) -> dict[str, Any]:
    """A new version of the same kind; the rotation policy says when it expires."""
    last = record["versions"][-1]
    wanted = Wanted(
        kty=last["kty"],
        size=last.get("size"),
        curve=last.get("curve"),
        operations=last["operations"],
        tags=last.get("tags"),
    )
    made = _version(vault, wanted)
    expiry = (record.get("policy") or {}).get("expiryTime")
    if expiry:
        made["exp"] = made["created"] + days(expiry) * 86_400
    record["versions"].append(made)
    save(store, vault, record)
    return made


def forget(store: Store, vault: ArmId) -> None:
    """Remove all keys of a purged vault."""
    for kind in (KEY, DELETED):
        for key, _ in store.records(kind, f"{vault.key}|"):
            store.delete_record(kind, key)


def show_again(store: Store, vault: Resource) -> None:
    """A recovered vault has its keys back."""
    for _, record in store.records(KEY, f"{vault.key}|"):
        save(store, vault, record)


def _version(vault: Resource, wanted: Wanted) -> dict[str, Any]:
    kinds = ("RSA", "RSA-HSM", "EC", "EC-HSM")
    kty = next((kind for kind in kinds if kind.lower() == wanted.kty.lower()), None)
    if kty is None:
        raise KeyRefused(f"Property kty has an invalid value: {wanted.kty}. A vault takes {', '.join(kinds)}.")
    if kty.endswith("-HSM") and str(vault.body["properties"]["sku"]["name"]).lower() != "premium":
        raise KeyRefused("HSM keys are only supported in vaults of the premium SKU.")
    unknown = set(wanted.operations or ()) - {*OPERATIONS, "import", "release"}
    if unknown:
        raise KeyRefused(f"Property key_ops has an invalid value: {sorted(unknown)[0]}")
    now = int(time.time())
    made: dict[str, Any] = {"version": uuid.uuid4().hex, "kty": kty, "created": now, "updated": now, "enabled": True}
    if kty.startswith("RSA"):
        size = wanted.size or RSA_SIZES[0]
        if size not in RSA_SIZES:
            raise KeyRefused(f"Property key_size has an invalid value: {size}. RSA keys have 2048, 3072 or 4096 bits.")
        private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = rsa.generate_private_key(65537, size)
        made |= {"size": size, "operations": list(wanted.operations or OPERATIONS)}
    else:
        curve = wanted.curve or "P-256"
        if curve not in _CURVES:
            raise KeyRefused(f"Property crv has an invalid value: {curve}")
        private = ec.generate_private_key(_CURVES[curve]())
        made |= {"curve": curve, "operations": list(wanted.operations or ("sign", "verify"))}
    if wanted.tags:
        made["tags"] = dict(wanted.tags)
    made["pem"] = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    set_attributes(made, wanted.attributes or {})
    return made


def set_attributes(version: dict[str, Any], attributes: Mapping[str, Any]) -> None:
    """Take enabled, nbf and exp."""
    if attributes.get("enabled") is not None:
        version["enabled"] = bool(attributes["enabled"])
    for name in ("nbf", "exp"):
        if attributes.get(name) is not None:
            version[name] = int(attributes[name])


def attributes(vault: Resource, version: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as both planes show them (recorded with 7 days of retention: CustomizedRecoverable)."""
    level = "CustomizedRecoverable" if retention(vault) < DEFAULT_RETENTION_DAYS else "Recoverable"
    if not vault.body["properties"].get("enablePurgeProtection"):
        level += "+Purgeable"
    shown = {name: version[name] for name in ("enabled", "nbf", "exp", "created", "updated") if name in version}
    return shown | {"recoveryLevel": level}


def retention(vault: Resource) -> int:
    """Days for which a deleted key can be recovered."""
    return int(vault.body["properties"].get("softDeleteRetentionInDays") or DEFAULT_RETENTION_DAYS)


def public(version: Mapping[str, Any]) -> dict[str, str]:
    """The public half as a JSON web key has it."""
    numbers = _private(version).public_key().public_numbers()
    if isinstance(numbers, rsa.RSAPublicNumbers):
        return {"n": _number(numbers.n), "e": _number(numbers.e)}
    width = (numbers.curve.key_size + 7) // 8
    return {"crv": version["curve"], "x": _number(numbers.x, width), "y": _number(numbers.y, width)}


# --- cryptography


def allow(version: Mapping[str, Any], operation: str) -> None:
    """Refuse what the key's state or its operations do not permit."""
    if not version["enabled"]:
        raise KeyRefused(
            f"Operation {operation} is not allowed on a disabled key.",
            status=403,
            code="Forbidden",
            inner="KeyDisabled",
        )
    now = time.time()
    outside = now < version.get("nbf", 0) or now >= version.get("exp", now + 1)
    if outside and operation not in RECOVERING:
        raise KeyRefused(
            f"Operation {operation} is not allowed outside of the key's validity period.",
            status=403,
            code="Forbidden",
            inner="KeyNotYetValid" if now < version.get("nbf", 0) else "KeyExpired",
        )
    if operation not in version["operations"]:
        raise KeyRefused(
            f"Operation {operation} is not permitted on this key.",
            status=403,
            code="Forbidden",
            inner="KeyOperationForbidden",
        )


def transform(version: Mapping[str, Any], operation: str, algorithm: str, value: bytes) -> bytes:
    """encrypt, decrypt, wrapKey or unwrapKey with the real key."""
    schemes: dict[str, padding.AsymmetricPadding] = {
        "RSA1_5": padding.PKCS1v15(),
        "RSA-OAEP": _oaep(hashes.SHA1()),  # noqa: S303 - what the algorithm's name means
        "RSA-OAEP-256": _oaep(hashes.SHA256()),
    }
    private = _private(version)
    if algorithm not in schemes or not isinstance(private, rsa.RSAPrivateKey):
        raise KeyRefused(f"The algorithm {algorithm} is not supported by a key of type {version['kty']}.")
    try:
        if operation in ("encrypt", "wrapKey"):
            return private.public_key().encrypt(value, schemes[algorithm])
        return private.decrypt(value, schemes[algorithm])
    except ValueError as exc:
        raise KeyRefused("The parameter is incorrect.") from exc


def _oaep(algorithm: hashes.HashAlgorithm) -> padding.OAEP:
    return padding.OAEP(padding.MGF1(algorithm), algorithm, None)


def _private(version: Mapping[str, Any]) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    loaded = serialization.load_pem_private_key(version["pem"].encode(), None)
    assert isinstance(loaded, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    return loaded


def _number(value: int, width: int = 0) -> str:
    return encode(value.to_bytes(width or (value.bit_length() + 7) // 8, "big"))


def encode(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """The bytes of base64url without padding."""
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as exc:
        raise KeyRefused("Property value is not base64url.") from exc


# --- rotation policy: {"expiryTime": text or None, "actions": [{"type", "timeAfterCreate" | "timeBeforeExpiry"}]}


def policy_of(asked: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A policy as it is kept, from what either plane sends; refuses what the service refuses."""
    expiry = (asked.get("attributes") or {}).get("expiryTime") or None
    actions = []
    for entry in asked.get("lifetimeActions") or []:
        kind = str((entry.get("action") or {}).get("type", "")).lower()
        trigger = {name: text for name, text in (entry.get("trigger") or {}).items() if text}
        if kind not in ("rotate", "notify"):
            raise KeyRefused(f"The action of a rotation policy is Rotate or Notify, not '{kind}'.")
        if len(trigger) != 1 or not trigger.keys() <= {"timeAfterCreate", "timeBeforeExpiry"}:
            raise KeyRefused(f"The action {kind} needs either timeAfterCreate or timeBeforeExpiry.")
        if kind == "notify" and "timeAfterCreate" in trigger:
            raise KeyRefused("The trigger timeAfterCreate only applies to rotate.")
        if any(days(text) < MIN_TRIGGER_DAYS for text in trigger.values()):
            raise KeyRefused(f"The trigger of the action {kind} must be at least {MIN_TRIGGER_DAYS} days.")
        if kind == "rotate" and "timeBeforeExpiry" in trigger and expiry is None:
            raise KeyRefused("To rotate before expiry the policy needs an expiryTime.")
        actions.append({"type": kind, **trigger})
    if len({action["type"] for action in actions}) != len(actions):
        raise KeyRefused("A rotation policy has at most one action of each type.")
    if expiry is not None and days(expiry) < MIN_EXPIRY_DAYS:
        raise KeyRefused(f"The expiryTime of a rotation policy must be at least {MIN_EXPIRY_DAYS} days.")
    now = int(time.time())
    return {"expiryTime": expiry, "actions": actions, "created": (before or {}).get("created", now), "updated": now}


def days(text: str) -> int:
    """Length of an ISO 8601 duration in whole days."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise KeyRefused(f"'{text}' is not an ISO 8601 duration of days, months or years.")
    return sum(int(number) * unit for number, unit in zip(match.groups("0"), _DAYS.values(), strict=True))
