"""The builder of the lab's programs: pinned, complete or absent, one at a time."""

from __future__ import annotations

import dataclasses
import re
import threading
import time
from pathlib import Path

import pytest

from tests.lab.build import builder

SMALL = 'package main\n\nfunc main() { println("small") }\n'
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
    builder._compile(["bash", "-c", "echo runtime; sleep 0.4"], small, said.append)
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
