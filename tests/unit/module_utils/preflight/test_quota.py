# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.preflight.quota import (
    MachineSize,
    counted,
    demands,
    parse_size,
    shortages,
)

GROUP = "/subscriptions/s/resourceGroups/g/providers"
CLUSTER = f"{GROUP}/Microsoft.ContainerService/managedClusters/aks"
ADDRESS = f"{GROUP}/Microsoft.Network/publicIPAddresses/pip"


def cluster(**counts):
    pools = [{"name": name, "vmSize": "Standard_D4ds_v5", "minCount": count} for name, count in counts.items()]
    return {"id": CLUSTER, "location": "francecentral", "properties": {"agentPoolProfiles": pools}}


def address():
    return {"id": ADDRESS, "location": "francecentral"}


def usage(name, limit, current):
    return {"name": {"value": name, "localizedValue": name}, "limit": limit, "currentValue": current}


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("Standard_D4ds_v5", MachineSize("STANDARDDDSV5FAMILY", 4)),
        ("Standard_D2s_v3", MachineSize("STANDARDDSV3FAMILY", 2)),
        ("Standard_E8-4as_v5", MachineSize("STANDARDEASV5FAMILY", 8)),
        ("Standard_DS2_v2", MachineSize("STANDARDDSV2FAMILY", 2)),
        ("whatever", None),
    ],
)
def test_the_name_of_a_size_tells_family_and_cores(size, expected):
    assert parse_size(size) == expected


def amounts(documents, live):
    return {demand.name: demand.amount for demand in demands(documents, live)}


def test_everything_counts_while_nothing_exists():
    assert amounts([cluster(system=3, user=2), address()], {}) == {
        "STANDARDDDSV5FAMILY": 20,
        "cores": 20,
        "PublicIPAddresses": 1,
    }


def test_only_what_is_missing_counts():
    running = {"properties": {"agentPoolProfiles": [{"name": "system", "count": 3}, {"name": "user", "count": 1}]}}
    live = {CLUSTER.lower(): running, ADDRESS.lower(): {}}
    assert amounts([cluster(system=3, user=2), address()], live) == {"STANDARDDDSV5FAMILY": 4, "cores": 4}


def test_a_pool_that_the_autoscaler_made_larger_asks_for_nothing():
    live = {CLUSTER.lower(): {"properties": {"agentPoolProfiles": [{"name": "user", "count": 9}]}}}
    assert amounts([cluster(user=2)], live) == {}


@pytest.mark.parametrize(
    ("limit", "current", "fits"), [(20, 0, True), (19, 0, False), (100, 81, False), (100, 80, True)]
)
def test_a_quota_is_short_when_less_is_left_than_needed(limit, current, fits):
    wanted = demands([cluster(system=3, user=2)], {})
    usages = {("Microsoft.Compute", "francecentral"): [usage("standardDDSv5Family", limit, current)]}
    problems = shortages(wanted, usages)
    assert (problems == []) is fits
    if not fits:
        assert "20 needed by aks/system, aks/user" in str(problems[0])
        assert f"{limit - current} of {limit} left" in str(problems[0])


def test_a_quota_that_azure_does_not_list_is_not_judged():
    assert shortages(demands([address()], {}), {("Microsoft.Network", "francecentral"): []}) == []


@pytest.mark.parametrize(
    ("resource_id", "expected"),
    [
        (CLUSTER, True),
        (ADDRESS, True),
        (f"{GROUP}/Microsoft.Network/virtualNetworks/v/subnets/s", False),
        (f"{ADDRESS}/providers/Microsoft.Authorization/locks/l", False),
    ],
)
def test_only_some_types_have_a_quota(resource_id, expected):
    assert counted({"id": resource_id}) is expected
