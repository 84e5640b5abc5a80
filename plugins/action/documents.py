# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Renders a role's documents and adds them to those collected so far."""

from __future__ import annotations

import pathlib
import typing as t
from collections.abc import Mapping

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.audioprothese.platform.plugins.plugin_utils.templates import plain, render_templates

_INTO: t.Final = ("azure", "kubernetes")
VARIABLE: t.Final = "platform_documents"


class ActionModule(ActionBase):
    """See the module of the same name."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        variables = task_vars or {}
        result: dict[str, t.Any] = super().run(tmp, variables)
        _checked, options = self.validate_argument_spec(
            argument_spec={
                "templates": {"type": "list", "elements": "str", "default": []},
                "documents": {"type": "list", "elements": "dict", "default": []},
                "chart": {"type": "dict"},
                "into": {"type": "str", "choices": list(_INTO), "required": True},
            }
        )
        into = str(options["into"])
        if options["chart"] and into != "kubernetes":
            raise AnsibleActionFail("A chart renders Kubernetes objects: set into to kubernetes.")
        rendered = render_templates(
            options["templates"], templar=self._templar, loader=self._loader, variables=variables
        )
        new = [item.document for item in rendered] + plain(options["documents"])
        collected = _collected(variables)
        collected[into] = _joined(collected[into], new)
        if options["chart"]:
            collected["charts"] = _joined(collected["charts"], [self._chart(plain(options["chart"]))])
        result.update(changed=False, documents=new, platform_documents=collected)
        self._keep(collected, result)
        return result

    def _chart(self, chart: dict[str, t.Any]) -> dict[str, t.Any]:
        """The chart with its folder made absolute, so that another role's task can render it."""
        path = chart.get("path")
        if path and not pathlib.Path(path).is_absolute():
            chart["path"] = self._loader.path_dwim_relative(self._loader.get_basedir(), "charts", path)
        return chart

    def _keep(self, collected: dict[str, t.Any], result: dict[str, t.Any]) -> None:
        register = getattr(self, "register_host_variables", None)
        if register is not None:
            register({VARIABLE: collected})
        else:  # ansible-core before 2.21
            result["ansible_facts"] = {VARIABLE: collected}


def _collected(variables: Mapping[str, t.Any]) -> dict[str, t.Any]:
    before = variables.get(VARIABLE) or variables.get("ansible_facts", {}).get(VARIABLE) or {}
    return {name: plain(before.get(name) or []) for name in (*_INTO, "charts")}


def _joined(before: list[t.Any], new: list[t.Any]) -> list[t.Any]:
    """Each document once: a role may be included twice in one run."""
    return [*before, *(item for item in new if item not in before)]
