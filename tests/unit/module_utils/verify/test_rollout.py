# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.verify import rollout
from ansible_collections.audioprothese.platform.plugins.module_utils.verify.rollout import (
    SIMULATED,
    is_simulated,
    judge_rollouts,
)

WANTED = [{"kind": "StatefulSet", "namespace": "mariadb", "name": "mariadb"}]
GATEWAY = [{"kind": "Gateway", "namespace": "gateway", "name": "platform"}]


def node(name="n1", *, simulated=False):
    return {"kind": "Node", "metadata": {"name": name, "annotations": {SIMULATED: "fake"} if simulated else {}}}


def workload(*, wanted=1, ready=1, generation=1, observed=1):
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "mariadb", "namespace": "mariadb", "generation": generation},
        "spec": {"replicas": wanted, "selector": {"matchLabels": {"app": "mariadb"}}},
        "status": {"readyReplicas": ready, "observedGeneration": observed},
    }


def pod(*, ready=True, namespace="mariadb", **status):
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}, *status.pop("conditions", [])]
    return {
        "kind": "Pod",
        "metadata": {"name": "mariadb-0", "namespace": namespace, "labels": {"app": "mariadb", "extra": "x"}},
        "spec": {"nodeName": "n1"},
        "status": {"phase": "Pending", "conditions": conditions, **status},
    }


def event(message, *, name="mariadb-0", kind="Warning"):
    return {
        "kind": "Event",
        "type": kind,
        "reason": "FailedMount",
        "message": message,
        "metadata": {"namespace": "mariadb"},
        "involvedObject": {"name": name},
    }


def judge(*objects, wanted=WANTED):
    (finding,) = judge_rollouts(wanted, objects)
    return finding.verdict, finding.message


def test_ready_pods_on_real_nodes_have_passed():
    assert judge(node(), workload(), pod()) == ("equal", "1 of 1 pods are ready")


def test_ready_pods_on_simulated_nodes_are_never_said_to_have_passed():
    verdict, message = judge(node(simulated=True), workload(), pod())
    assert verdict == "not_verifiable"
    assert "simulated nodes" in message


@pytest.mark.sabotage
def test_forgetting_that_nodes_are_simulated_is_noticed(monkeypatch):
    monkeypatch.setattr(rollout, "is_simulated", lambda _node: False)
    with pytest.raises(AssertionError):
        test_ready_pods_on_simulated_nodes_are_never_said_to_have_passed()


def test_one_pod_on_a_simulated_node_is_enough_to_doubt():
    verdict, _ = judge(node("n0"), node(simulated=True), workload(wanted=2, ready=2), pod())
    assert verdict == "not_verifiable"


def test_what_is_not_there_is_missing():
    assert judge(node()) == ("missing", "it does not exist")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (
            {
                "containerStatuses": [
                    {"name": "db", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no"}}}
                ]
            },
            "db waits (ImagePullBackOff: no)",
        ),
        (
            {
                "containerStatuses": [
                    {"name": "db", "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
                ]
            },
            "db ended with 137 (OOMKilled)",
        ),
        ({"containerStatuses": [{"name": "db", "ready": False, "state": {"running": {}}}]}, "db runs but is not ready"),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/6 nodes are available"}]},
            "not scheduled (0/6 nodes are available)",
        ),
        (
            {"initContainerStatuses": [{"name": "wait", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]},
            "wait waits",
        ),
        ({}, "phase Pending"),
    ],
)
def test_an_unready_pod_says_why(status, reason):
    verdict, message = judge(node(), workload(ready=0), pod(ready=False, **status))
    assert verdict == "error"
    assert message.startswith("0 of 1 pods are ready: pod mariadb-0: ")
    assert reason in message


def test_an_unready_pod_on_a_simulated_node_is_an_error_too():
    assert judge(node(simulated=True), workload(ready=0), pod(ready=False))[0] == "error"


def test_warnings_of_the_pod_are_told_and_those_of_others_are_not():
    _, message = judge(
        node(),
        workload(ready=0),
        pod(ready=False),
        event("secret  not\nfound"),
        event("of another pod", name="mariadb-9"),
        event("only a remark", kind="Normal"),
    )
    assert "FailedMount: secret not found" in message
    assert "another pod" not in message
    assert "remark" not in message


def test_a_workload_without_pods_says_so():
    assert "no pod of it is there" in judge(node(), workload(ready=0), pod(ready=False, namespace="other"))[1]


def test_a_status_from_before_the_change_does_not_count():
    assert judge(node(), workload(generation=2, observed=1), pod())[0] == "error"


def gateway(*conditions):
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "platform", "namespace": "gateway"},
        "status": {"conditions": list(conditions)},
    }


PENDING = {"type": "Programmed", "status": "Unknown", "reason": "Pending", "message": "Waiting for controller"}


@pytest.mark.parametrize(
    ("condition", "simulated", "verdict"),
    [
        ({"type": "Programmed", "status": "True"}, False, "equal"),
        ({"type": "Programmed", "status": "False", "reason": "Invalid", "message": "no TLS"}, False, "error"),
        ({"type": "Programmed", "status": "False", "reason": "Invalid", "message": "no TLS"}, True, "error"),
        (PENDING, True, "not_verifiable"),
        (PENDING, False, "error"),
    ],
)
def test_a_gateway_is_judged_by_what_its_controller_says(condition, simulated, verdict):
    assert judge(node(simulated=simulated), gateway(condition), wanted=GATEWAY)[0] == verdict


def test_a_route_is_judged_by_its_parents():
    route = {
        "kind": "HTTPRoute",
        "metadata": {"name": "openmrs", "namespace": "openmrs"},
        "status": {"parents": [{"conditions": [{"type": "Accepted", "status": "True"}]}]},
    }
    wanted = [{"kind": "HTTPRoute", "namespace": "openmrs", "name": "openmrs"}]
    assert judge(node(), route, wanted=wanted)[0] == "equal"


@pytest.mark.parametrize("where", ["labels", "annotations"])
def test_a_simulated_node_says_so_in_a_label_or_an_annotation(where):
    assert is_simulated({"metadata": {where: {SIMULATED: "fake"}}})
    assert not is_simulated({"metadata": {where: {"other": "x"}}})
