"""Build the programs of the lab from their Go modules, once, into a cache outside the clone.

`versions.yml` says what; each tool's go.mod and go.sum pin it by hash. A result
is complete or absent (built aside, then renamed), and a lock lets several
checkouts build at the same time.
"""

from __future__ import annotations

import argparse
import fcntl
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

__all__ = ["BuildError", "Tool", "build_missing", "built", "cache_root", "main", "missing_tools", "tools"]

SOURCES = Path(__file__).parent
CLONE = SOURCES.parents[2]
PROGRESS_EVERY_SECONDS = 20
Say = Callable[[str], None]


class BuildError(Exception):
    """A tool that could not be built; the message ends with the last lines of the compiler."""


@dataclass(frozen=True, kw_only=True)
class Tool:
    """One program of the lab, as `versions.yml` describes it."""

    name: str
    version: str
    package: str
    modules: dict[str, str]
    stamp: dict[str, str] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    data: dict[str, dict[str, Any]] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    adds: dict[str, dict[str, str]] = field(default_factory=dict)
    folder_of: str = ""
    needed_by: str = "labs"

    @property
    def source(self) -> Path:
        """The folder with the tool's go.mod."""
        return SOURCES / (self.folder_of or self.name)

    @functools.cached_property
    def folder(self) -> Path:
        """Where the built tool is, or will be: the name changes with every input of the build."""
        facts: list[Any] = [self.stamp, self.package, self.names, self.data, BUILD_FLAGS]
        facts += [fact for fact in (self.tags, self.adds) if fact]
        digest = hashlib.sha256(json.dumps(facts).encode())
        added = {name for files in self.adds.values() for name in files.values()}
        sources = (
            path for path in self.source.rglob("*") if path.suffix in {".go", ".mod", ".sum"} or path.name in added
        )
        for path in sorted(path for path in sources if not path.name.endswith("_test.go")):
            digest.update(path.relative_to(self.source).as_posix().encode() + b"\0" + path.read_bytes())
        return cache_root() / "bin" / f"{self.name}-{self.version}-{digest.hexdigest()[:12]}"

    @property
    def binary(self) -> Path:
        """The program itself."""
        return self.folder / self.name

    def program(self, name: str) -> Path:
        """Return the path of one of the names that the program answers to."""
        return self.folder / name


BUILD_FLAGS = ["-trimpath", "-mod=readonly", "-buildvcs=false"]
# The toolchain of the virtual environment and the files of a tool's folder, nothing else.
ALONE = {"GOWORK": "off", "GOTOOLCHAIN": "local"}


def cache_root() -> Path:
    """Return the folder for built things; `PLATFORM_CACHE` or the user's cache folder."""
    if chosen := os.environ.get("PLATFORM_CACHE"):
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "audioprothese-platform"


@functools.cache
def tools() -> dict[str, Tool]:
    """Return every tool of `versions.yml` by name."""
    described = yaml.safe_load((SOURCES / "versions.yml").read_text())["tools"]
    return {name: Tool(name=name, **description) for name, description in described.items()}


def missing_tools(*, containers: bool = True, tests: bool = False) -> list[Tool]:
    """Return the tools that are not in the cache; without `containers` only what simulated nodes need."""
    needed = {"labs", *(["containers"] * containers), *(["tests"] * tests)}
    return [tool for tool in tools().values() if tool.needed_by in needed and not tool.folder.is_dir()]


def build_missing(say: Say = print, *, containers: bool = True, tests: bool = False, only: Tool | None = None) -> None:
    """Build what is not in the cache; without `containers` only what simulated nodes need; or one tool only.

    Raises:
        BuildError: no Go toolchain, or the compiler refused.

    """
    missing = missing_tools(containers=containers, tests=tests) if only is None else [only] * (not only.folder.is_dir())
    if not missing:
        return
    say(f"building {', '.join(tool.name for tool in missing)} (once; kept in {cache_root()})")
    for tool in missing:
        with _lock(tool, say):
            if not tool.folder.is_dir():
                _build(tool, say)


def built(name: str, say: Say = print) -> Tool:
    """Return one tool, built if need be.

    Raises:
        BuildError: no Go toolchain, or the compiler refused.

    """
    tool = tools()[name]
    build_missing(say, only=tool)
    return tool


