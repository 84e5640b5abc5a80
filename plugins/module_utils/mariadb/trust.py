# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prove which authority the clients of the servers trust: the file that they read, and a client. Writes nothing."""

from __future__ import annotations

import dataclasses
import time
import typing as t
from collections.abc import Iterator, Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.findings import Finding
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.errors import MariaDBError
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.runner import Base
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.session import Session

__all__ = ["Trust", "TrustRunner"]

TYPE = "mariadb/client"
_POLL = 5.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What a client must trust, and whom it asks.

    Attributes:
        secret: name of what is proven, such as the secret of a vault.
        authorities: as PEM, what its file must hold.
        refused: as PEM, an authority by which the server must not be trusted; empty when there is none.
        file: on the client's machine.
        host: name of the server that it asks.
        port: of that.
        user: who signs in there.
        password: of that user.
    """

    secret: str
    authorities: str
    refused: str = ""
    file: str
    host: str
    port: int
    user: str
    password: str


class TrustRunner(Base):
    """One run of C(mariadb_trust); see Base. What it asks are clients, which need no server beside them."""

    kind = "MariaDBTrust"

    def run(self, trust: Trust, *, timeout: float = 0.0) -> dict[str, t.Any]:
        """Hold every client against what it must trust.

        Args:
            trust: what that is.
            timeout: seconds in which a real run waits for the file of all of them.

        Raises:
            PlatformError: a client cannot be asked, or, in a real run, something does not hold.
        """
        self._report.redactor.add(trust.password)
        proven: set[str] = set()
        with self._report.reporting(self._outcome):
            proven = self._run(trust, time.monotonic() + (0.0 if self._check else timeout))
        return {**self._result(), "proven": sorted(proven)}

    def _run(self, trust: Trust, deadline: float) -> set[str]:
        with self._report.timing.phase("connect"):
            self._known = list(self._find_servers() or ())
        if not self._known:
            self._cannot_tell("", "there is no client")
        with self._report.timing.phase("read"):
            for server in self._known:
                if server.session is None:
                    self._untold(server.pod)
                else:
                    self._await_file(server.session, trust, deadline)
                    self._report.findings += self._asked(server.pod.place, server.session, trust)
        wrong = [finding for finding in self._report.findings if finding.verdict == "drift"]
        if wrong and not self._check:
            raise MariaDBError(
                wrong[0].message, where=wrong[0].resource, remedy="Run playbooks/site.yml, which goes on from there"
            )
        told = bool(self._known) and all(server.session for server in self._known)
        return {trust.secret} if told and not wrong else set()

    def _await_file(self, session: Session, trust: Trust, deadline: float) -> None:
        """Until the kubelet has brought it."""
        if _holds(session, trust):
            return
        with self._report.progress.waiting(f"{session.where} has not got the new authority yet"):
            while time.monotonic() < deadline and not _holds(session, trust):
                time.sleep(_POLL)

    def _asked(self, place: str, session: Session, trust: Trust) -> Iterator[Finding]:
        holds = {True: "its file holds the authorities of the vault", False: "its file holds other authorities"}
        yield _finding(place, trust, holds, wanted=True, found=_holds(session, trust))
        yield _finding(place, trust, _by("its file"), wanted=True, found=_trusts(session, trust, file=trust.file))
        if trust.refused:
            holds = {True: "its file holds the old authority", False: "its file does not hold the old authority"}
            found = trust.refused in session.read_file(trust.file)
            yield _finding(place, trust, holds, wanted=False, found=found)
            # Both in the same way: a refusal for any other reason than the authority would be seen in the first.
            for pem, by in ((trust.authorities, "the new authority"), (trust.refused, "the old authority")):
                found = _trusts(session, trust, trusted=pem)
                yield _finding(place, trust, _by(by), wanted=pem != trust.refused, found=found)


def _holds(session: Session, trust: Trust) -> bool:
    return session.read_file(trust.file).strip() == trust.authorities.strip()


def _trusts(session: Session, trust: Trust, *, file: str = "", trusted: str = "") -> bool:
    login = (trust.user, trust.password)
    return session.try_trust(*login, host=trust.host, port=trust.port, file=file, trusted=trusted)


def _by(what: str) -> dict[bool, str]:
    return {True: f"by {what} the server is trusted", False: f"by {what} the server is not trusted"}


def _finding(place: str, trust: Trust, sentences: Mapping[bool, str], *, wanted: bool, found: bool) -> Finding:
    return Finding(
        source="mariadb",
        resource=f"MariaDBClient/{place}",
        type=TYPE,
        path=trust.secret,
        verdict="equal" if found == wanted else "drift",
        desired=sentences[wanted],
        live=sentences[found],
        message=sentences[found],
    )
