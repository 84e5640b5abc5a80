"""The dashboards that the role ships are those of the sources, and tell a French reader what a panel has to tell."""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from roles.grafana.dashboards import dashboards
from roles.grafana.dashboards.__main__ import FOLDER, written
from roles.grafana.dashboards.shared import limit

ROOT = Path(__file__).resolve().parents[3]
Json = dict[str, Any]
# What bookmarks, links in mails and habits point to: a name here may be added, and never changes.
UIDS = {
    "overview": "plateforme-vue-ensemble",
    "openmrs": "plateforme-openmrs",
    "mariadb": "plateforme-mariadb",
    "gateway": "plateforme-passerelle",
    "kubernetes": "plateforme-kubernetes",
    "backup": "plateforme-sauvegarde",
    "gitops": "plateforme-gitops",
    "drift": "plateforme-derive",
    "costs": "plateforme-couts",
}
FILES = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.json")}
# Values that are neither good nor bad by themselves.
PLAIN = {
    "Depuis (jours, heures:minutes:secondes)",
    "En marche depuis",
    "Durée de la restauration",
    "Durée de chaque étape de la restauration",
    "Machines",
    "Cœurs payés",
    "Mémoire payée",
    "Processeur réservé et inutilisé, par espace",
    "Mémoire réservée et inutilisée, par espace",
    "Disques payés",
    "Disques par espace",
    "Trafic envoyé en 24 h",
    "Séries de mesures",
    "Mesures par source",
}
# Words that a French sentence does not have.
ENGLISH = {
    *(
        "the",
        "of",
        "and",
        "by",
        "is",
        "are",
        "with",
        "not",
        "last",
        "since",
        "usage",
        "memory",
        "disk",
        "node",
        "nodes",
    ),
    *(
        "backup",
        "request",
        "requests",
        "error",
        "errors",
        "rate",
        "time",
        "open",
        "alerts",
        "database",
        "restart",
        "age",
    ),
    *("down", "up", "ready", "status", "overview", "health", "available", "used", "free", "drift", "cost", "costs"),
}
# Names of machines and of what we declare: none could hold what somebody typed, or who somebody is.
HARMLESS = {
    *("severity", "summary", "alertname", "instance", "namespace", "pod", "container", "persistentvolumeclaim", "node"),
    *("job", "layer", "probe", "phase", "deployment", "statefulset", "command", "mountpoint", "step"),
    *("verdict", "pool", "image_spec", "alertstate", "type"),
    *("name", "sync_status", "health_status", "server", "request_type", "le"),
}


def panels(dashboard: Json) -> list[Json]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def shown(dashboard: Json) -> Iterator[str]:
    """Every text that somebody reads."""
    yield from (dashboard["title"], dashboard["description"])
    for panel in dashboard["panels"]:
        defaults = panel.get("fieldConfig", {}).get("defaults", {})
        yield from (panel.get("title", ""), panel.get("description", ""), defaults.get("noValue", ""))
        others = [
            item for override in panel.get("fieldConfig", {}).get("overrides", []) for item in override["properties"]
        ]
        yield from (item["value"] for item in others if item["id"] == "displayName")
        known = [
            *defaults.get("mappings", []),
            *(one for item in others if item["id"] == "mappings" for one in item["value"]),
        ]
        for mapping in known:
            options = mapping["options"]
            yield from (result["text"] for result in ([options["result"]] if "result" in options else options.values()))
    for variable in dashboard.get("templating", {}).get("list", []):
        yield from (variable["label"], variable["description"])


