# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files of an inventory that SOPS encrypts, as they lie on the disk."""

from __future__ import annotations

import os
import pathlib

import yaml
from ansible_collections.audioprothese.platform.plugins.module_utils.preflight.sops import SUFFIXES

__all__ = ["parse", "read_sops_files"]


def read_sops_files(inventory: str) -> dict[str, object]:
    """Every such file by its path for people, parsed; C(None) when it is no YAML.

    Args:
        inventory: folder of the inventory; what is in C(group_vars) and C(host_vars) there counts, hidden files do not.
    """
    found = (
        path
        for kind in ("group_vars", "host_vars")
        for path in sorted(pathlib.Path(inventory, kind).rglob("*"))
        if path.name.endswith(SUFFIXES) and not path.name.startswith(".") and path.is_file()
    )
    return {os.path.relpath(path): parse(path) for path in found}


def parse(path: pathlib.Path) -> object:
    """One such file; C(None) when it is no YAML."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML, too
    except (yaml.YAMLError, UnicodeDecodeError):
        return None
