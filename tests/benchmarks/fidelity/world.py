# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""The prepared world in which a recorded PUT is replayed: the simulator in this process, with fixtures around.

Fixtures are permissive on purpose, and the only places where the replay is kinder than the lab: resources that a
request refers to, and parents without a recorded PUT of their own, are put into the store without any check.
`PERMISSIVE` lists the rules that are off because the recordings are older than they are, or lead to services that the
lab does not serve.
"""

from __future__ import annotations

import asyncio
import copy
import re
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.benchmarks.fidelity.compare import ANONYMISED, GUID, Place
from tests.benchmarks.fidelity.recordings import Recording
from tests.lab.azure import quotas
from tests.lab.azure.app import create_app
from tests.lab.azure.arm_id import RESOURCE_GROUP_TYPE, ArmId
from tests.lab.azure.principals import Principal
from tests.lab.azure.settings import Settings
from tests.lab.azure.store import Resource
from tests.lab.cluster.manager import NullClusterManager

BASE = "https://127.0.0.1:18443"
RECORDED_SUBSCRIPTION = re.compile(r"(?<=/subscriptions/)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
PERMISSIVE = (
    "Microsoft.ContainerService/managedClusters#supported-kubernetes-versions",
    "Microsoft.Network/privateEndpoints#private-link-target",
)
MANY = 1_000_000
SUCCESS = 300
CLUSTER = "microsoft.containerservice/managedclusters"
PLUGIN = ("networkPlugin", "networkPluginMode")
NETWORK_BY_PODS: Mapping[Any, dict[str, str]] = {110: {"networkPlugin": "kubenet"}, 30: {"networkPlugin": "azure"}}
PARENTS: Mapping[str, dict[str, Any]] = {
    "microsoft.network/virtualnetworks": {"properties": {"addressSpace": {"addressPrefixes": ["0.0.0.0/0", "::/0"]}}},
    "microsoft.network/virtualnetworks/subnets": {"properties": {"addressPrefix": "10.0.0.0/24"}},
    "microsoft.network/dnszones": {"properties": {"nameServers": []}},
    "microsoft.storage/storageaccounts": {"sku": {"name": "Standard_LRS", "tier": "Standard"}, "kind": "StorageV2"},
    "microsoft.network/publicipaddresses": {"sku": {"name": "Standard"}},
}
MINIMAL_CLUSTER: dict[str, Any] = {
    "identity": {"type": "SystemAssigned"},
    "properties": {
        "dnsPrefix": "fixture",
        "agentPoolProfiles": [
            {"name": "fixture", "mode": "System", "count": 1, "vmSize": "Standard_DS2_v2", "osType": "Linux"}
        ],
    },
}


class Refused(Exception):
    """The simulator did not accept a PUT that the service accepted."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message = status, code, message


