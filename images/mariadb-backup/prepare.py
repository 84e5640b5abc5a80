"""Put the program and the packages it needs into one folder. Usage: prepare.py TARGET

Environment: PYTHON, the version of Python that the image has.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["prepare"]

HERE = Path(__file__).parent
PROGRAM = "mariadb_archive"


def prepare(target: Path, python: str) -> None:
    """Fill `target`: wheels only, each by its hash.

    Raises:
        CalledProcessError: a package is not to be had, or is not the pinned one; uv says which.
    """
    command = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--target", str(target)]
    command += ["--require-hashes", "--only-binary", ":all:", "--no-deps", "--link-mode", "copy"]
    command += ["--python-version", python, "--python-platform", f"{platform.machine()}-manylinux_2_28"]
    subprocess.run([*command, "-r", str(HERE / "requirements.txt")], check=True, timeout=600)
    shutil.copytree(HERE / PROGRAM, target / PROGRAM, ignore=shutil.ignore_patterns("__pycache__"))
    (target / ".lock").unlink(missing_ok=True)


if __name__ == "__main__":
    prepare(Path(sys.argv[1]), os.environ["PYTHON"])
