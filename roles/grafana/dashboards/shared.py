# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all dashboards have in common: their panels, their colours, and where their thresholds come from.

A panel has a title and an explanation in French, a unit, and thresholds where a value can be good or bad. Where an alert
has a threshold, `limit` gives the panel the same one: it turns orange or red when somebody is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from grafana_foundation_sdk.builders import bargauge, prometheus, statetimeline, table, timeseries
from grafana_foundation_sdk.builders import common as shapes
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import stat as stats
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

RULES = Path(__file__).resolve().parents[2] / "prometheus" / "files" / "rules"
PROMETHEUS = common.DataSourceRef(type_val="prometheus", uid="prometheus")
# Replaced by prometheus_runbook_base when the role renders the dashboards.
RUNBOOKS = "https://runbooks.invalid/"

Panel = Builder[dashboard.Panel]
Steps = Sequence[tuple[float | None, str]]
Texts = Mapping[int, tuple[str, str]]

# Pixels of a column that holds a sentence.
WIDE = 480

NEUTRAL: Steps = [(None, "blue")]
UNKNOWN = "purple"
# While the exporter of the database is away, Kubernetes says whether a server is ready. Without one, nothing is saved.
_READY = 'max(kube_statefulset_status_replicas_ready{namespace="mariadb"})'
DATABASE_UP = f'min(mysql_up{{job="mysqld"}}) or {_READY} > bool 0'
DATABASE_WRITABLE = f'min(mysql_global_variables_read_only{{job="mysqld"}}) == bool 0 or {_READY} == 0'
# Steps of a request, as the probe calls them, in their order.
PHASES = {
    "resolve": "Résolution du nom",
    "connect": "Connexion",
    "tls": "TLS",
    "processing": "Attente de la réponse",
    "transfer": "Transfert",
}
YES_OR_NO: Texts = {0: ("Non", "red"), 1: ("Oui", "green")}


class Query(NamedTuple):
    """An expression of PromQL, and what its series are called."""

    expr: str
    legend: str = ""


class Row(NamedTuple):
    """A heading and its panels."""

    title: str
    panels: Sequence[Panel]


# --- thresholds ------------------------------------------------------------------------------------------------------


def rules() -> Iterator[dict[str, Any]]:
    """Give every alert of Prometheus."""
    for path in sorted(RULES.glob("*.yml")):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            yield from (rule for rule in group["rules"] if "alert" in rule)


def limit(alert: str) -> float:
    """Return the number that an alert compares with last."""
    (expression,) = (rule["expr"] for rule in rules() if rule["alert"] == alert)
    return float(re.findall(r"[<>]=?\s*(\d+(?:\.\d+)?)", expression)[-1])


def at_most(warning: float, critical: float | None = None) -> Steps:
    """Orange from the first on, red from the second."""
    return [(None, "green"), (warning, "orange"), *([] if critical is None else [(critical, "red")])]


def at_least(critical: float, warning: float | None = None) -> Steps:
    """Red below the first, orange below the second."""
    return [(None, "red"), *([(critical, "green")] if warning is None else [(critical, "orange"), (warning, "green")])]


def none_at_all(colour: str = "red") -> Steps:
    """Green at nothing, and a colour from one on."""
    return [(None, "green"), (1, colour)]


def _thresholds(steps: Steps) -> builders.ThresholdsConfig:
    found = [dashboard.Threshold(value, colour) for value, colour in steps]
    return builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(found)


# --- panels ----------------------------------------------------------------------------------------------------------


