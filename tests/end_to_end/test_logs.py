"""What pods write is found in Loki by the name of its request, without whom it is about, and survives what dies."""

from __future__ import annotations

import json
import re
import secrets
import time
import uuid
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.end_to_end.conftest import Platform
from tests.end_to_end.support.logs import Logs, writer
from tests.end_to_end.support.pods import kill_process, restarts
from tests.integration.support.waiting import until

# From the answer to the line in Loki.
SOON = 10
SECONDS = 120
NIR = "1 84 12 76 451 089 46"
GATEWAY = '{k8s_namespace_name="openmrs", k8s_container_name="gateway"}'
WRITER = '{k8s_namespace_name="monitoring", k8s_container_name="log-writer"}'


@pytest.fixture(scope="module")
def logs(platform: Platform) -> Logs:
    found = Logs(platform.lab)
    until(lambda: bool(found.lines(GATEWAY)), "the collector has caught up with the gateway", SECONDS)
    return found


@pytest.fixture(scope="module")
def word(platform: Platform) -> Iterator[str]:
    """A word that only this run writes, with a NIR, twice a second."""
    chosen = uuid.uuid4().hex
    with writer(platform.lab, chosen, NIR):
        yield chosen


def asked(platform: Platform, path: str, session: str = "0A1B") -> str:
    """Ask for a page as a browser with a session does; the name of the request, as its answer says it."""
    with platform.clinic.client() as client:
        answer = client.get(path, headers={"Cookie": f"JSESSIONID={session}"})
    name: str = answer.headers["X-Request-Id"]
    assert re.fullmatch("[0-9a-f]{32}", name)
    return name


def test_a_request_is_found_by_its_name_and_by_nothing_of_its_user(platform: Platform, logs: Logs) -> None:
    session, patient = uuid.uuid4().hex.upper(), f"Dupont-{uuid.uuid4().hex[:8]}"
    name = asked(platform, f"/openmrs/ws/rest/v1/session;jsessionid={session}?q={patient}", session)
    until(lambda: bool(logs.lines(f'{GATEWAY} |= "{name}"')), f"{name} is in Loki", SOON, every=0.2)
    [stream] = logs.streams(f'{GATEWAY} |= "{name}"')
    [(_, line)] = stream["values"]
    told = json.loads(line)
    assert (told["request_id"], told["path"]) == (name, "/openmrs/ws/rest/v1/session")
    assert stream["stream"]["log_class"] == "security"
    everything = '{k8s_namespace_name="openmrs"}'
    for secret in (session, patient):
        assert logs.lines(f'{everything} |= "{secret}"') == []


@pytest.mark.sabotage
def test_a_name_that_no_request_had_is_not_found(platform: Platform, logs: Logs) -> None:
    asked(platform, "/openmrs/ws/rest/v1/session")
    with pytest.raises(AssertionError, match="not within"):
        until(lambda: bool(logs.lines(f'{GATEWAY} |= "{uuid.uuid4().hex}"')), "it is in Loki", SOON / 2, every=1)


def test_what_names_a_patient_stays_on_the_node(platform: Platform, logs: Logs, word: str) -> None:
    until(lambda: bool(logs.lines(f'{WRITER} |= "{word}"')), "the line is in Loki", SOON * 3)
    lines = logs.lines(f'{WRITER} |= "{word}"')
    assert {re.sub("line [0-9]+", "line N", line) for line in lines} == {f"{word} line N of nom=[nom], NIR [NIR]"}
    # The node itself has it: it was written.
    assert NIR in platform.lab.kubectl("logs", "-n", "monitoring", "log-writer", "--tail=1")
    for planted in (NIR, "Le Goff"):
        assert logs.lines(f'{{k8s_namespace_name=~".+"}} |= "{planted}"') == []


def numbers(logs: Logs, word: str) -> Counter[int]:
    """How often each line of the writer is in Loki."""
    found = logs.lines(f'{WRITER} |= "{word}"')
    return Counter(int(match[1]) for line in found if (match := re.search("line ([0-9]+)", line)))


