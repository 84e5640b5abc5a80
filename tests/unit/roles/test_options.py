"""What a role says of its variables is what it does with them: the documentation and the defaults agree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[3] / "roles"
NAMES = sorted(spec.parents[1].name for spec in ROLES.glob("*/meta/argument_specs.yml"))


def read(role: str, file: str) -> Any:
    path = ROLES / role / file
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}


def problems(options: dict[str, Any], defaults: dict[str, Any]) -> list[str]:
    """What the description of each variable says otherwise than its default."""
    found = []
    for name, default in defaults.items():
        option = options.get(name)
        if option is None:
            found.append(f"{name} is not described")
            continue
        if "{{" in str(default):
            continue
        if option.get("default", default) != default:
            found.append(f"{name} is {default!r}, and said to be {option['default']!r}")
        values = default if isinstance(default, list) else [default]
        if "choices" in option and not set(values) <= set(option["choices"]):
            found.append(f"{name} is {default!r}, which is none of its choices")
    return found


@pytest.mark.parametrize("role", NAMES)
def test_every_default_is_described_as_it_is(role: str) -> None:
    assert problems(described(role), read(role, "defaults/main.yml")) == []


def described(role: str) -> dict[str, Any]:
    """Every option of a role, whichever part of it takes it."""
    entries = read(role, "meta/argument_specs.yml")["argument_specs"].values()
    return {name: option for entry in entries for name, option in (entry.get("options") or {}).items()}


def taken_as_text(names: set[str], text: str) -> list[str]:
    """Lines in which a switch decides as it is: `-e name=false` is a text, and every text counts as true."""
    found = re.compile(rf"(?<![\w.])({'|'.join(sorted(names))})\b(?!:)(?!\s*\|\s*bool)")
    # A module that gets it whole converts it, and in a sentence it decides nothing.
    told = re.compile(r"\"\{\{ \w+ \}\}\"|remove platform_example\.")
    lines = (told.sub("", line) for line in text.splitlines() if not line.lstrip().startswith("#"))
    return [line.strip() for line in lines if found.search(line)]


def files() -> Iterator[Path]:
    """Wherever a variable of a role can decide something."""
    for folder in (ROLES, ROLES.parent / "playbooks"):
        found = (path for path in folder.rglob("*") if path.suffix in (".yml", ".j2"))
        yield from (path for path in found if path.name != "argument_specs.yml")


def test_switches_are_taken_as_switches_also_from_the_command_line() -> None:
    switches = {name for role in NAMES for name, option in described(role).items() if option.get("type") == "bool"}
    assert len(switches) > 20
    wrong = {str(path): lines for path in files() if (lines := taken_as_text(switches, path.read_text()))}
    assert wrong == {}


@pytest.mark.sabotage
def test_what_disagrees_is_told() -> None:
    options = {"a": {"default": 1}, "b": {"choices": ["x"]}}
    assert len(problems(options, {"a": 2, "b": ["x", "y"], "c": 0})) == 3
    text = 'when: a | bool and b\nwhen: a\n# a\nwait: "{{ a }}"\na: true\n'
    assert taken_as_text({"a"}, text) == ["when: a"]
