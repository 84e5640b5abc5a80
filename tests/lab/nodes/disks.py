"""Disks of a real node: a driver of the name disk.csi.azure.com, and what runs beside every such driver.

AKS runs the same three controllers where nobody sees them:
https://learn.microsoft.com/azure/aks/azure-disk-csi
"""

from __future__ import annotations

import functools
import shutil
from typing import TYPE_CHECKING

from tests.lab.azure import vmsizes
from tests.lab.build import builder
from tests.lab.nodes.part import Part
from tests.tools.debian import unpack

if TYPE_CHECKING:
    from tests.lab.nodes.node import RealNode

__all__ = ["BUDGET_GIB", "MAKERS"]

# What all disks together may occupy on this machine, whatever sizes they have.
BUDGET_GIB = 20
SOCKET = "/var/lib/kubelet/plugins/disk.csi.azure.com/csi.sock"
REGISTRY = "/var/lib/kubelet/plugins_registry"
# These controllers end when the driver does, and count on being started again as containers are.
RESTARTED = ("sh", "-c", 'while :; do "$@"; sleep 1; done', "restarted")
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
PACKAGES = ("e2fsprogs", "libext2fs2", "libcom-err2", "libss2")


@functools.cache
def _file_system_tools() -> dict[str, str]:
    """Return the variables with which `mkfs.ext4` and `resize2fs` are found: the system's, else out of the cache."""
    if shutil.which("mkfs.ext4", path=SYSTEM_PATH):
        return {"PATH": SYSTEM_PATH}
    unpacked = unpack("e2fsprogs", PACKAGES)
    return {"PATH": f"{unpacked.path}:{SYSTEM_PATH}", "LD_LIBRARY_PATH": unpacked.libraries}


def driver(node: RealNode) -> Part:
    """Describe the driver, which registers itself with the kubelet."""
    group, _, _ = node.provider_id.removeprefix("azure://").partition("/providers/")
    return Part(
        name="disk-csi-driver",
        command=[
            str(builder.tools()["kube"].program("disk-csi-driver")),
            f"--folder={node.folder / 'disks'}",
            f"--endpoint={SOCKET}",
            f"--plugin-registry={REGISTRY}",
            f"--kubeconfig={_kubeconfig(node, 'disk-csi-driver')}",
            f"--health-address=127.0.0.1:{node.port('disk-csi-driver')}",
            f"--node={node.name}",
            f"--zone={node.labels['topology.disk.csi.azure.com/zone']}",
            f"--max-disks={vmsizes.data_disks(node.size.cores)}",
            f"--resource-group-id={group}",
            f"--budget-gib={BUDGET_GIB}",
            f"--encryption-url={node.azure_url('disk-encryption')}",
            f"--authority={node.home.ca_file}",
        ],
        environment=_file_system_tools(),
    )


def provisioner(node: RealNode) -> Part:
    """Describe the controller that has disks made for claims, in the zone of the pod's node."""
    options = ["--strict-topology", "--extra-create-metadata", "--default-fstype=ext4", "--retry-interval-start=500ms"]
    return _controller(node, "csi-provisioner", *options)


def attacher(node: RealNode) -> Part:
    """Describe the controller that has disks attached."""
    return _controller(node, "csi-attacher", "--retry-interval-start=500ms")


def resizer(node: RealNode) -> Part:
    """Describe the controller that has disks grow."""
    return _controller(node, "csi-resizer", "--retry-interval-start=500ms", "--handle-volume-inuse-error=false")


def _controller(node: RealNode, name: str, *options: str) -> Part:
    return Part(
        name=name,
        command=[
            *RESTARTED,
            str(builder.tools()[name].binary),
            f"--csi-address={SOCKET}",
            f"--kubeconfig={_kubeconfig(node, name)}",
            f"--http-endpoint=127.0.0.1:{node.port(name)}",
            "--retry-interval-max=10s",
            *options,
        ],
        health="/metrics",
    )


def _kubeconfig(node: RealNode, name: str) -> str:
    return str(node.kubeconfig(f"system:{name}", "system:masters"))


MAKERS = (driver, provisioner, attacher, resizer)
