"""What time and people do to a platform is reported by `verify.yml` from outside, and repaired by the next run."""

from __future__ import annotations

import base64
import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.conftest import Platform
from tests.end_to_end.support.certificates import expiring, served
from tests.integration.support.lab_vault import set_secret
from tests.integration.support.playbook import PlaybookRun
from tests.integration.support.waiting import until

POLICIES = ("default-deny", "mariadb")
SECONDS = 60
LIFETIME = dt.timedelta(seconds=45)


@dataclass(frozen=True)
class Repair:
    """Verification of the broken platform, the run after it, and the certificate's number before that run."""

    verification: PlaybookRun
    run: PlaybookRun
    serial: int


def assert_served(platform: Platform, serial: int) -> None:
    """Expect a certificate that is trusted and lasts, and is not the one that ended."""
    certificate = served(platform.clinic)
    assert certificate.serial_number != serial, "the gateway still serves the certificate that ended"
    assert certificate.not_valid_after_utc > dt.datetime.now(dt.UTC) + dt.timedelta(days=14)
    assert platform.clinic.get("/openmrs/spa/login").status_code == httpx.codes.OK


def assert_verified(run: PlaybookRun) -> None:
    """Expect a verification that looked at everything and found nothing."""
    (report,) = run.ok().results_of("verify_report")
    assert report["summary"] == {"equal": len(report["findings"])}
    assert "connection" in {finding["type"] for finding in report["findings"]}


@pytest.fixture(scope="module")
def repair(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Repair:
    """Let the gateway's certificate expire and take MariaDB's network policies away; verify, then run `site.yml`."""
    lab, dead = platform.lab, expiring(platform.clinic.host, LIFETIME)
    trust = tmp_path_factory.mktemp("trust") / "authorities.pem"
    trust.write_text(Path(lab.info["acme_roots"]).read_text(encoding="utf-8") + dead.authority, encoding="utf-8")
    set_secret(lab, "gateway-tls-certificate", dead.certificate + dead.authority)
    set_secret(lab, "gateway-tls-key", dead.key)
    data = {"tls.crt": dead.certificate + dead.authority, "tls.key": dead.key}
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    lab.kubectl("patch", "secret", "gateway-tls", "-n", "gateway", "--type=merge", "-p", json.dumps({"data": encoded}))
    lab.kubectl("delete", "networkpolicy", "-n", "mariadb", *POLICIES)
    until(lambda: served(platform.clinic).serial_number == dead.serial, "the gateway takes the certificate up", SECONDS)
    until(lambda: dt.datetime.now(dt.UTC) > dead.ends, "the certificate has expired", SECONDS + LIFETIME.seconds)
    verification = platform.run("verify", extra={"verify_ca_path": str(trust), "verify_patience": 20})
    return Repair(verification, platform.site(), dead.serial)


@pytest.mark.sabotage
def test_a_removed_network_policy_is_reported(repair: Repair) -> None:
    message = repair.verification.failure()
    assert "mariadb.mariadb.svc.cluster.local:3306: a pod that nobody allowed gets through" in message
    assert "openmrs-backend.openmrs.svc.cluster.local:8080" not in message


@pytest.mark.sabotage
def test_an_expired_certificate_is_reported(repair: Repair) -> None:
    assert "certificate has expired" in repair.verification.failure()
    with pytest.raises(AssertionError):
        assert_verified(repair.verification)


def test_the_next_run_repairs_both_and_verifies_it(platform: Platform, repair: Repair) -> None:
    assert_verified(repair.run)
    assert repair.run.changed > 0
    assert_served(platform, repair.serial)


def jobs(platform: Platform) -> set[str]:
    """Return the names of the Jobs where the connections are tried from."""
    return set(platform.lab.kubectl("get", "jobs", "-n", "default", "-o", "name").split())


def test_check_mode_tries_no_connection_and_says_so(platform: Platform, repair: Repair) -> None:
    repair.run.ok()
    before = jobs(platform)
    (report,) = platform.run("verify", "--check").ok().results_of("verify_report")
    untried = [finding for finding in report["findings"] if finding["type"] == "connection"]
    assert [finding["verdict"] for finding in untried] == ["not_verifiable"] * 4
    assert jobs(platform) <= before
