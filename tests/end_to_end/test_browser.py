"""A real browser opens the frontend through the gateway, and the page of the platform; its pictures are artefacts."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from tests.end_to_end.conftest import Platform
from tests.end_to_end.support.browser import dump_page
from tests.integration.support.lab import ROOT
from tests.tools.browser import open_page

NOT_IN_THE_LAB = {"argocd", "grafana", "redis"}
# Brings a file and is through.
NOT_RUNNING = {"jvm_metrics"}
ARTEFACTS = ROOT / ".cache" / "artefacts"


def test_the_login_page_appears(well: Platform, tmp_path: Path) -> None:
    picture = ARTEFACTS / "login.png"
    document = dump_page(well.clinic, "/openmrs/spa/login", picture=picture, folder=tmp_path)
    assert picture.stat().st_size > 5000
    assert re.search(r'<input[^>]+(name|id)="username"', document), document[:2000]


def test_the_page_of_the_platform_says_that_all_is_well(well: Platform, tmp_path: Path) -> None:
    page, picture = ARTEFACTS / "status.html", ARTEFACTS / "status.png"
    well.run("status", extra={"status_page_path": str(page)}).ok()
    shown = open_page(page.as_uri(), "--window-size=1280,1800", picture=picture, folder=tmp_path)
    states = dict(re.findall(r'<article id="(\w+)">.*?class="state (\w+)"', shown, re.DOTALL))
    systems = yaml.safe_load((ROOT / "roles" / "status_page" / "defaults" / "main.yml").read_text())
    declared = {system["key"] for system in systems["status_page_systems"]} - NOT_IN_THE_LAB
    assert states == dict.fromkeys(declared, "running")
    images = yaml.safe_load((ROOT / "roles" / "platform" / "files" / "images.yml").read_text())
    for image in (image for key, image in images.items() if key not in NOT_IN_THE_LAB | NOT_RUNNING):
        assert f"{image['repository'].rpartition('/')[2]} {image['tag']}" in shown
