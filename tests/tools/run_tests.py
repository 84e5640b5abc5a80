# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run every part of the test suite, all of them even after a failure, and add up the counts.

First the programs of the lab are built that are missing. Then the parts run in two lanes beside each other, since most
of them wait more than they compute. What the first lane does is printed as it goes, a part of the second one when it is
through. At the end there is one line per part with its time, and as the last line `N passed, N failed`. Names of parts
as arguments run only those.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PRINTING = threading.RLock()
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
    return [str(BIN / "python"), "-m", "pytest", "-m", "not soak", "--durations=8", "--durations-min=2", *arguments]


# Before everything: a test that finds the programs of the lab missing would spend its time limit on compiling them.
PROGRAMS = Part("programs", [str(BIN / "python"), "-m", "tests.lab.build.builder"], whole)
LANES = [
    [
        Part("lint", ["tests/tools/lint"]),
        Part("unit", pytest("tests/unit")),
        Part("contract", pytest("tests/contract")),
        Part("integration", pytest("tests/integration")),
        Part("molecule", [str(BIN / "python"), "tests/tools/run_molecule.py"], whole),
        Part("sanity", ["tests/tools/sanity"], whole),
    ],
    [
        Part("end_to_end", pytest("tests/end_to_end")),
        Part("lab", pytest("tests/lab/tests")),
    ],
]


@dataclass(frozen=True)
class Row:
    """One line of the summary."""

    name: str
    outcome: Outcome
    seconds: float


def run(part: Part, *, live: bool) -> Row:
    """Run one part and print its output, as it comes or in one piece."""
    started = time.monotonic()
    lines = [f"=== {part.name}: {' '.join(Path(word).name for word in part.command)}"]
    if live:
        say(lines)
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
    for line in process.stdout:
        lines.append(line.rstrip())
        if live:
            say(lines[-1:])
    outcome = part.count(process.wait(), lines)
    if not live:
        say(lines)
    return Row(part.name, outcome, time.monotonic() - started)


def say(lines: list[str]) -> None:
    """Print lines that belong together."""
    with PRINTING:
        print("\n".join(lines), flush=True)


def main() -> int:
    """Run the parts and print the summary."""
    wanted, known = set(sys.argv[1:]), {part.name for lane in LANES for part in lane}
    if wanted - known:
        sys.exit(f"no such part: {', '.join(sorted(wanted - known))}; there are {', '.join(sorted(known))}")
    lanes = [[part for part in lane if not wanted or part.name in wanted] for lane in LANES]
    lanes = [lane for lane in lanes if lane]
    rows = [run(PROGRAMS, live=True)] if wanted - {"lint", "unit"} or not wanted else []
    with ThreadPoolExecutor(len(lanes)) as pool:
        started = [
            pool.submit(lambda lane=lane, live=not index: [run(part, live=live) for part in lane])  # type: ignore[misc]
            for index, lane in enumerate(lanes)
        ]
        rows += [row for future in started for row in future.result()]
    print()
    for row in rows:
        skipped = f", {row.outcome.skipped} skipped" if row.outcome.skipped else ""
        print(f"{row.name:12} {row.outcome.passed} passed, {row.outcome.failed} failed{skipped} in {row.seconds:.0f} s")
    passed, failed = sum(row.outcome.passed for row in rows), sum(row.outcome.failed for row in rows)
    print(f"{passed} passed, {failed} failed", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
