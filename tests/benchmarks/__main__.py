# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`make bench`: our modules beside their peers, in one run on one machine. Quote the ratios, not the seconds.

    python -m tests.benchmarks [--corpus PATH] [--objects N]

It builds the whole estate in a lab of its own with 20 ms of simulated latency per ARM request, and measures a run that
has nothing to do: ours, then the same reads as tasks of the collections a user would otherwise write. At the end it
builds the whole platform on real pods, and says what a second run of it takes and what its pods do at rest.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.benchmarks.engine import engine_rows
from tests.benchmarks.stack import stack_rows
from tests.integration.support.lab import ROOT, Lab, running_lab
from tests.integration.support.playbook import run_playbook

PEERS = Path(__file__).parent / "peers"
LATENCY_MS = 20
SAMPLE = 10
"""Tasks of a peer that are timed; the rest of the estate is scaled from them."""

Row = tuple[str, str, str]


def median_of(measure: Callable[[], float], times: int = 3) -> float:
    """Return the median of a few measurements."""
    return statistics.median(measure() for _ in range(times))


def python_seconds(statement: str) -> float:
    """Return how long a new interpreter takes for a statement, less what it takes for nothing."""

    def run(code: str) -> float:
        started = time.monotonic()
        subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
        return time.monotonic() - started

    path = f"import sys; sys.path.insert(0, {str(ROOT / '.ansible' / 'collections')!r})"
    return median_of(lambda: run(f"{path}; {statement}"), 5) - median_of(lambda: run(path), 5)


def import_rows() -> Iterator[Row]:
    """Yield the import time of each module."""
    for module in ("arm_resources", "k8s_applyset", "key_vault_secrets"):
        name = f"ansible_collections.audioprothese.platform.plugins.modules.{module}"
        yield f"import {module}", f"{python_seconds(f'import {name}'):.2f} s", "goal: at most 0.5 s"


def peer_seconds(lab: Lab, playbook: str) -> float:
    """Return the seconds of a peer playbook."""
    variables = {**lab.client_environment, "KUBECONFIG": str(lab.info["admin_kubeconfig"])}
    run = run_playbook(lab, str(PEERS / f"{playbook}.yml"), variables=variables, extra={"sample": SAMPLE})
    return run.ok().seconds


def estate_rows(lab: Lab) -> Iterator[Row]:
    """Yield the no-op run of the whole estate, and the same as tasks of the peers."""
    run_playbook(lab, "site").ok()
    noop = run_playbook(lab, "site", "--check", "--skip-tags", "verify").ok()
    assert noop.changed == 0, "the estate was to be converged"
    results = noop.convergences
    counts = {name: len(result["resources"]) for name, result in results.items()}
    azure, objects = counts["arm_resources"], counts["k8s_applyset"]
    yield f"drift run, {azure} Azure resources and {objects} objects", f"{noop.seconds:.1f} s", "goal: less than 10 s"
    for name, result in results.items():
        per_item = 1000 * result["timing"]["total"] / max(1, counts[name])
        yield f"  of it {name}", f"{result['timing']['total']:.2f} s", f"{per_item:.0f} ms per resource"
    nothing = peer_seconds(lab, "nothing")
    kubernetes = max(0.001, peer_seconds(lab, "kubernetes_core") - nothing) / SAMPLE
    peers = kubernetes * (azure + objects)
    yield "one kubernetes.core.k8s task", f"{kubernetes:.2f} s", f"median task of a loop over {SAMPLE} objects"
    yield (
        "the estate as one peer task per resource",
        f"{peers:.0f} s",
        f"{peers / noop.seconds:.0f} x ours (goal: 50); scaled from the sample, an Azure task counted as one of these",
    )


def memory_of(lab: Lab) -> int:
    """Return the bytes that the parts of a lab have for themselves, and their shares of what they share."""
    kib = 0
    for part in lab.status()["parts"].values():
        lines = Path(f"/proc/{part['pid']}/smaps_rollup").read_text(encoding="ascii").splitlines()
        kib += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib << 10


def lab_rows(lab: Lab) -> Iterator[Row]:
    """Yield the memory of a lab with a cluster, and how long one takes to start anew, once built, and to forget."""
    yield "memory of a lab, simulated nodes", f"{memory_of(lab) >> 20} MiB", "goal: at most 1024 MiB"
    lab.command("down", "--purge")
    for name, act, goal in (("start of a lab", lab.up, "at most 15 s"), ("reset of a lab", lab.reset, "none")):
        started = time.monotonic()
        act()
        yield name, f"{time.monotonic() - started:.1f} s", f"goal: {goal}"


def corpus_rows(corpus: str) -> Iterator[Row]:
    """Yield what the two measurements on recorded exchanges say."""
    for title, script in (("comparison", "compare_corpus"), ("simulator", "lab_fidelity")):
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, str(ROOT / "tests" / "benchmarks" / f"{script}.py"), corpus],
            env={**os.environ, "PYTHONPATH": str(ROOT / ".ansible" / "collections")},
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
        print(f"\n--- {title} on recorded exchanges ({time.monotonic() - started:.0f} s)\n{done.stdout}{done.stderr}")
        yield f"{title} on recorded exchanges", "see above", f"exit code {done.returncode}"


def main() -> int:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description="Measure our modules beside their peers.")
    parser.add_argument("--corpus", help="folder or file of recorded ARM exchanges")
    arguments = parser.parse_args()
    rows = [*import_rows(), *engine_rows()]
    with running_lab(LAB_LATENCY_MS=str(LATENCY_MS)) as lab:
        rows += estate_rows(lab)
        rows += lab_rows(lab)
    rows += stack_rows()
    if arguments.corpus:
        rows += corpus_rows(arguments.corpus)
    else:
        rows.append(("recorded exchanges", "not measured", "give their path: make bench CORPUS=…"))
    print()
    for name, figure, remark in rows:
        print(f"{name:58} {figure:>12}  {remark}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
