# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets that lie in an inventory in clear text, found by the name of a variable or by the form of its value."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Callable, Iterator, Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.preflight.variables import Problem

__all__ = ["find_secrets"]

_SECRET_NAME: t.Final = re.compile(
    r"(^|_)(password|passwd|passphrase|secret|token|credential|api_?key|access_?key|account_?key|private_?key"
    r"|client_?secret|connection_?string|sas)s?$",
    re.IGNORECASE,
)
_SECRET_VALUE: t.Final = {
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a signed token": re.compile(r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]+"),
    "a storage account key": re.compile(r"\b(AccountKey|SharedAccessKey)=[A-Za-z0-9+/]{40,}"),
    "a shared access signature": re.compile(r"[?&]sig=[A-Za-z0-9%+/]{30,}"),
    "an Entra client secret": re.compile(r"\b[A-Za-z0-9_~.-]{3}[78]Q~[A-Za-z0-9_~.-]{31,34}\b"),
    "a GitHub token": re.compile(r"\b(ghp|gho|ghs|github_pat)_\w{30,}"),
    "a password in an address": re.compile(r"\b[a-z][a-z0-9+.-]*://[^/\s:@{}]+:[^/\s:@{}]+@"),
}
_TEMPLATE: t.Final = re.compile(r"\{\{.*\}\}|\{%.*%\}", re.DOTALL)
_REMEDY: t.Final = (
    "Keep it in Key Vault, or encrypt the file with SOPS or ansible-vault, or take it from the environment; "
    "and replace it, since it was written down"
)


def find_secrets(
    variables: Mapping[str, t.Any], *, is_encrypted: Callable[[str, object], bool] = lambda _path, _value: False
) -> list[Problem]:
    """Values that look like secrets. A template, a lookup or an encrypted value is none.

    Args:
        variables: as written, before any template is evaluated.
        is_encrypted: tells values that were encrypted from those in clear text, by path and value.
    """
    problems = []
    for path, name, value in _leaves(variables):
        if is_encrypted(path, value):
            continue
        kind = _kind(name, str(value))
        if kind:
            problems.append(Problem(where=path, what=f"holds {kind} in clear text", remedy=_REMEDY))
    return problems


def _kind(name: str, value: str) -> str:
    for kind, form in _SECRET_VALUE.items():
        if form.search(value):
            return kind
    if value and _SECRET_NAME.search(name) and not _TEMPLATE.search(value):
        return "a secret"
    return ""


def _leaves(value: object, path: str = "", name: str = "") -> Iterator[tuple[str, str, object]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key), str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]", name)
    elif isinstance(value, str):
        yield path, name, value
