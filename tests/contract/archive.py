"""What the tests of backups stand on: blobs behind the simulated Azure, a key, and MariaDB's programs from Debian."""

from __future__ import annotations

import functools
import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from mariadb_archive.azure_store import BlobStore
from mariadb_archive.errors import BackupError
from mariadb_archive.server import Programs

from tests.contract.debian import daemon
from tests.lab.blob.testing import Storage
from tests.tools.debian import Unpacked

SMALL_BLOCK = 256 << 10
OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)


@dataclass
class RsaWrapper:
    """The key of a vault, in this process."""

    name: str = "key-1"
    private: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))

    def wrap(self, key: bytes) -> tuple[str, bytes]:
        return self.name, self.private.public_key().encrypt(key, OAEP)

    def unwrap(self, key_id: str, wrapped: bytes) -> bytes:
        try:
            return self.private.decrypt(wrapped, OAEP)
        except ValueError as exc:
            raise BackupError(f"{key_id} does not unwrap the key of a backup") from exc


def store(storage: Storage, url: str, *, second: bool = False) -> BlobStore:
    """A container as the program sees it, in small blocks; failures are tried again quickly."""
    return BlobStore(url, storage.credential(second=second), block=SMALL_BLOCK, patience=(3, 0))


def programs(folder: Path) -> Programs:
    """MariaDB's programs from Debian, each found with its libraries."""
    paths = {}
    for package, names in {
        "mariadbd": ("mariadbd", "mariadb", "mariadb-binlog", "mariadb-check"),
        "mariadb-backup": ("mariadb-backup", "mbstream"),
    }.items():
        found = daemon(package)
        for name in names:
            paths[name] = _wrapped(folder, found, name)
    return Programs(paths, _server_options())


def _wrapped(folder: Path, found: Unpacked, name: str) -> str:
    libraries = found.environment.get("LD_LIBRARY_PATH", "")
    script = folder / name
    script.write_text(
        f'#!/bin/sh\nLD_LIBRARY_PATH={shlex.quote(libraries)} exec {shlex.quote(found.program(name))} "$@"\n'
    )
    script.chmod(0o755)
    return str(script)


@functools.cache
def _server_options() -> tuple[str, ...]:
    """As `tests/contract/mariadb.py` gives them to the server."""
    root = daemon("mariadbd").root
    share = next(path for path in (root / "usr/share").glob("m*/english") if path.is_dir())
    options = [f"--lc-messages-dir={share.parent}", f"--plugin-dir={root / 'usr/lib/mysql/plugin'}"]
    return (*options, "--user=root") if os.geteuid() == 0 else tuple(options)
