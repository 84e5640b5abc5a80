# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure the ARM comparator on recorded exchanges: what was PUT, and what the service answered afterwards.

    PYTHONPATH=.ansible/collections python tests/benchmarks/compare_corpus.py recordings.jsonl.gz [--list] [--json]

A line of the file is a JSON object with `url`, `type`, `desired` (the PUT body) and `live` (the GET that followed).
Nothing has drifted in such a pair, so a difference is a false alarm. A mutant is a pair without a false alarm of which
one leaf of `desired` was changed: not seeing it is a miss, unless nobody can see it there (write-only, read-only), or
the new value means the same (the catalogue lists it as "the service chooses", or nothing is the service's default).
These are counted apart. A benign mutant changes what means nothing to Azure: seeing it is a false alarm as well.
"""

from __future__ import annotations

import argparse
import collections
import copy
import gzip
import itertools
import json
import pathlib
import sys
import typing as t
from collections.abc import Callable, Iterator

from ansible_collections.audioprothese.platform.plugins.module_utils.arm.catalogue import TypeFacts, facts_of
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.compare import Difference, compare
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.ids import looks_like_id

Json = t.Any
Comparator = Callable[[Json, Json, TypeFacts], list[Difference]]
TARGETS = {"false_drift_percent": 2.5, "mutants_caught_percent": 99.8, "benign_reported": 0}


def leaves(value: Json, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Json]]:
    """Every leaf of a document with its place; an empty container is a leaf."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path, value


def with_leaf(document: Json, path: tuple[str | int, ...], value: Json) -> Json:
    """A copy of the document with another value at a place."""
    changed = copy.deepcopy(document)
    target = changed
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    return changed


def pattern_of(path: tuple[str | int, ...]) -> str:
    """The place as a pattern: list positions become []."""
    text = ""
    for step in path:
        text += "[]" if isinstance(step, int) else f".{step}".lower()
    return text.lstrip(".")


def mutants(value: Json) -> Iterator[Json]:
    """Other values that mean something else."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, (int, float)):
        yield value + 1
    elif isinstance(value, str) and value:
        yield f"{value}-changed"
        yield ""


def benign(document: Json) -> Iterator[tuple[str, Json]]:
    """The same document written in another way."""
    for path, value in leaves(document):
        if looks_like_id(value):
            yield "id case", with_leaf(document, path, value.upper())
        elif path and str(path[-1]) == "location" and isinstance(value, str) and value:
            yield "location case", with_leaf(document, path, value.upper())
    for above in {path[: i + 1] for path, _value in leaves(document) for i in range(len(path) - 1)}:
        found: Json = document
        for step in above:
            found = found[step]
        if isinstance(found, list) and len(found) > 1 and all(isinstance(i, dict) and "name" in i for i in found):
            yield "order of a named list", with_leaf(document, above, found[::-1])


def invisible(path: tuple[str | int, ...], facts: TypeFacts) -> bool:
    """Whether a change there cannot be seen, by what is known about the type."""
    pattern = pattern_of(path)
    hidden = facts.read_only | facts.write_only
    return pattern.rpartition(".")[2] in ("etag", "provisioningstate") or any(
        pattern == place or pattern.startswith((f"{place}.", f"{place}[")) for place in hidden
    )


def means_the_same(path: tuple[str | int, ...], mutant: Json, live: Json, facts: TypeFacts) -> bool:
    """Whether the catalogue says that the new value leaves things as they are."""
    pattern = pattern_of(path)
    listed = facts.sentinels.get(pattern, ()) + facts.defaults.get(pattern, ())
    if any(mutant == value and type(mutant) is type(value) for value in listed):
        return True
    return pattern in facts.defaults and mutant in ("", 0) and get_path_of(live, path) is None


def get_path_of(document: Json, path: tuple[str | int, ...]) -> Json:
    """The value at a place, None where there is none."""
    for step in path:
        if isinstance(document, dict):
            document = next((v for k, v in document.items() if str(k).lower() == str(step).lower()), None)
        elif isinstance(document, list) and isinstance(step, int) and step < len(document):
            document = document[step]
        else:
            return None
    return document


def type_of(pair: dict[str, Json]) -> str:
    """The resource type: the corpus writes record sets as one type, the URL tells which."""
    path = pair["url"].partition("?")[0].rstrip("/")
    _scope, _providers, rest = path.rpartition("/providers/")
    parts = rest.split("/")
    return "/".join([parts[0], *parts[1::2]]) if "{" in pair["type"] and len(parts) > 2 else pair["type"]


def measure(pairs: list[dict[str, Json]], comparator: Comparator = compare) -> dict[str, Json]:
    """Hold the comparator against the pairs.

    Returns:
        Counts and percentages, with the places behind them.
    """
    places: set[tuple[str, str]] = set()
    false_places: collections.Counter[tuple[str, str]] = collections.Counter()
    missed: collections.Counter[tuple[str, str]] = collections.Counter()
    alarms: collections.Counter[tuple[str, str]] = collections.Counter()
    totals: collections.Counter[str] = collections.Counter(pairs=len(pairs))
    for pair in pairs:
        facts, desired, live = facts_of(type_of(pair)), pair["desired"], pair["live"]
        differences = [d for d in comparator(desired, live, facts) if d.verdict != "not_verifiable"]
        places.update((pair["type"], pattern_of(path)) for path, _value in leaves(desired))
        false_places.update((pair["type"], difference.pattern) for difference in differences)
        if differences:
            totals["pairs_with_false_drift"] += 1
            continue
        for path, value in leaves(desired):
            if not path or invisible(path, facts):
                continue
            for mutant in mutants(value):
                if means_the_same(path, mutant, live, facts):
                    totals["mutants_of_equal_meaning"] += 1
                    continue
                totals["mutants"] += 1
                seen = comparator(with_leaf(desired, path, mutant), live, facts)
                if any(difference.verdict != "not_verifiable" for difference in seen):
                    totals["mutants_caught"] += 1
                else:
                    missed[pair["type"], f"{pattern_of(path)} {value!r} -> {mutant!r}"] += 1
        for kind, document in itertools.islice(benign(desired), 50):
            totals["benign"] += 1
            if any(d.verdict != "not_verifiable" for d in comparator(document, live, facts)):
                alarms[pair["type"], kind] += 1
    return {
        **totals,
        "places": len(places),
        "false_places": len(false_places),
        "false_drift_percent": round(100 * len(false_places) / max(len(places), 1), 2),
        "mutants_caught_percent": round(100 * totals["mutants_caught"] / max(totals["mutants"], 1), 2),
        "benign_reported": sum(alarms.values()),
        "lists": {
            "false drift": _listed(false_places),
            "missed mutants": _listed(missed),
            "benign mutants reported": _listed(alarms),
        },
    }


def _listed(counter: collections.Counter[tuple[str, str]]) -> list[str]:
    return [f"{count:5} {type_name} {place}" for (type_name, place), count in counter.most_common()]


def read(path: pathlib.Path) -> list[dict[str, Json]]:
    """The pairs of a corpus file, compressed or not, or of the one in a folder."""
    path = path / "recordings.jsonl.gz" if path.is_dir() else path
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream if line.strip()]


def main() -> int:
    """Exit 0 when the targets are reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=pathlib.Path)
    parser.add_argument("--list", action="store_true", help="name the places behind the numbers")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure(read(options.corpus))
    lists = result.pop("lists")
    if options.json:
        print(json.dumps({**result, **({"lists": lists} if options.list else {})}, indent=2))
    else:
        for name, value in result.items():
            print(f"{name:26} {value}")
        for title, lines in lists.items() if options.list else ():
            print(f"\n{title}", *lines, sep="\n")
    reached = (
        result["false_drift_percent"] <= TARGETS["false_drift_percent"]
        and result["mutants_caught_percent"] >= TARGETS["mutants_caught_percent"]
        and result["benign_reported"] <= TARGETS["benign_reported"]
    )
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
