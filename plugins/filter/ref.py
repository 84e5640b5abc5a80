# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filter C(ref)."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.ids import parse
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import PlatformError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.references import Reference, get_path

DOCUMENTATION = r"""
name: ref
short_description: Name a value that a resource has only once it exists
version_added: 0.1.0
author: AudioProthese+ platform team (@audioprothese)
positional: path
description:
  - Gives a marker that M(audioprothese.platform.arm_resources) and M(audioprothese.platform.k8s_applyset) replace by
    the value as soon as the resource exists. Until then a plan shows it as "known after apply", and the resource is
    made before those that refer to it.
options:
  _input:
    description: ARM id of the resource.
    type: str
    required: true
  path:
    description: Place of the value, such as V(properties.principalId), V(items[0].id) or V(items[name=x].id).
    type: str
    required: true
"""

EXAMPLES = r"""
principal: "{{ platform_ids.identities.openmrs | audioprothese.platform.ref('properties.principalId') }}"
# => ${ref:/subscriptions/.../userAssignedIdentities/id-openmrs#properties.principalId}
"""

RETURN = r"""
_value:
  description: The marker. It may stand alone or inside a longer text.
  type: str
"""


def ref(resource: t.Any, path: t.Any) -> str:
    """Marker of a value of a resource."""
    if not isinstance(resource, str) or not isinstance(path, str) or not path:
        raise AnsibleFilterError("audioprothese.platform.ref takes an ARM id and a path, both text.")
    try:
        parse(str(resource))
        get_path({}, str(path))
    except PlatformError as exc:
        raise AnsibleFilterError(f"audioprothese.platform.ref: {exc}") from exc
    return str(Reference("ref", str(resource), str(path)))


class FilterModule:
    """Ansible's way to find it."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Name and function."""
        return {"ref": ref}
