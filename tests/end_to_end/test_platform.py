"""From nothing to a patient record in MariaDB, written through the gateway."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.end_to_end.conftest import Platform


def rows(platform: Platform, condition: str) -> int:
    """Count rows in the database itself, over its socket."""
    query = f"SELECT COUNT(*) FROM openmrs.{condition}"  # noqa: S608 - written here, for a database of the tests
    client = ["mariadb", "--batch", "--skip-column-names", "--execute", query]
    return int(platform.lab.kubectl("exec", "-n", "mariadb", "mariadb-0", "--", *client))


def test_site_builds_everything_and_verifies_it_from_outside(platform: Platform) -> None:
    (report,) = platform.creation.results_of("verify_report")
    verdicts = {finding["verdict"] for finding in report["findings"]}
    assert verdicts == {"equal"}, [finding for finding in report["findings"] if finding["verdict"] != "equal"]
    assert {"http", "kubernetes", "azure"} <= {finding["source"] for finding in report["findings"]}


def test_a_second_run_changes_nothing(platform: Platform) -> None:
    run = platform.site().ok()
    assert run.changed == 0, [task["task"] for task in run.tasks if task["result"].get("changed")]
    assert run.findings() == []


def test_a_patient_written_through_the_gateway_is_in_mariadb(well: Platform) -> None:
    uuid = well.ledger.write("Dubreuil")
    found = well.clinic.patient(uuid)
    assert found is not None
    assert "Dubreuil" in json.dumps(found, ensure_ascii=False)
    assert rows(well, f"person WHERE uuid = '{uuid}'") == 1


def test_the_session_is_answered_over_verified_tls(platform: Platform) -> None:
    answer = platform.clinic.get("/openmrs/ws/rest/v1/session")
    assert answer.status_code == httpx.codes.OK
    assert answer.json()["authenticated"] is False


@pytest.mark.sabotage
def test_an_authority_that_did_not_sign_the_certificate_is_noticed(platform: Platform) -> None:
    stranger = Platform(platform.lab, platform.creation).clinic
    object.__setattr__(stranger, "ca_file", platform.lab.info["ca_file"])
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        stranger.get("/openmrs/ws/rest/v1/session")
