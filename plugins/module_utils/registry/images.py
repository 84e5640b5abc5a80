# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hold the images wanted against a registry's: pure."""

from __future__ import annotations

import dataclasses
import re
import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.findings import Finding
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.plan import Action, Change

__all__ = ["TYPE", "Image", "Outcome", "import_body", "parse", "plan", "resource_id"]

SOURCE = "registry"
TYPE = "Microsoft.ContainerRegistry/registries/images"
# https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests
_REPOSITORY = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image that the registry has to hold.

    Attributes:
        registry: where it is published, C(docker.io).
        repository: its name there and here.
        tag: its tag there and here.
        digest: C(sha256:) and 64 hexadecimal digits; empty takes what the tag means at the import.
    """

    registry: str
    repository: str
    tag: str
    digest: str = ""

    @property
    def name(self) -> str:
        """Name within a registry: C(library/mariadb:10.11.18)."""
        return f"{self.repository}:{self.tag}"

    def document(self) -> dict[str, t.Any]:
        """The image as a plan shows it."""
        return {"source": self.registry, "repository": self.repository, "tag": self.tag, "digest": self.digest}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Findings, the actions in order, and for each action the image it is about."""

    findings: list[Finding]
    actions: list[Action]
    wanted: Mapping[str, Image]


def parse(items: Iterable[Mapping[str, t.Any]]) -> list[Image]:
    """Read the option, sorted and without repetition.

    Raises:
        InputError: naming the item, when it is no image or two want different contents under one name.
    """
    found: dict[str, Image] = {}
    for item in items:
        image = Image(
            registry=str(item["registry"]),
            repository=str(item["repository"]),
            tag=str(item["tag"]),
            digest=str(item.get("digest") or ""),
        )
        where = f"images: {image.registry}/{image.name}"
        for value, pattern, what in (
            (image.repository, _REPOSITORY, "repository"),
            (image.tag, _TAG, "tag"),
            (image.digest or "sha256:" + "0" * 64, _DIGEST, "digest"),
        ):
            if not pattern.fullmatch(value):
                raise InputError(
                    f"{value!r} is no {what}", where=where, remedy="Write it as the publisher does, the digest in full"
                )
        if found.setdefault(image.name, image) != image:
            raise InputError(
                "two images want this name with different sources or digests",
                where=where,
                remedy="A name in the registry holds one image: give one of them another tag",
            )
    return [found[name] for name in sorted(found)]


def resource_id(registry_id: str, image: Image) -> str:
    """How results name an image: the registry's ARM id and the image's name."""
    return f"{registry_id}/images/{image.name}"


def plan(wanted: Sequence[Image], live: Mapping[str, str] | None, *, registry_id: str) -> Outcome:
    """Decide what to import.

    Args:
        wanted: the images asked for.
        live: digest by name of those that are there; None when the registry is not there yet.
        registry_id: ARM id of the registry.
    """
    findings: list[Finding] = []
    actions: list[Action] = []
    for image in wanted:
        resource, digest = resource_id(registry_id, image), (live or {}).get(image.name)
        if digest is None:
            actions.append(
                Action(verb="create", resource=resource, type=TYPE, document=image.document(), unverified=live is None)
            )
            findings.append(_finding(resource, "missing", image.document(), None, f"{image.name} is not there."))
        elif image.digest and digest != image.digest:
            change = Change("digest", image.digest, digest)
            actions.append(Action(verb="update", resource=resource, type=TYPE, changes=[change]))
            message = f"{image.name} is another image than the one that was pinned."
            findings.append(_finding(resource, "drift", image.digest, digest, message))
    return Outcome(
        findings=findings,
        actions=actions,
        wanted={resource_id(registry_id, image): image for image in wanted},
    )


def import_body(image: Image, *, force: bool) -> dict[str, t.Any]:
    """What importImage is asked for: the pinned digest, under the tag.

    Source: https://learn.microsoft.com/rest/api/container-registry/registries/import-image
    """
    source = f"{image.repository}@{image.digest}" if image.digest else image.name
    return {
        "source": {"registryUri": image.registry, "sourceImage": source},
        "targetTags": [image.name],
        "mode": "Force" if force else "NoForce",
    }


def _finding(resource: str, verdict: str, desired: t.Any, live: t.Any, message: str) -> Finding:
    return Finding(
        source=SOURCE,
        resource=resource,
        type=TYPE,
        path="digest" if verdict == "drift" else "",
        verdict=verdict,
        action="create" if verdict == "missing" else "update",
        desired=desired,
        live=live,
        message=message,
    )
