# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run of C(mariadb_restore): a moment of the archive into a claim of its own. No server is touched."""

from __future__ import annotations

import contextlib
import datetime as dt
import typing as t
from collections.abc import Callable, Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import PlatformError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.plan import Action
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.report import Report
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb import archive, restore
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.archive_runner import (
    ASK_SECONDS,
    PROGRAM,
    Talks,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.errors import MariaDBError
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.jobs import Outcome, outcome_of
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.pods import Pod
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.restore import Found, Wanted

__all__ = ["RestoreRunner"]

Object = Mapping[str, t.Any]


class HasClaims(t.Protocol):
    """Makes and removes claims; see Claims."""

    def volumes_of(self, namespace: str, statefulset: str) -> list[str]:
        """See Claims.volumes_of."""

    def get(self, namespace: str, name: str) -> dict[str, t.Any] | None:
        """See Claims.get."""

    def put(self, manifest: Object) -> dict[str, t.Any]:
        """See Claims.put."""

    def throw_away(self, namespace: str, name: str) -> None:
        """See Claims.throw_away."""


class HasJobs(t.Protocol):
    """Runs Jobs; see Jobs."""

    def get(self, name: str, namespace: str) -> dict[str, t.Any] | None:
        """See Jobs.get."""

    def run(
        self, manifest: Object, *, timeout: float, heard: Callable[[str], None], resume: Callable[[Object], bool] = ...
    ) -> Outcome:
        """See Jobs.run."""


class RestoreRunner:
    """One run of the module.

    Args:
        wanted: what to restore, and where.
        job: the Job that does it, without claim and moment.
        check: write nothing.
        hold: takes the environment's lease and gives what to call before each write.
        report: gets what is found and done.
    """

    def __init__(
        self,
        wanted: Wanted,
        job: Object,
        *,
        check: bool = False,
        hold: Callable[[], Callable[[], None]] = lambda: lambda: None,
        report: Report | None = None,
    ) -> None:
        self._wanted, self._job, self._check, self._hold = wanted, job, check, hold
        self._report = report or Report()
        self._restored: dict[str, t.Any] = {}
        self._in_use = self._wrote = False

    def untold(self, why: str) -> dict[str, t.Any]:
        """Nothing can be restored where no pod runs."""
        self._report.find(archive.SOURCE, self._wanted.where, "not_verifiable", why)
        return self._result()

    def run(
        self, pod: Pod | None, transport: Talks | None, claims: HasClaims, jobs: HasJobs, *, timeout: float
    ) -> dict[str, t.Any]:
        """Make sure that the claim holds the moment.

        Args:
            pod: of the primary, if there is one.
            transport: reaches the archive beside it, where that can be asked.
            claims: of the cluster.
            jobs: of the cluster.
            timeout: seconds that the restore may take.

        Raises:
            PlatformError: it cannot be restored; there is no claim then that was not there before.
        """
        with self._report.reporting(self._outcome):
            self._run(transport if pod and not pod.untold else None, claims, jobs, timeout)
        return self._result()

    def _run(self, transport: Talks | None, claims: HasClaims, jobs: HasJobs, timeout: float) -> None:
        wanted = self._wanted
        with self._report.timing.phase("read"):
            self._in_use = wanted.volume in claims.volumes_of(wanted.namespace, wanted.statefulset)
            claim = claims.get(wanted.namespace, wanted.claim)
            found = restore.judge(wanted, claim, in_use=self._in_use)
            if found is Found.WHOLE and claim is not None:
                self._found(restore.kept_report(claim))
                return
            goes_on = self._goes_on(jobs, claim)
            if transport is not None and not goes_on:
                self._ask(transport)
        self._plan(found, goes_on=goes_on)
        if self._check:
            return
        permit = self._hold()
        if not goes_on or claim is None:
            if found is Found.HALF:
                self._write(permit, f"throw the half restore in {wanted.claim} away")
                claims.throw_away(wanted.namespace, wanted.claim)
            self._write(permit, f"create {wanted.where}")
            claim = claims.put(restore.claim_manifest(wanted))
        self._write(permit, f"restore {restore.moment_text(wanted.moment)} into {wanted.claim}")
        report = self._restore(claims, jobs, claim, timeout)
        permit()
        claims.put(restore.claim_manifest(wanted, report))
        self._found(report)

    def _goes_on(self, jobs: HasJobs, claim: Object | None) -> bool:
        """Whether a run that was cut short left a Job that goes on, or has ended well.

        Raises:
            MariaDBError: another restore is under way.
        """
        name, namespace = self._job["metadata"]["name"], self._job["metadata"]["namespace"]
        job = jobs.get(name, namespace)
        if job is None:
            return False
        if claim is not None and restore.resumable(job, self._wanted, claim):
            return True
        if outcome_of(job) is None:
            where, remedy = f"Job/{namespace}/{name}", "Wait for it, or delete that Job"
            raise MariaDBError("another restore is under way", where=where, remedy=remedy)
        return False

    def _ask(self, transport: Talks) -> None:
        where = f"MariaDBArchive/{self._wanted.namespace}/{self._wanted.statefulset}-{self._wanted.primary}"
        asked = transport.run([*PROGRAM, "list"], "", timeout=ASK_SECONDS)
        if asked.status:
            raise MariaDBError(
                archive.error_of(asked.stderr), where=where, remedy="Put that right, and run again; nothing was touched"
            )
        listed = archive.answers(asked.stdout)[-1]
        restore.check_ranges(listed, self._wanted.moment, archive.shown_ranges(listed), where=where)

    def _plan(self, found: Found, *, goes_on: bool) -> None:
        wanted = self._wanted
        claims = "v1/PersistentVolumeClaim"
        shown = restore.claim_manifest(wanted)
        if found is Found.HALF and not goes_on:
            self._report.actions.append(Action(verb="delete", resource=wanted.where, type=claims, live=shown))
        if not goes_on:
            self._report.actions.append(Action(verb="create", resource=wanted.where, type=claims, document=shown))
        document = {"moment": restore.moment_text(wanted.moment), "claim": wanted.claim}
        resource = f"MariaDBRestore/{wanted.namespace}/{wanted.claim}"
        self._report.actions.append(Action(verb="create", resource=resource, type=restore.TYPE, document=document))
        self._report.findings.append(restore.missing_finding(wanted, found))

    def _restore(self, claims: HasClaims, jobs: HasJobs, claim: Object, timeout: float) -> dict[str, t.Any]:
        """What came back; the claim is thrown away when that is not what should have."""
        wanted = self._wanted
        try:
            with self._report.timing.phase("restore"), self._report.progress.waiting(f"restoring into {wanted.claim}"):
                done = jobs.run(
                    restore.job_manifest(self._job, wanted, claim),
                    timeout=timeout,
                    heard=self._heard,
                    resume=lambda job: restore.resumable(job, wanted, claim),
                )
            error = archive.error_of(done.log) if done.why and done.log.strip() else done.why
            now = dt.datetime.now(dt.UTC)
            report = archive.drill_report(archive.answers(done.log), error, instance=wanted.claim, now=now)
            if report["problems"]:
                why = "; ".join(report["problems"])
                raise MariaDBError(
                    f"the data of {restore.moment_text(wanted.moment)} was not restored: {why}",
                    where=wanted.where,
                    remedy="Nothing is left of it, and no server was touched; docs/operations.md, Restore to a moment",
                )
        except PlatformError:
            with contextlib.suppress(PlatformError):
                claims.throw_away(wanted.namespace, wanted.claim)
            raise
        return report

    def _found(self, report: dict[str, t.Any]) -> None:
        self._restored = report
        finding = restore.whole_finding(self._wanted, report, in_use=self._in_use)
        self._report.findings = [one for one in self._report.findings if one.resource != self._wanted.where] + [finding]
        self._report.progress.say(finding.message)

    def _write(self, permit: Callable[[], None], text: str) -> None:
        permit()
        self._wrote = True
        self._report.progress.say(text)

    def _heard(self, line: str) -> None:
        for said in archive.answers(line):
            if "step" in said:
                self._report.progress.say(f"{said['step']} …")

    def _outcome(self, exc: PlatformError) -> dict[str, t.Any]:
        self._report.find(archive.SOURCE, exc.where or self._wanted.where, "error", str(exc))
        return {**self._result(), "changed": self._wrote}

    def _result(self) -> dict[str, t.Any]:
        return {
            **self._report.result(),
            "volume": self._wanted.volume,
            "claim": self._wanted.claim,
            "moment": restore.moment_text(self._wanted.moment),
            "ready": bool(self._restored),
            "in_use": self._in_use,
            "report": {key: value for key, value in self._restored.items() if key != "metrics"},
        }
