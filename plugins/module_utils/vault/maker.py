# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make the value of a secret, from random numbers or from the secrets that it depends on."""

from __future__ import annotations

import datetime as dt
import typing as t
from collections.abc import Callable

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.vault import certificates, passwords
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.plan import resource_id

if t.TYPE_CHECKING:
    from ansible_collections.audioprothese.platform.plugins.module_utils.vault.wanted import Wanted

__all__ = ["Maker"]


class Values(t.Protocol):
    """What is asked of a vault."""

    def get(self, name: str) -> str | None: ...


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
        key = self._stored_value(f"{secret.pair}-key", needed_for=secret)
        if secret.authority:
            return certificates.certificate_authority(
                key_pem=key, common_name=secret.common_name, validity_days=secret.validity_days, now=self._now
            )
        return certificates.issue_certificate(
            key_pem=key,
            issuer_key_pem=self._stored_value(f"{secret.issuer}-key", needed_for=secret),
            issuer_certificate_pem=self._stored_value(f"{secret.issuer}-certificate", needed_for=secret),
            common_name=secret.common_name,
            dns_names=secret.dns_names,
            validity_days=secret.validity_days,
            now=self._now,
        )

    def _stored_value(self, name: str, *, needed_for: Wanted) -> str:
        value = self._vault.get(name)
        if value is None:
            raise InputError(
                f"the secret {name} is needed to issue it and is not there",
                where=resource_id(self._vault_id, needed_for.name),
                remedy="Run again; another writer removed it",
            )
        return self._learn(value) if name.endswith("-key") else value
