# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.catalogue import facts_of, known_types
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.documents import Estate, serial_groups
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import CycleError, InputError

from tests.unit.module_utils.arm.fake import IDENTITY, NET, NSG, READER, ROLE, VNET, G, S

CLUSTER = f"{G}/providers/Microsoft.ContainerService/managedClusters/aks"


def order_of(*documents: dict[str, t.Any]) -> list[str]:
    return [document.id.text for document in Estate(documents)]


def test_parents_and_registrations_come_first() -> None:
    registration = f"{S}/providers/Microsoft.Network"
    assert order_of({"id": f"{VNET}/subnets/a"}, {"id": VNET}, {"id": G}, {"id": registration}) == [
        G,
        registration,
        VNET,
        f"{VNET}/subnets/a",
    ]


def test_what_is_named_in_the_body_comes_first() -> None:
    vnet = {"id": VNET, "properties": {"subnets": [{"name": "a", "properties": {"nsg": {"id": NSG.upper()}}}]}}
    assert order_of(vnet, {"id": NSG}) == [NSG, VNET]


def test_an_embedded_child_stands_for_its_parent() -> None:
    endpoint = {"id": f"{NET}/privateEndpoints/pe", "properties": {"subnet": {"id": f"{VNET}/subnets/a"}}}
    assert order_of(endpoint, {"id": VNET}) == [VNET, endpoint["id"]]


def test_references_and_depends_on_come_first() -> None:
    role = {"id": ROLE, "properties": {"principalId": f"${{ref:{IDENTITY}#properties.principalId}}"}}
    cluster = {"id": CLUSTER, "dependsOn": [ROLE]}
    assert order_of(cluster, role, {"id": IDENTITY}) == [IDENTITY, ROLE, CLUSTER]


def test_keys_of_maps_count_as_mentions() -> None:
    cluster = {"id": CLUSTER, "identity": {"userAssignedIdentities": {IDENTITY: {}}}}
    assert order_of(cluster, {"id": IDENTITY}) == [IDENTITY, CLUSTER]


def test_a_parent_may_name_its_own_child() -> None:
    assert order_of({"id": f"{VNET}/subnets/a"}, {"id": VNET, "x": f"{VNET}/subnets/a"})[0] == VNET


def test_a_circle_is_named() -> None:
    with pytest.raises(CycleError, match=r"in a circle: .*nsg.*vnet|in a circle: .*vnet.*nsg"):
        Estate([{"id": VNET, "x": NSG}, {"id": NSG, "x": VNET}])


def test_the_same_document_twice_is_one() -> None:
    assert len(Estate([{"id": G, "location": "x"}, {"id": G, "location": "x"}])) == 1


WRONG = [
    pytest.param({"location": "x"}, "not a mapping with an id", id="no id"),
    pytest.param("text", "not a mapping with an id", id="no mapping"),
    pytest.param({"id": "vnet"}, "is not an ARM id", id="malformed id"),
    pytest.param(
        {"id": VNET.replace("Microsoft.Network", "microsoft.network")},
        "Write it as Microsoft.Network/virtual",
        id="provider casing",
    ),
    pytest.param(
        {"id": VNET.replace("virtualNetworks", "virtualnetworks")},
        "Write it as Microsoft.Network/virtual",
        id="type casing",
    ),
    pytest.param(
        {"id": VNET.replace("virtualNetworks", "virtualNetwork")},
        "did you mean Microsoft.Network/virtualNet",
        id="nearest type",
    ),
    pytest.param({"id": f"{G}/providers/Contoso.Things/widgets/w"}, "not in the catalogue", id="unknown type"),
    pytest.param({"id": VNET, "apiVersion": "latest"}, "is not a date", id="api version"),
    pytest.param({"id": VNET, "apiVersion": "2022-01-01"}, "Use 2023-09-01 or later", id="api version that loses data"),
    pytest.param({"id": VNET, "name": "other"}, "name is 'other'", id="name"),
    pytest.param({"id": VNET, "dependsOn": NSG}, "dependsOn is not a list", id="dependsOn"),
    pytest.param({"id": VNET, "dependsOn": ["nsg"]}, "dependsOn: 'nsg' is not an ARM id", id="dependsOn id"),
    pytest.param({"id": VNET, "x": "${ref:nsg#id}"}, "'nsg' is not an ARM id", id="reference to no id"),
    pytest.param({"id": VNET, "x": f"${{ref:{NSG}}}"}, "not well formed", id="reference without a path"),
    pytest.param({"id": VNET, "x": f"${{ref:{NSG}#a[}}"}, "not well formed at character", id="reference path"),
    pytest.param({"id": VNET, "x": f"${{ref:{G}/providers/Contoso.T/w/x#a}}"}, "not in the catalogue", id="ref type"),
    pytest.param(
        {"id": VNET, "x": f"${{secret:{G}/providers/Microsoft.KeyVault/vaults/kv#s}}"},
        "Only Kubernetes Secrets",
        id="secret",
    ),
]


@pytest.mark.parametrize(("document", "message"), WRONG)
def test_says_which_document_is_wrong_and_what_to_do(document: t.Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Estate([{"id": G}, document], ["a.yml document 1", "b.yml document 2"])
    assert "b.yml document 2" in str(caught.value)


def test_two_different_documents_of_one_resource() -> None:
    with pytest.raises(InputError, match=r"a\.yml.* and b\.yml.* both describe"):
        Estate(
            [{"id": G, "location": "x"}, {"id": G.upper().replace("RESOURCEGROUPS", "resourceGroups")}],
            ["a.yml", "b.yml"],
        )


def test_an_unknown_type_is_fine_with_its_api_version() -> None:
    (document,) = Estate([{"id": f"{G}/providers/Contoso.Things/widgets/w", "apiVersion": "2024-01-01"}])
    assert document.api_version == "2024-01-01"


@pytest.mark.parametrize(
    ("document", "group"),
    [
        ({"id": f"{VNET}/subnets/a"}, VNET),
        ({"id": VNET}, VNET),
        ({"id": f"{CLUSTER}/agentPools/p"}, CLUSTER),
        ({"id": f"{CLUSTER}/maintenanceConfigurations/m"}, CLUSTER),
        ({"id": f"{IDENTITY}/federatedIdentityCredentials/f"}, IDENTITY),
        ({"id": f"{NET}/privateEndpoints/pe", "properties": {"subnet": {"id": f"{VNET}/subnets/a"}}}, VNET),
    ],
)
def test_writes_that_exclude_each_other_share_a_group(document: dict[str, t.Any], group: str) -> None:
    (parsed,) = Estate([document])
    assert group.lower() in serial_groups(parsed)


def test_role_assignments_do_not_exclude_each_other() -> None:
    one, two = Estate([{"id": ROLE, "r": READER}, {"id": f"{ROLE[:-1]}2", "r": READER}])
    assert not serial_groups(one) & serial_groups(two)


@pytest.mark.parametrize("type_name", known_types())
def test_the_catalogue_is_whole(type_name: str) -> None:
    facts = facts_of(type_name)
    assert facts.api_version[:2] == "20"
    assert facts.secrets <= facts.write_only
    for table in (facts.enums, facts.read_only, facts.immutable, facts.write_only, facts.unordered, facts.aliases):
        assert all(path == path.lower() for path in table)
    assert not facts.immutable & facts.read_only
