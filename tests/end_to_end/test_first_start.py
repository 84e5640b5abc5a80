"""A backend that is killed inside its first migration of the schema gets through by itself."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.end_to_end.conftest import Platform
from tests.end_to_end.support.database import query
from tests.end_to_end.support.pods import kill_process, pods, restarts
from tests.integration.support.lab import Lab
from tests.integration.support.waiting import until

NAMESPACE, SET, POD = "openmrs", "openmrs-backend", "openmrs-backend-0"
PROPERTIES = "/openmrs/data/openmrs-runtime.properties"
# Seconds for each of the ten change sets of the stand-in.
PAUSE = "OMRS_EXTRA_STAND__IN_PAUSE=1"
# Longer than the start, the migration and the answer of the lock doctor take together.
SECONDS = 240.0


def kubectl(lab: Lab, *arguments: str) -> str:
    """Work in the namespace of OpenMRS."""
    return lab.kubectl("-n", NAMESPACE, *arguments)


def patch(lab: Lab, kind: str, change: Any, *, how: str = "strategic") -> None:
    """Change the backend's StatefulSet or ConfigMap behind the platform's back."""
    kubectl(lab, "patch", kind, SET, f"--type={how}", "-p", json.dumps(change))


def stop(lab: Lab) -> None:
    """Have no backend."""
    kubectl(lab, "scale", f"statefulset/{SET}", "--replicas=0")
    until(lambda: not any(pod["metadata"]["name"] == POD for pod in pods(lab, NAMESPACE)), "the backend is gone", 150)


@contextlib.contextmanager
def uninstalled(platform: Platform, change: Callable[[Lab], None] = lambda lab: None) -> Iterator[None]:
    """Start a backend that nobody has installed yet, changed or not; afterwards it is as the roles make it."""
    lab = platform.lab
    scripts = json.loads(kubectl(lab, "get", "configmap", SET, "-o", "json"))["data"]
    live = json.loads(kubectl(lab, "get", "statefulset", SET, "-o", "json"))
    (backend,) = live["spec"]["template"]["spec"]["containers"]
    kubectl(lab, "exec", POD, "-c", "backend", "--", "rm", PROPERTIES)
    stop(lab)
    query(lab, "DROP TABLE openmrs.liquibasechangelog, openmrs.liquibasechangeloglock")
    kubectl(lab, "set", "env", f"statefulset/{SET}", "-c", "backend", PAUSE)
    try:
        change(lab)
        kubectl(lab, "scale", f"statefulset/{SET}", "--replicas=1")
        yield
    finally:
        stop(lab)
        kubectl(lab, "set", "env", f"statefulset/{SET}", "-c", "backend", f"{PAUSE.partition('=')[0]}-")
        patch(lab, "statefulset", container(startupProbe=backend["startupProbe"]))
        patch(lab, "configmap", {"data": scripts})
        kubectl(lab, "scale", f"statefulset/{SET}", "--replicas=1")
        platform.assert_well()


def container(**fields: Any) -> dict[str, Any]:
    """Return a patch of the backend's container."""
    return {"spec": {"template": {"spec": {"containers": [{"name": "backend", **fields}]}}}}


def locked(lab: Lab) -> bool:
    """Tell whether a migration is under way: the lock is held, and the first change set is through."""
    tables = "FROM information_schema.tables WHERE table_name LIKE 'liquibasechangelog%'"
    if query(lab, f"SELECT COUNT(*) {tables}") != "2":
        return False
    through = query(lab, "SELECT COUNT(*) FROM openmrs.liquibasechangelog")
    return through != "0" and query(lab, "SELECT COUNT(*) FROM openmrs.liquibasechangeloglock WHERE locked") == "1"


def recover_from_kill(platform: Platform, seconds: float = SECONDS) -> None:
    """Kill the backend inside its first migration; expect one more start of its container, which gets through."""
    lab = platform.lab
    until(lambda: locked(lab), "the migration is under way", seconds)
    kill_process(lab, NAMESPACE, POD, "java")
    until(lambda: restarts(lab, NAMESPACE, POD) > 0, "its container is started again", seconds)
    platform.clinic.await_healthy(seconds)
    assert restarts(lab, NAMESPACE, POD) == 1
    assert "its holder has no session any more" in kubectl(lab, "logs", POD, "-c", "lock-doctor")
    assert query(lab, "SELECT COUNT(*) FROM openmrs.liquibasechangeloglock WHERE locked") == "0"


def test_a_backend_killed_inside_its_first_migration_gets_through(well: Platform) -> None:
    with uninstalled(well):
        recover_from_kill(well)
        well.ledger.assert_complete()


def ignore_the_lock(lab: Lab) -> None:
    """Let the lock doctor answer without looking."""
    script = json.loads(kubectl(lab, "get", "configmap", SET, "-o", "json"))["data"]["lock-doctor.sh"]
    ignorant = script.replace("      examine\n", "      :\n")
    assert ignorant != script
    patch(lab, "configmap", {"data": {"lock-doctor.sh": ignorant}})


def take_the_budget(lab: Lab) -> None:
    """Let the startup probe give up after five seconds."""
    patch(lab, "statefulset", container(startupProbe={"failureThreshold": 5, "periodSeconds": 1}))


@pytest.mark.sabotage
@pytest.mark.soak
def test_a_lock_that_is_ignored_is_noticed(well: Platform) -> None:
    with uninstalled(well, ignore_the_lock):
        with pytest.raises(AssertionError, match="not healthy"):
            recover_from_kill(well, 60)
        assert "Waiting for changelog lock" in kubectl(well.lab, "logs", POD, "-c", "backend")
        assert query(well.lab, "SELECT COUNT(*) FROM openmrs.liquibasechangeloglock WHERE locked") == "1"


@pytest.mark.sabotage
@pytest.mark.soak
def test_a_probe_without_a_budget_is_noticed(well: Platform) -> None:
    with uninstalled(well, take_the_budget):
        with pytest.raises(AssertionError):
            recover_from_kill(well, 45)
        assert restarts(well.lab, NAMESPACE, POD) > 0
        events = kubectl(well.lab, "get", "events", "--field-selector", f"involvedObject.name={POD}")
        assert "failed startup probe" in events
