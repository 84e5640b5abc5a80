# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import time

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.progress import Progress


def test_lines_arrive_at_once_and_a_wait_repeats_itself(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "progress"
    progress = Progress(str(path))
    progress.say("creating\nthe cluster")
    with progress.waiting("the cluster is Creating", every=0.05):
        time.sleep(0.2)
    lines = path.read_text().splitlines()
    assert lines[0] == "creating the cluster"
    assert len(lines) >= 3
    assert all(line.startswith("the cluster is Creating (") for line in lines[1:])


def test_without_a_file_or_with_a_full_one_the_work_goes_on(tmp_path: pathlib.Path) -> None:
    Progress().say("nobody listens")
    Progress(str(tmp_path / "absent" / "folder")).say("nobody listens")
