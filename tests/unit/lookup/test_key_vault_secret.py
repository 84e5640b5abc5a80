# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.audioprothese.platform.plugins.lookup import key_vault_secret
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.client import VaultClient
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.rotation import Current

VAULT = "/subscriptions/s/resourceGroups/g/providers/Microsoft.KeyVault/vaults/kv"


def test_it_signs_in_once_for_each_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[t.Any] = []
    options: dict[str, t.Any] = {"vault_id": VAULT, "on_missing": "error"}
    lookup = key_vault_secret.LookupModule()

    def connect(params: t.Any) -> object:
        made.append(params)
        return object()

    monkeypatch.setattr(key_vault_secret, "connect", connect)
    monkeypatch.setattr(VaultClient, "read", lambda _self, name, _version: Current(value=name, version="1"))
    monkeypatch.setattr(lookup, "set_options", lambda **_options: None)
    monkeypatch.setattr(lookup, "get_option", options.get)
    assert lookup.run(["a", "b"]) == ["a", "b"]
    assert lookup.run(["c"]) == ["c"]
    assert len(made) == 1
    options["client_id"] = "another"
    lookup.run(["a"])
    assert len(made) == 2
