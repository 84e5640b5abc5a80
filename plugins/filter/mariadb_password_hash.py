# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filter C(mariadb_password_hash)."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.sql import password_hash

DOCUMENTATION = r"""
name: mariadb_password_hash
short_description: What MariaDB's mysql_native_password keeps of a password
version_added: 0.2.0
author: AudioProthese+ platform team (@audioprothese)
description:
  - Gives the text that C(IDENTIFIED VIA mysql_native_password USING '...') takes. It has no salt, so that it is the
    same in each run.
  - It is no protection against guessing; the password must be a long random one.
options:
  _input:
    description: The password.
    type: str
    required: true
"""

EXAMPLES = r"""
statement: "ALTER USER openmrs@'%' IDENTIFIED VIA mysql_native_password USING '{{ hash }}'"
hash: "{{ 'secret' | audioprothese.platform.mariadb_password_hash }}"
# => *14E65567ABDB5135D0CFD9A70B3032C179A49EE7
"""

RETURN = r"""
_value:
  description: An asterisk and 40 hexadecimal digits.
  type: str
"""


def mariadb_password_hash(password: t.Any) -> str:
    """Hash of a password."""
    if not isinstance(password, str) or not password:
        raise AnsibleFilterError("audioprothese.platform.mariadb_password_hash takes a password that is not empty.")
    return password_hash(str(password))


class FilterModule:
    """Ansible's way to find it."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Name and function."""
        return {"mariadb_password_hash": mariadb_password_hash}
