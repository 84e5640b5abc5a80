"""The network and mount namespace of a lab's node: everything of the node lives in it, and goes with it.

No route leads out of the network namespace: `link` is the one way in and out. In
the mount namespace /run, /var/lib and /var/log are the node's own, so that its
programs find the usual paths, and whatever they mount is gone once the namespace
is. Both are held by a bind mount of their file, and outlive their processes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from tests.lab.cluster.manager import ClusterError

__all__ = ["Namespace", "cgroup_mounts"]

KILL_SECONDS = 10

# Runs inside. $1 address of the node with its prefix length, $2 the folder of what persists.
SETUP = r"""
set -eu
# A copy of a mount that a lab holds its namespace with would keep that alive for as long as this one lives.
tac /proc/self/mounts | while read -r _ target type _; do
  case "$type $target" in nsfs\ * | *"/node/namespace") umount "$(printf %b "$target")" ;; esac
done
mount -t tmpfs -o mode=0755 lab /var/lib
for name in kubelet containerd; do
  mkdir /var/lib/$name
  mount --bind "$2/$name" /var/lib/$name
done
mount --bind "$2/log" /var/log
mount -t tmpfs -o mode=0755 lab /run
mkdir /run/netns /run/lock /run/sysctl
# A kubelet sets parameters of the kernel. Those of the machine are not the lab's: it gets files to write to.
for name in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops \
            kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
  file=/run/sysctl/$(echo $name | tr / .)
  cat /proc/sys/$name > "$file"
  mount --bind "$file" /proc/sys/$name
