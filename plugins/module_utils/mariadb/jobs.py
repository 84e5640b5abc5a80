# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Job that is made, waited for, heard and removed."""

from __future__ import annotations

import dataclasses
import time
import typing as t
from collections.abc import Callable, Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.kube.errors import KubeError
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.errors import MariaDBError

if t.TYPE_CHECKING:
    from ansible_collections.audioprothese.platform.plugins.module_utils.kube.client import KubeClient
    from kubernetes.client import Configuration
    from openshift.dynamic import Resource

__all__ = ["Jobs", "Outcome", "outcome_of"]

EVERY = 2.0
GONE_SECONDS = 180.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a Job ended: C(why) is empty when it succeeded; C(log) is what its pod printed."""

    why: str
    log: str


def outcome_of(job: Mapping[str, t.Any]) -> str | None:
    """Why a Job failed; empty when it succeeded, None while it goes on."""
    for condition in (job.get("status") or {}).get("conditions") or []:
        if condition.get("status") == "True" and condition.get("type") == "Complete":
            return ""
        if condition.get("status") == "True" and condition.get("type") == "Failed":
            return str(condition.get("message") or condition.get("reason") or "it failed")
    return None


def state_of(pod: Mapping[str, t.Any]) -> str:
    """What a pod is waiting for or doing, in a few words."""
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or []:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason"):
            return str(waiting["reason"])
    return str(status.get("phase") or "unknown")


class Jobs:
    """Jobs of one cluster.

    Args:
        client: of the cluster, after its discovery.
        configuration: gives the connection, as the kubernetes client takes it.
        say: tells the user what is going on.
    """

    def __init__(self, client: KubeClient, configuration: Configuration, say: Callable[[str], None]) -> None:
        self._client, self._configuration, self._say = client, configuration, say

    def get(self, name: str, namespace: str) -> dict[str, t.Any] | None:
        """A Job, or None.

        Raises:
            KubeError: it cannot be read.
        """
        return self._client.get(self._resource("batch/v1", "Job"), name, namespace)

    def run(
        self,
        manifest: Mapping[str, t.Any],
        *,
        timeout: float,
        heard: Callable[[str], None],
        resume: Callable[[Mapping[str, t.Any]], bool] = lambda job: False,
    ) -> Outcome:
        """Run a Job to its end and remove it, whatever happens.

        Args:
            manifest: the Job; its name is the lock of all that do the same.
            timeout: seconds it may take.
            heard: gets each line that its pod prints.
            resume: whether one that is there already is this one, left by a run that was cut short.

        Raises:
            MariaDBError: another one runs, or it does not end in time.
            KubeError: the cluster refuses it.
        """
        name, namespace = manifest["metadata"]["name"], manifest["metadata"]["namespace"]
        where = f"Job/{namespace}/{name}"
        jobs = self._resource("batch/v1", "Job")
        other = self._client.get(jobs, name, namespace)
        if other is not None and resume(other):
            self._say(f"{where} goes on")
        elif other is not None:
            if outcome_of(other) is None:
                raise MariaDBError("another run is at it", where=where, remedy="Wait for it, or delete that Job")
            self._remove(jobs, name, namespace)
            other = None
        try:
            if other is None:
                self._client.apply(jobs, dict(manifest), dry_run=False, force=True)
            return self._follow(jobs, name, namespace, timeout=timeout, heard=heard)
        finally:
            self._remove(jobs, name, namespace)

    def _follow(
        self, jobs: Resource, name: str, namespace: str, *, timeout: float, heard: Callable[[str], None]
    ) -> Outcome:
        deadline, state, known = time.monotonic() + timeout, "", 0
        while True:
            job = self._client.get(jobs, name, namespace)
            if job is None:
                raise MariaDBError("it was deleted by somebody else", where=f"Job/{namespace}/{name}")
            pods = self._pods(name, namespace)
            if pods and (now := state_of(pods[-1])) != state:
                state = now
                self._say(f"Pod/{namespace}/{pods[-1]['metadata']['name']}: {state}")
            log = self._log(pods[-1]) if pods else ""
            lines = log.splitlines()
            for line in lines[known:]:
                heard(line)
            known = len(lines)
            if (why := outcome_of(job)) is not None:
                return Outcome(why=why, log=self._log(pods[-1]) if pods else "")
            if time.monotonic() > deadline:
                raise MariaDBError(f"it did not end within {timeout:.0f} s ({state})", where=f"Job/{namespace}/{name}")
            time.sleep(EVERY)

    def _log(self, pod: Mapping[str, t.Any]) -> str:
        from kubernetes.client import ApiClient, CoreV1Api  # noqa: PLC0415  (1 s: only when a cluster is asked)
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415

        client = ApiClient(self._configuration)
        try:
            metadata = pod["metadata"]
            return str(CoreV1Api(client).read_namespaced_pod_log(metadata["name"], metadata["namespace"]))
        except ApiException:  # it has not started yet
            return ""
        finally:
            client.close()

    def _pods(self, name: str, namespace: str) -> list[dict[str, t.Any]]:
        found = self._client.find(
            self._resource("v1", "Pod"), namespace=namespace, selector=f"batch.kubernetes.io/job-name={name}"
        )
        return sorted(found, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))

    def _remove(self, jobs: Resource, name: str, namespace: str) -> None:
        """Delete it with its pods, whose volumes go with them, and wait until they are gone."""
        live = self._client.get(jobs, name, namespace)
        if live is not None:
            self._client.delete(jobs, live, dry_run=False)
        deadline = time.monotonic() + GONE_SECONDS
        while self._pods(name, namespace) or self._client.get(jobs, name, namespace) is not None:
            if time.monotonic() > deadline:
                raise MariaDBError("its pod does not end", where=f"Job/{namespace}/{name}")
            time.sleep(EVERY / 4)

    def _resource(self, version: str, kind: str) -> Resource:
        found = self._client.resource(version, kind)
        if found is None:
            raise KubeError(f"the cluster does not serve {kind} of {version}")
        return found
