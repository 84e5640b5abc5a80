# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb import sql


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("openmrs", "'openmrs'"),
        ("", "''"),
        ("it's", "'it''s'"),
        ("\\", "'\\\\'"),
        ("\\'; DROP USER root; --", "'\\\\''; DROP USER root; --'"),
        ("a\nb\rc", "'a\\nb\\rc'"),
        ("é☃", "'é☃'"),
        (3, "3"),
        (2.5, "2.5"),
        (True, "1"),
    ],
)
def test_literals(value: str | float, written: str) -> None:
    assert sql.literal(value) == written


@pytest.mark.parametrize(("name", "written"), [("openmrs", "`openmrs`"), ("we`ird", "`we``ird`"), ("a b'", "`a b'`")])
def test_identifiers(name: str, written: str) -> None:
    assert sql.identifier(name) == written


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 65, "ends in a space "])
def test_no_identifiers(name: str) -> None:
    with pytest.raises(InputError, match="no name for an object"):
        sql.identifier(name)


def test_a_nul_is_refused() -> None:
    with pytest.raises(InputError, match="NUL"):
        sql.literal("a\0b")


def test_the_hash_is_the_servers() -> None:
    # SELECT PASSWORD('password') of a MariaDB 10.11.
    assert sql.password_hash("password") == "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19"


def test_answers_are_told_apart_and_unescaped() -> None:
    output = "mark\nmark\nUser\tHost\na\\tb\tc\\\\d\\ne\nmark\nmark\nmark\nmark\nx\nmark\nmark\nmark\n"
    assert sql.answers(output, "mark") == [[{"User": "a\tb", "Host": "c\\d\ne"}], [], []]


def test_a_script_marks_every_answer() -> None:
    assert sql.marked(["SELECT 1"], "m") == "SELECT 'm';\nSELECT 1;\nSELECT 'm';\n"
