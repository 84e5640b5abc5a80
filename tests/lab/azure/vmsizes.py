"""Sizes of virtual machines: vCPUs, memory and quota family.

Source: https://learn.microsoft.com/azure/virtual-machines/sizes/overview (pages of the D, E, B and F series).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DEFAULT = "Standard_D4s_v5"

# Quota family by series: https://learn.microsoft.com/rest/api/compute/usage/list
FAMILIES = {
    "standardBSFamily": "BS",
    "standardBsv2Family": "Bsv2",
    "standardBasv2Family": "Basv2",
    "standardDSv2Family": "DSv2",
    "standardDSv3Family": "DSv3",
    "standardDSv4Family": "DSv4",
    "standardDDSv4Family": "DDSv4",
    "standardDSv5Family": "DSv5",
    "standardDDSv5Family": "DDSv5",
    "standardDASv5Family": "DASv5",
    "standardDADSv5Family": "DADSv5",
    "StandardDsv6Family": "Dsv6",
    "StandardDdsv6Family": "Ddsv6",
    "StandardDasv6Family": "Dasv6",
    "StandardDadsv6Family": "Dadsv6",
    "standardESv3Family": "ESv3",
    "standardESv4Family": "ESv4",
    "standardEDSv4Family": "EDSv4",
    "standardESv5Family": "ESv5",
    "standardEDSv5Family": "EDSv5",
    "standardEASv5Family": "EASv5",
    "standardEADSv5Family": "EADSv5",
    "StandardEsv6Family": "Esv6",
    "StandardEdsv6Family": "Edsv6",
    "standardFSv2Family": "FSv2",
}
# Sizes of the D and E series take two data disks for each vCPU, and at most 64:
# https://learn.microsoft.com/azure/virtual-machines/sizes/general-purpose/dsv5-series
DISKS_PER_CORE = 2
MOST_DISKS = 64
_GIB_PER_CORE = {"D": 4, "E": 8, "F": 2, "B": 4}
_SIZES_V2 = {"1": (1, 3.5), "2": (2, 7), "3": (4, 14), "4": (8, 28), "5": (16, 56)}
_NAME = re.compile(r"Standard_([A-Z]+?)(\d+)([a-z]*)(?:_v(\d+))?", re.IGNORECASE)
_CORES = frozenset({1, 2, 4, 8, 12, 16, 20, 32, 48, 64, 72, 96, 104, 128})


@dataclass(frozen=True, slots=True)
class Size:
    """One size. `memory_gib` in GiB."""

    name: str
    cores: int
    memory_gib: float
    family: str


def data_disks(cores: int) -> int:
    """How many data disks a virtual machine with that many vCPUs takes."""
    return min(MOST_DISKS, DISKS_PER_CORE * cores)


def size(name: str) -> Size | None:
    """The size of that name in any case; None when the lab does not know it."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    series, number, features, version = match[1].upper(), match[2], match[3].lower(), match[4] or ""
    if series == "DS" and version == "2":
        if number not in _SIZES_V2:
            return None
        cores, memory = _SIZES_V2[number]
        return Size(f"Standard_DS{number}_v2", cores, memory, "standardDSv2Family")
    cores = int(number)
    family = _family(series, features, version)
    if family is None or series not in _GIB_PER_CORE or cores not in _CORES:
        return None
    spelled = f"Standard_{series}{number}{features}" + (f"_v{version}" if version else "")
    return Size(spelled, cores, cores * _GIB_PER_CORE[series], family)


def _family(series: str, features: str, version: str) -> str | None:
    wanted = f"{series}{features}{'v' + version if version else ''}".lower()
    for family, label in FAMILIES.items():
        if label.lower() == wanted:
            return family
    return None
