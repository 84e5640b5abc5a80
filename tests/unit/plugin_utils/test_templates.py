# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import threading
import time

import pytest
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.audioprothese.platform.plugins.plugin_utils.progress import relay
from ansible_collections.audioprothese.platform.plugins.plugin_utils.templates import (
    Rendered,
    find_templates,
    parse_documents,
    plain,
    render_templates,
)


def render(folder: pathlib.Path, text: str, **variables: object) -> list[Rendered]:
    templates = folder / "role" / "templates" / "azure"
    templates.mkdir(parents=True, exist_ok=True)
    (templates / "a.yml.j2").write_text(text, encoding="utf-8")
    loader = DataLoader()
    everything = {"ansible_search_path": [str(folder / "role"), str(folder)], **variables}
    return render_templates(
        ["azure/*.yml.j2"], templar=Templar(loader, variables=everything), loader=loader, variables=everything
    )


def test_documents_with_their_origin(tmp_path: pathlib.Path) -> None:
    found = render(tmp_path, "{% for n in names %}\n---\nid: {{ n }}\n{% endfor %}\n", names=["x", "y"])
    assert [(r.document, r.origin) for r in found] == [
        ({"id": "x"}, "role/templates/azure/a.yml.j2 document 1"),
        ({"id": "y"}, "role/templates/azure/a.yml.j2 document 2"),
    ]


def test_nothing_rendered_is_no_document(tmp_path: pathlib.Path) -> None:
    assert render(tmp_path, "{% if false %}\nid: x\n{% endif %}\n---\n") == []


def test_values_are_plain(tmp_path: pathlib.Path) -> None:
    (found,) = render(
        tmp_path,
        "id: {{ name }}\nn: {{ 3 }}\nb: {{ true }}\nl: {{ [1, 'a'] | to_json }}\n",
        name=trust_as_template("{{ other }}"),
        other="z",
    )
    assert found.document == {"id": "z", "n": 3, "b": True, "l": [1, "a"]}
    assert all(type(v) in (str, int, bool, list) for v in found.document.values())
    assert all(type(k) is str for k in found.document)


def test_a_template_that_is_one_expression(tmp_path: pathlib.Path) -> None:
    assert [r.document for r in render(tmp_path, "{{ documents }}", documents=[{"id": "x"}])] == [{"id": "x"}]


def test_templates_include_their_neighbours(tmp_path: pathlib.Path) -> None:
    (tmp_path / "role" / "templates").mkdir(parents=True)
    (tmp_path / "role" / "templates" / "part.j2").write_text("id: {{ 1 + 1 }}", encoding="utf-8")
    assert render(tmp_path, "{% include 'part.j2' %}")[0].document == {"id": 2}


def test_an_undefined_variable_names_file_and_variable(tmp_path: pathlib.Path) -> None:
    with pytest.raises(AnsibleActionFail, match=r"azure/a\.yml\.j2.*line 2.*'nope' is undefined"):
        render(tmp_path, "id: x\nlocation: {{ nope }}\n")


def test_wrong_jinja_names_file_and_line(tmp_path: pathlib.Path) -> None:
    with pytest.raises(AnsibleActionFail, match=r"azure/a\.yml\.j2, line 3: "):
        render(tmp_path, "id: x\n\n{% fi %}\n")


def test_wrong_yaml_names_file_line_and_text(tmp_path: pathlib.Path) -> None:
    with pytest.raises(AnsibleActionFail, match=r"a\.yml\.j2: not YAML.* in line 2 of what it renders to: 'b: c: d'"):
        render(tmp_path, "a: 1\nb: c: d\n")


def test_a_key_given_twice_is_an_error() -> None:
    with pytest.raises(AnsibleActionFail, match="the key 'a' is given twice in line 2"):
        parse_documents("a: 1\na: 2\n", "x")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2026-01-01", "2026-01-01"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("1", 1),
        ("1.5", 1.5),
        ("null", None),
        ('"1"', "1"),
        ("1.35", 1.35),
    ],
)
def test_scalars(text: str, value: object) -> None:
    (found,) = parse_documents(f"a: {text}", "x")
    assert found.document == {"a": value}
    assert type(found.document["a"]) is type(value)


def test_objects_are_not_made_from_yaml() -> None:
    with pytest.raises(AnsibleActionFail, match="could not determine a constructor"):
        parse_documents("a: !!python/object/apply:os.getcwd []", "x")


def test_the_role_comes_before_the_playbook(tmp_path: pathlib.Path) -> None:
    for name in ("role", "play"):
        (tmp_path / name / "templates").mkdir(parents=True)
        (tmp_path / name / "templates" / "b.j2").touch()
        (tmp_path / name / "templates" / "a.j2").touch()
    found = find_templates(["*.j2", "b.j2"], [str(tmp_path / "role"), str(tmp_path / "play")])
    assert found == [tmp_path / "role" / "templates" / "a.j2", tmp_path / "role" / "templates" / "b.j2"]


def test_a_pattern_without_a_match_is_an_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(AnsibleActionFail, match=r"No template matches 'x\*\.j2' in .*/templates"):
        find_templates(["x*.j2"], [str(tmp_path)])


def test_plain_strips_every_subclass() -> None:
    class Text(str):
        __slots__ = ()

    class Number(int):
        __slots__ = ()

    found = plain({Text("a"): [Text("b"), Number(3), (1.5, None, True)]})
    assert found == {"a": ["b", 3, [1.5, None, True]]}
    assert type(next(iter(found))) is type(found["a"][0]) is str
    assert type(found["a"][1]) is int


class _Display:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def display(self, msg: str, color: str | None = None) -> None:
        self.lines.append(msg)


def test_progress_is_relayed_while_it_happens() -> None:
    display = _Display()
    with relay(display, label="lab") as path:
        file = pathlib.Path(path)
        assert file.stat().st_mode & 0o077 == 0
        with file.open("a", encoding="utf-8") as stream:
            stream.write("one\n")
        deadline = time.monotonic() + 5
        while not display.lines and time.monotonic() < deadline:
            threading.Event().wait(0.05)
        assert display.lines == ["[lab] one"]
        with file.open("a", encoding="utf-8") as stream:
            stream.write("two\n")
    assert display.lines == ["[lab] one", "[lab] two"]
    assert not file.exists()
