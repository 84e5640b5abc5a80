# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lookup C(key_vault_secret)."""

from __future__ import annotations

DOCUMENTATION = r"""
name: key_vault_secret
short_description: Read secrets of an Azure Key Vault
version_added: 0.2.0
author: AudioProthese+ platform team (@audioprothese)
description:
  - Gives the values of secrets, which from then on are in variables of Ansible. Use C(no_log) where they go. For a
    Kubernetes Secret and for MariaDB's accounts the filter P(audioprothese.platform.secret#filter) is better, with
    which no value passes through Ansible.
  - It signs in once for all secrets of a call, and once for all calls of a process of Ansible with the same identity.
  - A lookup runs on the controller and sees the environment of C(ansible-playbook) only, neither C(environment) nor
    C(module_defaults) of a play.
options:
  _terms:
    description: Names of the secrets.
    type: list
    elements: str
    required: true
  vault_id:
    description: ARM id of the vault.
    type: str
    required: true
  version:
    description: Identifier of a version. Without it the current one is read. It needs a single name.
    type: str
  on_missing:
    description:
      - What to do about a secret or vault that is not there. V(error) fails, V(warn) leaves it out with a warning,
        V(skip) leaves it out.
    type: str
    choices: [error, warn, skip]
    default: error
  on_denied:
    description: The same for what the identity may not read, and for a version that is disabled.
    type: str
    choices: [error, warn, skip]
    default: error
  on_deleted:
    description: The same for a secret that is soft-deleted. To tell it from a missing one the right to list is needed.
    type: str
    choices: [error, warn, skip]
    default: error
extends_documentation_fragment:
  - audioprothese.platform.azure
seealso:
  - plugin: audioprothese.platform.secret
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Sign in at something that Ansible itself calls
  ansible.builtin.uri:
    url: https://example.org/api
    url_username: admin
    url_password: "{{ lookup('audioprothese.platform.key_vault_secret', 'api', vault_id=platform_ids.key_vault) }}"
  no_log: true

- name: Use what may not be there
  ansible.builtin.set_fact:
    token: "{{ found | first | default('') }}"
  vars:
    vault: "{{ platform_ids.key_vault }}"
    found: "{{ query('audioprothese.platform.key_vault_secret', 'token', vault_id=vault, on_missing='skip') }}"
  no_log: true
"""

RETURN = r"""
_raw:
  description: The values in the order of the names, without those that were left out.
  type: list
  elements: str
"""

import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.args import AUTH_OPTIONS
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.client import ArmClient, connect
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.errors import ArmError
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.ids import parse
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import PlatformError
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.client import VaultClient

FORBIDDEN = 403
_CLIENTS: t.Final[dict[tuple[tuple[str, str], ...], ArmClient]] = {}


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible-core has no types
    """Reads secrets."""

    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[str]:
        """Give the values."""
        self.set_options(var_options=variables, direct=kwargs)
        version = self.get_option("version") or ""
        if version and len(terms) != 1:
            raise AnsibleLookupError("audioprothese.platform.key_vault_secret: a version needs exactly one name.")
        try:
            vault_id = str(self.get_option("vault_id"))
            if parse(vault_id).type.lower() != "microsoft.keyvault/vaults":
                raise AnsibleLookupError(f"audioprothese.platform.key_vault_secret: {vault_id} is not a vault.")
            vault = VaultClient(self._client(), vault_id)
            found = [self._read(vault, str(name), version) for name in terms]
        except PlatformError as exc:
            raise AnsibleLookupError(f"audioprothese.platform.key_vault_secret: {exc}") from exc
        return [value for value in found if value is not None]

    def _client(self) -> ArmClient:
        params = {name: self.get_option(name) for name in AUTH_OPTIONS}
        key = tuple((name, str(value)) for name, value in params.items())
        if key not in _CLIENTS:
            _CLIENTS[key] = connect(params)
        return _CLIENTS[key]

    def _read(self, vault: VaultClient, name: str, version: str) -> str | None:
        try:
            found = vault.read(name, version)
        except ArmError as exc:
            if exc.status != FORBIDDEN:
                raise
            self._left_out("on_denied", str(exc))
            return None
        if found is not None:
            return found.value
        where = f"the secret {name}{f' in the version {version}' if version else ''} of {vault.name}"
        if not version and self._deleted(vault, name):
            self._left_out("on_deleted", f"{where} is soft-deleted: recover it, or correct the name.")
        else:
            self._left_out("on_missing", f"{where} is not there: make it first, or correct the name.")
        return None

    def _deleted(self, vault: VaultClient, name: str) -> bool:
        try:
            return name.lower() in vault.deleted()
        except ArmError as exc:
            if exc.status != FORBIDDEN:
                raise
            return False

    def _left_out(self, option: str, message: str) -> None:
        choice = self.get_option(option)
        if choice == "error":
            raise AnsibleLookupError(f"audioprothese.platform.key_vault_secret: {message}")
        if choice == "warn":
            Display().warning(f"audioprothese.platform.key_vault_secret: {message}")
