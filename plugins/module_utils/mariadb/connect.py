# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From a module's options to servers, vault, lease and report."""

from __future__ import annotations

import collections
import functools
import typing as t
from collections.abc import Callable, Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.arm.args import auth_options
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.lease import open_lease
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.progress import Progress
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.references import find_references, resolve
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.report import Report
from ansible_collections.audioprothese.platform.plugins.module_utils.kube import connection
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.client import KubeClient
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.lookup import Azure, Lookup
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.claims import Claims
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.jobs import Jobs
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.pods import Pod, find_pods, set_role
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.runner import Server
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.session import Login, Session
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.transport import PodTransport

if t.TYPE_CHECKING:
    from kubernetes.client import Configuration

__all__ = ["Connections"]

Params = Mapping[str, t.Any]


class Connections:
    """What one run of a module talks to.

    Args:
        params: the module's options.
        verbosity: as of ansible-playbook.
    """

    def __init__(self, params: Params, *, verbosity: int) -> None:
        self._params, self._verbosity = params, verbosity
        self._progress = Progress(params["_progress"])
        self._azure = Azure(self._connect_azure)
        self._lookup = Lookup(self._azure)
        self._client: KubeClient | None = None
        self._settings: Configuration | None = None
        self._counts: collections.Counter[str] = collections.Counter()

    def pods(self) -> list[tuple[Pod, PodTransport | None]] | None:
        """The pods of the StatefulSet, each with a way into its container where that runs.

        None while there is no cluster.

        Raises:
            PlatformError: the cluster cannot be asked.
        """
        params = self._params
        found = self._configuration()
        if found is None:
            return None
        self._settings, hint = found
        settings = self._settings
        self._client = KubeClient(settings, threads=4, hint=hint, progress=self._progress, verbosity=self._verbosity)
        self._client.discover()
        return [
            (
                pod,
                None
                if pod.untold
                else PodTransport(settings, pod.namespace, pod.name, params["container"], count=self._count_exec),
            )
            for pod in find_pods(self._client, params["namespace"], params["statefulset"], params["container"])
        ]

    def session(self, pod: Pod, server: Params, *, timeout: float) -> Session:
        """A conversation with the server of a pod, once the pods were asked for.

        Args:
            pod: where it runs.
            server: its container, and how to be its administrator, as the options of that name.
            timeout: seconds that a script may take.
        """
        if self._settings is None:
            raise RuntimeError("pods() comes first")
        transport = PodTransport(self._settings, pod.namespace, pod.name, server["container"], count=self._count_exec)
        return Session(transport, _login(server), where=f"Pod/{pod.place}", timeout=timeout)

    def jobs(self) -> Jobs:
        """Jobs of the cluster, once its pods were asked for."""
        if self._client is None or self._settings is None:
            raise RuntimeError("pods() comes first")
        return Jobs(self._client, self._settings, self._progress.say)

    def claims(self) -> Claims:
        """Claims of the cluster, once its pods were asked for."""
        if self._client is None:
            raise RuntimeError("pods() comes first")
        return Claims(self._client, self._progress)

    def servers(self) -> list[Server] | None:
        """The servers of the StatefulSet, or None while there is no cluster."""
        params = self._params
        pods = self.pods()
        if pods is None or self._client is None:
            return None
        login = _login(params)
        servers = []
        for pod, transport in pods:
            session = Session(transport, login, where=f"Pod/{pod.place}") if transport else None
            label = functools.partial(set_role, self._client, pod)
            servers.append(Server(pod=pod, session=session, role=pod.role, set_role=label))
        return servers

    def password(self, value: str | None) -> str | None:
        """A password given as such or as a deferred value of a vault; None while it is not there."""
        if not value:
            return value
        found = resolve(value, self._lookup)
        return None if find_references(found) else str(found)

    def replaced(self, value: str | None, phase: str) -> str:
        """What a rotation replaces by a password that is a deferred value, while it is in a phase; else nothing."""
        references = [found for found in find_references(value) if found.kind == "secret" and str(found) == value]
        return self._lookup.replaced(references[0].target, references[0].path, phase) if references else ""

    def report(self) -> Report:
        """An empty one; its fingerprints have the environment's key where that is known."""
        redactor = self._lookup.redactor(self._params.get("redaction_secret"))
        return Report(redactor=redactor, requests=self._requests, progress=self._progress)

    def hold(self) -> Callable[[], None]:
        """Take the environment's lease; gives what to call before each write."""
        return open_lease(self._params, say=self._progress.say, connection=auth_options(self._params))

    def _requests(self) -> dict[str, t.Any]:
        """Counts of the requests so far; commands run in pods under C(EXEC)."""
        kube = self._client.requests if self._client else {}
        return {**kube, "EXEC": self._counts["EXEC"], **self._azure.requests()}

    def close(self) -> None:
        """Let go of threads and connections."""
        if self._client is not None:
            self._client.close()

    def _count_exec(self) -> None:
        self._counts["EXEC"] += 1

    def _configuration(self) -> tuple[Configuration, str] | None:
        if not self._params["cluster"]:
            return connection.configuration(self._params), ""
        found = connection.aks_configuration(self._azure(), self._params["cluster"])
        return None if found is None else (found, connection.private_hint(found.host))

    def _connect_azure(self) -> t.Any:
        from ansible_collections.audioprothese.platform.plugins.module_utils.arm.client import (  # noqa: PLC0415
            connect,
        )

        return connect(self._params, progress=self._progress, verbosity=self._verbosity)


def _login(params: Params) -> Login:
    return Login(
        administrator=params["administrator"],
        socket=params["socket"],
        password_file=params["root_password_file"] or "",
    )
