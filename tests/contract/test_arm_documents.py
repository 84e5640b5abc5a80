"""Every rendered ARM document is held against the published model of its type."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.catalogue import facts_of, known_types
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.references import find_references

from tests.contract.arm_models import ListOf, MapOf, Model, Scalar, Violation, model_of, violations

HERE = Path(__file__).parent
ENVELOPE = ("id", "name", "type", "apiVersion", "dependsOn")  # our document's own, or part of the address
Document = dict[str, Any]
Documents = dict[str, list[Document]]


@dataclass(frozen=True)
class Published:
    """A published model and the api-version it was generated from."""

    model: Model
    api_version: str


@functools.cache
def published() -> dict[str, Published]:
    """Return the published models by resource type in lower case."""
    listed = yaml.safe_load((HERE / "types.yml").read_text(encoding="utf-8"))
    return {
        name.lower(): Published(model_of(entry["module"], entry["model"]), str(entry["api_version"]))
        for name, entry in listed.items()
    }


@functools.cache
def newer() -> tuple[dict[str, str], ...]:
    """Return the listed exceptions: what is newer than the model."""
    return tuple(yaml.safe_load((HERE / "newer.yml").read_text(encoding="utf-8")))


def type_of(resource_id: str) -> str:
    """Return the type that an ARM id names; empty for a provider registration."""
    before, _slash, last = resource_id.rpartition("/providers/")
    if not before or "/" not in last:
        return "Microsoft.Resources/resourceGroups" if re.search(r"/resourceGroups/[^/]+$", resource_id, re.I) else ""
    parts = last.split("/")
    return "/".join([parts[0], *parts[1::2]])


def body_of(document: Document) -> Document:
    """Return what is sent to ARM."""
    return {key: value for key, value in document.items() if key not in ENVELOPE}


def with_bodies(documents: Documents) -> Iterator[tuple[str, Document]]:
    """Yield type and document of everything that has a body."""
    for document in documents["azure"]:
        name = type_of(document["id"])
        if name:
            yield name, document


def problems(name: str, document: Document) -> list[Violation]:
    """Return what the published model objects to."""
    return list(violations(body_of(document), published()[name.lower()].model))


def excused(name: str, violation: Violation) -> bool:
    """Tell whether this is a listed property that is newer than the model."""
    path = re.sub(r"\[\d+\]", "[]", violation.path)
    return any(entry["type"].lower() == name.lower() and entry["path"] == path for entry in newer())


def test_every_type_has_a_published_model(documents: Documents) -> None:
    missing = {name for name, _document in with_bodies(documents) if name.lower() not in published()}
    assert not missing


def test_every_document_is_what_its_published_model_describes(documents: Documents) -> None:
    found = [
        f"{document['id']} {violation}"
        for name, document in with_bodies(documents)
        for violation in problems(name, document)
        if not excused(name, violation)
    ]
    assert not found, "\n".join(found)


def test_exceptions_are_needed_and_have_a_source(rendered: Callable[[str], Documents]) -> None:
    used = {
        (name.lower(), re.sub(r"\[\d+\]", "[]", violation.path))
        for inventory in ("lab", "production")
        for name, document in with_bodies(rendered(inventory))
        for violation in problems(name, document)
    }
    for entry in newer():
        assert (entry["type"].lower(), entry["path"]) in used, f"nothing needs this exception any more: {entry}"
        assert entry["source"].startswith("https://"), entry


def test_the_model_is_not_older_than_the_pinned_version(documents: Documents) -> None:
    """An older model could not know what we use: only the listed exceptions may rest on that."""
    for name, document in with_bodies(documents):
        pinned = str(document.get("apiVersion") or facts_of(name).api_version)
        model = published()[name.lower()].api_version
        listed = any(entry["type"].lower() == name.lower() for entry in newer())
        assert pinned[:10] <= model[:10] or listed, f"{name}: pinned {pinned}, the model is of {model}"


def test_every_type_of_the_documents_is_in_the_catalogue(documents: Documents) -> None:
    known = {name.lower() for name in known_types()}
    assert not {name for name, _document in with_bodies(documents) if name.lower() not in known}


def test_ids_are_unique(documents: Documents) -> None:
    ids = [document["id"].lower() for document in documents["azure"]]
    assert len(ids) == len(set(ids))


def test_deferred_values_exist_in_the_model_of_their_target(documents: Documents) -> None:
    declared = {document["id"].lower() for document in documents["azure"]}
    wrong = []
    for reference in find_references(documents):
        if reference.kind != "ref":
            continue
        name = type_of(reference.target)
        if reference.target.lower() not in declared:
            wrong.append(f"{reference.target} is not declared")
        elif not has_path(published()[name.lower()].model, reference.path):
            wrong.append(f"{name} has no {reference.path}")
    assert not wrong, "\n".join(sorted(set(wrong)))


def has_path(model: Model, path: str) -> bool:
    """Tell whether a dotted path leads to something that the service may show."""
    here: Any = model
    for step in re.sub(r"\[[^\]]*\]", ".[]", path).split("."):
        if isinstance(here, Scalar):
            return here.kind == "any"
        if isinstance(here, ListOf | MapOf):
            here = here.item
        elif step in here.properties:
            here = here.properties[step].schema
        else:
            return False
    return True


# Sabotage: each kind of mistake, put into a rendered document, has to be found.
SABOTAGE: dict[str, tuple[str, tuple[str | int, ...], Any, str]] = {
    "unknown property": ("Microsoft.Network/virtualNetworks", ("properties", "adressSpace"), {}, "no such property"),
    "wrong case": ("Microsoft.ContainerService/managedClusters", ("properties", "oidcissuerprofile"), {}, "is meant"),
    "read-only property": ("Microsoft.KeyVault/vaults", ("properties", "hsmPoolResourceId"), "x", "read-only"),
    "wrong type": ("Microsoft.Network/natGateways", ("properties", "idleTimeoutInMinutes"), "ten", "int is expected"),
    "text for a boolean": ("Microsoft.ContainerService/managedClusters", ("properties", "enableRBAC"), "true", "bool"),
    "list for an object": ("Microsoft.Storage/storageAccounts", ("properties", "networkAcls"), [], "is an object"),
    "unpublished enum value": ("Microsoft.Storage/storageAccounts", ("sku", "name"), "Standard_XRS", "is not one of"),
    "property of another kind": (
        "Microsoft.DataProtection/backupVaults/backupPolicies",
        ("properties", "policyRules", 0, "lifecycles"),
        [],
        "AzureBackupRule has no such property",
    ),
    "unknown kind": (
        "Microsoft.DataProtection/backupVaults/backupInstances",
        ("properties", "policyInfo", "policyParameters", "dataStoreParametersList", 0, "objectType"),
        "OperationalStoreParameters",
        "is no kind of DataStoreParameters",
    ),
    "null": ("Microsoft.ContainerRegistry/registries", ("location",), None, "null"),
}


@pytest.mark.sabotage
@pytest.mark.parametrize("mistake", SABOTAGE)
def test_a_mistake_in_a_document_is_found(mistake: str, rendered: Callable[[str], Documents]) -> None:
    wanted, path, value, message = SABOTAGE[mistake]
    name, original = next(pair for pair in with_bodies(rendered("lab")) if pair[0].lower() == wanted.lower())
    document = copy.deepcopy(original)
    node: Any = document
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    before = {str(violation) for violation in problems(name, original)}
    added = [str(violation) for violation in problems(name, document) if str(violation) not in before]
    assert len(added) == 1
    assert message in added[0] or (message == "is meant" and "meant?" in added[0])
