"""A store in memory, and a key, for tests of what stands on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from mariadb_archive.errors import BackupError
from mariadb_archive.store import AlreadyThere, Blob


class MemoryStore:
    """Keeps blobs as the container does: whole, and once."""

    def __init__(self) -> None:
        self.content: dict[str, tuple[bytes, str]] = {}

    def list(self, prefix: str) -> list[Blob]:
        found = sorted((name, *kept) for name, kept in self.content.items() if name.startswith(prefix))
        return [Blob(name, len(content), manifest) for name, content, manifest in found]

    def put(self, name: str, parts: Iterable[bytes], manifest: Callable[[], str]) -> None:
        content = b"".join(parts)
        if name in self.content:
            raise AlreadyThere(name)
        self.content[name] = (content, manifest())

    def get(self, name: str) -> Iterator[bytes]:
        content = self.content[name][0]
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]

    def delete(self, names: Iterable[str]) -> Mapping[str, str]:
        for name in names:
            del self.content[name]
        return {}

    def change(self, name: str, content: Callable[[bytes], bytes]) -> None:
        known, manifest = self.content[name]
        self.content[name] = (content(known), manifest)


class PlainKey:
    """Wraps by adding a name: enough to tell one key from another."""

    def __init__(self, name: str = "key-1") -> None:
        self.name = name

    def wrap(self, key: bytes) -> tuple[str, bytes]:
        return self.name, self.name.encode() + key

    def unwrap(self, key_id: str, wrapped: bytes) -> bytes:
        if not wrapped.startswith(self.name.encode()):
            raise BackupError(f"{key_id} does not unwrap the key of a backup")
        return wrapped.removeprefix(self.name.encode())
