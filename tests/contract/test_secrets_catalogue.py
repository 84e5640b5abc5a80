"""The catalogue of secrets says all there is to say, about every secret that anything uses, and so does its table."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.wanted import expand

from tests.contract.rendered import Documents
from tests.contract.secrets_table import DOCUMENT, names_of, table, uses, with_table

END_TO_END = Path(__file__).resolve().parents[1] / "end_to_end"
PROOFS = {"login", "served", "exchanged", "delivered", "trusted"}


def problems(documents: Documents) -> list[str]:
    """Name what the catalogue lacks."""
    catalogue = documents["secrets_catalogue"]
    known = {name for entry in catalogue for name in names_of(entry)}
    found = [f"{who} uses {name}, which is in no catalogue" for name, who in uses(documents) if name not in known]
    made = {secret.name for secret in expand(documents["secrets_vault_secrets"])}
    found += [f"{name} is made, but in no catalogue, or the reverse" for name in sorted(made ^ known)]
    accounts = {name for name, who in uses(documents) if who.startswith("account ")}
    for entry in catalogue:
        rotation: dict[str, Any] = entry.get("rotation") or {}
        found += [f"{entry['name']} has no {fact}" for fact in ("purpose", "owner", "consumers") if not entry.get(fact)]
        rotated = rotation.get("proof") in PROOFS and rotation.get("days", 0) > 0
        if rotated == bool(rotation.get("because")):
            found.append(f"{entry['name']} must have either days and proof of its rotation or because")
        if (entry["name"] in accounts) != (rotation.get("proof") == "login"):
            found.append(f"{entry['name']} must be proven by login, or is the password of no account")
        if (entry["kind"] == "certificate_authority") != (rotation.get("proof") == "trusted"):
            found.append(f"{entry['name']} must be proven trusted, or is no authority")
    return found


def test_the_catalogue_is_complete(documents: Documents) -> None:
    assert problems(documents) == []


def unrotated(documents: Documents, tests: str) -> list[str]:
    """Rows that are rotated by command, and by no end-to-end test."""
    rows = [entry for entry in documents["secrets_catalogue"] if (entry.get("rotation") or {}).get("proof")]
    return [entry["name"] for entry in rows if f'"{entry["name"]}"' not in tests]


def test_a_test_rotates_every_row(rendered: Callable[[str], Documents]) -> None:
    tests = "\n".join(path.read_text(encoding="utf-8") for path in END_TO_END.glob("test_*.py"))
    assert unrotated(rendered("production"), tests) == []
    # It would be seen.
    assert unrotated(rendered("production"), tests.replace("argocd-redis-password", "")) == ["argocd-redis-password"]


@pytest.mark.sabotage
@pytest.mark.parametrize(
    ("name", "fact"),
    [
        ("mariadb-openmrs-password", None),
        ("mariadb-tls", None),
        ("redaction-key", "owner"),
        ("platform-ca", "rotation"),
    ],
)
def test_what_the_catalogue_lacks_is_noticed(rendered: Callable[[str], Documents], name: str, fact: str | None) -> None:
    documents = copy.deepcopy(rendered("production"))
    (entry,) = [entry for entry in documents["secrets_catalogue"] if entry["name"] == name]
    if fact is None:
        documents["secrets_catalogue"].remove(entry)
    else:
        del entry[fact]
    assert any(name in problem for problem in problems(documents))


def test_the_document_shows_the_catalogue(rendered: Callable[[str], Documents]) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert with_table(text, table(rendered("production"))) == text, "python -m tests.contract.secrets_table writes it"
