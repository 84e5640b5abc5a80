"""Whatever dies, the platform comes back and no confirmed record is lost."""

from __future__ import annotations

import os
import signal

import pytest

from tests.end_to_end.conftest import Platform
from tests.end_to_end.support.pods import await_rollouts, kill_process, pod_names, restarts
from tests.integration.support.waiting import until

WORKLOADS = [
    ("mariadb", "app.kubernetes.io/name=mariadb"),
    ("openmrs", "app.kubernetes.io/component=backend"),
    ("openmrs", "app.kubernetes.io/component=frontend"),
    ("openmrs", "app.kubernetes.io/component=gateway"),
    ("gateway", "gateway.networking.k8s.io/gateway-name=platform"),
]


@pytest.mark.parametrize(("namespace", "selector"), WORKLOADS, ids=[selector for _, selector in WORKLOADS])
def test_each_pod_may_be_deleted(well: Platform, namespace: str, selector: str) -> None:
    names = pod_names(well.lab, namespace, selector)
    assert names, f"no pod has {selector}"
    well.ledger.write("Avant")
    well.lab.kubectl("delete", "pod", "-n", namespace, names[0], "--wait=true")
    well.assert_well()
    well.ledger.write("Après")


def test_mariadb_killed_with_9_loses_no_committed_row(well: Platform) -> None:
    before = restarts(well.lab, "mariadb", "mariadb-0")
    for number in range(5):
        well.ledger.write(f"Durand-{number}")
    kill_process(well.lab, "mariadb", "mariadb-0", "mariadbd")
    until(lambda: restarts(well.lab, "mariadb", "mariadb-0") == before + 1, "the kubelet has started it again")
    well.assert_well()
    assert restarts(well.lab, "mariadb", "mariadb-0") == before + 1


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param(["kubelet"], marks=pytest.mark.soak),
        pytest.param(["containerd"], marks=pytest.mark.soak),
        ["kubelet", "containerd", "kube-apiserver", "etcd"],
    ],
)
def test_parts_of_the_node_killed_with_9(well: Platform, parts: list[str]) -> None:
    running = well.lab.status()["parts"]
    for part in parts:
        os.kill(running[part]["pid"], signal.SIGKILL)
    well.lab.up()
    well.assert_well()


def test_a_stop_and_a_start_of_everything_keep_all_data(well: Platform) -> None:
    well.ledger.write("Nuit")
    well.lab.down()
    well.lab.up()
    await_rollouts(well.lab, 600)
    well.assert_well()
