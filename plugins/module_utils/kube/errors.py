# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Errors of the Kubernetes side, in the words of the API server's Status."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import PlatformError

__all__ = ["NOT_IN_SCHEMA", "ApiError", "Cause", "ConflictError", "ConnectionFailed", "KubeError"]

NOT_IN_SCHEMA = "field not declared in schema"
"""What server-side apply says about an unknown field, with status 500 although trying again is pointless."""


class KubeError(PlatformError):
    """A failure while talking to a cluster or converging it."""


class ConnectionFailed(KubeError):
    """The API server cannot be reached, or does not accept who asks."""


@dataclasses.dataclass(frozen=True, slots=True)
class Cause:
    """One entry of C(details.causes) of a Status.

    Attributes:
        reason: C(FieldManagerConflict), C(FieldValueInvalid)...
        field: where in the object, in the API server's notation.
        message: the API server's sentence; may hold values.
    """

    reason: str
    field: str
    message: str


class ApiError(KubeError):
    """The API server refused a request.

    Args:
        status: HTTP status code.
        reason: C(reason) of the Status (C(Invalid), C(NotFound)...).
        message: C(message) of the Status.
        causes: C(details.causes).
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        reason: str = "",
        causes: Sequence[Cause] = (),
        where: str = "",
        remedy: str = "",
    ) -> None:
        super().__init__(message, where=where, remedy=remedy)
        self.status, self.reason, self.causes = status, reason, tuple(causes)


class ConflictError(ApiError):
    """Other field managers own fields this set declares with other values."""
