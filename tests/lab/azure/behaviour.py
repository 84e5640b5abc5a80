"""What a resource type does beyond its data: hooks, actions, collections, and routes of a provider.

Modules in `behaviours/` are imported once by `load()`; their decorators register them here.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.lab.azure.arm_id import ArmId
from tests.lab.azure.authorization import Caller
from tests.lab.azure.errors import ArmError, OperationError
from tests.lab.azure.store import Resource, Store

if TYPE_CHECKING:
    from tests.lab.azure.engine import Engine
    from tests.lab.azure.settings import Settings
    from tests.lab.azure.typedata import TypeData

__all__ = [
    "Accepted",
    "Action",
    "ArmError",
    "Behaviour",
    "Listing",
    "OperationError",
    "ProviderRequest",
    "Read",
    "Write",
    "action",
    "behaviour",
    "collection",
    "provider_route",
]


@dataclass(kw_only=True)
class Context:
    """What every hook gets."""

    engine: Engine
    id: ArmId
    type: TypeData
    api_version: str
    caller: Caller | None = None

    @property
    def store(self) -> Store:
        """All resources of the lab."""
        return self.engine.store

    @property
    def settings(self) -> Settings:
        """Settings of the simulator."""
        return self.engine.settings

    @property
    def clock(self) -> float:
        """Seconds since the epoch."""
        return time.time()


@dataclass(kw_only=True)
class Write(Context):
    """A PUT, PATCH or DELETE. `stored` is the body before (None: created now); changes of `body` in `run` are saved."""

    body: dict[str, Any]
    stored: dict[str, Any] | None = None
    private: dict[str, Any] = field(default_factory=dict)
    method: str = "PUT"
    embedded: bool = False

    @property
    def create(self) -> bool:
        """Whether the resource comes into being."""
        return self.stored is None


@dataclass(kw_only=True)
class Read(Context):
    """An answer about to be sent."""

    body: dict[str, Any]
    resource: Resource


@dataclass(kw_only=True)
class Action(Context):
    """A POST below a resource. `body` is the parsed request body or None, `params` the query."""

    resource: Resource
    body: Any = None
    params: Mapping[str, str] = field(default_factory=dict)
    name: str = ""


@dataclass(kw_only=True)
class Listing(Context):
    """A list request: `id` is the scope or parent, `items` what the data would answer."""

    items: list[Resource]
    params: Mapping[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class Accepted:
    """A long-running action: answered 202, then the behaviour's method `run` is called, also after a restart.

    `run` names an ``async def name(self, ctx: Write, payload) -> Any``; what it returns is the result at `Location`.
    """

    run: str
    payload: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.2
    state: str | None = None
    via: str = "both"


@dataclass(frozen=True, kw_only=True)
class ActionSpec:
    """A method that answers POST …/`name`."""

    name: str
    effect: str
    permission: str | None
    call: str


class Behaviour:
    """Base of all behaviours; overrides what differs from the data."""

    key: str = ""
    actions: Mapping[str, ActionSpec] = {}
    collections: Mapping[str, str] = {}

    def before_put(self, ctx: Write) -> None:
        """Check beyond data; may change `ctx.body`; raise ArmError to refuse."""

    def after_put(self, ctx: Write) -> None:
        """After storing, in the same transaction."""

    async def run(self, ctx: Write) -> None:
        """The long-running part of a PUT or PATCH."""

    def before_delete(self, ctx: Write) -> None:
        """Raise ArmError to refuse."""

    async def run_delete(self, ctx: Write) -> None:
        """The long-running part of a DELETE."""

    def deleted(self, ctx: Write) -> Any:
        """The body of the answer to a DELETE that is done at once, before it is; most have none."""
        return None

    def after_delete(self, ctx: Write) -> None:
        """After the row is gone, in the same transaction."""

    def show(self, ctx: Read) -> None:
        """Last change to `ctx.body` of an answer."""

    def list(self, ctx: Listing) -> list[Resource]:
        """What a list shows."""
        return ctx.items

    def unstored(self, arm_id: ArmId) -> Resource | None:
        """A resource that exists without being stored (built-in ones), for GET."""
        return None

    def delete_missing(self, ctx: Write) -> None:
        """Raise ArmError where deleting what is not there is an error (the data says 204 otherwise)."""


_BEHAVIOURS: dict[str, Behaviour] = {}
_ROUTES: list[tuple[str, re.Pattern[str], ProviderHandler]] = []


def behaviour(*full_types: str) -> Callable[[type[Behaviour]], type[Behaviour]]:
    """Class decorator: one instance serves those types."""

    def register(cls: type[Behaviour]) -> type[Behaviour]:
        actions, collections = {}, {}
        for name in dir(cls):
            member = getattr(cls, name)
            for spec in getattr(member, "_actions", ()):
                actions[spec.name.lower()] = spec
            for label in getattr(member, "_collections", ()):
                collections[label.lower()] = name
        for full_type in full_types:
            found = cls()
            found.key, found.actions, found.collections = full_type.lower(), actions, collections
            if found.key in _BEHAVIOURS:
                raise ValueError(f"{full_type} has two behaviours")
            _BEHAVIOURS[found.key] = found
        return cls

    return register


def action[F: Callable[..., Any]](
    name: str, *, effect: str = "write", permission: str | None = None
) -> Callable[[F], F]:
    """Method decorator: answers POST …/`name`. `effect` is read, list (counted as list action) or write.

    `permission` is the action that is authorized (default ``<type>/<name>/action``).
    """

    def register(method: F) -> F:
        spec = ActionSpec(name=name, effect=effect, permission=permission, call=method.__name__)
        method._actions = (*getattr(method, "_actions", ()), spec)  # type: ignore[attr-defined]
        return method

    return register


def collection[F: Callable[..., Any]](name: str) -> Callable[[F], F]:
    """Method decorator: answers GET …/`name` below a resource with a list that is no type of its own (``recordsets``).

    The method gets a Listing (items empty) and returns resources.
    """

    def register(method: F) -> F:
        method._collections = (*getattr(method, "_collections", ()), name)  # type: ignore[attr-defined]
        return method

    return register


@dataclass(kw_only=True)
class ProviderRequest:
    """A request to `/subscriptions/S/providers/<namespace>/<rest>` that is no resource."""

    engine: Engine
    method: str
    subscription: str
    namespace: str
    groups: Mapping[str, str]
    params: Mapping[str, str]
    body: Any
    caller: Caller

    def authorize(self, action_name: str) -> None:
        """Raise 403 unless the caller may do that on the subscription."""
        self.engine.authorize(self.caller, action_name, ArmId(("subscriptions", self.subscription)))


ProviderHandler = Callable[[ProviderRequest], Any | Awaitable[Any]]


def provider_route(namespace: str, pattern: str) -> Callable[[ProviderHandler], ProviderHandler]:
    """Function decorator: answers what matches the pattern (full match, any case) below the provider.

    The function returns a JSON body, or (status, body), or an `Answer`; the first registered pattern that matches wins.
    """

    def register(handler: ProviderHandler) -> ProviderHandler:
        _ROUTES.append((namespace.lower(), re.compile(pattern, re.IGNORECASE), handler))
        return handler

    return register


def behaviour_of(type_key: str) -> Behaviour:
    """The behaviour of a type; one without hooks when there is none."""
    load()
    return _BEHAVIOURS.get(type_key) or _NOTHING


def find_route(namespace: str, rest: str) -> tuple[ProviderHandler, dict[str, str]] | None:
    """The handler of a provider's path and the named groups of its pattern."""
    load()
    for known, pattern, handler in _ROUTES:
        match = pattern.fullmatch(rest) if known in (namespace.lower(), "*") else None
        if match:
            return handler, {name: value for name, value in match.groupdict().items() if value is not None}
    return None


_NOTHING = Behaviour()
_loaded = False


def load() -> None:
    """Import every module of `behaviours/` once."""
    global _loaded  # noqa: PLW0603 - the registry itself is module state
    if _loaded:
        return
    _loaded = True
    from tests.lab.azure import behaviours  # noqa: PLC0415 - they import this module

    for module in pkgutil.iter_modules(behaviours.__path__):
        importlib.import_module(f"{behaviours.__name__}.{module.name}")
