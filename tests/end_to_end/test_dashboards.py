"""Every panel of Grafana shows something: its queries are asked of the Prometheus that watches the platform."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable

import pytest

from tests.end_to_end.conftest import Platform
from tests.end_to_end.support.dashboards import DASHBOARDS, Answers, Asked, answers, asked, metrics
from tests.end_to_end.support.monitoring import Monitoring
from tests.end_to_end.test_monitoring import database_stopped
from tests.integration.support.lab import ROOT
from tests.integration.support.waiting import until
from tests.tools.draw_dashboards import draw

SECONDS = 420
PICTURES = ROOT / ".cache" / "dashboards"
# Panels that show nothing while all is well here, each with the reason.
EMPTY = {
    "Retard des copies": "the lab has one server of the database, hence no replica",
    "Retard de chaque copie": "the lab has one server of the database, hence no replica",
    "Alertes en cours": "nothing fires",
    "Constats par couche": "nothing differs from what is declared",
    "Conteneurs qui ont redémarré en 24 h": "nothing was restarted",
}
# Metrics that are not there while all is well, likewise.
ABSENT = {
    "mysql_slave_status_seconds_behind_master": "the lab has one server of the database, hence no replica",
    "kube_job_failed": "no Job was given up",
    "ALERTS": "nothing fires",
    "ALERTS_FOR_STATE": "nothing fires",
}


def blank(found: Answers) -> list[Asked]:
    """Queries that nothing was answered to, where something has to be."""
    return [query for query, result in found.items() if not result and query.title not in EMPTY]


@pytest.fixture(scope="module")
def monitoring(platform: Platform) -> Monitoring:
    """Give Prometheus, which knows of a comparison and of a restore check."""
    found = Monitoring(platform.lab)
    if not found.values('platform_findings{job="run-reports"}'):
        platform.run("drift").ok()
    # Of one that had to fail, another test's, there is no duration.
    if found.values('mariadb_restore_check_success{job="run-reports"}') != [1]:
        platform.run("restore_check").ok()
    # Nobody else reads the database of a quiet lab.
    platform.clinic.search("Martin")
    return found


def answered(monitoring: Monitoring, queries: Iterable[Asked]) -> Answers:
    """Ask until every query has an answer, for what was recorded last comes after some minutes only."""
    found = dict(answers(monitoring.ask, list(queries)))

    def complete() -> bool:
        if missing := blank(found):
            found.update(answers(monitoring.ask, missing))
        return not blank(found)

    with contextlib.suppress(AssertionError):
        until(complete, "every query has an answer", SECONDS, every=5)
    return found


@pytest.fixture(scope="module")
def everything(monitoring: Monitoring) -> Answers:
    """Give the answers to all queries."""
    return answered(monitoring, asked())


def test_every_query_returns_data(everything: Answers) -> None:
    assert [str(query) for query in blank(everything)] == []
    assert {query.dashboard for query in everything} == set(DASHBOARDS)


def test_every_metric_is_there(monitoring: Monitoring) -> None:
    there = set(monitoring.ask("label/__name__/values"))
    named = {name: str(query) for query in asked() for name in metrics(query.expr)}
    assert {name: query for name, query in named.items() if name not in there | set(ABSENT)} == {}


def test_nothing_is_excused_that_nobody_asks() -> None:
    queries = list(asked())
    assert set(EMPTY) <= {query.title for query in queries}
    assert set(ABSENT) <= {name for query in queries for name in metrics(query.expr)}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_dashboard_is_drawn_for_review(everything: Answers, name: str) -> None:
    path = PICTURES / f"{name}.png"
    path.unlink(missing_ok=True)
    draw(DASHBOARDS[name], {query: found for query, found in everything.items() if query.dashboard == name}, path)
    assert path.stat().st_size > 10_000


def verdict(monitoring: Monitoring) -> list[float]:
    """What the first screen says of the centres."""
    return monitoring.values("platform:care:state")


@pytest.mark.soak
def test_the_first_screen_says_that_no_centre_can_work(well: Platform, monitoring: Monitoring) -> None:
    until(lambda: verdict(monitoring) == [3.0], "all is well", SECONDS, every=5)
    with database_stopped(well):
        until(lambda: verdict(monitoring) == [0.0], "the verdict turns", SECONDS, every=5)
        until(lambda: "MariaDBMissing" in monitoring.firing(), "the cause is told", SECONDS, every=5)
        shown = {"overview": DASHBOARDS["overview"]}
        draw(shown["overview"], answers(monitoring.ask, list(asked(shown))), PICTURES / "overview-down.png")
    until(lambda: verdict(monitoring) == [3.0], "the verdict turns back", SECONDS, every=5)


@pytest.mark.sabotage
def test_a_metric_that_does_not_exist_is_noticed(monitoring: Monitoring) -> None:
    broken = copy.deepcopy(DASHBOARDS["overview"])
    target = next(panel for panel in broken["panels"] if panel["title"] == "La page s'ouvre")["targets"][0]
    target["expr"] = target["expr"].replace("probe_success", "probe_succeeded")
    queries = list(asked({"overview": broken}))
    assert [query.title for query in blank(answers(monitoring.ask, queries))] == ["La page s'ouvre"]
    assert "probe_succeeded" in {name for query in queries for name in metrics(query.expr)}
