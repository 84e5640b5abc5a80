# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets in ARM documents, and the key that their fingerprints are made with."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.arm.catalogue import TypeFacts, facts_of

if t.TYPE_CHECKING:
    from ansible_collections.audioprothese.platform.plugins.module_utils.arm.reader import ResourceClient

__all__ = ["redaction_key", "secret_values"]

_VAULT_API: t.Final = "7.4"


def secret_values(body: t.Any, facts: TypeFacts) -> Iterator[str]:
    """Text at the places of a body that hold secrets."""
    yield from _walk(body, "", facts)


def redaction_key(client: ResourceClient, *, vault_id: str, name: str) -> bytes | None:
    """The environment's key for fingerprints, from its vault; None as long as vault or secret do not exist.

    Raises:
        ArmError: the vault is there and cannot be read.
    """
    from ansible_collections.audioprothese.platform.plugins.module_utils.arm.errors import ArmError  # noqa: PLC0415

    try:
        vault = client.get(vault_id, facts_of("Microsoft.KeyVault/vaults").api_version)
        uri = str(vault["properties"]["vaultUri"]).rstrip("/")
        answer = client.request(
            "GET",
            f"{uri}/secrets/{name}",
            api_version=_VAULT_API,
            scope=client.cloud.vault_scope,
            doing="read the redaction key",
        )
    except ArmError as exc:
        if exc.not_there:
            return None
        raise
    return str(answer.body["value"]).encode()


def _walk(value: t.Any, pattern: str, facts: TypeFacts) -> Iterator[str]:
    if pattern in facts.secrets:
        yield from _texts(value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            below = "*" if pattern in facts.maps else str(key).lower()
            yield from _walk(item, f"{pattern}.{below}" if pattern else below, facts)
    elif isinstance(value, list):
        for item in value:
            yield from _walk(item, f"{pattern}[]", facts)


def _texts(value: t.Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str) and value:
        yield value
