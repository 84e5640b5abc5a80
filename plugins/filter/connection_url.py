# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filter C(connection_url)."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping

from ansible.errors import AnsibleFilterError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import PlatformError
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.derived import url

DOCUMENTATION = r"""
name: connection_url
short_description: Make a connection URL with user and password
version_added: 0.2.0
author: AudioProthese+ platform team (@audioprothese)
positional: user, host
description:
  - Quotes whatever is not plain in user, password, database and options, as RFC 3986 wants it, so that no password ends
    the URL early or points it to another host.
  - Not for JDBC, whose drivers do not agree on how to read a quoted password. Give those user and password apart.
options:
  _input:
    description: The password.
    type: str
    required: true
  user:
    description: The user.
    type: str
    required: true
  host:
    description: Name or address; one of IPv6 without its brackets.
    type: str
    required: true
  port:
    description: Port, if not the usual one.
    type: int
  database:
    description: Database.
    type: str
    default: ""
  scheme:
    description: Scheme.
    type: str
    default: mariadb
  options:
    description: What follows the question mark.
    type: dict
    default: {}
"""

EXAMPLES = r"""
url: "{{ password | audioprothese.platform.connection_url('openmrs', 'db.svc', database='openmrs', options=options) }}"
options: {tls: "true"}
# => mariadb://openmrs:p%40ss%2Fword@db.svc/openmrs?tls=true  # pragma: allowlist secret
"""

RETURN = r"""
_value:
  description: The URL.
  type: str
"""


def connection_url(password: t.Any, user: t.Any, host: t.Any, **more: t.Any) -> str:
    """Connection URL."""
    unknown = sorted(set(more) - {"port", "database", "scheme", "options"})
    if unknown:
        raise AnsibleFilterError(f"audioprothese.platform.connection_url has no option {unknown[0]}.")
    if not all(isinstance(value, str) and value for value in (password, user, host)):
        raise AnsibleFilterError(
            "audioprothese.platform.connection_url takes a password, a user and a host, none empty."
        )
    options = more.get("options") or {}
    if not isinstance(options, Mapping):
        raise AnsibleFilterError("audioprothese.platform.connection_url: options is a dictionary.")
    parts = {"scheme": more.get("scheme") or "mariadb", "port": more.get("port"), "path": more.get("database") or ""}
    try:
        return url(str(password), user=str(user), host=str(host), query=options, **parts)
    except PlatformError as exc:
        raise AnsibleFilterError(f"audioprothese.platform.connection_url: {exc}") from exc


class FilterModule:
    """Ansible's way to find it."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Name and function."""
        return {"connection_url": connection_url}
