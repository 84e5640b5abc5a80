# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filter C(secret_version)."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible_collections.audioprothese.platform.plugins.filter.secret import marker

DOCUMENTATION = r"""
name: secret_version
short_description: Name the current version of a secret of a vault
version_added: 0.1.0
author: AudioProthese+ platform team (@audioprothese)
positional: name
description:
  - Gives a marker that M(audioprothese.platform.k8s_applyset) replaces by the identifier of the secret's current
    version, as Key Vault gave it. It says nothing about the value.
  - As an annotation of a pod template it starts the pods again when the secret changes, for programs that read it only
    when they start.
options:
  _input:
    description: ARM id of the vault.
    type: str
    required: true
  name:
    description: Name of the secret.
    type: str
    required: true
"""

EXAMPLES = r"""
annotations:
  secret-version/db-password: "{{ platform_ids.key_vault | audioprothese.platform.secret_version('db-password') }}"
# => ${secret_version:/subscriptions/.../vaults/kv-demo#db-password}
# in the cluster: 5c1ab4e8d0f94d3f9c3a0c1d6a3b9e77
"""

RETURN = r"""
_value:
  description: The marker. It may stand alone or inside a longer text.
  type: str
"""


def secret_version(vault: t.Any, name: t.Any) -> str:
    """Marker of the current version of a secret."""
    return marker("secret_version", vault, name)


class FilterModule:
    """Ansible's way to find it."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Name and function."""
        return {"secret_version": secret_version}
