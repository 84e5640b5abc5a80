# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.verify.refusal import judge_refusals

WANTED = [{"name": "mariadb", "host": "mariadb.mariadb.svc.cluster.local", "port": 3306}]


def pod(state=None, **status):
    containers = [{"name": "mariadb", "state": state}] if state else []
    return {"metadata": {"namespace": "default"}, "status": {"containerStatuses": containers, **status}}


def ended(code, reason="Completed"):
    return {"terminated": {"exitCode": code, "reason": reason}}


def judge(*pods, **options):
    (finding,) = judge_refusals(WANTED, pods, **options)
    return finding.verdict, finding.message


@pytest.mark.parametrize(
    ("found", "verdict", "words"),
    [
        (pod(ended(0)), "equal", "is refused"),
        (pod(ended(10, "Error")), "error", "gets through"),
        (pod(ended(11, "Error")), "error", "no address"),
        (pod(ended(137, "OOMKilled")), "error", "ended with 137 (OOMKilled)"),
        (pod({"waiting": {"reason": "ErrImagePull"}}, phase="Pending"), "error", "is Pending: ErrImagePull"),
        (
            pod(phase="Pending", conditions=[{"type": "PodScheduled", "status": "False", "message": "0/6 nodes fit"}]),
            "error",
            "0/6 nodes fit",
        ),
        (pod(phase="Running"), "error", "no reason is given"),
    ],
)
def test_only_a_refusal_that_was_seen_has_passed(found, verdict, words):
    assert judge(found)[0] == verdict
    assert words in judge(found)[1]


def test_without_a_pod_nobody_can_tell():
    assert judge() == ("error", "nobody can tell whether it is refused: the pod that should try it was not made")


def test_what_nobody_tried_is_said_so():
    assert judge(untried="check mode makes no pod") == ("not_verifiable", "check mode makes no pod")


def test_the_finding_names_the_connection_and_where_it_came_from():
    (finding,) = judge_refusals(WANTED, [pod(ended(10))])
    assert finding.resource == "mariadb.mariadb.svc.cluster.local:3306"
    assert finding.path == "from namespace default"
