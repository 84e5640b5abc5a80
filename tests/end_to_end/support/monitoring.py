"""Prometheus as its users see it, and a receiver of what Alertmanager sends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.end_to_end.support.programs import asked, python_pod, through
from tests.integration.support.lab import Lab

__all__ = ["RECEIVER_URL", "TOLD_AT_ONCE", "Monitoring", "receiver"]

PROMETHEUS = through("monitoring", "prometheus-0", 9090)
NAME = "alert-receiver"
PORT = 8080
RECEIVER_URL = f"http://{NAME}.monitoring.svc.cluster.local:{PORT}/"
# Variables with which alerts wait for seconds, and all of them are told to the receiver, whose address is in the vault.
TOLD_AT_ONCE: dict[str, Any] = {
    "prometheus_interval": "5s",
    "prometheus_alert_for": "5s",
    "prometheus_severities": {name: {"wait": "1s", "repeat": "1h"} for name in ("critical", "warning")},
    "prometheus_group_interval": "5s",
    "prometheus_receivers": [{"name": "test", "webhook": "test"}],
    "prometheus_receiver_secrets": {"test": "alerts-test"},
}
# A line for each alert of a notification, one after the other.
PROGRAM = """
import http.server, json
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        for alert in told["alerts"]:
            print(json.dumps({"status": alert["status"], **alert["labels"], **alert["annotations"]}), flush=True)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *arguments):
        pass
http.server.HTTPServer(("", 8080), Handler).serve_forever()
"""


@dataclass(frozen=True)
class Monitoring:
    """Prometheus, asked through the API server, and the receiver."""

    lab: Lab

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of one answer of its API."""
        return json.loads(asked(self.lab, f"{PROMETHEUS}/api/v1/{path}", **parameters))["data"]

    def values(self, query: str) -> list[float]:
        """Return the values of an instant query."""
        return [float(found["value"][1]) for found in self.ask("query", query=query)["result"]]

    def targets(self) -> dict[str, dict[str, str]]:
        """Return what is wrong with each target, by job and instance; nothing where it is up."""
        found: dict[str, dict[str, str]] = {}
        for target in self.ask("targets", state="active")["activeTargets"]:
            labels = target["labels"]
            problem = "" if target["health"] == "up" else target["lastError"] or target["health"]
            found.setdefault(labels["job"], {})[target["scrapeUrl"]] = problem
        return found

    def rules(self) -> dict[str, str]:
        """Return what is wrong with each rule, by name; nothing where it works."""
        groups = self.ask("rules")["groups"]
        return {rule["name"]: rule.get("lastError", "") for group in groups for rule in group["rules"]}

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        return {alert["labels"]["alertname"] for alert in self.ask("alerts")["alerts"] if alert["state"] == "firing"}

    def received(self) -> list[dict[str, str]]:
        """Return what the receiver was told, each alert with its labels and annotations."""
        printed = self.lab.kubectl("logs", "-n", "monitoring", NAME)
        return [json.loads(line) for line in printed.splitlines()]


@contextmanager
def receiver(lab: Lab) -> Iterator[Monitoring]:
    """Run a receiver beside Alertmanager, which alone reaches it."""
    about: dict[str, Any] = {"name": NAME, "namespace": "monitoring", "labels": {"app": NAME}}
    alertmanager = {"app.kubernetes.io/name": "alertmanager"}
    ports = [{"protocol": "TCP", "port": PORT}]
    objects: list[dict[str, Any]] = [
        python_pod(lab, NAME, "monitoring", PROGRAM, port=PORT),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": about,
            "spec": {"selector": {"app": NAME}, "ports": ports},
        },
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": about,
            "spec": {
                "podSelector": {"matchLabels": {"app": NAME}},
                "policyTypes": ["Ingress"],
                "ingress": [{"from": [{"podSelector": {"matchLabels": alertmanager}}], "ports": ports}],
            },
        },
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {**about, "name": f"{NAME}-sender"},
            "spec": {
                "podSelector": {"matchLabels": alertmanager},
                "policyTypes": ["Egress"],
                "egress": [{"to": [{"podSelector": {"matchLabels": {"app": NAME}}}], "ports": ports}],
            },
        },
    ]
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    try:
        lab.kubectl("apply", "-f", "-", stdin=listed)
        lab.kubectl("wait", "pod", NAME, "-n", "monitoring", "--for=condition=Ready", "--timeout=60s")
        yield Monitoring(lab)
    finally:
        lab.kubectl("delete", "-f", "-", "--ignore-not-found", stdin=listed, check=False)
