"""Real daemons for the contract tests: from the PATH, or out of Debian packages unpacked into the cache."""

from __future__ import annotations

import functools
import os
import shutil
from pathlib import Path

import pytest

from tests.tools.debian import Unpacked, UnpackError, unpack

__all__ = ["daemon"]

PACKAGES = {
    "nginx": ("nginx", "nginx-common"),
    "nft": ("nftables", "libnftables1", "libnftnl11", "libmnl0", "libjansson4", "libxtables12", "libedit2", "libbsd0"),
    "mariadbd": (
        *("mariadb-server", "mariadb-server-core", "mariadb-client", "mariadb-client-core", "mariadb-common"),
        *("libaio1", "liburing2", "libnuma1"),
    ),
    "mariadb-backup": ("mariadb-backup", "libaio1", "liburing2", "libnuma1"),
}


@functools.cache
def daemon(name: str) -> Unpacked:
    """Find a daemon, unpacking it without installing anything; skip the test where that cannot be done."""
    if shutil.which(name, path=f"/usr/sbin:/usr/bin:{os.environ.get('PATH', '')}"):
        return Unpacked(Path("/"))
    try:
        return unpack(name, PACKAGES[name])
    except UnpackError as exc:
        pytest.skip(f"{name} is neither on the PATH nor to be had: {exc}")
