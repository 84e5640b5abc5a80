"""ARM resource ids, taken apart."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

RESOURCE_GROUP_TYPE = "microsoft.resources/resourcegroups"
SUBSCRIPTION_TYPE = "microsoft.resources/subscriptions"
TENANT_TYPE = "microsoft.resources/tenants"
ARM_ROOTS = frozenset({"subscriptions", "providers", "tenants"})
PROVIDER_TYPE = "microsoft.resources/providers"


@dataclass(frozen=True)
class ArmId:
    """A scope or resource. `segments` is the path without its first slash, spelled as given."""

    segments: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> ArmId:
        """Take any path that starts with a slash; whether it means something is for `is_resource` and `type`."""
        return cls(tuple(part for part in text.strip().split("/") if part))

    @cached_property
    def text(self) -> str:
        """The id, spelled as given."""
        return "/" + "/".join(self.segments)

    @cached_property
    def key(self) -> str:
        """The id in lower case: two ids mean the same resource when their keys are equal."""
        return self.text.lower()

    def __str__(self) -> str:
        return self.text

    @cached_property
    def _last_provider(self) -> int | None:
        for index in range(len(self.segments) - 1, -1, -1):
            # Only an even place can hold the word as a keyword; elsewhere it is somebody's name.
            if self.segments[index].lower() == "providers" and index % 2 == 0:
                return index
        return None

    @cached_property
    def subscription(self) -> str:
        """The subscription's GUID, empty above subscriptions."""
        named = self.segments[:1] and self.segments[0].lower() == "subscriptions"
        return self.segments[1] if named and len(self.segments) > 1 else ""

    @cached_property
    def resource_group(self) -> str:
        """The resource group's name, empty outside of one."""
        if len(self.segments) > 3 and self.segments[2].lower() == "resourcegroups":
            return self.segments[3]
        return ""

    @cached_property
    def namespace(self) -> str:
        """Provider namespace of the last provider, empty for plain scopes."""
        index = self._last_provider
        return self.segments[index + 1] if index is not None and index + 1 < len(self.segments) else ""

    @cached_property
    def types(self) -> tuple[str, ...]:
        """Type names below the last provider."""
        index = self._last_provider
        return () if index is None else self.segments[index + 2 :: 2]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Resource names below the last provider."""
        index = self._last_provider
        return () if index is None else self.segments[index + 3 :: 2]

    @cached_property
    def is_resource(self) -> bool:
        """A resource below a provider, with as many names as types."""
        return bool(self.types) and len(self.types) == len(self.names)

    @cached_property
    def type(self) -> str:
        """Lower-case key of the type: also of resource groups, subscriptions and the tenant (``/``)."""
        if self.types:
            return f"{self.namespace}/{'/'.join(self.types)}".lower()
        if self.namespace:
            return PROVIDER_TYPE
        if self.resource_group:
            return RESOURCE_GROUP_TYPE
        return SUBSCRIPTION_TYPE if self.subscription else TENANT_TYPE

    @cached_property
    def name(self) -> str:
        """The last name."""
        return self.segments[-1] if self.segments else ""

    @cached_property
    def scope(self) -> ArmId:
        """What the last provider stands below: a resource group, or any resource for extension resources."""
        index = self._last_provider
        if index is not None:
            return ArmId(self.segments[:index])
        return ArmId(self.segments[:-2])

    @cached_property
    def parent(self) -> ArmId:
        """The parent resource of a child, otherwise the scope."""
        return ArmId(self.segments[:-2]) if len(self.types) > 1 else self.scope

    @cached_property
    def root(self) -> ArmId:
        """The top-level ancestor below the same provider."""
        index = self._last_provider
        return self if index is None else ArmId(self.segments[: index + 4])

    def child(self, type_name: str, name: str) -> ArmId:
        """The id of a child resource."""
        return ArmId((*self.segments, type_name, name))

    def extension(self, full_type: str, name: str) -> ArmId:
        """The id of an extension resource (``Microsoft.Authorization/locks``) of this scope."""
        return ArmId((*self.segments, "providers", *full_type.split("/", 1), name))

    def ancestors(self) -> list[ArmId]:
        """This id and everything above it up to the subscription, nearest first."""
        found, current = [self], self
        while current.segments:
            above = current.parent
            if above.segments == current.segments:
                break
            found.append(above)
            current = above
        return found
