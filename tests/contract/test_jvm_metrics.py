"""A real Java machine with the agent of images/jvm-metrics in it tells what rules and dashboards ask of OpenMRS's."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.contract.stand_in import free_port, until
from tests.tools.java import compile_java, home

ROOT = Path(__file__).resolve().parents[2]
ASKING = [ROOT / "roles/prometheus/files/rules/openmrs.yml", ROOT / "roles/grafana/files/dashboards/openmrs.json"]
# Waits until nobody writes to it any more.
PROGRAM = """
public final class Program {
    public static void main(String[] arguments) throws java.io.IOException {
        System.gc();
        System.in.read();
        System.out.println("done");
    }
}
"""


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent, and beside it a program."""
    folder = tmp_path_factory.mktemp("agent")
    (folder / "src").mkdir()
    (folder / "src" / "Program.java").write_text(PROGRAM)
    compile_java(folder / "src", folder, [])
    command: list[Path | str] = [sys.executable, ROOT / "images/jvm-metrics/prepare.py", folder]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=900)
    return folder / "agent.jar"


@contextlib.contextmanager
def machine(agent: Path, port: int, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A Java machine with a program that is through when its input is."""
    command: list[Path | str] = [
        home() / "bin/java",
        *options,
        f"-javaagent:{agent}={port}",
        "-cp",
        agent.parent,
        "Program",
    ]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def told(port: int) -> dict[str, set[str]]:
    """Names of the metrics that are told, with their labels."""
    found: dict[str, set[str]] = {}

    def answered() -> bool:
        with contextlib.suppress(httpx.TransportError):
            text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).raise_for_status().text
            for name, labels in re.findall(r"^(\w+)(?:{([^}]*)})? ", text, re.MULTILINE):
                found.setdefault(name, set()).add(labels)
        return bool(found)

    until(answered, "the agent answers")
    return found


def asked() -> set[str]:
    """Names of the metrics that are asked for."""
    return {name for path in ASKING for name in re.findall(r"\bjvm_\w+", path.read_text(encoding="utf-8"))}


# With less than 1792 MB or two processors a machine takes the first one by itself.
@pytest.mark.parametrize("collector", ["-XX:+UseSerialGC", "-XX:+UseG1GC"])
def test_what_is_asked_for_is_told(agent: Path, collector: str) -> None:
    port = free_port()
    with machine(agent, port, collector):
        found = told(port)
    assert len(asked()) > 5
    assert asked() - found.keys() == set()
    pools = " ".join(found["jvm_memory_pool_collection_used_bytes"])
    assert re.search(r'pool="[^"]*(Old|Tenured) Gen"', pools)


def test_it_keeps_no_machine_alive(agent: Path) -> None:
    port = free_port()
    with machine(agent, port) as process:
        told(port)
        assert process.communicate(timeout=20) == ("done\n", "")
        assert process.returncode == 0


def test_where_its_port_is_taken_the_program_runs_all_the_same(agent: Path) -> None:
    port = free_port()
    with machine(agent, port):
        told(port)
        with machine(agent, port) as second:
            out, err = second.communicate(timeout=20)
    assert (second.returncode, out) == (0, "done\n")
    assert f"No metrics of the Java machine on port {port}" in err
