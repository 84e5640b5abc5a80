# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make the value of a secret, from random numbers or from the secrets that it depends on.

What an authority of ours replaces stays trusted beside it: its certificate is made as the first of a bundle. Who signs
is what the authority's certificate says (see rotation), and the key is the one that fits: the two parts of a pair are
written one after the other.
"""

from __future__ import annotations

import datetime as dt
import typing as t
from collections.abc import Callable

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.vault import certificates, passwords
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.plan import resource_id
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.rotation import (
    OPEN,
    Current,
    before_of,
    phase_of,
)

if t.TYPE_CHECKING:
    from ansible_collections.audioprothese.platform.plugins.module_utils.vault.wanted import Wanted

__all__ = ["Maker"]


class Values(t.Protocol):
    """What is asked of a vault."""

    def read(self, name: str, version: str = "") -> Current | None: ...


class Maker:
    """Makes values.

    Args:
        vault: has the keys and certificates that a certificate is made from.
        vault_id: ARM id of the vault.
        learn: told every value that is secret; gives it back.
        now: time of the run.
    """

    def __init__(self, vault: Values, *, vault_id: str, learn: Callable[[str], str], now: dt.datetime) -> None:
        self._vault, self._vault_id, self._learn, self._now = vault, vault_id, learn, now

    def make(self, secret: Wanted) -> str:
        """A new value.

        Raises:
            InputError: what it is made from is not there or does not fit.
        """
        if secret.part == "password":
            return self._learn(passwords.random_password(length=secret.length, alphabet=secret.alphabet))
        if secret.part == "key":
            return self._learn(passwords.random_key(length=secret.length))
        if secret.part == "private_key":
            return self._learn(certificates.signing_key(authority=secret.authority))
        key = self._learn(self._stored(f"{secret.pair}-key", needed_for=secret).value)
        if secret.authority:
            made = certificates.certificate_authority(
                key_pem=key, common_name=secret.common_name, validity_days=secret.validity_days, now=self._now
            )
            before = self._vault.read(secret.name)
            return certificates.bundle(made, before.value) if before else made
        issuer_key, issuer_certificate = self._issuer(secret)
        return certificates.issue_certificate(
            key_pem=key,
            issuer_key_pem=issuer_key,
            issuer_certificate_pem=issuer_certificate,
            common_name=secret.common_name,
            dns_names=secret.dns_names,
            validity_days=secret.validity_days,
            now=self._now,
        )

    def _issuer(self, secret: Wanted) -> tuple[str, str]:
        """Key and certificate of the authority that signs now."""
        certificate = self._stored(f"{secret.issuer}-certificate", needed_for=secret)
        if phase_of(certificate.tags) == OPEN:
            certificate = self._stored(f"{secret.issuer}-certificate", before_of(certificate.tags), needed_for=secret)
        key = self._stored(f"{secret.issuer}-key", needed_for=secret)
        self._learn(key.value)
        before = before_of(key.tags)
        if before and not certificates.key_matches(key_pem=key.value, certificate_pem=certificate.value):
            key = self._stored(f"{secret.issuer}-key", before, needed_for=secret)
        return self._learn(key.value), certificate.value

    def _stored(self, name: str, version: str = "", *, needed_for: Wanted) -> Current:
        found = self._vault.read(name, version)
        if found is None:
            raise InputError(
                f"the secret {name} is needed to issue it and is not there",
                where=resource_id(self._vault_id, needed_for.name),
                remedy="Run again; another writer removed it",
            )
        return found
