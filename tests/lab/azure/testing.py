"""A simulator for tests: real TLS on a free loopback port, in a thread of this process, without clusters."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from tests.lab.azure.app import Simulator, create_app
from tests.lab.azure.settings import Settings
from tests.lab.cluster.manager import ClusterManager
from tests.lab.control.pki import Authority

CLIENT_VARIABLES = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")


@dataclass
class Running:
    """A simulator that answers."""

    settings: Settings
    simulator: Simulator
    ca_file: Path

    @property
    def base_url(self) -> str:
        """Address of ARM and Entra."""
        return self.settings.base_url

    @property
    def subscription(self) -> str:
        """Scope of the subscription."""
        return f"/subscriptions/{self.settings.subscription_id}"

    def context(self) -> ssl.SSLContext:
        """TLS settings that trust the simulator."""
        return ssl.create_default_context(cafile=str(self.ca_file))

    def client(self, *, second: bool = False, token: str | None = None) -> httpx.Client:
        """An HTTP client of ARM with a token of the main (or the second, powerless) principal.

        For one thread of a test: the token is made from the simulator's own store.
        """
        principal = self.settings.second_object_id if second else self.settings.object_id
        if token is None:
            known = self.simulator.directory.by_object_id(principal)
            assert known is not None
            token, _ = self.simulator.tokens.issue(known, self.settings.base_url)
        return httpx.Client(
            base_url=self.base_url,
            verify=self.context(),
            trust_env=False,
            timeout=30,
            headers={"Authorization": f"Bearer {token}"},
        )

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the control API."""
        with self.client(token=self.settings.control_token) as client:
            answer = client.request(method, path, json=body)
        answer.raise_for_status()
        return answer.json() if answer.content else None


@contextlib.contextmanager
def serve(
    home: Path, *, clusters: ClusterManager | None = None, vault_addresses: int = 4, **settings: Any
) -> Iterator[Running]:
    """Run a simulator whose state is in `home`; `settings` are those of Settings.

    Unless given otherwise operations are quick and all providers registered.

    REQUESTS_CA_BUNDLE and SSL_CERT_FILE point at its certificate authority meanwhile, for clients like azure-core's.
    """
    known = home / "azure.json"
    listener = _listen("127.0.0.1", Settings.load(home).port if known.exists() else 0)
    port = listener.getsockname()[1]
    if known.exists():
        chosen = Settings.load(home)
    else:
        quick: dict[str, Any] = {"time_scale": 0.1, "retry_after": 0.05, "preregistered": ("*",)}
        chosen = Settings(
            home=home,
            base_url=f"https://127.0.0.1:{port}",
            **(quick | settings),
        )
        chosen.save()
    hosts = ["127.0.0.1", *(f"127.10.0.{number}" for number in range(1, vault_addresses + 1))]
    authority = Authority(home / "pki", "lab under test")
    pair = authority.issue("simulator", common_name="lab", hosts=[*hosts, "localhost"])
    app = create_app(chosen, clusters=clusters)
    config = uvicorn.Config(
        app,
        ssl_certfile=str(pair.certificate),
        ssl_keyfile=str(pair.key),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    sockets = [listener, *(_listen(host, port) for host in hosts[1:])]
    thread = threading.Thread(target=server.run, kwargs={"sockets": sockets}, daemon=True)
    thread.start()
    before = {name: os.environ.get(name) for name in CLIENT_VARIABLES}
    os.environ |= dict.fromkeys(CLIENT_VARIABLES, str(authority.pair.certificate))
    try:
        deadline = time.monotonic() + 10
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        simulator = getattr(app, "simulator", None)
        if not isinstance(simulator, Simulator):
            raise TypeError("the application is not the simulator's")
        yield Running(settings=chosen, simulator=simulator, ca_file=authority.pair.certificate)
    finally:
        server.should_exit = True
        thread.join(10)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _listen(address: str, port: int) -> socket.socket:
    # With the protocol named, asyncio switches Nagle off; without, every answer would wait 40 ms for an ACK.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(128)
    return listener
