# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether this machine reaches the private addresses that a run needs."""

from __future__ import annotations

import dataclasses
import errno
import http.client
import ipaddress
import os
import socket
import ssl
import typing as t
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.preflight.variables import Problem

__all__ = ["Endpoint", "explain_failure", "knock", "proxy_for", "reach"]

_HTTPS: t.Final = 443
_ROUTES: t.Final = (
    "Run from the virtual network, from a network peered with it or joined by VPN, or through a proxy in it "
    "(HTTPS_PROXY in platform_process_environment)"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Endpoint:
    """An address that a run talks to.

    Attributes:
        name: what it is, for people.
        url: its address.
        zone: private DNS zone that its name is in.
    """

    name: str
    url: str
    zone: str = ""

    @property
    def host(self) -> str:
        """The name or address of the machine."""
        return urllib.parse.urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The port, 443 unless the address names one."""
        return urllib.parse.urlsplit(self.url).port or _HTTPS


def proxy_for(endpoint: Endpoint, environment: Mapping[str, str] = os.environ) -> str:
    """The proxy that HTTP libraries would use for it, or an empty text."""
    lowered = {name.lower(): value for name, value in environment.items()}
    proxy = lowered.get("https_proxy", "")
    exempt = {"no": lowered.get("no_proxy", "")}
    if not proxy or urllib.request.proxy_bypass_environment(endpoint.host, exempt):  # type: ignore[attr-defined]
        return ""
    return proxy


def knock(endpoint: Endpoint, *, timeout: float, proxy: str = "") -> None:
    """Open a TLS connection and close it.

    The certificate is not judged here: an API server has an authority of its own, and whoever talks to it next does.

    Raises:
        OSError: there is no way, or nobody answers.
    """
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if proxy:
        parts = urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=timeout, context=context)
        connection.set_tunnel(endpoint.host, endpoint.port)
        try:
            connection.connect()
        finally:
            connection.close()
        return
    with (
        socket.create_connection((endpoint.host, endpoint.port), timeout=timeout) as connection_,
        context.wrap_socket(connection_, server_hostname=_server_name(endpoint.host)),
    ):
        return


def _server_name(host: str) -> str | None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host
    return None


def reach(
    endpoint: Endpoint,
    *,
    timeout: float,
    try_it: Callable[..., None] = knock,
    environment: Mapping[str, str] = os.environ,
) -> Problem | None:
    """Why an endpoint cannot be reached, or None if it can.

    Args:
        endpoint: the address.
        timeout: seconds to wait for it.
        try_it: opens the connection.
        environment: says which proxy to use.
    """
    try:
        try_it(endpoint, timeout=timeout, proxy=proxy_for(endpoint, environment))
    except (OSError, http.client.HTTPException) as exc:
        return explain_failure(endpoint, exc, timeout=timeout)
    return None


def explain_failure(endpoint: Endpoint, failure: Exception, *, timeout: float) -> Problem:
    """What a failed connection means and what to do about it."""
    address = f"{endpoint.host}:{endpoint.port}"
    zone = f" (private DNS zone {endpoint.zone})" if endpoint.zone else ""
    if isinstance(failure, socket.gaierror):
        what, remedy = f"the name {endpoint.host}{zone} cannot be resolved from here", _ROUTES
    elif isinstance(failure, TimeoutError):
        what, remedy = f"{address} did not answer within {timeout:g} s", _ROUTES
    elif isinstance(failure, ConnectionRefusedError):
        what, remedy = f"{address} refused the connection", "Check that the service runs, then run again"
    elif isinstance(failure, OSError) and failure.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        what, remedy = f"there is no route to {address}", _ROUTES
    elif isinstance(failure, ssl.SSLError):
        what, remedy = (
            f"{address} does not speak TLS ({failure})",
            "Check for a proxy that intercepts",
        )
    else:
        what, remedy = f"{address} cannot be reached ({failure})", _ROUTES
    return Problem(where=endpoint.name, what=what, remedy=remedy)
