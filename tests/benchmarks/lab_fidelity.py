#!/usr/bin/env python3
# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far the simulated Azure answers as the real one did, place by place.

    python tests/benchmarks/lab_fidelity.py PATH [--worst N] [--json] [--type TEXT]

PATH is a file of recorded exchanges (or the folder that holds `recordings.jsonl.gz`): PUT bodies that Azure accepted,
and what it showed afterwards. Every recorded PUT of a type that the simulator serves is replayed against the simulator
in this process, in a prepared world (`fidelity/world.py` says what is prepared and which rules are off). Several PUTs
of one resource in one recorded session are replayed in their order; a session that recorded only a later PUT is
replayed from nothing, and loses what earlier requests had left.

What is compared: the body of a GET after the PUT has ended. A *place* is one leaf of the recorded answer, or of the
simulator's: `equal`, `different`, `missing` (the simulator does not show it) or `extra` (the recording does not).
The figure is equal / (equal + different + missing + extra), over all exchanges. Values that no server could repeat
(GUIDs, etags, timestamps, allocated addresses, chosen versions: `fidelity/compare.py`) count as equal when their shape
is; they are counted apart. A PUT that the simulator refuses has all of its places missing.

Because most places merely return what was asked, two more figures stand beside it: what an echo of the request
(with id, name and type) would reach, and the figure over the places that the service made by itself. Where the recorded
service chose something that its later requests build on (a Kubernetes version, a network plugin), the replay asks for
that choice; its places are listed under the shape "chosen that day". Ids that the recordings made anonymous are
compared by shape as well.
"By type" is the plain mean over types, so that a type with few recordings counts as much as one with many; "by distinct
place" takes each (type, path) once, with its share of equal occurrences.

Exit codes: 0 measured, 1 below `--require`, 2 no or unreadable recordings.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.fidelity.compare import Place, Verdict, compare
from tests.benchmarks.fidelity.recordings import Recording, RecordingsError, chains, read
from tests.benchmarks.fidelity.world import PERMISSIVE, Refused, World

ENVELOPE = ("id", "name", "type")


@dataclass(kw_only=True)
class Result:
    """Everything measured."""

    places: list[tuple[Recording, Place]] = field(default_factory=list)
    echo: Counter[Verdict] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    replayed: int = 0
    not_served: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


async def measure(recordings: list[Recording], *, only: str = "") -> Result:
    """Replay the recordings of served types; `only` keeps types that contain the text."""
    result, started = Result(), time.monotonic()
    world = World.temporary()
    sessions = defaultdict(list)
    for recording in recordings:
        sessions[recording.source].append(recording)
    try:
        for chain in chains(entry for entry in recordings if only.lower() in entry.type.lower()):
            if not world.serves(chain[0]):
                result.not_served[chain[0].type] += len(chain)
                continue
            await world.start()
            earlier = [entry for entry in sessions[chain[0].source] if entry.number < chain[0].number]
            await world.prepare(chain[0], earlier)
            for recording in chain:
                world.references(recording)
                await _replay(world, recording, result)
    finally:
        await world.close()
    result.seconds = time.monotonic() - started
    return result


async def _replay(world: World, recording: Recording, result: Result) -> None:
    result.replayed += 1
    requested, recorded = world.here(recording.desired), world.here(recording.live)
    try:
        answered = await world.put(recording)
    except Refused as refused:
        result.refused[(recording.type, f"{refused.status} {refused.code}: {refused.message}")] += 1
        answered = {}
    places = compare(requested=requested, recorded=recorded, answered=answered)
    world.learn(places)
    result.places += [(recording, place) for place in places]
    echo = {**requested, **{name: recorded[name] for name in ENVELOPE if name in recorded}}
    result.echo.update(place.verdict for place in compare(requested=requested, recorded=recorded, answered=echo))


def ratio(verdicts: Counter[Verdict]) -> float:
    """Equal places as a share of all, 0 when there are none."""
    return verdicts[Verdict.EQUAL] / max(1, sum(verdicts.values()))


def summary(result: Result) -> dict[str, Any]:
    """All figures, JSON-safe."""
    places = result.places
    by_type: dict[str, Counter[Verdict]] = defaultdict(Counter)
    distinct: dict[tuple[str, str], Counter[Verdict]] = defaultdict(Counter)
    for recording, place in places:
        by_type[recording.type][place.verdict] += 1
        distinct[(recording.type, place.pattern)][place.verdict] += 1
    overall = Counter(place.verdict for _, place in places)
    made = Counter(place.verdict for _, place in places if not place.asked)
    by_value = Counter(place.verdict for _, place in places if not place.shape)
    types = {name: _figures(found) for name, found in sorted(by_type.items())}
    return {
        "replayed": result.replayed,
        "seconds": round(result.seconds, 1),
        "overall": _figures(overall),
        "by_shape": dict(Counter(place.shape for _, place in places if place.shape)),
        "by_value_only": _figures(by_value),
        "made_by_the_service": _figures(made),
        "echo": _figures(result.echo),
        "mean_by_type": round(_mean(found["ratio"] for found in types.values()), 4),
        "mean_by_distinct_place": round(_mean(ratio(found) for found in distinct.values()), 4),
        "types": types,
        "refused": [
            {"type": name, "error": text, "count": count} for (name, text), count in result.refused.most_common()
        ],
        "not_served": dict(result.not_served),
        "rules_off": list(PERMISSIVE),
        "worst": _worst(places),
    }


