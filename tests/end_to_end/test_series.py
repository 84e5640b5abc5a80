"""MariaDB of the next series: refused until somebody consents, and then no record is lost. There is no way back."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Platform
from tests.end_to_end.support import archive
from tests.end_to_end.support.database import query
from tests.end_to_end.support.images import image_overrides
from tests.end_to_end.support.pods import await_rollouts

# Later tests of the session would run on it.
pytestmark = [pytest.mark.soak, pytest.mark.spoils]

NEXT = {"mariadb": "11.8.8", "mariadb_backup": "11.8-1"}
CONSENT = {"estate_allow_upgrade": ["StatefulSet/mariadb/mariadb"]}


def test_mariadb_of_the_next_series_keeps_every_record(well: Platform, tmp_path: Path) -> None:
    well.lab.command("images", *(f"{name.replace('_', '-')}:{tag}" for name, tag in NEXT.items()), timeout=1800)
    newer = {"platform_image_overrides": image_overrides(well.lab, **NEXT)}
    well.ledger.write("Avant la série")
    refused = well.site("--skip-tags", "verify", extra=newer).failure()
    assert "its data is of mariadb-10.11 and would be rewritten for mariadb-11.8" in refused
    assert query(well.lab, "SELECT VERSION()").startswith("10.11")
    well.run("backup").ok()
    archive.await_archived(well.lab, dt.datetime.now(dt.UTC))
    well.run("restore_check", extra={"mariadb_restore_check_report": str(tmp_path / "report.json")}).ok()
    well.declared |= newer
    well.site("--skip-tags", "verify", extra=CONSENT).ok()
    await_rollouts(well.lab)
    assert query(well.lab, "SELECT VERSION()").startswith("11.8")
    well.ledger.write("Après la série")
    assert well.site().ok().changed == 0
