# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Render templates of YAML documents on the controller, into plain data."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import typing as t
from collections.abc import Hashable, Iterable, Mapping, Sequence

import yaml
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.template import trust_as_template

__all__ = ["Rendered", "find_templates", "parse_documents", "plain", "render_templates"]


@dataclasses.dataclass(frozen=True, slots=True)
class Rendered:
    """One document of a template.

    Attributes:
        document: plain data, without Ansible's tags.
        origin: file and number, as errors name it.
    """

    document: t.Any
    origin: str


class _Loader(yaml.SafeLoader):
    """Safe, and refuses a key that is given twice, of which YAML would silently take the last.

    As in YAML 1.2, C(yes) and C(on) are text; and so are dates, which ARM and Kubernetes take as text.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, t.Any]:
        seen: set[str] = set()
        for key, _value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        "while reading a mapping",
                        node.start_mark,
                        f"the key {key.value!r} is given twice",
                        key.start_mark,
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


_NOT_YAML_1_2: t.Final = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:bool")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _NOT_YAML_1_2]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def find_templates(patterns: Iterable[str], search_path: Sequence[str]) -> list[pathlib.Path]:
    """Template files in the order of the patterns, each pattern's sorted by name.

    Args:
        patterns: globs relative to a C(templates) folder, or absolute.
        search_path: folders that hold C(templates), nearest first: the role, then the playbook.

    Raises:
        AnsibleActionFail: a pattern matches nothing.
    """
    found: list[pathlib.Path] = []
    for pattern in patterns:
        absolute = pathlib.Path(pattern).is_absolute()
        folders = [pathlib.Path("/")] if absolute else [pathlib.Path(base) / "templates" for base in search_path]
        relative = pattern.lstrip("/")
        matches = next((hits for folder in folders if (hits := sorted(folder.glob(relative)))), None)
        if matches is None:
            raise AnsibleActionFail(
                f"No template matches {pattern!r} in {', '.join(f'{base}/templates' for base in search_path)}."
            )
        found.extend(matches)
    return list(dict.fromkeys(found))


def render_templates(
    patterns: Iterable[str], *, templar: t.Any, loader: t.Any, variables: Mapping[str, t.Any]
) -> list[Rendered]:
    """Documents of all templates that match.

    Args:
        patterns: see find_templates.
        templar: the action plugin's templar.
        loader: the action plugin's data loader.
        variables: the task's variables.

    Raises:
        AnsibleActionFail: a template or its YAML is wrong; names file, line and reason.
    """
    bases = [str(base) for base in variables.get("ansible_search_path", [])] or [str(loader.get_basedir())]
    rendered: list[Rendered] = []
    for path in find_templates(patterns, bases):
        folders = [str(path.parent), *(folder for base in bases for folder in (f"{base}/templates", base))]
        text = _render(path, folders, templar=templar, loader=loader, variables=variables)
        rendered.extend(parse_documents(text, _shown(path, bases)))
    return rendered


def parse_documents(text: t.Any, name: str) -> list[Rendered]:
    """YAML documents of rendered text; empty ones are left out.

    Raises:
        AnsibleActionFail: it is not YAML; names line and reason.
    """
    if not isinstance(text, str):
        items = text if isinstance(text, list) else [text]
        return [Rendered(plain(item), f"{name} document {i}") for i, item in enumerate(items, 1) if item is not None]
    source = str(text)
    try:
        documents = list(yaml.load_all(source, _Loader))
    except yaml.YAMLError as exc:
        raise AnsibleActionFail(_explain(exc, source, name)) from None
    return [
        Rendered(plain(document), f"{name} document {number}")
        for number, document in enumerate((d for d in documents if d is not None), 1)
    ]


def plain(value: t.Any) -> t.Any:
    """A copy in plain Python types: templating leaves tagged strings and lazy containers behind."""
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or type(value) in (bool, int, float, str):
        return value
    # The constructor of a subclass may keep the subclass; joining and adding never do.
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value + 0 if number else "".join(value if isinstance(value, str) else str(value))


def _render(
    path: pathlib.Path, folders: list[str], *, templar: t.Any, loader: t.Any, variables: Mapping[str, t.Any]
) -> t.Any:
    template = trust_as_template(loader.get_text_file_contents(str(path)))
    try:
        own = templar.copy_with_new_env(searchpath=folders, available_variables=dict(variables))
        text = own.template(template, escape_backslashes=False, overrides={"trim_blocks": True, "lstrip_blocks": True})
    except AnsibleError as exc:
        line = _line_of_syntax(exc) or _line_of_names(str(exc), template)
        reason = " ".join(str(exc).split())
        raise AnsibleActionFail(f"{path}{f', line {line}' if line else ''}: {reason}") from exc
    return "" if text is None else text


def _line_of_syntax(exc: BaseException | None) -> int:
    """Line that Jinja names for a syntax error, 0 for other errors."""
    while exc is not None:
        line = getattr(exc, "lineno", 0)
        if line:
            return int(line)
        exc = exc.__cause__ or exc.__context__
    return 0


def _line_of_names(message: str, template: str) -> int:
    """Line of a template that first uses a name the message quotes: Ansible's errors tell the name, not the line."""
    for name in re.findall(r"'([A-Za-z_]\w*)'", message)[::-1]:
        for number, line in enumerate(template.splitlines(), 1):
            if re.search(rf"\{{[{{%].*\b{name}\b", line):
                return number
    return 0


def _explain(exc: yaml.YAMLError, text: str, name: str) -> str:
    mark = getattr(exc, "problem_mark", None)
    problem = getattr(exc, "problem", None) or str(exc)
    if mark is None:
        return f"{name}: not YAML after rendering: {problem}."
    lines = text.splitlines()
    shown = lines[mark.line].strip() if mark.line < len(lines) else ""
    return f"{name}: not YAML after rendering: {problem} in line {mark.line + 1} of what it renders to: {shown!r}."


def _shown(path: pathlib.Path, bases: Sequence[str]) -> str:
    """The file as a person would name it: from the role or playbook folder on."""
    for base in bases:
        if path.is_relative_to(base):
            return str(pathlib.Path(pathlib.Path(base).name) / path.relative_to(base))
    return str(path)
