"""The builder of the lab's programs: pinned, complete or absent, one at a time."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import threading
import time
import zipfile
from pathlib import Path

import pytest

from tests.lab.build import builder

SMALL = 'package main\n\nfunc main() { println("small") }\n'
EMBEDDING = """package main

import _ "embed"

//go:embed dist/page.html
var page string

func main() { println(page) }
"""
BROKEN = "package main\n\nfunc main() { return 1 }\n"


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> builder.Tool:
    """Give a tool that builds in a second, in a cache of its own."""
    monkeypatch.setenv("PLATFORM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(builder, "SOURCES", tmp_path)
    source = tmp_path / "small"
    source.mkdir()
    (source / "go.mod").write_text("module lab.test/small\n\ngo 1.24\n")
    (source / "main.go").write_text(SMALL)
    return builder.Tool(name="small", version="1.0.0", package=".", modules={}, names=["tiny"])


@pytest.mark.parametrize("name", builder.tools())
def test_versions_and_module_files_agree(name: str) -> None:
    tool = builder.tools()[name]
    required = (tool.source / "go.mod").read_text()
    for module, version in tool.modules.items():
        assert re.search(rf"^\s*(require )?{re.escape(module)} {re.escape(version)}\b", required, re.MULTILINE), module
        assert f"{module} {version} h1:" in (tool.source / "go.sum").read_text(), module
    for stamp in tool.stamp.values():
        assert tool.version in stamp or stamp in {*tool.version.split("."), "clean", "0"}, stamp


def test_a_tool_is_built_once_and_answers_to_each_name(small: builder.Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(builder, "tools", lambda: {"small": small})
    builder.build_missing(said.append)
    assert small.binary.stat().st_mode & 0o111
    assert small.program("tiny").resolve() == small.binary
    assert any("small 1.0.0: built in" in line for line in said)
    said.clear()
    builder.build_missing(said.append)
    assert said == []


def test_another_source_is_another_build(small: builder.Tool) -> None:
    before = small.folder
    (small.source / "main.go").write_text(SMALL.replace("small", "other"))
    assert dataclasses.replace(small).folder != before


def test_its_tests_are_no_part_of_a_build(small: builder.Tool) -> None:
    before = small.folder
    (small.source / "main_test.go").write_text("package main\n")
    assert dataclasses.replace(small).folder == before


def test_build_tags_choose_what_is_compiled(small: builder.Tool) -> None:
    (small.source / "main.go").write_text("//go:build big\n\n" + SMALL)
    with pytest.raises(builder.BuildError, match="build constraints exclude all Go files"):
        builder.build_missing(lambda _: None, only=small)
    tagged = dataclasses.replace(small, tags=["big"])
    assert tagged.folder != small.folder
    builder.build_missing(lambda _: None, only=tagged)
    assert tagged.binary.exists()


@pytest.fixture
def incomplete(small: builder.Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> builder.Tool:
    """Give a tool out of a published module that embeds a page which its archive lacks."""
    module, version = "lab.test/incomplete", "v1.2.3"
    published = tmp_path / "proxy" / module / "@v"
    published.mkdir(parents=True)
    (published / f"{version}.info").write_text(json.dumps({"Version": version}))
    (published / f"{version}.mod").write_text(f"module {module}\n\ngo 1.24\n")
    with zipfile.ZipFile(published / f"{version}.zip", "w") as archive:
        archive.writestr(f"{module}@{version}/go.mod", f"module {module}\n\ngo 1.24\n")
        archive.writestr(f"{module}@{version}/main.go", EMBEDDING)
        archive.writestr(f"{module}@{version}/LICENSE", "Do as you like.")
    monkeypatch.setenv("GOPROXY", f"file://{tmp_path}/proxy")
    monkeypatch.setenv("GONOSUMDB", module)
    monkeypatch.setenv("GOMODCACHE", str(tmp_path / "modules"))
    monkeypatch.setenv("GOFLAGS", "-modcacherw")
    (small.source / "main.go").unlink()
    (small.source / "go.mod").write_text(
        f"module lab.test/small\n\ngo 1.24\n\ntool {module}\n\nrequire {module} {version}\n"
    )
    subprocess.run([builder._toolchain(), "mod", "tidy"], cwd=small.source, check=True, capture_output=True)
    (small.source / "page.html").write_text("a page")
    return dataclasses.replace(small, package=module, adds={module: {"dist/page.html": "page.html"}})


def test_a_module_gets_the_files_that_its_archive_lacks(incomplete: builder.Tool) -> None:
    with pytest.raises(builder.BuildError, match="no matching files found"):
        builder.build_missing(lambda _: None, only=dataclasses.replace(incomplete, adds={}))
    before = {path.name: path.read_bytes() for path in incomplete.source.iterdir()}
    builder.build_missing(lambda _: None, only=incomplete)
    said = subprocess.run([incomplete.binary], capture_output=True, text=True, check=True)
    assert said.stderr == "a page\n"
    assert {path.name: path.read_bytes() for path in incomplete.source.iterdir()} == before
    (incomplete.source / "page.html").write_text("another page")
    assert dataclasses.replace(incomplete).folder != incomplete.folder


def test_the_same_inputs_give_the_same_program(
    incomplete: builder.Tool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    builder.build_missing(lambda _: None, only=incomplete)
    monkeypatch.setenv("PLATFORM_CACHE", str(tmp_path / "elsewhere"))
    again = dataclasses.replace(incomplete)
    builder.build_missing(lambda _: None, only=again)
    assert again.binary != incomplete.binary
    assert again.binary.read_bytes() == incomplete.binary.read_bytes()


def test_named_files_of_a_published_archive_are_kept(incomplete: builder.Tool) -> None:
    licences = {"module": incomplete.package, "folder": ".", "files": ["LICENSE", "NOTICE"]}
    with_licences = dataclasses.replace(incomplete, data={"licences": licences})
    builder.build_missing(lambda _: None, only=with_licences)
    assert [path.name for path in (with_licences.folder / "licences").iterdir()] == ["LICENSE"]


def test_a_failed_build_leaves_nothing_and_says_why(small: builder.Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    (small.source / "main.go").write_text(BROKEN)
    monkeypatch.setattr(builder, "tools", lambda: {"small": small})
    with pytest.raises(builder.BuildError, match="too many return values"):
        builder.build_missing(lambda _: None)
    assert [path.name for path in (builder.cache_root() / "bin").iterdir()] == [".small.lock"]


def test_two_builders_do_the_work_once(small: builder.Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "tools", lambda: {"small": small})
    said: list[str] = []
    builders = [threading.Thread(target=builder.build_missing, args=(said.append,)) for _ in range(2)]
    for thread in builders:
        thread.start()
    for thread in builders:
        thread.join()
    assert len([line for line in said if "built in" in line]) == 1


def test_a_long_build_says_that_it_goes_on(small: builder.Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "PROGRESS_EVERY_SECONDS", 0.05)
    said: list[str] = []
    builder._compile(["bash", "-c", "echo runtime; sleep 0.4"], small, said.append, small.source)
    assert len(said) >= 3
    assert "1 packages compiled" in said[-1]


def test_the_lock_makes_the_second_wait(small: builder.Tool) -> None:
    order: list[str] = []

    def second() -> None:
        with builder._lock(small, order.append):
            order.append("second")

    with builder._lock(small, order.append):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.2)
        order.append("first done")
    thread.join()
    assert order == ["small: another process is building; waiting for it", "first done", "second"]
