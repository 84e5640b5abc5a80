# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A conversation with one server: log in over its local socket, ask, and write."""

from __future__ import annotations

import dataclasses
import re
import secrets
from collections.abc import Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.errors import MariaDBError
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.sql import answers, marked
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.transport import Completed, Transport

__all__ = ["DENIED", "Login", "Session"]

# CR_SSL_CONNECTION_ERROR: before anybody logs in. https://mariadb.com/kb/en/mariadb-error-code-reference/
_NO_TRUST = 2026
# ER_ACCESS_DENIED_ERROR, ER_ACCESS_DENIED_NO_PASSWORD_ERROR; source: https://mariadb.com/kb/en/mariadb-error-code-reference/
DENIED = (1045, 1698)
_ERROR = re.compile(r"ERROR (\d+) \([0-9A-Z]{5}\)(?: at line \d+)?: (.*)", re.DOTALL)
_NO_CONNECTION = re.compile(r"ERROR (20\d\d)\b")
_FILE = 'MYSQL_PWD=$(cat "$1") exec "${@:2}"'
# The password comes first on standard input, so that it is in no argument.
_GIVEN = 'IFS= read -r MYSQL_PWD; export MYSQL_PWD; exec "$@"'
_GIVEN_TRUST = 'IFS= read -r MYSQL_PWD; export MYSQL_PWD; exec "${@:2}" --ssl-ca=<(printf %s "$1")'
_OPTIONS = ("--protocol=socket", "--batch", "--default-character-set=utf8mb4", "--connect-timeout=10")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """How to become administrator on the server's machine.

    Attributes:
        administrator: account that the server knows by the user of the operating system (unix_socket).
        socket: path of the server's socket.
        password_file: file with the password of C(root), on the server's machine; used when the administrator is not
            there, which is so after a first start that was cut short.
    """

    administrator: str = "mysql"
    socket: str = "/run/mysqld/mysqld.sock"
    password_file: str = ""


