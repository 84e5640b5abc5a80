# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One family of exceptions: what failed, where, and what to do."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

__all__ = ["CycleError", "GuardError", "InputError", "LeaseError", "OutcomeError", "PlanMismatch", "PlatformError"]


class PlatformError(Exception):
    """A failure a user can act on.

    Args:
        what: what failed, as a sentence without the final stop; never holds a secret.
        where: the resource, path or variable it is about.
        remedy: what to do next.
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(what)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        text = text if text.endswith((".", "!", "?")) else text + "."
        if not self.remedy:
            return text
        return f"{text} {self.remedy}" if self.remedy.endswith((".", "!", "?")) else f"{text} {self.remedy}."


class InputError(PlatformError):
    """A document, option or variable is wrong: nothing was read or written yet."""


class CycleError(InputError):
    """Documents depend on each other in a circle."""


class GuardError(PlatformError):
    """The plan would do something that needs explicit consent or cannot be done in place."""


class PlanMismatch(PlatformError):
    """The plan is not the one that was approved."""


class LeaseError(PlatformError):
    """Another run holds the environment, or the lease was lost."""


class OutcomeError(PlatformError):
    """A run that failed after it had something to report.

    Args:
        cause: the failure.
        outcome: the result as far as it is known (findings, plan...), already redacted.
    """

    def __init__(self, cause: PlatformError, outcome: Mapping[str, t.Any]) -> None:
        super().__init__(cause.what, where=cause.where, remedy=cause.remedy)
        self.outcome = dict(outcome)
