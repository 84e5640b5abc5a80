"""Encryption of a stream: AES-256-GCM in pieces, so that what was read so far can be trusted before the end is there.

The construction STREAM (Hoang, Reyhanitabar, Rogaway, Vizár): the nonce is the number of the piece and whether it is
the last one, so none can be left out, repeated, swapped or cut off. Each stream has its own key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mariadb_archive.errors import BackupError

__all__ = ["KEY_BYTES", "open_sealed", "pieces", "seal"]

KEY_BYTES = 32
PIECE = 1 << 20
TAG = 16


def seal(plain: Iterable[bytes], key: bytes, context: bytes) -> Iterator[bytes]:
    """Give the sealed pieces of a stream.

    Args:
        plain: the stream, in parts of any size.
        key: 32 bytes that seal nothing else.
        context: what `open_sealed` has to be given as well; it is not part of the result.
    """
    cipher = AESGCM(key)
    for number, last, piece in _numbered(pieces(plain, PIECE)):
        yield cipher.encrypt(_nonce(number, last=last), piece, context)


def open_sealed(sealed: Iterable[bytes], key: bytes, context: bytes) -> Iterator[bytes]:
    """Give the stream that was sealed, each piece after it was checked.

    Raises:
        BackupError: key or context are others, or the stream was changed or cut off.
    """
    cipher = AESGCM(key)
    for number, last, piece in _numbered(pieces(sealed, PIECE + TAG)):
        try:
            yield cipher.decrypt(_nonce(number, last=last), piece, context)
        except (InvalidTag, ValueError) as exc:
            raise BackupError(
                f"piece {number} is not what was stored: changed, cut off, or sealed by another key"
            ) from exc


def pieces(stream: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Cut a stream into pieces of one size; the last may be shorter, and an empty stream has one that is empty."""
    buffer, given = bytearray(), False
    for part in stream:
        buffer += part
        start = 0
        while len(buffer) - start >= size:
            yield bytes(buffer[start : start + size])
            start, given = start + size, True
        del buffer[:start]
    if buffer or not given:
        yield bytes(buffer)


def _numbered(stream: Iterator[bytes]) -> Iterator[tuple[int, bool, bytes]]:
    number, piece = 0, next(stream)
    for following in stream:
        yield number, False, piece
        number, piece = number + 1, following
    yield number, True, piece


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])
