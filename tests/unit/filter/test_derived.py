# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Derived forms of a secret: what they are, that they stay, and what is refused."""

from __future__ import annotations

import typing as t
import urllib.parse

import bcrypt
import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.audioprothese.platform.plugins.filter.connection_url import connection_url
from ansible_collections.audioprothese.platform.plugins.filter.htpasswd import htpasswd
from ansible_collections.audioprothese.platform.plugins.filter.mariadb_password_hash import mariadb_password_hash

PASSWORDS = ["simple", 'It\'s a "p@ss:/?#[]%+ &=word"', "pässwörd", "back\\slash", " blanks ", "x" * 72]


@pytest.mark.parametrize(
    ("password", "stored"),
    [
        ("secret", "*14E65567ABDB5135D0CFD9A70B3032C179A49EE7"),
        ("mariadb", "*54958E764CE10E50764C2EECBB71D01F08549980"),
    ],
)
def test_the_hash_of_mariadb(password: str, stored: str) -> None:
    assert mariadb_password_hash(password) == stored


@pytest.mark.parametrize("password", PASSWORDS)
def test_an_htpasswd_line_stays_and_is_accepted(password: str) -> None:
    line = htpasswd(password, "doctor", realm="prod", cost=4)
    assert line == htpasswd(password, "doctor", realm="prod", cost=4)
    user, _colon, stored = line.partition(":")
    assert (user, stored[:7]) == ("doctor", "$2y$04$")
    assert bcrypt.checkpw(password.encode(), stored.encode())
    assert not bcrypt.checkpw(b"other", stored.encode())


def test_a_fixed_line_never_changes_with_a_release() -> None:
    expected = "doctor:$2y$04$rvI2o52hUS3Sn/cHx9r2c.0fIsGRk4cDAcrkRnNjGJ/.GCc4qKM86"
    assert htpasswd("simple", "doctor", realm="prod", cost=4) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [(("doctor", "prod"), ("nurse", "prod")), (("doctor", "prod"), ("doctor", "test")), (("b", "a:"), (":b", "a"))],
)
def test_users_and_realms_have_salts_of_their_own(one: tuple[str, str], other: tuple[str, str]) -> None:
    from ansible_collections.audioprothese.platform.plugins.module_utils.vault.derived import (  # noqa: PLC0415
        bcrypt_salt,
    )

    assert bcrypt_salt(*one, cost=4) != bcrypt_salt(*other, cost=4)


@pytest.mark.parametrize(
    ("password", "user", "more"),
    [
        ("", "doctor", {}),
        ("x", "doc:tor", {}),
        ("x", "doc\ntor", {}),
        ("x" * 73, "doctor", {}),
        ("ä" * 37, "doctor", {}),
        ("a\0b", "doctor", {}),
        ("x", "doctor", {"cost": 3}),
        (None, "doctor", {}),
    ],
)
def test_what_htpasswd_refuses(password: t.Any, user: str, more: dict[str, int]) -> None:
    with pytest.raises(AnsibleFilterError, match=r"audioprothese\.platform\.htpasswd") as caught:
        htpasswd(password, user, "prod", **more)
    assert not password or len(str(password)) < 4 or str(password) not in str(caught.value)


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("user", ["openmrs", "o@p:e/n"])
@pytest.mark.parametrize("host", ["db.svc", "10.0.0.1", "fd00::1"])
def test_a_url_says_what_was_put_in(password: str, user: str, host: str) -> None:
    options = {"tls": "true", "a&b": "c=d e"}
    text = connection_url(password, user, host, port=3306, database="my db", options=options)
    assert text == connection_url(password, user, host, port=3306, database="my db", options=options)
    parts = urllib.parse.urlsplit(text)
    assert (parts.scheme, parts.hostname, parts.port) == ("mariadb", host, 3306)
    assert urllib.parse.unquote(parts.username or "") == user
    assert urllib.parse.unquote(parts.password or "") == password
    assert urllib.parse.unquote(parts.path) == "/my db"
    assert dict(urllib.parse.parse_qsl(parts.query)) == options


@pytest.mark.parametrize(
    ("arguments", "more"),
    [
        (("", "u", "h"), {}),
        (("p", "u", "h/x"), {}),
        (("p", "u", "a@b"), {}),
        (("p", "u", "h"), {"scheme": "1a"}),
        (("p", "u", "h"), {"scheme": "a:b"}),
        (("p", "u", "h"), {"prot": 1}),
        (("p", "u", "h"), {"options": "x"}),
    ],
)
def test_what_a_url_refuses(arguments: tuple[str, str, str], more: dict[str, t.Any]) -> None:
    with pytest.raises(AnsibleFilterError, match=r"audioprothese\.platform\.connection_url"):
        connection_url(*arguments, **more)
