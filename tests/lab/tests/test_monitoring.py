"""The programs of monitoring that tests use: what they accept and what they refuse."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.lab.build.builder import build_missing, tools
from tests.lab.images.definitions import FOLDERS

# Each way to find targets that the build keeps.
TARGETS = """
  - job_name: pods
    kubernetes_sd_configs: [{role: pod}]
  - job_name: names
    dns_sd_configs: [{names: [replica.example]}]
  - job_name: files
    file_sd_configs: [{files: [targets.yml]}]
"""
RULES = """groups:
  - name: nodes
    rules:
      - alert: NodeNotReady
        expr: kube_node_status_condition{condition="Ready",status="true"} == 0
        for: 5m
"""


def run(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    tool = tools()[name]
    build_missing(only=tool)
    return subprocess.run([tool.binary, *arguments], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("name", ["promtool", "amtool"])
def test_it_says_its_version(name: str) -> None:
    assert f"{name}, version {tools()[name].version} " in run(name, "--version").stdout


def test_promtool_checks_a_configuration_and_rules(tmp_path: Path) -> None:
    rules, configuration = tmp_path / "rules.yml", tmp_path / "prometheus.yml"
    rules.write_text(RULES)
    default = (FOLDERS[0] / "prometheus/prometheus.yml").read_text()
    configuration.write_text(f"{default}{TARGETS}rule_files: [{rules}]\n")
    checked = run("promtool", "check", "config", configuration)
    assert checked.returncode == 0, checked.stderr
    assert "1 rules found" in checked.stdout
    rules.write_text(RULES.replace("== 0", "=== 0"))
    assert run("promtool", "check", "config", configuration).returncode == 1


def test_amtool_checks_a_configuration(tmp_path: Path) -> None:
    configuration = tmp_path / "alertmanager.yml"
    configuration.write_text((FOLDERS[0] / "alertmanager/alertmanager.yml").read_text())
    assert run("amtool", "check-config", configuration).returncode == 0
    configuration.write_text(configuration.read_text().replace("receiver: nobody", "receiver: somebody"))
    assert run("amtool", "check-config", configuration).returncode == 1
