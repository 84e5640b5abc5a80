# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Cost of the ARM engine alone, against an Azure in memory: does it grow linearly, and what does it hold?"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from tests.integration.support.lab import ROOT

SIZES = (100, 1000, 5000)

PROGRAM = """
import resource, sys, time
sys.path[:0] = [{collections!r}, {root!r}]
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.runner import Options, run
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.progress import Progress
from tests.unit.module_utils.arm.fake import FakeArm, NET
size = {size}
azure = FakeArm()
documents = []
for number in range(size):
    body = {{"location": "francecentral", "tags": {{"n": str(number)}},
            "properties": {{"securityRules": [{{"name": "r", "properties": {{"priority": 100, "access": "Allow",
            "direction": "Inbound", "protocol": "Tcp", "sourceAddressPrefix": "*", "sourcePortRange": "*",
            "destinationAddressPrefix": "*", "destinationPortRange": "443"}}}}]}}}}
    path = f"{{NET}}/networkSecurityGroups/nsg{{number}}"
    azure.put_there(path, body)
    documents.append({{"id": path, **body}})
started = time.monotonic()
report = run(Options(documents=documents, check_mode=True), lambda: azure, progress=Progress())
seconds = time.monotonic() - started
assert not report.result["changed"] and not report.error, report.result["findings"][:2]
print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def engine_rows() -> Iterator[tuple[str, str, str]]:
    """Yield time per resource and peak memory of a run that has nothing to do, for growing estates."""
    for size in SIZES:
        code = PROGRAM.format(size=size, root=str(ROOT), collections=str(ROOT / ".ansible" / "collections"))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
        seconds, megabytes = map(float, done.stdout.split())
        yield (
            f"engine, {size} resources in memory",
            f"{seconds:.2f} s",
            f"{1000 * seconds / size:.2f} ms each (goal: 15), peak {megabytes:.0f} MB (goal: 300)",
        )
