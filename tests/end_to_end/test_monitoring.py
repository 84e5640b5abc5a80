"""Prometheus sees everything that is declared, and what goes wrong reaches who has to know of it."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.end_to_end.conftest import Platform
from tests.end_to_end.support.certificates import expiring
from tests.end_to_end.support.monitoring import RECEIVER_URL, TOLD_AT_ONCE, Monitoring, receiver
from tests.end_to_end.support.pods import await_rollouts
from tests.integration.support.lab import ROOT
from tests.integration.support.lab_vault import set_secret
from tests.integration.support.waiting import until

RULES = ROOT / "roles" / "prometheus" / "files" / "rules"
WORKLOADS = yaml.safe_load((ROOT / "roles" / "platform" / "defaults" / "main.yml").read_text())["platform_workloads"]
JOBS = {"blackbox-openmrs", "cadvisor", "kubelet", "mysqld", "node-exporter"} | {
    workload["metrics"].get("job", name)
    for name, workload in WORKLOADS.items()
    # Left out of the lab.
    if "metrics" in workload and name != "grafana" and workload["namespace"] != "argocd"
}
SECONDS = 300
# And to stand still means a minute, and a full backup is old after two.
QUICK: dict[str, Any] = {
    **TOLD_AT_ONCE,
    "prometheus_alert_overrides": {
        "BackupArchiveStandsStill": {"expr": "(time() - max(mariadb_archive_reached_seconds)) / 60 > 1.5"},
        "BackupFullTooOld": {"expr": "(time() - max(mariadb_archive_full_time_seconds)) / 60 > 2"},
    },
}


@pytest.fixture(scope="module")
def monitoring(platform: Platform) -> Iterator[Monitoring]:
    """Give Prometheus with short delays, and a receiver of everything."""
    set_secret(platform.lab, "alerts-test", RECEIVER_URL)
    # There before Alertmanager knows of it, and until it has forgotten it: what cannot be told is an alert, too.
    with receiver(platform.lab) as found:
        platform.declared |= QUICK
        platform.deploy("prometheus").ok()
        until(lambda: "Watchdog" in found.firing(), "Prometheus has read its rules", SECONDS)
        yield found
        for name in QUICK:
            del platform.declared[name]
        platform.deploy("prometheus").ok()


def test_every_declared_target_is_there_and_up(monitoring: Monitoring) -> None:
    def missing() -> dict[str, Any]:
        targets = monitoring.targets()
        down = {job: {url: why for url, why in found.items() if why} for job, found in targets.items()}
        return {**dict.fromkeys(JOBS - set(targets), "no target"), **{job: urls for job, urls in down.items() if urls}}

    with contextlib.suppress(AssertionError):
        until(lambda: not missing(), "every target is up", SECONDS, every=5)
    assert missing() == {}
    assert set(monitoring.targets()) == JOBS


def test_every_rule_is_loaded_and_works(monitoring: Monitoring) -> None:
    groups = [group for path in RULES.glob("*.yml") for group in yaml.safe_load(path.read_text())["groups"]]
    declared = {rule.get("alert", rule.get("record")) for group in groups for rule in group["rules"]}
    assert monitoring.rules() == dict.fromkeys(declared, "")


def test_what_is_well_is_quiet(monitoring: Monitoring) -> None:
    # What other tests have left: no restore check, or one that had to fail.
    told = {"Watchdog", "BackupProofMissing", "BackupDoesNotComeBack", "BackupFullTooOld"}
    # The budget of the front door remembers the minutes in which there was no platform yet.
    told |= {"GatewayErrorBudgetBurnsFast", "GatewayErrorBudgetBurnsSlowly"}
    # Loki counts for a quarter of an hour what its storage refused in a test.
    told |= {"LokiStorageFails"}
    # What the machine under the lab is short of.
    told |= {"NodeDiskAlmostFull", "NodeMemoryAlmostUsed"}
    with contextlib.suppress(AssertionError):
        until(lambda: monitoring.firing() <= told, "only what must fires", SECONDS, every=5)
    assert monitoring.firing() <= told


Fault = Callable[[Platform], AbstractContextManager[None]]


@contextlib.contextmanager
def database_stopped(platform: Platform) -> Iterator[None]:
    """The database is scaled away by hand."""
    scale = ("scale", "statefulset", "mariadb", "-n", "mariadb")
    platform.lab.kubectl(*scale, "--replicas=0")
    try:
        yield
    finally:
        platform.lab.kubectl(*scale, "--replicas=1")
        await_rollouts(platform.lab)


@contextlib.contextmanager
def volume_filled(platform: Platform) -> Iterator[None]:
    """Somebody fills the disk of the attachments."""
    run = ("exec", "-n", "openmrs", "openmrs-backend-0", "-c", "backend", "--")
    path = "/openmrs/data/filled"
    # As much as fits, and no more than the disk of these tests.
    platform.lab.kubectl(*run, "sh", "-c", f"dd if=/dev/zero of={path} bs=1M count=6000 2>/dev/null; true")
    try:
        yield
    finally:
        platform.lab.kubectl(*run, "rm", "-f", path)


@contextlib.contextmanager
def certificate_ends(platform: Platform) -> Iterator[None]:
    """The certificate of the front door has an hour left."""
    lab, dying = platform.lab, expiring(platform.clinic.host, dt.timedelta(hours=1))
    secret = ("secret", "gateway-tls", "-n", "gateway")
    before = json.loads(lab.kubectl("get", *secret, "-o", "json"))["data"]
    data = {"tls.crt": dying.certificate + dying.authority, "tls.key": dying.key}
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}

    def put(values: dict[str, str]) -> None:
        lab.kubectl("patch", *secret, "--type=merge", "-p", json.dumps({"data": values}))

    put(encoded)
    try:
        yield
    finally:
        put(before)


@contextlib.contextmanager
def changed_by_hand(platform: Platform) -> Iterator[None]:
    """Somebody allows what nobody declared, and the comparison of the night sees it."""
    policy = ("networkpolicy", "mariadb", "-n", "mariadb")
    before = platform.lab.kubectl("get", *policy, "-o", "json")
    everything = json.dumps([{"op": "replace", "path": "/spec/ingress", "value": [{}]}])
    platform.lab.kubectl("patch", *policy, "--type=json", "-p", everything)
    try:
        platform.run("drift").ok()
        yield
    finally:
        spec = json.loads(before)["spec"]["ingress"]
        back = json.dumps([{"op": "replace", "path": "/spec/ingress", "value": spec}])
        platform.lab.kubectl("patch", *policy, "--type=json", "-p", back)
        platform.run("drift").ok()


@contextlib.contextmanager
def storage_fails(platform: Platform) -> Iterator[None]:
    """The archive can store nothing."""
    platform.lab.fault("error", "--match", ".* /blob/.*", "--count", "100000", "--status", "500")
    try:
        yield
    finally:
        platform.lab.fault("clear")


@contextlib.contextmanager
def no_backup_made(platform: Platform) -> Iterator[None]:
    """Nobody makes a full backup any more."""
    yield
    platform.run("backup").ok()


# Those of one line at the same time: none hides another one. The first ends last, when nothing differs any more.
PROVOKED: list[dict[str, Fault]] = [
    {"MariaDBMissing": database_stopped},
    {
        "PlatformDrifted": changed_by_hand,
        "VolumeFull": volume_filled,
        "GatewayCertificateEnds": certificate_ends,
        "BackupFullTooOld": no_backup_made,
    },
    {"BackupArchiveStandsStill": storage_fails},
]


def told(monitoring: Monitoring, name: str, status: str, *, since: int) -> bool:
    """Whether the receiver was told that it fires, or is over."""
    return any(alert["alertname"] == name and alert["status"] == status for alert in monitoring.received()[since:])


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(faults, id="-".join(faults), marks=[pytest.mark.soak] * ("BackupArchiveStandsStill" in faults))
        for faults in PROVOKED
    ],
)
def test_what_goes_wrong_is_told_and_so_is_its_end(
    well: Platform, monitoring: Monitoring, faults: dict[str, Fault]
) -> None:
    if "BackupFullTooOld" in faults:
        well.run("backup").ok()
    until(lambda: not faults.keys() & monitoring.firing(), "none of them fires yet", SECONDS, every=2)
    before = len(monitoring.received())
    with contextlib.ExitStack() as provoked:
        for fault in faults.values():
            provoked.enter_context(fault(well))
        for name in faults:
            reached = f"{name} reaches the receiver"
            until(lambda name=name: told(monitoring, name, "firing", since=before), reached, SECONDS, every=2)  # type: ignore[misc]
    for name in faults:
        over = f"the end of {name} reaches the receiver"
        until(lambda name=name: told(monitoring, name, "resolved", since=before), over, SECONDS, every=2)  # type: ignore[misc]
    headings = [line.strip("# ").lower() for line in (ROOT / "docs" / "alerts.md").read_text().splitlines()]
    for alert in monitoring.received()[before:]:
        runbook, _, anchor = alert["runbook_url"].rpartition("#")
        assert runbook.endswith("docs/alerts.md")
        assert anchor in headings


def test_the_restore_proof_is_told(well: Platform, monitoring: Monitoring, tmp_path: Path) -> None:
    # Whole seconds; what an earlier check has left is older.
    started = int(time.time())
    well.run("restore_check", extra={"mariadb_restore_check_report": str(tmp_path / "report.json")}).ok()

    def told_of_this_one() -> bool:
        return monitoring.values(f"mariadb_restore_check_time_seconds >= {started}") != []

    until(told_of_this_one, "the report of the restore check is seen", SECONDS, every=2)
    assert monitoring.values("mariadb_restore_check_success") == [1.0]


@pytest.mark.soak
@pytest.mark.sabotage
def test_an_alert_that_cannot_fire_is_noticed(well: Platform, monitoring: Monitoring) -> None:
    never = {"PlatformDrifted": {"expr": "vector(1) > 2"}}
    overrides = {**QUICK["prometheus_alert_overrides"], **never}
    well.deploy("prometheus", extra={"prometheus_alert_overrides": overrides}).ok()
    rule = '{alertname="PlatformDrifted"}'
    until(lambda: "vector(1) > 2" in json.dumps(monitoring.ask("rules")), "the rule is read", SECONDS, every=2)
    until(lambda: monitoring.values(f"ALERTS{rule}") == [], "nothing is left of the rule before", SECONDS, every=2)
    with changed_by_hand(well):
        until(lambda: bool(monitoring.values('platform_findings{verdict="drift"} > 0')), "drift is seen", SECONDS)
        assert monitoring.values(f"ALERTS{rule}") == []
    well.deploy("prometheus").ok()
