"""State in SQLite. One process and one thread use it; a crash of the process loses nothing that was committed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.azure.arm_id import ArmId

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS resources (
    key TEXT PRIMARY KEY, id TEXT NOT NULL, type TEXT NOT NULL, parent TEXT NOT NULL, subscription TEXT NOT NULL,
    resource_group TEXT NOT NULL, name TEXT NOT NULL, position INTEGER NOT NULL, body TEXT NOT NULL,
    private TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS resources_type ON resources (type, name);
CREATE INDEX IF NOT EXISTS resources_group ON resources (resource_group, type);
CREATE INDEX IF NOT EXISTS resources_parent ON resources (parent, type);
CREATE TABLE IF NOT EXISTS links (
    source TEXT NOT NULL, target TEXT NOT NULL, type TEXT NOT NULL, rule TEXT NOT NULL, path TEXT NOT NULL,
    PRIMARY KEY (source, rule, path, target)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS links_target ON links (target);
CREATE TABLE IF NOT EXISTS records (
    kind TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counters (
    part TEXT NOT NULL, effect TEXT NOT NULL, verb TEXT NOT NULL, number INTEGER NOT NULL,
    PRIMARY KEY (part, effect, verb)
) WITHOUT ROWID;
"""


@dataclass(slots=True)
class Resource:
    """One stored resource. `body` is what PUT left (children apart); `private` is never shown."""

    id: ArmId
    body: dict[str, Any]
    private: dict[str, Any] = field(default_factory=dict)
    position: int = 0

    @property
    def key(self) -> str:
        """Lower-case id."""
        return self.id.key

    @property
    def type(self) -> str:
        """Lower-case type."""
        return self.id.type


@dataclass(frozen=True, slots=True)
class Link:
    """A reference from one resource to another, made by a rule of the source's type."""

    source: str
    target: str
    type: str
    rule: str
    path: str


