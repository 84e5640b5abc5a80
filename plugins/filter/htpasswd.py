# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filter C(htpasswd)."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import PlatformError
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.derived import htpasswd_entry

DOCUMENTATION = r"""
name: htpasswd
short_description: Make a line of an htpasswd file that stays the same
version_added: 0.2.0
author: AudioProthese+ platform team (@audioprothese)
positional: user
description:
  - Gives C(user:$2y$...), with bcrypt, as nginx and Apache read it.
  - The salt follows from O(realm) and O(user), so that the line changes only when the password does. Two environments
    that name other realms have other salts.
requirements:
  - bcrypt >= 4.2
options:
  _input:
    description: The password, at most 72 bytes, for bcrypt ignores the rest.
    type: str
    required: true
  user:
    description: Name of the user, without a colon.
    type: str
    required: true
  realm:
    description: What the file protects; anything that tells it from others, such as the name of the environment.
    type: str
    required: true
  cost:
    description: Work of one check, as a power of two.
    type: int
    default: 12
"""

EXAMPLES = r"""
stringData:
  htpasswd: "{{ password | audioprothese.platform.htpasswd('doctor', realm='prometheus-prod') }}"
# => doctor:$2y$12$...
"""

RETURN = r"""
_value:
  description: The line, without its end.
  type: str
"""


def htpasswd(password: t.Any, user: t.Any, realm: t.Any, cost: int = 12) -> str:
    """A line of an htpasswd file."""
    if not all(isinstance(value, str) and value for value in (password, user, realm)):
        raise AnsibleFilterError("audioprothese.platform.htpasswd takes a password, a user and a realm, none empty.")
    try:
        return htpasswd_entry(str(password), str(user), realm=str(realm), cost=int(cost))
    except ImportError as exc:
        raise AnsibleFilterError("audioprothese.platform.htpasswd needs the Python library bcrypt.") from exc
    except PlatformError as exc:
        raise AnsibleFilterError(f"audioprothese.platform.htpasswd: {exc}") from exc


class FilterModule:
    """Ansible's way to find it."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Name and function."""
        return {"htpasswd": htpasswd}
