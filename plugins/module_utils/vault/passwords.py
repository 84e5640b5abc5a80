# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make passwords and symmetric keys."""

from __future__ import annotations

import base64
import math
import secrets
import string

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError

__all__ = ["SAFE_ALPHABET", "check_alphabet", "check_key_length", "random_key", "random_password"]

SAFE_ALPHABET = string.ascii_letters + string.digits + "._-"
"""Letters, digits and ``._-``: what survives ``echo -e`` and a Java properties file (OpenMRS start-up script)."""

CLASSES = (string.ascii_lowercase, string.ascii_uppercase, string.digits)
MINIMUM_BITS = 128


def check_alphabet(alphabet: str, length: int, *, where: str) -> None:
    """Raise InputError when a password of ``length`` characters out of ``alphabet`` holds less than 128 bits."""
    bits = length * math.log2(len(set(alphabet))) if alphabet else 0.0
    if bits < MINIMUM_BITS:
        raise InputError(
            what=f"a password of {length} characters out of {len(set(alphabet))} holds only {bits:.0f} bits",
            where=where,
            remedy=f"ask for at least {MINIMUM_BITS} bits by a greater length or a larger alphabet",
        )


def check_key_length(length: int, *, where: str) -> None:
    """Raise InputError when a key of ``length`` bytes is shorter than 128 bits."""
    if length * 8 < MINIMUM_BITS:
        raise InputError(
            what=f"a key of {length} bytes is too short",
            where=where,
            remedy=f"ask for at least {MINIMUM_BITS // 8} bytes",
        )


def random_password(*, length: int = 32, alphabet: str = SAFE_ALPHABET) -> str:
    """Return a password that starts with a letter or digit and holds each class its alphabet knows.

    So no password policy refuses it (OpenMRS wants lower case, upper case and a digit) and no command line takes it
    for an option.
    """
    check_alphabet(alphabet, length, where="password")
    wanted = [set(members) for members in CLASSES if set(members) & set(alphabet)]
    first = [character for character in alphabet if character.isalnum()] or list(alphabet)
    while True:
        candidate = secrets.choice(first) + "".join(secrets.choice(alphabet) for _ in range(length - 1))
        if all(members & set(candidate) for members in wanted):
            return candidate


def random_key(*, length: int = 32) -> str:
    """Return ``length`` random bytes in base64."""
    check_key_length(length, where="key")
    return base64.b64encode(secrets.token_bytes(length)).decode("ascii")
