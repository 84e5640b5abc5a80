"""The running server, and the programs that come with it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from mariadb_archive.errors import BackupError

__all__ = ["Programs", "Server", "fed", "last_lines", "streamed"]

PART = 1 << 20
TOLD = 5


@dataclass(frozen=True)
class Programs:
    """MariaDB's programs: by their names on the path, unless they are elsewhere.

    Args:
        paths: program by name.
        server_options: what the server needs where it is not installed in its place.
    """

    paths: dict[str, str] = field(default_factory=dict)
    server_options: tuple[str, ...] = ()

    def command(self, name: str, *arguments: str) -> list[str]:
        """Return the command that runs one of them."""
        return [self.paths.get(name, name), *arguments]

    def run(self, name: str, *arguments: str, stdin: str = "", timeout: float = 600) -> str:
        """Run one and return what it prints.

        Raises:
            BackupError: it fails; with its last lines.
        """
        command = self.command(name, *arguments)
        try:
            done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=timeout)
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise BackupError(f"{name}: {exc}") from exc
        if done.returncode:
            raise BackupError(f"{name} failed: {last_lines(done.stderr)}")
        return done.stdout

    def version(self) -> str:
        """Return the version of the server's program, as 10.11.18-MariaDB."""
        words = self.run("mariadbd", "--no-defaults", "--version").split()
        return words[words.index("Ver") + 1]


@dataclass(frozen=True)
class Server:
    """A running server as a local account reaches it.

    Args:
        programs: its programs.
        connection: options of its clients: --defaults-extra-file=… first, then --socket=… and --user=….
    """

    programs: Programs
    connection: tuple[str, ...]

    def ask(self, statement: str, *, timeout: float = 120) -> list[list[str]]:
        """Run a statement, which may take so many seconds; return its rows.

        Raises:
            BackupError: the server refuses or does not answer.
        """
        defaults = [] if any("defaults" in option for option in self.connection) else ["--no-defaults"]
        output = self.programs.run("mariadb", *defaults, *self.connection, "-BN", stdin=statement, timeout=timeout)
        return [line.split("\t") for line in output.splitlines()]

    def is_replica(self) -> bool:
        """Tell whether it takes no writes but those of its primary.

        Raises:
            BackupError: the server refuses or does not answer.
        """
        [[read_only]] = self.ask("SELECT @@GLOBAL.read_only")
        return read_only not in ("0", "OFF")


def streamed(command: Sequence[str], log: Path) -> Iterator[bytes]:
    """Give what a program prints; an error when it fails, also after it printed everything.

    Args:
        command: the program.
        log: file that takes what it says besides.

    Raises:
        BackupError: it fails; with the last lines of the log.
    """
    with log.open("ab") as told:
        try:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=told, stdin=subprocess.DEVNULL)
        except OSError as exc:
            raise BackupError(f"{command[0]}: {exc}") from exc
    output = cast(IO[bytes], process.stdout)
    try:
        while part := os.read(output.fileno(), PART):
            yield part
        if process.wait():
            raise BackupError(f"{Path(command[0]).name} failed: {last_lines(log.read_text(errors='replace'))}")
    finally:
        process.kill()
        process.wait()
        output.close()


def fed(command: Sequence[str], log: Path, stream: Iterable[bytes]) -> None:
    """Run a program on a stream.

    Raises:
        BackupError: the stream breaks, or the program fails; with the last lines of the log.
    """
    with log.open("ab") as told:
        try:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=told, stderr=told)
        except OSError as exc:
            raise BackupError(f"{command[0]}: {exc}") from exc
        taken = cast(IO[bytes], process.stdin)
        try:
            with contextlib.suppress(BrokenPipeError):  # it says why it wants no more
                for part in stream:
                    taken.write(part)
                taken.close()
            status = process.wait()
        finally:
            process.kill()
            process.wait()
    if status:
        raise BackupError(f"{Path(command[0]).name} failed: {last_lines(log.read_text(errors='replace'))}")


def last_lines(text: str) -> str:
    """Return the end of what a program said, in one line."""
    return " / ".join(line.strip() for line in text.strip().splitlines()[-TOLD:])
