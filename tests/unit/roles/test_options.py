"""What a role says of its variables is what it does with them: the documentation and the defaults agree."""

from __future__ import annotations

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
    described: dict[str, Any] = {}
    for entry in read(role, "meta/argument_specs.yml")["argument_specs"].values():
        described |= entry.get("options") or {}
    assert problems(described, read(role, "defaults/main.yml")) == []


@pytest.mark.sabotage
def test_what_disagrees_is_told() -> None:
    options = {"a": {"default": 1}, "b": {"choices": ["x"]}}
    assert len(problems(options, {"a": 2, "b": ["x", "y"], "c": 0})) == 3
