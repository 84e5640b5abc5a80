# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the action of a module does that only has to know its run and to show its progress."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.audioprothese.platform.plugins.plugin_utils.local_module import LocalModule, run_module
from ansible_collections.audioprothese.platform.plugins.plugin_utils.progress import relay
from ansible_collections.audioprothese.platform.plugins.plugin_utils.run import describe_run

__all__ = ["RelayedModule"]


class RelayedModule(LocalModule):
    """Tell the module which run it belongs to, so that it can hold the environment's lease, and show its progress."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run the module on the controller's behalf."""
        result: dict[str, t.Any] = ActionBase.run(self, tmp, task_vars)
        with relay(Display()) as progress:
            arguments = {**self._task.args, "_progress": progress, "_run": describe_run()}
            result.update(run_module(self, self.MODULE, arguments, task_vars or {}))
        return result
