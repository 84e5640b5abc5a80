# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Forms of a secret that other programs read. Pure: the same input always gives the same text."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import typing as t
import urllib.parse
from collections.abc import Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError

__all__ = ["BCRYPT_LONGEST", "bcrypt_salt", "htpasswd_entry", "url"]

BCRYPT_LONGEST = 72
"""Bytes that bcrypt reads of a password. Source: Provos and Mazieres, "A Future-Adaptable Password Scheme", 1999."""

_COSTS = range(4, 32)
_STANDARD = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_BCRYPT = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def bcrypt_salt(user: str, realm: str, *, cost: int) -> bytes:
    """A salt that is always the same for a user of a realm, and another one for every other user and realm.

    It is made from no secret: one that depended on the password would let it be guessed without bcrypt's cost.

    Raises:
        InputError: the cost is none that bcrypt knows.
    """
    if cost not in _COSTS:
        raise InputError(
            f"bcrypt has no cost {cost}", where="cost", remedy=f"Choose {_COSTS.start} to {_COSTS.stop - 1}"
        )
    digest = hashlib.sha256(f"{len(realm)}:{realm}:{user}".encode()).digest()[:16]
    encoded = base64.b64encode(digest).rstrip(b"=").translate(bytes.maketrans(_STANDARD, _BCRYPT))
    return b"$2y$%02d$" % cost + encoded


def htpasswd_entry(password: str, user: str, *, realm: str, cost: int) -> str:
    """A line of an htpasswd file, C(user:$2y$...), with a salt that stays.

    Raises:
        InputError: the user cannot stand in such a file, or bcrypt would not read the whole password.
    """
    import bcrypt  # noqa: PLC0415  (only where this filter is used)

    if not user or any(character in user for character in ":\r\n\0"):
        raise InputError(f"{user!r} is no user name for an htpasswd file", remedy="Leave out colons and line ends")
    if not 0 < len(password.encode()) <= BCRYPT_LONGEST or "\0" in password:
        raise InputError(
            f"bcrypt takes a password of 1 to {BCRYPT_LONGEST} bytes without NUL", where=user, remedy="Shorten it"
        )
    # The library writes 2b; 2y is the same to every reader, and what Apache's htpasswd writes.
    salt = bcrypt_salt(user, realm, cost=cost).replace(b"$2y$", b"$2b$")
    return f"{user}:{bcrypt.hashpw(password.encode(), salt).decode().replace('$2b$', '$2y$', 1)}"


def url(password: str, **parts: t.Any) -> str:
    """A connection URL as RFC 3986 has it, everything quoted that is not plain.

    Args:
        password: of the user.
        parts: C(scheme), C(user), C(host), C(port) or None, C(path), and C(query), a mapping.

    Raises:
        InputError: scheme or host cannot stand in a URL.
    """
    scheme, host = str(parts["scheme"]), str(parts["host"])
    if not scheme.replace("+", "").replace("-", "").replace(".", "").isalnum() or not scheme[0].isalpha():
        raise InputError(f"{scheme!r} is no scheme of a URL", remedy="Name one like mariadb")
    if not host or any(character in host for character in "/?#@[] \t\r\n"):
        raise InputError(f"{host!r} is no host of a URL", remedy="Give a name or an address, without brackets")
    login = f"{_quoted(parts['user'])}:{_quoted(password)}@"
    place = f"[{host}]" if _is_ipv6(host) else host
    place += f":{parts['port']}" if parts.get("port") else ""
    query: Mapping[str, t.Any] = parts.get("query") or {}
    tail = "?" + urllib.parse.urlencode(query, quote_via=urllib.parse.quote, safe="") if query else ""
    return f"{scheme}://{login}{place}/{_quoted(parts.get('path') or '')}{tail}"


def _quoted(text: t.Any) -> str:
    return urllib.parse.quote(str(text), safe="")


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6  # noqa: PLR2004
    except ValueError:
        return False
