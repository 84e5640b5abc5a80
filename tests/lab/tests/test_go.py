"""The lab's own Go code: `go vet`, and the tests that it has. What did not change comes out of Go's cache."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.lab.build import builder

# The first time, what the packages import is compiled and examined as well.
SECONDS = 20 * 60
TESTED = re.compile(r"^ok\s+\S+", re.MULTILINE)


def packages(source: Path) -> list[str]:
    """Our packages of a module; not its main package, which is there to be linked and imports all of Kubernetes."""
    folders = {path.parent.relative_to(source) for path in source.glob("*/**/*.go")}
    return [f"./{folder}" for folder in sorted(folders)]


def go(tool: str, source: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the toolchain as the builder does, so that both share what is compiled."""
    return subprocess.run(
        [builder._toolchain(), tool, *builder.BUILD_FLAGS, *arguments],
        cwd=source,
        env=os.environ | {"CGO_ENABLED": "0", "GOWORK": "off", "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )


@pytest.mark.parametrize("name", [name for name, tool in builder.tools().items() if packages(tool.source)])
def test_go_code_is_vetted_and_its_tests_pass(name: str) -> None:
    source = builder.tools()[name].source
    vetted = go("vet", source, *packages(source))
    assert vetted.returncode == 0, vetted.stderr[-4000:]
    tested = go("test", source, *packages(source))
    assert tested.returncode == 0, (tested.stdout + tested.stderr)[-4000:]
    if name == "kube":
        assert "lab/kube/policies" in " ".join(TESTED.findall(tested.stdout))


@pytest.mark.sabotage
def test_a_failing_go_test_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "go.mod").write_text("module lab.test/broken\n\ngo 1.24\n")
    (tmp_path / "broken" / "broken.go").write_text("package broken\n")
    (tmp_path / "broken" / "broken_test.go").write_text(
        'package broken\n\nimport "testing"\n\nfunc TestIt(t *testing.T) { t.Fatal("no") }\n'
    )
    assert packages(tmp_path) == ["./broken"]
    assert go("test", tmp_path, "./broken").returncode == 1
