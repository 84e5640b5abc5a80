# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HTTP to ARM and to the data planes beside it: one session, one token, retries, counts, long-running operations."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import importlib.util
import logging
import sys
import threading
import time
import typing as t
import urllib.parse
from collections.abc import Callable, Iterator, Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.arm.credentials import (
    Cloud,
    Identity,
    SharedToken,
    build_credential,
    resolve_cloud,
    resolve_identity,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.errors import (
    ArmError,
    explain,
    retry_after,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.progress import Progress

if t.TYPE_CHECKING:
    from azure.core import PipelineClient
    from azure.core.pipeline.transport import HttpTransport

__all__ = ["Answer", "ArmClient", "Counter", "connect"]

_USER_AGENT: t.Final = "audioprothese.platform"
# A read that fails for longer than this is a failure of the run, not a hiccup.
_RETRIES: t.Final = {"retry_total": 8, "retry_status": 6, "retry_connect": 2, "retry_read": 3}
_BACKOFF: t.Final = {"retry_backoff_factor": 0.4, "retry_backoff_max": 30}
_TIMEOUTS: t.Final = {"connection_timeout": 10, "read_timeout": 90}
# Seconds between two looks at an operation, when the service does not say.
_POLL_AT_MOST_EVERY: t.Final = 0.25
_POLL_AT_LEAST_EVERY: t.Final = 10.0
_URL_SAFE: t.Final = "/?=&$%'(),+:@-_.~"
_THROTTLED: t.Final = 429


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered.

    Attributes:
        status: HTTP status.
        headers: with lower-case names.
        body: parsed JSON, None when there is none.
    """

    status: int
    headers: Mapping[str, str]
    body: t.Any


class Counter:
    """Requests of one run by verb, retries and throttled answers among them; safe to use from threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count: collections.Counter[str] = collections.Counter()

    def add(self, name: str, number: int = 1) -> None:
        """Count something."""
        with self._lock:
            self._count[name] += number

    def as_dict(self) -> dict[str, int]:
        """Counts by upper-case verb, with C(retries) and C(throttled) always present."""
        with self._lock:
            return {"retries": 0, "throttled": 0, **dict(sorted(self._count.items()))}


class ArmClient:
    """ARM of one cloud, for one identity. Safe to use from threads.

    Args:
        cloud: where the services are.
        token: gives tokens.
        verify: check server certificates.
        progress: gets a line for each request when verbosity asks for it.
        verbosity: as of ansible-playbook; from 1 on requests are shown.
        connections: size of the connection pool, at least the number of threads.
        transport: replaces the network, for tests.
    """

    def __init__(
        self,
        *,
        cloud: Cloud,
        token: SharedToken,
        verify: bool = True,
        progress: Progress | None = None,
        verbosity: int = 0,
        connections: int = 16,
        transport: HttpTransport[t.Any, t.Any] | None = None,
    ) -> None:
        self.cloud, self._token = cloud, token
        self.counter = Counter()
        self._progress = progress if progress is not None and verbosity > 0 else None
        self._transport = transport or _transport(verify=verify, connections=connections)
        self._clients: dict[str, PipelineClient[t.Any, t.Any]] = {}
        self._lock = threading.Lock()

    def requests(self) -> dict[str, int]:
        """Requests so far, C(TOKEN) among them."""
        return {**self.counter.as_dict(), "TOKEN": self._token.requests}

    def token(self, scope: str) -> str:
        """A bearer token of the same identity for another service, such as the API server of an AKS cluster."""
        return self._token.get_token(scope).token

    def get(self, path: str, api_version: str, *, doing: str = "read") -> t.Any:
        """GET a resource.

        Args:
            path: ARM id or path below the ARM endpoint; may hold a query.
            api_version: of the type.
            doing: step named in an error.

        Raises:
            ArmError: any answer but success; its C(status) tells which.
        """
        return self.request("GET", path, api_version=api_version, doing=doing).body

    def post(self, path: str, api_version: str, body: t.Any = None, *, doing: str = "ask") -> t.Any:
        """POST an action and wait for its end if it is a long-running one. Gives the answer's body."""
        return self._operate("POST", path, api_version, body, doing=doing, on_state=None, timeout=None)

    def put(
        self,
        path: str,
        api_version: str,
        body: t.Any,
        *,
        verb: str = "PUT",
        doing: str = "write",
        on_state: Callable[[str], None] | None = None,
        timeout: float | None = None,
    ) -> t.Any:
        """PUT (or PATCH) a resource and wait until the service is done.

        Args:
            path: ARM id.
            api_version: of the type.
            body: what to send.
            verb: C(PUT) or C(PATCH).
            doing: step named in an error.
            on_state: told each state the operation goes through.
            timeout: seconds to wait at most.

        Raises:
            ArmError: refused, failed, or not done in time.
        """
        return self._operate(verb, path, api_version, body, doing=doing, on_state=on_state, timeout=timeout)

    def delete(
        self,
        path: str,
        api_version: str,
        *,
        doing: str = "delete",
        on_state: Callable[[str], None] | None = None,
        timeout: float | None = None,
    ) -> None:
        """DELETE a resource and wait until it is gone. What is not there is fine."""
        try:
            self._operate("DELETE", path, api_version, None, doing=doing, on_state=on_state, timeout=timeout)
        except ArmError as exc:
            if exc.status != 404:  # noqa: PLR2004
                raise

    def request(
        self,
        verb: str,
        path: str,
        *,
        api_version: str = "",
        body: t.Any = None,
        headers: Mapping[str, str] | None = None,
        scope: str = "",
        doing: str = "ask",
    ) -> Answer:
        """One request, retried as the server asks.

        Args:
            verb: HTTP verb.
            path: below the ARM endpoint, or an address of its own with C(scope).
            api_version: added to the query.
            body: JSON body.
            headers: extra headers.
            scope: OAuth scope of the service, ARM's by default.
            doing: step named in an error.

        Raises:
            ArmError: any answer but success.
        """
        response = self._send(
            verb, path, api_version=api_version, body=body, headers=headers, scope=scope, doing=doing
        ).http_response
        return Answer(response.status_code, _lowered(response.headers), _json(response))

    def _send(
        self,
        verb: str,
        path: str,
        *,
        api_version: str,
        body: t.Any,
        doing: str,
        headers: Mapping[str, str] | None = None,
        scope: str = "",
    ) -> t.Any:
        from azure.core.rest import HttpRequest  # noqa: PLC0415

        url = path if "://" in path else self.cloud.resource_manager + urllib.parse.quote(path, safe=_URL_SAFE)
        if api_version:
            url += f"{'&' if '?' in url else '?'}api-version={api_version}"
        request = HttpRequest(verb, url, headers=dict(headers or {}), **({"json": body} if body is not None else {}))
        where = urllib.parse.urlsplit(url)
        with self._explained(doing, path.partition("?")[0], f"{where.scheme}://{where.netloc}"):
            response = self._client(scope or self.cloud.scope).send_request(request, _return_pipeline_response=True)
            response.http_response.raise_for_status()
        return response

    def _operate(
        self,
        verb: str,
        path: str,
        api_version: str,
        body: t.Any,
        *,
        doing: str,
        on_state: Callable[[str], None] | None,
        timeout: float | None,
    ) -> t.Any:
        from azure.core.polling import LROPoller  # noqa: PLC0415
        from azure.mgmt.core.polling.arm_polling import ARMPolling  # noqa: PLC0415

        class Watched(ARMPolling):
            """Tells each new state, and gives up when the time is over."""

            polls = 0

            def _extract_delay(self) -> float:
                self.polls += 1
                headers = _lowered(self._pipeline_response.http_response.headers)
                if "retry-after" in headers:
                    return max(retry_after(headers), _POLL_AT_MOST_EVERY)
                return min(_POLL_AT_MOST_EVERY * 2.0**self.polls, _POLL_AT_LEAST_EVERY)

            def update_status(self) -> None:
                before = self.status()
                super().update_status()
                if on_state is not None and self.status() != before:
                    on_state(self.status())

        started = time.monotonic()
        initial = self._send(verb, path, api_version=api_version, body=body, doing=doing)
        if on_state is not None and initial.http_response.status_code in (201, 202):
            on_state(_state_of(initial.http_response))
        with self._explained(doing, path, self.cloud.resource_manager):
            poller: LROPoller[t.Any] = LROPoller(
                self._client(self.cloud.scope),
                initial,
                lambda response: _json(response.http_response),
                Watched(),
            )
            poller.wait(timeout - (time.monotonic() - started) if timeout else None)
            if not poller.done():
                raise ArmError(
                    f"cannot {doing}: still {poller.status()} after {time.monotonic() - started:.0f} s",
                    where=path,
                    remedy="Run again: it waits for the operation that is under way. A larger timeout waits longer",
                )
            return poller.result()

    @contextlib.contextmanager
    def _explained(self, doing: str, where: str, host: str) -> Iterator[None]:
        from azure.core.exceptions import AzureError  # noqa: PLC0415

        try:
            yield
        except AzureError as exc:
            raise explain(exc, doing=doing, where=where, host=host) from exc

    def _client(self, scope: str) -> PipelineClient[t.Any, t.Any]:
        with self._lock:
            if scope not in self._clients:
                self._clients[scope] = self._pipeline(scope)
            return self._clients[scope]

    def _pipeline(self, scope: str) -> PipelineClient[t.Any, t.Any]:
        from azure.core import PipelineClient  # noqa: PLC0415
        from azure.core.pipeline import policies  # noqa: PLC0415
        from azure.mgmt.core.policies import ARMChallengeAuthenticationPolicy  # noqa: PLC0415

        authentication = (
            ARMChallengeAuthenticationPolicy(self._token, scope)
            if scope == self.cloud.scope
            else policies.BearerTokenCredentialPolicy(self._token, scope)
        )
        return PipelineClient(
            self.cloud.resource_manager,
            transport=self._transport,
            policies=[
                policies.RequestIdPolicy(),
                policies.HeadersPolicy(),
                policies.UserAgentPolicy(_USER_AGENT, user_agent_overwrite=True),
                policies.RetryPolicy(**_RETRIES, **_BACKOFF),
                authentication,
                _counting_policy(self.counter, self._progress),
            ],
        )


def connect(
    params: Mapping[str, t.Any], *, progress: Progress | None = None, verbosity: int = 0, connections: int = 16
) -> ArmClient:
    """A client from a module's options. No request but for the cloud's metadata is made yet.

    Args:
        params: the module's parameters; see C(args.AUTH_OPTIONS).
        progress: see ArmClient.
        verbosity: see ArmClient.
        connections: see ArmClient.

    Raises:
        InputError: credentials are not complete.
        ArmError: the cloud's metadata cannot be read.
    """
    missing = [name for name in ("azure.core", "azure.identity", "azure.mgmt.core") if not _installed(name)]
    if missing:
        raise InputError(
            f"the Python of this task ({sys.executable}) does not have {', '.join(missing)}",
            remedy="Install the collection's requirements.txt into it, or set ansible_python_interpreter",
        )
    # At debug level the libraries would log addresses and headers into a stream that Ansible may show.
    logging.getLogger("azure").setLevel(logging.CRITICAL)
    identity: Identity = resolve_identity(params)
    cloud = resolve_cloud(identity)
    who = identity.get("client_id") or identity.get("ad_user") or identity.source
    token = SharedToken(
        lambda: build_credential(identity, cloud),
        where=f"{who} in tenant {identity.get('tenant') or '(default)'}",
        authority=cloud.authority,
    )
    return ArmClient(
        cloud=cloud,
        token=token,
        verify=identity.verify,
        progress=progress,
        verbosity=verbosity,
        connections=connections,
    )


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _transport(*, verify: bool, connections: int) -> HttpTransport[t.Any, t.Any]:
    import requests  # noqa: PLC0415
    from azure.core.pipeline.transport import RequestsTransport  # noqa: PLC0415

    session = requests.Session()
    adapter = requests.adapters.HTTPAdapter(pool_connections=connections, pool_maxsize=connections)
    session.mount("https://", adapter)
    transport: HttpTransport[t.Any, t.Any] = RequestsTransport(
        session=session, session_owner=False, connection_verify=verify, **_TIMEOUTS
    )
    return transport


def _counting_policy(counter: Counter, progress: Progress | None) -> t.Any:
    from azure.core.pipeline.policies import HTTPPolicy  # noqa: PLC0415

    class Counting(HTTPPolicy):  # type: ignore[type-arg]
        """Sits below the retries, so that each attempt is seen."""

        def send(self, request: t.Any) -> t.Any:
            http, started = request.http_request, time.monotonic()
            counter.add(http.method)
            if request.context.get("platform_attempts"):
                counter.add("retries")
            request.context["platform_attempts"] = True
            status = "no answer"
            try:
                response = self.next.send(request)
                status = str(response.http_response.status_code)
                if response.http_response.status_code == _THROTTLED:
                    counter.add("throttled")
                return response
            finally:
                if progress is not None:
                    place = urllib.parse.urlsplit(http.url)
                    millis = (time.monotonic() - started) * 1000
                    progress.say(f"{http.method} {place.path} {status} {millis:.0f} ms")

    return Counting()


def _json(response: t.Any) -> t.Any:
    text = response.text() if response.status_code != 204 else ""  # noqa: PLR2004
    if not text:
        return None
    try:
        return response.json()
    except ValueError:
        return None


def _state_of(response: t.Any) -> str:
    body = _json(response)
    properties = body.get("properties") if isinstance(body, dict) else None
    state = properties.get("provisioningState") if isinstance(properties, dict) else None
    return str(state or "Accepted")


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
