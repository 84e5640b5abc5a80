# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run every part of the test suite, all of them even after a failure, and add up the counts.

Each part prints as it goes. At the end there is one line per part with its time, and as the last line
`N passed, N failed`. Names of parts as arguments run only those.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
COUNTS = re.compile(r"(\d+) (passed|failed|errors?|skipped)\b")


@dataclass(frozen=True)
class Outcome:
    """Counts of one part; a part that breaks without saying what failed counts as one failure."""

    passed: int
    failed: int
    skipped: int = 0


def counted(returncode: int, lines: list[str]) -> Outcome:
    """Read the last line with counts, as pytest and tests/tools/lint print it."""
    for line in reversed(lines):
        found: dict[str, int] = {word.rstrip("s"): int(number) for number, word in COUNTS.findall(line)}
        if found and ("==" in line or line.startswith("lint:")):
            failed = found.get("failed", 0) + found.get("error", 0)
            return Outcome(found.get("passed", 0), max(failed, int(returncode != 0)), found.get("skipped", 0))
    return whole(returncode, lines)


def whole(returncode: int, _lines: list[str]) -> Outcome:
    """Count the part as one test: its exit code."""
    return Outcome(int(returncode == 0), int(returncode != 0))


@dataclass(frozen=True)
class Part:
    """One step: what is run, and how its counts are read."""

    name: str
    command: list[str]
    count: Callable[[int, list[str]], Outcome] = counted


def pytest(*arguments: str) -> list[str]:
    """Return a pytest command with the closing lines that are read here."""
    return [str(BIN / "python"), "-m", "pytest", "--durations=8", "--durations-min=2", *arguments]


PARTS = [
    Part("lint", ["tests/tools/lint"]),
    Part("unit", pytest("tests/unit")),
    Part("contract", pytest("tests/contract")),
    Part("lab", pytest("tests/lab/tests")),
    Part("integration", pytest("tests/integration")),
    Part("molecule", [str(BIN / "python"), "tests/tools/run_molecule.py"], whole),
    Part("sanity", ["tests/tools/sanity"], whole),
]


def run(part: Part) -> tuple[Outcome, float]:
    """Run one part, passing its output on as it comes."""
    started = time.monotonic()
    print(f"\n=== {part.name}: {' '.join(Path(word).name for word in part.command)}", flush=True)
    process = subprocess.Popen(
        part.command,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "120"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line.rstrip())
    return part.count(process.wait(), lines), time.monotonic() - started


def main() -> int:
    """Run the parts and print the summary."""
    wanted = sys.argv[1:]
    unknown = set(wanted) - {part.name for part in PARTS}
    if unknown:
        sys.exit(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(part.name for part in PARTS)}")
    rows = [(part.name, *run(part)) for part in PARTS if not wanted or part.name in wanted]
    print()
    for name, outcome, seconds in rows:
        skipped = f", {outcome.skipped} skipped" if outcome.skipped else ""
        print(f"{name:12} {outcome.passed} passed, {outcome.failed} failed{skipped} in {seconds:.0f} s")
    passed, failed = sum(row[1].passed for row in rows), sum(row[1].failed for row in rows)
    print(f"{passed} passed, {failed} failed", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
