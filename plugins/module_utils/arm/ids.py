# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ARM resource ids: take them apart, hold them against each other."""

from __future__ import annotations

import dataclasses
import functools
import re

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError

__all__ = ["REGISTRATION", "RESOURCE_GROUP", "SUBSCRIPTION", "ResourceId", "key_of", "looks_like_id", "parse"]

SUBSCRIPTION = "Microsoft.Resources/subscriptions"
RESOURCE_GROUP = "Microsoft.Resources/resourceGroups"
REGISTRATION = "Microsoft.Resources/providers"

_SEGMENT = re.compile(r"[^/\s?#&%\\<>*:\"|]+")
_NAMESPACE = re.compile(r"[A-Za-z][A-Za-z0-9]*(\.[A-Za-z][A-Za-z0-9]*)+")


@dataclasses.dataclass(frozen=True, slots=True)
class ResourceId:
    """One parsed id.

    Attributes:
        text: the id as it was written, without a trailing slash.
        type: C(Microsoft.Network/virtualNetworks/subnets), in the writer's casing.
        name: the last name, C(nodes).
        parent: id of what must exist before it, or an empty string: the resource a child or an extension sits on,
            else the resource group; a resource group and a registration have none.
        subscription: id of the subscription, C(/subscriptions/S), or an empty string.
        extension_of: the scope of an extension resource (a lock, a role assignment), else an empty string.
    """

    text: str
    type: str
    name: str
    parent: str
    subscription: str
    extension_of: str = ""

    @property
    def key(self) -> str:
        """The id by which resources are told apart: ARM ids do not depend on letter case."""
        return self.text.lower()

    @property
    def short(self) -> str:
        """The names of the resource and of those it lies in, C(vnet-demo/nodes)."""
        if self.type in (RESOURCE_GROUP, REGISTRATION, SUBSCRIPTION):
            return self.name
        depth = self.type.count("/")
        return "/".join(self.text.split("/")[-2 * depth :][1::2])

    @property
    def provider(self) -> str:
        """The provider namespace, C(Microsoft.Network)."""
        return self.name if self.type == REGISTRATION else self.type.partition("/")[0]


def key_of(text: str) -> str:
    """The text by which two ids are told apart."""
    return text.rstrip("/").lower()


def looks_like_id(value: object) -> bool:
    """Whether a value is text that reads like an ARM id."""
    return (
        isinstance(value, str)
        and len(value) > len("/providers/")
        and value[:15].lower().startswith(("/subscriptions/", "/providers/"))
    )


@functools.lru_cache(maxsize=16384)
def parse(text: str) -> ResourceId:
    """Take an id apart.

    Source of the grammar: "Resource ID" in the Azure Resource Manager overview of learn.microsoft.com.

    Raises:
        InputError: the text is not an ARM id.
    """
    if not isinstance(text, str) or not text.startswith("/"):
        raise _malformed(text, "it does not start with a slash")
    parts = text.rstrip("/").split("/")[1:]
    if not all(map(_SEGMENT.fullmatch, parts)):
        raise _malformed(text, "it holds an empty segment or a character that ids cannot hold")
    return _within(text.rstrip("/"), parts)


def _within(text: str, parts: list[str]) -> ResourceId:
    lowered = [part.lower() for part in parts]
    subscription = "/" + "/".join(parts[:2]) if lowered[0] == "subscriptions" and len(parts) > 1 else ""
    last_provider = _rindex(lowered, "providers")
    if last_provider < 0:
        return _container(text, parts, lowered, subscription)
    scope = "/" + "/".join(parts[:last_provider]) if last_provider else ""
    rest = parts[last_provider + 1 :]
    if not rest or not _NAMESPACE.fullmatch(rest[0]):
        raise _malformed(text, "no provider namespace such as Microsoft.Network follows /providers/")
    if len(rest) == 1:
        if scope != subscription or not subscription:
            raise _malformed(text, "no type and name follow the provider namespace")
        return ResourceId(text, REGISTRATION, rest[0], "", subscription)
    if len(rest) % 2 == 0:
        raise _malformed(text, "after the provider namespace, types and names must come in pairs")
    type_name = "/".join([rest[0], *rest[1::2]])
    nested = len(rest) > len(("namespace", "type", "name"))
    outer = "" if scope == subscription else scope
    parent = text.rsplit("/", 2)[0] if nested else outer
    extension = scope if _rindex(lowered[:last_provider], "providers") >= 0 else ""
    return ResourceId(text, type_name, rest[-1], parent, subscription, extension)


def _container(text: str, parts: list[str], lowered: list[str], subscription: str) -> ResourceId:
    match lowered:
        case ["subscriptions", _]:
            return ResourceId(text, SUBSCRIPTION, parts[1], "", subscription)
        case ["subscriptions", _, "resourcegroups", _]:
            return ResourceId(text, RESOURCE_GROUP, parts[3], "", subscription)
    raise _malformed(text, "it names neither a resource group nor a provider")


def _rindex(parts: list[str], wanted: str) -> int:
    # A name may read "providers" too: only every other segment can be the keyword.
    return next((i for i in range(len(parts) - 1, -1, -1) if parts[i] == wanted and _keyword_place(parts, i)), -1)


def _keyword_place(parts: list[str], index: int) -> bool:
    # Before /providers/ come pairs; after it comes namespace + pairs. Walk from the left to know which place this is.
    position = 0
    while position < index:
        if parts[position] == "providers":
            position += 2
            while position < index and parts[position] != "providers":
                position += 2
        else:
            position += 2
    return position == index


def _malformed(text: object, why: str) -> InputError:
    return InputError(
        f"{text!r} is not an ARM id: {why}",
        remedy="Write it as /subscriptions/S/resourceGroups/G/providers/Namespace/type/name",
    )
