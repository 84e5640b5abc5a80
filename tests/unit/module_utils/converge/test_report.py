# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import (
    OutcomeError,
    PlanMismatch,
    PlatformError,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.plan import Action
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.report import Report

SECRET = "correct horse battery staple"


def test_an_error_takes_along_what_is_known() -> None:
    report = Report(requests=lambda: {"GET": 1})
    report.actions.append(Action(verb="create", resource="/i/a", type="T"))
    with pytest.raises(OutcomeError) as failed, report.reporting():
        report.find("vault", "/i/a", "error", "it is gone")
        raise PlatformError("it is gone", where="/i/a")
    outcome = failed.value.outcome
    assert (outcome["changed"], outcome["requests"]) == (True, {"GET": 1})
    assert [finding["message"] for finding in outcome["findings"]] == ["it is gone"]


def test_a_run_may_say_more_of_its_failure() -> None:
    report = Report()
    with pytest.raises(OutcomeError) as failed, report.reporting(lambda exc: {"because": exc.what}):
        raise PlatformError("it is gone")
    assert failed.value.outcome == {"because": "it is gone"}


def test_an_error_shows_no_secret() -> None:
    report = Report()
    report.redactor.add(SECRET)
    with pytest.raises(OutcomeError) as failed, report.reporting():
        raise PlatformError(f"{SECRET} is refused")
    assert SECRET not in str(failed.value)


def test_another_plan_than_the_approved_one_is_refused() -> None:
    report = Report()
    report.check_expected(None)
    report.check_expected(report.result()["plan_digest"])
    with pytest.raises(PlanMismatch):
        report.check_expected("sha256:other")
