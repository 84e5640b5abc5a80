"""Where backups are kept: what is needed of a Blob container, and nothing more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

__all__ = ["AlreadyThere", "Blob", "Store"]


class AlreadyThere(Exception):
    """A blob of that name exists, and is never overwritten."""


@dataclass(frozen=True)
class Blob:
    """A complete blob; `manifest` was committed with it, in one step."""

    name: str
    size: int
    manifest: str


class Store(Protocol):
    """A container of blobs that are written once.

    A blob exists, with its manifest, or it does not: what was not committed is never listed nor read.
    """

    def list(self, prefix: str) -> list[Blob]:
        """Return the blobs whose names begin so, sorted by name."""

    def put(self, name: str, parts: Iterable[bytes], manifest: Callable[[], str]) -> None:
        """Write a blob.

        Args:
            name: its name.
            parts: the content.
            manifest: asked once all parts were taken.

        Raises:
            AlreadyThere: there is one.
            BackupError: the store refuses or does not answer.
        """

    def get(self, name: str) -> Iterator[bytes]:
        """Give the content of a blob from its beginning on.

        Raises:
            BackupError: there is none, or the store refuses or does not answer.
        """

    def delete(self, names: Iterable[str]) -> Mapping[str, str]:
        """Remove blobs; return what was not removed, with the reason."""
