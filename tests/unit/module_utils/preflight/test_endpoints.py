# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import socket
import ssl

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.preflight.endpoints import (
    Endpoint,
    proxy_for,
    reach,
)

VAULT = Endpoint("Key Vault", "https://kv.vault.azure.net/", "privatelink.vaultcore.azure.net")


def failing(failure):
    def knock(*_args, **_kwargs):
        raise failure

    return knock


def test_an_address_has_a_host_and_a_port():
    assert (VAULT.host, VAULT.port) == ("kv.vault.azure.net", 443)
    assert Endpoint("API server", "https://10.0.0.4:6443").port == 6443


@pytest.mark.parametrize(
    ("failure", "what", "remedy"),
    [
        (socket.gaierror(-2, "unknown"), "privatelink.vaultcore.azure.net) cannot be resolved from here", "VPN"),
        (TimeoutError(), "kv.vault.azure.net:443 did not answer within 2 s", "virtual network"),
        (ConnectionRefusedError(), "refused the connection", "Check that the service runs"),
        (OSError(errno.EHOSTUNREACH, "no route"), "there is no route to", "VPN"),
        (ssl.SSLError(1, "bad record"), "does not speak TLS", "intercepts"),
        (OSError("odd"), "cannot be reached (odd)", "VPN"),
    ],
)
def test_a_failed_connection_is_explained_with_a_remedy(failure, what, remedy):
    problem = reach(VAULT, timeout=2, try_it=failing(failure), environment={})
    assert problem is not None
    assert what in problem.what
    assert remedy in problem.remedy
    assert problem.where == "Key Vault"


def test_an_endpoint_that_answers_is_no_problem():
    assert reach(VAULT, timeout=2, try_it=lambda *_args, **_kwargs: None, environment={}) is None


def test_a_closed_port_is_told_from_an_open_one():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    problem = reach(Endpoint("API server", f"https://127.0.0.1:{port}"), timeout=2, environment={})
    assert problem is not None
    assert "refused" in problem.what


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ""),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ({"https_proxy": "http://proxy:3128", "NO_PROXY": ".azure.net"}, ""),
        ({"HTTPS_PROXY": "http://proxy:3128", "no_proxy": "localhost"}, "http://proxy:3128"),
    ],
)
def test_the_proxy_is_the_one_that_http_libraries_use(environment, expected):
    assert proxy_for(VAULT, environment) == expected
