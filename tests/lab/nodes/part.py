"""One daemon of a real node, as the modules beside this one describe theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Part"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One daemon of the node.

    `health` is the path at its port that answers 200 when it is well. `environment`
    comes on top of a plain one; `inputs` are files that it reads only when it starts.
    """

    name: str
    command: list[str]
    health: str = "/healthz"
    environment: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[Path, ...] = ()
