# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the whole platform in the lab, run it a second time, and say what there is now and how long each part took."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.integration.support.azure import resource_ids, type_of  # noqa: E402
from tests.integration.support.lab import Lab  # noqa: E402

LAB = ROOT / "tests" / "lab" / "lab"
HOME = Path(os.environ.get("LAB_HOME") or ROOT / ".lab")
RECAP = re.compile(r"^\S+ +: ok=\d+ +changed=(\d+)", re.MULTILINE)

times: list[tuple[str, float]] = []


@contextmanager
def step(title: str) -> Iterator[None]:
    """Announce a step and keep its time."""
    print(f"\n=== {title}", flush=True)
    started = time.monotonic()
    yield
    times.append((title, time.monotonic() - started))


def run(*command: str) -> None:
    """Run a command with its output shown; end the demonstration when it fails."""
    print(f"$ {' '.join(command)}", flush=True)
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(f"\nThe demonstration stopped: `{' '.join(command)}` failed, its message is above.")


def changes_of_a_second_run() -> int:
    """Run site.yml again, showing only its totals, and return how many tasks changed something."""
    command = ["ansible-playbook", "-i", "inventories/lab", "playbooks/site.yml"]
    print(f"$ {' '.join(command)}", flush=True)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout[-4000:]}\n{done.stderr[-2000:]}\nThe second run failed.")
    print(done.stdout[done.stdout.index("PLAY RECAP") :].strip())
    return sum(map(int, RECAP.findall(done.stdout)))


def what_was_built() -> Iterator[str]:
    """Count what exists now."""
    lab = Lab(HOME, json.loads((HOME / "lab.json").read_text(encoding="utf-8"))["port"])
    requests, resources = lab.status()["requests"], resource_ids(lab)
    nodes = json.loads(lab.kubectl("get", "nodes", "-o", "json"))["items"]
    objects = lab.kubectl(
        "get", "statefulsets,deployments,gateways,httproutes", "--all-namespaces", "--no-headers",
        "-o", "custom-columns=K:.kind,S:.metadata.namespace,N:.metadata.name",
    ).split("\n")  # fmt: skip
    zones = Counter(node["metadata"]["labels"].get("topology.kubernetes.io/zone") for node in nodes)
    writes = requests["azure"]["write"], requests["kubernetes"]["write"]
    yield f"Azure (simulated): {len(resources)} resources"
    for name, count in sorted(Counter(map(type_of, resources)).items()):
        yield f"  {count:3} {name}"
    yield f"Kubernetes {nodes[0]['status']['nodeInfo']['kubeletVersion']}: {len(nodes)} nodes in {len(zones)} zones"
    for line in filter(None, map(str.strip, objects)):
        yield "  " + " ".join(line.split())
    yield f"Writing requests since the lab was reset: {writes[0]} to Azure, {writes[1]} to the cluster"


def front_door(lab: Lab) -> tuple[str, list[str]]:
    """Return the address of OpenMRS, and the command that asks it for the session: no DNS knows the name."""
    path = "jsonpath={.spec.hostnames[0]}"
    host = lab.kubectl("get", "httproute", "openmrs", "-n", "openmrs", "-o", path).strip()
    place = urlsplit(lab.info["gateway_https"]).netloc
    trusted = ["--cacert", lab.info["acme_roots"], "--connect-to", f"{host}:443:{place}"]
    return f"https://{host}/openmrs/spa", ["curl", "-sS", *trusted, f"https://{host}/openmrs/ws/rest/v1/session"]


def main() -> int:
    """Lab, first run, second run, summary."""
    begun = float(os.environ.get("DEMO_STARTED") or time.time())
    times.append(("Python environment", time.time() - begun))
    with step("Lab: build what is missing, start"):
        run(str(LAB.relative_to(ROOT)), "up")
    lab = Lab(HOME, json.loads((HOME / "lab.json").read_text(encoding="utf-8"))["port"])
    if lab.info["nodes"] == "containers":
        with step("Images: build what pods run, serve it from the lab's registry"):
            run(str(LAB.relative_to(ROOT)), "images")
    with step("First run: from what is there to the whole platform"):
        run("ansible-playbook", "-i", "inventories/lab", "playbooks/site.yml")
    if lab.info["nodes"] == "containers":
        with step("Git: a repository with the chart, from which Argo CD delivers OpenMRS from now on"):
            run(str(LAB.relative_to(ROOT)), "repository")
            run("ansible-playbook", "-i", "inventories/lab", "playbooks/site.yml")
    with step("Another run: nothing to do"):
        changed = changes_of_a_second_run()
    page = HOME / "status.html"
    with step("Page: how each system is"):
        path = json.dumps({"status_page_path": str(page)})
        run("ansible-playbook", "-i", "inventories/lab", "playbooks/status.yml", "-e", path)
    print("\n=== What was built")
    for line in what_was_built():
        print(line)
    if lab.info["nodes"] == "containers":
        url, command = front_door(lab)
        print(f"\n=== OpenMRS answers: {url}")
        if shutil.which("curl"):
            run(*command)
        print()
    print("\n=== Where to look")
    print(f"  {page.as_uri()}")
    print("  make lab-status                             health, addresses, requests")
    print('  eval "$(tests/lab/lab env)"                 then az-like clients, kubectl and helm talk to the lab')
    print("  kubectl get pods --all-namespaces")
    if lab.info["nodes"] == "containers":
        print("  kubectl get --raw /api/v1/namespaces/monitoring/pods/prometheus-0:9090/proxy/api/v1/alerts")
    print("  ansible-playbook -i inventories/lab playbooks/site.yml --check --diff")
    print("  tests/lab/lab reset, make lab-down          begin anew, stop")
    print("\n=== How long it took")
    for title, seconds in times:
        print(f"  {title:55} {seconds:6.0f} s")
    print(f"  {'Together':55} {sum(seconds for _title, seconds in times):6.0f} s")
    if changed:
        print(f"\nThe second run changed {changed} tasks' worth of resources; it should change nothing.")
    return int(changed > 0)


if __name__ == "__main__":
    sys.exit(main())
