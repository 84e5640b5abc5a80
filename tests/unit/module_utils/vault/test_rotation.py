# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The phases of a rotation, as tables."""

from __future__ import annotations

import datetime as dt
import typing as t
from collections.abc import Mapping

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import GuardError, InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.plan import Stored
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.rotation import (
    Subject,
    choose,
    closed,
    going_back,
    moved,
    opened,
    phase_of,
    subjects_of,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.wanted import expand

NOW = dt.datetime(2026, 11, 26, tzinfo=dt.UTC)
ENTRIES: list[dict[str, t.Any]] = [
    {"name": "db", "kind": "password", "rotation": {"days": 90, "proof": "login"}},
    {
        "name": "web",
        "kind": "certificate",
        "issuer": "ca",
        "dns_names": ["w"],
        "rotation": {"days": 9, "proof": "served"},
    },
    {"name": "api", "kind": "certificate", "issuer": "ca", "dns_names": ["a"], "rotation": {"because": "of the test"}},
    {"name": "ca", "kind": "certificate_authority", "rotation": {"days": 999, "proof": "trusted"}},
]
OPENED, SIGNING, CLOSING = opened("v1"), moved(opened("v1"), "signing"), moved(opened("v1"), "closing")
BACK = opened("v2", back=True, phase="signing")


def vault(age: int = 1, tags: Mapping[str, dict[str, str]] | None = None) -> dict[str, Stored]:
    names = [secret.name for secret in expand(ENTRIES)]
    made = NOW - dt.timedelta(days=age)
    return {name: Stored(name=name, created=made, tags=(tags or {}).get(name.replace("-", "_"), {})) for name in names}


def subjects(stored: dict[str, Stored]) -> list[Subject]:
    return subjects_of(ENTRIES, expand(ENTRIES), stored)


@pytest.mark.parametrize(
    ("step", "only", "tags", "chosen"),
    [
        ("report", [], {}, []),
        ("open", [], {}, []),
        ("open", ["db"], {}, ["db"]),
        ("open", ["web-key", "web"], {}, ["web"]),
        ("open", ["db"], {"db": OPENED}, []),
        ("open", ["db"], {"db": CLOSING}, []),
        ("open", ["web"], {"web_key": OPENED}, ["web"]),
        ("proven", ["db"], {}, []),
        ("proven", ["db"], {"db": OPENED}, ["db"]),
        ("proven", ["db"], {"db": CLOSING}, []),
        ("proven", [], {"db": OPENED}, []),
        ("proven", ["web-certificate"], {"web_key": CLOSING, "web_certificate": OPENED}, ["web"]),
        ("close", ["db"], {"db": OPENED}, []),
        ("close", ["db"], {"db": CLOSING}, ["db"]),
        ("close", ["web"], {"web_certificate": CLOSING}, ["web"]),
        ("back", ["db"], {"db": OPENED}, ["db"]),
        ("back", ["db"], {"db": CLOSING}, ["db"]),
        ("back", ["db"], {"db": opened("v2", back=True)}, []),
    ],
)
def test_what_a_step_is_about(step: str, only: list[str], tags: dict[str, dict[str, str]], chosen: list[str]) -> None:
    assert [subject.name for subject in choose(subjects(vault(tags=tags)), step, only, now=NOW)] == chosen


@pytest.mark.parametrize(("age", "due"), [(8, []), (9, ["web"]), (89, ["web"]), (90, ["db", "web"])])
def test_what_is_due_is_opened_without_a_name(age: int, due: list[str]) -> None:
    assert [subject.name for subject in choose(subjects(vault(age=age)), "open", [], now=NOW)] == due


def test_what_was_gone_back_to_is_due() -> None:
    tags = closed(moved(opened("v2", back=True), "closing"))
    assert phase_of(tags) == ""
    assert [subject.name for subject in choose(subjects(vault(tags={"db": tags})), "open", [], now=NOW)] == ["db"]
    assert closed({**tags, **opened("v3")}) == {}, "the next rotation makes it a value like any other"


@pytest.mark.parametrize(
    ("step", "only", "stored", "error", "message"),
    [
        ("open", ["dp"], vault(), InputError, "no such secret"),
        ("open", ["api"], vault(), GuardError, "because of the test"),
        ("open", ["db"], {}, GuardError, "not in the vault"),
        ("open", ["db"], {"db": Stored(name="db", enabled=False)}, GuardError, "disabled"),
        ("back", [], vault(), InputError, "nothing was named"),
        ("back", ["db"], vault(), GuardError, "no rotation of it is under way"),
        ("back", ["web"], vault(tags={"web_certificate": OPENED}), GuardError, "does not go back"),
    ],
)
def test_what_is_refused_before_the_first_write(
    step: str, only: list[str], stored: dict[str, Stored], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        choose(subjects(stored), step, only, now=NOW)


@pytest.mark.parametrize(
    "rotation", [{}, {"days": 9}, {"proof": "login"}, {"days": 9, "proof": "login", "because": "x"}, {"days": 0}]
)
def test_a_row_says_either_how_or_why_not(rotation: dict[str, t.Any]) -> None:
    entries = [{"name": "db", "kind": "password", "rotation": rotation}]
    with pytest.raises(InputError, match="not declared"):
        subjects_of(entries, expand(entries), {})


@pytest.mark.parametrize(
    ("tags", "lacking"),
    [
        ({}, ["web-key", "web-certificate"]),
        ({"web_key": OPENED}, ["web-certificate"]),
        ({"web_key": OPENED, "web_certificate": OPENED}, []),
    ],
)
def test_a_pair_cut_short_gets_only_what_it_lacks(tags: dict[str, dict[str, str]], lacking: list[str]) -> None:
    (web,) = [subject for subject in subjects(vault(tags=tags)) if subject.name == "web"]
    assert [part.name for part in web.to_write()] == lacking


def test_other_tags_stay() -> None:
    assert closed(moved({"env": "p", **opened("v1")}, "closing")) == {"env": "p"}


@pytest.mark.parametrize(
    ("tags", "signed", "chosen"),
    [
        # It may sign from then on, and does so at once; what another command made is left to that command.
        ({"ca_certificate": OPENED}, [], ["ca", "web"]),
        ({"ca_certificate": OPENED, "web_certificate": OPENED}, [], ["ca"]),
        ({"ca_certificate": OPENED}, ["web"], ["ca"]),
        # It is let go of when all that it signs is new, and was rotated to its end.
        ({"ca_certificate": SIGNING}, [], ["web"]),
        ({"ca_certificate": SIGNING, "web_key": OPENED}, [], ["web"]),
        ({"ca_certificate": SIGNING, "web_certificate": OPENED}, ["web"], []),
        ({"ca_certificate": SIGNING, "web_certificate": CLOSING}, ["web"], []),
        ({"ca_certificate": SIGNING, "web_certificate": OPENED}, [], []),
        ({"ca_certificate": SIGNING}, ["web"], ["ca"]),
        ({"ca_certificate": BACK}, ["web"], ["ca"]),
        ({"ca_certificate": BACK}, [], ["web"]),
        ({"ca_certificate": CLOSING}, ["web"], []),
        ({}, [], []),
    ],
)
def test_an_authority_goes_on(tags: dict[str, dict[str, str]], signed: list[str], chosen: list[str]) -> None:
    found = choose(subjects(vault(tags=tags)), "proven", ["ca-certificate"], now=NOW, signed=signed)
    assert [subject.name for subject in found] == chosen


@pytest.mark.parametrize(
    ("proof", "phases"),
    [("ca", ["open", "signing", "closing", ""]), ("db", ["open", "closing", ""]), ("web", ["open", "closing", ""])],
)
def test_one_phase_follows_another(proof: str, phases: list[str]) -> None:
    found = [phases[0]]
    while found[-1]:
        part = "ca_certificate" if proof == "ca" else "web_certificate" if proof == "web" else proof
        stored = vault(tags={part: moved(OPENED, found[-1])})
        (subject,) = [subject for subject in subjects(stored) if subject.name == proof]
        found.append(subject.following)
    assert found == phases


@pytest.mark.parametrize(
    ("tags", "phase", "parts"),
    [
        (OPENED, "signing", ["ca-certificate", "ca-key"]),  # everybody trusts the one before, which signs
        (SIGNING, "signing", ["ca-certificate", "ca-key"]),  # everybody trusts both
        (CLOSING, "open", ["ca-certificate", "ca-key"]),  # somebody trusts only the new one already
        (BACK, "signing", ["ca-key"]),  # cut short between the two
        (opened("v2", back=True), "open", ["ca-key"]),
    ],
)
def test_the_way_back_of_an_authority(tags: dict[str, str], phase: str, parts: list[str]) -> None:
    key = closed(tags) if going_back(tags) else tags
    (ca,) = choose(subjects(vault(tags={"ca_certificate": tags, "ca_key": key})), "back", ["ca"], now=NOW)
    assert ca.phase_back == phase
    assert [part.name for part in ca.to_take_back()] == parts
