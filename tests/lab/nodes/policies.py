"""The enforcer of network policies: what the Cilium agent is on a node of AKS (see `build/kube/policies`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.lab.build import builder
from tests.lab.nodes.part import Part

if TYPE_CHECKING:
    from tests.lab.nodes.node import RealNode

__all__ = ["part"]


def part(node: RealNode) -> Part:
    """Describe it."""
    return Part(
        name="network-policies",
        command=[
            str(builder.tools()["kube"].program("network-policies")),
            f"--kubeconfig={node.kubeconfig('system:network-policies', 'system:masters')}",
            f"--health-address=127.0.0.1:{node.port('network-policies')}",
            f"--pod-cidr={node.network.pods}",
            # Where pods find the simulated Azure: an address of the node that policies take for one outside.
            f"--outside={node.address}:{node.home.port('simulator')},{node.address}:443",
        ],
        environment=node.namespace.environment,
    )
