"""Programs out of Debian packages, unpacked into the cache and installed nowhere."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.lab.build.builder import cache_root

__all__ = ["UnpackError", "Unpacked", "unpack"]

SEARCHED = ("usr/sbin", "usr/bin", "sbin", "bin")
SECONDS = 900


class UnpackError(Exception):
    """Packages that cannot be had; the message says why."""


@dataclass(frozen=True)
class Unpacked:
    """The files of some packages below `root`; that is `/` for what the system has."""

    root: Path

    @property
    def path(self) -> str:
        """The folders of its programs, as PATH has them."""
        return os.pathsep.join(str(self.root / folder) for folder in SEARCHED if (self.root / folder).is_dir())

    def program(self, name: str) -> str:
        """The path of one of its programs."""
        for folder in SEARCHED:
            if (found := self.root / folder / name).is_file():
                return str(found)
        raise FileNotFoundError(f"{name} is not below {self.root}")

    @property
    def libraries(self) -> str:
        """The folders of its shared libraries, as LD_LIBRARY_PATH has them."""
        found = {str(path.parent) for top in ("usr/lib", "lib") for path in self.root.glob(f"{top}/**/lib*.so*")}
        return os.pathsep.join(sorted(found))

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which its programs find their libraries."""
        if self.root == Path("/"):
            return dict(os.environ)
        return {**os.environ, "LD_LIBRARY_PATH": self.libraries}


def unpack(name: str, packages: tuple[str, ...], *, with_dependencies: bool = False) -> Unpacked:
    """Return the files of these packages, fetched once with apt and kept in the cache as `debian/NAME-DIGEST`.

    With dependencies, what apt would install on this machine comes along.

    Raises:
        UnpackError: this is no Debian, or its archive does not answer.

    """
    digest = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:8]
    folder = cache_root() / "debian" / f"{name}-{digest}"
    if not folder.is_dir():
        _fetch(packages, folder, with_dependencies=with_dependencies)
    return Unpacked(folder)


def _fetch(packages: tuple[str, ...], folder: Path, *, with_dependencies: bool) -> None:
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise UnpackError(f"no apt-get and dpkg-deb here, and so no Debian packages: {' '.join(packages)}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        aside = Path(temporary)
        command = _with_dependencies(aside) if with_dependencies else ["download"]
        failed = _download([*command, *packages], aside)
        if failed and os.geteuid() == 0:  # a machine that never asked for the lists of packages
            subprocess.run(["apt-get", "update"], capture_output=True, check=False, timeout=SECONDS)
            failed = _download([*command, *packages], aside)
        if failed:
            raise UnpackError(f"apt-get {command[0]} {' '.join(packages)} failed: {failed}")
        for package in sorted(aside.glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", package, aside / "root"], check=True, timeout=SECONDS)
        try:
            (aside / "root").rename(folder)
        except OSError:
            if not folder.is_dir():  # somebody else was quicker otherwise
                raise


def _with_dependencies(folder: Path) -> list[str]:
    """Return the words that make apt fetch into a folder what it would install, and install nothing."""
    (folder / "partial").mkdir()
    where = ["-o", f"Dir::Cache::archives={folder}/", "-o", "Debug::NoLocking=1"]
    return ["install", "--yes", "--download-only", "--no-install-recommends", *where]


def _download(arguments: list[str], folder: Path) -> str:
    done = subprocess.run(
        ["apt-get", *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=SECONDS
    )
    if not done.returncode and not any(folder.glob("*.deb")):
        return "apt-get fetched nothing"
    return done.stderr.strip()[-300:] if done.returncode else ""
