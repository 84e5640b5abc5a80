"""Whether this machine can run a real node, and if not, why."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.lab.build.builder import cache_root
from tests.lab.control.home import CLONE
from tests.lab.nodes import debian
from tests.lab.nodes.namespace import cgroup_mounts
from tests.tools.debian import UnpackError

__all__ = ["obstacle"]

PROGRAMS = ("ip", "mount", "nsenter", "umount", "unshare")
# The node has these folders for itself, so nothing that it needs may be there.
HIDDEN = (Path("/run"), Path("/var/lib"), Path("/var/log"), Path("/var/run"))


def obstacle(home: Path) -> str:
    """Return why no real node can run here for the lab in that folder, or an empty text."""
    if not sys.platform.startswith("linux"):
        return "this is not Linux"
    if os.geteuid() != 0:
        return "not root"
    return _missing_programs() or _hidden(home) or _refused() or _no_packages()


def _missing_programs() -> str:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [name for name in PROGRAMS if not shutil.which(name, path=path)]
    return f"{', '.join(missing)} not found" if missing else ""


def _hidden(home: Path) -> str:
    for path in (home, cache_root(), CLONE):
        if any(path.resolve().is_relative_to(folder) for folder in HIDDEN):
            return f"{path} is in a folder that a node has for itself"
    return ""


def _refused() -> str:
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "mount", "-t", "tmpfs", "lab", "/run"],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if tried.returncode:
        return f"no namespaces may be made here ({tried.stderr.strip()})"
    return "" if cgroup_mounts() else "no cgroups are mounted"


def _no_packages() -> str:
    try:
        debian.programs()
    except UnpackError as exc:
        return str(exc)
    return ""
