# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw the dashboards with what Prometheus answers, for somebody who reviews them without Grafana.

Layout, colours, thresholds, texts and units are those of the dashboards; how it looks in detail is not Grafana.
Run alone it asks the lab in `$LAB_HOME` (or `.lab`) and writes into `.cache/dashboards`.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import math
import os
import re
import sys
import textwrap
import zoneinfo
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.dates import DateFormatter, MinuteLocator, date2num
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)] if str(ROOT) not in sys.path else []

from tests.end_to_end.support.dashboards import DASHBOARDS, Answers, answers, asked  # noqa: E402
from tests.end_to_end.support.monitoring import Monitoring  # noqa: E402
from tests.integration.support.lab import Lab  # noqa: E402

mpl.use("agg")

Json = dict[str, Any]
PARIS = zoneinfo.ZoneInfo("Europe/Paris")
BACKGROUND, PANEL, TEXT, DIM = "#111217", "#181b1f", "#d8d9da", "#8e8f93"
COLOURS = {
    "green": "#3d8b40",
    "orange": "#d9822b",
    "red": "#c4314b",
    "blue": "#3274d9",
    "yellow": "#b8a11d",
    "purple": "#7d4fb3",
    "text": TEXT,
}
SERIES = ["#73bf69", "#5794f2", "#ff9830", "#b877d9", "#f2495c", "#fade2a", "#37872d", "#8ab8ff", "#ca95e5", "#ffb357"]
# A column of the grid in inches, a row of it, and what lies between two panels.
WIDE, HIGH, GAP = 0.72, 0.34, 0.06


def draw(dashboard: Json, found: Answers, path: Path) -> None:
    """Draw a dashboard and its answers into a file."""
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    width, height = 24 * WIDE, (rows + 2) * HIGH
    figure = Figure(figsize=(width, height), facecolor=BACKGROUND)
    figure.text(0.01, 1 - 0.6 * HIGH / height, dashboard["title"], color=TEXT, fontsize=15, va="center")
    about = textwrap.shorten(dashboard["description"], 190)
    figure.text(0.01, 1 - 1.4 * HIGH / height, about, color=DIM, fontsize=8, va="center")
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        left, top = place.get("x", 0) * WIDE, (place["y"] + 2) * HIGH
        box = (
            left + GAP,
            height - top - place["h"] * HIGH + GAP,
            place["w"] * WIDE - 2 * GAP,
            place["h"] * HIGH - 2 * GAP,
        )
        if panel["type"] == "row":
            figure.text(box[0] / width, (box[1] + 0.06) / height, f"⌄ {panel['title']}", color=TEXT, fontsize=10)
            continue
        series = [(query, one) for query, result in found.items() if query.panel == panel["id"] for one in result]
        _panel(figure, panel, series, box, (width, height))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def _panel(figure: Figure, panel: Json, series: list[Any], box: tuple[float, ...], size: tuple[float, float]) -> None:
    left, bottom, wide, high = box
    width, height = size
    frame = figure.add_axes((left / width, bottom / height, wide / width, high / height), facecolor=PANEL)
    frame.set(xticks=[], yticks=[], xlim=(0, wide), ylim=(0, high))
    for spine in frame.spines.values():
        spine.set_color("#2c3235")
    title = textwrap.shorten(panel["title"], max(10, int(wide * 11)), placeholder="…")
    frame.text(0.08, high - 0.06, title, color=TEXT, fontsize=8, va="top", zorder=5)
    values = [(query, one["metric"], _samples(one)) for query, one in series]
    values = [(query, metric, samples) for query, metric, samples in values if samples]
    if panel["type"] == "stat":
        _stat(frame, panel, values, wide, high)
    elif panel["type"] == "table":
        _table(frame, panel, values, wide, high)
    elif panel["type"] == "bargauge":
        _bars(frame, panel, values, wide, high)
    elif not values:
        _nothing(frame, panel, wide, high)
    else:
        margin = 0.9 if panel["type"] == "timeseries" else 1.7
        inner = (
            (left + margin) / width,
            (bottom + 0.62) / height,
            (wide - margin - 0.15) / width,
            (high - 1.0) / height,
        )
        axes = figure.add_axes(inner, facecolor=PANEL)
        axes.tick_params(colors=DIM, labelsize=7, length=2)
        for spine in axes.spines.values():
            spine.set_visible(False)
        (_lines if panel["type"] == "timeseries" else _states)(axes, panel, values)
        _time(axes)


def _samples(one: Json) -> list[tuple[float, float]]:
    pairs = one.get("values") or [one["value"]]
    found = [(float(moment), float(value)) for moment, value in pairs]
    return [(moment, value) for moment, value in found if math.isfinite(value)]