def flaws(dashboard: Json) -> list[str]:
    """What a reader of it would miss."""
    found = []
    for text in shown(dashboard):
        words = set(re.findall(r"[\w']+", re.sub(r"\w+\.yml|\(\w+\)|Azure [A-Z][\w ]+", "", text)))
        found += [f"English: {word}" for word in sorted({word.lower() for word in words} & ENGLISH)]
    for panel in panels(dashboard):
        name, defaults = panel.get("title", ""), panel["fieldConfig"]["defaults"]
        if not name or not panel.get("description", "").endswith((".", "?")):
            found.append(f"{name}: no sentence explains it")
        if not defaults.get("unit"):
            found.append(f"{name}: no unit")
        if not defaults.get("noValue"):
            found.append(f"{name}: nothing says what no value means")
        if panel["type"] == "stat" and not empty_colour(panel) - {
            step["color"] for step in defaults["thresholds"]["steps"]
        }:
            found.append(f"{name}: nothing looks as if it were something")
        if len(defaults["thresholds"]["steps"]) < 2 and panel["type"] in ("stat", "bargauge") and name not in PLAIN:
            found.append(f"{name}: neither good nor bad")
        if panel["datasource"] != {"type": "prometheus", "uid": "prometheus"}:
            found.append(f"{name}: asks somebody else")
        for target in panel["targets"]:
            by = re.findall(r"(?:by|on|ignoring|without|group_left) \(([^)]*)\)", target["expr"])
            named = itertools.chain(
                *(labels.split(",") for labels in by), re.findall(r"{{(\w+)}}", target["legendFormat"])
            )
            unknown = {label.strip() for label in named} - HARMLESS - {""}
            found += [f"{name}: the label {label} may hold anything" for label in sorted(unknown)]
    return found


def empty_colour(panel: Json) -> set[str]:
    """The colour of no value."""
    known = (mapping["options"] for mapping in panel["fieldConfig"]["defaults"].get("mappings", []))
    return {options["result"]["color"] for options in known if options.get("match") == "null+nan"}


def overlapping(dashboard: Json) -> list[str]:
    """Panels that lie on others, or beside the grid."""
    taken: dict[tuple[int, int], str] = {}
    found = []
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        for cell in itertools.product(
            range(place.get("x", 0), place.get("x", 0) + place["w"]), range(place["y"], place["y"] + place["h"])
        ):
            if cell in taken or cell[0] >= 24:
                found.append(panel["title"])
                break
            taken[cell] = panel["title"]
    return found


def test_the_files_are_what_the_sources_make() -> None:
    assert {name: (FOLDER / f"{name}.json").read_text(encoding="utf-8") for name in FILES} == {
        name: written(dashboard) for name, dashboard in dashboards().items()
    }, "run `make dashboards`"


def unread(dashboard: Json) -> list[str]:
    """Paths whose value the SDK does not take over, since its models do not know them or want another type."""
    register_default_plugins()
    known = json.loads(json.dumps(Dashboard.from_json(copy.deepcopy(dashboard)), cls=JSONEncoder))

    def lost(here: Any, there: Any, path: str) -> Iterator[str]:
        if isinstance(here, dict) and isinstance(there, dict):
            for key, value in here.items():
                yield from lost(value, there[key], f"{path}.{key}") if key in there else [f"{path}.{key}"]
        elif isinstance(here, list) and isinstance(there, list) and len(here) == len(there):
            for index, (one, other) in enumerate(zip(here, there, strict=True)):
                yield from lost(one, other, f"{path}[{index}]")
        elif here != there:
            yield path

    return list(lost(dashboard, known, ""))


@pytest.mark.parametrize("name", UIDS)
def test_the_models_of_the_sdk_know_every_property(name: str) -> None:
    assert unread(FILES[name]) == []


def test_each_has_its_own_name_for_good() -> None:
    assert {name: dashboard["uid"] for name, dashboard in FILES.items()} == UIDS
    titles = [dashboard["title"] for dashboard in FILES.values()]
    assert len(set(titles)) == len(titles)
    for dashboard in FILES.values():
        numbers = [panel["id"] for panel in dashboard["panels"]]
        assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("name", UIDS)
def test_every_panel_says_in_french_what_it_shows_and_when_it_is_bad(name: str) -> None:
    assert flaws(FILES[name]) == []