@contextmanager
def _lock(tool: Tool, say: Say) -> Iterator[None]:
    tool.folder.parent.mkdir(parents=True, exist_ok=True)
    with (tool.folder.parent / f".{tool.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{tool.name}: another process is building; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(tool: Tool, say: Say) -> None:
    started = time.monotonic()
    go = _toolchain()
    with tempfile.TemporaryDirectory(dir=tool.folder.parent, prefix=f".{tool.name}-") as scratch:
        staged = Path(scratch) / "staged"
        staged.mkdir()
        stamps = " ".join(f"-X {variable}={value}" for variable, value in tool.stamp.items())
        arguments = [go, "build", "-v", *BUILD_FLAGS, "-ldflags", f"-s -w {stamps}".strip()]
        arguments += [f"-tags={','.join(tool.tags)}"] * bool(tool.tags)
        source = _with_added_files(go, tool, Path(scratch) / "source") if tool.adds else tool.source
        _compile([*arguments, "-o", str(staged / tool.name), tool.package], tool, say, source)
        for name in tool.names:
            (staged / name).symlink_to(tool.name)
        for destination, origin in tool.data.items():
            _copy_data(go, tool, origin, staged / destination)
        seconds = round(time.monotonic() - started)
        size = (staged / tool.name).stat().st_size
        (staged / "built.json").write_text(json.dumps({"seconds": seconds, "bytes": size, "version": tool.version}))
        staged.rename(tool.folder)
    say(f"{tool.name} {tool.version}: built in {_duration(seconds)}, {size / 1e6:.0f} MB")


def _toolchain() -> str:
    beside = Path(sys.executable).parent / "go"
    found = str(beside) if beside.exists() else shutil.which("go")
    if not found:
        raise BuildError("no Go toolchain: it comes with the development requirements; run `make venv`")
    return found


def _with_added_files(go: str, tool: Tool, target: Path) -> Path:
    """Make a copy of the tool's folder that takes the modules which lack files from beside itself, with these files.

    Go lets nobody lay a file over its cache of modules. The path is relative, for it is written into the program.
    """
    shutil.copytree(tool.source, target)
    for module, files in tool.adds.items():
        described = _download(go, tool, module)
        with zipfile.ZipFile(described["Zip"]) as archive:
            archive.extractall(target / "modules")
        unpacked = f"./modules/{module}@{described['Version']}"
        for path, name in files.items():
            (target / unpacked / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(tool.source / name, target / unpacked / path)
        command = [go, "mod", "edit", f"-replace={module}={unpacked}"]
        subprocess.run(command, cwd=target, env=os.environ | ALONE, check=True)
    return target


def _compile(command: list[str], tool: Tool, say: Say, source: Path) -> None:
    """Run the compiler and say how far it is while it works."""
    environment = os.environ | ALONE | {"CGO_ENABLED": "0"}
    started = time.monotonic()
    counts = {"downloaded": 0, "compiled": 0}
    output: list[str] = []
    finished = threading.Event()

    def report() -> None:
        while not finished.wait(PROGRESS_EVERY_SECONDS):
            doing = f"{counts['compiled']} packages compiled" if counts["compiled"] else "fetching modules"
            say(f"{tool.name}: {doing}, {_duration(time.monotonic() - started)}")

    process = subprocess.Popen(
        command, cwd=source, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        for line in process.stdout or ():
            counts["downloaded" if line.startswith("go: downloading") else "compiled"] += 1
            output.append(line)
        if process.wait():
            raise BuildError(f"{tool.name} {tool.version} does not build:\n" + "".join(output[-20:]))
    finally:
        finished.set()
        if process.poll() is None:
            process.kill()
            process.wait()


def _copy_data(go: str, tool: Tool, origin: dict[str, Any], destination: Path) -> None:
    folder = Path(_download(go, tool, origin["module"])["Dir"]) / origin["folder"]
    destination.mkdir()
    for path in sorted(path for pattern in origin.get("files", ["*.yaml"]) for path in folder.glob(pattern)):
        (destination / path.name).write_bytes(path.read_bytes())


def _download(go: str, tool: Tool, module: str) -> dict[str, Any]:
    """Return what Go says of a module's published archive, whose hash it has compared with go.sum."""
    answer = subprocess.run(
        [go, "mod", "download", "-json", module],
        cwd=tool.source,
        env=os.environ | ALONE,
        capture_output=True,
        text=True,
        check=False,
    )
    described: dict[str, Any] = json.loads(answer.stdout) if answer.stdout else {}
    if answer.returncode or "Dir" not in described:
        raise BuildError(f"{module} cannot be had: {described.get('Error') or answer.stderr}")
    return described


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} m {rest:02d} s" if minutes else f"{rest} s"


def main() -> None:
    """Build what is missing for the labs of this machine; the exit code says whether everything is there."""
    from tests.lab.nodes.availability import obstacle  # noqa: PLC0415 - it needs this module

    parser = argparse.ArgumentParser(description="Build the programs of the lab that are missing.")
    parser.add_argument("--tests", action="store_true", help="also those that only tests ask for")
    tests: bool = parser.parse_args().tests
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{_duration(time.monotonic() - started):>9}] {text}", flush=True)

    try:
        build_missing(say, containers=not obstacle(Path(tempfile.gettempdir())), tests=tests)
    except BuildError as exc:
        sys.exit(f"lab build: {exc}")
    for tool in tools().values():
        print(tool.binary)


if __name__ == "__main__":
    main()
