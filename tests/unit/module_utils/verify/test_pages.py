# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime as dt

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.verify.pages import (
    Answer,
    judge_certificate,
    judge_page,
    not_asked,
)

URL = "https://openmrs.example.fr/openmrs/ws/rest/v1/session"
NOW = dt.datetime(2026, 11, 25, tzinfo=dt.UTC)


def page(**wanted):
    return {"url": URL, "method": "GET", "status": [200], "headers": {}, "body": None, "json": {}, **wanted}


def verdicts(wanted, answer):
    return {finding.path: finding.verdict for finding in judge_page(wanted, answer)}


@pytest.mark.parametrize(
    ("wanted", "answer", "expected"),
    [
        ({}, Answer(200), {"status": "equal"}),
        ({}, Answer(503), {"status": "error"}),
        ({}, Answer(problem="connection refused"), {"status": "error"}),
        ({"status": [301, 308]}, Answer(308), {"status": "equal"}),
        (
            {"headers": {"Strict-Transport-Security": r"max-age=\d+"}},
            Answer(200, {"strict-transport-security": "max-age=31536000"}),
            {"status": "equal", "headers.strict-transport-security": "equal"},
        ),
        (
            {"headers": {"Strict-Transport-Security": r"max-age=\d+"}},
            Answer(200, {}),
            {"status": "equal", "headers.strict-transport-security": "error"},
        ),
        ({"headers": {"x": "^a$"}}, Answer(200, {"x": "ab"}), {"status": "equal", "headers.x": "error"}),
        ({"body": "<title>"}, Answer(200, {}, "<title>OpenMRS"), {"status": "equal", "body": "equal"}),
        ({"body": "<title>"}, Answer(200, {}, "welcome to nginx"), {"status": "equal", "body": "error"}),
        (
            {"json": {"authenticated": False}},
            Answer(200, {}, '{"authenticated": false}'),
            {"status": "equal", "json.authenticated": "equal"},
        ),
        (
            {"json": {"authenticated": False}},
            Answer(200, {}, '{"authenticated": true}'),
            {"status": "equal", "json.authenticated": "error"},
        ),
        ({"json": {"a.b": 1}}, Answer(200, {}, "{}"), {"status": "equal", "json.a.b": "error"}),
        ({"json": {"a": 1}}, Answer(200, {}, "<html>"), {"status": "equal", "json": "error"}),
    ],
)
def test_a_page_is_held_against_what_must_be_true_of_it(wanted, answer, expected):
    assert verdicts(page(**wanted), answer) == expected


def test_no_answer_says_why():
    (finding,) = judge_page(page(), Answer(problem="127.0.0.1:443: connection refused"))
    assert "connection refused" in finding.message


def test_a_page_with_another_verb_is_named_by_it():
    assert not_asked(page(method="POST"), "check mode").resource == f"POST {URL}"


@pytest.mark.parametrize(
    ("certificate", "verdict"),
    [
        ({"notAfter": "Feb 23 00:00:00 2027 GMT"}, "equal"),
        ({"notAfter": "Dec  9 00:00:00 2026 GMT"}, "equal"),
        ({"notAfter": "Dec  8 23:59:59 2026 GMT"}, "error"),
        ({"notAfter": "Nov 24 00:00:00 2026 GMT"}, "error"),
        ({"problem": "certificate has expired"}, "error"),
    ],
)
def test_a_certificate_must_last(certificate, verdict):
    assert judge_certificate("openmrs.example.fr", certificate, now=NOW, days=14).verdict == verdict
