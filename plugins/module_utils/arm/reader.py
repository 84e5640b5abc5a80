# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Live state: of all documents at once, complete or not at all."""

from __future__ import annotations

import concurrent.futures
import threading
import time
import typing as t
import urllib.parse
from collections.abc import Callable, Iterable, Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.arm import ids
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.catalogue import facts_of
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.documents import Document, Estate
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.errors import ArmError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.progress import HEARTBEAT, Progress
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.references import (
    Reference,
    get_path,
    is_deferred,
)

if t.TYPE_CHECKING:
    from ansible_collections.audioprothese.platform.plugins.module_utils.arm.client import Answer
    from ansible_collections.audioprothese.platform.plugins.module_utils.arm.credentials import Cloud

__all__ = ["Reader", "ResourceClient"]

_NOT_FOUND: t.Final = 404
_CONFLICT: t.Final = 409
# 404 with one of these does not mean that the resource is absent, but that nobody looked for it.
_NOT_ABSENT: t.Final = ("subscriptionnotfound", "invalidresourcetype", "noregisteredproviderfound", "tenantnotfound")
_NOT_REGISTERED: t.Final = "missingsubscriptionregistration"
# States in which an operation is under way. Source: "Asynchronous operations" of the ARM RPC contract and, for the
# names beyond those, the provisioningState of AKS, Network and Key Vault in their REST references.
_UNDER_WAY: t.Final = frozenset(
    (
        "accepted",
        "configuring",
        "creating",
        "deleting",
        "inprogress",
        "migrating",
        "pending",
        "provisioning",
        "registering",
        "registeringdns",
        "resolvingdns",
        "running",
        "scaling",
        "starting",
        "stopping",
        "updating",
        "upgrading",
    )
)
_POLL: t.Final = (0.5, 1, 2, 5, 10)


class ResourceClient(t.Protocol):
    """What a run needs of a client; see C(client.ArmClient)."""

    @property
    def cloud(self) -> Cloud:
        """Where the services are."""

    def requests(self) -> dict[str, int]:
        """Requests so far."""

    def get(self, path: str, api_version: str, *, doing: str = "read") -> t.Any:
        """GET a resource."""

    def post(self, path: str, api_version: str, body: t.Any = None, *, doing: str = "ask") -> t.Any:
        """POST an action."""

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
        """PUT or PATCH a resource and wait."""

    def delete(
        self,
        path: str,
        api_version: str,
        *,
        doing: str = "delete",
        on_state: Callable[[str], None] | None = None,
        timeout: float | None = None,
    ) -> None:
        """DELETE a resource and wait."""

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
        """One request."""


