"""The OpenTelemetry Collector that the lab assembles has the parts that logs need; lines go through them into Loki."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.lab.build.builder import Tool, built
from tests.lab.tests.clusters import eventually
from tests.lab.tests.enforcer import free_port

PARTS: dict[str, Any] = {
    "receivers": {"file_log": {"include": ["LOGS/*.log"], "start_at": "beginning", "storage": "file_storage"}},
    "processors": {
        "memory_limiter": {"check_interval": "1s", "limit_mib": 200},
        "transform": {"log_statements": ['replace_pattern(log.body, "name=[a-z]+", "name=-")']},
    },
    "exporters": {"otlp_http": {"endpoint": "http://127.0.0.1:LOKI/otlp"}},
    "extensions": {"file_storage": {"directory": "STATE"}, "health_check": {"endpoint": "127.0.0.1:HEALTH"}},
}


LOKI = """
auth_enabled: false
analytics: {reporting_enabled: false}
server: {http_listen_address: 127.0.0.1, http_listen_port: HTTP, grpc_listen_address: 127.0.0.1, grpc_listen_port: GRPC}
common:
  instance_addr: 127.0.0.1
  path_prefix: STATE
  replication_factor: 1
  ring: {kvstore: {store: inmemory}}
  storage: {filesystem: {chunks_directory: STATE/chunks, rules_directory: STATE/rules}}
schema_config:
  configs:
    - {from: "2024-01-01", store: tsdb, object_store: filesystem, schema: v13, index: {prefix: index_, period: 24h}}
"""


def configuration(folder: Path, *, loki: int = 1) -> tuple[Path, str, str]:
    """Write a configuration with every part; the file, its health and its metrics."""
    (folder / "logs").mkdir(exist_ok=True)
    (folder / "state").mkdir(exist_ok=True)
    health, metrics = free_port(), free_port()
    reader = {"pull": {"exporter": {"prometheus": {"host": "127.0.0.1", "port": metrics}}}}
    pipeline = {kind: list(PARTS[kind]) for kind in ("receivers", "processors", "exporters")}
    service = {
        "extensions": list(PARTS["extensions"]),
        "telemetry": {"metrics": {"readers": [reader]}},
        "pipelines": {"logs": pipeline},
    }
    text = (
        yaml.safe_dump({**PARTS, "service": service}).replace("LOGS", str(folder / "logs")).replace("LOKI", str(loki))
    )
    path = folder / "collector.yml"
    path.write_text(text.replace("STATE", str(folder / "state")).replace("HEALTH", str(health)))
    return path, f"http://127.0.0.1:{health}/", f"http://127.0.0.1:{metrics}/metrics"


@pytest.fixture(scope="module")
def collector() -> Tool:
    return built("otelcol")


def validated(collector: Tool, path: Path) -> subprocess.CompletedProcess[str]:
    command = [str(collector.binary), "validate", f"--config={path}"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_it_has_every_part_and_refuses_others(collector: Tool, tmp_path: Path) -> None:
    path, _, _ = configuration(tmp_path)
    good = validated(collector, path)
    assert good.returncode == 0, good.stderr
    path.write_text(path.read_text().replace("transform", "redaction"))
    assert validated(collector, path).returncode == 1


@pytest.fixture
def loki(tmp_path: Path) -> Iterator[int]:
    """Run Loki; the port that it answers at."""
    tool, port, path = built("loki"), free_port(), tmp_path / "loki.yml"
    text = LOKI.replace("STATE", str(tmp_path / "loki")).replace("HTTP", str(port)).replace("GRPC", str(free_port()))
    path.write_text(text)
    command = [str(tool.binary), f"-config.file={path}"]
    with (tmp_path / "loki.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            eventually(lambda: asked(port, "ready") == ["ready"], seconds=120, every=1)
            yield port
        finally:
            process.terminate()


def asked(port: int, path: str, **query: str) -> list[str]:
    """What Loki answers: the lines of a query, or a text."""
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/{path}", params=query, timeout=5, trust_env=False)
    except httpx.HTTPError:
        return []
    if not query:
        return answer.text.splitlines()
    return [line for stream in answer.json()["data"]["result"] for _, line in stream["values"]]


def test_loki_keeps_what_the_collector_sends(collector: Tool, loki: int, tmp_path: Path) -> None:
    path, health, metrics = configuration(tmp_path, loki=loki)
    (tmp_path / "logs" / "one.log").write_text("GET /patient?name=durand\n")
    query = '{service_name=~".+"}'
    with subprocess.Popen([str(collector.binary), f"--config={path}"], stderr=subprocess.DEVNULL) as process:
        try:
            kept = eventually(lambda: asked(loki, "loki/api/v1/query_range", query=query), seconds=60, every=0.5)
            assert httpx.get(health, timeout=5, trust_env=False).is_success
            assert "otelcol_receiver_accepted_log_records" in httpx.get(metrics, timeout=5, trust_env=False).text
        finally:
            process.terminate()
    assert kept == ["GET /patient?name=-"]
