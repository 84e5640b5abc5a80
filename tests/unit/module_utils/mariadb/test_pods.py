# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.pods import judge_pod
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.transport import _exit_status

RUNNING = {"status": {"containerStatuses": [{"name": "mariadb", "state": {"running": {}}}]}}
SIDECAR = {"status": {"initContainerStatuses": [{"name": "mariadb", "state": {"running": {}}}]}}
OVER = {"status": {"initContainerStatuses": [{"name": "mariadb", "state": {"terminated": {}}}], "phase": "Running"}}
SIMULATED = {"metadata": {"labels": {"kwok.x-k8s.io/node": "fake"}}}


@pytest.mark.parametrize(
    ("pod", "node", "untold", "missing"),
    [
        (RUNNING, {"metadata": {}}, "", False),
        (SIDECAR, {"metadata": {}}, "", False),
        (OVER, None, "its container mariadb does not run (phase Running)", True),
        (RUNNING, SIMULATED, "its pod is on a simulated node, which runs no container: nobody can be asked", False),
        (None, None, "its pod does not exist", True),
        ({"status": {"phase": "Pending"}}, None, "its container mariadb does not run (phase Pending)", True),
    ],
)
def test_who_can_be_asked(pod: t.Any, node: t.Any, untold: str, missing: bool) -> None:
    found = judge_pod("mariadb", "mariadb-0", "mariadb", pod, node)
    assert (found.untold, found.missing) == (untold, missing)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (json.dumps({"status": "Success"}), 0),
        (json.dumps({"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": "1"}]}}), 1),
        (json.dumps({"status": "Failure", "reason": "InternalError"}), 255),
        ("", 255),
    ],
)
def test_exit_status(text: str, status: int) -> None:
    assert _exit_status(text) == status
