# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An Azure in memory, for tests of what lies above the client: it replaces on PUT, and refuses what it is told to."""

from __future__ import annotations

import collections
import copy
import threading
import time
import typing as t
from collections.abc import Callable, Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.arm.client import Answer
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.credentials import Cloud
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.errors import ArmError

S = "/subscriptions/10000000-0000-4000-8000-000000000002"
G = f"{S}/resourceGroups/rg"
NET = f"{G}/providers/Microsoft.Network"
VNET = f"{NET}/virtualNetworks/vnet"
NSG = f"{NET}/networkSecurityGroups/nsg"
IDENTITY = f"{G}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id"
ROLE = f"{G}/providers/Microsoft.Authorization/roleAssignments/20000000-0000-4000-8000-000000000001"
READER = f"{S}/providers/Microsoft.Authorization/roleDefinitions/acdd72a7-3385-48ef-bd42-f606fba81ae7"

Hook = Callable[[str, str, t.Any], None]


def refused(status: int, code: str, message: str = "no") -> ArmError:
    return ArmError(f"cannot do it: {code}", status=status, code=code, text=message)


class FakeArm:
    """Resources by lower-case id. C(before) is called with verb, path and body, and may raise."""

    def __init__(self) -> None:
        self.cloud = Cloud(name="fake", resource_manager="", authority="", audience="", vault_audience="")
        self.resources: dict[str, dict[str, t.Any]] = {}
        self.calls: list[tuple[str, str]] = []
        self.bodies: dict[str, t.Any] = {}
        self.hooks: list[Hook] = []
        self.seconds = 0.0
        self.running: collections.Counter[str] = collections.Counter()
        self.most_at_once = 0
        self.overlaps: list[set[str]] = []
        self._lock = threading.Lock()

    @property
    def writes(self) -> list[tuple[str, str]]:
        return [call for call in self.calls if call[0] in ("PUT", "PATCH", "DELETE", "POST")]

    def put_there(self, path: str, body: Mapping[str, t.Any]) -> None:
        """Something made behind our back."""
        name = path.rpartition("/")[2]
        self.resources[path.lower()] = {"id": path, "name": name, **copy.deepcopy(dict(body))}

    def requests(self) -> dict[str, int]:
        return dict(collections.Counter(verb for verb, _path in self.calls))

    def get(self, path: str, api_version: str, *, doing: str = "read") -> t.Any:
        self._call("GET", path, None)
        if path.lower() not in self.resources:
            raise refused(404, "ResourceNotFound")
        return copy.deepcopy(self.resources[path.lower()])

    def post(self, path: str, api_version: str, body: t.Any = None, *, doing: str = "ask") -> t.Any:
        self._call("POST", path, body)
        if path.endswith("/register"):
            self.put_there(path.removesuffix("/register"), {"registrationState": "Registered"})

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
        self._call(verb, path, body)
        if on_state is not None:
            on_state("Updating")
        self._work(path)
        self.bodies[path] = copy.deepcopy(body)
        stored = copy.deepcopy(body)
        if "userAssignedIdentities" in path:
            stored.setdefault("properties", {})["principalId"] = "principal-of-" + path.rpartition("/")[2]
        self.put_there(path, stored)
        return stored

    def delete(
        self,
        path: str,
        api_version: str,
        *,
        doing: str = "delete",
        on_state: Callable[[str], None] | None = None,
        timeout: float | None = None,
    ) -> None:
        self._call("DELETE", path, None)
        self._work(path)
        self.resources.pop(path.lower(), None)

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
        self._call(verb, path, body)
        collection, _query, _filter = path.partition("?")
        found = [r for key, r in self.resources.items() if key.startswith(f"{collection.lower()}/")]
        return Answer(200, {}, {"value": found})

    def _call(self, verb: str, path: str, body: t.Any) -> None:
        with self._lock:
            self.calls.append((verb, path))
        for hook in list(self.hooks):
            hook(verb, path, body)

    def _work(self, path: str) -> None:
        with self._lock:
            self.running[path] += 1
            self.overlaps.append({p for p, count in self.running.items() if count})
            self.most_at_once = max(self.most_at_once, sum(self.running.values()))
        time.sleep(self.seconds)
        with self._lock:
            self.running[path] -= 1


def times(number: int, matches: Callable[[str, str], bool], error: ArmError) -> Hook:
    """Refuse the first requests that match."""
    left = [number]

    def hook(verb: str, path: str, body: t.Any) -> None:
        if left[0] and matches(verb, path):
            left[0] -= 1
            raise error

    return hook
