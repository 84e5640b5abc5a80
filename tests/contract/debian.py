"""Real daemons for the contract tests: from the PATH, or out of Debian packages unpacked into the cache."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.lab.build.builder import cache_root

__all__ = ["Daemon", "daemon"]

PACKAGES = {
    "nginx": ("nginx", "nginx-common"),
    "mariadbd": ("mariadb-server-core", "mariadb-client-core", "mariadb-common", "libaio1", "liburing2", "libnuma1"),
}
SEARCHED = ("usr/sbin", "usr/bin", "usr/share/mysql", "usr/share/mariadb")


class Daemon:
    """Programs of one package set; `root` is where its files are."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def program(self, name: str) -> str:
        """The path of one of its programs."""
        for folder in SEARCHED:
            if (self.root / folder / name).is_file():
                return str(self.root / folder / name)
        raise FileNotFoundError(f"{name} is not below {self.root}")

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which its programs find their libraries."""
        if self.root == Path("/"):
            return dict(os.environ)
        libraries = sorted({str(path.parent) for path in self.root.glob("usr/lib/*/lib*.so*")})
        return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(libraries)}


@functools.cache
def daemon(name: str) -> Daemon:
    """Find a daemon, unpacking it without installing anything; skip the test where that cannot be done."""
    if shutil.which(name, path=f"/usr/sbin:/usr/bin:{os.environ.get('PATH', '')}"):
        return Daemon(Path("/"))
    folder = cache_root() / "debian" / name
    if not (folder / "usr").is_dir():
        _unpack(PACKAGES[name], folder)
    return Daemon(folder)


def _unpack(packages: tuple[str, ...], folder: Path) -> None:
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        pytest.skip(f"neither on the PATH nor to be had as Debian package: {packages[0]}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as aside:
        done = subprocess.run(
            ["apt-get", "download", *packages], cwd=aside, capture_output=True, text=True, check=False, timeout=300
        )
        if done.returncode:
            pytest.skip(f"apt-get download {' '.join(packages)} failed: {done.stderr.strip()[-300:]}")
        for package in sorted(Path(aside).glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", package, Path(aside) / "root"], check=True, timeout=300)
        try:
            (Path(aside) / "root").rename(folder)
        except OSError:
            if not (folder / "usr").is_dir():  # somebody else was quicker otherwise
                raise
