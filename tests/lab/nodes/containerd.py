"""containerd: runs the containers of the node, from images of the lab's registry and of its own making."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.lab.build import builder
from tests.lab.control.home import write_private
from tests.lab.images.hosts import hosts_folder
from tests.lab.nodes import debian
from tests.lab.nodes.images import Image, archive
from tests.lab.nodes.part import Part

if TYPE_CHECKING:
    from tests.lab.nodes.node import RealNode

__all__ = ["COREDNS", "ENVOY_GATEWAY", "PAUSE", "import_images", "part"]

PAUSE = "lab.internal/pause:1"
COREDNS = f"lab.internal/coredns:{builder.tools()['coredns'].version}"
ENVOY_GATEWAY = "lab.internal/envoy-gateway:lab"
# Plugins for file systems that are not used, and one that makes folders in /opt.
DISABLED = (
    "io.containerd.internal.v1.opt",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
)


def own_images() -> list[Image]:
    """Return the images that the node itself needs."""
    tools = builder.tools()
    pause, coredns, gateway = tools["pause"], tools["coredns"], tools["envoy-gateway"]
    return [
        Image(name=PAUSE, files={"pause": pause.binary}, entrypoint=["/pause"]),
        Image(name=COREDNS, files={"coredns": coredns.binary}, entrypoint=["/coredns"], user="0:0"),
        Image(
            name=ENVOY_GATEWAY,
            files={"bin/envoy-gateway": gateway.binary},
            entrypoint=["/bin/envoy-gateway"],
            scratch=("tmp",),
        ),
    ]


def part(node: RealNode) -> Part:
    """Write its configuration and describe it."""
    programs = debian.programs()
    config = node.folder / "config"
    network = config / "cni" / "10-lab.conflist"
    write_private(network, json.dumps(_network(node), indent=1))
    registry = f"http://127.0.0.1:{node.home.port('registry')}"
    # Whatever the name of an image says, it comes from the registry of the lab: nothing else can be reached.
    hosts = f'server = "{registry}"\n[host."{registry}"]\n  capabilities = ["pull", "resolve"]\n'
    write_private(config / "certs.d" / "_default" / "hosts.toml", hosts)
    settings = config / "containerd.toml"
    write_private(
        settings,
        f"""version = 2
disabled_plugins = {json.dumps(DISABLED)}
[metrics]
  address = "127.0.0.1:{node.port("containerd")}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{programs.root / "usr/lib/cni"}"
    conf_dir = "{network.parent}"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{hosts_folder(node.home.path)}:{config / "certs.d"}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "{programs.program("runc")}"
""",
    )
    return Part(
        name="containerd",
        command=[programs.program("containerd"), "--config", str(settings)],
        health="/v1/metrics",
        environment=node.namespace.environment,
        inputs=(settings, network),
    )


def _network(node: RealNode) -> dict[str, object]:
    """Point-to-point links: what pods say to each other passes the forward hook, where policies are enforced."""
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": node.pod_cidr}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": "/run/cni",
    }
    return {"cniVersion": "0.4.0", "name": "lab", "plugins": [{"type": "ptp", "ipMasq": False, "ipam": addresses}]}


def import_images(node: RealNode, images: list[Image]) -> None:
    """Give the node the images that it does not have yet."""
    ctr = [debian.programs().program("ctr"), "--namespace", "k8s.io", "images"]
    present = node.namespace.run(*ctr, "list", "--quiet").split()
    marks = node.folder / "images"
    marks.mkdir(exist_ok=True)
    for image in images:
        file = archive(image)
        mark = marks / file.name
        if image.name not in present or not mark.exists():
            node.namespace.run(*ctr, "import", str(file))
            mark.touch()
