# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""The measure of fidelity itself: it sees what is wrong, and says so when it has nothing to measure."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import lab_fidelity
from tests.benchmarks.fidelity import world
from tests.benchmarks.fidelity.compare import Verdict, compare
from tests.benchmarks.fidelity.recordings import Recording, chains

SUBSCRIPTION = "/subscriptions/00000000-0000-0000-0000-000000000000"
TABLE = f"{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Network/routeTables/egress"


def recording(**changes: Any) -> dict[str, Any]:
    """A hand-made exchange with a route table, in the shape of the recorded ones."""
    row = {
        "type": "Microsoft.Network/routeTables",
        "api_version": "2024-05-01",
        "url": TABLE,
        "kind": "create",
        "source": "hand-made",
        "desired": {"location": "westeurope", "tags": {"a": "b"}},
        "live": {
            "id": TABLE,
            "name": "egress",
            "type": "Microsoft.Network/routeTables",
            "location": "westeurope",
            "tags": {"a": "b"},
            "etag": 'W/"0e5c637a-6566-4de7-b71e-ff590caadea5"',
            "properties": {
                "provisioningState": "Succeeded",
                "resourceGuid": "570be78d-6837-47cf-b40b-6d3ecfb512b7",
                "disableBgpRoutePropagation": False,
                "routes": [],
            },
        },
    }
    return {**row, **changes}


def measured(*rows: dict[str, Any]) -> dict[str, Any]:
    recordings = [Recording(**row, number=number) for number, row in enumerate(rows)]
    return lab_fidelity.summary(asyncio.run(lab_fidelity.measure(recordings)))


def verdicts(requested: Any, recorded: Any, answered: Any) -> dict[str, str]:
    places = compare(requested=requested, recorded=recorded, answered=answered)
    return {place.path: place.verdict.value for place in places}


def test_a_faithful_answer_is_equal_and_shapes_are_counted_apart() -> None:
    figures = measured(recording())
    assert figures["overall"] == {"ratio": 1.0, "places": 10, "equal": 10, "different": 0, "missing": 0, "extra": 0}
    assert figures["by_shape"] == {"etag": 1, "guid": 1}
    assert figures["by_value_only"]["places"] == 8
    assert figures["echo"]["equal"] == 5


def test_a_default_taken_out_of_the_data_lowers_the_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = "Microsoft.Network/routeTables#default:properties.disableBgpRoutePropagation"
    monkeypatch.setattr(world, "PERMISSIVE", (*world.PERMISSIVE, rule))
    figures = measured(recording())
    assert figures["overall"]["missing"] == 1
    assert figures["worst"][0]["path"] == "properties.disableBgpRoutePropagation"


def test_what_is_refused_counts_as_missing() -> None:
    figures = measured(recording(api_version="1999-01-01"))
    assert figures["overall"]["missing"] == 10
    assert figures["refused"][0]["count"] == 1


def test_later_requests_of_a_session_build_on_the_first() -> None:
    live = recording()["live"] | {"tags": {"c": "d"}}
    # The client sends back what it had read: the service's own GUID comes back unchanged.
    desired = {
        "location": "westeurope",
        "tags": {"c": "d"},
        "properties": {"resourceGuid": live["properties"]["resourceGuid"]},
    }
    figures = measured(recording(), recording(kind="update", desired=desired, live=live))
    assert figures["overall"]["ratio"] == 1.0
    assert figures["replayed"] == 2


@pytest.mark.parametrize(
    ("recorded", "answered", "verdict"),
    [
        ({"a": 1}, {"a": 1.0}, "equal"),
        ({"a": 1}, {"a": True}, "different"),
        ({"a": 30}, {"a": 31}, "different"),
        ({"a": False}, {}, "missing"),
        ({}, {"a": None}, "extra"),
        ({"a": "Standard"}, {"a": "standard"}, "different"),
        ({"a": "2024-01-01T00:00:00Z"}, {"a": "2026-11-23T04:05:06.123456Z"}, "equal"),
        ({"a": "2024-01-01T00:00:00Z"}, {"a": "now"}, "different"),
        ({"a": "20.1.2.3"}, {"a": "20.74.0.4"}, "equal"),
        ({"a": "20.1.2.3"}, {"a": "10.0.0.4"}, "different"),
    ],
)
def test_verdict_of_one_place(recorded: Any, answered: Any, verdict: str) -> None:
    assert verdicts({}, recorded or {"b": 0}, {**answered, **({} if recorded else {"b": 0})}).get("a") == verdict


def test_a_volatile_value_that_the_client_sent_has_to_come_back() -> None:
    theirs, mine = "570be78d-6837-47cf-b40b-6d3ecfb512b7", "11111111-2222-4333-8444-555555555555"
    assert verdicts({}, {"tenant": theirs}, {"tenant": mine}) == {"tenant": Verdict.EQUAL}
    assert verdicts({"tenant": theirs}, {"tenant": theirs}, {"tenant": mine}) == {"tenant": Verdict.DIFFERENT}


def test_named_items_are_compared_by_name() -> None:
    recorded = {"rules": [{"name": "a", "x": 1}, {"name": "b", "x": 2}]}
    answered = {"rules": [{"name": "b", "x": 2}]}
    assert verdicts({}, recorded, answered) == {
        "rules[a].name": "missing",
        "rules[a].x": "missing",
        "rules[b].name": "equal",
        "rules[b].x": "equal",
    }


def test_chains_keep_the_order_of_a_session() -> None:
    rows = [recording(source="b"), recording(source="a"), recording(source="a", kind="update")]
    found = list(chains(Recording(**row, number=number) for number, row in enumerate(rows)))
    assert [[entry.kind for entry in chain] for chain in found] == [["create", "update"], ["create"]]


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lab_fidelity.main([]) == 2
    assert "no recordings given" in capsys.readouterr().err
    assert lab_fidelity.main([str(tmp_path)]) == 2
    assert "cannot read" in capsys.readouterr().err
    with gzip.open(tmp_path / "recordings.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(json.dumps(recording()) + "\n" + json.dumps(recording(api_version="1999-01-01", source="c")) + "\n")
    assert lab_fidelity.main([str(tmp_path), "--worst", "3"]) == 0
    text = capsys.readouterr().out
    assert "50.0%" in text
    assert "refused, though the service accepted them" in text
    assert lab_fidelity.main([str(tmp_path), "--require", "0.8", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["overall"]["ratio"] == 0.5
