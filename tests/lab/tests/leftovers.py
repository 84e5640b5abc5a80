"""What a lab left behind on this machine, read from the kernel and not from the lab's own notes."""

from __future__ import annotations

import socket
from pathlib import Path

__all__ = ["leftovers"]


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
