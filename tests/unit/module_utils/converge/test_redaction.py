# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.redaction import FINGERPRINT, Redactor

SECRET = 'p4ss/w+rd "quoted"\nsecond line'


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        f"jdbc:mariadb://db?password={SECRET}&x=1",
        base64.b64encode(SECRET.encode()).decode(),
        json.dumps({"password": SECRET}),
        "password=p4ss%2Fw%2Brd%20%22quoted%22%0Asecond%20line",
    ],
)
def test_no_form_of_a_secret_is_left(text: str) -> None:
    redactor = Redactor(b"key")
    redactor.add(SECRET)
    out = redactor.redact({"deep": [{text: text}]})
    assert FINGERPRINT.search(json.dumps(out, ensure_ascii=False))
    assert "p4ss" not in json.dumps(out)
    assert base64.b64encode(SECRET.encode()).decode() not in json.dumps(out)


def test_a_change_stays_visible_and_the_key_decides() -> None:
    assert Redactor(b"key").fingerprint("one") == Redactor(b"key").fingerprint("one")
    assert Redactor(b"key").fingerprint("one") != Redactor(b"key").fingerprint("two")
    assert Redactor(b"key").fingerprint("one") != Redactor(b"other").fingerprint("one")
    assert Redactor(b"key").stable
    assert not Redactor().stable


def test_a_short_secret_is_replaced_only_where_it_stands_alone() -> None:
    redactor = Redactor(b"key")
    redactor.add("abc")
    assert redactor.redact(["abc", "abcdef", 5, None, True]) == [redactor.fingerprint("abc"), "abcdef", 5, None, True]


def test_the_longer_of_two_overlapping_secrets_wins() -> None:
    redactor = Redactor(b"key")
    for secret in ("longsecret", "longsecret-more"):
        redactor.add(secret)
    assert redactor.redact("x longsecret-more") == f"x {redactor.fingerprint('longsecret-more')}"
