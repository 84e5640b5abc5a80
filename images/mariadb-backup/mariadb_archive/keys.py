"""Keys of the streams, wrapped by a key that never leaves Key Vault."""

from __future__ import annotations

from typing import Any, Protocol

from azure.core.exceptions import AzureError
from azure.keyvault.keys.crypto import CryptographyClient, KeyWrapAlgorithm

from mariadb_archive.errors import BackupError

__all__ = ["KeyVaultWrapper", "KeyWrapper"]


class KeyWrapper(Protocol):
    """Wraps keys, and knows by which version of its own key."""

    def wrap(self, key: bytes) -> tuple[str, bytes]:
        """Return the id of the wrapping key, with its version, and the wrapped key."""

    def unwrap(self, key_id: str, wrapped: bytes) -> bytes:
        """Return the key.

        Raises:
            BackupError: the wrapping key is not there, not allowed, or another one.
        """


class KeyVaultWrapper:
    """RSA-OAEP with SHA-256 by a key of a vault: `wrapKey` and `unwrapKey` are all that the identity needs.

    Args:
        key: address of the key, https://VAULT.vault.azure.net/keys/NAME, with or without a version.
        credential: a credential of azure-identity.
        options: of the client: in a cloud of other names `verify_challenge_resource=False`.
    """

    def __init__(self, key: str, credential: Any, **options: Any) -> None:
        self._key, self._credential, self._options = key, credential, options

    def wrap(self, key: bytes) -> tuple[str, bytes]:
        """See KeyWrapper."""
        try:
            done = self._client(self._key).wrap_key(KeyWrapAlgorithm.rsa_oaep_256, key)
        except AzureError as exc:
            raise BackupError(f"{self._key} does not wrap a key: {exc}") from exc
        return str(done.key_id), done.encrypted_key

    def unwrap(self, key_id: str, wrapped: bytes) -> bytes:
        """See KeyWrapper."""
        try:
            return self._client(key_id).unwrap_key(KeyWrapAlgorithm.rsa_oaep_256, wrapped).key
        except AzureError as exc:
            raise BackupError(f"{key_id} does not unwrap the key of a backup: {exc}") from exc

    def _client(self, key_id: str) -> CryptographyClient:
        return CryptographyClient(key_id, self._credential, **self._options)
