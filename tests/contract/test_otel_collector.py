"""The collector itself reads its configuration: what leaves a node, and what of it never does."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.contract.collector import Line, Received, collecting, configuration, validated, write
from tests.contract.rendered import INVENTORIES, Documents

FreePort = Callable[[], int]
SECONDS = 60

# What somebody's log holds, and what leaves the node of it. Nobody of these exists.
PLANTED = [
    (
        '{"givenName":"Éloïse","familyName":"Le Goff","gender":"F"}',
        '{"givenName":"[nom]","familyName":"[nom]","gender":"F"}',
    ),
    ('body: "{\\"familyName\\":\\"Dupont\\",\\"age\\":71}"', 'body: "{\\"familyName\\":\\"[nom]\\",\\"age\\":71}"'),
    ('{"familyName": "D\\"Artagnan \\\\ fils"}', '{"familyName": "[nom]"}'),
    ("INFO - saved nom=Le Goff, prenom=Anne-Marie, id=12", "INFO - saved nom=[nom], prenom=[nom], id=12"),
    ("nom de naissance : Lefèvre; prénom : Zoé", "nom de naissance : [nom]; prénom : [nom]"),
    ("Patient: Jean-Pierre O'Brien (12)", "Patient: [nom](12)"),
    ("patientName=Müller&visit=3", "patientName=[nom]&visit=3"),
    ('{"birthdate":"1951-04-12","dead":false}', '{"birthdate":"[nom]","dead":false}'),
    ("NIR 184127645108946", "NIR [NIR]"),
    ("NIR 1841276451089", "NIR [NIR]"),
    ("nir=1 84 12 76 451 089 46.", "nir=[NIR]."),
    ("nir=1 84 12 76 451 089", "nir=[NIR]"),
    ("2 69 05 49 588 157 / 80 est inconnu", "[NIR] est inconnu"),
    ("né en Corse : 1.55.08.2A.004.123.45", "né en Corse : [NIR]"),
    ("NIR provisoire 7 99 20 99 123 456 12", "NIR provisoire [NIR]"),
    ('{"identifier":"269054958815780"}', '{"identifier":"[NIR]"}'),
    ("tel 0612345678", "tel [téléphone]"),
    ("rappeler le 06 12 34 56 78 ou 01.23.45.67.89", "rappeler le [téléphone] ou [téléphone]"),
    ("+33 6 12 34 56 78", "[téléphone]"),
    ("0033612345678 et +33 (0)1 23 45 67 89", "[téléphone] et [téléphone]"),
    ("La Réunion : +262 692 12 34 56", "La Réunion : [téléphone]"),
    ("%2B33612345678", "[téléphone]"),
    ("mail eloise.le-goff@example.fr refusé", "mail [courriel] refusé"),
    ("user=anne%40centre.example.fr", "user=[courriel]"),
    ("Cookie: JSESSIONID=0A1B2C3D4E5F.openmrs-backend-0; lang=fr", "Cookie: JSESSIONID=[session]; lang=fr"),
    ("GET /openmrs/login;jsessionid=0A1B2C HTTP/1.1", "GET /openmrs/login;jsessionid=[session] HTTP/1.1"),
    ('"jsessionid": "0A1B2C"', '"jsessionid": "[session]"'),
    ("Authorization: Basic YWRtaW46QWRtaW4xMjM=", "Authorization: Basic [jeton]"),
    (
        "token eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln est refusé",  # pragma: allowlist secret
        "token [jeton] est refusé",
    ),
    (
        "jdbc:mariadb://db/openmrs?user=openmrs&password=Abc.123-x",
        "jdbc:mariadb://db/openmrs?user=openmrs&password=[secret]",
    ),
    ("GET /openmrs/ws/rest/v1/patient?q=dupont+jean HTTP/1.1", "GET /openmrs/ws/rest/v1/patient?[recherche] HTTP/1.1"),
]
# What people look for in logs stays what it was.
INTACT = [
    "2026-11-27T12:05:10.123456789Z INFO started in 12.0612345678 s",
    "2026-11-27 12:05:10 0 [Note] InnoDB: log sequence number 1841276451089463",
    "full-2026-01-02-03-04-05 has 1073741824 bytes, 20260102030405 and 1764244800000",
    "GTID 0-1-184127, 0-2-99; binlog mariadb-bin.000001:342",
    "[Warning] Access denied for user 'openmrs'@'10.244.0.12' (using password: YES)",
    "[Note] Aborted connection 12 to db: 'openmrs' user: 'root' host: 'root@localhost'",
    '{"time":"2026-11-27T12:05:10+01:00","client":"10.0.0.12","method":"GET","path":"/openmrs/ws/rest/v1/patient",'
    '"status":200,"bytes":184127645,"seconds":0.006,"request_id":"1841276451089461841276451089460a"}',
    "uuid 18412764-5108-4946-8412-764510894612 was written",
    "sha256:0612345678061234567806123456780612345678061234567806123456780612",
    "INFO - ContextLoader.init(284) |2026-11-27T12:05:10,123| tokens: 3, patients: 12, names: none",
    "java.lang.IllegalStateException: org.openmrs.Patient@1a2b3c4d is not saved",
    "exit 0, 10.96.0.1:443, v1.35.4, port 18400",
]


def table(folder: Path, text: str, free_port: FreePort) -> list[str]:
    """What comes out for each line of both."""
    lines = [line for line, _ in PLANTED] + INTACT
    write(folder, lines, namespace="openmrs", container="frontend")
    with collecting(text, folder, free_port) as (received, *_):
        await_(lambda: len(received.lines) >= len(lines), folder)
    return received.bodies()


def await_(holds: Callable[[], Any], folder: Path, seconds: float = SECONDS) -> None:
    """Wait until something is so, or show what the collector said."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, (folder / "collector.log").read_text()[-4000:]
        time.sleep(0.05)


