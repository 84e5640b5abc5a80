# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Errors of the database's side."""

from __future__ import annotations

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import PlatformError

__all__ = ["MariaDBError"]


class MariaDBError(PlatformError):
    """A server refused a statement, or cannot be asked.

    Args:
        code: the server's or client's error number, 0 when there is none.
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "", code: int = 0) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.code = code
