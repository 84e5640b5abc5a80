"""Paths into JSON bodies: ``a.b[].c`` and ``a.*.b``, looked up without regard to case."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

_SEGMENT = re.compile(r"^[^.\[\]]+(\[\])?$")

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "MISSING", "__bool__": lambda self: False})()

# A concrete step is a key or an index; a wildcard step is EACH_ITEM or EACH_VALUE.
EACH_ITEM = "[]"
EACH_VALUE = "*"
Step = str | int
Concrete = tuple[Step, ...]


class PathSyntaxError(ValueError):
    """A path in the type data that cannot be read."""


@dataclass(frozen=True, slots=True)
class Path:
    """A parsed path; `steps` holds names, ``[]`` and ``*``."""

    text: str
    steps: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Path:
        """Read `text`; an empty text is the body itself. Raises PathSyntaxError."""
        steps: list[str] = []
        for segment in split_path(text):
            if segment == EACH_VALUE:
                steps.append(EACH_VALUE)
            elif _SEGMENT.match(segment):
                name = segment.removesuffix("[]")
                steps.append(name)
                if segment.endswith("[]"):
                    steps.append(EACH_ITEM)
            else:
                raise PathSyntaxError(f"{text!r}: cannot read the segment {segment!r}")
        return cls(text=text, steps=tuple(steps))

    def __str__(self) -> str:
        return self.text


def split_path(text: str) -> list[str]:
    """Split at dots; a name with dots in it is written in backquotes."""
    if not text:
        return []
    parts = re.findall(r"`[^`]+`(?:\[\])?|[^.`]+", text)
    return [part.replace("`", "") for part in parts] if "`" in text else text.split(".")


def find_key(container: dict[str, Any], name: str) -> str | None:
    """The key of `container` that spells `name` in any case."""
    if name in container:
        return name
    lowered = name.lower()
    return next((key for key in container if key.lower() == lowered), None)


def expand(body: Any, path: Path, *, missing: bool = False) -> Iterator[tuple[Concrete, Any]]:
    """Yield (concrete path, value) for every place that `path` means in `body`.

    With `missing` a place whose last names are absent is yielded too, with MISSING as its value.
    """
    yield from _expand(body, path.steps, (), missing)


def _expand(value: Any, steps: tuple[str, ...], done: Concrete, missing: bool) -> Iterator[tuple[Concrete, Any]]:
    if not steps:
        yield done, value
        return
    step, rest = steps[0], steps[1:]
    if step == EACH_ITEM:
        if isinstance(value, list):
            for index, item in enumerate(value):
                yield from _expand(item, rest, (*done, index), missing)
        return
    if step == EACH_VALUE:
        if isinstance(value, dict):
            for key in list(value):
                yield from _expand(value[key], rest, (*done, key), missing)
        return
    key = find_key(value, step) if isinstance(value, dict) else None
    if key is not None and isinstance(value, dict):
        yield from _expand(value[key], rest, (*done, key), missing)
    elif missing and EACH_ITEM not in rest and EACH_VALUE not in rest:
        yield (*done, step, *rest), MISSING


def get(body: Any, path: Path | Concrete | str) -> Any:
    """The value at the one place `path` names, or MISSING."""
    steps = path if isinstance(path, tuple) else (Path.parse(path) if isinstance(path, str) else path).steps
    for step in steps:
        if isinstance(step, int):
            if not isinstance(body, list) or step >= len(body):
                return MISSING
            body = body[step]
        else:
            key = find_key(body, step) if isinstance(body, dict) else None
            if key is None:
                return MISSING
            body = body[key]
    return body


def put(body: Any, path: Concrete, value: Any, *, make_parents: bool = True) -> bool:
    """Set the value at a concrete path; false when the object above it is absent and may not be made."""
    for step, following in pairwise(path):
        if isinstance(step, int):
            body = body[step]
            continue
        key = find_key(body, step)
        if key is None or body[key] is None:
            if not make_parents or isinstance(following, int):
                return False
            key = key or step
            body[key] = {}
        body = body[key]
        if not isinstance(body, dict | list):
            return False
    last = path[-1]
    if isinstance(last, str):
        if not isinstance(body, dict):
            return False
        body[find_key(body, last) or last] = value
    else:
        body[last] = value
    return True


def remove(body: Any, path: Concrete) -> None:
    """Remove what a concrete path names, if it is there."""
    parent = get(body, path[:-1])
    last = path[-1]
    if isinstance(parent, dict) and isinstance(last, str):
        key = find_key(parent, last)
        if key is not None:
            del parent[key]
    elif isinstance(parent, list) and isinstance(last, int):
        del parent[last]


def bind(path: Path, bound_by: Path, concrete: Concrete) -> tuple[Step, ...]:
    """Replace the wildcards that `path` shares with the front of `bound_by` by the steps of `concrete`."""
    steps: list[Step] = list(path.steps)
    for index, (mine, theirs) in enumerate(zip(path.steps, bound_by.steps, strict=False)):
        if mine.lower() != theirs.lower():
            break
        if mine in (EACH_ITEM, EACH_VALUE):
            steps[index] = concrete[index]
    return tuple(steps)


def expand_steps(body: Any, steps: tuple[Step, ...]) -> Iterator[Any]:
    """Values at `steps`, which may mix concrete steps and wildcards."""
    for index, step in enumerate(steps):
        if step in (EACH_ITEM, EACH_VALUE):
            outer = get(body, steps[:index])
            items: list[Any] = []
            if step == EACH_ITEM and isinstance(outer, list):
                items = outer
            elif step == EACH_VALUE and isinstance(outer, dict):
                items = list(outer.values())
            for item in items:
                yield from expand_steps(item, steps[index + 1 :])
            return
    yield get(body, steps)


def text(concrete: Concrete) -> str:
    """A concrete path for people: ``properties.subnets[0].name``."""
    out = ""
    for step in concrete:
        out += f"[{step}]" if isinstance(step, int) else (f".{step}" if out else step)
    return out
