"""What a lab left behind on this machine, read from the kernel and not from the lab's own notes."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from tests.lab.nodes.namespace import cgroup_mounts

__all__ = ["leftovers", "node_leftovers"]


def leftovers(home: Path, ports: range) -> list[str]:
    """Return each process, mount and listening port that belongs to the lab in `home`."""
    found = [f"process {pid}: {command[:120]}" for pid, command in _processes(str(home))]
    found += [f"mount {line.split()[1]}" for line in Path("/proc/mounts").read_text().splitlines() if str(home) in line]
    found += [f"port {port}" for port in ports if _listens(port)]
    return found


def _processes(text: str) -> list[tuple[int, str]]:
    """Return the processes that have a text in their command, environment, folder or open files."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            places = [str((folder / "cwd").readlink()), *(str(fd.readlink()) for fd in (folder / "fd").iterdir())]
        except OSError:
            continue
        mentioned = text in command or any(text in place for place in places)
        if mentioned and state != "Z" and "sys.stdin.read()" not in command:
            found.append((int(folder.name), command))
    return found


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def node_leftovers(home: Path, cgroup: str) -> list[str]:
    """Return each mount, process, cgroup and loop device that a real node of the lab in `home` left in the kernel.

    A mount is looked for in every mount namespace: those of a node are not to be seen from outside. One is left out:
    the folder where a lab holds its namespaces, of which whoever made a namespace meanwhile has an empty copy.
    """
    found, seen, own = [], set(), Path("/proc/self/ns/mnt").readlink()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            namespace = (process / "ns" / "mnt").readlink()
            mounts = [] if namespace in seen else (process / "mountinfo").read_text().splitlines()
        except OSError:
            continue
        seen.add(namespace)
        for target in (line.split()[4] for line in mounts if str(home) in line):
            if namespace == own or not target.endswith("/node/namespace"):
                found.append(f"mount {target} in {namespace} of process {process.name}")
    for mount in cgroup_mounts():
        found += [f"cgroup {path}" for path in mount.glob(f"{cgroup}*")]
        for path in mount.glob(f"{cgroup}*/**/cgroup.procs"):
            found += [f"process {pid} in {path.parent}" for pid in path.read_text().split()]
    for file in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            found += [f"loop device of {backing}" for backing in [file.read_text().strip()] if str(home) in backing]
    return found
