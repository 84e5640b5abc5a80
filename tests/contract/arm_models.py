"""Hold an ARM body against the models that Microsoft publishes in its azure-mgmt-* clients.

Two generations of generated code exist: models whose fields are descriptors (TypeSpec) and older ones with an
attribute map (msrest). Both become one small schema here, made lazily, because some models contain themselves.
"""

from __future__ import annotations

import enum
import importlib
import re
import sys
import types
import typing as t
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

DEFERRED = re.compile(r"\$\{(ref|secret):[^}]+\}")
SCALARS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float": (int, float),
    "any": (object,),
}


@dataclass(frozen=True)
class Scalar:
    """A plain value; `values` holds an enum's published values, empty for free text."""

    kind: str
    values: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ListOf:
    """A list."""

    item: Schema


@dataclass(frozen=True)
class MapOf:
    """An object with free keys."""

    item: Schema


@dataclass(frozen=True)
class Property:
    """One property of a model."""

    schema: Schema
    read_only: bool


@dataclass
class Model:
    """An object with known properties, by their name in JSON; `fill` finds them when first asked.

    Where one property tells what kind of object it is, `kinds` finds the models of the kinds.
    """

    name: str
    fill: Callable[[], dict[str, Property]]
    kinds: Callable[[], tuple[str, dict[str, Model]]] = lambda: ("", {})
    _properties: dict[str, Property] | None = field(default=None, init=False)

    @property
    def properties(self) -> dict[str, Property]:
        """The properties by JSON name."""
        if self._properties is None:
            self._properties = self.fill()
        return self._properties


Schema = Scalar | ListOf | MapOf | Model


@dataclass(frozen=True)
class Violation:
    """One place at which a document is not what the model says."""

    path: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


def model_of(module_name: str, class_name: str) -> Model:
    """Return the schema of one published model class."""
    module = importlib.import_module(module_name)
    return _model(getattr(module, class_name), module)


def _model(cls: type, models: types.ModuleType) -> Model:
    if hasattr(cls, "_attribute_map"):
        return Model(cls.__name__, lambda: _from_attribute_map(cls, models))
    return Model(cls.__name__, lambda: _from_fields(cls, models), lambda: _kinds(cls, models))


def _kinds(cls: t.Any, models: types.ModuleType) -> tuple[str, dict[str, Model]]:
    """Return the property that tells the kind, and the model of each kind; only a base has them."""
    kinds = vars(cls).get("__mapping__", {})
    if not kinds:
        return "", {}
    instance = cls.__new__(cls)  # the class collects its fields when it is first made
    del instance
    told_by = next(rest._rest_name for rest in cls._attr_to_rest_field.values() if rest._is_discriminator)
    return told_by, {value: _model(kind, models) for value, kind in kinds.items()}


def _from_fields(cls: t.Any, models: types.ModuleType) -> dict[str, Property]:
    instance = cls.__new__(cls)  # the class collects its fields when it is first made
    del instance
    found = {}
    for base in reversed(cls.__mro__):
        if base is cls or "__annotations__" in vars(base):
            own = vars(sys.modules[base.__module__])
            for attribute, annotation in getattr(base, "__annotations__", {}).items():
                rest = cls._attr_to_rest_field.get(attribute)
                if rest is not None:
                    names = {**own, "_models": models, "datetime": importlib.import_module("datetime")}
                    hint = _evaluate(annotation, names)
                    read_only = rest._visibility == ["read"]
                    found[rest._rest_name] = Property(_from_hint(hint, models), read_only)
    return found


def _evaluate(annotation: t.Any, names: dict[str, t.Any]) -> t.Any:
    holder = types.SimpleNamespace()
    holder.__annotations__ = {"hint": annotation}
    return t.get_type_hints(holder, globalns=names)["hint"]


def _from_hint(hint: t.Any, models: types.ModuleType) -> Schema:
    origin, arguments = t.get_origin(hint), t.get_args(hint)
    if origin in (t.Union, types.UnionType):
        return _from_union([argument for argument in arguments if argument is not type(None)], models)
    if origin is list:
        return ListOf(_from_hint(arguments[0], models))
    if origin is dict:
        return MapOf(_from_hint(arguments[1], models))
    if origin is t.Literal:
        values = [argument.value if isinstance(argument, enum.Enum) else argument for argument in arguments]
        return Scalar("str", frozenset(map(str, values)))
    return _from_class(hint, models) if isinstance(hint, type) else Scalar("any")


def _from_union(members: list[t.Any], models: types.ModuleType) -> Schema:
    """Return the schema of `Optional[X]`, or of `Union[str, Enum]`, which is how an enum is declared."""
    for member in members:
        if isinstance(member, type) and issubclass(member, enum.Enum):
            return _from_class(member, models)
    return _from_hint(members[0], models) if len(members) == 1 else Scalar("any")


