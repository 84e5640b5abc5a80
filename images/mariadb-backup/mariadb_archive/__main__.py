"""Command line: `python3 -m mariadb_archive COMMAND`. Results are lines of JSON; an error is one line, exit code 1."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from azure.identity import DefaultAzureCredential, WorkloadIdentityCredential

from mariadb_archive import selection
from mariadb_archive.archiver import Archiver
from mariadb_archive.azure_store import BlobStore
from mariadb_archive.check import check
from mariadb_archive.drill import Limits, drill, proven
from mariadb_archive.envelope import Archive
from mariadb_archive.errors import BackupError
from mariadb_archive.full import back_up, by_domain
from mariadb_archive.keeper import Keeper
from mariadb_archive.keys import KeyVaultWrapper
from mariadb_archive.manifests import Full, Log, Manifest
from mariadb_archive.metrics import Metrics
from mariadb_archive.restore import restore
from mariadb_archive.server import Programs, Server

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    options = _parser().parse_args(arguments)
    # Azure's clients tell each attempt to sign in; the last one is in the error.
    logging.getLogger("azure").addHandler(logging.NullHandler())
    logging.getLogger("azure").propagate = False
    try:
        return int(options.run(options) or 0)
    except (BackupError, OSError) as exc:
        print(json.dumps({"error": str(exc)}), file=sys.stderr, flush=True)
        return 1


def moment_of(text: str) -> float:
    """Return a moment, given as 2026-11-20T14:03:00+01:00, in seconds since 1970; one without an offset is refused.

    Raises:
        ArgumentTypeError: it is no moment, or could be any of several.
    """
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 2026-11-20T14:03:00+01:00") from exc
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no offset from UTC: write 2026-11-20T14:03:00+01:00")
    return moment.timestamp()


def gtid_of(text: str) -> dict[str, str]:
    """Return a position as MariaDB writes it, 0-1-42,1-1-7, by domain.

    Raises:
        ArgumentTypeError: it is none.
    """
    if not re.fullmatch(r"\d+-\d+-\d+(,\d+-\d+-\d+)*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 0-1-42,1-1-7")
    return by_domain(text)


def _full(options: argparse.Namespace) -> None:
    where = {"instance": options.instance, "state": options.state, "told": _print_step}
    made = back_up(_archive(options), _server(options), **where)
    _print({"name": made.name, **asdict(made)})


def _archive_log(options: argparse.Namespace) -> int:
    archiver = Archiver(_archive(options), _server(options), options.instance, options.state)
    if options.once:
        done = archiver.round()
        _print_step(asdict(done))
        return int(bool(done.problems))

    def full() -> Full:
        return back_up(_archive(options), archiver.server, instance=options.instance, state=options.state)

    # The first process of a container is not ended by a signal that it does not ask for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    metrics = Metrics()
    if options.metrics_port:
        metrics.serve(options.metrics_port)
    Keeper(archiver, full, _print_step, options.every, options.full_hours, metrics).run()
    return 0


def _list(options: argparse.Namespace) -> None:
    manifests = _manifests(options)
    logs = [entry for entry in manifests if isinstance(entry, Log)]
    _print(
        {
            "ranges": [
                {
                    "backup": found.full.name,
                    "server_version": found.full.server_version,
                    "from": selection.moment_text(found.first),
                    "until": selection.moment_text(found.until),
                    "logs": len(found.logs),
                }
                for found in selection.ranges(manifests)
            ],
            "gaps": [asdict(gap) for gap in selection.gaps(logs)],
            "bytes": sum(entry.stored.stored_bytes for entry in manifests if entry.stored),
        }
    )


def _fresh(options: argparse.Namespace) -> None:
    old = selection.fresh_enough(
        _manifests(options), now=time.time(), full_hours=options.full_hours, log_minutes=options.log_minutes
    )
    if old:
        raise BackupError("; ".join(old))
    _print({"fresh": True})


def _restore(options: argparse.Namespace) -> int:
    if options.sql and not options.check:
        raise BackupError("--sql is run on what was checked: give --check too")
    archive, where = _archive(options), {"instance": options.instance, "target": options.target, "moment": options.to}
    if not options.check:
        _print(restore(archive, Programs(), **where).facts())
        return 0
    done = proven(archive, Programs(), statements=options.sql, told=_print_step, **where)
    _print(done.facts())
    return int(bool(done.problems))


def _check(options: argparse.Namespace) -> int:
    done = check(Programs(), options.target)
    _print(done.facts())
    return int(bool(done.problems))


def _drill(options: argparse.Namespace) -> int:
    limits = Limits(full_hours=options.full_hours, log_minutes=options.log_minutes)
    where = {"instance": options.instance, "target": options.target, "moment": options.to, "until": options.until}
    done = drill(_archive(options), Programs(), limits=limits, told=_print_step, **where)
    _print(done.facts())
    return int(bool(done.problems))


def _prune(options: argparse.Namespace) -> None:
    names = selection.outlived(_manifests(options), now=time.time(), days=options.days)
    kept = _archive(options).store.delete(names)
    _print({"removed": [name for name in names if name not in kept], "kept": dict(kept)})


def _manifests(options: argparse.Namespace) -> list[Manifest]:
    return [entry.manifest for entry in _archive(options).entries(options.instance)]


def _archive(options: argparse.Namespace) -> Archive:
    for name in ("storage", "key"):
        if not getattr(options, name):
            raise BackupError(f"there is no {name}: set ARCHIVE_{name.upper()} or --{name}")
    # A cloud of other names than Microsoft's does not know about Microsoft's authorities, and its vaults are elsewhere.
    identity: dict[str, Any] = {"disable_instance_discovery": True} if options.other_cloud else {}
    vault = {"verify_challenge_resource": False} if options.other_cloud else {}
    federated = "AZURE_FEDERATED_TOKEN_FILE" in os.environ
    credential = WorkloadIdentityCredential(**identity) if federated else DefaultAzureCredential(**identity)
    return Archive(BlobStore(options.storage, credential), KeyVaultWrapper(options.key, credential, **vault))


def _server(options: argparse.Namespace) -> Server:
    account = (f"--defaults-extra-file={options.account}",) if options.account else ()
    return Server(Programs(), (*account, f"--socket={options.socket}"))


def _print(facts: dict[str, Any]) -> None:
    # In one piece: a full backup and the rounds beside it speak at the same time.
    print(f"{json.dumps(facts)}\n", end="", flush=True)


def _print_step(done: dict[str, Any]) -> None:
    _print({"time": selection.moment_text(time.time()), **done})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mariadb_archive", description=__doc__)
    environment = os.environ.get
    parser.add_argument("--storage", default=environment("ARCHIVE_STORAGE"), help="https://ACCOUNT…/CONTAINER")
    parser.add_argument("--key", default=environment("ARCHIVE_KEY"), help="https://VAULT…/keys/NAME")
    parser.add_argument("--instance", default=environment("ARCHIVE_INSTANCE", "mariadb"), help="name in the archive")
    parser.add_argument("--other-cloud", action="store_true", default=bool(environment("ARCHIVE_OTHER_CLOUD")))
    server = argparse.ArgumentParser(add_help=False)
    server.add_argument("--socket", default=environment("ARCHIVE_SOCKET", "/run/mysqld/mysqld.sock"))
    server.add_argument("--account", default=environment("ARCHIVE_ACCOUNT"), help="option file with user and password")
    server.add_argument("--state", type=Path, default=Path(environment("ARCHIVE_STATE", "/var/lib/archive")))
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text, parents=parents)
        added.set_defaults(run=run)
        return added

    command("full", _full, "Take a full backup.", server)
    archive = command("archive", _archive_log, "Store the log of changes, again and again.", server)
    archive.add_argument("--every", type=float, default=240, help="seconds")
    archive.add_argument("--full-hours", type=float, default=0, help="take a full backup when the last is older")
    archive.add_argument("--metrics-port", type=int, default=0, help="answer Prometheus there; 0 does not")
    archive.add_argument("--once", action="store_true", help="one round of the log only")
    command("list", _list, "Say which moments can be restored.")
    fresh = command("fresh", _fresh, "Fail when the last backup, or the log, is too old.")
    tried = command("drill", _drill, "Restore the latest moment into a folder that is thrown away, and check it.")
    for limited in (fresh, tried):
        limited.add_argument("--full-hours", type=float, default=26)
        limited.add_argument("--log-minutes", type=float, default=10)
    tried.add_argument("--to", type=moment_of, help="another moment: 2026-11-20T14:03:00+01:00")
    tried.add_argument("--until", type=gtid_of, help="last transactions that a server had then: 0-1-42,1-1-7")
    tried.add_argument("--target", type=Path, required=True, help="folder that does not exist, or is empty")
    restored = command("restore", _restore, "Make a data directory as of a moment.")
    restored.add_argument("--to", type=moment_of, required=True, help="2026-11-20T14:03:00+01:00")
    restored.add_argument("--target", type=Path, required=True, help="folder that does not exist, or is empty")
    restored.add_argument("--check", action="store_true", help="read every table of it, as a drill does")
    restored.add_argument("--sql", default="", help="statements to run on it once it is checked")
    checked = command("check", _check, "Check all tables of a data directory that no server uses, and count.")
    checked.add_argument("--target", type=Path, required=True)
    prune = command("prune", _prune, "Remove what no restore to the last days needs.")
    prune.add_argument("--days", type=int, required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main())
