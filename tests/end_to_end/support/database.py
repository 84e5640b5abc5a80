"""MariaDB as its administrator sees it: inside the pod, over the socket."""

from __future__ import annotations

from tests.integration.support.lab import Lab

__all__ = ["query"]


def query(lab: Lab, sql: str, *, pod: str = "mariadb-0") -> str:
    """Run statements in one pod and return the rows, columns apart by tabs."""
    client = ["mariadb", "--batch", "--skip-column-names", "--execute", sql]
    return lab.kubectl("exec", "-n", "mariadb", pod, "-c", "mariadb", "--", *client).strip()