def _figures(verdicts: Counter[Verdict]) -> dict[str, Any]:
    return {
        "ratio": round(ratio(verdicts), 4),
        "places": sum(verdicts.values()),
        **{v.value: verdicts[v] for v in Verdict},
    }


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / max(1, len(found))


def _worst(places: list[tuple[Recording, Place]]) -> list[dict[str, Any]]:
    rows: dict[tuple[str, str, str], list[Place]] = defaultdict(list)
    for recording, place in places:
        if place.verdict is not Verdict.EQUAL:
            rows[(recording.type, place.pattern, place.verdict.value)].append(place)
    ordered = sorted(rows.items(), key=lambda row: (-len(row[1]), row[0]))
    return [
        {
            "type": name,
            "path": path,
            "verdict": verdict,
            "count": len(found),
            "recorded": found[0].recorded,
            "answered": found[0].answered,
        }
        for (name, path, verdict), found in ordered
    ]


def report(figures: dict[str, Any], *, worst: int) -> str:
    """The figures for people."""
    overall, made, echo = figures["overall"], figures["made_by_the_service"], figures["echo"]
    by_value = figures["by_value_only"]
    shapes = figures["by_shape"]
    lines = [
        f"{figures['replayed']} recorded PUTs replayed in {figures['seconds']} s, {overall['places']} places compared",
        "",
        f"equal                    {overall['ratio']:7.1%}   (different {overall['different']}, "
        f"missing {overall['missing']}, extra {overall['extra']})",
        f"  of these by shape      {sum(shapes.values()):7d}   {_inline(shapes)}",
        f"  without those          {by_value['ratio']:7.1%}   of {by_value['places']} places",
        f"  an echo would reach    {echo['ratio']:7.1%}",
        f"  made by the service    {made['ratio']:7.1%}   of {made['places']} places that the request did not name",
        f"  mean by type           {figures['mean_by_type']:7.1%}",
        f"  mean by distinct place {figures['mean_by_distinct_place']:7.1%}",
        "",
    ]
    width = max(map(len, figures["types"]), default=0)
    for name, row in figures["types"].items():
        rest = f"different {row['different']:4d}  missing {row['missing']:4d}  extra {row['extra']:4d}"
        lines.append(f"{name:{width}}  {row['ratio']:6.1%}  {row['places']:6d} places  {rest}")
    if figures["refused"]:
        lines += ["", "refused, though the service accepted them:"]
        lines += [f"  {row['count']:4d}  {row['type']}  {row['error'][:160]}" for row in figures["refused"]]
    if worst:
        lines += ["", f"the {worst} most frequent of {len(figures['worst'])} places that are not equal:"]
        for row in figures["worst"][:worst]:
            values = f"{_short(row['recorded'])} -> {_short(row['answered'])}"
            lines.append(f"  {row['count']:4d}  {row['verdict']:9}  {row['type']}  {row['path']}  {values}")
    lines += ["", f"not served: {_inline(figures['not_served'])}", f"rules off: {', '.join(figures['rules_off'])}"]
    return "\n".join(lines)


def _inline(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda row: -row[1])) or "none"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Compare the simulated Azure with recorded exchanges, place by place.")
    parser.add_argument("path", nargs="?", type=Path, help="recordings.jsonl.gz, or the folder that holds it")
    parser.add_argument(
        "--worst", type=int, default=25, metavar="N", help="list the N most frequent differences (default 25)"
    )
    parser.add_argument("--type", default="", metavar="TEXT", help="only types that contain TEXT")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON")
    parser.add_argument(
        "--require", type=float, default=0.0, metavar="SHARE", help="exit 1 below this share of equal places"
    )
    options = parser.parse_args(arguments)
    if options.path is None:
        print("lab_fidelity: no recordings given. Name the file or folder with recordings.jsonl.gz.", file=sys.stderr)
        return 2
    try:
        recordings = read(options.path)
    except RecordingsError as exc:
        print(f"lab_fidelity: cannot read the recordings: {exc}", file=sys.stderr)
        return 2
    figures = summary(asyncio.run(measure(recordings, only=options.type)))
    print(json.dumps(figures, indent=2) if options.json else report(figures, worst=options.worst))
    return 1 if figures["overall"]["ratio"] < options.require else 0


if __name__ == "__main__":
    sys.exit(main())