@pytest.fixture(scope="module")
def text(rendered: Callable[[str], Documents]) -> str:
    return configuration(rendered("production"))


def faults(text: str, folder: Path, free_port: FreePort) -> dict[str, str]:
    """What came out otherwise than it should."""
    wanted = [*PLANTED, *((line, line) for line in INTACT)]
    found = table(folder, text, free_port)
    assert len(found) == len(wanted)
    return {line: got for (line, want), got in zip(wanted, found, strict=True) if got != want}


@pytest.mark.parametrize("inventory", INVENTORIES)
def test_the_program_takes_the_configuration(
    inventory: str, rendered: Callable[[str], Documents], tmp_path: Path
) -> None:
    done = validated(configuration(rendered(inventory)), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.sabotage
@pytest.mark.parametrize(
    ("what", "into"), [("  transform:", "  redaction:"), ("replace_pattern(log.body", "replace_pattern(log.nobody")]
)
def test_a_configuration_that_it_does_not_understand_is_refused(
    what: str, into: str, text: str, tmp_path: Path
) -> None:
    assert what in text
    assert validated(text.replace(what, into), tmp_path).returncode == 1


@pytest.mark.parametrize("kind", ["receivers", "processors", "exporters", "extensions"])
def test_it_has_the_components_that_the_configuration_names_and_no_others(kind: str, text: str, tmp_path: Path) -> None:
    """Asked for one that there is not, it tells all that it has: with the names of before, which it still takes."""
    known = yaml.safe_load(text)
    refused = validated(yaml.safe_dump({**known, kind: {"nothing": {}}}), tmp_path).stderr
    listed = re.search(r'unknown type: "nothing" .*\(valid values: \[(.*?)\]\)', refused)
    assert listed, refused
    assert set(listed[1].split()) - {"filelog", "otlphttp"} == set(known[kind])


def test_nothing_personal_leaves_a_node_and_all_else_does(text: str, tmp_path: Path, free_port: FreePort) -> None:
    assert faults(text, tmp_path, free_port) == {}


@pytest.mark.sabotage
def test_each_redaction_is_missed(text: str, tmp_path: Path, free_port: FreePort) -> None:
    names = re.findall(r"^          # (.+)\n          - \"replace_pattern", text, flags=re.MULTILINE)
    assert len(names) == text.count("replace_pattern(") > 10
    unnoticed = []
    for number, name in enumerate(names):
        (folder := tmp_path / str(number)).mkdir()
        without = re.sub(rf"^          # {re.escape(name)}\n.*\n", "", text, flags=re.MULTILINE)
        unnoticed += [name] * (not faults(without, folder, free_port))
    assert unnoticed == []


TRACE = [
    "ERROR - PatientService.save(12) |2026-11-27T08:00:00,001| cannot save",
    "org.openmrs.api.APIException: Patient: Jean Dupont",
    "\tat org.openmrs.api.impl.PatientServiceImpl.savePatient(PatientServiceImpl.java:120)",
    "Caused by: java.lang.OutOfMemoryError: Java heap space",
    "\t... 12 more",
]
NEXT = "INFO - PatientService.save(13) |2026-11-27T08:00:00,002| saved"


def test_a_stack_trace_is_one_entry_and_cleaned_whole(text: str, tmp_path: Path, free_port: FreePort) -> None:
    write(tmp_path, [*TRACE, NEXT], namespace="openmrs", container="backend")
    with collecting(text, tmp_path, free_port) as (received, *_):
        await_(lambda: len(received.lines) == 2, tmp_path)
    cleaned = "\n".join(TRACE).replace("Jean Dupont", "[nom]")
    assert received.bodies() == [cleaned, NEXT]


def test_lines_of_others_stay_lines(text: str, tmp_path: Path, free_port: FreePort) -> None:
    write(tmp_path, [*TRACE, NEXT], namespace="openmrs", container="frontend")
    with collecting(text, tmp_path, free_port) as (received, *_):
        await_(lambda: len(received.lines) == len(TRACE) + 1, tmp_path)


CLASSES = {
    ("openmrs", "gateway"): "security",
    ("openmrs", "backend"): "operations",
    ("mariadb", "mariadb"): "security",
    ("mariadb", "archive"): "operations",
    ("mariadb", "audit-log"): "security",
    ("argocd", "argocd-server"): "security",
    ("monitoring", "gateway"): "operations",
}


def where(line: Line) -> tuple[str, str]:
    return line.resource["k8s.namespace.name"], line.resource["k8s.container.name"]


def test_every_line_says_where_it_comes_from_and_how_long_it_is_kept(
    text: str, tmp_path: Path, free_port: FreePort
) -> None:
    for namespace, container in CLASSES:
        # A file is known by how it begins: by the time of its first line, on a node.
        write(tmp_path, [f"line of {namespace} {container}"], namespace=namespace, container=container)
    # Its own are left out.
    own = write(tmp_path, ["own"], namespace="node-monitoring", container="otel-collector", pod="otel-collector-x7k2p")
    here = text.replace("/var/log/pods/node-monitoring", f"{own.parents[2]}/node-monitoring")
    with collecting(here, tmp_path, free_port) as (received, *_):
        await_(lambda: len(received.lines) >= len(CLASSES), tmp_path)
        time.sleep(1)
    assert {where(line): line.resource["log.class"] for line in received.lines} == CLASSES
    assert {frozenset(line.resource) for line in received.lines} == {
        frozenset({"k8s.namespace.name", "k8s.pod.name", "k8s.container.name", "k8s.node.name", "log.class"})
    }
    assert {tuple(line.attributes.items()) for line in received.lines} == {(("log.iostream", "stdout"),)}


@contextmanager
def nobody_listens(
    text: str, folder: Path, free_port: FreePort, ends_by: signal.Signals = signal.SIGKILL
) -> Iterator[Received]:
    """A collector that has read ten lines which nobody takes."""
    refusing = Received(refuses=True)
    write(folder, [f"line {number}" for number in range(10)], namespace="openmrs", container="gateway")
    with collecting(text, folder, free_port, refusing) as (received, metrics, process):
        await_(lambda: read(metrics) == 10, folder)
        yield received
        os.kill(process.pid, ends_by)
        process.wait(30)


def read(metrics: int) -> float:
    """How many lines it has read."""
    try:
        text = httpx.get(f"http://127.0.0.1:{metrics}/metrics", timeout=5, trust_env=False).text
    except httpx.HTTPError:
        return -1
    found = re.search(r"^otelcol_receiver_accepted_log_records\S* (\S+)$", text, flags=re.MULTILINE)
    return float(found[1]) if found else 0


def test_what_nobody_took_is_there_after_a_kill(
    text: str, tmp_path: Path, free_port: FreePort, lost: str = "nothing"
) -> None:
    with nobody_listens(text, tmp_path, free_port):
        pass
    if lost == "queue":
        for file in (tmp_path / "state").glob("exporter*"):
            file.unlink()
    write(tmp_path, ["line 10"], namespace="openmrs", container="gateway")
    with collecting(text, tmp_path, free_port) as (received, *_):
        await_(lambda: "line 10" in received.bodies(), tmp_path)
        await_(lambda: len(set(received.bodies())) == 11, tmp_path, seconds=5)
    # At least once: which of them come twice depends on the moment of the kill.
    assert {f"line {number}" for number in range(11)} == set(received.bodies())


def test_what_nobody_took_is_there_after_an_orderly_end(text: str, tmp_path: Path, free_port: FreePort) -> None:
    with nobody_listens(text, tmp_path, free_port, signal.SIGTERM):
        pass
    with collecting(text, tmp_path, free_port) as (received, *_):
        await_(lambda: {f"line {number}" for number in range(10)} == set(received.bodies()), tmp_path)


@pytest.mark.sabotage
def test_a_lost_queue_is_noticed(text: str, tmp_path: Path, free_port: FreePort) -> None:
    with pytest.raises(AssertionError):
        test_what_nobody_took_is_there_after_a_kill(text, tmp_path, free_port, "queue")
