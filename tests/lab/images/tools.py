"""buildah, skopeo and mmdebstrap out of Debian packages, run as if they were installed, for themselves only."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.lab.images.definitions import ImageError
from tests.tools.debian import UnpackError, unpack

__all__ = ["Tools"]

PACKAGES = (
    "buildah",
    "skopeo",
    "mmdebstrap",
    "golang-github-containers-common",
    "golang-github-containers-image",
    "libassuan0",
    "libdevmapper1.02.1",
    "libgpgme11",
    "libseccomp2",
)
PROGRESS_EVERY_SECONDS = 20
# Programs that start themselves anew lose LD_LIBRARY_PATH; laid over /usr, in a mount namespace of their own, they
# and their libraries are where they expect to be. What they mount goes with them, also after a kill.
AS_IF_INSTALLED = 'mount -t overlay overlay -o "lowerdir=$0/usr:/usr" /usr && exec "$@"'
Say = Callable[[str], None]


class Tools:
    """The programs that make and move images; `folder` holds their storage and settings."""

    def __init__(self, folder: Path, say: Say) -> None:
        self.folder = folder
        self._say = say

    def prepare(self) -> None:
        """Unpack the programs when they are new, and write their settings.

        Raises:
            ImageError: not root, or not a machine on which they work.

        """
        if reason := unusable():
            raise ImageError(reason)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{self.folder}/storage"\nrunroot = "{self.folder}/run"\n'
        )
        (self.folder / "registries.conf").write_text("unqualified-search-registries = []\n")
        policy = self.folder / ".config" / "containers" / "policy.json"
        policy.parent.mkdir(parents=True, exist_ok=True)
        policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}\n')

    def buildah(self, *arguments: str, what: str) -> str:
        """Run buildah; returns what it prints on standard output."""
        return self.run("buildah", *arguments, what=what)

    def skopeo(self, *arguments: str, what: str) -> str:
        """Run skopeo; returns what it prints on standard output."""
        return self.run("skopeo", *arguments, what=what)

    def run(self, *command: str, what: str, environment: Mapping[str, str] | None = None) -> str:
        """Run a program and say every 20 s that it still works on `what`.

        Raises:
            ImageError: it failed; with its last lines.

        """
        try:
            root = unpack("image-tools", PACKAGES).root
        except UnpackError as exc:
            raise ImageError(f"the programs that build images cannot be had: {exc}") from exc
        isolated = ["unshare", "--mount", "--propagation", "private", "sh", "-c", AS_IF_INSTALLED, str(root), *command]
        return run(isolated, what=what, say=self._say, environment=self._environment() | dict(environment or {}))

    def _environment(self) -> dict[str, str]:
        return {
            "CONTAINERS_REGISTRIES_CONF": f"{self.folder}/registries.conf",
            "CONTAINERS_STORAGE_CONF": f"{self.folder}/storage.conf",
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
            "TMPDIR": str(self.folder),
        }


def run(command: list[str], *, what: str, say: Say, environment: Mapping[str, str] | None = None) -> str:
    """Run a command, saying every 20 s that it still works on `what`; returns its standard output.

    Raises:
        ImageError: it failed; with its last lines.

    """
    started = time.monotonic()
    finished = threading.Event()

    def report() -> None:
        while not finished.wait(PROGRESS_EVERY_SECONDS):
            say(f"{what}: {time.monotonic() - started:.0f} s")

    threading.Thread(target=report, daemon=True).start()
    process = subprocess.Popen(
        command,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, complaints = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise
    finally:
        finished.set()
    if process.returncode:
        last = "\n".join((output + complaints).strip().splitlines()[-20:])
        raise ImageError(f"{what}: {Path(command[0]).name} ended with {process.returncode}:\n{last}")
    return output


def unusable() -> str:
    """Return why images cannot be built on this machine; empty when they can."""
    if not sys.platform.startswith("linux"):
        return "images are built on Linux only"
    if os.geteuid():
        return "images are built by root only: a file system is mounted and owners are set"
    if missing := [name for name in ("apt-get", "dpkg-deb", "unshare", "mount") if not shutil.which(name)]:
        return f"images are built from Debian packages, and this machine lacks {', '.join(missing)}"
    return ""
