"""Pebble, the ACME test server of Let's Encrypt, as a part of the lab.

It checks dns-01 against the simulated zones. It keeps everything in memory: after a restart it knows no account and no
order, and issues from a new root. The roots of all its lives are kept in one file, so that what it issued before is
still trusted. Options: https://github.com/letsencrypt/pebble/blob/v2.10.1/README.md
"""

from __future__ import annotations

import json
import ssl

import httpx

from tests.lab.build import builder
from tests.lab.control.home import Home, write_private
from tests.lab.control.pki import Authority
from tests.lab.control.process import Daemon

__all__ = ["AcmeServer"]

START_SECONDS = 15
DAYS_90 = 90 * 24 * 3600
DAYS_6 = 6 * 24 * 3600


class AcmeServer:
    """The ACME server of one lab."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.folder = home.path / "acme"
        self.roots = self.folder / "roots.pem"

    @property
    def directory(self) -> str:
        """Where an ACME client starts."""
        return f"https://127.0.0.1:{self._home.port('acme')}/dir"

    @property
    def daemon(self) -> Daemon:
        """The process."""
        config = self.folder / "pebble.json"
        return Daemon(
            name="acme",
            command=[
                str(builder.tools()["pebble"].binary),
                "-strict",
                *("-config", str(config)),
                *("-dnsserver", f"127.0.0.1:{self._home.port('dns')}"),
            ],
            folder=self._home.path,
            # No random waits and refusals; a name proven once is proven again.
            environment={"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"},
            inputs=(config,) if config.exists() else (),
        )

    def up(self) -> bool:
        """Start it unless it runs, and wait until it answers; True when it was started.

        Raises:
            LabError: it does not come up.

        """
        pair = Authority(self._home.path / "pki", "AudioProthese+ lab").issue(
            "acme", common_name="acme", hosts=["127.0.0.1", "localhost"]
        )
        described = {
            "listenAddress": f"127.0.0.1:{self._home.port('acme')}",
            "managementListenAddress": f"127.0.0.1:{self._home.port('acme-management')}",
            "certificate": str(pair.certificate),
            "privateKey": str(pair.key),
            "keyAlgorithm": "ecdsa",
            "retryAfter": {"authz": 1, "order": 1},
            "domainBlocklist": ["refused.example"],
            # An order that names none gets one at random.
            "profiles": {
                "default": {"description": "90 days", "validityPeriod": DAYS_90},
                "shortlived": {"description": "6 days", "validityPeriod": DAYS_6},
            },
        }
        write_private(self.folder / "pebble.json", json.dumps({"pebble": described}, indent=2) + "\n")
        daemon = self.daemon
        started = daemon.start()
        daemon.await_ready(self.problem, START_SECONDS, name="the ACME server")
        self._keep_root()
        return started

    def problem(self) -> str:
        """Why it cannot be used; empty when it can."""
        if self.daemon.pid() is None:
            return f"not running; see {self.daemon.log}"
        try:
            answer = self._get(self.directory)
        except (httpx.HTTPError, OSError) as exc:
            return f"no answer ({type(exc).__name__})"
        return "" if answer.is_success else f"{answer.status_code}: {answer.text[:200]}"

    def _keep_root(self) -> None:
        root = self._get(f"https://127.0.0.1:{self._home.port('acme-management')}/roots/0").raise_for_status().text
        known = self.roots.read_text() if self.roots.exists() else ""
        if root not in known:
            write_private(self.roots, known + root)

    def _get(self, url: str) -> httpx.Response:
        context = ssl.create_default_context(cafile=str(self._home.ca_file))
        return httpx.get(url, verify=context, trust_env=False, timeout=5)
