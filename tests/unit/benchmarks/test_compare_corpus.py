# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The measure itself: a comparator that is wrong must look wrong."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.compare import Difference

from tests.benchmarks.compare_corpus import measure

VNET = "Microsoft.Network/virtualNetworks"
ID = "/subscriptions/S/resourceGroups/G/providers/Microsoft.Network/networkSecurityGroups/n"
PAIRS = [
    {
        "url": f"https://x/subscriptions/S/resourceGroups/G/providers/{VNET}/v",
        "type": VNET,
        "desired": {
            "location": "westeurope",
            "properties": {
                "enableDdosProtection": True,
                "flowTimeoutInMinutes": 4,
                "subnets": [{"name": "a", "properties": {"networkSecurityGroup": {"id": ID}}}, {"name": "b"}],
            },
        },
        "live": {
            "location": "westeurope",
            "properties": {
                "enableDdosProtection": True,
                "flowTimeoutInMinutes": 4,
                "subnets": [{"name": "b"}, {"name": "a", "properties": {"networkSecurityGroup": {"id": ID.lower()}}}],
            },
        },
    }
]


def test_ours_sees_every_mutant_and_no_benign_one() -> None:
    result = measure(PAIRS)
    assert result["false_places"] == 0
    assert result["mutants"] == result["mutants_caught"] >= 10
    assert result["benign"] >= 3
    assert result["benign_reported"] == 0


def _blind(desired: t.Any, live: t.Any, facts: t.Any) -> list[Difference]:
    return []


def _pedantic(desired: t.Any, live: t.Any, facts: t.Any) -> list[Difference]:
    return [] if desired == live else [Difference(path="", pattern="", verdict="drift")]


@pytest.mark.sabotage
def test_a_comparator_that_always_says_equal_catches_nothing() -> None:
    result = measure(PAIRS, _blind)
    assert result["mutants_caught_percent"] == 0


@pytest.mark.sabotage
def test_a_comparator_that_compares_literally_raises_false_alarms() -> None:
    assert measure(PAIRS, _pedantic)["false_drift_percent"] > 0
