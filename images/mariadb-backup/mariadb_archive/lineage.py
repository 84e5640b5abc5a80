"""The name of a data directory's own line of changes.

It lies beside the data directory, on its disk and not in it: a copy, restored elsewhere, begins a line of its own, for
its log has the same file names with other changes in them.
"""

from __future__ import annotations

import re
import uuid
from pathlib import Path

from mariadb_archive.errors import BackupError

__all__ = ["begin_anew", "lineage_of"]

FILE = "lineage"
FORM = re.compile(r"[0-9a-f]{12}")


def begin_anew(state: Path) -> None:
    """End the line, because what follows does not continue it: the next name is another one.

    Raises:
        BackupError: the file cannot be removed.
    """
    try:
        (state / FILE).unlink(missing_ok=True)
    except OSError as exc:
        raise BackupError(f"{state / FILE}: {exc.strerror}") from exc


def lineage_of(state: Path) -> str:
    """Return the name, made at the first call.

    Raises:
        BackupError: the folder cannot be written, or the file holds something else.
    """
    file = state / FILE
    try:
        if not file.exists():
            aside = file.with_name(f".{FILE}.{uuid.uuid4().hex}")
            aside.write_text(uuid.uuid4().hex[:12])
            try:
                file.hardlink_to(aside)  # the first one wins
            except FileExistsError:
                pass
            finally:
                aside.unlink()
        name = file.read_text().strip()
    except OSError as exc:
        raise BackupError(f"{file}: {exc.strerror}") from exc
    if not FORM.fullmatch(name):
        raise BackupError(
            f"{file} holds {name!r}, which is no name of a lineage: restore the file, or remove it to begin one"
        )
    return name