class Store:
    """Resources, links between them, and small records (operations, principals, secrets, faults …)."""

    def __init__(self, path: Path | str) -> None:
        if isinstance(path, Path):
            path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # OFF may lose the last commits when the machine dies, never when the process does.
        for pragma in ("journal_mode=WAL", "synchronous=OFF", "temp_store=MEMORY"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.executescript(_SCHEMA)
        self._depth = 0

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; an inner transaction joins the outer one. Do not await inside."""
        if self._depth:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            return
        self._db.execute("BEGIN IMMEDIATE")
        self._depth = 1
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        else:
            self._db.execute("COMMIT")
        finally:
            self._depth = 0

    def clear(self) -> None:
        """Forget everything but `meta` (signing keys)."""
        with self.transaction():
            for table in ("resources", "links", "records", "counters"):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608 - the names are literals above

    # meta

    def meta(self, name: str) -> str | None:
        """A value that outlives `clear`."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else None

    def set_meta(self, name: str, value: str) -> None:
        """Keep a value over `clear`."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    # resources

    def get(self, id_or_key: ArmId | str) -> Resource | None:
        """The resource with that id in any spelling."""
        key = id_or_key.key if isinstance(id_or_key, ArmId) else id_or_key.lower()
        row = self._db.execute("SELECT id, body, private, position FROM resources WHERE key = ?", (key,)).fetchone()
        return _resource(row) if row else None

    def exists(self, id_or_key: ArmId | str) -> bool:
        """Whether there is a resource with that id."""
        key = id_or_key.key if isinstance(id_or_key, ArmId) else id_or_key.lower()
        return self._db.execute("SELECT 1 FROM resources WHERE key = ?", (key,)).fetchone() is not None

    def save(self, resource: Resource) -> None:
        """Create or replace. A new resource without a position comes last."""
        if not resource.position:
            (resource.position,) = self._db.execute("SELECT coalesce(max(position), 0) + 1 FROM resources").fetchone()
        arm_id = resource.id
        self._db.execute(
            "INSERT INTO resources VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
            "id = excluded.id, position = excluded.position, body = excluded.body, private = excluded.private",
            (
                arm_id.key,
                arm_id.text,
                arm_id.type,
                arm_id.parent.key,
                arm_id.subscription.lower(),
                arm_id.resource_group.lower(),
                arm_id.name.lower(),
                resource.position,
                json.dumps(resource.body),
                json.dumps(resource.private),
            ),
        )

    def delete(self, id_or_key: ArmId | str) -> None:
        """Remove one resource and its links, not what is below it."""
        key = id_or_key.key if isinstance(id_or_key, ArmId) else id_or_key.lower()
        self._db.execute("DELETE FROM resources WHERE key = ?", (key,))
        self._db.execute("DELETE FROM links WHERE source = ?", (key,))

    def find(self, type_key: str, **where: str) -> list[Resource]:
        """Resources of a type; `where` compares parent, subscription, resource_group or name in any case."""
        clause = "".join(f" AND {column} = ?" for column in where if column in _COLUMNS)
        rows = self._db.execute(
            f"SELECT id, body, private, position FROM resources WHERE type = ?{clause} ORDER BY position",  # noqa: S608
            (type_key.lower(), *(value.lower() for value in where.values())),
        )
        return [_resource(row) for row in rows]

    def children(self, parent: ArmId | str, type_key: str | None = None) -> list[Resource]:
        """What stands directly below `parent`."""
        key = parent.key if isinstance(parent, ArmId) else parent.lower()
        clause, values = ("", [key]) if type_key is None else (" AND type = ?", [key, type_key.lower()])
        rows = self._db.execute(
            f"SELECT id, body, private, position FROM resources WHERE parent = ?{clause} ORDER BY position",  # noqa: S608
            values,
        )
        return [_resource(row) for row in rows]

    def below(self, scope: ArmId | str) -> list[Resource]:
        """Everything whose id starts with `scope`, deepest first."""
        key = scope.key if isinstance(scope, ArmId) else scope.lower()
        rows = self._db.execute(
            "SELECT id, body, private, position FROM resources WHERE key > ? AND key < ? ORDER BY length(key) DESC",
            (key.rstrip("/") + "/", key.rstrip("/") + "0"),
        )
        return [_resource(row) for row in rows]

    # links

    def set_links(self, source: str, links: Iterable[Link]) -> None:
        """Replace the references of one resource."""
        self._db.execute("DELETE FROM links WHERE source = ?", (source,))
        self._db.executemany(
            "INSERT OR IGNORE INTO links VALUES (?, ?, ?, ?, ?)",
            [(link.source, link.target, link.type, link.rule, link.path) for link in links],
        )

    def links_to(self, target: ArmId | str) -> list[Link]:
        """References to exactly that resource."""
        key = target.key if isinstance(target, ArmId) else target.lower()
        rows = self._db.execute(
            "SELECT l.source, l.target, l.type, l.rule, l.path FROM links l JOIN resources r ON r.key = l.source "
            "WHERE l.target = ? ORDER BY r.position",
            (key,),
        )
        return [Link(*row) for row in rows]

    def links_from(self, source: str) -> list[Link]:
        """References of one resource."""
        rows = self._db.execute(
            "SELECT source, target, type, rule, path FROM links WHERE source = ?", (source.lower(),)
        )
        return [Link(*row) for row in rows]

    def referrers(self, target: ArmId | str) -> list[Resource]:
        """Resources that refer to exactly that one."""
        found = (self.get(link.source) for link in self.links_to(target))
        return [resource for resource in found if resource is not None]

    # records

    def record(self, kind: str, key: str) -> dict[str, Any] | None:
        """A small record by its key (exact)."""
        row = self._db.execute("SELECT value FROM records WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        return json.loads(row[0]) if row else None

    def records(self, kind: str, prefix: str = "") -> list[tuple[str, dict[str, Any]]]:
        """All records of a kind whose key starts with `prefix`, by key."""
        rows = self._db.execute(
            "SELECT key, value FROM records WHERE kind = ? AND substr(key, 1, ?) = ? ORDER BY key",
            (kind, len(prefix), prefix),
        )
        return [(row[0], json.loads(row[1])) for row in rows]

    def put_record(self, kind: str, key: str, value: dict[str, Any]) -> None:
        """Create or replace a record."""
        self._db.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", (kind, key, json.dumps(value)))

    def delete_record(self, kind: str, key: str) -> bool:
        """Remove a record; whether it was there."""
        return self._db.execute("DELETE FROM records WHERE kind = ? AND key = ?", (kind, key)).rowcount > 0

    # counters

    def count(self, part: str, effect: str, verb: str) -> None:
        """Count one request."""
        self._db.execute(
            "INSERT INTO counters VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET number = number + 1",
            (part, effect, verb),
        )

    def counts(self) -> list[tuple[str, str, str, int]]:
        """(part, effect, verb, number)."""
        return list(self._db.execute("SELECT part, effect, verb, number FROM counters ORDER BY 1, 2, 3"))

    def reset_counts(self) -> None:
        """Start counting anew."""
        self._db.execute("DELETE FROM counters")


_COLUMNS = frozenset({"parent", "subscription", "resource_group", "name"})


def _resource(row: tuple[str, str, str, int]) -> Resource:
    return Resource(id=ArmId.parse(row[0]), body=json.loads(row[1]), private=json.loads(row[2]), position=row[3])
