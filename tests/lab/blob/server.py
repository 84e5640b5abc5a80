"""Azurite, Microsoft's emulator of Blob storage: its npm packages in the cache, and how it is run."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.lab.build.builder import cache_root
from tests.tools import node

__all__ = ["ACCOUNT", "KEY", "AzuriteError", "accounts", "command", "installed"]

HERE = Path(__file__).parent
INPUTS = ("package.json", "package-lock.json")
PROGRAM = "node_modules/azurite/dist/src/blob/main.js"
# It has one account; nobody but the simulated Azure knows it, and it listens on loopback.
ACCOUNT = "lab"
KEY = base64.b64encode(b"lab key of azurite, on loopback only").decode()


class AzuriteError(Exception):
    """Azurite cannot be had; the message says why."""


def installed(say: Callable[[str], None] | None = None) -> Path:
    """Return the folder of its packages, fetched once by the hashes of package-lock.json; complete or absent.

    Args:
        say: is told when they have to be fetched.

    Raises:
        AzuriteError: npm failed.
    """
    digest = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in INPUTS)).hexdigest()
    folder = cache_root() / "azurite" / digest[:16]
    if folder.is_dir():
        return folder
    if say:
        say(f"fetching Azurite (once; kept in {cache_root()})")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as scratch:
        aside = Path(scratch) / "azurite"
        aside.mkdir()
        for name in INPUTS:
            shutil.copy(HERE / name, aside)
        install = [*node.npm(), "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(install, cwd=aside, capture_output=True, text=True, check=False, timeout=900)
        if done.returncode:
            raise AzuriteError(f"npm does not install Azurite: {(done.stdout + done.stderr)[-1500:]}")
        with contextlib.suppress(OSError):  # somebody else was quicker
            aside.rename(folder)
    return folder


def command(folder: Path, port: int) -> list[str]:
    """Return the command that serves the blobs of `folder` on a port of loopback."""
    options = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder)]
    quiet = ["--silent", "--disableTelemetry", "--skipApiVersionCheck", "--disableProductStyleUrl"]
    return [*node.node(), str(installed() / PROGRAM), *options, *quiet]


def accounts() -> dict[str, str]:
    """Return the variables that it needs: its account."""
    return {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}
