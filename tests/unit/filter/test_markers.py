# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Callable

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.audioprothese.platform.plugins.filter.ref import ref
from ansible_collections.audioprothese.platform.plugins.filter.secret import secret
from ansible_collections.audioprothese.platform.plugins.filter.secret_version import secret_version
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.references import (
    Reference,
    find_references,
)

GROUP = "/subscriptions/s/resourceGroups/g"
VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/kv"


@pytest.mark.parametrize("path", ["id", "properties.principalId", "properties.l[0].id", "properties.l[name=x].id"])
def test_ref_makes_a_marker_that_is_found_again(path: str) -> None:
    assert find_references(f"a {ref(GROUP, path)} b") == [Reference("ref", GROUP, path)]


@pytest.mark.parametrize(("resource", "path"), [("g", "id"), (GROUP, ""), (GROUP, "a[["), (3, "id"), (GROUP, None)])
def test_ref_refuses(resource: object, path: object) -> None:
    with pytest.raises(AnsibleFilterError, match=r"audioprothese\.platform\.ref"):
        ref(resource, path)


@pytest.mark.parametrize("filter_", [secret, secret_version])
def test_a_secret_makes_a_marker_that_is_found_again(filter_: Callable[..., str]) -> None:
    assert find_references(filter_(VAULT, "root-password")) == [Reference(filter_.__name__, VAULT, "root-password")]


@pytest.mark.parametrize("filter_", [secret, secret_version])
@pytest.mark.parametrize(("vault", "name"), [(GROUP, "a"), ("kv", "a"), (VAULT, "a b"), (VAULT, ""), (VAULT, 1)])
def test_a_secret_refuses(filter_: Callable[..., str], vault: object, name: object) -> None:
    with pytest.raises(AnsibleFilterError, match=rf"audioprothese\.platform\.{filter_.__name__}\b"):
        filter_(vault, name)
