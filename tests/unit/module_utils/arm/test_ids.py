# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.arm import ids
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError

S = "/subscriptions/s1"
G = f"{S}/resourceGroups/g1"
VNET = f"{G}/providers/Microsoft.Network/virtualNetworks/v1"


@pytest.mark.parametrize(
    ("text", "type_name", "name", "parent"),
    [
        (S, ids.SUBSCRIPTION, "s1", ""),
        (G, ids.RESOURCE_GROUP, "g1", ""),
        (f"{S}/providers/Microsoft.Network", ids.REGISTRATION, "Microsoft.Network", ""),
        (VNET, "Microsoft.Network/virtualNetworks", "v1", G),
        (f"{VNET}/", "Microsoft.Network/virtualNetworks", "v1", G),
        (f"{VNET}/subnets/a", "Microsoft.Network/virtualNetworks/subnets", "a", VNET),
        (f"{G}/providers/Microsoft.Authorization/locks/l", "Microsoft.Authorization/locks", "l", G),
        (f"{VNET}/providers/Microsoft.Authorization/locks/l", "Microsoft.Authorization/locks", "l", VNET),
        (
            f"{S}/providers/Microsoft.Authorization/roleDefinitions/r",
            "Microsoft.Authorization/roleDefinitions",
            "r",
            "",
        ),
        (f"{S}/resourceGroups/providers", ids.RESOURCE_GROUP, "providers", ""),
        (
            f"{S}/resourceGroups/providers/providers/Microsoft.Network/virtualNetworks/v1",
            "Microsoft.Network/virtualNetworks",
            "v1",
            f"{S}/resourceGroups/providers",
        ),
    ],
)
def test_takes_an_id_apart(text: str, type_name: str, name: str, parent: str) -> None:
    parsed = ids.parse(text)
    assert (parsed.type, parsed.name, parsed.parent) == (type_name, name, parent)
    assert parsed.subscription == S


def test_an_extension_knows_what_it_sits_on() -> None:
    assert ids.parse(f"{VNET}/providers/Microsoft.Authorization/locks/l").extension_of == VNET
    assert ids.parse(f"{G}/providers/Microsoft.Authorization/locks/l").extension_of == ""
    assert ids.parse(f"{VNET}/subnets/a").extension_of == ""


def test_letter_case_does_not_tell_ids_apart() -> None:
    assert ids.parse(VNET.upper()).key == ids.parse(VNET).key == ids.key_of(f"{VNET}/")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("vnet", "does not start with a slash"),
        ("", "does not start with a slash"),
        ("/subscriptions", "neither a resource group nor a provider"),
        (f"{S}/resourceGroups", "neither a resource group nor a provider"),
        ("/subscriptions//resourceGroups/g", "empty segment"),
        (f"{G}/providers/Microsoft.Network/virtualNetworks/{{{{ name }}}}", "empty segment or a character"),
        (f"{G}/providers/Microsoft.Network", "no type and name"),
        (f"{G}/providers/Microsoft.Network/virtualNetworks", "in pairs"),
        (f"{VNET}/subnets", "in pairs"),
        (f"{G}/providers/network/virtualNetworks/v", "no provider namespace"),
    ],
)
def test_says_what_is_wrong_with_an_id(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        ids.parse(text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(VNET, True), ("/providers/Microsoft.X/y/z", True), ("/healthz", False), ("subscriptions/s", False), (3, False)],
)
def test_recognises_ids(value: object, expected: bool) -> None:
    assert ids.looks_like_id(value) is expected
