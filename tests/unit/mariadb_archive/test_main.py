"""The command line: what it takes, and that it says no in one line."""

from __future__ import annotations

import argparse
import json

import pytest
from mariadb_archive.__main__ import gtid_of, main, moment_of

SETTINGS = ("ARCHIVE_STORAGE", "ARCHIVE_KEY", "AZURE_FEDERATED_TOKEN_FILE")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-20T14:03:00+01:00", 1795179780),
        ("2026-11-20T13:03:00Z", 1795179780),
        ("2026-11-20 13:03:00+00:00", 1795179780),
    ],
)
def test_a_moment(text: str, moment: float) -> None:
    assert moment_of(text) == moment


@pytest.mark.parametrize(
    ("text", "why"), [("2026-11-20T14:03:00", "has no offset"), ("yesterday", "is not of the form")]
)
def test_a_moment_that_is_none_or_could_be_several(text: str, why: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=why):
        moment_of(text)


def test_a_position() -> None:
    assert gtid_of("0-1-42,1-2-7") == {"0": "0-1-42", "1": "1-2-7"}


@pytest.mark.parametrize("text", ["", "0-1", "0-1-42,", "0-1-x"])
def test_a_position_that_is_none(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not of the form 0-1-42,1-1-7"):
        gtid_of(text)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["list"], "there is no storage: set ARCHIVE_STORAGE or --storage"),
        (
            ["--storage", "https://nobody.invalid/c", "prune", "--days", "35"],
            "there is no key: set ARCHIVE_KEY or --key",
        ),
        (["check", "--target", "/nonexistent"], "/nonexistent is no data directory"),
        (
            ["restore", "--to", "2026-11-20T14:03:00Z", "--target", "/nonexistent", "--sql", "DO 0"],
            "--sql is run on what was checked: give --check too",
        ),
    ],
)
def test_an_error_is_one_line(arguments: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert json.loads(said.err) == {"error": error}
