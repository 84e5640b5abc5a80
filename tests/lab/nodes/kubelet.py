"""The kubelet: brings the pods of its node to life."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from tests.lab.build import builder
from tests.lab.control.home import write_private
from tests.lab.nodes.part import Part

if TYPE_CHECKING:
    from tests.lab.nodes.node import RealNode

__all__ = ["part"]

EVICTION_MEBIBYTES = 100
GIBIBYTE = 1 << 30


def part(node: RealNode) -> Part:
    """Write its configuration and describe it."""
    config = node.folder / "config" / "kubelet.yml"
    # Names outside the cluster lead nowhere.
    resolver = node.folder / "config" / "resolv.conf"
    write_private(resolver, f"nameserver {node.network.dns}\n")
    write_private(config, yaml.safe_dump(_configuration(node), sort_keys=False))
    client = node.kubeconfig(f"system:node:{node.name}", "system:nodes")
    size = node.size
    return Part(
        name="kubelet",
        command=[
            str(builder.tools()["kube"].program("kubelet")),
            f"--config={config}",
            f"--kubeconfig={client}",
            f"--hostname-override={node.name}",
            f"--node-ip={node.address}",
            # Schedulable is what the virtual machine would have, not what this machine has.
            f"--vm-cores={size.cores}",
            f"--vm-memory={round(size.memory_gib * GIBIBYTE)}",
        ],
        inputs=(config,),
    )


def _configuration(node: RealNode) -> dict[str, Any]:
    serving = node.authority.issue("kubelet", common_name=f"system:node:{node.name}", hosts=[node.name, node.address])
    capacity, allocatable = node.resources["capacity"], node.resources["allocatable"]
    reserved_cpu = int(capacity["cpu"]) * 1000 - int(allocatable["cpu"].removesuffix("m"))
    reserved_memory = int(capacity["memory"].removesuffix("Mi")) - int(allocatable["memory"].removesuffix("Mi"))
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(node.authority.pair.certificate)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(serving.certificate),
        "tlsPrivateKeyFile": str(serving.key),
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": node.port("kubelet"),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "providerID": node.provider_id,
        "maxPods": int(capacity["pods"]),
        "clusterDomain": "cluster.local",
        "clusterDNS": [node.network.dns],
        "resolvConf": str(node.folder / "config" / "resolv.conf"),
        "cgroupRoot": f"/{node.namespace.name}",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "enforceNodeAllocatable": ["pods"],
        "kubeReserved": {"cpu": f"{reserved_cpu}m", "memory": f"{reserved_memory - EVICTION_MEBIBYTES}Mi"},
        # The disk is the machine's: what matters is that some is left, not which share.
        "evictionHard": {
            "memory.available": f"{EVICTION_MEBIBYTES}Mi",
            "nodefs.available": "2Gi",
            "imagefs.available": "2Gi",
        },
        "imageGCHighThresholdPercent": 100,
        "serializeImagePulls": False,
        # Folders and rules of the machine that are none of the lab's business.
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "makeIPTablesUtilChains": False,
        # A machine may withhold what a kubelet sets: CAP_SYS_RESOURCE, parameters of the kernel.
        "oomScoreAdj": 0,
        "failSwapOn": False,
        "featureGates": {"KubeletInUserNamespace": True},
    }