def test_what_is_written_while_loki_is_dead_arrives(well: Platform, logs: Logs, word: str) -> None:
    until(lambda: bool(numbers(logs, word)), "the writer is in Loki", SOON * 3)
    before, count = max(numbers(logs, word)), restarts(well.lab, "logging", "loki-0")
    kill_process(well.lab, "logging", "loki-0", "loki")
    time.sleep(5)
    until(lambda: restarts(well.lab, "logging", "loki-0") > count, "Loki is started again", SECONDS)
    until(lambda: max(numbers(logs, word), default=0) > before + 10, "lines of after are there", SECONDS)
    found = numbers(logs, word)
    assert set(range(max(found) + 1)) - set(found) == set()
    # Sent again, perhaps: those are equal to the nanosecond, and Loki keeps one.
    assert set(found.values()) == {1}


def test_who_is_refused_by_the_database_is_in_the_audit_log(platform: Platform, logs: Logs) -> None:
    stranger = f"s{uuid.uuid4().hex[:10]}"
    login = ("mariadb", "--host=127.0.0.1", f"--user={stranger}", "--password=wrong", "--execute=SELECT 1")
    platform.lab.kubectl("exec", "-n", "mariadb", "mariadb-0", "-c", "mariadb", "--", *login, check=False)
    audit = f'{{k8s_namespace_name="mariadb", k8s_container_name="audit-log", log_class="security"}} |= "{stranger}"'
    until(lambda: bool(logs.lines(audit)), "the refusal is in Loki", SOON * 3)
    assert "FAILED_CONNECT" in logs.lines(audit)[0]
    server = '{k8s_namespace_name="mariadb", k8s_container_name="mariadb"}'
    until(lambda: bool(logs.lines(f'{server} |= "Access denied" |= "{stranger}"')), "the server says it, too", SOON * 3)


def failures(logs: Logs) -> float:
    """How many writes to Blob have failed."""
    counted = logs.metrics("loki_objstore_bucket_operation_failures_total")
    return sum(count for labels, count in counted.items() if 'operation="upload"' in labels)


def test_lines_get_to_blob_with_the_identity_of_loki(platform: Platform, logs: Logs, seconds: float = SECONDS) -> None:
    # Letters that no other line has: in a block that is compressed they stand as they are.
    word, before = "".join(secrets.choice("GHJKLMNPQRSTVWXYZ") for _ in range(24)), failures(logs)
    asked(platform, f"/openmrs/ws/{word}")
    until(lambda: bool(logs.lines(f'{GATEWAY} |= "{word}"')), f"{word} is in Loki", SOON * 3)

    def stored() -> bool:
        # Again: a stream that waits for its next try is not taken up a second time.
        logs.flush()
        extents = (platform.lab.home / "blobs" / "__blobstorage__").iterdir()
        return any(word.encode() in extent.read_bytes() for extent in extents)

    until(stored, "the line is in Blob", seconds, every=2)
    assert failures(logs) == before
    pod = json.loads(platform.lab.kubectl("get", "pod", "loki-0", "-n", "logging", "-o", "json"))
    environment = {entry["name"] for entry in pod["spec"]["containers"][0]["env"]}
    assert "AZURE_FEDERATED_TOKEN_FILE" in environment
    assert not [name for name in environment if "KEY" in name or "SECRET" in name or "CONNECTION" in name]


@pytest.mark.sabotage
def test_a_storage_that_refuses_is_noticed_and_loses_nothing(platform: Platform, logs: Logs) -> None:
    before = failures(logs)
    platform.lab.fault("error", "--match", "PUT /blob/[^/]+/loki/.*", "--count", "100000", "--status", "403")
    try:
        with pytest.raises(AssertionError, match="the line is in Blob"):
            test_lines_get_to_blob_with_the_identity_of_loki(platform, logs, seconds=15)
        until(lambda: failures(logs) > before, "Loki counts what failed", SECONDS, every=2)
    finally:
        platform.lab.fault("clear")
    test_lines_get_to_blob_with_the_identity_of_loki(platform, logs)
