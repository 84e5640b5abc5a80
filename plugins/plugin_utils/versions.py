# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Versions of what the collection runs on, against what it asks for."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import pathlib
import platform
import typing as t
from collections.abc import Mapping

import yaml
from ansible.release import __version__ as core_version
from ansible.utils.collection_loader import _collection_finder
from ansible_collections.audioprothese.platform.plugins.module_utils.preflight.variables import Problem
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

__all__ = ["check_versions", "collection_version", "compare", "readers"]

# Oldest Python that ansible-core 2.19 runs on. Source: the support matrix of docs.ansible.com.
_PYTHON: t.Final = ">=3.11"


def check_versions(collection: pathlib.Path) -> tuple[dict[str, str], list[Problem]]:
    """What is installed, and what of it does not fit.

    Args:
        collection: root of this collection, as a clone or installed.
    """
    runtime = yaml.safe_load((collection / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    wanted = {"ansible-core": runtime["requires_ansible"], "python": _PYTHON}
    found: dict[str, str] = {"ansible-core": core_version, "python": platform.python_version()}
    for name, wants in _collection_requirements(collection).items():
        version = collection_version(name)
        if version:
            found[name], wanted[name] = version, wants
    problems = compare(found, wanted)
    problems += _libraries(collection, found)
    return found, problems


def readers() -> dict[str, bool]:
    """Which other tools could read back what was built: their collection and its Python libraries are here."""
    libraries = {
        # A few of those that its shared code imports without asking: with these, the others are there too.
        "azure.azcollection": (
            "azure.cli.core",
            "azure.mgmt.compute",
            "azure.mgmt.web",
            "azure.storage.blob",
            "msgraph",
        ),
        "kubernetes.core": ("kubernetes", "yaml"),
    }
    return {name: bool(collection_version(name)) and all(map(_importable, wants)) for name, wants in libraries.items()}


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def compare(found: Mapping[str, str], wanted: Mapping[str, str]) -> list[Problem]:
    """Versions outside the range that is asked for.

    Args:
        found: version by name; a name that is absent is not judged.
        wanted: range by name, C(>=1.2,<2).
    """
    return [
        Problem(
            where=name,
            what=f"version {found[name]} does not satisfy {wants}",
            remedy=_install(name, wants),
        )
        for name, wants in wanted.items()
        if name in found and not SpecifierSet(wants.replace("*", ">=0")).contains(found[name], prereleases=True)
    ]


def collection_version(name: str) -> str:
    """Version of an installed collection, empty if it is not installed."""
    try:
        path = pathlib.Path(_collection_finder._get_collection_path(name))
    except (ImportError, ValueError):
        return ""
    manifest = path / "MANIFEST.json"
    if manifest.is_file():
        return str(json.loads(manifest.read_text(encoding="utf-8"))["collection_info"]["version"])
    galaxy = path / "galaxy.yml"
    return str(yaml.safe_load(galaxy.read_text(encoding="utf-8"))["version"]) if galaxy.is_file() else ""


def _collection_requirements(collection: pathlib.Path) -> dict[str, str]:
    manifest = collection / "MANIFEST.json"
    if manifest.is_file():
        return dict(json.loads(manifest.read_text(encoding="utf-8"))["collection_info"]["dependencies"])
    return dict(yaml.safe_load((collection / "galaxy.yml").read_text(encoding="utf-8"))["dependencies"])


def _libraries(collection: pathlib.Path, found: dict[str, str]) -> list[Problem]:
    problems = []
    listed = collection / "requirements.txt"
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    for line in lines:
        text = line.partition("#")[0].strip()
        if not text or text.startswith("-"):
            continue
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate():
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            problems.append(
                Problem(
                    where=requirement.name,
                    what="this Python library is not installed",
                    remedy=_install(requirement.name, str(requirement.specifier)),
                )
            )
            continue
        found[requirement.name] = version
        problems += compare({requirement.name: version}, {requirement.name: str(requirement.specifier)})
    return problems


def _install(name: str, wants: str) -> str:
    if name == "python":
        return "Run Ansible with a newer Python"
    if "." in name:
        return f"Run: ansible-galaxy collection install '{name}:{wants}'"
    return f"Run: python -m pip install '{name}{wants}'"
