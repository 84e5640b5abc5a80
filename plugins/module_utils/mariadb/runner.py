# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the runs that ask servers have in common: lease, plan, report. Check mode is the same without the writes."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Callable, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import PlatformError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.plan import Action
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.report import Report
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.archive import SOURCE
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.errors import MariaDBError
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.pods import Pod
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.session import Session

__all__ = ["Base", "Server"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A pod, with the conversation to its server where that can be had.

    Attributes:
        role: what its label says it is.
        set_role: gives it another one.
    """

    pod: Pod
    session: Session | None
    role: str = ""
    set_role: Callable[[str], None] = lambda role: None


class Base:
    """One run of a module of this family.

    Args:
        servers: gives the servers, or None while there is no cluster.
        check: write nothing.
        must_exist: a server that cannot be asked is an error in a real run; otherwise it is reported.
        expect_plan: digest of the approved plan, or empty.
        hold: takes the environment's lease and gives what to call before each write.
        report: gets what is found and done.
    """

    kind: t.ClassVar[str] = ""

    def __init__(
        self,
        *,
        servers: Callable[[], Sequence[Server] | None],
        check: bool = False,
        must_exist: bool = True,
        expect_plan: str = "",
        hold: Callable[[], Callable[[], None]] = lambda: lambda: None,
        report: Report | None = None,
    ) -> None:
        self._find_servers, self._check, self._expect_plan, self._hold = servers, check, expect_plan, hold
        self._report = report or Report()
        self._wrote = self._pending = False
        self._known: list[Server] = []
        self._must_exist = must_exist and not check

    # -- what the runs share

    def _servers(self) -> list[tuple[str, Session]]:
        """Place and conversation of each server that can be asked; about each of the others there is a finding.

        Raises:
            MariaDBError: one that must be there is not.
        """
        with self._report.timing.phase("connect"):
            found = self._find_servers()
        if not found:
            why = "the StatefulSet of the database does not exist" if found is not None else "there is no such cluster"
            self._pending = found is not None
            self._cannot_tell("", f"{why} yet")
            if self._must_exist:
                raise MariaDBError(why, remedy="Build it first (roles cluster and mariadb), or run in check mode")
            return []
        self._known = list(found)
        asked = []
        for server in found:
            if server.session is None:
                self._untold(server.pod)
                continue
            try:
                server.session.connect()
            except MariaDBError as exc:
                self._pending = True
                self._cannot_tell(server.pod.place, exc.what)
                if self._must_exist:
                    raise
                continue
            asked.append((server.pod.place, server.session))
        return asked

    def _untold(self, pod: Pod) -> None:
        self._cannot_tell(pod.place, pod.untold)
        self._pending = self._pending or pod.missing
        if pod.missing and self._must_exist:
            raise MariaDBError(
                pod.untold,
                where=f"Pod/{pod.place}",
                remedy="Look at its events and its log (kubectl describe pod, kubectl logs), and run again",
            )

    def _cannot_tell(self, place: str, why: str) -> None:
        self._report.find(SOURCE, f"{self.kind}/{place}".rstrip("/"), "not_verifiable", why)

    def _approve(self) -> None:
        self._report.check_expected(None if self._check else self._expect_plan)

    def _write(self, writes: Sequence[tuple[Action, Callable[[], None]]]) -> None:
        """Do what was planned, in order; the first failure stops."""
        if self._check or not writes:
            return
        with self._report.timing.phase("apply"):
            before_write = self._hold()
            for action, write in writes:
                before_write()
                self._report.progress.say(f"{action.verb} {action.resource}")
                self._wrote = True
                write()

    def _outcome(self, exc: PlatformError) -> dict[str, t.Any]:
        self._report.find(SOURCE, exc.where, "error", str(exc))
        return {**self._result(), "changed": self._wrote}

    def _result(self) -> dict[str, t.Any]:
        return {**self._report.result(), "pending": self._pending}
