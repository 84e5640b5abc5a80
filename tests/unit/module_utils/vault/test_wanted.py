# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a user asks for becomes secrets of the vault."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.wanted import expand

CA = {"name": "ca", "kind": "certificate_authority"}


def test_a_pair_is_two_secrets_key_first() -> None:
    wanted = expand([{"name": "web", "kind": "certificate", "issuer": "ca", "dns_names": ["web.example"]}, CA])
    assert [(secret.name, secret.part, secret.depends_on) for secret in wanted] == [
        ("web-key", "private_key", ()),
        ("web-certificate", "certificate", ("web-key", "ca-key", "ca-certificate")),
        ("ca-key", "private_key", ()),
        ("ca-certificate", "certificate", ("ca-key",)),
    ]
    assert wanted[1].common_name == "web.example"
    assert wanted[3].authority


def test_defaults_and_documents() -> None:
    password, key = expand([{"name": "p", "kind": "password", "tags": {"n": 1}}, {"name": "k", "kind": "key"}])
    assert password.document() == {
        "name": "p",
        "part": "password",
        "contentType": "text/plain",
        "length": 32,
        "tags": {"n": "1"},
    }
    assert key.document()["contentType"] == "application/base64"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"name": "under_score", "kind": "password"}], "no name for a Key Vault secret"),
        ([{"name": "x" * 128, "kind": "password"}], "no name for a Key Vault secret"),
        ([{"name": "a", "kind": "password"}, {"name": "A", "kind": "key"}], "twice"),
        ([CA, {"name": "ca-key", "kind": "password"}], "twice"),
        ([{"name": "a", "kind": "token"}], "not known"),
        ([{"name": "a", "kind": "certificate", "issuer": "ca", "dns_names": ["a"]}], "not a certificate authority"),
        ([CA, {"name": "a", "kind": "certificate", "issuer": "ca"}], "needs dns_names"),
        ([{"name": "a", "kind": "password", "length": 8}], "bits"),
        ([{"name": "a", "kind": "key", "length": 8}], "too short"),
        ([{**CA, "validity_days": -1}], "makes no sense"),
    ],
)
def test_what_cannot_work_is_refused(entries: list[dict[str, t.Any]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        expand(entries)
