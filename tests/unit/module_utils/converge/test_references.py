# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.references import (
    Reference,
    find_references,
    get_path,
    is_deferred,
    present,
    resolve,
)

IDENTITY = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/openmrs"
MARKER = f"${{ref:{IDENTITY}#properties.clientId}}"


def test_finds_every_marker_once_in_values_keys_and_longer_strings() -> None:
    document = {"a": [MARKER, f"x-{MARKER}-y"], "${secret:/v#password}": 1}
    assert find_references(document) == [
        Reference("ref", IDENTITY, "properties.clientId"),
        Reference("secret", "/v", "password"),
    ]


@pytest.mark.parametrize(
    ("value", "known", "expected"),
    [
        (MARKER, {"properties.clientId": "c1"}, "c1"),
        (MARKER, {"properties.clientId": 7}, 7),
        (MARKER, {"properties.clientId": {"k": 1}}, {"k": 1}),
        (f"id={MARKER}!", {"properties.clientId": 7}, "id=7!"),
        ({"a": [MARKER]}, {}, {"a": [MARKER]}),
        ("${HOME} and ${ref:incomplete}", {}, "${HOME} and ${ref:incomplete}"),
        (False, {}, False),
    ],
)
def test_resolves_what_is_known_and_keeps_the_rest(value: object, known: dict[str, object], expected: object) -> None:
    assert resolve(value, lambda reference: known.get(reference.path)) == expected


def test_presents_markers_to_people() -> None:
    assert present({"a": MARKER, "b": f"x-{MARKER}"}) == {"a": "known after apply", "b": "x-(known after apply)"}
    assert is_deferred(f"x-{MARKER}")
    assert not is_deferred("known after apply")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("properties.subnets[name=nodes].id", "n"),
        ("properties.subnets[1].id", "g"),
        ("properties.subnets[9].id", None),
        ("properties.subnets[name=absent].id", None),
        ("tags['with.dot']", "v"),
        ("properties.absent.deeper", None),
    ],
)
def test_follows_paths(path: str, expected: object) -> None:
    obj = {
        "properties": {"subnets": [{"name": "nodes", "id": "n"}, {"name": "gw", "id": "g"}]},
        "tags": {"with.dot": "v"},
    }
    assert get_path(obj, path) == expected


@pytest.mark.parametrize("path", ["a[", "a]", "a[=x]", "[]"])
def test_refuses_a_malformed_path(path: str) -> None:
    with pytest.raises(InputError, match="not well formed"):
        get_path({"a": []}, path)
