# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run of C(mariadb_archive): ask the archive, have it take a backup, or restore one for nothing."""

from __future__ import annotations

import datetime as dt
import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import PlatformError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.plan import Action
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.report import Report
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb import archive
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.errors import MariaDBError
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.jobs import Outcome
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.pods import Pod
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.snapshot import Snapshot
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.transport import Completed

__all__ = ["ArchiveRunner", "RunsJobs", "Talks"]

PROGRAM = ("python3", "-m", "mariadb_archive")
ASK_SECONDS = 120


class Talks(t.Protocol):
    """Runs commands in the container of an archive."""

    def run(
        self, command: Sequence[str], stdin: str, *, timeout: float, heard: Callable[[str], None] = ...
    ) -> Completed:
        """See PodTransport.run."""


class RunsJobs(t.Protocol):
    """Runs Jobs to their ends and removes them."""

    def run(self, manifest: Mapping[str, t.Any], *, timeout: float, heard: Callable[[str], None]) -> Outcome:
        """See Jobs.run."""


class ArchiveRunner:
    """One run of the module.

    Args:
        pod: the pod of the primary, or None while there is no such cluster or StatefulSet.
        transport: reaches the archive beside it, where that can be asked.
        limits: greatest age of the youngest full backup in hours and of the youngest change in minutes.
        check: write nothing.
        report: gets what is found and done.
    """

    def __init__(
        self,
        pod: Pod | None,
        transport: Talks | None,
        *,
        limits: tuple[float, float],
        check: bool = False,
        report: Report | None = None,
    ) -> None:
        self._pod, self._transport, self._limits, self._check = pod, transport, limits, check
        self._report = report or Report()
        self._drill: dict[str, t.Any] = {}
        self._ranges: list[str] = []
        self._resource = f"MariaDBArchive/{pod.namespace}/{pod.name}" if pod else "MariaDBArchive"

    def report(self) -> dict[str, t.Any]:
        """Say what can be restored.

        Raises:
            PlatformError: in a real run, the archive is too old, has a gap behind its last backup, or cannot be asked.
        """
        with self._report.reporting(self._outcome):
            if (transport := self._asked()) is not None:
                self._look(transport)
        return self._result()

    def full(self, *, timeout: float) -> dict[str, t.Any]:
        """Take a full backup now, then say what can be restored.

        Raises:
            PlatformError: it was not taken, or the archive cannot be asked.
        """
        with self._report.reporting(self._outcome):
            transport = self._asked()
            if transport is not None:
                action = Action(verb="create", resource=f"{self._resource}/full", type="mariadb/backup")
                self._report.actions.append(action)
                if not self._check:
                    with self._report.timing.phase("backup"), self._report.progress.waiting("taking a full backup"):
                        done = transport.run([*PROGRAM, "full"], "", timeout=timeout, heard=self._heard)
                    if done.status:
                        raise self._failed(done.stderr)
                    made = archive.answers(done.stdout)[-1]
                    size = made["stored"]["stored_bytes"] / (1 << 20)
                    self._report.progress.say(f"{made['name']} is stored, {size:.1f} MiB")
                self._look(transport)
        return self._result()

    def drill(
        self,
        jobs: Callable[[], RunsJobs],
        manifest: Mapping[str, t.Any],
        *,
        timeout: float,
        snapshot: Callable[[], Snapshot] | None = None,
    ) -> dict[str, t.Any]:
        """Restore the latest moment in a Job, and throw it away.

        Args:
            jobs: gives what runs it.
            manifest: the Job.
            timeout: seconds it may take.
            snapshot: asks the server what it holds: that is what is restored then, and compared with.

        Raises:
            PlatformError: the data does not come back.
        """
        with self._report.reporting(self._outcome):
            if self._pod is None or (self._pod.untold and not self._pod.missing):
                self._untold(self._pod.untold if self._pod else "there is no such cluster or StatefulSet yet")
            elif self._check:
                self._untold("whether the data comes back is tried by a real run only")
            else:
                self._drilled(jobs(), manifest, timeout, self._snapshot(snapshot))
        return self._result()

    def _snapshot(self, take: Callable[[], Snapshot] | None) -> Snapshot | None:
        if take is None or self._pod is None:
            return None
        report = self._report
        if self._pod.untold:
            why = f"what comes back is compared with nothing: {self._pod.untold}"
            self._untold(why)
            report.progress.say(why)
            return None
        with report.timing.phase("snapshot"), report.progress.waiting("counting what the server holds"):
            found = take()
        report.progress.say(f"the server holds {sum(found.counts.values())} rows in {len(found.counts)} tables")
        return found

    def _drilled(
        self, jobs: RunsJobs, manifest: Mapping[str, t.Any], timeout: float, snapshot: Snapshot | None
    ) -> None:
        if snapshot:
            manifest = archive.until_manifest(manifest, snapshot.gtid, snapshot.moment)
        with self._report.timing.phase("drill"), self._report.progress.waiting("restoring for nothing"):
            done = jobs.run(manifest, timeout=timeout, heard=self._heard)
        said = archive.answers(done.log)
        error = archive.error_of(done.log) if done.why and done.log.strip() else done.why
        now = dt.datetime.now(dt.UTC)
        self._drill = archive.drill_report(said, error, instance=self._resource, now=now, snapshot=snapshot)
        finding = archive.drill_finding(self._drill, resource=self._resource)
        self._report.findings.append(finding)
        self._report.progress.say(finding.message)
        if finding.verdict == "error":
            raise MariaDBError(
                finding.message, where=self._resource, remedy="See docs/operations.md, Backups of the database"
            )

    def _look(self, transport: Talks) -> None:
        hours, minutes = self._limits
        with self._report.timing.phase("read"):
            listed = transport.run([*PROGRAM, "list"], "", timeout=ASK_SECONDS)
            if listed.status:
                raise self._failed(listed.stderr)
            limits = ["--full-hours", f"{hours:g}", "--log-minutes", f"{minutes:g}"]
            fresh = transport.run([*PROGRAM, "fresh", *limits], "", timeout=ASK_SECONDS)
        stale = archive.error_of(fresh.stderr) if fresh.status else ""
        answer = archive.answers(listed.stdout)[-1]
        self._ranges = archive.shown_ranges(answer)
        self._report.findings += archive.range_findings(answer, stale, resource=self._resource)
        for line in self._ranges:
            self._report.progress.say(f"can be restored: {line}")
        if stale and not self._check:
            raise MariaDBError(
                stale, where=self._resource, remedy="Look at the log of the container archive (kubectl logs)"
            )

    def _asked(self) -> Talks | None:
        """The archive, or None with a finding that says why it cannot be asked.

        Raises:
            MariaDBError: it should be there.
        """
        if self._pod is None:
            self._untold("there is no such cluster or StatefulSet yet")
        elif self._pod.untold:
            self._untold(self._pod.untold)
            if self._pod.missing and not self._check:
                raise MariaDBError(
                    self._pod.untold,
                    where=f"Pod/{self._pod.place}",
                    remedy="Look at its events and its log (kubectl describe pod, kubectl logs), and run again",
                )
        return None if self._pod is None or self._pod.untold else self._transport

    def _untold(self, why: str) -> None:
        self._report.find(archive.SOURCE, self._resource, "not_verifiable", why)

    def _heard(self, line: str) -> None:
        for said in archive.answers(line):
            if "step" in said:
                self._report.progress.say(f"{said['step']} …")
            elif "read_bytes" in said:
                self._report.progress.say(f"{said['read_bytes'] / (1 << 20):.0f} MiB are read")

    def _failed(self, text: str) -> MariaDBError:
        return MariaDBError(archive.error_of(text), where=self._resource, remedy="Put that right, and run again")

    def _outcome(self, exc: PlatformError) -> dict[str, t.Any]:
        if not any(finding.verdict == "error" for finding in self._report.findings):
            self._report.find(archive.SOURCE, self._resource, "error", str(exc))
        return self._result()

    def _result(self) -> dict[str, t.Any]:
        return {**self._report.result(), "ranges": self._ranges, "report": self._drill}
