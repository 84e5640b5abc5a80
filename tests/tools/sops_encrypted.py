# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse the named files unless SOPS encrypted them: `sops_encrypted.py FILE…`, before they are committed."""

from __future__ import annotations

import sys
from pathlib import Path

from ansible_collections.audioprothese.platform.plugins.module_utils.preflight.sops import find_clear_values
from ansible_collections.audioprothese.platform.plugins.plugin_utils.sops_files import parse


def main() -> None:
    """Print what is wrong, one line for each file, without a value; the exit code says whether something is."""
    problems = [problem for name in sys.argv[1:] for problem in find_clear_values(name, parse(Path(name)))]
    for problem in problems:
        print(problem)
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
