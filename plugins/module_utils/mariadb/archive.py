# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the archive of MariaDB answers, as findings and as a report. Pure.

The program and its answers: images/mariadb-backup/README.md.
"""

from __future__ import annotations

import copy
import datetime as dt
import json
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.findings import Finding
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.snapshot import Snapshot, differences

__all__ = [
    "SOURCE",
    "answers",
    "drill_finding",
    "drill_report",
    "error_of",
    "metrics",
    "range_findings",
    "shown_ranges",
    "until_manifest",
]

SOURCE = "mariadb"
RANGE_TYPE = "mariadb/archive"
DRILL_TYPE = "mariadb/restore"

Facts = Mapping[str, t.Any]


def answers(text: str) -> list[dict[str, t.Any]]:
    """The answers among the lines that the program printed."""
    found = []
    for line in text.splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said, dict):
            found.append(said)
    return found


def error_of(text: str) -> str:
    """What the program, or what ran it, said at last about why it failed."""
    errors = [str(said["error"]) for said in answers(text) if "error" in said]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (errors or lines or ["it said nothing"])[-1]


def shown_ranges(listed: Facts) -> list[str]:
    """Which moments can be restored, the earliest first: what backups reach together is one line."""
    spans: list[tuple[str, str]] = []
    # Times are of one form and zone, so they are ordered as text.
    for begin, end in sorted((entry["from"], entry["until"]) for entry in listed["ranges"] if entry["logs"]):
        if spans and begin <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], end))
        else:
            spans.append((begin, end))
    return [f"{begin} to {end}" for begin, end in spans]


def range_findings(listed: Facts, stale: str, *, resource: str) -> list[Finding]:
    """What is to be said about an archive.

    Args:
        listed: the answer of C(list).
        stale: why C(fresh) refused, or empty.
        resource: name of the archive.
    """
    ranges = shown_ranges(listed)
    message = stale or (f"can be restored: {ranges[-1]}" if ranges else "nothing can be restored")
    verdict = "error" if stale or not ranges else "equal"
    found = [Finding(source=SOURCE, resource=resource, type=RANGE_TYPE, verdict=verdict, live=ranges, message=message)]
    found += [
        Finding(
            source=SOURCE,
            resource=resource,
            type=RANGE_TYPE,
            path=gap["after"],
            verdict="missing",
            message=f"between {gap['after']} and {gap['before']}: {gap['why']}; no moment between can be restored",
        )
        for gap in listed["gaps"]
    ]
    return found


def until_manifest(job: Facts, gtid: str, moment: dt.datetime) -> dict[str, t.Any]:
    """The Job of a drill that restores what a server held at a position of its log.

    Args:
        job: without it.
        gtid: the position.
        moment: when that was.
    """
    made = copy.deepcopy(dict(job))
    [container] = made["spec"]["template"]["spec"]["containers"]
    container["args"] = [*container["args"], "--to", moment.isoformat(), "--until", gtid]
    return made


def drill_report(
    said: Sequence[Facts], error: str, *, instance: str, now: dt.datetime, snapshot: Snapshot | None = None
) -> dict[str, t.Any]:
    """The outcome of a drill, as it is kept.

    Args:
        said: what the program printed.
        error: why it failed, or empty.
        instance: what was restored.
        now: when that was.
        snapshot: what the server held at the moment that was restored, where it was asked.
    """
    done: Facts = next((entry["drill"] for entry in reversed(said) if "drill" in entry), {})
    problems = [*done.get("problems", []), *([error] if error and not done.get("problems") else [])]
    if not done and not problems:
        problems.append("it ended without an answer")
    if done and snapshot and not problems:
        problems = differences(snapshot, done)
    report = {
        "instance": instance,
        "time": now.isoformat(timespec="seconds"),
        "comes_back": not problems,
        "problems": problems,
        "moment": done.get("moment", ""),
        "full": done.get("full", ""),
        "logs": done.get("logs", 0),
        "gtid": dict(done.get("gtid", {})),
        "server_version": done.get("server_version", ""),
        "tables": len(done.get("counts", {})),
        "rows": sum(done.get("counts", {}).values()),
        "counts": dict(done.get("counts", {})),
        "newest": dict(done.get("newest", {})),
        "compared": len(snapshot.counts) if done and snapshot else 0,
        "seconds": dict(done.get("seconds", {})),
    }
    return {**report, "metrics": metrics(report)}


def drill_finding(report: Facts, *, resource: str) -> Finding:
    """The one line: does the data come back."""
    if report["comes_back"]:
        seconds = sum(report["seconds"].values())
        compared = " as the server had them," if report["compared"] else ""
        message = (
            f"the data of {report['moment']} comes back: yes, {report['rows']} rows in {report['tables']} tables,"
            f"{compared} within {seconds:.0f} s"
        )
    else:
        message = f"the data comes back: no, {'; '.join(report['problems'])}"
    return Finding(
        source=SOURCE,
        resource=resource,
        type=DRILL_TYPE,
        verdict="equal" if report["comes_back"] else "error",
        desired="comes back",
        live="comes back" if report["comes_back"] else "does not come back",
        message=message,
    )


def metrics(report: Facts) -> str:
    """The outcome for Prometheus.

    Format: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
    """
    label = report["instance"].replace("\\", "\\\\").replace('"', '\\"')
    lines = []

    def gauge(name: str, text: str, *values: tuple[str, float]) -> None:
        full = f"mariadb_restore_check_{name}"
        lines.extend([f"# HELP {full} {text}", f"# TYPE {full} gauge"])
        lines.extend(f'{full}{{instance="{label}"{more}}} {value:.15g}' for more, value in values)

    gauge("success", "Whether the archived data came back.", ("", float(report["comes_back"])))
    gauge("time_seconds", "When that was tried.", ("", _seconds(report["time"])))
    if report["moment"]:
        gauge("moment_seconds", "The moment that was restored.", ("", _seconds(report["moment"])))
        steps = [(f',step="{step}"', seconds) for step, seconds in sorted(report["seconds"].items())]
        gauge("duration_seconds", "How long each step took.", *steps)
        gauge("rows", "Rows that came back.", ("", report["rows"]))
    return "\n".join(lines) + "\n"


def _seconds(moment: str) -> float:
    return round(dt.datetime.fromisoformat(moment).timestamp())
