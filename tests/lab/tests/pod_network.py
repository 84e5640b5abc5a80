"""A node's network without a node: pods that are network namespaces, joined as the CNI plugin ptp joins them.

Everything is in a network namespace of its own, which ends with the processes in it. No packet can leave it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["NODE", "OUTSIDE", "POD_RANGE", "Host", "PodNetwork", "eventually", "obstacle", "pod_network"]

NODE = "172.30.0.10"
OUTSIDE = "20.0.0.1"
POD_RANGE = "10.244.0.0/16"
GATEWAY = "10.244.0.1"
PATIENCE_SECONDS = 60.0
# A SYN that was dropped while rules were replaced is sent again after a second.
ATTEMPT_SECONDS = 2.5

# Answers on the ports of its arguments and makes the connections that its standard input asks for. What comes back:
# "open", "closed" (nobody listens, but the packet got there), or "cut" (no answer).
AGENT = r"""
import concurrent.futures, json, socket, sys, threading, time
seconds = float(sys.argv[2])
held = {}

def echo(connection):
    with connection:
        while data := connection.recv(100):
            connection.sendall(data)

def accept(listener):
    while True:
        threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()

def answer(sock):
    while True:
        data, sender = sock.recvfrom(512)
        if len(data) > 12:  # a question of DNS; every name has the address of the first argument
            end = data.index(0, 12) + 5
            data = data[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + data[12:end] + b"\xc0\x0c\0\1\0\1\0\0\0\5\0\4"
            data += socket.inet_aton(sys.argv[1])
        sock.sendto(data, sender)

def attempt(job):
    kind, address, port = job
    try:
        if kind == "udp":
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(seconds)
                sock.connect((address, port))
                for _ in range(2):
                    sock.send(b"ping")
                sock.recv(100)
            return "open"
        if kind == "use":
            sock = held[address, port]
        else:
            sock = socket.create_connection((address, port), timeout=seconds)
        sock.sendall(b"ping")
        found = "open" if sock.recv(100) else "closed"
        if kind == "hold":
            held[address, port] = sock
        elif kind == "tcp":
            sock.close()
        return found
    except ConnectionRefusedError:
        return "closed"
    except OSError:
        return "cut"

def knock(address, port, stop, found):
    while not stop.is_set():
        try:
            socket.create_connection((address, port), timeout=0.02).close()
            found.append(1)
        except OSError:
            pass

for port in sys.argv[4:]:
    listener = socket.create_server(("0.0.0.0", int(port)), backlog=512)
    threading.Thread(target=accept, args=(listener,), daemon=True).start()
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((sys.argv[3], int(port)))
    threading.Thread(target=answer, args=(sock,), daemon=True).start()
print("ready", flush=True)
knocking = None
for line in sys.stdin:
    job = json.loads(line)
    if isinstance(job, dict):
        if job["knock"]:
            stop, found = threading.Event(), []
            knocking = threading.Thread(target=knock, args=(*job["knock"], stop, found)), stop, found
            knocking[0].start()
            print("[]", flush=True)
        else:
            knocking[1].set()
            knocking[0].join()
            print(json.dumps(knocking[2]), flush=True)
        continue
    with concurrent.futures.ThreadPoolExecutor(max(1, len(job))) as pool:
        print(json.dumps(list(pool.map(attempt, job))), flush=True)
"""


def obstacle() -> str:
    """Return why this machine cannot have such a network, or an empty text."""
    if os.geteuid() != 0:
        return "not root"
    missing = [name for name in ("ip", "nsenter", "setpriv", "unshare") if not shutil.which(name)]
    return f"{', '.join(missing)} not found" if missing else ""


@dataclass
class Host:
    """Something with an address: a pod, the node or a stranger outside; it listens on `ports`."""

    name: str
    address: str
    ports: tuple[int, ...]
    agent: subprocess.Popen[str]

    def attempts(self, *jobs: tuple[str, str, int]) -> list[str]:
        """Make all these connections at once; each is kind (tcp, udp, hold, use), address and port."""
        found: list[str] = self._ask(list(jobs))
        return found

    def reaches(self, other: Host | str, port: int, kind: str = "tcp") -> str:
        """Make one connection: open, closed or cut."""
        return self.attempts((kind, other if isinstance(other, str) else other.address, port))[0]

    @contextlib.contextmanager
    def knocking(self, other: Host, port: int) -> Iterator[list[int]]:
        """Try to connect all the time; the list has an entry for each success once the block is left."""
        successes: list[int] = []
        self._ask({"knock": [other.address, port]})
        try:
            yield successes
        finally:
            successes += self._ask({"knock": None})

    def _ask(self, job: Any) -> Any:
        assert self.agent.stdin is not None
        assert self.agent.stdout is not None
        self.agent.stdin.write(json.dumps(job) + "\n")
        self.agent.stdin.flush()
        return json.loads(self.agent.stdout.readline())


@dataclass
class PodNetwork:
    """The hosts of one network."""

    stack: contextlib.ExitStack
    hosts: dict[str, Host] = field(default_factory=dict)

    def node(self, *ports: int) -> Host:
        """Run what sends and listens as the node itself."""
        return self._agent("node", NODE, ports, [])

    def add(self, name: str, address: str, *ports: int) -> Host:
        """Join a namespace with that address."""
        host = self._agent(name, address, ports, ["unshare", "--net"])
        link = f"veth{len(self.hosts)}"
        pid = str(host.agent.pid)
        _run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", pid)
        _run("ip", "address", "add", f"{GATEWAY}/32", "dev", link)
        _run("ip", "link", "set", link, "up")
        _run("ip", "route", "add", f"{address}/32", "dev", link)
        for command in (
            f"link set lo up\nlink set eth0 up\naddress add {address}/32 dev eth0",
            f"route add {GATEWAY}/32 dev eth0 scope link\nroute add default via {GATEWAY} dev eth0 src {address}",
        ):
            _run("nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-batch", "-", typed=command)
        return host

    def rename(self, host: Host, name: str) -> None:
        """Give a host another name."""
        self.hosts[name] = self.hosts.pop(host.name)
        host.name = name

    def _agent(self, name: str, address: str, ports: tuple[int, ...], inside: list[str]) -> Host:
        agent = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *inside, sys.executable, "-c", AGENT, OUTSIDE, str(ATTEMPT_SECONDS)]
            # The node has many addresses, and has to answer with the one that was asked; a pod gets its own later.
            + ["0.0.0.0" if inside else address]  # noqa: S104 - in a namespace of its own
            + [str(port) for port in ports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.stack.callback(_stop, agent)
        assert agent.stdout is not None
        assert agent.stdout.readline() == "ready\n"
        host = self.hosts[name] = Host(name, address, ports, agent)
        return host

    def reachable(self, ports: tuple[int, ...] = (), *, of: Collection[str] = ()) -> set[tuple[str, str, int]]:
        """Try every pair of hosts, or those with one `of` some, on the ports that the target has; what answered."""

        def from_one(source: Host) -> set[tuple[str, str, int]]:
            jobs = [
                (other, port)
                for other in self.hosts.values()
                for port in other.ports
                if other is not source
                and (not ports or port in ports)
                and (not of or source.name in of or other.name in of)
            ]
            answers = source.attempts(*(("tcp", other.address, port) for other, port in jobs))
            return {
                (source.name, other.name, port)
                for (other, port), answer in zip(jobs, answers, strict=True)
                if answer == "open"
            }

        with ThreadPoolExecutor(len(self.hosts)) as pool:
            return set().union(*pool.map(from_one, self.hosts.values()))


@contextlib.contextmanager
def pod_network() -> Iterator[PodNetwork]:
    """Move this thread into a network namespace with a node's address; what it starts is in there as well."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, before)
        os.unshare(os.CLONE_NEWNET)
        stack.callback(os.setns, before, os.CLONE_NEWNET)
        _run("ip", "link", "set", "lo", "up")
        # The kernel may have no dummy interface: one end of a pair serves as one.
        _run("ip", "link", "add", "lab0", "type", "veth", "peer", "name", "lab1")
        _run("ip", "address", "add", f"{NODE}/24", "dev", "lab0")
        _run("ip", "link", "set", "lab0", "up")
        _run("ip", "link", "set", "lab1", "up")
        _run("ip", "route", "add", "default", "dev", "lab0")
        _run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        yield PodNetwork(stack)


def eventually(check: Callable[[], object], wanted: object, *, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until a check gives what is wanted."""
    deadline = time.monotonic() + seconds
    while (found := check()) != wanted:
        assert time.monotonic() < deadline, f"still {found!r}, not {wanted!r}"
        time.sleep(0.1)


def _run(*command: str, typed: str = "") -> None:
    done = subprocess.run(command, input=typed, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


def _stop(process: subprocess.Popen[Any]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def log_end(path: Path) -> str:
    """The end of a log."""
    return path.read_text(encoding="utf-8", errors="replace")[-3000:] if path.exists() else ""
