# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Render templates and charts on the controller, hand the documents to the module, show its progress."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import typing as t
from collections.abc import Iterator

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError, PlatformError
from ansible_collections.audioprothese.platform.plugins.plugin_utils.helm import render_chart
from ansible_collections.audioprothese.platform.plugins.plugin_utils.local_module import is_local, run_module
from ansible_collections.audioprothese.platform.plugins.plugin_utils.progress import relay
from ansible_collections.audioprothese.platform.plugins.plugin_utils.run import describe_run
from ansible_collections.audioprothese.platform.plugins.plugin_utils.templates import plain, render_templates

MODULE = "audioprothese.platform.k8s_applyset"


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        args = dict(self._task.args)
        try:
            documents = self._documents(args, task_vars or {})
        except PlatformError as exc:
            return {**result, "failed": True, "msg": str(exc)}
        with self._handed_over(args, documents), relay(Display()) as progress:
            args |= {"_progress": progress, "_run": describe_run()}
            result.update(run_module(self, MODULE, args, task_vars or {}))
        return result

    def _documents(self, args: dict[str, t.Any], task_vars: dict[str, t.Any]) -> list[t.Any]:
        """Everything the set holds: rendered templates, inline documents, rendered charts."""
        documents = plain(args.pop("documents", None) or [])
        if not isinstance(documents, list):
            raise InputError("documents is not a list")
        templates = args.pop("templates", None) or []
        if templates:
            patterns = [templates] if isinstance(templates, str) else templates
            rendered = render_templates(patterns, templar=self._templar, loader=self._loader, variables=task_vars)
            documents = [*(one.document for one in rendered), *documents]
        helm_binary = args.pop("helm_binary", None)
        chart = args.pop("chart", None)
        for one in [*([chart] if chart else []), *(args.pop("charts", None) or [])]:
            documents += render_chart(
                plain(one), helm_binary=helm_binary, environment=self._environment(), find_path=self._find_chart
            )
        return documents

    def _environment(self) -> dict[str, str]:
        """The C(environment) of the task: helm is meant to see it although it runs on the controller."""
        given = self._templar.template(self._task.environment or [])
        merged: dict[str, str] = {}
        for part in given if isinstance(given, list) else [given]:
            merged |= {str(key): str(value) for key, value in (part or {}).items()}
        return merged

    def _find_chart(self, path: str) -> str:
        places = [self._loader.get_basedir(), *self._task.get_search_path()]
        found = (os.path.join(place, path) for place in places)  # noqa: PTH118
        return next((os.path.normpath(p) for p in found if os.path.exists(p)), path)  # noqa: PTH110

    @contextlib.contextmanager
    def _handed_over(self, args: dict[str, t.Any], documents: list[t.Any]) -> Iterator[None]:
        """Documents and resources in a file of this user: arguments end up in logs and in C(-vvv)."""
        given = {"documents": documents, "resources": plain(args.pop("resources", None) or {})}
        if not is_local(self):
            args |= given
            yield
            return
        with tempfile.NamedTemporaryFile("w", prefix="platform-input-", suffix=".json", encoding="utf-8") as stream:
            json.dump(given, stream)
            stream.flush()
            args["_input"] = stream.name
            yield
