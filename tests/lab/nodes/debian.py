"""What a node takes from Debian: the container runtime, the network plugins and the packet filter's command."""

from __future__ import annotations

import functools

from tests.tools.debian import Unpacked, unpack

__all__ = ["programs"]

PACKAGES = (
    "containerd",
    "runc",
    "containernetworking-plugins",
    "nftables",
    # What these are linked with, and a plain system may lack.
    "libseccomp2",
    "libnftables1",
    "libnftnl11",
    "libmnl0",
    "libxtables12",
    "libjansson4",
    "libedit2",
    "libbsd0",
    "libgmp10",
)


@functools.cache
def programs() -> Unpacked:
    """Return the unpacked packages; fetches them the first time."""
    return unpack("node", PACKAGES)
