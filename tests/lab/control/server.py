"""The process that serves the simulated Azure over TLS, on each address where the lab answers."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import uvicorn

from tests.lab.azure.app import create_app
from tests.lab.azure.settings import Settings
from tests.lab.control.home import AZURE_NAME, ENTRA_NAME, Home
from tests.lab.control.pki import Authority

__all__ = ["VAULTS", "addresses", "main"]

VAULTS = 64


def addresses() -> list[str]:
    """Return the loopback addresses of the simulator: one for ARM and Entra, one for each Key Vault."""
    return ["127.0.0.1", *(f"127.10.0.{number}" for number in range(1, VAULTS + 1))]


def main() -> None:
    """Serve the lab whose folder is the only argument, until a signal."""
    home = Home.open(Path(sys.argv[1]))
    names = [AZURE_NAME, ENTRA_NAME, f"*.vault.{AZURE_NAME}", f"*.blob.{AZURE_NAME}"]
    authority = Authority(home.path / "pki", "AudioProthese+ lab")
    pair = authority.issue("simulator", common_name="lab", hosts=[*addresses(), "localhost", *names])
    config = uvicorn.Config(
        create_app(Settings.load(home.path)),
        ssl_certfile=str(pair.certificate),
        ssl_keyfile=str(pair.key),
        access_log=False,
        log_level="info",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=2,
        server_header=False,
    )
    uvicorn.Server(config).run(sockets=[_listen(address, home.port("simulator")) for address in addresses()])


def _listen(address: str, port: int) -> socket.socket:
    # With the protocol named, asyncio switches Nagle off; without, every answer would wait 40 ms for an ACK.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(512)
    return listener


if __name__ == "__main__":
    main()
