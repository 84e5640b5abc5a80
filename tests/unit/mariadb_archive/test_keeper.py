"""Rounds that go on whatever fails, and full backups beside them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from mariadb_archive import keeper
from mariadb_archive.archiver import Archiver, Round
from mariadb_archive.envelope import Archive
from mariadb_archive.errors import BackupError
from mariadb_archive.keeper import Keeper
from mariadb_archive.lineage import lineage_of
from mariadb_archive.manifests import Full, Log
from mariadb_archive.server import Programs, Server

from tests.unit.mariadb_archive.memory import MemoryStore, PlainKey

EVERY = 240.0


@dataclass(frozen=True)
class Asked(Server):
    """A server that answers the same to everything, or fails."""

    answer: Callable[[], str] = lambda: "0"

    def ask(self, statement: str, *, timeout: float = 120) -> list[list[str]]:
        return [[self.answer()]]


@dataclass
class Rounds(Archiver):
    """An archiver whose rounds store nothing, or fail."""

    failing: list[Exception] = field(default_factory=list)

    def round(self) -> Round:
        if self.failing:
            raise self.failing.pop()
        return Round(stored=["bin.000001"])

    def stored(self) -> list[Log]:
        return []


class Kept:
    """A keeper, what it said, and the full backups that it asked for."""

    def __init__(self, state: Path, *, answer: Callable[[], str] = lambda: "0", full_hours: float = 24) -> None:
        self.said: list[dict[str, Any]] = []
        self.fails, self.went_on = False, threading.Event()
        self.went_on.set()
        archive = Archive(MemoryStore(), PlainKey())
        self.archiver = Rounds(archive, Asked(Programs(), (), answer), "m", state)
        self.keeper = Keeper(self.archiver, self.full, self.said.append, EVERY, full_hours)

    def full(self) -> Full:
        self.went_on.wait(10)
        if self.fails:
            raise BackupError("the disk is full")
        named = Full(
            instance="m",
            lineage=lineage_of(self.archiver.state),
            server_version="10.11.18",
            started=4_000_000_000,
            finished=4_000_000_001,
            log="bin.000001",
            position=4,
            gtid={},
        )
        return self.archiver.archive.add(replace(named), iter([b"data"]))

    def told(self, name: str) -> float:
        """A metric of the archive."""
        value = self.keeper.metrics.registry.get_sample_value(f"mariadb_archive_{name}")
        assert value is not None
        return value

    def settle(self) -> None:
        thread = self.keeper._running
        assert thread is not None
        thread.join(10)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_a_round_and_the_first_full_backup(kept: Kept) -> None:
    assert kept.keeper.round() == EVERY
    kept.settle()
    assert kept.said[0] == {"stored": ["bin.000001"], "problems": []}
    assert kept.said[1]["full"] == "begins"
    assert "there is no full backup" in kept.said[1]["because"]
    assert kept.said[2]["full"].endswith("/full/4000000000")
    kept.said.clear()
    assert kept.keeper.round() == EVERY
    assert [list(step) for step in kept.said] == [["stored", "problems"]]


def test_rounds_go_on_beside_a_full_backup_and_only_one_is_taken(kept: Kept) -> None:
    kept.went_on.clear()
    for _ in range(3):
        kept.keeper.round()
    assert [step.get("full") for step in kept.said] == [None, "begins", None, None]
    kept.went_on.set()
    kept.settle()


def test_a_full_backup_that_fails_is_told_and_not_tried_again_at_once(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.fails = True
    kept.keeper.round()
    kept.settle()
    assert kept.said[-1] == {"full": "failed", "problems": ["the disk is full"]}
    kept.keeper.round()
    assert "full" not in kept.said[-1]
    monkeypatch.setattr(keeper, "FULL_AGAIN", 0)
    kept.keeper._full_from = 0
    kept.keeper.round()
    kept.settle()
    assert kept.said[-1]["full"] == "failed"


@pytest.mark.parametrize("problem", [BackupError("the server does not answer"), ValueError("no list")])
def test_whatever_fails_is_told_and_the_next_round_comes_sooner(kept: Kept, problem: Exception) -> None:
    kept.archiver.failing.append(problem)
    assert kept.keeper.round() == keeper.ASK_AGAIN
    assert kept.said == [{"problems": [str(problem)]}]
    assert kept.keeper.round() == EVERY
    kept.settle()


@pytest.mark.parametrize("answer", ["1", "ON"])
def test_a_replica_only_says_that_it_is_one(tmp_path: Path, answer: str) -> None:
    kept = Kept(tmp_path, answer=lambda: answer)
    assert kept.keeper.round() == EVERY
    assert kept.said == [{"idle": keeper.REPLICA}]
    assert not list(tmp_path.iterdir())


def test_who_was_a_replica_begins_a_line_of_its_own(tmp_path: Path) -> None:
    before, answers = lineage_of(tmp_path), iter(["1", "0"])
    kept = Kept(tmp_path, answer=lambda: next(answers))
    kept.keeper.round()
    kept.keeper.round()
    kept.settle()
    assert lineage_of(tmp_path) != before
    assert lineage_of(tmp_path) in kept.said[-1]["full"]


def test_without_hours_no_full_backup_is_taken(tmp_path: Path) -> None:
    kept = Kept(tmp_path, full_hours=0)
    kept.keeper.round()
    assert kept.said == [{"stored": ["bin.000001"], "problems": []}]


def test_metrics_tell_how_far_it_is(kept: Kept) -> None:
    kept.keeper.round()
    kept.settle()
    assert (kept.told("full_time_seconds"), kept.told("problems"), kept.told("idle")) == (0, 0, 0)
    kept.keeper.round()
    assert (kept.told("full_time_seconds"), kept.told("reached_seconds")) == (4_000_000_001, 0)


def test_a_round_that_fails_moves_no_time_but_its_own(kept: Kept) -> None:
    kept.keeper.round()
    kept.settle()
    kept.keeper.round()
    kept.keeper.metrics._round.set(0)
    kept.archiver.failing.append(BackupError("the server does not answer"))
    kept.keeper.round()
    assert (kept.told("full_time_seconds"), kept.told("problems")) == (4_000_000_001, 1)
    assert kept.told("round_time_seconds") > 0
    kept.keeper.round()
    assert kept.told("problems") == 0


def test_a_server_that_takes_no_writes_says_so(tmp_path: Path) -> None:
    kept = Kept(tmp_path, answer=lambda: "1")
    kept.keeper.round()
    assert (kept.told("idle"), kept.told("problems")) == (1, 0)