class World:
    """One simulator, emptied for every chain of recordings."""

    def __init__(self, home: Path) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._settings = Settings(
            home=home, base_url=BASE, preregistered=("*",), time_scale=0.0, without_rules=PERMISSIVE
        )
        self._app = create_app(self._settings, clusters=NullClusterManager())
        self._simulator = self._app.simulator  # type: ignore[attr-defined]
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self._app, raise_app_exceptions=False), base_url=BASE, timeout=30
        )

    @classmethod
    def temporary(cls) -> World:
        """A world whose state is gone when it is closed."""
        folder = tempfile.TemporaryDirectory(prefix="fidelity-")
        world = cls(Path(folder.name))
        world._folder = folder
        return world

    def serves(self, recording: Recording) -> bool:
        """Whether the simulator knows the type."""
        return self._simulator.engine.type_of(ArmId.parse(recording.url).type) is not None

    async def start(self) -> None:
        """Empty everything and take a token."""
        self._learned: dict[str, str] = {}
        await self._simulator.reset()
        self._client.headers.pop("Authorization", None)
        answer = await self._client.post(
            f"/{self._settings.tenant_id}/oauth2/v2.0/token",
            data={
                "grant_type": "client_credentials",
                "client_id": self._settings.client_id,
                "client_secret": self._settings.client_secret,
                "scope": f"{BASE}/.default",
            },
        )
        answer.raise_for_status()
        self._client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    async def close(self) -> None:
        """Stop."""
        await self._client.aclose()
        self._simulator.store.close()
        if self._folder is not None:
            self._folder.cleanup()

    def here(self, value: Any) -> Any:
        """A recorded value with this lab's subscription and tenant in place of the recorded ones."""
        if isinstance(value, dict):
            return {
                self.here(key): self._settings.tenant_id
                if key.lower() == "tenantid" and isinstance(member, str)
                else self.here(member)
                for key, member in value.items()
            }
        if isinstance(value, list):
            return [self.here(item) for item in value]
        if isinstance(value, str):
            return GUID.sub(self._ours, RECORDED_SUBSCRIPTION.sub(self._settings.subscription_id, value))
        return value

    def _ours(self, found: re.Match[str]) -> str:
        return self._learned.get(found[0].lower(), found[0])

    def learn(self, places: Iterable[Place]) -> None:
        """Remember which GUIDs the simulator made where the service had made others: later requests name them."""
        for place in places:
            if not (place.shape and isinstance(place.recorded, str) and isinstance(place.answered, str)):
                continue
            theirs, mine = GUID.findall(place.recorded), GUID.findall(place.answered)
            if len(theirs) == len(mine) and not ANONYMISED.fullmatch(place.recorded):
                self._learned |= {old.lower(): new for old, new in zip(theirs, mine, strict=True)}

    async def prepare(self, recording: Recording, before: list[Recording]) -> None:
        """Make everything that the first PUT of a chain needs. `before` are earlier PUTs of the same session."""
        location = _location(recording)
        arm_id = ArmId.parse(self.here(recording.url))
        self._raise_quotas(location)
        self._fixture(ArmId(arm_id.segments[:4]), location)
        for principal in _principals(self.here(recording.desired)):
            self._simulator.directory.save(Principal(object_id=principal))
        for ancestor in reversed(_parents(arm_id)):
            await self._parent(ancestor, location, before, recording)
        self.references(recording)
        if str((recording.desired.get("properties") or {}).get("createMode", "")).lower() == "recover":
            await self._delete_softly(recording)

    async def _delete_softly(self, recording: Recording) -> None:
        """A vault can only be recovered when it was there and was deleted."""
        properties = {key: value for key, value in recording.desired["properties"].items() if key != "createMode"}
        url, version = self.here(recording.url), {"api-version": recording.api_version}
        body = self.here({**recording.desired, "properties": {"accessPolicies": [], **properties}})
        _check(await self._client.put(url, params=version, json=body))
        _check(await self._client.delete(url, params=version))
        await self._idle()

    def references(self, recording: Recording) -> None:
        """Fixtures for every resource that a body names."""
        own = ArmId.parse(self.here(recording.url))
        node_group = (recording.desired.get("properties") or {}).get("nodeResourceGroup", "")
        for text in _named(self.here(recording.desired)):
            target = ArmId.parse(text)
            if target.resource_group.lower() == node_group.lower():
                continue  # the service makes that group itself
            if target.key != own.key and not target.key.startswith(f"{own.key}/"):
                self._fixture(target, _location(recording))

    async def put(self, recording: Recording) -> dict[str, Any]:
        """Replay one PUT, wait for its end and return what a GET shows. Raises Refused."""
        url, version = self.here(recording.url), {"api-version": recording.api_version}
        answer = await self._client.put(url, params=version, json=_dated(self.here(recording.desired), recording))
        _check(answer)
        await self._settle(answer)
        shown = await self._client.get(url, params=version)
        _check(shown)
        body = shown.json()
        assert isinstance(body, dict)
        return body

    async def _settle(self, answer: httpx.Response) -> None:
        address = answer.headers.get("Azure-AsyncOperation")
        while address:
            await self._idle()
            status = (await self._client.get(address)).json()
            if status["status"] == "Succeeded":
                return
            if status["status"] != "InProgress":
                raise Refused(200, status["error"]["code"], status["error"]["message"])
        await self._idle()

    async def _idle(self) -> None:
        while self._simulator.engine.operations.running():
            await asyncio.sleep(0)

    async def _parent(self, arm_id: ArmId, location: str, before: list[Recording], below: Recording) -> None:
        recorded = [entry for entry in before if self.here(entry.url).lower() == arm_id.key]
        for entry in recorded[-1:]:
            self.references(entry)
            try:
                await self.put(entry)
            except Refused:
                break
            return
        if arm_id.type == CLUSTER:
            await self._client.put(
                arm_id.text, params={"api-version": "2025-08-01"}, json={"location": location, **_cluster_for(below)}
            )
            await self._idle()
            return
        self._fixture(arm_id, location)

    def _fixture(self, arm_id: ArmId, location: str) -> None:
        """Store a resource, and what it stands in, without asking anybody."""
        for place in [*reversed(_parents(arm_id)), arm_id]:
            if not place.resource_group or self._simulator.store.exists(place):
                continue
            group = ArmId(place.segments[:4])
            if place.type != RESOURCE_GROUP_TYPE:
                self._fixture(group, location)
            self._simulator.store.save(Resource(id=place, body=_fixture_body(place, location)))

    def _raise_quotas(self, location: str) -> None:
        for quota in quotas.QUOTAS:
            quotas.set_limit(self._simulator.engine, location, quota.namespace, quota.name, MANY)


