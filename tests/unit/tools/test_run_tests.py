"""How the parts of the suite are counted, and what is run once more."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[3] / "tests" / "tools" / "run_tests.py"
SPEC = importlib.util.spec_from_file_location("run_tests", FILE)
assert SPEC
assert SPEC.loader
run_tests = importlib.util.module_from_spec(SPEC)
sys.modules["run_tests"] = run_tests
SPEC.loader.exec_module(run_tests)


def says(text: str, code: int) -> list[str]:
    """Return a command that prints that and ends so."""
    return [sys.executable, "-c", f"print({text!r}); raise SystemExit({code})"]


ONE = "FAILED tests/a.py::test_b - AssertionError\n== 1 failed, 7 passed in 2 s =="
FOUR = "\n".join([*(f"FAILED tests/a.py::test_{number}" for number in range(4)), "== 4 failed, 7 passed in 2 s =="])


@pytest.mark.parametrize(
    ("first", "again", "counts", "named"),
    [
        (says("== 8 passed in 2 s ==", 0), says("", 5), (8, 0), ()),
        (says(ONE, 1), says("== 1 passed in 2 s ==", 0), (8, 0), ("tests/a.py::test_b",)),
        (says(ONE, 1), says(ONE.replace(", 7 passed", ""), 1), (7, 1), ()),
        (says(ONE, 1), says("no tests ran", 5), (7, 1), ()),
        (says(ONE, 1), says("== 2 passed in 2 s ==", 0), (7, 1), ()),
        (says(FOUR, 1), says("== 4 passed in 2 s ==", 0), (7, 4), ()),
        (says("Killed", 137), says("== 1 passed in 2 s ==", 0), (0, 1), ()),
    ],
    ids=["nothing fails", "passes again", "fails again", "not found again", "others", "too many", "the part broke"],
)
def test_what_fails_is_run_once_more(
    first: list[str], again: list[str], counts: tuple[int, int], named: tuple[str, ...]
) -> None:
    outcome = run_tests.run(run_tests.Part("part", first, again=again), live=False).outcome
    assert ((outcome.passed, outcome.failed), outcome.again) == (counts, named)


def test_what_the_product_promises_is_not_tried_twice() -> None:
    assert [part.name for lane in run_tests.LANES for part in lane if part.again] == ["lab", "nodes"]


def test_every_test_of_the_lab_is_in_one_part() -> None:
    lab, nodes = (part.command for lane in run_tests.LANES for part in lane if part.name in ("lab", "nodes"))
    left_out = {word.removeprefix("--ignore=") for word in lab if word.startswith("--ignore=")}
    assert left_out == {word for word in nodes if word.startswith("tests/lab/tests/")} != set()
