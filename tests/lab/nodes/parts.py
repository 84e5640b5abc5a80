"""The daemons of a real node: which there are, in which order they start, how each says that it is well.

To add one:

1. give it a name in `NODE_PORTS` of `control/home.py`, at the end: its health is asked for at that port;
2. write a module here with a function that takes the `RealNode` and returns a `Part`; its command runs inside the
   node's namespaces (loopback, /run, /var/lib/kubelet and the mounts are the node's; the files of the lab and of
   the cache have the same paths inside as outside), and it listens for health on 127.0.0.1 at
   `node.port("NAME")`, where the link makes it reachable from the machine;
3. add that function to `MAKERS` below. Those of `FIRST` come up one after the other, then all others at once, each
   of which has to wait by itself for what it needs of another; they stop in reverse order, after the pods.

`lab status` then shows it, `lab up` starts it again when it was killed and replaces it when its command, its
environment or the content of its `inputs` changes, and `lab down` stops it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.lab.nodes import containerd, disks, kubelet, policies, proxy
from tests.lab.nodes.part import Part

if TYPE_CHECKING:
    from tests.lab.nodes.node import RealNode

__all__ = ["FIRST", "MAKERS", "parts"]

MAKERS = (containerd.part, policies.part, proxy.part, kubelet.part, *disks.MAKERS)
# Each of these is well before the next part starts: a pod that starts before the enforcer of network policies is ready
# would be open.
FIRST = ("containerd", "network-policies")


def parts(node: RealNode) -> list[Part]:
    """Return the daemons of the node in the order in which they start."""
    return [make(node) for make in MAKERS]
