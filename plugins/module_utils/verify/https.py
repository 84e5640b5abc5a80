# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One request to a page, and the certificate of its server, at the address of its name or at another one."""

from __future__ import annotations

import json
import socket
import ssl
import typing as t
from collections.abc import Mapping
from urllib.parse import urlsplit

from ansible_collections.audioprothese.platform.plugins.module_utils.verify.pages import Answer

__all__ = ["Client", "Target"]

_PORTS: t.Final = {"http": 80, "https": 443}


class Target(t.NamedTuple):
    """Where a URL leads.

    Attributes:
        scheme: http or https.
        host: the name that certificate and request carry.
        address: what is connected to.
        port: its port.
        path: path and query.
    """

    scheme: str
    host: str
    address: str
    port: int
    path: str


class Client:
    """Asks pages.

    Args:
        ca_path: PEM file of the authorities to trust; empty for the machine's own.
        addresses: C(host:port) to connect to by scheme, in place of what names resolve to.
        timeout: seconds to wait for a connection and for each part of an answer.
    """

    def __init__(self, *, ca_path: str = "", addresses: Mapping[str, str] | None = None, timeout: float = 20) -> None:
        self._addresses = {scheme: value for scheme, value in (addresses or {}).items() if value}
        self._timeout = timeout
        self._context = ssl.create_default_context(cafile=ca_path or None)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2

    def target(self, url: str) -> Target:
        """Where a URL leads."""
        parts = urlsplit(url)
        address, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        if given := self._addresses.get(parts.scheme):
            address, _, text = given.rpartition(":")
            port = int(text)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return Target(parts.scheme, parts.hostname or "", address, port, path)

    def ask(self, url: str, *, method: str = "GET", body: t.Any = None, login: tuple[str, str] | None = None) -> Answer:
        """Send one request and follow no redirect.

        Args:
            url: http or https.
            method: verb.
            body: sent as JSON unless it is None.
            login: name and password of HTTP Basic authentication.
        """
        import urllib3  # noqa: PLC0415 - a missing library is reported by the module

        target = self.target(url)
        headers = {"Host": target.host, "Accept": "*/*", "User-Agent": "audioprothese.platform verify"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if login:
            headers |= urllib3.util.make_headers(basic_auth=":".join(login))
        try:
            with self._pool(target) as pool:
                answer = pool.request(
                    method,
                    target.path,
                    body=None if body is None else json.dumps(body),
                    headers=headers,
                    redirect=False,
                    retries=False,
                )
        except urllib3.exceptions.HTTPError as exc:
            return Answer(problem=f"{target.address}:{target.port}: {exc}")
        names = {name.lower(): value for name, value in answer.headers.items()}
        return Answer(answer.status, names, answer.data.decode("utf-8", "replace"))

    def certificate(self, url: str) -> dict[str, t.Any]:
        """The certificate that a server shows, verified; or C(problem) with why it cannot be trusted."""
        target = self.target(url)
        try:
            with (
                socket.create_connection((target.address, target.port), timeout=self._timeout) as plain,
                self._context.wrap_socket(plain, server_hostname=target.host) as secure,
            ):
                return dict(secure.getpeercert() or {})
        except OSError as exc:
            return {"problem": f"{target.address}:{target.port}: {getattr(exc, 'verify_message', '') or exc}"}

    def _pool(self, target: Target) -> t.Any:
        import urllib3  # noqa: PLC0415 - a missing library is reported by the module

        timeout = urllib3.Timeout(connect=self._timeout, read=self._timeout)
        if target.scheme == "http":
            return urllib3.HTTPConnectionPool(target.address, target.port, timeout=timeout)
        return urllib3.HTTPSConnectionPool(
            target.address,
            target.port,
            timeout=timeout,
            ssl_context=self._context,
            server_hostname=target.host,
            assert_hostname=target.host,
        )
