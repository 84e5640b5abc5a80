"""The archive beside MariaDB, as whoever looks into its container sees it."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from tests.integration.support.lab import Lab
from tests.integration.support.waiting import until

__all__ = ["archived_until", "await_archived", "container", "run", "said"]

SECONDS = 180


def run(lab: Lab, *arguments: str, check: bool = True) -> dict[str, Any]:
    """Run a command of the archive in its container; what it answers, empty when it fails and that is asked for."""
    command = ["python3", "-m", "mariadb_archive", *arguments]
    printed = lab.kubectl("exec", "-n", "mariadb", "mariadb-0", "-c", "archive", "--", *command, check=check)
    found: dict[str, Any] = json.loads(printed) if printed.strip() else {}
    return found


def said(lab: Lab, seconds: float = 60) -> list[dict[str, Any]]:
    """Return what the archive said of the last so many seconds."""
    printed = lab.kubectl("logs", "-n", "mariadb", "mariadb-0", "-c", "archive", f"--since={seconds:.0f}s")
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]


def container(lab: Lab) -> dict[str, Any]:
    """Return the status of its container."""
    pod = json.loads(lab.kubectl("get", "pod", "mariadb-0", "-n", "mariadb", "-o", "json"))
    [found] = [one for one in pod["status"]["containerStatuses"] if one["name"] == "archive"]
    return dict(found)


def archived_until(lab: Lab) -> dt.datetime:
    """Return the latest moment that can be restored; long ago while there is none."""
    reached = (dt.datetime.fromisoformat(found["until"]) for found in run(lab, "list")["ranges"] if found["logs"])
    return max(reached, default=dt.datetime.fromtimestamp(0, dt.UTC))


def await_archived(lab: Lab, moment: dt.datetime, seconds: float = SECONDS) -> None:
    """Wait until that moment can be restored."""
    until(lambda: archived_until(lab) > moment, f"{moment} can be restored", seconds, every=3)
