"""What tests do to pods and to the processes behind them."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from tests.integration.support.lab import Lab

__all__ = ["await_rollouts", "kill_process", "pod_names", "restarts"]

PLATFORM = ("access", "argocd", "gateway", "logging", "mariadb", "monitoring", "node-monitoring", "openmrs")
EVERY_SECONDS = 1.0


def pods(lab: Lab, namespace: str, selector: str = "") -> list[dict[str, Any]]:
    """Return the pods of a namespace."""
    chosen = ["-l", selector] if selector else []
    found: list[dict[str, Any]] = json.loads(lab.kubectl("get", "pods", "-n", namespace, *chosen, "-o", "json"))[
        "items"
    ]
    return found


def pod_names(lab: Lab, namespace: str, selector: str = "") -> list[str]:
    """Return the names of the pods of a namespace, sorted."""
    return sorted(pod["metadata"]["name"] for pod in pods(lab, namespace, selector))


def restarts(lab: Lab, namespace: str, name: str) -> int:
    """Count how often the containers of a pod were started again."""
    (pod,) = [pod for pod in pods(lab, namespace) if pod["metadata"]["name"] == name]
    return sum(int(status["restartCount"]) for status in pod["status"].get("containerStatuses", []))


def kill_process(lab: Lab, namespace: str, pod: str, program: str) -> int:
    """Kill -9 a program of a pod from outside, as the kernel does when memory runs out; return its process id."""
    (uid,) = [p["metadata"]["uid"] for p in pods(lab, namespace) if p["metadata"]["name"] == pod]
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            ours = uid in (entry / "cgroup").read_text().replace("_", "-")
            name = (entry / "comm").read_text().strip()
        except OSError:
            continue
        if ours and name == program:
            os.kill(int(entry.name), signal.SIGKILL)
            return int(entry.name)
    raise AssertionError(f"no process {program} belongs to the pod {namespace}/{pod}")


def unready(lab: Lab) -> list[str]:
    """Return the workloads of the platform that are not as their specification asks, each with its counts."""
    found = []
    for namespace in PLATFORM:
        listed = json.loads(lab.kubectl("get", "deployments,statefulsets", "-n", namespace, "-o", "json"))["items"]
        for item in listed:
            wanted, status = item["spec"].get("replicas", 1), item["status"]
            seen = status.get("observedGeneration", 0) >= item["metadata"]["generation"]
            ready, updated = status.get("readyReplicas", 0), status.get("updatedReplicas", 0)
            if not seen or ready < wanted or updated < wanted or status.get("replicas", 0) != wanted:
                found.append(f"{item['kind']}/{namespace}/{item['metadata']['name']}: {ready} of {wanted}")
    return found


def await_rollouts(lab: Lab, seconds: float = 300) -> float:
    """Wait until every workload of the platform is complete and ready; return the seconds that took."""
    started = time.monotonic()
    while waiting := unready(lab):
        if time.monotonic() - started > seconds:
            pods_now = lab.kubectl("get", "pods", "-A", "-o", "wide", check=False)
            raise AssertionError(f"after {seconds:.0f} s: {'; '.join(waiting)}\n{pods_now}")
        time.sleep(EVERY_SECONDS)
    return time.monotonic() - started
