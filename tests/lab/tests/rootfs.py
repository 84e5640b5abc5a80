"""Run a built image as a kubelet would have it run, without Kubernetes: chosen user, read-only root, given volumes.

Namespaces of its own for mounts, processes and network, so that nothing of it stays when the test ends or is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.images.build import Built

__all__ = ["Container", "Rootfs", "eventually", "unpack"]

# Laid out by root outside, then the image's program takes the place of this shell and is process 1.
LAUNCH = """
set -e
root=$1 user=$2 group=$3; shift 3
ip link set lo up
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount --rbind /dev "$root/dev"
while [ "$1" != -- ]; do
    case $1 in
        tmpfs:*) mount -t tmpfs -o "mode=1777" tmpfs "$root${1#tmpfs:}" ;;
        *) mount --bind "${1%%:*}" "$root${1#*:}" ;;
    esac
    shift
done
shift
mount -o remount,bind,ro "$root"
exec setpriv --no-new-privs "$CHROOT" --userspec="$user:$group" --groups="$group" "$root" "$@"
"""


@dataclass(frozen=True)
class Rootfs:
    """The unpacked file system of an image and its configuration (OCI image specification, `config`)."""

    path: Path
    config: dict[str, Any]

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the image sets."""
        return dict(line.split("=", 1) for line in self.config.get("Env", []))

    @property
    def command(self) -> list[str]:
        """What starts when nothing else is asked for."""
        return [*self.config.get("Entrypoint", []), *self.config.get("Cmd", [])]


def unpack(built: Built, target: Path) -> Rootfs:
    """Unpack the layers of an image into an empty folder."""
    blobs = built.folder / "blobs"
    read = lambda digest: (blobs / digest.replace(":", "/")).read_bytes()  # noqa: E731
    manifest = json.loads(read(built.digest))
    target.mkdir(parents=True)
    for layer in manifest["layers"]:
        with tarfile.open(blobs / layer["digest"].replace(":", "/")) as archive:
            members = []
            for member in archive:
                path = Path(member.name)
                if path.name.startswith(".wh."):
                    _remove(target / path.parent / path.name.removeprefix(".wh."))
                else:
                    members.append(member)
            archive.extractall(target, members=members, filter="fully_trusted")  # noqa: S202 - an image of our own
    return Rootfs(target, json.loads(read(manifest["config"]["digest"]))["config"])


@dataclass
class Container:
    """One running container; `volumes` are `folder:path` or `tmpfs:path`."""

    rootfs: Rootfs
    command: list[str] = field(default_factory=list)
    environment: Mapping[str, str] = field(default_factory=dict)
    volumes: tuple[str, ...] = ()
    user: int = 999
    group: int = 999

    def __post_init__(self) -> None:
        self.log = Path(tempfile.mkstemp(prefix="container-", suffix=".log")[1])
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Container:
        for name in ("proc", "sys", "dev"):
            (self.rootfs.path / name).mkdir(exist_ok=True)
        for volume in self.volumes:
            (self.rootfs.path / volume.partition(":")[2].lstrip("/")).mkdir(parents=True, exist_ok=True)
        isolated = ["unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child=SIGKILL"]
        ids = [str(self.rootfs.path), str(self.user), str(self.group)]
        command = self.command or self.rootfs.command
        self._process = subprocess.Popen(
            [*isolated, "--propagation=private", "sh", "-c", LAUNCH, "sh", *ids, *self.volumes, "--", *command],
            env={**self._environment(), "CHROOT": shutil.which("chroot") or "chroot"},
            stdin=subprocess.DEVNULL,
            stdout=self.log.open("wb"),
            stderr=subprocess.STDOUT,
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process and self._process.poll() is None:
            # Process 1 takes the others with it. It changed its user, so the kernel no longer ends it with its parent.
            with contextlib.suppress(AssertionError, OSError):
                os.kill(self.pid, signal.SIGKILL)
            self._process.kill()
            self._process.wait()
        self.log.unlink(missing_ok=True)

    @property
    def output(self) -> str:
        """What it said so far."""
        return self.log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """Its process 1, seen from outside."""
        assert self._process
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        deadline = time.monotonic() + 30
        while not (found := children.read_text().split()):
            assert not self.ended and time.monotonic() < deadline, f"it did not start:\n{self.output[-4000:]}"
            time.sleep(0.05)
        return int(found[0])

    def run(self, *command: str, input: str = "", user: int | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as `kubectl exec` does."""
        ids = [f"--setuid={self.user if user is None else user}", f"--setgid={self.group if user is None else user}"]
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", "--ipc", "--uts", "--root", "--wdns=/"]
        return subprocess.run(
            [*enter, *ids, *command],
            env=self._environment(),
            input=input,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def asked(self, url: str) -> str:
        """Ask for a page from its network, as probes and scrapes do; empty when nobody answers with success."""
        program = (
            "import sys, urllib.request; sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[1], timeout=5).read())"
        )
        done = subprocess.run(
            ["nsenter", f"--target={self.pid}", "--net", sys.executable, "-c", program, url],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        return done.stdout if done.returncode == 0 else ""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to process 1, as the kubelet does at the end of a pod."""
        os.kill(self.pid, number)

    def wait(self, seconds: float) -> int:
        """Wait for its end; returns the exit code."""
        assert self._process
        return self._process.wait(seconds)

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self._process is not None and self._process.poll() is not None

    def _environment(self) -> dict[str, str]:
        return {**self.rootfs.environment, "HOSTNAME": "container", **self.environment}


def eventually(ready: Callable[[], bool], container: Container, seconds: float = 120) -> None:
    """Wait for something; the container's output explains why it did not come."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert not container.ended, f"it ended:\n{container.output[-4000:]}"
        assert time.monotonic() < deadline, f"not within {seconds} s:\n{container.output[-4000:]}"
        time.sleep(0.2)


@contextlib.contextmanager
def folder(owner: int = 999) -> Iterator[Path]:
    """Give a folder for a volume, owned as fsGroup leaves it."""
    with tempfile.TemporaryDirectory(prefix="volume-") as path:
        os.chown(path, owner, owner)
        yield Path(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
