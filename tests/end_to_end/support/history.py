"""Rows that change under the eyes of a test, which knows them as of every transaction of the log."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.integration.support.lab import Lab

__all__ = ["History", "Transaction", "being_written", "restored_rows"]

PAUSE_SECONDS = 0.02
SCHEMA = (
    "CREATE DATABASE IF NOT EXISTS history;"
    " CREATE OR REPLACE TABLE history.entry (id INT PRIMARY KEY, value INT NOT NULL);"
)
CLOCK = "UNIX_TIMESTAMP(SYSDATE(6))"
# The server's own programs on its files: what they hold, not what the product says of them.
READ = """
mariadbd --no-defaults --datadir=/var/lib/mysql --tmpdir=/tmp --socket=/tmp/socket --pid-file=/tmp/pid \
  --skip-networking --skip-grant-tables --skip-log-bin > /tmp/log 2>&1 &
until mariadb-admin --socket=/tmp/socket ping > /dev/null 2>&1; do kill -0 $!; sleep 0.2; done
mariadb --socket=/tmp/socket --batch --skip-column-names --execute 'SELECT id, value FROM history.entry'
mariadb-admin --socket=/tmp/socket shutdown
wait
"""


@dataclass(frozen=True)
class Transaction:
    """One that was confirmed: its number in the log, the server's clock before and after it, what it wrote.

    A row that is None was deleted.
    """

    number: int
    began: float
    ended: float
    rows: Mapping[int, int | None]


@dataclass
class History:
    """All transactions, in their order."""

    transactions: list[Transaction] = field(default_factory=list)

    def rows(self, number: int) -> dict[int, int]:
        """Return the rows as of the transaction with that number."""
        found: dict[int, int | None] = {}
        for transaction in self.transactions:
            if transaction.number <= number:
                found |= transaction.rows
        return {key: value for key, value in found.items() if value is not None}

    def assert_is_of(self, moment: float, number: int) -> None:
        """Expect the transaction to be the last before a moment: what had ended is in it, what had not begun is not."""
        assert [one for one in self.transactions if one.ended < moment and one.number > number] == []
        assert [one for one in self.transactions if one.began >= moment and one.number <= number] == []


def changes(chance: random.Random, rows: Mapping[int, int], fresh: int) -> dict[int, int | None]:
    """Choose what the next transaction does: new rows, and some of the old ones changed or deleted."""
    chosen: dict[int, int | None] = {fresh + n: chance.randrange(10**9) for n in range(chance.randint(1, 3))}
    for key in chance.sample(sorted(rows), min(len(rows), chance.randint(0, 3))):
        chosen[key] = None if chance.random() < 0.3 else chance.randrange(10**9)
    return chosen


def statements(rows: Mapping[int, int | None]) -> str:
    """Return the SQL of one transaction, in one line; it answers with both clocks and its number."""
    written = [
        f"DELETE FROM history.entry WHERE id = {key};"  # noqa: S608 (numbers)
        if value is None
        else f"REPLACE INTO history.entry VALUES ({key}, {value});"  # noqa: S608 (numbers)
        for key, value in rows.items()
    ]
    return f"SELECT {CLOCK}; START TRANSACTION; {' '.join(written)} COMMIT; SELECT @@last_gtid, {CLOCK};\n"


@contextlib.contextmanager
def being_written(lab: Lab, seed: int) -> Iterator[History]:
    """Write one transaction after the other beside the body."""
    history, over, chance = History(), threading.Event(), random.Random(seed)  # noqa: S311 (not a secret)
    exec_in = ["exec", "-i", "-n", "mariadb", "mariadb-0", "-c", "mariadb", "--"]
    client = ["mariadb", "--batch", "--skip-column-names", "--unbuffered"]
    process = subprocess.Popen(
        lab.kubectl_command(*exec_in, *client),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    asked, answers = process.stdin, process.stdout
    assert asked is not None
    assert answers is not None
    asked.write(f"{SCHEMA}\n")

    def work() -> None:
        rows: dict[int, int] = {}
        fresh = 0
        while not over.wait(PAUSE_SECONDS):
            wanted = changes(chance, rows, fresh)
            asked.write(statements(wanted))
            began, (gtid, ended) = float(answers.readline()), answers.readline().split()
            history.transactions.append(Transaction(int(gtid.split("-")[2]), began, float(ended), wanted))
            rows = {key: value for key, value in {**rows, **wanted}.items() if value is not None}
            fresh = max(fresh, *wanted) + 1

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield history
        assert thread.is_alive(), f"it stopped being written after {len(history.transactions)} transactions"
    finally:
        over.set()
        thread.join(timeout=60)
        asked.close()
        process.wait(60)


def restored_rows(lab: Lab, claim: str) -> dict[int, int]:
    """Return the rows that a restored volume holds; the volume is thrown away."""
    pod: dict[str, Any] = json.loads(lab.kubectl("get", "pod", "mariadb-0", "-n", "mariadb", "-o", "json"))
    [server] = [one for one in pod["spec"]["containers"] if one["name"] == "mariadb"]
    name = f"reader-{claim}"
    reader = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "mariadb"},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": pod["spec"]["securityContext"],
            "containers": [
                {
                    "name": "reader",
                    "image": server["image"],
                    "command": ["bash", "-ec", READ],
                    "securityContext": server["securityContext"],
                    "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
                    "volumeMounts": [
                        {"name": "data", "mountPath": "/var/lib/mysql", "subPath": "mysql"},
                        {"name": "temporary", "mountPath": "/tmp"},
                    ],
                }
            ],
            "volumes": [
                {"name": "data", "persistentVolumeClaim": {"claimName": claim}},
                {"name": "temporary", "emptyDir": {}},
            ],
        },
    }
    which = ("-n", "mariadb", f"pod/{name}")
    try:
        lab.kubectl("apply", "-f", "-", stdin=json.dumps(reader))
        lab.kubectl("wait", *which, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=110s")
        printed = lab.kubectl("logs", *which)
    finally:
        lab.kubectl("delete", *which, "--ignore-not-found", "--grace-period=1")
        lab.kubectl("delete", "-n", "mariadb", "pvc", claim)
    return {int(key): int(value) for key, value in map(str.split, printed.splitlines())}