class Session:
    """One server.

    Args:
        transport: reaches its machine.
        login: who to be.
        where: the server's name in errors.
        timeout: seconds that a script may take.
    """

    def __init__(self, transport: Transport, login: Login, *, where: str, timeout: float = 60.0) -> None:
        self.transport, self._login, self.where, self._timeout = transport, login, where, timeout
        self._client: tuple[str, ...] | None = None

    @property
    def administrator(self) -> str:
        """The account that converges the server."""
        return self._login.administrator

    def query(self, statements: Sequence[str], *, keep_going: bool = False) -> list[list[dict[str, str]]]:
        """The rows that each statement gives.

        Args:
            statements: queries.
            keep_going: a query that the server refuses gives no row.

        Raises:
            MariaDBError: a query was refused, or nobody may log in.
        """
        token = f"m{secrets.token_hex(16)}"
        done = self._run(marked(statements, token), ("--force",) if keep_going else ())
        return answers(done.stdout, token)

    def execute(self, statements: Sequence[str], *, timeout: float | None = None) -> None:
        """Run statements that are nobody else's business: neither the log of changes nor a replica sees them.

        Raises:
            MariaDBError: one was refused; those before it took effect.
        """
        script = "SET SESSION sql_log_bin = 0;\n" + "".join(f"{statement};\n" for statement in statements)
        self._run(script, (), timeout=timeout)

    def try_login(self, user: str, password: str, *, port: int = 0) -> str:
        """The account that a password opens, as the server names it.

        Args:
            user: who.
            password: what is tried.
            port: over TLS from the server's own machine; 0 is its socket.

        Raises:
            MariaDBError: refused (its code is one of DENIED), or it could not be tried.
        """
        way = ["--protocol=tcp", "--host=127.0.0.1", f"--port={port}", "--ssl", "--skip-ssl-verify-server-cert"]
        way = way if port else ["--protocol=socket", f"--socket={self._login.socket}"]
        client = ["mariadb", "--no-defaults", f"--user={user}", *way, "--batch", "--skip-column-names"]
        command = ["bash", "-c", _GIVEN, "login", *client, "--connect-timeout=10"]
        done = self.transport.run(command, f"{password}\nSELECT CURRENT_USER();\n", timeout=self._timeout)
        if done.status:
            raise self._refused(done)
        return done.stdout.strip()

    def try_trust(self, user: str, password: str, *, host: str, port: int, file: str = "", trusted: str = "") -> bool:
        """Whether the client on this machine trusts the certificate and the name of a server, and signs in there.

        Args:
            user: who.
            password: of that user.
            host: name of the server, which its certificate must bear.
            port: of the server.
            file: what the client trusts, on this machine.
            trusted: the same as PEM, in place of a file.

        Raises:
            MariaDBError: it failed for another reason than trust.
        """
        way = ["--protocol=tcp", f"--host={host}", f"--port={port}", "--ssl-verify-server-cert"]
        client = ["mariadb", "--no-defaults", f"--user={user}", *way, "--batch", "--connect-timeout=10"]
        given = [_GIVEN_TRUST, "trust", trusted, *client] if trusted else [_GIVEN, "trust", *client, f"--ssl-ca={file}"]
        done = self.transport.run(["bash", "-c", *given], f"{password}\nSELECT 1;\n", timeout=self._timeout)
        if not done.status:
            return True
        error = self._refused(done)
        if error.code != _NO_TRUST:
            raise error
        return False

    def read_file(self, path: str) -> str:
        """What a file on this machine holds.

        Raises:
            MariaDBError: it cannot be read.
        """
        done = self.transport.run(["cat", path], "", timeout=30)
        if done.status:
            raise MariaDBError(
                f"the file {path} cannot be read",
                where=self.where,
                remedy="Check its path and that its Secret is there",
            )
        return done.stdout

    def connect(self) -> tuple[str, ...]:
        """The command that logs in; what it reads on standard input is SQL.

        Raises:
            MariaDBError: the server does not answer, or nobody may log in.
        """
        if self._client is None:
            self._client = self._log_in()
        return self._client

    def _run(self, script: str, more: Sequence[str], *, timeout: float | None = None) -> Completed:
        for again in (True, False):
            done = self.transport.run([*self.connect(), *more], script, timeout=timeout or self._timeout)
            if not done.status:
                break
            error = self._refused(done)
            if error.code not in DENIED or not again:
                raise error
            # The login may be what was just changed: root of a fresh server gets its password in this very run.
            self._client = None
        return done

    def _log_in(self) -> tuple[str, ...]:
        socket = f"--socket={self._login.socket}"
        ways: list[tuple[str, ...]] = [
            ("mariadb", "--no-defaults", f"--user={user}", socket, *_OPTIONS)
            for user in dict.fromkeys((self._login.administrator, "root"))
        ]
        if self._login.password_file:
            ways.append(("bash", "-c", _FILE, "login", self._login.password_file, *ways[-1]))
        for way in ways:
            done = self.transport.run(way, "SELECT 1;\n", timeout=self._timeout)
            if not done.status:
                return way
            error = self._refused(done)
            if error.code not in DENIED:
                raise error
        raise MariaDBError(
            f"neither {self._login.administrator} nor root may log in over the local socket",
            where=self.where,
            remedy="Give root the password of the vault back (https://mariadb.com/kb/en/reset-root-password/)",
        )

    def _refused(self, done: Completed) -> MariaDBError:
        match = _ERROR.search(done.stderr)
        if match:
            return MariaDBError(_first_line(match.group(2)), where=self.where, code=int(match.group(1)))
        lost = _NO_CONNECTION.search(done.stderr)
        text = _first_line(done.stderr) or f"exit status {done.status}"
        return MariaDBError(
            f"the client failed: {text}",
            where=self.where,
            remedy="Check that the server runs (its log tells), and run again",
            code=int(lost.group(1)) if lost else 0,
        )


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0]
