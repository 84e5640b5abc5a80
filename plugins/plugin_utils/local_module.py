# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a module of this collection without a Python of its own, where its Python would be Ansible's.

Packing a module, starting a Python for it and importing the clients of Azure and Kubernetes there takes 1 to 1.6 s, and
C(site.yml) runs a dozen of them. Ansible forks a process for each task anyway: the module runs in that one, with the
libraries that were loaded before the fork. Arguments, checks, redaction and result are those of any module. On another
machine, as another user or in another Python it runs as Ansible runs any.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import signal
import sys
import typing as t
from collections.abc import Iterator
from unittest import mock

from ansible.module_utils.common.json import Direction, get_module_decoder
from ansible.module_utils.testing import patch_module_args
from ansible.plugins.action import ActionBase

__all__ = ["LocalModule", "is_local", "run_module"]

# Ansible imports an action in the process that it forks: what is loaded here is loaded once. Modules import them late,
# when the first request is due, and say what is missing.
for _library in ("azure.identity", "azure.mgmt.core", "kubernetes.client", "requests"):
    with contextlib.suppress(ImportError):
        importlib.import_module(_library)


class LocalModule(ActionBase):  # type: ignore[misc]
    """The action of a module that needs nothing prepared.

    Attributes:
        MODULE: full name of the module.
    """

    MODULE: t.ClassVar[str]
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run the module."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        result.update(run_module(self, self.MODULE, dict(self._task.args), task_vars or {}))
        return result


def run_module(
    action: ActionBase, module: str, arguments: dict[str, t.Any], variables: dict[str, t.Any]
) -> dict[str, t.Any]:
    """Run a module and return its result.

    Args:
        action: the action of the task.
        module: full name of the module, one of this collection.
        arguments: its options.
        variables: those of the task.
    """
    if not _is_own_python(action, variables):
        result: dict[str, t.Any] = action._execute_module(module, module_args=arguments, task_vars=variables)
        return result
    action._update_module_args(module, arguments, variables)
    namespace, collection, name = module.split(".")
    main = importlib.import_module(f"ansible_collections.{namespace}.{collection}.plugins.modules.{name}").main
    environment: dict[str, t.Any] = {}
    action._compute_environment_string(environment)
    with (
        patch_module_args(arguments),
        mock.patch.dict(os.environ, {key: str(value) for key, value in environment.items()}),
        _interruptible(),
        contextlib.redirect_stdout(io.StringIO()) as printed,
        contextlib.suppress(SystemExit),
    ):
        main()
    decoder = get_module_decoder("legacy", Direction.MODULE_TO_CONTROLLER)
    return dict(json.loads(printed.getvalue(), cls=decoder))


def is_local(action: ActionBase) -> bool:
    """Return whether a module of the action runs on this machine, as this user."""
    return action._connection.transport == "local" and not action._play_context.become


def _is_own_python(action: ActionBase, variables: dict[str, t.Any]) -> bool:
    if action._task.delegate_to or not is_local(action):
        return False
    python = action._templar.template(variables.get("ansible_python_interpreter", ""))
    return bool(python == sys.executable)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """End as a program does on Ctrl-C, cleaning up; a worker of Ansible ends without."""

    def stop(number: int, _frame: t.Any) -> t.NoReturn:
        signal.signal(number, signal.SIG_IGN)  # once is enough, and what follows takes its time
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
