# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.audioprothese.platform.plugins.plugin_utils.sops_files import read_sops_files


def test_files_of_groups_and_hosts_are_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wanted = {
        "production/group_vars/all.sops.yml": "a: 1",
        "production/group_vars/all/bootstrap.sops.yaml": "a: 1",
        "production/group_vars/all/more/proxy.sops.json": '{"a": 1}',
        "production/host_vars/platform/bootstrap.sops.yml": "a: 1",
    }
    others = (
        "production/.sops.yaml",
        "production/group_vars/all/.sops.yml",
        "production/group_vars/all/bootstrap.sops.yml.example",
        "production/group_vars/all/platform.yml",
        "production/bootstrap.sops.yml",
        "lab/group_vars/all/bootstrap.sops.yml",
    )
    for name, text in {**wanted, **dict.fromkeys(others, "a: 1")}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert read_sops_files(str(tmp_path / "production")) == {name: {"a": 1} for name in wanted}


@pytest.mark.parametrize("content", [b"a: [1", b"\xff\xfe\x00"], ids=["no YAML", "no text"])
def test_what_cannot_be_parsed_is_a_file_all_the_same(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "all.sops.yml").write_bytes(content)
    assert read_sops_files(".") == {"group_vars/all.sops.yml": None}


def test_an_inventory_without_a_folder_has_none(tmp_path):
    assert read_sops_files(str(tmp_path / "not-there")) == {}
