"""Writing what a cluster with a real node holds besides."""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import yaml

from tests.lab.control.home import AZURE_NAME, ENTRA_NAME
from tests.lab.nodes.containerd import COREDNS

if TYPE_CHECKING:
    from tests.lab.cluster.objects import Api
    from tests.lab.nodes.node import RealNode

__all__ = ["node_objects"]


def node_objects(api: Api, node: RealNode) -> None:
    """Write them for that node."""
    values = {
        "address": node.address,
        "azure": AZURE_NAME,
        "entra": ENTRA_NAME,
        "dns": node.network.dns,
        "image": COREDNS,
    }
    text = Template(Path(__file__).with_name("objects.yml").read_text()).substitute(values)
    for document in yaml.safe_load(text):
        api.apply(document)