def test_nothing_is_called_plain_that_is_not_there() -> None:
    assert {panel["title"] for dashboard in FILES.values() for panel in panels(dashboard)} >= PLAIN


@pytest.mark.parametrize("name", UIDS)
def test_panels_lie_side_by_side(name: str) -> None:
    assert overlapping(FILES[name]) == []


def test_the_first_screen_fits_a_screen() -> None:
    # 1080 lines less the browser and Grafana's bars; a unit of the grid takes 38 of them.
    judged = [panel for panel in FILES["overview"]["panels"] if panel["type"] in ("stat", "row")]
    assert max(panel["gridPos"]["y"] for panel in judged if panel["type"] == "stat") <= 24


def test_links_lead_to_dashboards() -> None:
    links = re.findall(r'"url": "/d/([^"]+)"', json.dumps(list(FILES.values())))
    assert links
    assert set(links) <= set(UIDS.values())


def test_limits_are_those_of_the_alerts() -> None:
    assert [
        limit(name) for name in ("BackupFullTooOld", "VolumeFull", "GatewayCertificateEnds", "QuotaAlmostUsed")
    ] == [*(26, 0.05, 3, 0.9)]
    (panel,) = [panel for panel in panels(FILES["overview"]) if panel["title"] == "Certificat"]
    assert [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]] == [None, 3, 14]


def test_what_the_verdict_counts_is_what_the_rule_records() -> None:
    (panel,) = [panel for panel in panels(FILES["overview"]) if panel["title"].startswith("Maintenant")]
    mapping, _ = panel["fieldConfig"]["defaults"]["mappings"]
    assert set(mapping["options"]) == {"0", "1", "2", "3"}
    recorded = yaml.safe_load((ROOT / "roles/prometheus/files/rules/openmrs.yml").read_text(encoding="utf-8"))
    assert panel["targets"][0]["expr"] in {
        rule.get("record") for group in recorded["groups"] for rule in group["rules"]
    }


@pytest.mark.sabotage
@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (lambda panel: panel.update(title="Memory usage"), "English: memory"),
        (lambda panel: panel.update(description=""), "no sentence explains it"),
        (lambda panel: panel["fieldConfig"]["defaults"].pop("unit"), "no unit"),
        (lambda panel: panel["fieldConfig"]["defaults"].pop("noValue"), "nothing says what no value means"),
        (
            lambda panel: panel["fieldConfig"]["defaults"]["thresholds"].update(steps=[{"color": "blue"}]),
            "neither good nor bad",
        ),
        (lambda panel: panel["fieldConfig"]["defaults"]["mappings"].pop(), "nothing looks as if it were something"),
        (lambda panel: panel.update(datasource={"type": "loki", "uid": "loki"}), "asks somebody else"),
        (lambda panel: panel["targets"][0].update(expr="sum by (patient) (up)"), "the label patient may hold anything"),
        (lambda panel: panel["targets"][0].update(legendFormat="{{user}}"), "the label user may hold anything"),
    ],
)
def test_a_panel_that_tells_too_little_or_too_much_is_noticed(fault: Callable[[Json], Any], seen: str) -> None:
    dashboard = copy.deepcopy(FILES["overview"])
    fault(next(panel for panel in panels(dashboard) if panel["title"] == "La page s'ouvre"))
    assert any(seen in flaw for flaw in flaws(dashboard))


@pytest.mark.sabotage
def test_what_the_sdk_does_not_know_is_noticed() -> None:
    dashboard = copy.deepcopy(FILES["overview"])
    dashboard["panels"][0]["fieldConfig"]["defaults"]["colour"] = "red"
    assert unread(dashboard) == [".panels[0].fieldConfig.defaults.colour"]


@pytest.mark.sabotage
def test_a_panel_on_another_is_noticed() -> None:
    dashboard = copy.deepcopy(FILES["overview"])
    dashboard["panels"][1]["gridPos"]["x"] = 0
    assert overlapping(dashboard) == [dashboard["panels"][1]["title"]]
