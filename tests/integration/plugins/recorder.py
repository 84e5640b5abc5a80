# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record the results of a run's tasks for the tests, one JSON line each."""

from __future__ import annotations

DOCUMENTATION = """
name: recorder
type: aggregate
short_description: Records task results as JSON lines
description: Only for the tests of this repository.
options:
  path:
    description: The file to append to; nothing is recorded without it.
    type: path
    env:
      - name: RECORDER_PATH
"""

import json
import typing as t
from pathlib import Path

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    """Appends what a task returned, and the totals of the run."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "recorder"
    CALLBACK_NEEDS_ENABLED = True

    def _append(self, line: dict[str, t.Any]) -> None:
        path = self.get_option("path")
        if path:
            with Path(path).open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line, default=str) + "\n")

    def _task(self, status: str, result: t.Any) -> None:
        task = result.task
        self._append(
            {
                "status": status,
                "host": result.host.get_name(),
                "action": task.action,
                "task": task.get_name(),
                "result": dict(result.result),
            }
        )

    def v2_runner_on_ok(self, result: t.Any) -> None:
        """Record a success."""
        self._task("ok", result)

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        """Record a failure."""
        self._task("ignored" if ignore_errors else "failed", result)

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        """Record an unreachable host."""
        self._task("unreachable", result)

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        """Record the totals by host."""
        self._append({"status": "stats", "hosts": {host: stats.summarize(host) for host in stats.processed}})
