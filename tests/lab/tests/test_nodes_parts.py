"""What a real node is made of, piece by piece: no root and no running lab is needed."""

from __future__ import annotations

import asyncio
import json
import socket
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.lab.cluster.nodes import desired_nodes, is_real, real_node
from tests.lab.nodes.images import Image, archive
from tests.lab.nodes.link import Link, Plan, balancer_address
from tests.lab.tests.clusters import agent_pool, cluster_body

CLUSTER_ID = (
    "/subscriptions/10000000-0000-4000-8000-000000000002/resourceGroups/rg/providers/"
    "Microsoft.ContainerService/managedClusters/aks"
)


def body(*pools: dict[str, Any]) -> dict[str, Any]:
    return cluster_body(*pools) | {"id": CLUSTER_ID}


def service(name: str, *, port: int = 443, address: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "creationTimestamp": more.get("created", "2026-01-01T00:00:00Z")}
        | ({"labels": more["labels"]} if "labels" in more else {}),
        "spec": {"type": more.get("kind", "LoadBalancer"), "ports": [{"port": port}]},
        "status": {"loadBalancer": {"ingress": [{"ip": address}]} if address else {}},
    }


GATEWAY = {"gateway.networking.k8s.io/gateway-name": "front"}


@pytest.mark.parametrize(
    ("services", "address"),
    [
        ([], None),
        ([service("a", address="198.51.100.1")], "198.51.100.1"),
        ([service("waiting")], None),
        ([service("other port", port=80, address="198.51.100.1")], None),
        ([service("inside", kind="ClusterIP", address="198.51.100.1")], None),
        (
            [service("plain", address="198.51.100.1"), service("gateway", address="198.51.100.2", labels=GATEWAY)],
            "198.51.100.2",
        ),
        (
            [
                service("younger", address="198.51.100.1", created="2026-01-02T00:00:00Z"),
                service("older", address="198.51.100.2"),
            ],
            "198.51.100.2",
        ),
    ],
    ids=["none", "one", "without address", "other port", "no balancer", "a Gateway's first", "the older first"],
)
def test_the_load_balancer_behind_a_port(services: list[dict[str, Any]], address: str | None) -> None:
    assert balancer_address(services, 443) == address


def test_the_first_node_of_the_first_pool_for_applications_is_the_real_one() -> None:
    pools = (agent_pool("apps", count=2, nodeTaints=["only=this:NoSchedule"]), agent_pool("more", count=1))
    nodes = desired_nodes(body(*pools), version="1.35.4", containers=True)
    real = real_node(nodes)
    assert real is not None
    assert real["metadata"]["labels"]["agentpool"] == "apps"
    assert real["metadata"]["name"].endswith("000000")
    assert real["spec"]["taints"] == [{"key": "only", "value": "this", "effect": "NoSchedule"}]
    assert real["spec"]["podCIDR"] == "10.244.0.0/24"
    others = [node for node in nodes if not is_real(node)]
    assert len(others) == len(nodes) - 1
    for node in others:
        assert {"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"} in node["spec"]["taints"]
    # One taint too many on a node would show here: they are written by a list that nodes could share.
    assert sorted(len(node["spec"]["taints"]) for node in others) == [1, 2, 2, 2, 2]


def test_without_a_pool_for_applications_a_system_node_is_real() -> None:
    real = real_node(desired_nodes(body(), version="1.35.4", containers=True))
    assert real is not None
    assert real["metadata"]["labels"]["agentpool"] == "system"


def test_simulated_nodes_have_no_taint_of_ours() -> None:
    nodes = desired_nodes(body(agent_pool("apps", count=2)), version="1.35.4")
    assert real_node(nodes) is None
    assert "kwok.x-k8s.io/node" not in json.dumps([node["spec"] for node in nodes])


def test_an_image_is_made_once_and_holds_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_CACHE", str(tmp_path / "cache"))
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF")
    image = Image(name="lab.internal/tool:1", files={"bin/tool": program}, entrypoint=["/bin/tool"])
    file = archive(image)
    made = file.stat().st_mtime_ns
    assert archive(image).stat().st_mtime_ns == made
    with tarfile.open(file) as tar:
        manifest = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
        assert manifest[0]["RepoTags"] == ["lab.internal/tool:1"]
        with tarfile.open(fileobj=tar.extractfile("layer.tar")) as layer:
            assert layer.getnames() == ["bin", "bin/tool"]
            assert layer.getmember("bin/tool").mode == 0o755
            assert layer.getmember("bin/tool").mtime == 0


def test_the_link_forwards_both_ways_and_ends_when_a_side_ends(unused_port: int, monkeypatch: Any) -> None:
    """The same loop as with a namespace, with both of its ends on this side."""
    monkeypatch.setattr("tests.lab.nodes.link._enter", lambda _: None)
    asyncio.run(_exchange(unused_port))


async def _exchange(port: int) -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())  # only the end of the other's direction ends this read
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(shout, "127.0.0.2", port)
    plan = Plan(network="", node_address="127.0.0.3", health=port + 1, into=[], out=[])
    link = Link(plan)
    listener = socket.create_server(("127.0.0.1", port))
    listener.setblocking(False)

    async def find() -> tuple[str, int]:
        return "127.0.0.2", port

    link._serve(listener, find, inward=True)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"quiet " * 100_000)
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 20) == b"QUIET " * 100_000
    writer.close()
    server.close()
    listener.close()


@pytest.fixture
def unused_port() -> int:
    """Give a port that is free on every loopback address."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
