"""A module that runs in the process of its task gives what it gives in a Python of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.support.playbook import PlaybookRun, run_playbook
from tests.lab.azure.testing import Running, serve

MODULE = "verify_azure"
OWN = "{{ ansible_playbook_python }}"
STARTED = "EXEC /bin/sh"


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serve(tmp_path_factory.mktemp("azure")) as running:
        yield running


@pytest.fixture
def other_python(tmp_path: Path) -> str:
    """The same Python under another name."""
    name = tmp_path / "python"
    name.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    name.chmod(0o755)
    return str(name)


def arguments(azure: Running, **changed: Any) -> dict[str, Any]:
    settings = azure.settings
    return {
        "cloud_environment": f"{settings.base_url}/metadata/endpoints?api-version=2022-09-01",
        "tenant": settings.tenant_id,
        "client_id": settings.client_id,
        "secret": settings.client_secret,
        "resources": [{"id": f"{azure.subscription}/resourceGroups/rg-gone", "api_version": "2025-04-01"}],
        **changed,
    }


def play(folder: Path, options: dict[str, Any], **keywords: Any) -> str:
    """Write a play with one task; return its path."""
    task = {"name": "Read", f"audioprothese.platform.{MODULE}": options, **keywords}
    path = folder / "play.yml"
    path.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    return str(path)


def run(path: str, python: str = OWN, **variables: str) -> PlaybookRun:
    local = ("-i", "localhost,", "-c", "local", "-vvv")
    return run_playbook(None, path, *local, extra={"ansible_python_interpreter": python}, variables=variables)


def outcomes(path: str, python: str) -> tuple[PlaybookRun, PlaybookRun]:
    """The play in the process of its task, and in a Python of the module's own."""
    here, elsewhere = run(path), run(path, python)
    assert STARTED not in here.output
    assert STARTED in elsewhere.output
    return here, elsewhere


def test_results_are_the_same(azure: Running, other_python: str, tmp_path: Path) -> None:
    here, elsewhere = outcomes(play(tmp_path, arguments(azure)), other_python)
    assert here.results_of(MODULE)[0]["answers"][0]["status"] == 404
    assert here.results_of(MODULE) == elsewhere.results_of(MODULE)


def test_failures_are_the_same_and_hold_no_secret(azure: Running, other_python: str, tmp_path: Path) -> None:
    runs = outcomes(play(tmp_path, arguments(azure, secret="not-the-secret")), other_python)
    assert runs[0].failure() == runs[1].failure()
    assert "AADSTS7000215" in runs[0].failure()
    assert not any("not-the-secret" in one.output for one in runs)


def test_wrong_options_are_refused_alike(azure: Running, other_python: str, tmp_path: Path) -> None:
    here, elsewhere = outcomes(play(tmp_path, arguments(azure, timeout="soon")), other_python)
    assert here.failure() == elsewhere.failure()
    assert "timeout" in here.failure()


def test_the_environment_of_the_task_reaches_it_and_no_other(azure: Running, tmp_path: Path) -> None:
    options = arguments(azure)
    trusted = play(tmp_path, options, environment={"REQUESTS_CA_BUNDLE": str(azure.ca_file)})
    nothing = {"REQUESTS_CA_BUNDLE": "", "SSL_CERT_FILE": ""}
    assert run(trusted, **nothing).ok().results_of(MODULE)[0]["answers"][0]["status"] == 404
    assert "CERTIFICATE_VERIFY_FAILED" in run(play(tmp_path, options), **nothing).failure()
