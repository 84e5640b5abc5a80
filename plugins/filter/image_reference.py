# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filter C(image_reference)."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: image_reference
short_description: Name an image as a pod pulls it
version_added: 0.3.0
author: AudioProthese+ platform team (@audioprothese)
positional: registry
description:
  - Puts together registry, repository, tag and digest of a row of the table C(platform_images). The digest decides what
    is pulled, the tag is for people.
options:
  _input:
    description: The image, with C(registry), C(repository), C(tag) and C(digest), which may be empty.
    type: dict
    required: true
  registry:
    description: Registry to pull from in place of the image's own.
    type: str
    default: ""
"""

EXAMPLES = r"""
image: "{{ platform_images.mariadb | audioprothese.platform.image_reference(platform_image_registry) }}"
# => craudioprotheseprod.azurecr.io/library/mariadb:10.11.18@sha256:0a1b…
"""

RETURN = r"""
_value:
  description: The reference.
  type: str
"""


def image_reference(image: t.Any, registry: t.Any = "") -> str:
    """Image reference."""
    wanted = ("registry", "repository", "tag")
    if not isinstance(image, Mapping) or not all(image.get(key) for key in wanted):
        raise AnsibleFilterError(f"audioprothese.platform.image_reference takes an image with {', '.join(wanted)}.")
    digest = f"@{image['digest']}" if image.get("digest") else ""
    return f"{registry or image['registry']}/{image['repository']}:{image['tag']}{digest}"


class FilterModule:
    """Ansible's way to find it."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Name and function."""
        return {"image_reference": image_reference}
