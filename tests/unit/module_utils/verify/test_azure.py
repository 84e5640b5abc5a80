# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.verify.azure import judge_azure

VAULT = "/subscriptions/S/resourceGroups/G/providers/Microsoft.KeyVault/vaults/kv"
EXPECTED = [
    {
        "id": VAULT,
        "type": "Microsoft.KeyVault/vaults",
        "checks": [
            {"path": "properties.publicNetworkAccess", "value": "Disabled"},
            {"path": "properties.enableRbacAuthorization", "value": True},
        ],
    }
]


def judge(status, **properties):
    return judge_azure(EXPECTED, {VAULT.lower(): {"status": status, "body": {"properties": properties}}})


def test_properties_that_hold_are_equal_whatever_the_letter_case():
    findings = judge(200, publicNetworkAccess="disabled", enableRbacAuthorization=True)
    assert [finding.verdict for finding in findings] == ["equal", "equal"]


def test_a_property_that_does_not_hold_is_told_with_both_values():
    findings = judge(200, publicNetworkAccess="Enabled", enableRbacAuthorization=True)
    assert [finding.verdict for finding in findings] == ["drift", "equal"]
    assert "'Enabled' instead of 'Disabled'" in findings[0].message


@pytest.mark.parametrize("live", [False, None, "true"])
def test_a_flag_that_is_off_absent_or_text_does_not_hold(live):
    assert judge(200, publicNetworkAccess="Disabled", enableRbacAuthorization=live)[1].verdict == "drift"


@pytest.mark.parametrize(("status", "verdict"), [(404, "missing"), (409, "missing"), (403, "error"), (0, "error")])
def test_an_answer_without_a_resource_is_one_finding(status, verdict):
    assert [finding.verdict for finding in judge(status)] == [verdict]


def test_what_nobody_asked_for_is_not_verifiable():
    assert [finding.verdict for finding in judge_azure(EXPECTED, {})] == ["not_verifiable"]
