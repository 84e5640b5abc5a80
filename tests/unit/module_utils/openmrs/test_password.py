# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.openmrs.administrator import OpenMRSError
from ansible_collections.audioprothese.platform.plugins.module_utils.openmrs.password import Passwords, converge

OPEN = Passwords(current="new", before="old")


@dataclasses.dataclass
class User:
    """Accepts one password, like OpenMRS; `stubborn` is accepted besides, and None answers nothing."""

    password: str | None
    stubborn: str = ""
    name: str = "admin"
    held: int = 0

    def accepts(self, password):
        return None if self.password is None else password in (self.password, self.stubborn)

    def exchange(self, old, new):
        assert old == self.password
        assert self.held, "the lease was not taken"
        self.password = new

    def hold(self):
        def check():
            self.held += 1

        return check


def run(user, passwords=OPEN, *, check=False):
    return converge(user, passwords, check=check, hold=user.hold)


@pytest.mark.parametrize("passwords", [OPEN, Passwords(current="new")], ids=["rotating", "at rest"])
def test_what_is_accepted_already_is_proven_without_a_change(passwords):
    user = User("new")
    outcome = run(user, passwords)
    assert (outcome.proven, outcome.actions, user.held) == (True, [], 0)


def test_the_old_password_changes_itself():
    user = User("old")
    outcome = run(user)
    assert (user.password, outcome.proven) == ("new", True)
    assert [action.resource for action in outcome.actions] == ["OpenMRSUser/admin"]


def test_check_mode_predicts_the_change():
    user = User("old")
    outcome = run(user, check=True)
    assert (user.password, outcome.proven, user.held) == ("old", False, 0)
    assert outcome.actions == run(user).actions
    assert [finding.verdict for finding in outcome.findings] == ["drift"]


def test_silence_proves_nothing():
    outcome = run(User(None))
    assert (outcome.proven, outcome.pending) == (False, True)
    assert [finding.verdict for finding in outcome.findings] == ["not_verifiable"]


@pytest.mark.parametrize(
    ("user", "passwords", "message"),
    [
        (User("else"), OPEN, "accepts neither"),
        (User("else"), Passwords(current="new"), "accepts neither"),
        (User("new", stubborn="old"), OPEN, "before is still accepted"),
    ],
)
def test_what_cannot_be_is_an_error(user, passwords, message):
    with pytest.raises(OpenMRSError, match=message):
        run(user, passwords)
