"""What the panels of Grafana's dashboards ask Prometheus, and what it answers."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tests.integration.support.lab import ROOT

__all__ = ["DASHBOARDS", "SHIPPED", "Answers", "Ask", "Asked", "answers", "asked", "asked_of", "metrics"]

FOLDER = ROOT / "roles" / "grafana" / "files" / "dashboards"
Json = dict[str, Any]
SHIPPED: dict[str, Json] = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))}
# Those that show nothing of a platform as it is by default, each with the reason.
ELSEWHERE = {"gitops": "Argo CD does not run, but in test_gitops.py, which asks it"}
DASHBOARDS = {name: dashboard for name, dashboard in SHIPPED.items() if name not in ELSEWHERE}
# How Prometheus is asked: a path of its API with parameters, and the data of the answer.
Ask = Callable[..., Any]

# What Grafana puts in place of its own variables. A rate needs four scrapes: https://grafana.com/docs/grafana/latest/
# datasources/prometheus/template-variables/#use-__rate_interval
VARIABLES = {"$__rate_interval": "1m", "$namespace": ".+"}
# As far back as lines are drawn.
SECONDS, STEP = 1800, 15

KEYWORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}
# In their order: what is text, what holds labels, what holds a duration.
NO_METRICS = [r'"[^"]*"', r"{[^}]*}", r"\b(?:by|without|on|ignoring|group_left|group_right) *\([^)]*\)", r"\[[^]]*\]"]


@dataclass(frozen=True)
class Asked:
    """One query of a panel; `instant` where only the value of now shows."""

    dashboard: str
    panel: int
    title: str
    ref: str
    expr: str
    legend: str
    instant: bool

    def __str__(self) -> str:
        return f"{self.dashboard} / {self.title} / {self.ref}: {self.expr}"


Answers = Mapping[Asked, list[Json]]


def asked(dashboards: Mapping[str, Json] = DASHBOARDS) -> Iterator[Asked]:
    """Give every query of every panel, its variables filled in."""
    for name, dashboard in dashboards.items():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                expr = target["expr"]
                for variable, value in VARIABLES.items():
                    expr = expr.replace(variable, value)
                instant = bool(target.get("instant"))
                yield Asked(name, panel["id"], panel["title"], target["refId"], expr, target["legendFormat"], instant)


def asked_of(name: str) -> list[Asked]:
    """Return every query of one dashboard, of those as well that another test asks."""
    return list(asked({name: SHIPPED[name]}))


def metrics(expr: str) -> set[str]:
    """Return the names of the metrics that an expression of PromQL reads."""
    for pattern in NO_METRICS:
        expr = re.sub(pattern, " ", expr)
    return set(re.findall(r"\b[a-zA-Z_:][\w:]*\b(?! *\()", expr)) - KEYWORDS


def answers(ask: Ask, queries: list[Asked]) -> Answers:
    """Ask all of them, a few at a time."""
    now = time.time()

    def answered(query: Asked) -> list[Json]:
        if query.instant:
            data = ask("query", query=query.expr, time=f"{now:.0f}")
        else:
            span = {"start": f"{now - SECONDS:.0f}", "end": f"{now:.0f}", "step": str(STEP)}
            data = ask("query_range", query=query.expr, **span)
        found: list[Json] = data["result"]
        return found

    with ThreadPoolExecutor(4) as pool:
        return dict(zip(queries, pool.map(answered, queries), strict=True))
