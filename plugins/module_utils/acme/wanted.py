# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the user asks for, checked: one certificate for some host names, in one vault, of one authority."""

from __future__ import annotations

import copy
import dataclasses
import re
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.arm.ids import parse
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.lease import lease_argument_spec

__all__ = ["DIRECTORY_TAG", "Request", "Zone", "argument_spec", "request_from", "zone_of"]

DIRECTORY_TAG: t.Final = "acme-directory"
CONTENT_TYPE: t.Final = "application/x-pem-file"
ZONE_TYPE: t.Final = "microsoft.network/dnszones"
# RFC 1123, section 2.1; a wildcard only as the whole first label (RFC 8555, section 7.1.4).
_HOST: t.Final = re.compile(r"(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
# "Vaults: secret name" in Microsoft's table of naming rules, less the longest suffix that is added here.
_NAME: t.Final = re.compile(r"[0-9A-Za-z-]{1,110}")

_OPTIONS: t.Final[dict[str, t.Any]] = {
    "vault_id": {"type": "str", "required": True},
    "name": {"type": "str", "required": True},
    "dns_names": {"type": "list", "elements": "str", "required": True},
    "zone_ids": {"type": "list", "elements": "str", "required": True},
    "directory": {"type": "str", "required": True},
    "contact": {"type": "str"},
    "terms_agreed": {"type": "bool", "default": False},
    "certificate_profile": {"type": "str"},
    "account_key": {"type": "str", "default": "acme-account-key", "no_log": False},
    "renew_before_days": {"type": "int", "default": 30},
    "dns_servers": {"type": "list", "elements": "str", "default": []},
    "dns_timeout": {"type": "int", "default": 120},
    "timeout": {"type": "int", "default": 300},
    "tags": {"type": "dict", "default": {}},
    "expect_plan": {"type": "str"},
    "_progress": {"type": "str"},
}


def argument_spec() -> dict[str, t.Any]:
    """A fresh copy of the module's own options, to be extended by the module."""
    return {**copy.deepcopy(_OPTIONS), **lease_argument_spec()}


@dataclasses.dataclass(frozen=True, slots=True)
class Zone:
    """A public DNS zone, by its ARM id and its name in lower case."""

    id: str
    name: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The certificate that has to be there.

    Attributes:
        vault_id: ARM id of the vault.
        name: beginning of the names of its secrets.
        dns_names: host names, in lower case and sorted.
        zones: public zone of each host name, in which it is proven.
        directory: address of the authority's directory.
        contact: mail address for the authority; may be empty.
        profile: the authority's profile; empty for its default.
        account_key: name of the secret with the key of the account.
        renew_before_days: renew what ends sooner.
        dns_servers: C(address) or C(address:port) of what is asked for the records; the zone's own when empty.
        dns_timeout: seconds until they must show a record.
        timeout: seconds that the authority may take for each of its steps.
        tags: of the secrets.
    """

    vault_id: str
    name: str
    dns_names: tuple[str, ...]
    zones: Mapping[str, Zone]
    directory: str
    contact: str = ""
    profile: str = ""
    account_key: str = "acme-account-key"
    renew_before_days: int = 30
    dns_servers: tuple[str, ...] = ()
    dns_timeout: float = 120.0
    timeout: float = 300.0
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def certificate(self) -> str:
        """Secret with the certificate and those of its authorities."""
        return f"{self.name}-certificate"

    @property
    def key(self) -> str:
        """Secret with the private key."""
        return f"{self.name}-key"

    @property
    def order(self) -> str:
        """Secret that outlives an interrupted run: the order's address and the key that it is for."""
        return f"{self.name}-order"

    @property
    def all_tags(self) -> dict[str, str]:
        """Tags of the certificate, which tell who issued it."""
        return {**self.tags, DIRECTORY_TAG: self.directory}


def request_from(params: Mapping[str, t.Any]) -> Request:
    """Check the module's parameters.

    Raises:
        InputError: naming the option, the value and what to do.
    """
    directory, contact, name = params["directory"], params["contact"] or "", params["name"]
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} cannot begin the name of a secret", where="name", remedy="Use letters, digits and hyphens"
        )
    if not directory.startswith("https://"):
        raise InputError(
            f"{directory!r} is no https address", where="directory", remedy="Name the authority's directory"
        )
    if contact and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", contact):
        raise InputError(f"{contact!r} is no mail address", where="contact", remedy="Give one that people read")
    if not params["terms_agreed"]:
        raise InputError(
            f"the terms of service of {directory} are not agreed to",
            where="terms_agreed",
            remedy="Read them and set it to true; no authority issues without",
        )
    names = tuple(sorted({str(host).lower() for host in params["dns_names"]}))
    if not names:
        raise InputError("it is empty", where="dns_names", remedy="List the host names")
    for option in ("renew_before_days", "dns_timeout", "timeout"):
        if params[option] < 1:
            raise InputError(f"{params[option]} is less than 1", where=option, remedy="Give at least 1")
    zones = [_zone(zone) for zone in params["zone_ids"]]
    return Request(
        vault_id=params["vault_id"].rstrip("/"),
        name=name,
        dns_names=names,
        zones={host: zone_of(host, zones) for host in names},
        directory=directory,
        contact=contact,
        profile=params["certificate_profile"] or "",
        account_key=params["account_key"],
        renew_before_days=params["renew_before_days"],
        dns_servers=tuple(params["dns_servers"]),
        dns_timeout=float(params["dns_timeout"]),
        timeout=float(params["timeout"]),
        tags={str(key): str(value) for key, value in params["tags"].items()},
    )


def zone_of(host: str, zones: Sequence[Zone]) -> Zone:
    """The zone that a host name is in: the one with the longest name.

    Raises:
        InputError: no host name, or none of the zones holds it.
    """
    if not _HOST.fullmatch(host):
        raise InputError(
            f"{host!r} is no full host name",
            where="dns_names",
            remedy="An authority issues for names in public DNS only",
        )
    bare = host.removeprefix("*.")
    fitting = [zone for zone in zones if bare == zone.name or bare.endswith(f".{zone.name}")]
    if not fitting:
        listed = ", ".join(zone.name for zone in zones) or "none"
        raise InputError(
            f"{host} is in none of the zones ({listed})",
            where="dns_names",
            remedy="Add its zone to zone_ids, or leave the name out: it can be proven only there",
        )
    return max(fitting, key=lambda zone: len(zone.name))


def _zone(text: str) -> Zone:
    resource = parse(text)
    if resource.type.lower() != ZONE_TYPE:
        raise InputError(
            f"{text} is no public DNS zone", where="zone_ids", remedy="Give ids of Microsoft.Network/dnsZones"
        )
    return Zone(text.rstrip("/"), resource.name.lower())
