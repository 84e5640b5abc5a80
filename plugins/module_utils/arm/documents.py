# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Desired resources: check them before anything is asked, and put them in order. Pure."""

from __future__ import annotations

import dataclasses
import re
import typing as t
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.arm import ids
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.catalogue import (
    TypeFacts,
    facts_of,
    nearest_type,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.plan import order
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.references import (
    Reference,
    find_references,
    get_path,
    resolve,
)

__all__ = ["Document", "Estate", "serial_groups"]

_API_VERSION = re.compile(r"\d{4}-\d\d-\d\d(-[a-z0-9.]+)?")
_MARKER_START = re.compile(r"\$\{(ref|secret|secret_version):")
_ENVELOPE: t.Final = ("id", "apiVersion", "dependsOn", "name", "type")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One desired resource.

    Attributes:
        id: parsed.
        facts: what is known about the type.
        api_version: the document's, else the pinned one.
        body: what ARM takes, with deferred values as markers.
        depends_on: ids that the document names itself.
        origin: file and number of the document, as errors name it.
        references: deferred values in the body.
        mentions: ids that the body holds.
    """

    id: ids.ResourceId
    facts: TypeFacts
    api_version: str
    body: Mapping[str, t.Any]
    depends_on: tuple[str, ...] = ()
    origin: str = ""
    references: tuple[Reference, ...] = ()
    mentions: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """By which resources are told apart."""
        return self.id.key

    @property
    def type(self) -> str:
        """Type in canonical casing where it is known."""
        return self.facts.type or self.id.type

    def resolved(self, lookup: Callable[[Reference], t.Any]) -> dict[str, t.Any]:
        """The body with the deferred values that are known."""
        return resolve(dict(self.body), lookup) if self.references else dict(self.body)

    def shown(self) -> dict[str, t.Any]:
        """The document as a plan shows it."""
        return {"id": self.id.text, **self.body}


class Estate:
    """A set of documents that makes sense as a whole.

    Args:
        documents: as the user gave them.
        origins: file and number of each, as far as known.

    Raises:
        InputError: something is wrong with a document; names it and the remedy.
        CycleError: they depend on each other in a circle.
    """

    def __init__(self, documents: Sequence[t.Any], origins: Sequence[str] = ()) -> None:
        self._by_key: dict[str, Document] = {}
        for index, raw in enumerate(documents):
            origin = origins[index] if index < len(origins) else f"document {index + 1}"
            self._add(_parse(raw, origin), origin)
        self._children: dict[str, set[str]] = {}
        for document in self._by_key.values():
            parent = ids.key_of(document.id.parent)
            self._children.setdefault(parent, set()).add(document.key.removeprefix(f"{parent}/"))
        names = {document.key: document.id.text for document in self._by_key.values()}
        edges = {key: self._edges(document) for key, document in self._by_key.items()}
        ordered = order(names.values(), {names[key]: [names[d] for d in deps] for key, deps in edges.items()})
        self.documents = [self._by_key[ids.key_of(text)] for text in ordered]
        self.depends_on: Mapping[str, frozenset[str]] = {key: frozenset(deps) for key, deps in edges.items()}

    def __iter__(self) -> Iterator[Document]:
        return iter(self.documents)

    def __len__(self) -> int:
        return len(self.documents)

    def get(self, key: str) -> Document | None:
        """The document of a resource, if there is one."""
        return self._by_key.get(key)

    def owner(self, text: str) -> Document | None:
        """The document that brings a resource into being: its own, or that of the nearest parent."""
        candidate = ids.key_of(text)
        while candidate:
            if candidate in self._by_key:
                return self._by_key[candidate]
            candidate = candidate.rpartition("/")[0]
        return None

    def registration_of(self, document: Document) -> Document | None:
        """The document that registers a document's provider."""
        return self._by_key.get(f"{document.id.subscription}/providers/{document.id.provider}".lower())

    def declared_children(self, document: Document) -> frozenset[str]:
        """Embedded children with a document of their own, as C(segment/name) in lower case."""
        return frozenset(self._children.get(document.key, ()))

    def outside_references(self) -> dict[str, ids.ResourceId]:
        """Targets of references that no document brings into being, by key."""
        found = {}
        for document in self:
            for reference in document.references:
                if self.owner(reference.target) is None or self.get(ids.key_of(reference.target)) is None:
                    target = ids.parse(reference.target)
                    found[target.key] = target
        return found

    def _add(self, document: Document, origin: str) -> None:
        other = self._by_key.get(document.key)
        if other is not None and (other.body, other.api_version) != (document.body, document.api_version):
            raise InputError(
                f"{other.origin} and {origin} both describe this resource, and differ",
                where=document.id.text,
                remedy="Keep one of them",
            )
        if other is None:
            self._by_key[document.key] = document

    def _edges(self, document: Document) -> set[str]:
        named = [document.id.parent, *document.depends_on, *document.mentions]
        named += [reference.target for reference in document.references]
        found = {owner.key for text in named if text and (owner := self.owner(text)) is not None}
        registration = self.registration_of(document)
        if registration is not None:
            found.add(registration.key)
        own = f"{document.key}/"
        return {key for key in found if key != document.key and not key.startswith(own)}


def serial_groups(document: Document) -> frozenset[str]:
    """Names of the groups in which only one write may be under way."""
    groups = set()
    for rule in document.facts.serial or ("self",):
        kind, _colon, path = rule.partition(":")
        if path:
            value = get_path(dict(document.body), path)
            groups.update([_root(value)] if ids.looks_like_id(value) else [])
        elif kind == "parent":
            groups.add(ids.key_of(document.id.parent))
        elif kind == "root":
            groups.add(_root(document.id.text))
        else:
            groups.add(document.key)
    return frozenset(groups)


def _root(text: str) -> str:
    """Key of the top-level resource that an id lies in."""
    resource = ids.parse(text)
    while resource.type.count("/") > 1:
        resource = ids.parse(resource.parent)
    return resource.key


def _parse(raw: t.Any, origin: str) -> Document:
    if not isinstance(raw, Mapping) or not isinstance(raw.get("id"), str):
        raise InputError("it is not a mapping with an id", where=origin, remedy="Give every document an ARM id")
    try:
        resource = ids.parse(raw["id"])
    except InputError as exc:
        raise InputError(exc.what, where=origin, remedy=exc.remedy) from exc
    facts = facts_of(resource.type)
    _check_type(resource, raw, facts, origin)
    api_version = _api_version(resource, raw, facts, origin)
    depends_on = _depends_on(raw, origin)
    body = {key: value for key, value in raw.items() if key not in _ENVELOPE}
    texts = list(_texts(body))
    references = tuple(find_references(texts)) if any("${" in text for text in texts) else ()
    _check_references(references, texts, origin)
    return Document(
        id=resource,
        facts=facts,
        api_version=api_version,
        body=body,
        depends_on=depends_on,
        origin=origin,
        references=references,
        mentions=tuple(filter(ids.looks_like_id, texts)),
    )


def _check_type(resource: ids.ResourceId, raw: Mapping[str, t.Any], facts: TypeFacts, origin: str) -> None:
    if facts.type and facts.type != resource.type:
        raise InputError(
            f"the type in the id is written {resource.type}", where=origin, remedy=f"Write it as {facts.type}"
        )
    for field, actual in (("type", resource.type), ("name", resource.name)):
        given = raw.get(field)
        if given is not None and str(given).lower().rpartition("/")[2] != actual.lower().rpartition("/")[2]:
            raise InputError(
                f"{field} is {given!r}, but the id says {actual!r}", where=origin, remedy=f"Leave {field} out"
            )


def _api_version(resource: ids.ResourceId, raw: Mapping[str, t.Any], facts: TypeFacts, origin: str) -> str:
    version = raw.get("apiVersion") or facts.api_version
    if not version:
        nearest = nearest_type(resource.type)
        raise InputError(
            f"the type {resource.type} is not in the catalogue",
            where=origin,
            remedy="Set apiVersion in the document" + (f", or did you mean {nearest}?" if nearest else ""),
        )
    if not isinstance(version, str) or not _API_VERSION.fullmatch(version):
        raise InputError(f"apiVersion {version!r} is not a date", where=origin, remedy='Write it as "2025-04-01"')
    if version < facts.oldest:
        raise InputError(
            f"apiVersion {version} of {facts.type} deletes what a document leaves out",
            where=origin,
            remedy=f"Use {facts.oldest} or later",
        )
    return version


def _depends_on(raw: Mapping[str, t.Any], origin: str) -> tuple[str, ...]:
    named = raw.get("dependsOn") or []
    if not isinstance(named, Sequence) or isinstance(named, str):
        raise InputError("dependsOn is not a list", where=origin, remedy="Write it as a list of ids")
    for text in named:
        try:
            ids.parse(text)
        except InputError as exc:
            raise InputError(f"dependsOn: {exc.what}", where=origin, remedy=exc.remedy) from exc
    return tuple(named)


def _check_references(references: Iterable[Reference], texts: Iterable[str], origin: str) -> None:
    leftover = (resolve(text, lambda _reference: "") for text in texts if "${" in text)
    if any(_MARKER_START.search(text) for text in leftover):
        raise InputError(
            "a reference is not well formed",
            where=origin,
            remedy="Make it with the filter audioprothese.platform.ref, with an id and a path",
        )
    for reference in references:
        if reference.kind != "ref":
            raise InputError(
                f"the secret {reference.path} is referred to in an ARM document",
                where=origin,
                remedy="Only Kubernetes Secrets take values from the vault",
            )
        try:
            target = ids.parse(reference.target)
            get_path({}, reference.path)
        except InputError as exc:
            raise InputError(f"reference {reference}: {exc.what}", where=origin, remedy=exc.remedy) from exc
        if not facts_of(target.type).type:
            raise InputError(
                f"reference {reference}: the type {target.type} is not in the catalogue",
                where=origin,
                remedy="Refer to a resource of a known type",
            )


def _texts(value: t.Any) -> Iterator[str]:
    """Every text in a document, keys included."""
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            todo.extend(item)
            todo.extend(item.values())
        elif isinstance(item, list):
            todo.extend(item)
