# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the molecule scenarios on a lab of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.integration.support.lab import running_lab  # noqa: E402
from tests.integration.support.playbook import environment  # noqa: E402


def main() -> int:
    """Start a lab, run every scenario, stop the lab."""
    with running_lab() as lab:
        variables = environment(lab)
        for name in ("ANSIBLE_CALLBACK_PLUGINS", "ANSIBLE_CALLBACKS_ENABLED", "ANSIBLE_CONFIG"):
            variables.pop(name)
        home = lab.home / "molecule"
        command = [str(Path(sys.executable).parent / "molecule"), "test", "--all", *sys.argv[1:]]
        return subprocess.run(
            command, cwd=ROOT, env={**variables, "MOLECULE_EPHEMERAL_DIRECTORY": str(home)}, check=False
        ).returncode


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
