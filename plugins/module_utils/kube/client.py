# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests to one cluster: the dynamic client, with parallel calls, retries, counts and errors in sentences."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import functools
import json
import random
import socket
import threading
import time
import typing as t
from collections.abc import Callable, Iterable, Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import PlatformError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.progress import Progress
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.discovery import (
    ACCEPT,
    MemoryDiscoverer,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.errors import (
    NOT_IN_SCHEMA,
    ApiError,
    Cause,
    ConflictError,
    ConnectionFailed,
    KubeError,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.objects import ObjectId

if t.TYPE_CHECKING:
    from kubernetes.client import Configuration
    from openshift.dynamic import Resource

__all__ = ["FIELD_MANAGER", "KubeClient"]

FIELD_MANAGER = "audioprothese.platform"

_TIMEOUT = (10.0, 60.0)
_ATTEMPTS = 6
_CONNECT_ATTEMPTS = 3
_LONGEST_PAUSE = 30.0
_PAGE = 500
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _CONFLICT, _THROTTLED = 401, 403, 404, 409, 429
_TEMPORARY = frozenset({429, 500, 502, 503, 504})

T = t.TypeVar("T")
R = t.TypeVar("R")


class KubeClient:
    """One cluster, as one identity.

    Args:
        configuration: where and who, as the kubernetes client takes it.
        threads: how many requests are under way at once.
        hint: what to do when the API server cannot be reached, if more is known than its address.
        progress: told each request when verbosity asks for it.
        verbosity: as of ansible-playbook; from 1 on requests are shown.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        threads: int = 12,
        hint: str = "",
        progress: Progress | None = None,
        verbosity: int = 0,
    ) -> None:
        from kubernetes.client import ApiClient  # noqa: PLC0415  (1 s: only when a cluster is asked)
        from openshift.dynamic import DynamicClient  # noqa: PLC0415

        configuration.connection_pool_maxsize = threads
        configuration.retries = False
        self.host: str = configuration.host
        self._hint = hint
        self._progress = progress if verbosity > 0 else None
        self._dynamic = DynamicClient(ApiClient(configuration), discoverer=MemoryDiscoverer)
        self._discovery: MemoryDiscoverer = self._dynamic.resources
        self._counts: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()
        self._pool = concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix="kube")

    @property
    def requests(self) -> dict[str, int]:
        """Requests so far by verb; dry runs, retries and throttled answers apart."""
        verbs = ("GET", "LIST", "PATCH", "DELETE", "DRY_RUN", "DISCOVERY", "retries", "throttled")
        return {verb: self._counts[verb] for verb in verbs}

    def close(self) -> None:
        """Let go of threads and connections."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        with contextlib.suppress(Exception):
            self._dynamic.client.close()

    # -- several at once

    def gather(self, call: Callable[[T], R], items: Iterable[T]) -> list[R | PlatformError]:
        """The call's result for each item, in order; a failure takes the place of a result."""

        def guarded(item: T) -> R | PlatformError:
            try:
                return call(item)
            except PlatformError as exc:
                return exc

        return list(self._pool.map(guarded, items))

    def all(self, call: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """The call's result for each item, in order.

        Raises:
            PlatformError: the first failure; what was read in part is no basis for a plan.
        """
        results: list[R] = []
        for result in self.gather(call, items):
            if isinstance(result, PlatformError):
                raise result
            results.append(result)
        return results

    # -- what the server serves

    def discover(self) -> None:
        """Ask what the server serves, again after definitions were added."""
        answers = self.all(self._discover, ("api", "apis"))
        self._discovery.clear()
        for prefix, answer in zip(("api", "apis"), answers, strict=True):
            self._discovery.load(prefix, answer)

    def resource(self, api_version: str, kind: str) -> Resource | None:
        """The resource of a kind in exactly this version, or None while nobody serves it."""
        group, _slash, version = api_version.rpartition("/")
        return self._discovery.find(group, version, kind)

    def preferred(self, group: str, kind: str) -> Resource | None:
        """The resource of a kind in the preferred version, or None."""
        return self._discovery.preferred(group, kind)

    def scopes(self) -> dict[tuple[str, str], bool]:
        """Whether objects of a (group, kind) live in a namespace."""
        return self._discovery.scopes()

    # -- one request each

    def get(self, resource: Resource, name: str, namespace: str = "") -> dict[str, t.Any] | None:
        """One object, or None.

        Raises:
            KubeError: anything but success and "not found".
        """
        where = _where(resource, namespace, name)
        try:
            return self._send(
                "GET", where, lambda: resource.get(name=name, namespace=namespace or None, **self._options())
            )
        except ApiError as exc:
            if exc.status == _NOT_FOUND:
                return None
            raise

    def find(self, resource: Resource, *, namespace: str = "", selector: str = "") -> list[dict[str, t.Any]]:
        """Every object of a kind, page by page, each with its kind and version.

        Raises:
            KubeError: any page that is refused fails the whole list.
        """
        items: list[dict[str, t.Any]] = []
        after: str | None = None
        while True:
            where = _where(resource, namespace, "*")
            options = {**self._options(), "label_selector": selector or None, "limit": _PAGE, "_continue": after}
            page = self._send("LIST", where, functools.partial(resource.get, namespace=namespace or None, **options))
            kind = {"apiVersion": resource.group_version, "kind": resource.kind}
            items += [{**kind, **item} for item in page.get("items") or ()]
            after = (page.get("metadata") or {}).get("continue")
            if not after:
                return items

    def apply(
        self,
        resource: Resource,
        body: Mapping[str, t.Any],
        *,
        dry_run: bool,
        force: bool = False,
        manager: str = FIELD_MANAGER,
    ) -> dict[str, t.Any]:
        """Server-side apply.

        Args:
            resource: the kind's resource.
            body: all that the manager wants of the object.
            dry_run: only ask what would come out.
            force: take fields over that other managers hold.
            manager: as whom.

        Returns:
            The object as it is, or would be, afterwards.

        Raises:
            ConflictError: other managers hold fields with other values.
            ApiError: refused, with the fields it is about.
        """
        metadata = body["metadata"]
        options = self._options(query=[("fieldValidation", "Strict")])
        if dry_run:
            options["dry_run"] = "All"
        return self._send(
            "DRY_RUN" if dry_run else "PATCH",
            _where(resource, metadata.get("namespace", ""), metadata["name"]),
            lambda: resource.server_side_apply(
                body=dict(body),
                name=metadata["name"],
                namespace=metadata.get("namespace"),
                field_manager=manager,
                force_conflicts=force or None,
                **options,
            ),
        )

    def delete(
        self,
        resource: Resource,
        live: Mapping[str, t.Any],
        *,
        dry_run: bool,
        orphan: bool = False,
        foreground: bool = False,
    ) -> None:
        """Delete this very object (by its uid); one that is gone already is fine.

        Args:
            resource: the kind's resource.
            live: the object.
            dry_run: only ask whether it may be deleted.
            orphan: what it made stays, running.
            foreground: it is gone only after what it made.

        Raises:
            ApiError: refused.
        """
        metadata = live["metadata"]
        body: dict[str, t.Any] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Orphan" if orphan else "Foreground" if foreground else "Background",
            "preconditions": {"uid": metadata["uid"]},
        }
        if dry_run:
            body["dryRun"] = ["All"]
        name, namespace = metadata["name"], metadata.get("namespace", "")
        options = self._options()
        if dry_run:
            options["dry_run"] = "All"
        try:
            self._send(
                "DRY_RUN" if dry_run else "DELETE",
                _where(resource, namespace, name),
                lambda: resource.delete(name=name, namespace=namespace or None, body=body, **options),
            )
        except ApiError as exc:
            if exc.status != _NOT_FOUND:
                raise

    def events(self, obj: ObjectId) -> list[dict[str, t.Any]]:
        """Warnings about an object, the newest last; none when they may not be read."""
        resource = self.resource("v1", "Event")
        if resource is None:
            return []
        about = f"involvedObject.kind={obj.kind},involvedObject.name={obj.name},type=Warning"
        with contextlib.suppress(KubeError):
            page = self._send(
                "LIST",
                f"Event/{obj.namespace}/*",
                lambda: resource.get(namespace=obj.namespace or None, field_selector=about, **self._options()),
            )
            return sorted(
                page.get("items") or (), key=lambda e: str(e.get("lastTimestamp") or e.get("eventTime") or "")
            )
        return []

    # -- the way there and back

    def _options(self, query: list[tuple[str, str]] | None = None) -> dict[str, t.Any]:
        return {
            "serialize": False,
            "_request_timeout": _TIMEOUT,
            "query_params": list(query or ()),
            "header_params": {},
        }

    def _discover(self, prefix: str) -> dict[str, t.Any]:
        options = {**self._options(), "header_params": {"Accept": ACCEPT}}
        return self._send("DISCOVERY", f"/{prefix}", lambda: self._dynamic.request("get", f"/{prefix}", **options))

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1

    def _send(self, verb: str, where: str, call: Callable[[], t.Any]) -> dict[str, t.Any]:
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        for attempt in range(1, _ATTEMPTS + 1):
            self._count(verb if attempt == 1 else "retries")
            started = time.monotonic()
            try:
                answer = json.loads(call().data)
                self._show(verb, where, "ok", started)
                return t.cast("dict[str, t.Any]", answer)
            except ApiException as exc:
                self._show(verb, where, str(exc.status), started)
                if not exc.status:
                    raise self._unreachable(exc) from exc
                if exc.status == _THROTTLED:
                    self._count("throttled")
                if exc.status not in _TEMPORARY or attempt == _ATTEMPTS or NOT_IN_SCHEMA in str(exc.body):
                    raise self._refused(exc, verb, where) from exc
                pause = _retry_after(exc.headers)
            except HTTPError as exc:
                self._show(verb, where, "no answer", started)
                if attempt >= _CONNECT_ATTEMPTS or _hopeless(exc):
                    raise self._unreachable(exc) from exc
                pause = None
            time.sleep(min(_LONGEST_PAUSE, _backoff(attempt) if pause is None else pause))
        raise AssertionError("unreachable")

    def _show(self, verb: str, where: str, outcome: str, started: float) -> None:
        if self._progress is not None:
            self._progress.say(f"{verb} {where} {outcome} {(time.monotonic() - started) * 1000:.0f} ms")

    def _unreachable(self, exc: Exception) -> ConnectionFailed:
        text = f"{exc} {getattr(exc, 'reason', '')}"
        certificate = "CERTIFICATE_VERIFY_FAILED" in text or "SSLError" in text
        if certificate:
            what = f"the certificate of the API server {self.host} is not trusted"
            remedy = "Give its certificate authority (ca_cert, or certificate-authority-data of the kubeconfig)"
        elif "NameResolution" in text or "Name or service not known" in text:
            what = f"the name of the API server {self.host} does not resolve"
            remedy = self._hint or "Check the address and the DNS of this machine"
        elif "timed out" in text.lower() or "timeout" in text.lower():
            what = f"the API server {self.host} does not answer"
            remedy = self._hint or "Check network path, firewall and proxy from this machine"
        else:
            refused = "refused" in text.lower()
            what = f"the API server {self.host} {'refuses the connection' if refused else 'closed the connection'}"
            remedy = self._hint or "Check that the cluster runs and that the address is right"
        return ConnectionFailed(what, remedy=remedy)

    def _refused(self, exc: t.Any, verb: str, where: str) -> KubeError:
        status = _status(exc)
        message = str(status.get("message") or exc.reason or f"HTTP {exc.status}")
        if exc.status == _UNAUTHORIZED:
            return ConnectionFailed(
                f"the API server {self.host} does not accept the credentials",
                remedy="Check that they are not expired and belong to this cluster's tenant",
            )
        details = status.get("details") or {}
        causes = [
            Cause(str(c.get("reason", "")), str(c.get("field", "")), str(c.get("message", "")))
            for c in details.get("causes") or ()
        ]
        reason = str(status.get("reason") or "")
        kind = ConflictError if any(c.reason == "FieldManagerConflict" for c in causes) else ApiError
        remedy = ""
        if exc.status == _FORBIDDEN and reason == "Forbidden" and "cannot" in message:
            remedy = (
                "Give the identity the right: a Kubernetes role, or on AKS the role "
                '"Azure Kubernetes Service RBAC Cluster Admin" (or Writer of the namespace)'
            )
        elif exc.status == _THROTTLED:
            remedy = "Run again later: the API server is overloaded"
        return kind(message, status=exc.status, reason=reason, causes=causes, where=where, remedy=remedy)


def _where(resource: Resource, namespace: str, name: str) -> str:
    return f"{resource.kind}/{namespace}/{name}" if namespace else f"{resource.kind}/{name}"


def _status(exc: t.Any) -> Mapping[str, t.Any]:
    try:
        body = json.loads(exc.body)
    except (TypeError, ValueError):
        return {}
    return body if isinstance(body, Mapping) else {}


def _retry_after(headers: Mapping[str, str] | None) -> float | None:
    try:
        return max(0.0, float((headers or {}).get("Retry-After", "")))
    except ValueError:
        return None


def _backoff(attempt: int) -> float:
    return float(0.2 * 2 ** (attempt - 1) * random.uniform(0.8, 1.2))  # noqa: S311


def _hopeless(exc: Exception) -> bool:
    text = f"{exc} {getattr(exc, 'reason', '')}"
    return isinstance(exc, socket.gaierror) or "NameResolution" in text or "CERTIFICATE" in text or "SSLError" in text
