# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where deferred values come from: what an earlier task returned, ARM, Key Vault."""

from __future__ import annotations

import threading
import typing as t
from collections.abc import Callable, Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.arm.catalogue import facts_of
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.errors import ArmError
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.ids import key_of, parse
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.redaction import Redactor
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.references import Reference, get_path
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.client import VaultClient
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.rotation import (
    CLOSING,
    Current,
    before_of,
    phase_of,
)

if t.TYPE_CHECKING:
    from ansible_collections.audioprothese.platform.plugins.module_utils.arm.client import ArmClient

__all__ = ["Azure", "Lookup"]


class Azure:
    """The Azure client of a run, made when it is first needed.

    Args:
        connect: makes it.
    """

    def __init__(self, connect: Callable[[], ArmClient]) -> None:
        self._connect = connect
        self._client: ArmClient | None = None
        self._lock = threading.Lock()

    def __call__(self) -> ArmClient:
        """The client."""
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def requests(self) -> dict[str, t.Any]:
        """Counts of its requests under the name C(azure), if there were any."""
        return {"azure": self._client.requests()} if self._client is not None else {}


class Lookup:
    """Resolves deferred values; each resource, vault and secret is read once. Safe to use from threads.

    Args:
        azure: the Azure client.
        resources: live resources by ARM id, as C(arm_resources) returned them.
    """

    def __init__(self, azure: Azure, resources: Mapping[str, t.Any] | None = None) -> None:
        self._azure = azure
        self._resources: dict[str, t.Any] = {key_of(name): value for name, value in (resources or {}).items()}
        self._vaults: dict[str, VaultClient] = {}
        self._secrets: dict[tuple[str, str], Current | None] = {}
        self._lock = threading.Lock()

    def __call__(self, reference: Reference) -> t.Any:
        """The value, or None while what it names does not exist.

        Raises:
            ArmError: it exists or not, but may not be read.
            InputError: the reference cannot be followed.
        """
        if reference.kind == "secret":
            return self.secret(reference.target, reference.path)
        if reference.kind == "secret_version":
            current = self._current(reference.target, reference.path)
            return current.version if current else None
        found = self._resource(reference.target)
        return None if found is None else get_path(found, reference.path)

    def secret(self, vault_id: str, name: str) -> str | None:
        """A secret's value, or None while the vault or the secret does not exist."""
        current = self._current(vault_id, name)
        return current.value if current else None

    def redactor(self, key: Mapping[str, str] | None) -> Redactor:
        """With the environment's key where it is known.

        Args:
            key: C(vault_id) and C(name) of the secret that holds it, or None.
        """
        found = self.secret(key["vault_id"], key["name"]) if key else None
        return Redactor(found.encode() if found else None)

    def replaced(self, vault_id: str, name: str, phase: str) -> str:
        """The value that a rotation of a secret replaces while it is in a phase; otherwise nothing."""
        current = self._current(vault_id, name)
        if current is None or phase_of(current.tags) != phase:
            return ""
        vault, version = self._vault(vault_id), before_of(current.tags)
        # It is disabled once it was proven refused: a run was cut short before it had closed the rotation.
        if phase == CLOSING and not any(found.enabled for found in vault.versions(name) if found.id == version):
            return ""
        before = vault.read(name, version)
        return before.value if before else ""

    def _current(self, vault_id: str, name: str) -> Current | None:
        key = (key_of(vault_id), name.lower())
        if key not in self._secrets:
            self._secrets[key] = self._vault(vault_id).read(name)
        return self._secrets[key]

    def _vault(self, vault_id: str) -> VaultClient:
        with self._lock:
            return self._vaults.setdefault(key_of(vault_id), VaultClient(self._azure(), vault_id))

    def _resource(self, resource_id: str) -> t.Any:
        key = key_of(resource_id)
        if key in self._resources:
            return self._resources[key]
        version = facts_of(parse(resource_id).type).api_version
        if not version:
            raise InputError(
                f"no api-version is known for the type {parse(resource_id).type}",
                where=resource_id,
                remedy="Declare the resource in the same run, so that its live state is passed on (resources)",
            )
        try:
            found = self._azure().get(resource_id, version, doing="read a value that a document refers to")
        except ArmError as exc:
            if not exc.not_there:
                raise
            found = None
        self._resources[key] = found
        return found