def stat(
    title: str,
    about: str,
    query: str | Query,
    *,
    unit: str,
    steps: Steps = NEUTRAL,
    texts: Texts | None = None,
    empty: str = "inconnu",
    empty_colour: str = UNKNOWN,
    span: int = 4,
    height: int = 4,
    decimals: int = 0,
    to: str = "",
    history: bool = False,
) -> Panel:
    """Show one value in large letters; `to` is the dashboard that says more, `empty` what nothing means.

    Without a colour of its own, nothing would have that of the lowest threshold, which is green for many.
    """
    nothing = dashboard.DashboardSpecialValueMapOptions(
        match=dashboard.SpecialValueMatch.NULL_AND_NAN,
        result=dashboard.ValueMappingResult(text=empty, color=empty_colour, index=0),
    )
    panel = (
        _framed(stats.Panel(), title, about, unit=unit, steps=steps, empty=empty, span=span, height=height)
        .decimals(decimals)
        .color_mode(common.BigValueColorMode.BACKGROUND if steps is not NEUTRAL else common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.AREA if history else common.BigValueGraphMode.NONE)
        .text_mode(common.BigValueTextMode.VALUE)
        .reduce_options(shapes.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(_target(query, instant=not history))
    )
    known = [_mapped(texts)] if texts else []
    panel = panel.mappings([*known, dashboard.SpecialValueMap(options=nothing)])
    if to:
        panel = panel.links([_link("Voir le détail", f"/d/{to}")])
    return panel


def lines(
    title: str,
    about: str,
    *queries: Query,
    unit: str,
    steps: Steps = NEUTRAL,
    span: int = 12,
    height: int = 8,
    stacked: bool = False,
    most: float | None = None,
    names: Mapping[str, str] | None = None,
    empty: str = "Rien à montrer",
) -> Panel:
    """Draw values over time; thresholds are lines, `names` what series are called in place of their legend."""
    panel = (
        _framed(timeseries.Panel(), title, about, unit=unit, steps=steps, empty=empty, span=span, height=height)
        .min(0)
        .line_width(2)
        .fill_opacity(30 if stacked else 8)
        .show_points(common.VisibilityMode.NEVER)
        .legend(_legend())
        .tooltip(shapes.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
        .targets([_target(query, number) for number, query in enumerate(queries)])
    )
    for name, told in (names or {}).items():
        panel = panel.override_by_name(name, [dashboard.DynamicConfigValue("displayName", told)])
    if most is not None:
        panel = panel.max(most)
    if stacked:
        panel = panel.stacking(shapes.StackingConfig().mode(common.StackingMode.NORMAL))
    if steps is not NEUTRAL:
        panel = panel.thresholds_style(shapes.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED))
    return panel


def states(
    title: str,
    about: str,
    *queries: Query,
    texts: Texts,
    span: int = 12,
    height: int = 6,
    empty: str = "Rien à montrer",
) -> Panel:
    """Draw what was well and what was not over time."""
    return (
        _framed(
            statetimeline.Panel(), title, about, unit="none", steps=at_least(1), empty=empty, span=span, height=height
        )
        .mappings([_mapped(texts)])
        .show_value(common.VisibilityMode.NEVER)
        .merge_values(True)
        .row_height(0.8)
        .fill_opacity(85)
        .legend(_legend())
        .targets([_target(query, number) for number, query in enumerate(queries)])
    )


def bars(
    title: str,
    about: str,
    query: Query,
    *,
    unit: str,
    steps: Steps = NEUTRAL,
    span: int = 12,
    height: int = 8,
    most: float | None = None,
    decimals: int = 0,
    empty: str = "Rien à montrer",
) -> Panel:
    """Compare values of now, one bar each, the longest first."""
    panel = (
        _framed(bargauge.Panel(), title, about, unit=unit, steps=steps, empty=empty, span=span, height=height)
        .decimals(decimals)
        .min(0)
        .orientation(common.VizOrientation.HORIZONTAL)
        .display_mode(common.BarGaugeDisplayMode.BASIC)
        .value_mode(common.BarGaugeValueMode.TEXT)
        .reduce_options(shapes.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(_target(query._replace(expr=f"sort_desc({query.expr})"), instant=True))
    )
    return panel if most is None else panel.max(most)


def rows(
    title: str,
    about: str,
    query: str,
    columns: Mapping[str, str],
    *,
    unit: str,
    steps: Steps = NEUTRAL,
    texts: Mapping[str, Mapping[str, tuple[str, str]]] | None = None,
    wide: str = "",
    links: Mapping[str, tuple[str, str]] | None = None,
    span: int = 12,
    height: int = 8,
    decimals: int = 0,
    empty: str = "Rien à montrer",
) -> Panel:
    """List series of now; `columns` are the labels that show, in their order, and `Value`, each with its heading."""
    names = list(columns)
    panel = (
        _framed(table.Panel(), title, about, unit=unit, steps=steps, empty=empty, span=span, height=height)
        .decimals(decimals)
        .with_target(_target(query, instant=True).format(PromQueryFormat.TABLE))
        .with_transformation(
            dashboard.DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": names}})
        )
        .with_transformation(
            dashboard.DataTransformerConfig(
                id_val="organize",
                options={
                    "indexByName": {name: index for index, name in enumerate(names)},
                    "renameByName": dict(columns),
                },
            )
        )
    )
    if steps is not NEUTRAL:
        cell = [dashboard.DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-text"})]
        panel = panel.override_by_name(columns["Value"], cell)
    for name, known in (texts or {}).items():
        mapping = _mapped(known)
        panel = panel.override_by_name(columns[name], [dashboard.DynamicConfigValue("mappings", [mapping])])
    if wide:
        panel = panel.override_by_name(columns[wide], [dashboard.DynamicConfigValue("custom.width", WIDE)])
    for name, (text, address) in (links or {}).items():
        found = {"title": text, "url": address, "targetBlank": True}
        panel = panel.override_by_name(columns[name], [dashboard.DynamicConfigValue("links", [found])])
    return panel


def _framed[Kind: (bargauge.Panel, statetimeline.Panel, stats.Panel, table.Panel, timeseries.Panel)](
    panel: Kind, title: str, about: str, *, unit: str, steps: Steps, empty: str, span: int, height: int
) -> Kind:
    """Give a panel what each has."""
    return (
        panel.title(title)
        .description(about)
        .datasource(PROMETHEUS)
        .span(span)
        .height(height)
        .unit(unit)
        .no_value(empty)
        .thresholds(_thresholds(steps))
    )


def _legend() -> shapes.VizLegendOptions:
    return (
        shapes.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
    )


def _mapped(texts: Mapping[Any, tuple[str, str]]) -> dashboard.ValueMap:
    found = {
        str(value): dashboard.ValueMappingResult(text=text, color=colour or None, index=index)
        for index, (value, (text, colour)) in enumerate(texts.items())
    }
    return dashboard.ValueMap(options=found)


def _link(title: str, address: str) -> builders.DashboardLink:
    return builders.DashboardLink(title).type(dashboard.DashboardLinkType.LINK).url(address)


def _target(query: str | Query, number: int = 0, *, instant: bool = False) -> prometheus.Dataquery:
    asked = Query(query) if isinstance(query, str) else query
    target = (
        prometheus.Dataquery()
        .ref_id(chr(ord("A") + number))
        .datasource(PROMETHEUS)
        .expr(asked.expr)
        .legend_format(asked.legend or "__auto")
    )
    return target.instant() if instant else target.range()


# --- dashboards ------------------------------------------------------------------------------------------------------

TAG = "plateforme"


def made(
    uid: str,
    title: str,
    about: str,
    *found: Row,
    since: str = "now-6h",
    variables: Sequence[Builder[dashboard.VariableModel]] = (),
) -> dashboard.Dashboard:
    """Return a dashboard; all of them have the same menu, times of Paris, and nobody can edit them."""
    result = (
        builders.Dashboard(title)
        .uid(uid)
        .description(about)
        .tags([TAG])
        .timezone("Europe/Paris")
        .week_start("monday")
        .time(since, "now")
        .refresh("30s")
        .readonly()
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .link(
            builders.DashboardLink("Tableaux de bord")
            .type(dashboard.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .keep_time(True)
            .include_vars(False)
        )
        .variables(list(variables))
    )
    for row in found:
        if row.title:
            result = result.with_row(builders.Row(row.title))
        for panel in row.panels:
            result = result.with_panel(panel)
    built = result.build()
    for number, found_panel in enumerate(built.panels or [], 1):
        found_panel.id_val = number
    return built


def choice(name: str, label: str, about: str, query: str) -> Builder[dashboard.VariableModel]:
    """Return a choice among the values of a label, all of them by default."""
    return (
        builders.QueryVariable(name)
        .label(label)
        .description(about)
        .datasource(PROMETHEUS)
        .query(query)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".+")
        .current(dashboard.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )
