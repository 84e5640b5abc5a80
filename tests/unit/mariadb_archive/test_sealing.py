"""Sealed streams: what was stored comes back, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mariadb_archive import sealing
from mariadb_archive.errors import BackupError
from mariadb_archive.sealing import KEY_BYTES, PIECE, TAG, open_sealed, pieces, seal

KEY, CONTEXT = b"k" * KEY_BYTES, b"context"
WHOLE = PIECE + TAG


def sealed(plain: bytes) -> bytes:
    return b"".join(seal([plain], KEY, CONTEXT))


def opened(stored: bytes, key: bytes = KEY, context: bytes = CONTEXT) -> bytes:
    return b"".join(open_sealed([stored], key, context))


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
def test_what_was_sealed_comes_back(size: int) -> None:
    plain = bytes(index % 251 for index in range(size))
    stored = sealed(plain)
    assert plain not in stored or not plain
    assert opened(stored) == plain


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "a bit": lambda stored: stored[:100] + bytes([stored[100] ^ 1]) + stored[101:],
    "a piece twice": lambda stored: stored[:WHOLE] + stored,
    "two pieces swapped": lambda stored: stored[WHOLE : 2 * WHOLE] + stored[:WHOLE] + stored[2 * WHOLE :],
    "a piece left out": lambda stored: stored[WHOLE:],
    "cut off between pieces": lambda stored: stored[: 2 * WHOLE],
    "cut off in a piece": lambda stored: stored[:-1],
    "nothing left": lambda stored: b"",
    "something added": lambda stored: stored + b"x",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_found(change: Callable[[bytes], bytes]) -> None:
    stored = sealed(b"p" * (3 * PIECE))
    with pytest.raises(BackupError, match="is not what was stored"):
        opened(change(stored))


@pytest.mark.parametrize(("key", "context"), [(b"o" * KEY_BYTES, CONTEXT), (KEY, b"other")])
def test_another_key_or_context_opens_nothing(key: bytes, context: bytes) -> None:
    with pytest.raises(BackupError, match="is not what was stored"):
        opened(sealed(b"secret"), key, context)


@pytest.mark.sabotage
def test_without_the_mark_of_the_last_piece_a_cut_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "_nonce", lambda number, *, last: number.to_bytes(12, "big"))
    stored = sealed(b"p" * (3 * PIECE))
    assert opened(stored[: 2 * WHOLE]) == b"p" * (2 * PIECE)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([], [b""]),
        ([b""], [b""]),
        ([b"abc"], [b"ab", b"c"]),
        ([b"a", b"b", b"c", b"d"], [b"ab", b"cd"]),
        ([b"abcdef", b"g"], [b"ab", b"cd", b"ef", b"g"]),
    ],
)
def test_pieces_have_one_size(parts: list[bytes], expected: list[bytes]) -> None:
    assert list(pieces(parts, 2)) == expected
