"""A lab of the tests' own: started on free ports, brought down whatever happens to the tests."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import socket
import ssl
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
COMMAND = ROOT / "tests" / "lab" / "lab"
PORTS_OF_A_LAB = 40
UP_TIMEOUT = 40 * 60  # the first `up` on a machine builds the programs of the lab

# Waits until its standard input closes, which the kernel does when the tests end in any way; then stops the lab and
# removes its folder.
REAPER = """
import os, shutil, subprocess, sys
sys.stdin.read()
code = subprocess.run(sys.argv[1:]).returncode
if code == 0:
    shutil.rmtree(os.environ["LAB_HOME"], ignore_errors=True)
sys.exit(code)
"""


def free_port_block(start: int = 21000, end: int = 29000, size: int = PORTS_OF_A_LAB) -> int:
    """Return the first port of a block that is free on loopback: any one, for two labs may be starting at once."""
    blocks = list(range(start, end, size))
    for base in random.sample(blocks, len(blocks)):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(base, base + size):
                    listener = stack.enter_context(socket.socket())
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return base
    raise RuntimeError(f"no {size} free ports in a row between {start} and {end}")


@dataclass
class Lab:
    """One lab, driven by its own command and its control interface."""

    home: Path
    port: int
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which the lab's command finds this lab."""
        ours = {"LAB_HOME": str(self.home), "LAB_PORT": str(self.port)}
        # Tests are many, and few are about containers: those ask for them.
        return {**os.environ, "LAB_NODES": "simulated", **self.variables, **ours}

    def command(self, *arguments: str, timeout: float = 300, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the lab's command and return what it printed."""
        done = subprocess.run(
            [COMMAND, *arguments], env=self.environment, capture_output=True, text=True, timeout=timeout, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"lab {' '.join(arguments)} failed:\n{done.stdout}\n{done.stderr}")
        return done

    def up(self) -> None:
        """Start what does not run; the first time builds it."""
        self.command("up", timeout=UP_TIMEOUT)
        self.__dict__.pop("info", None)

    def down(self) -> None:
        """Stop everything."""
        self.command("down", timeout=180)

    def reset(self) -> None:
        """Empty the simulated Azure and the cluster, and the counters."""
        self.command("reset")

    @functools.cached_property
    def info(self) -> dict[str, Any]:
        """Addresses and identities (the lab's env.json)."""
        found: dict[str, Any] = json.loads((self.home / "env.json").read_text(encoding="utf-8"))
        return found

    @functools.cached_property
    def client_environment(self) -> dict[str, str]:
        """The variables that point any client at the lab, as `lab env` prints them for a shell."""
        found: dict[str, str] = json.loads(self.command("env", "--json").stdout)
        return found

    def status(self) -> dict[str, Any]:
        """Health and request counts."""
        found: dict[str, Any] = json.loads(self.command("status", "--json").stdout)
        return found

    def writes(self) -> int:
        """Count the requests since `reset` that can have persisted something, in Azure and in the cluster."""
        counts = self.status()["requests"]
        return int(counts["azure"]["write"]) + int(counts["kubernetes"]["write"])

    def fault(self, *arguments: str) -> None:
        """Switch a fault on, or clear all."""
        self.command("fault", *arguments)

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Call the control interface of the simulator (`/lab/…`)."""
        token = (self.home / "control-token").read_text(encoding="utf-8").strip()
        request = urllib.request.Request(  # noqa: S310 - the address is the lab's own
            f"{self.info['arm_endpoint']}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        return self._send(request)

    def arm(self, method: str, resource_id: str, api_version: str, body: Any = None) -> Any:
        """Send one request to the simulated ARM as the lab's main client."""
        token = self._token(f"{self.info['arm_endpoint']}/.default")
        request = urllib.request.Request(  # noqa: S310 - the address is the lab's own
            f"{self.info['arm_endpoint']}{resource_id}?api-version={api_version}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        return self._send(request)

    def register(self, namespace: str) -> None:
        """Register a resource provider, as `az provider register` does."""
        self.arm("POST", f"/subscriptions/{self.info['subscription_id']}/providers/{namespace}/register", "2025-04-01")

    def _token(self, scope: str) -> str:
        form = {
            "grant_type": "client_credentials",
            "client_id": self.info["client_id"],
            "client_secret": self.info["client_secret"],
            "scope": scope,
        }
        request = urllib.request.Request(  # noqa: S310 - the address is the lab's own
            f"{self.info['authority_host']}/{self.info['tenant_id']}/oauth2/v2.0/token",
            data=urllib.parse.urlencode(form).encode(),
        )
        return str(self._send(request)["access_token"])

    def _send(self, request: urllib.request.Request) -> Any:
        context = ssl.create_default_context(cafile=self.info["ca_file"])
        with urllib.request.urlopen(request, context=context, timeout=60) as answer:  # noqa: S310
            text = answer.read()
        return json.loads(text) if text else None

    def kubectl_command(self, *arguments: str) -> list[str]:
        """Return what runs kubectl as the lab's own administrator."""
        return [self.info["kubectl"], "--kubeconfig", self.info["admin_kubeconfig"], *arguments]

    def kubectl(self, *arguments: str, check: bool = True, stdin: str | None = None) -> str:
        """Run kubectl as the lab's own administrator, beside whatever the product does."""
        done = subprocess.run(
            self.kubectl_command(*arguments),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            input=stdin,
        )
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)} failed:\n{done.stderr}")
        return done.stdout


@contextlib.contextmanager
def running_lab(**variables: str) -> Iterator[Lab]:
    """Start a lab in a folder of its own and stop it at the end, also when the tests are killed.

    PLATFORM_TEST_LAB names the folder of a running lab to use instead, for work on the tests.
    """
    given = os.environ.get("PLATFORM_TEST_LAB")
    if given:
        home = Path(given)
        yield Lab(home, int(json.loads((home / "lab.json").read_text(encoding="utf-8"))["port"]), variables)
        return
    home = Path(tempfile.mkdtemp(prefix="platform-lab-"))
    lab = Lab(home, free_port_block(), variables)
    reaper = subprocess.Popen(
        [sys.executable, "-c", REAPER, COMMAND, "down"],
        env=lab.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        lab.up()
        yield lab
    finally:
        assert reaper.stdin is not None
        reaper.stdin.close()
        code = reaper.wait(timeout=180)
        if code:
            print(f"`lab down` failed ({code}) for the lab in {home}", file=sys.stderr)
