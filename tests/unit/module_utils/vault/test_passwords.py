# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Passwords and symmetric keys."""

from __future__ import annotations

import base64
import string

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.vault import passwords


def test_a_password_has_every_class_and_starts_with_a_letter_or_digit() -> None:
    for _ in range(500):
        password = passwords.random_password()
        assert len(password) == 32
        assert set(password) <= set(passwords.SAFE_ALPHABET)
        assert password[0].isalnum()
        for members in (string.ascii_lowercase, string.ascii_uppercase, string.digits):
            assert set(members) & set(password)


def test_passwords_differ() -> None:
    assert len({passwords.random_password() for _ in range(100)}) == 100


def test_the_alphabet_is_respected() -> None:
    assert set(passwords.random_password(length=40, alphabet="abcdef0123456789")) <= set("abcdef0123456789")


@pytest.mark.parametrize(("length", "alphabet"), [(21, passwords.SAFE_ALPHABET), (128, "a"), (0, "abc"), (32, "")])
def test_a_weak_password_is_refused(length: int, alphabet: str) -> None:
    with pytest.raises(InputError, match="bits"):
        passwords.check_alphabet(alphabet, length, where="x")


def test_a_repeated_character_adds_no_strength() -> None:
    with pytest.raises(InputError):
        passwords.check_alphabet("a" * 64, 32, where="x")


def test_a_key_is_random_bytes_in_base64() -> None:
    assert len(base64.b64decode(passwords.random_key(length=48), validate=True)) == 48
    assert passwords.random_key() != passwords.random_key()
    with pytest.raises(InputError, match="too short"):
        passwords.random_key(length=15)
