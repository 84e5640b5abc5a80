# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets of one Key Vault over its REST interface.

Source: "Azure Key Vault secrets REST API" of learn.microsoft.com, api-version 7.4.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
import typing as t
import urllib.parse
from collections.abc import Iterator, Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.arm.catalogue import facts_of
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.errors import ArmError
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.plan import Stored
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.rotation import Current, Version

if t.TYPE_CHECKING:
    from ansible_collections.audioprothese.platform.plugins.module_utils.arm.client import Answer, ArmClient

__all__ = ["VaultClient"]

VAULT_TYPE = "Microsoft.KeyVault/vaults"
SECRETS_API_VERSION = "7.4"
NOT_FOUND, FORBIDDEN = 404, 403
# The service returns no larger page.
PAGE = 25
POLL_SECONDS = 2.0
RECOVERY_TIMEOUT = 120.0


class VaultClient:
    """Reads and writes the secrets of a vault; safe to use from threads.

    Args:
        azure: client of the identity that asks.
        vault_id: ARM id of the vault. Its address is read from ARM at the first use.
    """

    def __init__(self, azure: ArmClient, vault_id: str) -> None:
        self._azure = azure
        self._vault_id = vault_id.rstrip("/")
        self._lock = threading.Lock()
        self._uri: str | None = None

    @property
    def name(self) -> str:
        """Name of the vault."""
        return self._vault_id.rpartition("/")[2]

    def exists(self) -> bool:
        """Tell whether the vault is there."""
        return self._address() is not None

    def get(self, name: str) -> str | None:
        """Give the current value of a secret; None when the secret or the vault is not there.

        Raises:
            ArmError: the vault cannot be reached or refuses; the text never holds a value.
        """
        found = self.read(name)
        return None if found is None else found.value

    def read(self, name: str, version: str = "") -> Current | None:
        """Give a version of a secret, by default the current one; None when it or the vault is not there.

        Raises:
            ArmError: the vault cannot be reached or refuses, as for a disabled version; the text holds no value.
        """
        if not self.exists():
            return None
        path = f"secrets/{_quoted(name)}/{_quoted(version)}" if version else f"secrets/{_quoted(name)}"
        try:
            body = self._call("GET", path, doing=f"read the secret {name}").body
        except ArmError as exc:
            if exc.status == NOT_FOUND:
                return None
            raise
        return Current(
            value=str(body["value"]),
            version=str(body.get("id", "")).rpartition("/")[2],
            tags=dict(body.get("tags") or {}),
            content_type=str(body.get("contentType") or ""),
        )

    def versions(self, name: str) -> tuple[Version, ...]:
        """Give all versions of a secret without their values, in the service's order."""
        items = self._pages(f"secrets/{_quoted(name)}/versions", doing=f"list the versions of the secret {name}")
        return tuple(
            Version(
                id=str(item["id"]).rpartition("/")[2],
                enabled=bool((item.get("attributes") or {}).get("enabled", True)),
            )
            for item in items
        )

    def disable(self, name: str, version: str) -> None:
        """Make a version unreadable; enabling it again brings it back."""
        body = {"attributes": {"enabled": False}}
        path = f"secrets/{_quoted(name)}/{_quoted(version)}"
        self._call("PATCH", path, body=body, doing=f"disable the version {version} of the secret {name}")

    def list(self) -> dict[str, Stored]:
        """Give all live secrets without their values, by lower-case name."""
        if not self.exists():
            return {}
        found = (_stored(item) for item in self._pages("secrets", doing="list the secrets"))
        return {stored.name.lower(): stored for stored in found}

    def deleted(self) -> frozenset[str]:
        """Give the lower-case names of the soft-deleted secrets."""
        if not self.exists():
            return frozenset()
        items = self._pages("deletedsecrets", doing="list the deleted secrets")
        return frozenset(_stored(item).name.lower() for item in items)

    def set(
        self,
        name: str,
        value: str,
        *,
        content_type: str = "",
        tags: Mapping[str, str] | None = None,
        expires_on: dt.datetime | None = None,
    ) -> None:
        """Write a new version of a secret.

        Raises:
            ArmError: with status 409 when the name is soft-deleted.
        """
        attributes = {"enabled": True, **({"exp": int(expires_on.timestamp())} if expires_on else {})}
        body = {"value": value, "attributes": attributes, "contentType": content_type, "tags": dict(tags or {})}
        self._call("PUT", f"secrets/{_quoted(name)}", body=body, doing=f"write the secret {name}")

    def update(self, name: str, *, content_type: str, tags: Mapping[str, str]) -> None:
        """Change what describes the current version of a secret; its value stays."""
        body = {"contentType": content_type, "tags": dict(tags)}
        self._call("PATCH", f"secrets/{_quoted(name)}/", body=body, doing=f"update the secret {name}")

    def recover(self, name: str) -> None:
        """Bring a soft-deleted secret back and wait until it answers."""
        self._call("POST", f"deletedsecrets/{_quoted(name)}/recover", doing=f"recover the secret {name}")
        deadline = time.monotonic() + RECOVERY_TIMEOUT
        while self.get(name) is None:
            if time.monotonic() > deadline:
                raise ArmError(
                    f"the secret {name} was not back {RECOVERY_TIMEOUT:.0f} s after its recovery",
                    where=self._vault_id,
                    remedy="Run again",
                )
            time.sleep(POLL_SECONDS)

    def _address(self) -> str | None:
        with self._lock:
            if self._uri is None:
                try:
                    vault = self._azure.get(self._vault_id, facts_of(VAULT_TYPE).api_version, doing="read the vault")
                except ArmError as exc:
                    if exc.status == NOT_FOUND:
                        return None
                    raise
                self._uri = str(vault["properties"]["vaultUri"]).rstrip("/")
            return self._uri

    def _pages(self, path: str, *, doing: str) -> Iterator[Mapping[str, t.Any]]:
        answer = self._call("GET", f"{path}?maxresults={PAGE}", doing=doing)
        yield from answer.body.get("value") or []
        while answer.body.get("nextLink"):
            answer = self._request("GET", answer.body["nextLink"], api_version="", body=None, doing=doing)
            yield from answer.body.get("value") or []

    def _call(self, verb: str, path: str, *, doing: str, body: t.Any = None) -> Answer:
        address = self._address()
        if address is None:
            raise ArmError(
                f"cannot {doing}: the vault does not exist",
                where=self._vault_id,
                remedy="Create the vault first (role key_vault)",
                status=NOT_FOUND,
            )
        return self._request(verb, f"{address}/{path}", api_version=SECRETS_API_VERSION, body=body, doing=doing)

    def _request(self, verb: str, url: str, *, api_version: str, body: t.Any, doing: str) -> Answer:
        scope = self._azure.cloud.vault_scope
        try:
            return self._azure.request(verb, url, api_version=api_version, body=body, scope=scope, doing=doing)
        except ArmError as exc:
            if exc.status == FORBIDDEN:
                raise self._refusal(exc, doing) from exc
            raise

    def _refusal(self, exc: ArmError, doing: str) -> ArmError:
        if "network" in exc.text.lower() or "private link" in exc.text.lower() or "firewall" in exc.text.lower():
            what = f"cannot {doing}: the vault does not accept this machine's network"
            remedy = "Reach it through its private endpoint, or run from a network that its firewall allows"
        elif "disabled" in exc.text.lower():
            what = f"cannot {doing}: it is disabled"
            remedy = "Enable that version again in the vault"
        else:
            what = f"cannot {doing}: the identity has no right to"
            remedy = (
                f"Give it the role Key Vault Secrets Officer on {self.name}; a new role assignment takes some minutes"
            )
        return ArmError(
            what, where=self._vault_id, remedy=remedy, status=exc.status, code=exc.code, text=exc.text, wait=exc.wait
        )


def _stored(item: Mapping[str, t.Any]) -> Stored:
    attributes = item.get("attributes") or {}
    expires = attributes.get("exp")
    return Stored(
        name=urllib.parse.unquote(str(item["id"]).rstrip("/").rpartition("/")[2]),
        enabled=bool(attributes.get("enabled", True)),
        expires_on=dt.datetime.fromtimestamp(expires, tz=dt.UTC) if expires is not None else None,
        created=dt.datetime.fromtimestamp(attributes["created"], tz=dt.UTC) if "created" in attributes else None,
        content_type=str(item.get("contentType") or ""),
        tags=dict(item.get("tags") or {}),
    )


def _quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="")
