"""The vaults of a lab, with Microsoft's own client, as a person with the portal uses them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from azure.keyvault.secrets import SecretClient

from tests.integration.support.azure import credential, resource_ids
from tests.integration.support.lab import Lab

__all__ = ["enabled", "open_vault", "platform_vault", "set_secret", "tags", "value"]


@contextmanager
def open_vault(lab: Lab, vault_id: str) -> Iterator[SecretClient]:
    """Give a client of one vault."""
    uri = lab.arm("GET", vault_id, "2024-11-01")["properties"]["vaultUri"]
    options: dict[str, Any] = {"api_version": "7.5", "connection_verify": lab.info["ca_file"]}
    with SecretClient(uri, credential(lab), verify_challenge_resource=False, **options) as client:
        yield client


@contextmanager
def platform_vault(lab: Lab) -> Iterator[SecretClient]:
    """Give a client of the platform's vault."""
    (found,) = resource_ids(lab, "Microsoft.KeyVault/vaults")
    with open_vault(lab, found) as client:
        yield client


def tags(lab: Lab, name: str) -> dict[str, str]:
    """Return the tags of a secret's current version."""
    with platform_vault(lab) as client:
        return dict(client.get_secret(name).properties.tags or {})


def value(lab: Lab, name: str) -> str:
    """Return a secret's current value."""
    with platform_vault(lab) as client:
        return str(client.get_secret(name).value)


def enabled(lab: Lab, name: str) -> list[bool]:
    """Tell which versions of a secret can be read."""
    with platform_vault(lab) as client:
        return [bool(version.enabled) for version in client.list_properties_of_secret_versions(name)]


def set_secret(lab: Lab, name: str, new: str) -> None:
    """Write a new version of a secret."""
    with platform_vault(lab) as client:
        client.set_secret(name, new)
