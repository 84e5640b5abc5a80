# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""SQL as text: the one place where values are quoted, and the answers of the client read. Pure."""

from __future__ import annotations

import hashlib
import re
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError

__all__ = ["account", "answers", "assignments", "identifier", "literal", "marked", "password_hash"]

_LONGEST_IDENTIFIER = 64
"""Characters. Source: https://mariadb.com/kb/en/identifier-names/"""
_ESCAPES = {"t": "\t", "n": "\n", "0": "\0", "\\": "\\"}


def literal(value: str | int | float | bool) -> str:
    """A value as SQL writes it.

    Backslashes are escapes unless sql_mode holds NO_BACKSLASH_ESCAPES, which the session does not set.

    Raises:
        InputError: the text holds a NUL, which the client cannot send.
    """
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, (int, float)):
        return str(value)
    if "\0" in value:
        raise InputError("a value holds a NUL character", remedy="Remove it")
    escaped = value.replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{escaped}'"


def identifier(name: str) -> str:
    """A name as SQL writes it, in backquotes.

    Raises:
        InputError: no server takes such a name.
    """
    if not name or "\0" in name or len(name) > _LONGEST_IDENTIFIER or name != name.rstrip(" "):
        raise InputError(
            f"{name!r} is no name for an object of a database",
            remedy=f"Use 1 to {_LONGEST_IDENTIFIER} characters that do not end in a space",
        )
    return "`" + name.replace("`", "``") + "`"


def account(user: str, host: str) -> str:
    """An account as SQL writes it: C('user'@'host')."""
    return f"{literal(user)}@{literal(host)}"


def password_hash(password: str) -> str:
    """What mysql_native_password stores: C(*) and the doubled SHA-1, in hexadecimal capitals.

    Source: https://mariadb.com/kb/en/authentication-plugin-mysql_native_password/ (SHA-1 is the plugin's; a random
    password of 32 characters is out of reach all the same).
    """
    inner = hashlib.sha1(password.encode()).digest()  # noqa: S324 - the protocol's hash
    return "*" + hashlib.sha1(inner).hexdigest().upper()  # noqa: S324


def marked(statements: Sequence[str], token: str) -> str:
    """A script whose answers C(answers) can tell apart.

    Args:
        statements: queries without the final semicolon.
        token: a word that occurs in no answer, letters and digits.
    """
    return "".join(f"SELECT '{token}';\n{statement};\n" for statement in statements) + f"SELECT '{token}';\n"


def answers(output: str, token: str) -> list[list[dict[str, str]]]:
    """The rows of each statement, read from what C(mariadb --batch) prints with column names.

    SQL's NULL reads C(NULL), as the client prints it.
    """
    lines, found, rows = output.splitlines(), t.cast("list[list[str]]", []), t.cast("list[str]", [])
    position = 0
    while position < len(lines):
        if lines[position] == token and lines[position + 1 : position + 2] == [token]:
            found.append(rows)
            rows = []
            position += 2
            continue
        rows.append(lines[position])
        position += 1
    return [_table(part) for part in found[1:]]


def _table(lines: Sequence[str]) -> list[dict[str, str]]:
    if not lines:
        return []
    names = [_unescape(name) for name in lines[0].split("\t")]
    return [dict(zip(names, map(_unescape, line.split("\t")), strict=True)) for line in lines[1:]]


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match.group(1), match.group(0)), text)


def assignments(values: Mapping[str, str | int | float | bool]) -> str:
    """C(NAME=value, ...), for CHANGE MASTER."""
    return ", ".join(f"{name}={literal(value)}" for name, value in values.items())
