"""What goes wrong in a run is said in one clear sentence, and the platform goes on serving meanwhile."""

from __future__ import annotations

import json

from tests.end_to_end.conftest import Platform
from tests.integration.support.lab_vault import set_secret

MISSING = "sha256:" + "0" * 64


def test_a_quota_that_is_exceeded_is_named(well: Platform) -> None:
    run = well.deploy("openmrs", extra={"openmrs_frontend_replicas": 10})
    assert "exceeded quota" in run.failure()
    assert well.clinic.healthy()
    well.deploy("openmrs").ok()


def test_a_digest_that_nobody_publishes_is_refused_before_anything_changes(well: Platform) -> None:
    built = json.loads((well.lab.home / "images.json").read_text(encoding="utf-8"))
    run = well.site("--skip-tags", "verify", extra={"lab_built_images": dict.fromkeys(built, MISSING)})
    assert MISSING[:20] in run.failure()
    assert well.clinic.healthy()
    run = well.site("--skip-tags", "verify").ok()
    assert run.changed == 0, [task["task"] for task in run.tasks if task["result"].get("changed")]


def test_a_password_changed_in_the_vault_reaches_server_and_client(well: Platform) -> None:
    set_secret(well.lab, "mariadb-openmrs-password", "Changed-by-hand-in-the-portal-1")
    well.deploy().ok()
    # Connections that are open outlive the password they were made with: only new ones prove that the client has it.
    well.lab.kubectl("exec", "-n", "mariadb", "mariadb-0", "--", "mariadb", "--execute", "KILL USER openmrs")
    well.ledger.write("Mot-de-passe")
    assert well.deploy().ok().changed == 0