def _name(query: Any, metric: Mapping[str, str]) -> str:
    if query.legend == "__auto":
        return ", ".join(f"{key}={value}" for key, value in sorted(metric.items())) or query.title
    return re.sub(r"{{(\w+)}}", lambda found: metric.get(found[1], ""), query.legend)


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 1]}…"


def _mapping(panel: Json, value: float) -> Json:
    for mapping in panel["fieldConfig"]["defaults"].get("mappings", []):
        if found := mapping["options"].get(f"{value:g}"):
            return dict(found)
    return {}


def _colour(panel: Json, value: float) -> str:
    chosen = "text"
    for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            chosen = step["color"]
    return COLOURS[_mapping(panel, value).get("color", chosen)]


def shown(value: float, unit: str, decimals: int | None = None) -> str:
    """Write a value with its unit, much as Grafana does."""
    digits = decimals if decimals is not None else (0 if value == round(value) else 2)
    if unit == "percentunit":
        digits = digits if decimals is not None or abs(value * 100 - round(value * 100)) > 1e-9 else 0
        return f"{value * 100:.{digits}f} %"
    if unit == "dtdhms":
        days, rest = divmod(int(value), 86400)
        return f"{days}j {rest // 3600:02}:{rest % 3600 // 60:02}:{rest % 60:02}"
    if unit in ("bytes", "Bps"):
        power = min(4, int(math.log(max(abs(value), 1), 1024)))
        name = ("o", "Kio", "Mio", "Gio", "Tio")[power] + "/s" * (unit == "Bps")
        return f"{value / 1024**power:.{decimals or 1}f} {name}"
    if unit == "s" and value < 1:
        return f"{value * 1000:.0f} ms"
    suffix = {"s": " s", "ops": "/s"}.get(unit, unit.removeprefix("suffix:") if unit.startswith("suffix:") else "")
    return f"{value:,.{digits}f}".replace(",", " ") + suffix


def _unit(panel: Json) -> tuple[str, int | None]:
    defaults = panel["fieldConfig"]["defaults"]
    return defaults["unit"], defaults.get("decimals")


def _nothing(frame: Axes, panel: Json, wide: float, high: float) -> None:
    text = panel["fieldConfig"]["defaults"]["noValue"]
    frame.text(wide / 2, high / 2 - 0.1, text, color=DIM, fontsize=11, ha="center", va="center")


def _stat(frame: Axes, panel: Json, values: list[Any], wide: float, high: float) -> None:
    if not values:
        (nothing,) = (
            one["options"]["result"]
            for one in panel["fieldConfig"]["defaults"]["mappings"]
            if "match" in one["options"]
        )
        frame.set_facecolor(COLOURS[nothing["color"]])
        frame.text(wide / 2, high / 2 - 0.1, nothing["text"], color="white", fontsize=13, ha="center", va="center")
        return
    value = values[0][2][-1][1]
    plain = panel["options"]["colorMode"] == "value"
    colour = _colour(panel, value)
    if not plain:
        frame.set_facecolor(colour)
    text = _mapping(panel, value).get("text") or shown(value, *_unit(panel))
    size = min(26, 16 * wide / max(len(text) * 0.16, 1.2))
    frame.text(
        *(wide / 2, high / 2 - 0.1, text),
        color=colour if plain else "white",
        fontsize=size,
        ha="center",
        va="center",
        weight="bold",
    )


def _bars(frame: Axes, panel: Json, values: list[Any], wide: float, high: float) -> None:
    if not values:
        _nothing(frame, panel, wide, high)
        return
    now = [(_name(query, metric), samples[-1][1]) for query, metric, samples in values]
    most = panel["fieldConfig"]["defaults"].get("max") or max(value for _, value in now) or 1
    each = (high - 0.5) / len(now)
    for index, (name, value) in enumerate(now):
        y = high - 0.4 - (index + 0.5) * each
        long = (wide * 0.45) * min(1, max(value, 0) / most)
        frame.barh(y, wide * 0.45, each * 0.5, left=wide * 0.38, color="#22252b")
        frame.barh(y, long, each * 0.5, left=wide * 0.38, color=_colour(panel, value))
        label = _cut(name, 40)
        frame.text(wide * 0.365, y, label, color=TEXT, fontsize=7, ha="right", va="center")
        frame.text(wide * 0.85, y, shown(value, *_unit(panel)), color=TEXT, fontsize=8, va="center")


def _columns(panel: Json) -> Iterator[tuple[str, str]]:
    (options,) = (step["options"] for step in panel["transformations"] if step["id"] == "organize")
    for name in sorted(options["indexByName"], key=options["indexByName"].get):
        yield name, options["renameByName"][name]


def _overridden(panel: Json, option: str) -> dict[str, Any]:
    """What fields have in place of the option of all, by their name."""
    return {
        override["matcher"]["options"]: item["value"]
        for override in panel["fieldConfig"].get("overrides", [])
        for item in override["properties"]
        if item["id"] == option
    }


