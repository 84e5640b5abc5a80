# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Renders the templates on the controller, then runs the module and relays its progress."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.audioprothese.platform.plugins.plugin_utils.local_module import run_module
from ansible_collections.audioprothese.platform.plugins.plugin_utils.progress import relay
from ansible_collections.audioprothese.platform.plugins.plugin_utils.run import describe_run
from ansible_collections.audioprothese.platform.plugins.plugin_utils.templates import plain, render_templates

MODULE: t.Final = "audioprothese.platform.arm_resources"


class ActionModule(ActionBase):
    """See the module of the same name."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        variables = task_vars or {}
        result: dict[str, t.Any] = super().run(tmp, variables)
        arguments = dict(self._task.args)
        rendered = render_templates(
            _listed(arguments.pop("templates", None)),
            templar=self._templar,
            loader=self._loader,
            variables=variables,
        )
        inline = plain(_listed(arguments.pop("documents", None)))
        arguments["documents"] = [item.document for item in rendered] + inline
        arguments["_origins"] = [item.origin for item in rendered]
        arguments["_origins"] += [f"documents[{number}]" for number in range(len(inline))]
        arguments["_run"] = describe_run()
        display = Display()
        arguments["_verbosity"] = display.verbosity
        with relay(display, label=str(variables.get("inventory_hostname", ""))) as path:
            arguments["_progress"] = path
            result.update(run_module(self, MODULE, arguments, variables))
        return result


def _listed(value: t.Any) -> list[t.Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
