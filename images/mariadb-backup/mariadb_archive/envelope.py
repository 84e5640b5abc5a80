"""A stream into the store and back: compressed, sealed under a key of its own, counted, and described by its manifest.

A blob is `MAGIC`, the length of the header, the header (JSON), and the sealed pieces. The header has the wrapped key:
a blob can be read wherever it was copied to. The pieces are bound to the header, and so to the name of the blob.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import zstandard

from mariadb_archive import manifests
from mariadb_archive.errors import BackupError
from mariadb_archive.keys import KeyWrapper
from mariadb_archive.manifests import Full, Log, Manifest, Stored
from mariadb_archive.sealing import KEY_BYTES, open_sealed, seal
from mariadb_archive.store import Blob, Store

__all__ = ["Archive", "Entry"]

MAGIC = b"MARIADB-ARCHIVE-1\n"
LENGTH = 4
LARGEST_HEADER = 64 << 10
LEVEL = 3

Described = TypeVar("Described", Full, Log)


@dataclass(frozen=True)
class Entry:
    """A blob and its manifest; nothing of either is proven before it is opened."""

    manifest: Manifest
    size: int
    signature: str


@dataclass
class Archive:
    """What one server, or all of them, have in the store.

    Args:
        store: the container.
        keys: what wraps the keys.
    """

    store: Store
    keys: KeyWrapper
    _unwrapped: dict[bytes, bytes] = field(default_factory=dict, repr=False)

    def entries(self, instance: str) -> list[Entry]:
        """Return what is stored of an instance, sorted by name."""
        return [_entry(blob) for blob in self.store.list(f"{instance}/")]

    def add(self, manifest: Described, plain: Iterable[bytes]) -> Described:
        """Store a stream; it is there as a whole with its manifest, or not at all.

        Args:
            manifest: facts that are known before; those of `stored` are found on the way.
            plain: the content. An exception while it is read leaves nothing behind.

        Raises:
            AlreadyThere: there is a blob of that name.
            BackupError: store or key vault refuse.
        """
        return self.add_later(manifest.name, plain, lambda: manifest)

    def add_later(self, name: str, plain: Iterable[bytes], described: Callable[[], Described]) -> Described:
        """Store a stream whose facts are known when it was read; otherwise as `add`."""
        key = os.urandom(KEY_BYTES)
        key_id, wrapped = self.keys.wrap(key)
        header = json.dumps({"key": base64.b64encode(wrapped).decode(), "key_id": key_id, "name": name}).encode()
        inside, outside = _Count(), _Count()
        complete: list[Described] = []

        def manifest() -> str:
            facts = Stored(
                plain_bytes=inside.size,
                plain_sha256=inside.digest.hexdigest(),
                stored_bytes=outside.size,
                stored_sha256=outside.digest.hexdigest(),
                key_id=key_id,
            )
            complete.append(dataclasses.replace(described(), stored=facts))
            text = manifests.encode(complete[0])
            return f"{text} {_signature(key, text)}"

        sealed = seal(_compressed(inside.of(plain)), key, _context(header))
        self.store.put(name, outside.of(_after(header, sealed)), manifest)
        return complete[0]

    def check(self, entry: Entry) -> None:
        """Read the beginning of a blob: its key can be unwrapped, and its manifest is the one it was stored with.

        Raises:
            BackupError: otherwise.
        """
        next(self._open(entry))

    def read(self, entry: Entry) -> Iterator[bytes]:
        """Give what was stored, each part after it was checked; at the end, that it was all.

        Raises:
            BackupError: the blob was changed, cut off or swapped, or its key is not to be had.
        """
        stream = self._open(entry)
        next(stream)
        return stream

    def _open(self, entry: Entry) -> Iterator[bytes]:
        name, stored = entry.manifest.name, entry.manifest.stored
        if stored is None or stored.stored_bytes != entry.size:
            raise BackupError(f"{name} has {entry.size} bytes, its manifest says {stored and stored.stored_bytes}")
        outside, inside = _Count(), _Count()
        content = outside.of(self.store.get(name))
        header, rest = _split(name, content)
        key = self._key(name, header)
        if not hmac.compare_digest(entry.signature, _signature(key, manifests.encode(entry.manifest))):
            raise BackupError(f"the manifest of {name} is not the one it was stored with")
        yield b""
        try:
            yield from inside.of(_expanded(open_sealed(rest, key, _context(header))))
        except (BackupError, zstandard.ZstdError) as exc:
            raise BackupError(f"{name}: {exc}") from exc
        found = (inside.size, inside.digest.hexdigest(), outside.size, outside.digest.hexdigest())
        if found != (stored.plain_bytes, stored.plain_sha256, stored.stored_bytes, stored.stored_sha256):
            raise BackupError(f"{name} is not what its manifest describes")

    def _key(self, name: str, header: bytes) -> bytes:
        try:
            facts = json.loads(header)
            key_id, wrapped, said = str(facts["key_id"]), base64.b64decode(facts["key"]), facts["name"]
        except (ValueError, KeyError, TypeError) as exc:
            raise BackupError(f"{name} has no header that can be read") from exc
        if said != name:
            raise BackupError(f"{name} has the content of {said}: was it copied or renamed?")
        try:
            if wrapped not in self._unwrapped:
                self._unwrapped[wrapped] = self.keys.unwrap(key_id, wrapped)
        except BackupError as exc:
            raise BackupError(f"{name}: {exc}") from exc
        return self._unwrapped[wrapped]


class _Count:
    """Counts and digests what passes."""

    def __init__(self) -> None:
        self.size, self.digest = 0, hashlib.sha256()

    def of(self, stream: Iterable[bytes]) -> Iterator[bytes]:
        for part in stream:
            self.size += len(part)
            self.digest.update(part)
            yield part


def _entry(blob: Blob) -> Entry:
    text, _, signature = blob.manifest.rpartition(" ")
    return Entry(manifests.decode(blob.name, text), blob.size, signature)


def _signature(key: bytes, text: str) -> str:
    return hmac.new(hmac.digest(key, b"manifest", "sha256"), text.encode(), "sha256").hexdigest()


def _context(header: bytes) -> bytes:
    return hashlib.sha256(MAGIC + header).digest()


def _after(header: bytes, sealed: Iterable[bytes]) -> Iterator[bytes]:
    yield MAGIC + len(header).to_bytes(LENGTH, "big") + header
    yield from sealed


def _split(name: str, content: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Return the header and what comes after it."""
    start, buffer = len(MAGIC) + LENGTH, bytearray()
    wanted = start
    while len(buffer) < wanted:
        part = next(content, b"")
        if not part:
            raise BackupError(f"{name} is cut off in its header")
        buffer += part
        if wanted == start and len(buffer) >= start:
            length = int.from_bytes(buffer[len(MAGIC) : start], "big")
            if not buffer.startswith(MAGIC) or length > LARGEST_HEADER:
                raise BackupError(f"{name} is not of this program")
            wanted = start + length

    def rest() -> Iterator[bytes]:
        yield bytes(buffer[wanted:])
        yield from content

    return bytes(buffer[start:wanted]), rest()


def _compressed(plain: Iterable[bytes]) -> Iterator[bytes]:
    compressor = zstandard.ZstdCompressor(level=LEVEL, threads=1).compressobj()
    for part in plain:
        if made := compressor.compress(part):
            yield made
    yield compressor.flush()


def _expanded(stream: Iterable[bytes]) -> Iterator[bytes]:
    expander = zstandard.ZstdDecompressor().decompressobj()
    for part in stream:
        if made := expander.decompress(part):
            yield made
    if not expander.eof:
        raise BackupError("the compressed content is cut off")