def _table(frame: Axes, panel: Json, values: list[Any], wide: float, high: float) -> None:
    if not values:
        _nothing(frame, panel, wide, high)
        return
    columns, texts = list(_columns(panel)), _overridden(panel, "mappings")
    heights = [high - 0.45 - 0.2 * index for index in range(int((high - 0.4) / 0.2))]
    spread = [4.0 if name == "summary" else 1.0 for name, _ in columns]
    lefts = [0.1 + (wide - 0.2) * sum(spread[:index]) / sum(spread) for index in range(len(columns))]
    for left, (_, heading) in zip(lefts, columns, strict=True):
        frame.text(left, heights[0], heading, color="#6e9fff", fontsize=7, va="center")
    for y, (_, metric, samples) in zip(heights[1:], values, strict=False):
        for left, share, (name, heading) in zip(lefts, spread, columns, strict=True):
            raw = shown(samples[-1][1], *_unit(panel)) if name == "Value" else metric.get(name, "")
            told = texts[heading][0]["options"].get(raw, {}) if heading in texts else {}
            colour = COLOURS.get(told.get("color", ""), _colour(panel, samples[-1][1]) if name == "Value" else TEXT)
            text = _cut(told.get("text", raw), max(6, int(wide * share / sum(spread) * 13)))
            frame.text(left, y, text, color=colour, fontsize=7, va="center")


def _lines(axes: Axes, panel: Json, values: list[Any]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    stacked = defaults["custom"].get("stacking", {}).get("mode") == "normal"
    times = sorted({moment for _, _, samples in values for moment, _ in samples})
    below, highest = [0.0] * len(times), 0.0
    for index, (query, metric, samples) in enumerate(values):
        known = dict(samples)
        heights = [known.get(moment, math.nan) for moment in times]
        colour = SERIES[index % len(SERIES)]
        name = _name(query, metric)
        label = _cut(_overridden(panel, "displayName").get(name, name), 34)
        dates = [date2num(dt.datetime.fromtimestamp(moment, PARIS)) for moment in times]
        if stacked:
            heights = [low + (0 if math.isnan(high) else high) for low, high in zip(below, heights, strict=True)]
            axes.fill_between(dates, below, heights, color=colour, alpha=0.35, linewidth=0)
            below = heights
        axes.plot(dates, heights, color=colour, linewidth=1.2, label=label)
        highest = max([highest, *(value for value in heights if not math.isnan(value))])
    most = defaults.get("max") or highest * 1.15 or 1.0
    steps = defaults["thresholds"]["steps"]
    if len(steps) > 1:
        for low, high in itertools.pairwise(steps):
            colour = COLOURS[high["color"] if high["color"] != "green" else low["color"]]
            if high["value"] <= most * 2:
                most = max(most, high["value"] * 1.1)
                axes.axhline(high["value"], color=colour, linewidth=0.9, linestyle="--")
    axes.set_ylim(0, most)
    unit = defaults["unit"]
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(float(value), unit)))
    axes.grid(axis="y", color="#2c3235", linewidth=0.5)
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(-0.06, -0.14),
        ncols=4,
        fontsize=6.5,
        frameon=False,
        labelcolor=TEXT,
        handlelength=1,
        columnspacing=1,
    )


def _states(axes: Axes, panel: Json, values: list[Any]) -> None:
    for index, (_query, _metric, samples) in enumerate(values):
        step = min((later[0] - one[0] for one, later in itertools.pairwise(samples)), default=15.0)
        for moment, value in samples:
            start = date2num(dt.datetime.fromtimestamp(moment, PARIS))
            axes.barh(-index, step / 86400, 0.8, left=start, color=_colour(panel, value), linewidth=0)
    names = [_cut(_name(query, metric), 24) for query, metric, _ in values]
    axes.set_yticks([-index for index in range(len(values))], names)


def _time(axes: Axes) -> None:
    first, last = axes.get_xlim()
    if last - first > 1:
        # A single moment, which matplotlib gives years: half an hour around it.
        middle = (first + last) / 2
        first, last = axes.set_xlim(middle - 1 / 96, middle + 1 / 96)
    minutes = max(1, round((last - first) * 1440 / 6))
    axes.xaxis.set_major_locator(MinuteLocator(byminute=range(0, 60, min(30, minutes)), tz=PARIS))
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M", tz=PARIS))


def main() -> int:
    """Ask the lab and draw everything."""
    home = Path(os.environ.get("LAB_HOME", ROOT / ".lab"))
    lab = Lab(home, json.loads((home / "lab.json").read_text(encoding="utf-8"))["port"])
    found = answers(Monitoring(lab).ask, list(asked()))
    for name, dashboard in DASHBOARDS.items():
        path = ROOT / ".cache" / "dashboards" / f"{name}.png"
        draw(dashboard, {query: result for query, result in found.items() if query.dashboard == name}, path)
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
