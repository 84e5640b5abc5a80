"""What the lab works out without a cluster: nodes of pools, effects of requests, processes that come and go."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.lab.cluster.manager import ClusterError
from tests.lab.cluster.nodes import csi_node, desired_nodes
from tests.lab.cluster.requests import RequestCounter, effect_of
from tests.lab.control.home import Home
from tests.lab.control.process import Daemon
from tests.lab.tests.clusters import agent_pool

ID = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/aks"


def nodes_of(*pools: dict[str, Any], **properties: Any) -> list[dict[str, Any]]:
    body = {"id": ID, "location": "France Central", "properties": {"agentPoolProfiles": list(pools), **properties}}
    return desired_nodes(body, version="1.35.4")


@pytest.mark.parametrize(
    ("pool", "count"),
    [
        ({"count": 3}, 3),
        ({"count": 0}, 0),
        ({"count": 5, "enableAutoScaling": True, "minCount": 2, "maxCount": 4}, 4),
        ({"count": None, "enableAutoScaling": True, "minCount": 2, "maxCount": 4}, 2),
        ({"count": 3, "powerState": {"code": "Stopped"}}, 0),
    ],
)
def test_a_pool_has_as_many_nodes_as_it_says(pool: dict[str, Any], count: int) -> None:
    assert len(nodes_of({**agent_pool("apps", count=1), **pool})) == count


def test_names_are_those_of_scale_sets_and_differ_between_pools() -> None:
    names = [node["metadata"]["name"] for node in nodes_of(agent_pool("a", count=37), agent_pool("b", count=1))]
    assert len(set(names)) == 38
    assert names[36].endswith("-vmss000010")
    assert names[0].startswith("aks-a-")


def test_a_pool_without_zones_is_in_none() -> None:
    labels = nodes_of(agent_pool("a", count=1, availabilityZones=None))[0]["metadata"]["labels"]
    assert labels["topology.kubernetes.io/zone"] == "0"
    assert labels["topology.disk.csi.azure.com/zone"] == ""
    assert labels["topology.kubernetes.io/region"] == "francecentral"
    assert labels["kubernetes.azure.com/cluster"] == "MC_rg_aks_francecentral"


def test_what_is_kept_from_pods_is_what_aks_keeps() -> None:
    node = nodes_of(agent_pool("a", count=1, vmSize="Standard_E8s_v5", maxPods=50))[0]
    # 20 MiB a pod and 50 MiB, and 100 MiB below which the kubelet evicts
    assert node["status"]["allocatable"]["memory"] == f"{64 * 1024 - 1050 - 100}Mi"
    assert node["status"]["allocatable"]["cpu"] == "7820m"
    assert csi_node(node, "u")["spec"]["drivers"][0]["allocatable"]["count"] == 16


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(ClusterError, match="Standard_Z2") as refused:
        nodes_of(agent_pool("a", count=1, vmSize="Standard_Z2"))
    assert refused.value.status == 400


def event(verb: str, uri: str = "/api/v1/pods", *, resource: str = "pods", **more: Any) -> dict[str, Any]:
    return {"verb": verb, "requestURI": uri, "objectRef": {"resource": resource}, **more}


@pytest.mark.parametrize(
    ("asked", "effect"),
    [
        (event("get"), "read"),
        (event("watch"), "read"),
        (event("create"), "write"),
        (event("patch", responseStatus={"code": 403}), "write"),
        (event("patch", "/api/v1/pods/a?fieldManager=x&dryRun=All"), "dry_run"),
        (event("patch", "/api/v1/pods/a?fieldManager=dryRun"), "write"),
        (event("delete", requestObject={"dryRun": ["All"]}), "dry_run"),
        (event("delete", requestObject={"gracePeriodSeconds": 0}), "write"),
        (event("deletecollection"), "write"),
        (event("create", resource="selfsubjectaccessreviews"), "access_review"),
        ({**event("create", resource="serviceaccounts"), "objectRef": {"subresource": "token"}}, "token"),
        ({"verb": "get", "requestURI": "/openapi/v3"}, "read"),
    ],
)
def test_effects(asked: dict[str, Any], effect: str) -> None:
    assert effect_of(asked) == effect


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    folder = tmp_path / "clusters" / "guid" / "audit"
    folder.mkdir(parents=True)
    return folder / "audit.log"


def test_each_request_is_counted_once_over_rotation_reset_and_half_lines(tmp_path: Path, audit: Path) -> None:
    counter = RequestCounter(Home(tmp_path, 1))
    line = json.dumps(event("create")) + "\n"
    audit.write_text(line + line[:20])
    assert counter.update()["effects"]["write"] == 1
    audit.write_text(line + line)
    assert counter.update()["effects"]["write"] == 2
    audit.rename(audit.with_name("audit-2026.log"))
    audit.write_text(line)
    assert counter.update()["effects"]["write"] == 3
    counter.reset()
    assert counter.update()["effects"]["write"] == 0
    with audit.open("a") as log:
        log.write(line)
    assert counter.update()["effects"]["write"] == 1


def test_counts_outlive_the_cluster(tmp_path: Path, audit: Path) -> None:
    counter = RequestCounter(Home(tmp_path, 1))
    audit.write_text(json.dumps(event("create")) + "\n")
    counter.update()
    audit.unlink()
    assert counter.update()["effects"]["write"] == 1


def sleeper(folder: Path, *, seconds: str = "60", inputs: tuple[Path, ...] = ()) -> Daemon:
    return Daemon(name="sleeper", command=["sleep", seconds], folder=folder, inputs=inputs)


def test_a_daemon_is_started_once_and_stopped_for_good(tmp_path: Path) -> None:
    daemon = sleeper(tmp_path)
    assert daemon.start()
    pid = daemon.pid()
    assert not daemon.start()
    assert daemon.pid() == pid
    daemon.stop()
    assert daemon.pid() is None
    assert pid is not None
    assert not Path(f"/proc/{pid}/exe").exists()


def test_a_daemon_that_is_described_otherwise_is_replaced(tmp_path: Path) -> None:
    sleeper(tmp_path).start()
    before = sleeper(tmp_path).pid()
    other = sleeper(tmp_path, seconds="61")
    assert other.start()
    assert other.pid() != before
    given = tmp_path / "given"
    given.write_text("a")
    other.stop()
    reading = sleeper(tmp_path, inputs=(given,))
    reading.start()
    assert not reading.start()
    given.write_text("b")
    assert reading.start()
    reading.stop()


def test_somebody_else_with_the_same_process_id_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "sleeper.json").write_text(json.dumps({"pid": os.getpid(), "started": 1, "digest": ""}))
    assert sleeper(tmp_path).pid() is None
    sleeper(tmp_path).stop()


def test_one_that_does_not_listen_is_ended_after_patience(tmp_path: Path) -> None:
    deaf = Daemon(name="deaf", command=["bash", "-c", "trap '' TERM; while :; do sleep 0.1; done"], folder=tmp_path)
    deaf.start()
    time.sleep(0.3)
    started = time.monotonic()
    deaf.stop(patience=0.5)
    assert deaf.pid() is None
    assert time.monotonic() - started >= 0.5
