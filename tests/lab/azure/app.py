"""The simulated Azure as one ASGI application.

`create_app` is a factory: ``uvicorn --factory tests.lab.azure.app:create_app`` reads its settings from ``$LAB_HOME``.
"""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.lab.azure import blob, cluster_routes, control, entra, image_store, keyvault, metadata, nameserver, traffic
from tests.lab.azure.arm import Arm
from tests.lab.azure.arm_id import ARM_ROOTS, ArmId
from tests.lab.azure.authorization import ASSIGNMENT_TYPE, OWNER
from tests.lab.azure.engine import Engine
from tests.lab.azure.faults import Faults
from tests.lab.azure.names import Names
from tests.lab.azure.operations import timestamp
from tests.lab.azure.principals import Directory
from tests.lab.azure.settings import Settings
from tests.lab.azure.store import Resource, Store
from tests.lab.azure.tokens import Tokens
from tests.lab.azure.typedata import TYPES_DIRECTORY, load, standard_types
from tests.lab.cluster.manager import ClusterManager, NullClusterManager


class Simulator:
    """All parts, wired."""

    def __init__(self, settings: Settings, clusters: ClusterManager) -> None:
        self.settings = settings
        self.store = Store(settings.database)
        self.directory = Directory(self.store, settings)
        self.tokens = Tokens(self.store, settings)
        self.faults = Faults(self.store)
        types = load(TYPES_DIRECTORY, without=settings.without_rules) if settings.without_rules else standard_types()
        self.engine = Engine(
            store=self.store, settings=settings, types=types, directory=self.directory, clusters=clusters
        )
        self.arm = Arm(self.engine, self.tokens, self.faults)
        self.entra = entra.Entra(self.store, settings, self.directory, self.tokens)
        self.vaults = keyvault.KeyVault(self.engine, self.tokens)
        self.blobs = blob.BlobStorage(self.engine, self.tokens, blob_server(settings))
        self.names = Names(self.store, settings)
        self.seed()

    def seed(self) -> None:
        """Principals, and Owner on the subscription for the main one."""
        self.directory.seed()
        settings = self.settings
        scope = ArmId(("subscriptions", settings.subscription_id))
        assignment = scope.extension("Microsoft.Authorization/roleAssignments", "00000000-0000-4000-8000-000000000001")
        if self.store.exists(assignment):
            return
        now = timestamp(time.time())
        properties = {
            "roleDefinitionId": f"{scope.text}/providers/Microsoft.Authorization/roleDefinitions/{OWNER}",
            "principalId": settings.object_id,
            "principalType": "ServicePrincipal",
            "scope": scope.text,
            "createdOn": now,
            "updatedOn": now,
            "createdBy": "",
            "updatedBy": "",
        }
        if assignment.type != ASSIGNMENT_TYPE:
            raise ValueError(assignment.text)
        self.store.save(Resource(id=assignment, body={"properties": properties}))

    async def reset(self) -> None:
        """Back to the beginning, without a restart."""
        await self.engine.operations.stop()
        clusters = self.store.find("microsoft.containerservice/managedclusters")
        self.store.clear()
        self.faults.clear()
        self.seed()
        for cluster in clusters:
            await self.engine.clusters.delete(cluster.id.text)


class _ArmPaths:
    """Sends `/subscriptions/…` and the like to ARM (they match in any case), and `/blob/…` to Blob storage."""

    def __init__(self, app: ASGIApp, arm: Arm, blobs: blob.BlobStorage) -> None:
        self._app = app
        self._arm = arm
        self._blobs = blobs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].split("/", 2)[1].lower() in ARM_ROOTS:
            response = await self._arm(Request(scope, receive))
            await response(scope, receive, send)
            return
        if scope["type"] == "http" and scope["path"].startswith("/blob/"):
            await self._blobs(scope, receive, send)
            return
        await self._app(scope, receive, send)


def cluster_manager(settings: Settings) -> ClusterManager:
    """The manager that the settings name (``module:callable``, called with the home), else one that runs nothing."""
    if not settings.cluster_manager:
        return NullClusterManager()
    module, _, name = settings.cluster_manager.partition(":")
    manager: ClusterManager = getattr(importlib.import_module(module), name)(settings.home)
    return manager


def blob_server(settings: Settings) -> Callable[[], str]:
    """What gives the URL of Azurite: that of the settings, or of one that is started when it is asked for."""
    if not settings.blob_server:
        return lambda: settings.blob_url
    module, _, name = settings.blob_server.partition(":")
    started: Callable[[Path], str] = getattr(importlib.import_module(module), name)
    return lambda: started(settings.home)


def create_app(settings: Settings | None = None, *, clusters: ClusterManager | None = None) -> ASGIApp:
    """The application; without settings those of `$LAB_HOME` are read."""
    chosen = settings or Settings.from_environment()
    simulator = Simulator(chosen, clusters or cluster_manager(chosen))

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        simulator.engine.operations.resume()
        async with contextlib.AsyncExitStack() as stack:
            if chosen.dns_port:
                await stack.enter_async_context(nameserver.serve(simulator.store, chosen.dns_port))
            yield
        await simulator.engine.operations.stop()
        simulator.store.close()

    app = Starlette(
        routes=[
            *metadata.routes(chosen),
            *control.routes(simulator),
            *cluster_routes.routes(simulator),
            *image_store.routes(simulator),
            *simulator.entra.routes(),
        ],
        lifespan=lifespan,
        exception_handlers={404: _not_found},
    )
    app.state.simulator = simulator
    hosts = keyvault.ByHost(_ArmPaths(app, simulator.arm, simulator.blobs), simulator.vaults)
    return traffic.Traffic(hosts, simulator)


async def _not_found(request: Any, exc: Exception) -> JSONResponse:
    return JSONResponse(
        {"error": {"code": "NotFound", "message": f"There is nothing at '{request.url.path}'."}}, status_code=404
    )
