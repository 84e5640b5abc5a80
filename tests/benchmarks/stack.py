# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Cost of the whole platform on real pods: a run that has nothing to do, and what the pods take while nobody works."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.end_to_end.support.monitoring import Monitoring
from tests.integration.support.lab import UP_TIMEOUT, running_lab
from tests.integration.support.playbook import run_playbook
from tests.lab.nodes.availability import obstacle

REST = 300
"""Seconds over which processor time is looked at."""


def stack_rows() -> Iterator[tuple[str, str, str]]:
    """Yield the seconds of `site.yml` again, then memory and processor of each namespace at rest."""
    if why := obstacle(Path(tempfile.gettempdir())):
        yield "whole stack on real pods", "not measured", why
        return
    with running_lab(LAB_NODES="containers") as lab:
        lab.command("images", timeout=UP_TIMEOUT)
        first = run_playbook(lab, "site", timeout=1800).ok()
        yield "site.yml from nothing, real pods", f"{first.seconds:.0f} s", "with all verified from outside"
        again = run_playbook(lab, "site", timeout=1800).ok()
        assert again.changed == 0, "the platform was to be converged"
        yield "site.yml again, real pods", f"{again.seconds:.0f} s", "with all verified from outside"
        time.sleep(REST)
        monitoring = Monitoring(lab)
        memory = by_namespace(monitoring, 'sum by (namespace) (container_memory_working_set_bytes{container!=""})')
        used = f'sum by (namespace) (rate(container_cpu_usage_seconds_total{{container!=""}}[{REST}s]))'
        cores = by_namespace(monitoring, used)
        for name in sorted(memory, key=memory.__getitem__, reverse=True):
            yield f"  pods of {name} at rest", f"{memory[name] / (1 << 20):.0f} MiB", f"{cores.get(name, 0):.3f} cores"
        total = f"{sum(memory.values()) / (1 << 20):.0f} MiB"
        yield "memory and processor of all pods at rest", total, f"{sum(cores.values()):.2f} cores"


def by_namespace(monitoring: Monitoring, query: str) -> dict[str, float]:
    """Return the answer of an instant query by its namespaces."""
    found = monitoring.ask("query", query=query)["result"]
    return {one["metric"]["namespace"]: float(one["value"][1]) for one in found}