class Reader:
    """Reads the resources of an estate and what they refer to.

    Args:
        client: to ask.
        estate: the documents.
        threads: requests at once.
        timeout: seconds to wait for an operation that somebody else started.
        progress: told about such waits.
    """

    def __init__(
        self, client: ResourceClient, estate: Estate, *, threads: int, timeout: float, progress: Progress
    ) -> None:
        self.client, self.estate = client, estate
        self._threads, self._timeout, self._progress = threads, timeout, progress
        self._lock = threading.Lock()
        self.live: dict[str, dict[str, t.Any] | None] = {}

    def read_all(self) -> None:
        """Read everything.

        Raises:
            ArmError: one read failed; the set is never shrunk to what could be read.
        """
        outside = self.estate.outside_references()
        self._each(self._read_document, self.estate.documents)
        self._each(self._read_outside, outside.values())
        later = [d for d in self.estate if d.facts.lookup == "role_assignment" and not self._is_assigned(d)]
        self._each(self._find_role_assignment, later)

    def settle(self) -> None:
        """Wait for operations that are under way, such as those of a run that was killed.

        Raises:
            ArmError: one did not end in time.
        """
        self._each(self._settle, [d for d in self.estate if _state(self.live.get(d.key)) in _UNDER_WAY])

    def refresh(self, document: Document) -> dict[str, t.Any] | None:
        """Read one resource again, where it was found, and remember it."""
        found = self.live.get(document.key)
        path = str(found.get("id") or document.id.text) if found and document.facts.lookup else document.id.text
        body = self._get(document, path)
        self._remember(document.key, body)
        return body

    def forget(self, key: str) -> None:
        """A resource is gone."""
        self._remember(key, None)

    def remember(self, key: str, body: dict[str, t.Any] | None) -> None:
        """A resource was read by other means."""
        self._remember(key, body)

    def value_of(self, reference: Reference) -> t.Any:
        """A reference's value; reads a resource that no document describes again when it was not there before."""
        key = ids.key_of(reference.target)
        body = self.live.get(key)
        if body is None or get_path(body, reference.path) is None:
            document = self.estate.get(key)
            if document is not None:
                body = self.refresh(document)
            else:
                self._read_outside(ids.parse(reference.target))
                body = self.live.get(key)
        return None if body is None else get_path(body, reference.path)

    def find_role_assignment(self, document: Document) -> dict[str, t.Any] | None:
        """The assignment of the same role to the same principal at the same scope, whatever its name.

        ARM knows only one, and refuses a second with RoleAssignmentExists.
        """
        wanted = document.resolved(self.value_of).get("properties", {})
        principal = wanted.get("principalId")
        if not principal or is_deferred(principal):
            return None
        scope = document.id.extension_of or document.id.parent or document.id.subscription
        query = urllib.parse.quote(f"principalId eq '{principal}'")
        path = f"{scope}/providers/Microsoft.Authorization/roleAssignments"
        try:
            answer = self.client.request(
                "GET",
                f"{path}?$filter={query}",
                api_version=document.api_version,
                doing="look for the role assignment",
            )
        except ArmError as exc:
            if exc.status == _NOT_FOUND and exc.code.lower() not in _NOT_ABSENT:
                return None
            raise
        for item in (answer.body or {}).get("value", []):
            properties = item.get("properties", {})
            if (
                str(properties.get("principalId", "")).lower() == str(principal).lower()
                and ids.key_of(str(properties.get("scope", ""))) == ids.key_of(scope)
                and _last(properties.get("roleDefinitionId")) == _last(wanted.get("roleDefinitionId"))
            ):
                return dict(item)
        return None

    def _read_document(self, document: Document) -> None:
        self._remember(document.key, self._get(document, document.id.text))

    def _read_outside(self, resource: ids.ResourceId) -> None:
        try:
            body = self.client.get(resource.text, facts_of(resource.type).api_version)
        except ArmError as exc:
            if exc.status != _NOT_FOUND or exc.code.lower() in _NOT_ABSENT:
                raise
            body = None
        self._remember(resource.key, body)

    def _get(self, document: Document, path: str) -> dict[str, t.Any] | None:
        try:
            body = self.client.get(path, document.api_version)
        except ArmError as exc:
            code = exc.code.lower()
            if exc.status == _NOT_FOUND and code not in _NOT_ABSENT:
                return None
            if code == _NOT_REGISTERED and self.estate.registration_of(document) is not None:
                return None
            raise
        if document.facts.write == "register" and str(body.get("registrationState", "")).lower() not in (
            "registered",
            "registering",
        ):
            return None
        if not isinstance(body, dict):
            raise ArmError("cannot read: the answer is not a resource", where=document.id.text)
        return body

    def _is_assigned(self, document: Document) -> bool:
        """Whether what has the document's name is for its principal, and not for one that is gone."""
        live = self.live[document.key]
        wanted = document.resolved(self.value_of).get("properties", {}).get("principalId")
        return live is not None and (is_deferred(wanted) or wanted == get_path(live, "properties.principalId"))

    def _find_role_assignment(self, document: Document) -> None:
        found = self.find_role_assignment(document)
        if found is not None:
            self._remember(document.key, found)

    def _settle(self, document: Document) -> None:
        deadline = time.monotonic() + self._timeout
        said = 0.0
        attempt = 0
        while (state := _state(self.live.get(document.key))) in _UNDER_WAY:
            now = time.monotonic()
            if now > deadline:
                raise ArmError(
                    f"an operation that an earlier run or somebody else started is still {state}",
                    where=document.id.text,
                    remedy="Wait for it, or give a larger timeout",
                )
            if now - said >= HEARTBEAT:
                self._progress.say(f"{document.type} {document.id.short}: waiting, it is {state} since before this run")
                said = now
            time.sleep(_POLL[min(attempt, len(_POLL) - 1)])
            attempt += 1
            self.refresh(document)

    def _remember(self, key: str, body: dict[str, t.Any] | None) -> None:
        with self._lock:
            self.live[key] = body

    def _each[T](self, work: Callable[[T], None], items: Iterable[T]) -> None:
        """All items at once; the first error in order of the items is raised when all have ended."""
        todo = list(items)
        if not todo:
            return
        with concurrent.futures.ThreadPoolExecutor(min(self._threads, len(todo)), "arm-read") as pool:
            futures = [pool.submit(work, item) for item in todo]
            concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_EXCEPTION)
            failed = [future for future in futures if future.done() and future.exception() is not None]
            if failed:
                for future in futures:
                    future.cancel()
        for future in failed:
            future.result()


def _state(body: Mapping[str, t.Any] | None) -> str:
    if body is None:
        return ""
    state = get_path(dict(body), "properties.provisioningState") or body.get("registrationState")
    return str(state or "").lower()


def _last(value: t.Any) -> str:
    return str(value or "").rstrip("/").rpartition("/")[2].lower()