done
# A volume that a driver mounts must appear in the containers that are there already.
mount --make-rshared /
ip link set lo up
# The kernel may have no dummy interface: one end of a pair serves as one.
ip link add lab0 type veth peer name lab1
ip address add "$1" dev lab0
ip link set lab1 up
ip link set lab0 up
# Services are addresses that only rewriting makes reachable, and it happens after routing.
ip route add default dev lab0
echo 1 > /proc/sys/net/ipv4/ip_forward
nft -f - <<RULES
table inet lab {
  chain nowhere { ct status dnat accept; oifname lab0 reject with icmpx type admin-prohibited; }
  chain forward { type filter hook forward priority 100; jump nowhere; }
  chain output { type filter hook output priority 100; jump nowhere; }
}
RULES
"""


class Namespace:
    """The namespaces of one node, in its folder; `name` is that of its cgroups."""

    def __init__(self, folder: Path, *, programs_path: str, libraries: str) -> None:
        self.folder = folder
        self.name = "lab-" + hashlib.sha256(str(folder).encode()).hexdigest()[:8]
        self._environment = {"LD_LIBRARY_PATH": libraries, "PATH": f"{programs_path}:/usr/sbin:/usr/bin:/sbin:/bin"}

    @property
    def network(self) -> Path:
        """The file of the network namespace."""
        return self.folder / "namespace" / "net"

    @property
    def mounts(self) -> Path:
        """The file of the mount namespace."""
        return self.folder / "namespace" / "mnt"

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which the node's programs find each other and their libraries."""
        return dict(self._environment)

    def command(self, arguments: Iterable[str]) -> list[str]:
        """Return the command line that runs a program inside, as the process that was started."""
        return ["nsenter", f"--net={self.network}", f"--mount={self.mounts}", "--", *arguments]

    def run(self, *arguments: str, timeout: float = 60) -> str:
        """Run a program inside to its end and return what it printed.

        Raises:
            ClusterError: it failed; the message has what it said.

        """
        return _checked(self.command(arguments), self.environment, timeout=timeout)

    @property
    def exists(self) -> bool:
        """Whether both namespaces are held."""
        return _held(self.network) and _held(self.mounts)

    def create(self, address: str) -> None:
        """Make both namespaces and the cgroups unless they are there.

        Args:
            address: the node's own, with the prefix length of its network.

        Raises:
            ClusterError: the kernel refuses something of it.

        """
        if not self.exists:
            self.remove()
            self._make(address)
        self._make_cgroups()

    def _make(self, address: str) -> None:
        for name in ("namespace", "kubelet", "containerd", "log"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        place = str(self.network.parent)
        # A mount namespace can be held only by a mount that no other namespace shares.
        _checked(["mount", "--bind", place, place], self.environment)
        try:
            _checked(["mount", "--make-private", place], self.environment)
            self.network.touch()
            self.mounts.touch()
            setup = ["sh", "-c", SETUP, "setup", address, str(self.folder)]
            _checked(
                ["unshare", f"--net={self.network}", f"--mount={self.mounts}", "--propagation=slave", *setup],
                self.environment,
            )
        except BaseException:
            self.remove()
            raise

    def processes(self) -> set[int]:
        """Return every process in the namespaces and in the node's cgroups: daemons, shims and pods."""
        found = set()
        for folder in self._cgroups():
            for path in folder.rglob("cgroup.procs"):
                with contextlib.suppress(OSError):
                    found |= {int(line) for line in path.read_text().split()}
        ours = {_identity(path) for path in (self.network, self.mounts) if _held(path)}
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if ours & {_identity(process / "ns" / "net"), _identity(process / "ns" / "mnt")}:
                    found.add(int(process.name))
        return found - {os.getpid()}

    def remove(self) -> None:
        """Kill what still runs inside and let the namespaces and cgroups go; returns when nothing is left."""
        deadline = time.monotonic() + KILL_SECONDS
        while left := self.processes():
            if time.monotonic() > deadline:
                raise ClusterError(f"processes {sorted(left)} of the node do not end")
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        for path in (self.network, self.mounts):
            while _held(path):
                _checked(["umount", str(path)], self.environment)
            path.unlink(missing_ok=True)
        while _is_mount(self.network.parent):
            _checked(["umount", str(self.network.parent)], self.environment)
        for top in self._cgroups():
            _remove_cgroup(top)

    def _cgroups(self) -> list[Path]:
        return [path for mount in cgroup_mounts() if (path := mount / self.name).is_dir()]

    def _make_cgroups(self) -> None:
        """Make the cgroup below which a kubelet puts its pods, in each hierarchy; it refuses to make that itself."""
        for mount in cgroup_mounts():
            controllers = mount / "cgroup.controllers"
            if controllers.exists():
                for name in controllers.read_text().split():
                    with contextlib.suppress(OSError):
                        (mount / "cgroup.subtree_control").write_text(f"+{name}")
            folder = mount / self.name
            folder.mkdir(exist_ok=True)
            # A set of processors without one takes no process; the first version does not inherit it.
            for name in ("cpuset.cpus", "cpuset.mems"):
                if not controllers.exists() and (folder / name).exists():
                    (folder / name).write_text((mount / name).read_text())


def cgroup_mounts() -> list[Path]:
    """Return where the hierarchies of cgroups are mounted, one or one for each controller."""
    lines = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return [Path(line[1]) for line in lines if line[2] in {"cgroup", "cgroup2"}]


def _remove_cgroup(folder: Path) -> None:
    deadline = time.monotonic() + KILL_SECONDS
    for path in sorted([folder, *(path for path in folder.rglob("*") if path.is_dir())], reverse=True):
        while path.is_dir():
            try:
                path.rmdir()
            except OSError:  # a process that was killed takes a moment to leave
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _held(path: Path) -> bool:
    try:
        return path.stat().st_dev != path.parent.stat().st_dev
    except OSError:
        return False


def _is_mount(path: Path) -> bool:
    mounted = (line.split()[1] for line in Path("/proc/mounts").read_text().splitlines())
    return str(path).replace(" ", "\\040") in mounted


def _checked(command: list[str], environment: dict[str, str], *, timeout: float = 60) -> str:
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        what = " ".join(command[:8])
        raise ClusterError(f"{what} … failed ({done.returncode}): {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout
