# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a command reaches the machine of a database server: the Kubernetes exec API."""

from __future__ import annotations

import dataclasses
import json
import time
import typing as t
from collections.abc import Callable, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.errors import MariaDBError

if t.TYPE_CHECKING:
    from kubernetes.client import Configuration

__all__ = ["Completed", "PodTransport", "Transport"]

# The exec protocol cannot close one direction (before v5.channel.k8s.io), and a client reads until its input ends:
# so the length comes first. Nothing but fixed words is in an argument.
_FEED = 'set -o pipefail; head -c "$1" | "${@:2}"'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A command that ended."""

    status: int
    stdout: str
    stderr: str


class Transport(t.Protocol):
    """Runs commands beside one server, as the operating-system user of the server."""

    def run(self, command: Sequence[str], stdin: str, *, timeout: float) -> Completed:
        """Run a command to its end.

        Args:
            command: program and arguments; no secret may be among them.
            stdin: what it reads.
            timeout: seconds it may take.

        Raises:
            MariaDBError: it cannot be run, or does not end in time.
        """


class PodTransport:
    """Commands inside of a container.

    Args:
        configuration: gives the connection to the cluster, as the kubernetes client takes it.
        namespace: of the pod.
        pod: its name.
        container: name of its container.
        count: told each request.
    """

    def __init__(
        self,
        configuration: Configuration,
        namespace: str,
        pod: str,
        container: str,
        *,
        count: Callable[[], None] = lambda: None,
    ) -> None:
        self._configuration, self._namespace, self._pod, self._container = configuration, namespace, pod, container
        self._count = count

    def run(
        self,
        command: Sequence[str],
        stdin: str,
        *,
        timeout: float,
        heard: Callable[[str], None] = lambda text: None,
    ) -> Completed:
        """Run a command in the container; see Transport. C(heard) gets what it prints, as it comes."""
        from kubernetes.client import ApiClient, CoreV1Api  # noqa: PLC0415  (1 s: only when a cluster is asked)
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415
        from kubernetes.stream import stream  # noqa: PLC0415
        from websocket import WebSocketException  # noqa: PLC0415

        data = stdin.encode()
        # A client of its own: the stream helper turns every request of its client into a web socket.
        client = ApiClient(self._configuration)
        self._count()
        try:
            channel = stream(
                CoreV1Api(client).connect_get_namespaced_pod_exec,
                self._pod,
                self._namespace,
                container=self._container,
                command=["bash", "-c", _FEED, "feed", str(len(data)), *command],
                stdin=True,
                stdout=True,
                stderr=True,
                tty=False,
                _preload_content=False,
                _request_timeout=timeout,
            )
            if data:
                channel.write_stdin(stdin)
            printed, deadline = [], time.monotonic() + timeout
            while channel.is_open() and time.monotonic() < deadline:
                channel.update(timeout=min(1.0, timeout))
                if channel.peek_stdout():
                    printed.append(channel.read_stdout())
                    heard(printed[-1])
            if channel.is_open():
                channel.close()
                raise self._error(f"a command did not end within {timeout:.0f} s", "Look at the server's log")
            return Completed(
                status=_exit_status(channel.read_channel(3)),
                stdout="".join(printed) + channel.read_stdout(),
                stderr=channel.read_stderr(),
            )
        except (ApiException, WebSocketException, OSError) as exc:
            raise self._error(
                f"no command can be run in the container {self._container}: {_reason(exc)}",
                "Check that the pod runs, and that the identity may create pods/exec in the namespace",
            ) from exc
        finally:
            client.close()

    def _error(self, what: str, remedy: str) -> MariaDBError:
        return MariaDBError(what, where=f"Pod/{self._namespace}/{self._pod}", remedy=remedy)


def _exit_status(text: str) -> int:
    """Exit status in the Status that ends an exec. Source: kubernetes/apimachinery, remotecommand constants."""
    try:
        status = json.loads(text)
    except ValueError:
        return 255
    if status.get("status") == "Success":
        return 0
    causes = (status.get("details") or {}).get("causes") or []
    codes = [cause["message"] for cause in causes if cause.get("reason") == "ExitCode"]
    return int(codes[0]) if codes else 255


def _reason(exc: Exception) -> str:
    text = str(getattr(exc, "reason", "") or exc) or type(exc).__name__
    return text.strip().splitlines()[0][:300]
