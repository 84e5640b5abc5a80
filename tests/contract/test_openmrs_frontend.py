"""The real frontend of OpenMRS 3, as its image serves it, behind the chart's own nginx configuration."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.conftest import ROOT, Manifests, find
from tests.contract.test_openmrs_nginx import localize, nginx
from tests.tools.debian import unpack

IMAGE = ROOT / "tests" / "lab" / "images" / "openmrs-frontend"
VARIABLES = {
    "SPA_PATH": "/openmrs/spa",
    "API_URL": "/openmrs",
    "SPA_CONFIG_URLS": "/openmrs/spa/one.json,/openmrs/spa/two.json",
    "SPA_DEFAULT_LOCALE": "fr",
}


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the image, made as the image's build makes them."""
    folder = tmp_path_factory.mktemp("frontend")
    command = [sys.executable, str(IMAGE / "prepare.py"), str(folder)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=1700
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def start(application: Path, folder: Path, **variables: str) -> Path:
    """Run the image's start script on a copy of the pages, as in the pod; returns the pages."""
    pages = folder / "html"
    shutil.copytree(application, pages)
    programs = folder / "programs"
    programs.mkdir()
    (programs / "nginx").write_text("#!/bin/sh\necho served\n")
    (programs / "nginx").chmod(0o755)
    envsubst = shutil.which("envsubst") or str(unpack("gettext-base", ("gettext-base",)).root / "usr/bin/envsubst")
    (programs / "envsubst").symlink_to(envsubst)
    done = subprocess.run(
        ["/bin/sh", IMAGE / "startup.sh"],
        env={"PATH": f"{programs}:/usr/bin:/bin", "HTML": str(pages), "TMPDIR": str(folder), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "served\n"), done.stderr
    return pages


def test_the_environment_reaches_the_pages(application: Path, tmp_path: Path) -> None:
    page = (start(application, tmp_path, **VARIABLES) / "index.html").read_text()
    assert 'apiUrl: "/openmrs"' in page
    assert 'spaPath: "/openmrs/spa"' in page
    assert 'configUrls: ["/openmrs/spa/one.json","/openmrs/spa/two.json"]' in page
    assert '<html lang="fr"' in page
    assert 'src="/openmrs/spa/importmap.json"' in page
    assert not re.findall(r"\$[A-Z_]{4,}", page)


def test_without_configuration_files_there_are_none_and_the_import_map_can_be_elsewhere(
    application: Path, tmp_path: Path
) -> None:
    variables = {**VARIABLES, "SPA_CONFIG_URLS": "", "IMPORTMAP_URL": "/other/importmap.json"}
    page = (start(application, tmp_path, **variables) / "index.html").read_text()
    assert "configUrls: []" in page
    assert 'src="/other/importmap.json"' in page


def test_the_whole_application_is_served_by_the_charts_nginx(
    application: Path, chart: Manifests, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    pages = start(application, tmp_path, **VARIABLES)
    configuration = str(find(chart, "ConfigMap", "openmrs-frontend")["data"]["nginx.conf"])
    port = free_port()
    with nginx(localize(configuration, tmp_path, port=port), tmp_path, port):
        page = get(port, "/login")
        scripts = re.findall(r'(?:src|href)="/openmrs/spa/([^"]+)"', page)
        assert any(name.startswith("openmrs.") and name.endswith(".js") for name in scripts)
        modules = json.loads(get(port, "/importmap.json"))["imports"]
        assert "@openmrs/esm-login-app" in modules
        routes = json.loads(get(port, "/routes.registry.json"))
        assert routes.keys() == modules.keys()
        for name in [*scripts, *(path.removeprefix("./") for path in modules.values())]:
            assert get(port, f"/{name}")
    assert not list(pages.glob("*.map"))


def get(port: int, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path)
    answer = connection.getresponse()
    content = answer.read().decode(errors="replace")
    assert answer.status == 200, f"{path}: {answer.status}"
    return content
