"""Loki as the role configures it, on folders of a test in place of Blob."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.contract.conftest import find
from tests.contract.programs import program
from tests.contract.rendered import Documents
from tests.lab.build.builder import built

__all__ = ["Loki", "configuration", "rules", "running", "verified"]

SECONDS = 120


def configuration(documents: Documents) -> str:
    """What an inventory's Loki reads."""
    return str(find(documents["kubernetes"], "ConfigMap", "loki-configuration")["data"]["loki.yml"])


def rules(documents: Documents) -> dict[str, str]:
    """Its files of rules."""
    data: dict[str, str] = find(documents["kubernetes"], "ConfigMap", "loki-rules")["data"]
    return data


def verified(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Let the program judge a configuration."""
    path = folder / "loki.yml"
    path.write_text(text, encoding="utf-8")
    command = [str(built("loki").binary), "-verify-config", f"-config.file={path}"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@dataclass(frozen=True)
class Loki:
    """One that runs."""

    address: str

    def push(self, lines: list[str], *, namespace: str, container: str, log_class: str = "operations") -> None:
        """Hand it lines of this moment, as the collector does."""
        told = {"k8s.namespace.name": namespace, "k8s.container.name": container, "log.class": log_class}
        now = time.time_ns()
        records = [
            {"timeUnixNano": str(now + number), "body": {"stringValue": line}} for number, line in enumerate(lines)
        ]
        resource = {"attributes": [{"key": key, "value": {"stringValue": value}} for key, value in told.items()]}
        body = {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]}
        answer = httpx.post(f"{self.address}/otlp/v1/logs", json=body, timeout=10, trust_env=False)
        answer.raise_for_status()

    def ask(self, path: str, **query: str) -> Any:
        """Return the data of an answer of its API."""
        answer = httpx.get(f"{self.address}/loki/api/v1/{path}", params=query, timeout=10, trust_env=False)
        answer.raise_for_status()
        return answer.json()["data"]

    def metrics(self) -> str:
        """Return what Prometheus sees."""
        return httpx.get(f"{self.address}/metrics", timeout=10, trust_env=False).text


@contextlib.contextmanager
def running(
    text: str, folder: Path, free_port: Callable[[], int], *, files: dict[str, str] | None = None, **ruler: Any
) -> Iterator[Loki]:
    """Run it until the body ends; `files` are its rules and `ruler` what differs of how it looks at them."""
    port, store = free_port(), "filesystem"
    (folder / "rules" / "fake").mkdir(parents=True)
    (folder / "blob").mkdir()
    for name, content in (files or {}).items():
        (folder / "rules" / "fake" / name).write_text(content, encoding="utf-8")
    known = yaml.safe_load(
        text.replace("/var/loki", str(folder / "data")).replace("/etc/loki-rules", f"{folder}/rules")
    )
    known["server"] |= {"http_listen_address": "127.0.0.1", "http_listen_port": port, "grpc_listen_port": free_port()}
    known["storage_config"]["object_store"] = {store: {"dir": str(folder / "blob")}}
    known["schema_config"]["configs"][0]["object_store"] = store
    known["compactor"]["delete_request_store"] = store
    known["ruler"] |= ruler
    (folder / "loki.yml").write_text(yaml.safe_dump(known), encoding="utf-8")
    command = [str(built("loki").binary), f"-config.file={folder}/loki.yml"]
    # None of the ways that the client of Blob knows leads anywhere from here.
    environment = {"AZURE_TOKEN_CREDENTIALS": "WorkloadIdentityCredential"}
    with program(command, folder / "loki.log", environment):
        _await_ready(f"http://127.0.0.1:{port}", folder / "loki.log")
        yield Loki(f"http://127.0.0.1:{port}")


def _await_ready(address: str, log: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{address}/ready", timeout=5, trust_env=False).is_success:
                return
        assert time.monotonic() < deadline, log.read_text()[-4000:]
        time.sleep(0.2)
