"""Fixtures of the end-to-end tests: one lab for all of them, empty or converged as each test asks."""

from __future__ import annotations

import enum
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.support.azure import resource_ids
from tests.integration.support.lab import Lab, running_lab
from tests.integration.support.playbook import PlaybookRun, run_playbook
from tests.integration.support.processes import process_list
from tests.integration.support.secrets import all_secrets


class State(enum.Enum):
    """What the shared lab is known to hold."""

    UNKNOWN = enum.auto()
    CONVERGED = enum.auto()
    SPOILT = enum.auto()
    """Something that cannot change was changed: no run corrects it."""


@dataclass(frozen=True, kw_only=True)
class Creation:
    """From nothing: the prediction of a check run, then the run itself, what each wrote, and the secrets made.

    `processes` are the command lines that could be seen meanwhile, `fact_cache` what a persistent cache kept, and
    `audit_log` what the API server noted.
    """

    empty: list[str]
    check: PlaybookRun
    check_writes: int
    real: PlaybookRun
    real_writes: int
    secrets: dict[str, str]
    processes: set[str]
    fact_cache: str
    audit_log: str


class SharedLab:
    """The lab of the session; getting it into a state costs only what it lacks of it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.state = State.UNKNOWN
        self._creation: Creation | None = None

    def emptied(self) -> Lab:
        """Return the lab without any resource; the test may leave it in any state."""
        self.state = State.UNKNOWN
        self.lab.fault("clear")
        self.lab.reset()
        return self.lab

    def created(self) -> Creation:
        """Predict and build everything from an empty lab, once per session."""
        if self._creation is None:
            lab = self.emptied()
            empty = resource_ids(lab)
            check = run_playbook(lab, "site", "--check", "--diff", "-vvv").ok()
            check_writes = lab.writes()
            with tempfile.TemporaryDirectory() as cache, process_list(lab) as processes:
                caching = {"ANSIBLE_CACHE_PLUGIN": "jsonfile", "ANSIBLE_CACHE_PLUGIN_CONNECTION": cache}
                real = run_playbook(lab, "site", "--diff", "-vvv", variables=caching)
                fact_cache = "\n".join(path.read_text() for path in Path(cache).rglob("*") if path.is_file())
            writes = lab.writes()
            self._creation = Creation(
                empty=empty,
                check=check,
                check_writes=check_writes,
                real=real,
                real_writes=writes,
                secrets=all_secrets(lab) if real.returncode == 0 else {},
                processes=processes,
                fact_cache=fact_cache,
                audit_log="\n".join(path.read_text() for path in lab.home.glob("clusters/*/audit/*")),
            )
            if real.returncode == 0:
                self.state = State.CONVERGED
        return self._creation

    def converged(self) -> Lab:
        """Return the lab as `site.yml` builds it; the test must leave it so (after a failed one it is repaired)."""
        if self.state is not State.CONVERGED and self._creation is None:
            self.created()
        if self.state is State.SPOILT:
            self.emptied()
        if self.state is not State.CONVERGED:
            self.lab.fault("clear")
            self.lab.up()
            run_playbook(self.lab, "site").ok()
            self.state = State.CONVERGED
        return self.lab


@pytest.fixture(scope="session")
def shared_lab() -> Iterator[SharedLab]:
    """Keep one lab over the whole session."""
    with running_lab() as lab:
        yield SharedLab(lab)


@pytest.fixture
def creation(shared_lab: SharedLab) -> Creation:
    """Give the two runs that created everything from nothing."""
    return shared_lab.created()


@pytest.fixture
def empty_lab(shared_lab: SharedLab) -> Lab:
    """Give a lab in which nothing exists yet."""
    return shared_lab.emptied()


@pytest.fixture
def converged_lab(shared_lab: SharedLab, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Give the lab as the roles declare it; converge it anew after a test that failed."""
    yield shared_lab.converged()
    report = getattr(request.node, "call_report", None)
    if report is None or report.failed:
        shared_lab.state = State.UNKNOWN


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests so that the platform is built as rarely as possible, for that takes longest."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    fixtures = getattr(item, "fixturenames", ())
    if item.get_closest_marker("spoils"):
        return 3
    if "shared_lab" not in fixtures:
        return 0
    return 1 if "empty_lab" in fixtures else 2


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let fixtures see whether their test passed."""
    report = yield
    if report.when == "call":
        item.call_report = report  # type: ignore[attr-defined]
    return report
