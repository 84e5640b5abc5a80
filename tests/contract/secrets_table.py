"""The catalogue of secrets as the table in docs/secrets.md; `python -m tests.contract.secrets_table` writes it anew."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.references import find_references

from tests.contract.rendered import ROOT, Documents, charts, render

DOCUMENT = ROOT / "docs" / "secrets.md"
MARKS = ("<!-- table: begin -->\n", "<!-- table: end -->\n")
PAIRS = ("certificate", "certificate_authority")


def names_of(entry: dict[str, Any]) -> list[str]:
    """Return the names in the vault that an entry stands for."""
    name = entry["name"]
    return [f"{name}-key", f"{name}-certificate"] if entry["kind"] in PAIRS else [name]


def uses(documents: Documents) -> Iterator[tuple[str, str]]:
    """Give each use of a secret of the vault: its name, and who uses it."""
    for manifest in documents["kubernetes"]:
        metadata = manifest["metadata"]
        where = "/".join(filter(None, (manifest["kind"], metadata.get("namespace"), metadata["name"])))
        yield from ((name, where) for name in _named(manifest))
    for chart in charts(documents):
        yield from ((name, f"chart {chart['release']}") for name in _named(chart))
    for account in documents["mariadb_accounts"]:
        yield from ((name, f"account {account['user']}@{account.get('host', '%')}") for name in _named(account))


def _named(value: object) -> set[str]:
    return {reference.path for reference in find_references(value) if reference.kind.startswith("secret")}


def table(documents: Documents) -> str:
    """Return the catalogue as Markdown."""
    rows = ["| secret | made as | for | owner | used by | period | rotated when |", "|---|---|---|---|---|---|---|"]
    where: dict[str, set[str]] = {}
    for name, user in uses(documents):
        where.setdefault(name, set()).add(user)
    for entry in documents["secrets_catalogue"]:
        names, rotation = names_of(entry), entry["rotation"]
        users = sorted({user for name in names for user in where.get(name, ())})
        by = "; ".join([*entry["consumers"], *(f"`{user}`" for user in users)])
        how = f"not by command: {rotation['because']}" if "because" in rotation else rotation["proof"]
        how += f". {rotation['effect']}" if rotation.get("effect") else ""
        period = f"{rotation['days']} days" if "days" in rotation else "none"
        shown = ", ".join(f"`{name}`" for name in names)
        cells = [shown, entry["kind"].replace("_", " "), entry["purpose"], entry["owner"], by, period, how]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def with_table(text: str, rows: str) -> str:
    """Put a table between the marks of a document."""
    begin, end = MARKS
    pattern = re.compile(f"{re.escape(begin)}.*{re.escape(end)}", re.DOTALL)
    return pattern.sub(lambda _match: f"{begin}{rows}{end}", text)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        found = table(render("production", Path(folder)))
    DOCUMENT.write_text(with_table(DOCUMENT.read_text(encoding="utf-8"), found), encoding="utf-8")
