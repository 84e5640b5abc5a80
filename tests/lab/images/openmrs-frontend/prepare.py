"""Assemble the application from its npm packages with OpenMRS's own build tool. Usage: prepare.py TARGET"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from tests.lab.build.builder import cache_root
from tests.tools import node

__all__ = ["prepare"]

HERE = Path(__file__).parent
INPUTS = ("package.json", "package-lock.json", "build-config.json")
# Only for people who debug the application, and as large as all the rest.
WITHOUT = "*.map"


def prepare(target: Path) -> None:
    """Fill `target` with the files that nginx serves.

    Raises:
        SystemExit: npm or the build tool failed, or a module is not the pinned one.

    """
    shutil.copytree(_assembled(), target, ignore=shutil.ignore_patterns(WITHOUT), dirs_exist_ok=True)


def _assembled() -> Path:
    """The application, kept in the cache under a digest of what it is made of; complete or absent."""
    inputs = [HERE / name for name in (*INPUTS, "modules.yml", "prepare.py")]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in inputs)).hexdigest()
    folder = cache_root() / "openmrs-frontend" / digest[:16]
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as scratch:
        assembled = _assemble(Path(scratch))
        with contextlib.suppress(OSError):  # somebody else was quicker
            assembled.rename(folder)
    return folder


def _assemble(folder: Path) -> Path:
    for name in INPUTS:
        shutil.copy(HERE / name, folder)
    print("installing the build tool", flush=True)
    _run([*node.npm(), "ci", "--no-audit", "--no-fund", "--ignore-scripts"], folder)
    modules = {name: f"file:{_module(name, pinned, folder)}" for name, pinned in _pinned().items()}
    (folder / "assemble.json").write_text(json.dumps({"publicUrl": ".", "frontendModules": modules}))
    tool = [*node.node(), "node_modules/openmrs/dist/cli.js"]
    print(f"assembling {len(modules)} modules", flush=True)
    _run([*tool, "assemble", "--mode=config", "--config=assemble.json", "--target=dist", "--manifest"], folder)
    print("building the shell", flush=True)
    _run([*tool, "build", "--build-config=build-config.json", "--target=dist"], folder)
    return folder / "dist"


def _pinned() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = yaml.safe_load((HERE / "modules.yml").read_text())
    return found


def _module(name: str, pinned: dict[str, str], folder: Path) -> str:
    """Fetch one module and return the name of its archive."""
    printed = _run([*node.npm(), "pack", "--json", f"{name}@{pinned['version']}"], folder)
    answer = json.loads(printed)
    (described,) = answer if isinstance(answer, list) else answer.values()
    archive = str(described["filename"])
    digest = base64.b64encode(hashlib.sha512((folder / archive).read_bytes()).digest()).decode()
    if f"sha512-{digest}" != pinned["integrity"]:
        sys.exit(f"{name} {pinned['version']} is not the module of modules.yml: sha512-{digest}")
    return archive


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "CI": "true", "IBM_TELEMETRY_DISABLED": "true"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    if done.returncode:
        sys.exit(f"{' '.join(command[:4])} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


if __name__ == "__main__":
    prepare(Path(sys.argv[1]))
