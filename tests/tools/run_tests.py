# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run every part of the test suite, all of them even after a failure, and add up the counts.

First the programs of the lab are built that are missing. Then the parts run in lanes, three beside each other, since
most of them wait more than they compute. What the first lane does is printed as it goes, a part of another one when it
is through. Of the lab's own tests up to three that fail are run once more by themselves, and what passes then is named
in the summary; what the product promises is broken when it fails once. At the end there is one line per part with its
time, and as the last line `N passed, N failed`. Names of parts as arguments run only those.
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
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PRINTING = threading.RLock()
COUNTS = re.compile(r"(\d+) (passed|failed|errors?|skipped)\b")
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)
FEW = 3


@dataclass(frozen=True)
class Outcome:
    """Counts of one part; a part that breaks without saying what failed counts as one failure.

    `again` are the tests that passed when they were run once more, and only then.
    """

    passed: int
    failed: int
    skipped: int = 0
    again: tuple[str, ...] = ()


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
    """One step: what is run, how its counts are read, and what runs once more what failed."""

    name: str
    command: list[str]
    count: Callable[[int, list[str]], Outcome] = counted
    again: list[str] = field(default_factory=list)


def pytest(name: str, *where: str, twice: bool = False) -> Part:
    """Return a part that pytest runs, with the closing lines that are read here."""
    command = [str(BIN / "python"), "-m", "pytest", "-m", "not soak", "--durations=8", "--durations-min=2"]
    # Parts run beside each other, and each remembers what failed.
    command += ["-o", f"cache_dir=.pytest_cache/{name}", *where]
    return Part(name, command, again=[*command, "--last-failed", "--last-failed-no-failures=none"] if twice else [])


# Before everything: a test that finds the programs of the lab missing would spend its time limit on compiling them.
PROGRAMS = Part("programs", [str(BIN / "python"), "-m", "tests.lab.build.builder", "--tests"], whole)
# The lab's own tests about nodes, on which most of them run pods: half of the time of all of its tests.
NODES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests" / "lab" / "tests").glob("test_n*.py"))
LANES = [
    [
        Part("lint", ["tests/tools/lint"]),
        pytest("unit", "tests/unit"),
        pytest("contract", "tests/contract"),
        Part("molecule", [str(BIN / "python"), "tests/tools/run_molecule.py"], whole),
        Part("sanity", ["tests/tools/sanity"], whole),
    ],
    [pytest("end_to_end", "tests/end_to_end")],
    [pytest("integration", "tests/integration")],
    # Whichever of these is through first goes on with them, the longer one first.
    [pytest("lab", "tests/lab/tests", *(f"--ignore={path}" for path in NODES), twice=True)],
    [pytest("nodes", *NODES, twice=True)],
]
AT_ONCE = 3


@dataclass(frozen=True)
class Row:
    """One line of the summary."""

    name: str
    outcome: Outcome
    seconds: float


def run(part: Part, *, live: bool) -> Row:
    """Run one part, what failed once more, and print the output, as it comes or in one piece."""
    started = time.monotonic()
    outcome, lines = execute(part, part.command, live=live)
    failed = FAILED.findall("\n".join(lines))
    # More than a few are no accident.
    if part.again and 0 < outcome.failed <= FEW and len(failed) == outcome.failed:
        second, _ = execute(part, part.again, live=live)
        if second.passed + second.failed == outcome.failed:
            outcome = replace(
                outcome,
                passed=outcome.passed + second.passed,
                failed=second.failed,
                again=tuple(failed) if not second.failed else (),
            )
    return Row(part.name, outcome, time.monotonic() - started)


def execute(part: Part, command: list[str], *, live: bool) -> tuple[Outcome, list[str]]:
    """Run a command of a part; its counts and what it printed."""
    lines = [f"=== {part.name}: {' '.join(Path(word).name for word in command)}"]
    if live:
        say(lines)
    process = subprocess.Popen(
        command,
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
    return outcome, lines


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
    with ThreadPoolExecutor(AT_ONCE) as pool:
        started = [
            pool.submit(lambda lane=lane, live=not index: [run(part, live=live) for part in lane])  # type: ignore[misc]
            for index, lane in enumerate(lanes)
        ]
        rows += [row for future in started for row in future.result()]
    print()
    for row in rows:
        skipped = f", {row.outcome.skipped} skipped" if row.outcome.skipped else ""
        print(f"{row.name:12} {row.outcome.passed} passed, {row.outcome.failed} failed{skipped} in {row.seconds:.0f} s")
        for name in row.outcome.again:
            print(f"{'':12} passed only when it was run once more: {name}")
    passed, failed = sum(row.outcome.passed for row in rows), sum(row.outcome.failed for row in rows)
    print(f"{passed} passed, {failed} failed", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
