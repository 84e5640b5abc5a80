# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files of an inventory that SOPS encrypts, judged by their text alone: neither program nor key is needed.

SOPS leaves the names as they are, encrypts every value, and adds its metadata below C(sops). Source: sections
"Encryption Protocol" and "Key groups" of https://github.com/getsops/sops/blob/v3.13.3/README.rst.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.preflight.variables import Problem

__all__ = ["SUFFIXES", "encrypted_paths", "find_clear_values", "find_undecrypted", "is_ciphertext"]

# What community.sops reads without being told otherwise (its option valid_extensions).
SUFFIXES: t.Final = (".sops.yml", ".sops.yaml", ".sops.json")
_METADATA: t.Final = "sops"
_CIPHERTEXT: t.Final = "ENC[AES256_GCM,"


def is_ciphertext(value: object) -> bool:
    """Whether a value is one that SOPS encrypted."""
    return isinstance(value, str) and value.startswith(_CIPHERTEXT)


def encrypted_paths(document: object) -> set[str]:
    """Where a document holds encrypted values, C(connection.tokens[0]); nothing when it is not encrypted.

    Args:
        document: a file as it was parsed.
    """
    return {path for path, value in _values(document) if is_ciphertext(value)} if _has_metadata(document) else set()


def find_clear_values(where: str, document: object) -> list[Problem]:
    """The one problem of a file that is not encrypted, or not all of it; no value is shown.

    Args:
        where: its path, for people.
        document: the file as it was parsed; C(None) when it cannot be parsed.
    """
    if not _has_metadata(document):
        return [_clear(where, "is not encrypted", f"Run: sops encrypt --in-place {where}")]
    names = ", ".join(path for path, value in _values(document) if not is_ciphertext(value))
    remedy = f"Take them out, and put them in with: sops edit {where}"
    return [_clear(where, f"holds values in clear text ({names})", remedy)] if names else []


def _clear(where: str, what: str, remedy: str) -> Problem:
    return Problem(where=where, what=what, remedy=f"{remedy}. And replace the secrets, since they were written down")


def find_undecrypted(variables: Mapping[str, object]) -> list[Problem]:
    """The one problem of variables that nobody decrypted.

    Args:
        variables: of the inventory, before any template is evaluated.
    """
    names = sorted(
        name
        for name, value in variables.items()
        if name != _METADATA and any(is_ciphertext(each) for _path, each in _values(value))
    )
    remedy = (
        "In ansible.cfg, section defaults: vars_plugins_enabled = host_group_vars, audioprothese.platform.sops; or in "
        "the environment: ANSIBLE_VARS_ENABLED=host_group_vars,audioprothese.platform.sops"
    )
    return [Problem(where=", ".join(names), what="is still encrypted by SOPS", remedy=remedy)] if names else []


def _has_metadata(document: object) -> bool:
    return isinstance(document, Mapping) and isinstance(document.get(_METADATA), Mapping)


def _values(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Every value but the metadata and what SOPS never encrypts: empty text and null."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if path or key != _METADATA:
                yield from _values(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _values(item, f"{path}[{index}]")
    elif value not in (None, ""):
        yield path, value
