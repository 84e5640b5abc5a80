# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unpack the collections that this one depends on out of the hashed `ansible` wheel.

Ansible Galaxy has no hash-checked lock file; the community package on PyPI carries the same collections, so the
development environment is pinned by one hash. Only the needed collections are unpacked: the whole package has 40,000
files.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
IMPLIED = ("community.library_inventory_filtering_v1",)  # needed by community.general
PREFIX = "ansible_collections/"


def wanted_collections() -> list[str]:
    """Return the names in requirements.yml and what these need in turn."""
    listed = yaml.safe_load((ROOT / "requirements.yml").read_text(encoding="utf-8"))["collections"]
    return [entry["name"] for entry in listed] + list(IMPLIED)


def unpack(wheel: Path, names: list[str], target: Path) -> None:
    """Replace each named collection under `target` by the wheel's copy."""
    with zipfile.ZipFile(wheel) as archive:
        members = archive.namelist()
        for name in names:
            folder = f"{PREFIX}{name.replace('.', '/')}/"
            chosen = [member for member in members if member.startswith(folder)]
            if not chosen:
                raise SystemExit(f"{wheel.name} does not contain the collection {name}")
            shutil.rmtree(target / name.replace(".", "/"), ignore_errors=True)
            for member in chosen:
                archive.extract(member, target.parent)


def main() -> None:
    """Download the wheel of the requirements file (hash-checked) and unpack it below the folder."""
    requirements, target = sys.argv[1], Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "-r", requirements,
             "--only-binary", ":all:", "-d", folder],
            check=True,
        )  # fmt: skip
        (wheel,) = Path(folder).glob("*.whl")
        unpack(wheel, wanted_collections(), target)


if __name__ == "__main__":
    main()
