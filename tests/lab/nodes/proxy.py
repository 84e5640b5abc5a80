"""kube-proxy: makes the addresses of Services reachable inside, those of load balancers too."""

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
        name="kube-proxy",
        command=[
            str(builder.tools()["kube"].program("kube-proxy")),
            f"--kubeconfig={node.kubeconfig('system:kube-proxy')}",
            "--proxy-mode=nftables",
            f"--cluster-cidr={node.network.pods}",
            f"--hostname-override={node.name}",
            f"--healthz-bind-address=127.0.0.1:{node.port('kube-proxy')}",
            "--metrics-bind-address=127.0.0.1:10249",
            # These belong to the machine and cannot be written in a namespace.
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
        ],
        environment=node.namespace.environment,
    )
