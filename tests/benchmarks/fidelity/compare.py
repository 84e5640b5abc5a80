# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""Comparing two answers of ARM place by place.

A *place* is one leaf of the JSON body: a scalar, or an empty list or object. Its path names list items by their
``name`` when they have one, by position otherwise, so that one missing item does not make all that follow look
different. Nothing is ignored: a value no server could repeat (a GUID, an etag, a timestamp, an allocated address)
is a place like any other, compared by its *shape* instead of its text, and counted apart so that the reader can
take those places away again.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

Leaves = dict[str, Any]

GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
HEX_ID = re.compile(r"[0-9a-f]{24}")
ETAG_KEY = re.compile(r"(^|\.)e[tT]ag$")
CALLER_PATH = re.compile(r"^systemData\.(created|lastModified)By(Type)?$")
#: What the service made up, or chose on the day of the recording, with the places where it does so. The expression
#: matches the generated part only; what surrounds it has to be equal.
GENERATED = (
    (
        "cluster host",
        re.compile(r"(^|\.)properties\.(azurePortalFQDN|fqdn|privateFQDN)$"),
        re.compile(r"-[0-9a-z]{8}(?=\.)"),
    ),
    ("name server", re.compile(r"(^|\.)properties\.nameServers\["), re.compile(r"(?<=-)\d{2}(?=\.azure-dns)")),
    ("endpoint zone", re.compile(r"Endpoints\."), re.compile(r"(?<=\.)z\d+(?=\.web\.)")),
    (
        "version",
        re.compile(r"\.(current)?(orchestrator|kubernetes)version$", re.IGNORECASE),
        re.compile(r"\d+\.\d+(\.\d+)?"),
    ),
    ("node image", re.compile(r"\.nodeImageVersion$"), re.compile(r"-\d{6}\.\d{1,2}\.\d+")),
    ("key version", re.compile(r"[vV]ersionedKeyIdentifier$"), re.compile(r"[0-9a-f]{32}")),
    ("opaque id", re.compile(r"\.internalId$"), re.compile(r"[A-Za-z0-9+/=]{16,}")),
    ("container etag", re.compile(r"^etag$"), re.compile(r"0x[0-9A-F]{15}")),
)
#: What the recordings put in place of the ids of principals and applications.
ANONYMISED = re.compile(r"0{8}-0{4}-0{4}-0{4}-0{11}\d")
CHOSEN = re.compile(r"\.((orchestrator|kubernetes)Version|networkPlugin(Mode)?)$")
#: Hosts of the public cloud that the simulator serves under an address of its own.
LAB_HOST = re.compile(r"(^|\.)properties\.(vaultUri|issuerURL|oidcIssuerProfile\.issuerURL)$")


class Verdict(StrEnum):
    """What became of one place."""

    EQUAL = "equal"
    DIFFERENT = "different"
    MISSING = "missing"
    EXTRA = "extra"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One compared place of one exchange."""

    path: str
    verdict: Verdict
    recorded: Any = None
    answered: Any = None
    shape: str = ""
    """The class of values compared by shape, empty when compared by value."""
    asked: bool = False
    """The request named this very value at this place: an echo would do."""

    @property
    def pattern(self) -> str:
        """The path with list positions and item names left out."""
        return re.sub(r"\[[^\]]*\]", "[]", self.path)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every place of a JSON value as ``(path, leaf)``."""
    if isinstance(value, Mapping) and value:
        for key, member in value.items():
            yield from leaves(member, f"{path}.{key}" if path else str(key))
    elif isinstance(value, Sequence) and not isinstance(value, str) and value:
        for position, item in enumerate(value):
            label = item["name"] if isinstance(item, Mapping) and isinstance(item.get("name"), str) else position
            yield from leaves(item, f"{path}[{label}]")
    else:
        yield path, value


def compare(*, requested: Any, recorded: Any, answered: Any) -> list[Place]:
    """Compare a recorded answer with the simulator's.

    ``requested`` is the body both were given: a volatile value that the client itself sent has to come back as sent.
    """
    asked, expected, got = dict(leaves(requested)), dict(leaves(recorded)), dict(leaves(answered)) if answered else {}
    return [_place(path, asked, expected, got) for path in expected | got]


def _place(path: str, asked: Leaves, expected: Leaves, got: Leaves) -> Place:
    if path not in got:
        verdict, shape = Verdict.MISSING, ""
    elif path not in expected:
        verdict, shape = Verdict.EXTRA, ""
    else:
        same, shape = _same(path, expected[path], got[path], asked)
        verdict = Verdict.EQUAL if same else Verdict.DIFFERENT
    return Place(
        path=path,
        verdict=verdict,
        recorded=expected.get(path),
        answered=got.get(path),
        shape=shape,
        asked=path in asked and path in expected and _identical(asked[path], expected[path]),
    )


def _same(path: str, expected: Any, got: Any, asked: Leaves) -> tuple[bool, str]:
    if _identical(expected, got):
        # The replay tells the simulator what the service chose that day: no proof of anything.
        return True, "chosen that day" if CHOSEN.search(path) and path not in asked else ""
    if LAB_HOST.search(path) and _url(expected) and _url(got):
        return True, "host of the service"
    if ANONYMISED.fullmatch(str(expected)) and isinstance(got, str) and got:
        return True, "anonymised"
    if path in asked and _identical(asked[path], expected):
        return False, ""
    for name, shape in _shapes(path):
        left, right = shape(expected), shape(got)
        if left is not None and left == right:
            return True, name
    return False, ""


def _identical(left: Any, right: Any) -> bool:
    """Equality that keeps booleans and numbers apart, and treats 1 and 1.0 as JSON does."""
    return isinstance(left, bool) == isinstance(right, bool) and left == right


def _shapes(path: str) -> Iterator[tuple[str, Any]]:
    if ETAG_KEY.search(path):
        yield "etag", _blank(GUID)
    if CALLER_PATH.match(path):
        yield "caller", lambda value: "caller" if isinstance(value, str) and value else None
    for name, where, generated in GENERATED:
        if where.search(path):
            yield name, _blank(generated)
    yield "guid", _blank(GUID)
    yield "timestamp", _timestamp
    yield "hex id", _blank(HEX_ID)
    yield "allocated address", _address


def _blank(generated: re.Pattern[str]) -> Any:
    def shape(value: Any) -> str | None:
        if not isinstance(value, str):
            return None
        blanked, found = generated.subn("*", value)
        return GUID.sub("*", blanked) if found else None

    return shape


def _url(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("https://") and value.endswith("/")


def _timestamp(value: Any) -> str | None:
    if not isinstance(value, str) or not re.search(r"\d:\d\d", value):
        return None
    try:
        datetime.fromisoformat(value)
    except ValueError:
        try:
            parsedate_to_datetime(value)
        except ValueError:
            return None
        return "http date"
    return "timestamp"


def _address(value: Any) -> str | None:
    if not isinstance(value, str):
        return None  # the library takes numbers for addresses
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return None
    return f"ipv{address.version} {'private' if address in PRIVATE else 'public'}"


PRIVATE = ipaddress.ip_network("10.0.0.0/8")
