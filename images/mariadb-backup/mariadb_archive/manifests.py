"""What is known of each blob: plain data, committed together with it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Union

from mariadb_archive.errors import BackupError

__all__ = ["Full", "Log", "Manifest", "Stored", "decode", "encode"]

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Stored:
    """How the content was stored: sizes in bytes, digests in hexadecimal, the wrapping key."""

    plain_bytes: int
    plain_sha256: str
    stored_bytes: int
    stored_sha256: str
    key_id: str


@dataclass(frozen=True, kw_only=True)
class Full:
    """A physical backup of all data as of one position in the log of changes. Times are seconds since 1970.

    `gtid` is the last transaction in it, by domain: `{"0": "0-1-42"}`. `lineage` names the data directory: a copy of it
    has a name of its own, for its log goes on differently.
    """

    kind: ClassVar[str] = "full"
    instance: str
    lineage: str
    server_version: str
    started: float
    finished: float
    log: str
    position: int
    gtid: dict[str, str]
    stored: Stored | None = None

    @property
    def name(self) -> str:
        """The name of its blob."""
        return f"{self.instance}/{self.lineage}/full/{self.started:.0f}"


@dataclass(frozen=True, kw_only=True)
class Log:
    """One closed file of the log of changes.

    `first` and `last` are the times of its transactions, 0 when it has none. `until`: no transaction of before it is
    missing, as far as this file and those before it go. `before` and `after` are the last transactions by domain.
    """

    kind: ClassVar[str] = "log"
    instance: str
    lineage: str
    server_version: str
    file: str
    number: int
    before: dict[str, str] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)
    first: float = 0
    last: float = 0
    until: float = 0
    stored: Stored | None = None

    @property
    def name(self) -> str:
        """The name of its blob."""
        return f"{self.instance}/{self.lineage}/log/{self.file}"


Manifest = Union[Full, Log]  # noqa: UP007 (evaluated)
KINDS: dict[str, type[Full] | type[Log]] = {"full": Full, "log": Log}


def encode(manifest: Manifest) -> str:
    """Return the manifest as one line of ASCII: the same for the same facts."""
    facts = {"version": VERSION, "kind": manifest.kind, **asdict(manifest)}
    return json.dumps(facts, sort_keys=True, separators=(",", ":"))


def decode(name: str, text: str) -> Manifest:
    """Return the manifest of the blob `name`.

    Raises:
        BackupError: it is no manifest, of another version, or of another blob.
    """
    try:
        facts: dict[str, Any] = json.loads(text)
        version, kind = facts.pop("version"), facts.pop("kind")
        if version != VERSION:
            raise BackupError(f"the manifest of {name} is of version {version}; this program reads {VERSION}")
        facts["stored"] = Stored(**facts["stored"])
        manifest = KINDS[kind](**facts)
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise BackupError(f"the manifest of {name} cannot be read: {type(exc).__name__}: {exc}") from exc
    if manifest.name != name:
        raise BackupError(f"{name} has the manifest of {manifest.name}: was it copied or renamed?")
    return manifest
