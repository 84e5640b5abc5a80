# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.audioprothese.platform.plugins.plugin_utils import versions
from ansible_collections.audioprothese.platform.plugins.plugin_utils.versions import (
    check_versions,
    collection_version,
    compare,
)

CLONE = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("version", "wants", "fits"),
    [
        ("2.21.5", ">=2.19.0", True),
        ("2.18.19", ">=2.19.0", False),
        ("3.21.0", ">=3.10.0,<4.0.0", True),
        ("4.0.0", ">=3.10.0,<4.0.0", False),
        ("2.22.0b1", ">=2.19.0", True),
        ("1.0.0", "*", True),
    ],
)
def test_a_version_outside_its_range_is_a_problem(version, wants, fits):
    assert (compare({"x.y": version}, {"x.y": wants}) == []) is fits


def test_the_remedy_is_a_command():
    (collection,) = compare({"kubernetes.core": "5.0.0"}, {"kubernetes.core": ">=6.0.0"})
    (library,) = compare({"azure-identity": "1.0"}, {"azure-identity": ">=1.20"})
    assert "ansible-galaxy collection install 'kubernetes.core:>=6.0.0'" in str(collection)
    assert "pip install 'azure-identity>=1.20'" in str(library)


def test_what_is_not_installed_is_not_judged():
    assert compare({}, {"azure.azcollection": ">=3"}) == []
    assert collection_version("nobody.nothing") == ""


def collection(folder, *, core=">=2.19.0", libraries=""):
    (folder / "meta").mkdir()
    (folder / "meta" / "runtime.yml").write_text(f'requires_ansible: "{core}"\n', encoding="utf-8")
    (folder / "galaxy.yml").write_text("version: 1.0.0\ndependencies: {}\n", encoding="utf-8")
    (folder / "requirements.txt").write_text(libraries, encoding="utf-8")
    return folder


def test_this_environment_satisfies_this_collection(monkeypatch):
    # Other collections are found by Ansible's own importer, which a unit test does not install.
    monkeypatch.setattr(versions, "collection_version", lambda _name: "")
    found, problems = check_versions(CLONE)
    assert problems == []
    assert {"ansible-core", "python", "azure-identity"} <= set(found)


@pytest.mark.parametrize(
    ("wants", "where"),
    [
        ({"core": ">=99"}, "ansible-core"),
        ({"libraries": "jinja2>=99\n"}, "jinja2"),
        ({"libraries": "# none\nno-such-library>=1  # why\n"}, "no-such-library"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, wants, where):
    _, problems = check_versions(collection(tmp_path, **wants))
    assert [problem.where for problem in problems] == [where]