def _from_class(cls: type, models: types.ModuleType) -> Schema:
    if issubclass(cls, enum.Enum):
        return Scalar("str", frozenset(str(member.value) for member in cls))
    if hasattr(cls, "_is_model") or hasattr(cls, "_attribute_map"):
        return _model(cls, models)
    if cls.__name__ in SCALARS:
        return Scalar(cls.__name__)
    return Scalar("str" if cls.__module__ == "datetime" else "any")


def _from_attribute_map(cls: t.Any, models: types.ModuleType) -> dict[str, Property]:
    root: dict[str, t.Any] = {}
    for attribute, entry in cls._attribute_map.items():
        steps = [step.replace("\\.", ".") for step in re.split(r"(?<!\\)\.", entry["key"])]
        read_only = bool(cls._validation.get(attribute, {}).get("readonly"))
        node = root
        for step in steps[:-1]:
            node = node.setdefault(step, {})
        node[steps[-1]] = Property(_from_name(entry["type"], models), read_only)
    return _nested(cls.__name__, root)


def _nested(name: str, node: Mapping[str, t.Any]) -> dict[str, Property]:
    return {
        key: value
        if isinstance(value, Property)
        else Property(Model(f"{name}.{key}", _filler(name, key, value)), False)
        for key, value in node.items()
    }


def _filler(name: str, key: str, node: Mapping[str, t.Any]) -> Callable[[], dict[str, Property]]:
    return lambda: _nested(f"{name}.{key}", node)


def _from_name(text: str, models: types.ModuleType) -> Schema:
    if text.startswith("["):
        return ListOf(_from_name(text[1:-1], models))
    if text.startswith("{"):
        return MapOf(_from_name(text[1:-1], models))
    if text in SCALARS:
        return Scalar(text)
    named = getattr(models, text, None)
    if isinstance(named, type):
        return _from_class(named, models)
    known = {"object": "any", "long": "int", "iso-8601": "str", "rfc-1123": "str", "duration": "str", "date": "str"}
    return Scalar(known.get(text, "any"))


def violations(value: t.Any, schema: Schema, path: str = "") -> Iterator[Violation]:
    """Yield every place that the model does not allow: unknown, read-only, wrong type, unpublished enum value."""
    if isinstance(value, str) and DEFERRED.search(value) and not isinstance(schema, Model):
        return
    match schema:
        case Model():
            yield from _object(value, schema, path)
        case ListOf():
            if not isinstance(value, list):
                yield Violation(path, f"a list is expected, not {value!r}")
                return
            for index, item in enumerate(value):
                yield from violations(item, schema.item, f"{path}[{index}]")
        case MapOf():
            if not isinstance(value, Mapping):
                yield Violation(path, f"an object is expected, not {value!r}")
                return
            for key, item in value.items():
                yield from violations(item, schema.item, f"{path}[{key}]")
        case Scalar():
            yield from _scalar(value, schema, path)


def _object(value: t.Any, model: Model, path: str) -> Iterator[Violation]:
    if not isinstance(value, Mapping):
        yield Violation(path, f"{model.name} is an object, not {value!r}")
        return
    told_by, kinds = model.kinds()
    if told_by in value:
        kind = kinds.get(value[told_by])
        if kind is None:
            published = ", ".join(sorted(kinds))
            yield Violation(f"{path}.{told_by}", f"{value[told_by]!r} is no kind of {model.name} ({published})")
            return
        model = kind
    for key, item in value.items():
        here = f"{path}.{key}" if path else str(key)
        known = model.properties.get(key)
        if known is None:
            near = next((name for name in model.properties if name.lower() == str(key).lower()), "")
            yield Violation(here, f"{model.name} has no such property" + (f"; is {near} meant?" if near else ""))
        elif known.read_only:
            yield Violation(here, f"read-only in {model.name}")
        else:
            yield from violations(item, known.schema, here)


def _scalar(value: t.Any, schema: Scalar, path: str) -> Iterator[Violation]:
    if value is None:
        yield Violation(path, "null is not a value: leave the property out")
    elif isinstance(value, bool) and schema.kind not in ("bool", "any"):
        yield Violation(path, f"{schema.kind} is expected, not a boolean")
    elif not isinstance(value, SCALARS[schema.kind]):
        yield Violation(path, f"{schema.kind} is expected, not {value!r}")
    elif schema.values and value not in schema.values:
        yield Violation(path, f"{value!r} is not one of {', '.join(sorted(schema.values))}")
