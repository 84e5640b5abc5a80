"""A pod of a test's own that runs a program of Python, and a pod that is asked through the API server."""

from __future__ import annotations

import json
import urllib.parse
from typing import Any

from tests.integration.support.lab import Lab

__all__ = ["asked", "python_pod", "through"]


def python_pod(lab: Lab, name: str, namespace: str, program: str, *arguments: str, port: int = 0) -> dict[str, Any]:
    """Return a pod with the image of the archive, which has Python; with a port it is ready when that answers."""
    pod = json.loads(lab.kubectl("get", "pod", "mariadb-0", "-n", "mariadb", "-o", "json"))
    [image] = [one["image"] for one in pod["spec"]["containers"] if one["name"] == "archive"]
    ready = {"readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1}} if port else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": name,
                    "image": image,
                    "command": ["python3", "-c", program, *arguments],
                    **ready,
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }


def through(namespace: str, pod: str, port: int) -> str:
    """Return the path by which the API server leads to a port of a pod."""
    return f"/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy"


def asked(lab: Lab, url: str, **parameters: str) -> str:
    """Return what is answered behind the API server."""
    query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
    return lab.kubectl("get", "--raw", f"{url}{query}")
