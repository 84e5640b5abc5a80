"""The collector as the role configures it, run on files of a folder: what it would hand to Loki."""

from __future__ import annotations

import contextlib
import gzip
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.contract.conftest import find
from tests.contract.programs import program
from tests.contract.rendered import Documents
from tests.contract.serving import QuietHandler, serving
from tests.lab.build.builder import built

__all__ = ["Line", "Received", "collecting", "configuration", "validated", "write"]

NANOSECONDS = "2026-11-27T08:00:00.{number:09d}Z"


def configuration(documents: Documents) -> str:
    """What an inventory's collectors read."""
    return str(find(documents["kubernetes"], "ConfigMap", "otel-collector")["data"]["collector.yml"])


def validated(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Let the program judge a configuration."""
    path = folder / "collector.yml"
    path.write_text(text, encoding="utf-8")
    command = [str(built("otelcol").binary), "validate", f"--config={path}"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def write(folder: Path, lines: list[str], *, namespace: str, container: str, pod: str = "pod") -> Path:
    """Append lines to the file of a container's log, as containerd does; an empty one is a line as well."""
    path = folder / "pods" / f"{namespace}_{pod}_0b1c2d3e-0000-4000-8000-000000000001" / container / "0.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        for number, line in enumerate(lines):
            file.write(f"{NANOSECONDS.format(number=number)} stdout F {line}\n")
    return path


@dataclass(frozen=True)
class Line:
    """One entry, with what it comes from."""

    body: str
    resource: dict[str, str]
    attributes: dict[str, str]


@dataclass
class Received:
    """What came, in its order; while it `refuses`, nobody takes anything."""

    lines: list[Line] = field(default_factory=list)
    refuses: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def bodies(self) -> list[str]:
        """Return the texts."""
        with self.lock:
            return [line.body for line in self.lines]

    def take(self, told: dict[str, Any]) -> None:
        """Remember a request of OTLP in JSON."""
        with self.lock:
            for group in told["resourceLogs"]:
                resource = pairs(group["resource"])
                for scope in group["scopeLogs"]:
                    self.lines += [
                        Line(record["body"]["stringValue"], resource, pairs(record)) for record in scope["logRecords"]
                    ]


def pairs(thing: dict[str, Any]) -> dict[str, str]:
    """Attributes of OTLP as a dictionary."""
    return {entry["key"]: str(next(iter(entry["value"].values()))) for entry in thing.get("attributes", [])}


@contextlib.contextmanager
def collecting(
    text: str, folder: Path, free_port: Callable[[], int], received: Received | None = None
) -> Iterator[tuple[Received, int, subprocess.Popen[bytes]]]:
    """Run it on `folder/pods`; what came, the port of its metrics, and its process."""
    taken = received or Received()

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if not taken.refuses:
                taken.take(json.loads(body))
            self.send_response(503 if taken.refuses else 200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b"{}")

    port, metrics, state = free_port(), free_port(), folder / "state"
    reader = {"pull": {"exporter": {"prometheus": {"host": "127.0.0.1", "port": metrics}}}}
    here = {
        "extensions": {
            "health_check": {"endpoint": f"127.0.0.1:{free_port()}"},
            "file_storage": {"directory": str(state), "compaction": {"directory": str(state)}},
        },
        "receivers": {"file_log": {"include": [f"{folder}/pods/*/*/*.log"]}},
        "exporters": {"otlp_http": {"endpoint": f"http://127.0.0.1:{port}", "encoding": "json"}},
        "service": {"telemetry": {"metrics": {"readers": [reader]}}},
    }
    (folder / "collector.yml").write_text(text, encoding="utf-8")
    (folder / "here.yml").write_text(yaml.safe_dump(here), encoding="utf-8")
    command = [str(built("otelcol").binary), f"--config={folder}/collector.yml", f"--config={folder}/here.yml"]
    with serving(port, Handler), program(command, folder / "collector.log", {"NODE_NAME": "node-1"}) as process:
        yield taken, metrics, process
