# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Give OpenMRS the password that the vault has. It accepts one at any time, so the old one is what changes it."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Callable

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.findings import Finding
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.plan import Action, Change
from ansible_collections.audioprothese.platform.plugins.module_utils.openmrs.administrator import OpenMRSError

__all__ = ["TYPE", "Outcome", "Passwords", "converge"]

TYPE: t.Final = "openmrs/user"
_PATH: t.Final = "password"


class User(t.Protocol):
    """See Administrator."""

    name: str

    def accepts(self, password: str) -> bool | None: ...

    def exchange(self, old: str, new: str) -> None: ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Passwords:
    """What the vault says.

    Attributes:
        current: must be accepted.
        before: what a rotation under way replaces; empty where there is none.
    """

    current: str
    before: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was found and done.

    Attributes:
        proven: the current password is accepted, and the one before refused.
        pending: OpenMRS could not be asked.
    """

    findings: list[Finding]
    actions: list[Action]
    proven: bool = False
    pending: bool = False


def converge(user: User, passwords: Passwords, *, check: bool, hold: Callable[[], Callable[[], None]]) -> Outcome:
    """Have the user sign in with the current password, and prove that the one before is refused.

    Args:
        user: of OpenMRS.
        passwords: of the vault.
        check: change nothing.
        hold: takes the environment's lease; gives what to call before the write.

    Raises:
        OpenMRSError: it accepts neither password, or both, or did not change it.
    """
    accepted = user.accepts(passwords.current)
    if accepted is None:
        return Outcome(findings=[_untold(user)], actions=[], pending=True)
    actions: list[Action] = []
    if not accepted:
        if not passwords.before or not user.accepts(passwords.before):
            raise OpenMRSError(
                "OpenMRS accepts neither the password of the vault nor the one before",
                where=f"OpenMRSUser/{user.name}",
                remedy="Sign in as another administrator, set it to the one of the vault, and run again",
            )
        change = Change(_PATH, "current password accepted", "password before accepted")
        actions.append(Action(verb="update", resource=f"OpenMRSUser/{user.name}", type=TYPE, changes=[change]))
        finding = _finding(user, "drift", "it still has the password before", action="update")
        if check:
            return Outcome(findings=[finding], actions=actions)
        hold()()
        user.exchange(passwords.before, passwords.current)
    _check(user, passwords)
    return Outcome(
        findings=[_finding(user, "equal", "the password of the vault signs in")], actions=actions, proven=True
    )


def _check(user: User, passwords: Passwords) -> None:
    """The proof, after a change as well as without one."""
    where = f"OpenMRSUser/{user.name}"
    if not user.accepts(passwords.current):
        raise OpenMRSError("the password was changed and is not accepted", where=where, remedy="Run again")
    if passwords.before and passwords.before != passwords.current and user.accepts(passwords.before) is not False:
        raise OpenMRSError("the password before is still accepted", where=where, remedy="Look at who changed it")


def _untold(user: User) -> Finding:
    return _finding(user, "not_verifiable", "OpenMRS does not answer, or nobody runs its pods")


def _finding(user: User, verdict: t.Any, message: str, *, action: str = "") -> Finding:
    return Finding(
        source="openmrs",
        resource=f"OpenMRSUser/{user.name}",
        type=TYPE,
        path=_PATH,
        verdict=verdict,
        action=action,
        message=message,
    )
