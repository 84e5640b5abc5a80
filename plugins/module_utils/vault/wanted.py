# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a user asks for, checked: each entry of the option C(secrets) becomes one or two secrets of the vault."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.passwords import (
    SAFE_ALPHABET,
    check_alphabet,
    check_key_length,
)

__all__ = ["CONTENT_TYPES", "KINDS", "Wanted", "expand"]

KINDS = ("password", "key", "certificate_authority", "certificate")
CONTENT_TYPES = {
    "password": "text/plain",
    "key": "application/base64",
    "private_key": "application/x-pem-file",
    "certificate": "application/x-pem-file",
}
DEFAULT_LENGTH = 32
DEFAULT_VALIDITY_DAYS = {"certificate_authority": 3650, "certificate": 397}

# Key Vault: "Vaults: secret name" in Microsoft's table of naming rules; names are case-insensitive.
_NAME = re.compile(r"[0-9A-Za-z-]{1,127}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One secret of the vault.

    Attributes:
        name: its name in the vault.
        part: C(password), C(key), C(private_key) or C(certificate).
        authority: a pair that signs other certificates.
        depends_on: names of the secrets its value is made from.
        issuer: for a certificate, name of the authority that signs it; empty when it signs itself.
        length: characters of a password, bytes of a key.
    """

    name: str
    part: str
    authority: bool = False
    depends_on: tuple[str, ...] = ()
    issuer: str = ""
    length: int = DEFAULT_LENGTH
    alphabet: str = SAFE_ALPHABET
    common_name: str = ""
    dns_names: tuple[str, ...] = ()
    validity_days: int = 0
    expires_days: int | None = None
    content_type: str = ""
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def pair(self) -> str:
        """The name that the key and the certificate of a pair have in common."""
        return self.name.removesuffix("-certificate").removesuffix("-key")

    @property
    def trust(self) -> bool:
        """Whether its value is what others trust: a bundle while it is rotated, see rotation."""
        return self.authority and self.part == "certificate"

    def expires_on(self, now: dt.datetime) -> dt.datetime | None:
        """When a value that is written now ends; None where it does not."""
        return None if self.expires_days is None else now + dt.timedelta(days=self.expires_days)

    def document(self) -> dict[str, t.Any]:
        """The plan's view: how the value is made, never the value."""
        document: dict[str, t.Any] = {"name": self.name, "part": self.part, "contentType": self.content_type}
        if self.part in ("password", "key"):
            document["length"] = self.length
        if self.part == "certificate":
            document |= {"commonName": self.common_name, "validityDays": self.validity_days}
            document |= {"dnsNames": list(self.dns_names), "issuer": self.issuer} if self.issuer else {}
        if self.expires_days is not None:
            document["expiresDays"] = self.expires_days
        if self.tags:
            document["tags"] = dict(sorted(self.tags.items()))
        return document


def expand(entries: Sequence[Mapping[str, t.Any]]) -> list[Wanted]:
    """The secrets that the entries ask for, keys before the certificates made from them.

    Raises:
        InputError: a name that Key Vault refuses or that is there twice, an issuer that is not among the entries, a
            certificate without names, a password or key that is too weak.
    """
    authorities = {entry["name"] for entry in entries if entry["kind"] == "certificate_authority"}
    wanted = [secret for entry in entries for secret in _expand_one(entry, authorities)]
    _check_names(secret.name for secret in wanted)
    return wanted


def _expand_one(entry: Mapping[str, t.Any], authorities: set[str]) -> list[Wanted]:
    name, kind = entry["name"], entry["kind"]
    tags = {str(key): str(value) for key, value in (entry.get("tags") or {}).items()}
    common: dict[str, t.Any] = {"tags": tags, "expires_days": entry.get("expires_days")}
    if kind not in KINDS:
        raise InputError(f"the kind {kind!r} is not known", where=name, remedy=f"Choose one of {', '.join(KINDS)}")
    if kind in ("password", "key"):
        length = entry.get("length") or DEFAULT_LENGTH
        alphabet = entry.get("alphabet") or SAFE_ALPHABET
        if kind == "password":
            check_alphabet(alphabet, length, where=name)
        else:
            check_key_length(length, where=name)
        content_type = entry.get("content_type") or CONTENT_TYPES[kind]
        return [
            Wanted(name=name, part=kind, length=length, alphabet=alphabet, content_type=content_type, **common),
        ]
    return _expand_pair(entry, authorities, common)


def _expand_pair(entry: Mapping[str, t.Any], authorities: set[str], common: Mapping[str, t.Any]) -> list[Wanted]:
    name, authority = entry["name"], entry["kind"] == "certificate_authority"
    issuer, dns_names = entry.get("issuer") or "", tuple(entry.get("dns_names") or ())
    if not authority and issuer not in authorities:
        raise InputError(
            f"its issuer {issuer!r} is not a certificate authority of this task",
            where=name,
            remedy="Name an entry of kind certificate_authority as issuer",
        )
    if not authority and not dns_names:
        raise InputError(
            "a certificate needs dns_names", where=name, remedy="Clients ignore the common name: list them"
        )
    validity = entry.get("validity_days") or DEFAULT_VALIDITY_DAYS[entry["kind"]]
    if validity < 1:
        raise InputError(f"a validity of {validity} days makes no sense", where=name, remedy="Give at least one day")
    content_type = entry.get("content_type") or CONTENT_TYPES["certificate"]
    key = Wanted(name=f"{name}-key", part="private_key", authority=authority, content_type=content_type, **common)
    made_from = (key.name,) if authority else (key.name, f"{issuer}-key", f"{issuer}-certificate")
    certificate = Wanted(
        name=f"{name}-certificate",
        part="certificate",
        authority=authority,
        depends_on=made_from,
        issuer=issuer,
        common_name=entry.get("common_name") or (dns_names[0] if dns_names else name),
        dns_names=dns_names,
        validity_days=validity,
        content_type=content_type,
        **common,
    )
    return [key, certificate]


def _check_names(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if not _NAME.fullmatch(name):
            raise InputError(
                "this is no name for a Key Vault secret",
                where=name,
                remedy="Use 1 to 127 letters, digits and hyphens",
            )
        if name.lower() in seen:
            raise InputError("this secret is asked for twice", where=name, remedy="Keep one of the entries")
        seen.add(name.lower())
