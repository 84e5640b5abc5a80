# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Deferred values: marker strings in a document that name another resource's output.

C(${ref:<resource id>#<path>}) is the value at a path of a resource, C(${secret:<vault id>#<name>}) a secret of a
vault, C(${secret_version:<vault id>#<name>}) the identifier of its current version. A marker may stand inside a longer
string. It stays text through Jinja, YAML and Helm, and a plan's digest covers the marker, never the value.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t
from collections.abc import Callable, Iterator

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError

__all__ = ["KNOWN_AFTER_APPLY", "Reference", "find_references", "get_path", "is_deferred", "present", "resolve"]

KNOWN_AFTER_APPLY = "known after apply"

_MARKER = re.compile(r"\$\{(ref|secret|secret_version):([^#{}]+)#([^{}]+)\}")
_STEP = re.compile(r"""\.?([^.\[\]]+)|\[(\d+)\]|\[["']([^"']+)["']\]|\[([^=\[\]]+)=([^\[\]]*)\]""")
_ABSENT = object()


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """A parsed marker.

    Attributes:
        kind: C(ref), C(secret) or C(secret_version).
        target: id of the resource or of the vault.
        path: dotted path inside the resource, or name of the secret.
    """

    kind: str
    target: str
    path: str

    def __str__(self) -> str:
        return f"${{{self.kind}:{self.target}#{self.path}}}"


def find_references(value: t.Any) -> list[Reference]:
    """Every marker in a document, in reading order, each once."""
    return list(
        dict.fromkeys(Reference(*match.groups()) for text in _strings(value) for match in _MARKER.finditer(text))
    )


def is_deferred(value: t.Any) -> bool:
    """Whether a scalar still holds a marker."""
    return isinstance(value, str) and _MARKER.search(value) is not None


def resolve(value: t.Any, lookup: Callable[[Reference], t.Any]) -> t.Any:
    """A copy of the document with the markers that are known replaced.

    Args:
        value: document or part of one.
        lookup: gives a marker's value, or None as long as it is not known; the marker then stays.

    Returns:
        The same structure. A string that is nothing but a marker takes the value with its type.
    """
    if isinstance(value, dict):
        return {resolve(key, lookup): resolve(item, lookup) for key, item in value.items()}
    if isinstance(value, list):
        return [resolve(item, lookup) for item in value]
    if not isinstance(value, str):
        return value
    whole = _MARKER.fullmatch(value)
    if whole:
        found = lookup(Reference(*whole.groups()))
        return value if found is None else found

    def replace(match: re.Match[str]) -> str:
        found = lookup(Reference(*match.groups()))
        return match.group(0) if found is None else str(found)

    return _MARKER.sub(replace, value)


def present(value: t.Any) -> t.Any:
    """A copy for people: markers read "known after apply"."""
    if isinstance(value, dict):
        return {present(key): present(item) for key, item in value.items()}
    if isinstance(value, list):
        return [present(item) for item in value]
    if isinstance(value, str):
        return _MARKER.sub(f"({KNOWN_AFTER_APPLY})", value) if not _MARKER.fullmatch(value) else KNOWN_AFTER_APPLY
    return value


def get_path(obj: t.Any, path: str, default: t.Any = None) -> t.Any:
    """The value at a path: C(a.b), C(a[0]), C(a[name=x]), C(a["with.dot"]).

    Raises:
        InputError: the path is not well formed.
    """
    for step in list(_steps(path)):  # all of it is checked, also where the object ends early
        obj = _follow(obj, step)
        if obj is _ABSENT:
            return default
    return obj


def _steps(path: str) -> Iterator[tuple[str, ...]]:
    position = 0
    while position < len(path):
        match = _STEP.match(path, position)
        if not match:
            raise InputError(
                f"the path {path!r} is not well formed at character {position + 1}",
                remedy="Write it as a.b, a[0], a[name=x] or a['with.dot']",
            )
        key, index, quoted, field, wanted = match.groups()
        if index is not None:
            yield ("index", index)
        elif field is not None:
            yield ("where", field, wanted)
        else:
            yield ("key", key if key is not None else quoted)
        position = match.end()


def _follow(obj: t.Any, step: tuple[str, ...]) -> t.Any:
    kind, *args = step
    if kind == "key":
        return obj.get(args[0], _ABSENT) if isinstance(obj, dict) else _ABSENT
    if not isinstance(obj, list):
        return _ABSENT
    if kind == "index":
        return obj[int(args[0])] if int(args[0]) < len(obj) else _ABSENT
    field, wanted = args
    return next((item for item in obj if isinstance(item, dict) and str(item.get(field)) == wanted), _ABSENT)


def _strings(value: t.Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _strings(key)
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, str):
        yield value
