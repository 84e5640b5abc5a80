"""A real browser opens the frontend through the gateway; its picture is kept as an artefact."""

from __future__ import annotations

import re
from pathlib import Path

from tests.end_to_end.conftest import Platform
from tests.end_to_end.support.browser import dump_page
from tests.integration.support.lab import ROOT

ARTEFACTS = ROOT / ".cache" / "artefacts"


def test_the_login_page_appears(well: Platform, tmp_path: Path) -> None:
    picture = ARTEFACTS / "login.png"
    document = dump_page(well.clinic, "/openmrs/spa/login", picture=picture, folder=tmp_path)
    assert picture.stat().st_size > 5000
    assert re.search(r'<input[^>]+(name|id)="username"', document), document[:2000]
