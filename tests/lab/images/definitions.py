"""What an image is made of: the folders that describe one, and the key under which its result is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.lab.build.builder import tools

__all__ = ["Image", "ImageError", "definitions", "key", "load"]

CLONE = Path(__file__).resolve().parents[3]
# Stand-ins for what is published elsewhere, and what is ours and runs in production.
FOLDERS = (CLONE / "tests" / "lab" / "images", CLONE / "images")
SUITES = ("bookworm", "trixie")
KNOWN = {"name", "variants", "packages", "programs", "inputs"}
KNOWN_OF_VARIANT = {"tag", "suite", "packages", "arguments", "on_demand"}


class ImageError(Exception):
    """An image that cannot be described, built or served; the message says which, why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """One tag of one image, as its folder describes it.

    `on_demand` ones are built when somebody names them: nothing pulls them unless a test or an upgrade does.
    """

    folder: Path
    name: str
    tag: str
    suite: str
    packages: tuple[str, ...] = ()
    programs: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    inputs: tuple[Path, ...] = ()
    on_demand: bool = False

    @property
    def reference(self) -> str:
        """The name and tag it is pulled by: `docker.io/library/mariadb:10.11.18`."""
        return f"{self.name}:{self.tag}"


def definitions(folders: Iterable[Path] = FOLDERS) -> list[Image]:
    """Return every image, sorted by reference.

    Raises:
        ImageError: a folder does not describe an image, or two describe the same one.

    """
    found = [image for root in folders for path in sorted(root.glob("*/image.yml")) for image in load(path.parent)]
    references = [image.reference for image in found]
    if twice := {reference for reference in references if references.count(reference) > 1}:
        raise ImageError(f"described twice: {', '.join(sorted(twice))}")
    return sorted(found, key=lambda image: image.reference)


def load(folder: Path) -> list[Image]:
    """Return the images that one folder describes, one for each of its variants.

    Raises:
        ImageError: its `image.yml` is not as `README.md` says.

    """
    path = folder / "image.yml"
    described: dict[str, Any] = yaml.safe_load(path.read_text()) or {}
    _refuse_unknown(path, described, KNOWN)
    if not (folder / "Containerfile").is_file():
        raise ImageError(f"{folder}: there is no Containerfile beside image.yml")
    if "/" not in described.get("name", ""):
        raise ImageError(f"{path}: name has to be registry and repository, as in docker.io/library/mariadb")
    inputs = tuple(CLONE / name for name in described.get("inputs", []))
    for missing in (name for name in inputs if not name.exists()):
        raise ImageError(f"{path}: {missing} of inputs does not exist")
    for unknown in set(described.get("programs", {}).values()) - set(tools()):
        raise ImageError(f"{path}: {unknown} of programs is not in tests/lab/build/versions.yml")
    images = []
    for variant in described.get("variants") or []:
        _refuse_unknown(path, variant, KNOWN_OF_VARIANT)
        if variant.get("suite") not in SUITES or not variant.get("tag"):
            raise ImageError(f"{path}: each of variants needs a tag and a suite, one of {', '.join(SUITES)}")
        images.append(
            Image(
                folder=folder,
                name=described["name"],
                tag=str(variant["tag"]),
                suite=variant["suite"],
                packages=tuple(variant.get("packages", described.get("packages", []))),
                programs=described.get("programs", {}),
                arguments={name: str(value) for name, value in variant.get("arguments", {}).items()},
                inputs=inputs,
                on_demand=bool(variant.get("on_demand", False)),
            )
        )
    if not images:
        raise ImageError(f"{path}: variants is empty: nothing would be built")
    return images


def key(image: Image, *, base: str, versions: Iterable[str]) -> str:
    """Return the name of an image's result: it changes with every file, package version and base it is made of.

    `base` is the key of the layer below, `versions` are `package=version` of all that apt would install.
    """
    facts: list[Any] = [
        image.reference,
        image.suite,
        image.packages,
        sorted(image.arguments.items()),
        base,
        sorted(versions),
    ]
    if image.programs:
        facts.append(sorted((path, tools()[name].folder.name) for path, name in image.programs.items()))
    digest = hashlib.sha256(json.dumps(facts).encode())
    for path in _files(image):
        executable = bool(path.stat().st_mode & 0o100)
        digest.update(f"{path.name}\0{executable}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _files(image: Image) -> list[Path]:
    roots = [image.folder, *image.inputs]
    found = (path for root in roots for path in ([root] if root.is_file() else root.rglob("*")))
    return sorted(path for path in found if path.is_file() and "__pycache__" not in path.parts)


def _refuse_unknown(path: Path, described: dict[str, Any], known: set[str]) -> None:
    if unknown := set(described) - known:
        raise ImageError(f"{path}: unknown {', '.join(sorted(unknown))}; known are {', '.join(sorted(known))}")