def _fixture_body(arm_id: ArmId, location: str) -> dict[str, Any]:
    body: dict[str, Any] = {"location": location, "properties": {}}
    for key, value in PARENTS.get(arm_id.type, {}).items():
        body[key] = copy.deepcopy(value)
    body["properties"]["provisioningState"] = "Succeeded"
    if arm_id.type == "microsoft.managedidentity/userassignedidentities":
        body["properties"] |= {"principalId": str(uuid.uuid4()), "clientId": str(uuid.uuid4())}
    return body


def _parents(arm_id: ArmId) -> list[ArmId]:
    """The resources that a child or extension stands below, nearest first."""
    return [place for place in arm_id.ancestors()[1:] if place.is_resource]


def _location(recording: Recording) -> str:
    location = recording.desired.get("location") or recording.live.get("location") or "westeurope"
    return "westeurope" if location.lower() == "global" else str(location).replace(" ", "").lower()


def _principals(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, member in value.items():
            if key.lower() == "principalid" and isinstance(member, str):
                yield member
            yield from _principals(member)


def _dated(body: dict[str, Any], recording: Recording) -> dict[str, Any]:
    """A cluster's body with what the service chose on the day of the recording, where the request left it open.

    That is the Kubernetes version and the network plugin. Later requests of the session build on them: without them
    every one would be a refused downgrade or change of an immutable property.
    """
    properties = body.get("properties")
    if ArmId.parse(recording.url).type != CLUSTER or not isinstance(properties, dict):
        return body
    live = recording.live["properties"]
    chosen = {**properties, "kubernetesVersion": properties.get("kubernetesVersion") or live["kubernetesVersion"]}
    network = properties.get("networkProfile") or {}
    if not network.get("networkPlugin"):
        named = {key: live["networkProfile"][key] for key in PLUGIN if key in live.get("networkProfile", {})}
        chosen["networkProfile"] = {**network, **named}
    return {**body, "properties": chosen}


def _cluster_for(recording: Recording) -> dict[str, Any]:
    """A cluster nobody recorded, with the network that gives the recorded number of pods per node."""
    pods = (recording.live.get("properties") or {}).get("maxPods")
    body = copy.deepcopy(MINIMAL_CLUSTER)
    body["properties"]["networkProfile"] = NETWORK_BY_PODS.get(pods, {})
    return body


def _named(value: Any) -> Iterator[str]:
    """Every ARM id of a resource that a body names, as a value or as a key."""
    if isinstance(value, Mapping):
        for key, member in value.items():
            yield from _named(key)
            yield from _named(member)
    elif isinstance(value, list):
        for item in value:
            yield from _named(item)
    elif isinstance(value, str) and value.lower().startswith("/subscriptions/") and ArmId.parse(value).is_resource:
        yield value


def _check(answer: httpx.Response) -> None:
    if answer.status_code < SUCCESS:
        return
    try:
        error = answer.json()["error"]
    except (ValueError, KeyError):
        raise Refused(answer.status_code, "?", answer.text[:200]) from None
    raise Refused(answer.status_code, error["code"], error["message"])
