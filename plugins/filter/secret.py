# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filter C(secret)."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.ids import parse
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import PlatformError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.references import Reference

DOCUMENTATION = r"""
name: secret
short_description: Name a secret of a vault without reading it
version_added: 0.1.0
author: AudioProthese+ platform team (@audioprothese)
positional: name
description:
  - Gives a marker that M(audioprothese.platform.k8s_applyset) replaces by the secret's value inside a Kubernetes
    Secret. The value passes from the vault to the cluster and through no variable, template or result of Ansible.
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
stringData:
  password: "{{ platform_ids.key_vault | audioprothese.platform.secret('mariadb-root-password') }}"
# => ${secret:/subscriptions/.../vaults/kv-demo#mariadb-root-password}
"""

RETURN = r"""
_value:
  description: The marker. It may stand alone or inside a longer text.
  type: str
"""

# "Object name" in "Azure Key Vault keys, secrets and certificates overview" of learn.microsoft.com.
_NAME: t.Final = re.compile(r"[0-9a-zA-Z-]{1,127}")


def marker(kind: str, vault: t.Any, name: t.Any) -> str:
    """Marker of something about a secret of a vault."""
    caller = f"audioprothese.platform.{kind}"
    if not isinstance(vault, str) or not isinstance(name, str):
        raise AnsibleFilterError(f"{caller} takes the ARM id of a vault and a name, both text.")
    try:
        resource = parse(str(vault))
    except PlatformError as exc:
        raise AnsibleFilterError(f"{caller}: {exc}") from exc
    if resource.type.lower() != "microsoft.keyvault/vaults":
        raise AnsibleFilterError(f"{caller}: {vault} is not a vault.")
    if not _NAME.fullmatch(name):
        raise AnsibleFilterError(f"{caller}: {name!r} cannot be the name of a secret.")
    return str(Reference(kind, str(vault), str(name)))


def secret(vault: t.Any, name: t.Any) -> str:
    """Marker of the value of a secret."""
    return marker("secret", vault, name)


class FilterModule:
    """Ansible's way to find it."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Name and function."""
        return {"secret": secret}
