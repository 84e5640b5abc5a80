# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which authority signs, in every state that a rotation leaves behind wherever it is cut short."""

from __future__ import annotations

import datetime as dt
import functools
import typing as t

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.vault import certificates
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.maker import Maker
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.rotation import Current, moved, opened
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.wanted import Wanted, expand

NOW = dt.datetime(2026, 11, 27, tzinfo=dt.UTC)
ENTRIES: list[dict[str, t.Any]] = [
    {"name": "ca", "kind": "certificate_authority"},
    {"name": "web", "kind": "certificate", "issuer": "ca", "dns_names": ["web"]},
]
OPENED, SIGNING, CLOSING = opened("old"), moved(opened("old"), "signing"), moved(opened("old"), "closing")
BACK, BACK_FROM_CLOSING = opened("new", back=True, phase="signing"), opened("new", back=True)


@functools.cache
def authority(name: str) -> tuple[str, str]:
    """Give key and certificate."""
    key = certificates.signing_key(authority=True)
    return key, certificates.certificate_authority(key_pem=key, common_name="ca", validity_days=3650, now=NOW)


def value(part: int, names: str) -> str:
    """Give a key, or the certificates of some authorities."""
    found = [authority(name)[part] for name in names.split("+")]
    return certificates.bundle(*found) if part else found[0]


class Vault:
    """Has the two parts of an authority: who they are of, and the tags of the current version."""

    def __init__(self, key: tuple[str, dict[str, str]], certificate: tuple[str, dict[str, str]]) -> None:
        self.values = {"web-key": Current(value=certificates.signing_key(), version="v")}
        for part, (name, (names, tags)) in enumerate({"ca-key": key, "ca-certificate": certificate}.items()):
            self.values[name] = Current(value=value(part, names), version="current", tags=tags)
            for version in ("old", "new"):
                self.values[f"{name}/{version}"] = Current(value=value(part, version), version=version)

    def read(self, name: str, version: str = "") -> Current | None:
        return self.values.get(f"{name}/{version}" if version else name)


def make(vault: Vault, name: str) -> str:
    def learn(text: str) -> str:
        return text

    (wanted,) = [secret for secret in expand(ENTRIES) if secret.name == name]
    assert isinstance(wanted, Wanted)
    return Maker(vault, vault_id="/v", learn=learn, now=NOW).make(wanted)


@pytest.mark.parametrize(
    ("key", "certificate", "signer"),
    [
        (("old", {}), ("old", {}), "old"),
        (("new", OPENED), ("old", {}), "old"),
        (("new", OPENED), ("new+old", OPENED), "old"),
        (("new", SIGNING), ("new+old", OPENED), "old"),
        (("new", SIGNING), ("new+old", SIGNING), "new"),
        (("new", CLOSING), ("new+old", SIGNING), "new"),
        (("new", CLOSING), ("new", CLOSING), "new"),
        (("new", {}), ("new", CLOSING), "new"),
        (("new", OPENED), ("old+new", BACK), "old"),
        (("new", SIGNING), ("old+new", BACK), "old"),
        (("old", BACK), ("old+new", BACK), "old"),
        (("new", CLOSING), ("old+new", BACK_FROM_CLOSING), "new"),
        (("old", BACK_FROM_CLOSING), ("old+new", BACK_FROM_CLOSING), "new"),
    ],
)
def test_what_everybody_trusts_signs(
    key: tuple[str, dict[str, str]], certificate: tuple[str, dict[str, str]], signer: str
) -> None:
    made = certificates.read_certificate(make(Vault(key, certificate), "web-certificate"), where="")
    issuers = [
        name for name in ("old", "new") if made.issued_by(certificates.read_certificate(value(1, name), where=""))
    ]
    assert issuers == [signer]


def test_what_an_authority_replaces_stays_beside_it() -> None:
    vault = Vault(("new", OPENED), ("old", {}))
    made = make(vault, "ca-certificate")
    assert made.endswith(value(1, "old"))
    assert made.count("BEGIN CERTIFICATE") == 2
    assert certificates.key_matches(key_pem=value(0, "new"), certificate_pem=made)
    vault.values["ca-certificate"] = Current(value=made, version="current")
    assert make(vault, "ca-certificate").count("BEGIN CERTIFICATE") == 2, "the one before that is still there"


def test_a_version_that_is_gone_is_told() -> None:
    vault = Vault(("new", OPENED), ("new+old", OPENED))
    del vault.values["ca-certificate/old"]
    with pytest.raises(InputError, match="ca-certificate is needed"):
        make(vault, "web-certificate")
