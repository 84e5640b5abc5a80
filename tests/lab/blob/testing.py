"""Blob storage for tests: Azurite, behind a simulated Azure in which an account and its readers and writers exist."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from azure.identity import ClientSecretCredential

from tests.lab.azure.testing import Running, serve
from tests.lab.blob import server as azurite

CONTRIBUTOR = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
READER = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"
STORAGE_VERSION = "2024-01-01"


@contextlib.contextmanager
def azurite_running(folder: Path) -> Iterator[str]:
    """Azurite on a free port; its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with (folder / "azurite.log").open("w") as log:
        command, environment = azurite.command(folder / "blobs", port), {**os.environ, **azurite.accounts()}
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            with contextlib.suppress(httpx.TransportError):
                httpx.get(address, trust_env=False)
                break
            assert process.poll() is None, (folder / "azurite.log").read_text()
            time.sleep(0.1)
        yield address
    finally:
        process.kill()
        process.wait()


@dataclass
class Storage:
    """A storage account of the simulated Azure, and who may use it."""

    azure: Running
    scope: str

    @property
    def address(self) -> str:
        """The account, as https://ACCOUNT.blob.core.windows.net is in Azure."""
        return f"{self.azure.base_url}/blob/{self.scope.rpartition('/')[2]}"

    def container(self, name: str, *, days: int = 0) -> str:
        """Make a container, with an immutability policy when it has days; its address."""
        place = f"{self.scope}/blobServices/default/containers/{name}"
        self._put(place, {"properties": {}})
        if days:
            policy = {"properties": {"immutabilityPeriodSinceCreationInDays": days}}
            self._put(f"{place}/immutabilityPolicies/default", policy)
        return f"{self.address}/{name}"

    def _put(self, path: str, body: Any, version: str = STORAGE_VERSION) -> None:
        with self.azure.client() as client:
            answer = client.put(f"{path}?api-version={version}", json=body)
        assert answer.is_success, answer.text

    def allow(self, role: str, principal: str, name: str, *, below: str = "") -> None:
        """Give a principal a role on the account, or on what is below it."""
        properties = {"roleDefinitionId": self._definition(role), "principalId": principal}
        place = f"{self.scope}{below}/providers/Microsoft.Authorization/roleAssignments"
        self._put(f"{place}/30000000-0000-4000-8000-{name:0>12}", {"properties": properties}, "2022-04-01")

    def allow_actions(self, actions: list[str], principal: str, name: str, *, container: str) -> None:
        """Give a principal some of the data actions on blobs, in one container."""
        role = f"40000000-0000-4000-8000-{name:0>12}"
        prefix = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
        properties = {
            "roleName": f"role {name}",
            "type": "CustomRole",
            "permissions": [{"actions": [], "dataActions": [f"{prefix}/{action}" for action in actions]}],
            "assignableScopes": [self.azure.subscription],
        }
        self._put(self._definition(role), {"properties": properties}, "2022-04-01")
        self.allow(role, principal, name, below=f"/blobServices/default/containers/{container}")

    def _definition(self, role: str) -> str:
        return f"{self.azure.subscription}/providers/Microsoft.Authorization/roleDefinitions/{role}"

    def credential(self, *, second: bool = False) -> ClientSecretCredential:
        settings = self.azure.settings
        identity = (settings.client_id, settings.client_secret)
        if second:
            identity = (settings.second_client_id, settings.second_client_secret)
        return ClientSecretCredential(
            settings.tenant_id, *identity, authority=self.azure.base_url, disable_instance_discovery=True
        )

    def blocks(self) -> int:
        """How many writes of blobs there were."""
        return int(self.azure.control("GET", "/lab/requests")["storage"]["write"])


@contextlib.contextmanager
def storage_account(folder: Path, **settings: Any) -> Iterator[Storage]:
    """The main principal is a contributor of the blobs, the second one a reader; `settings` are those of the Azure."""
    (folder / "blobs").mkdir()
    with azurite_running(folder) as address, serve(folder / "azure", blob_url=address, **settings) as azure:
        group = f"{azure.subscription}/resourceGroups/backups"
        storage = Storage(azure, f"{group}/providers/Microsoft.Storage/storageAccounts/stbackups")
        storage._put(group, {"location": "francecentral"}, "2021-04-01")
        storage._put(
            storage.scope,
            {"location": "francecentral", "kind": "StorageV2", "sku": {"name": "Standard_ZRS"}, "properties": {}},
        )
        for _ in range(100):
            with azure.client() as client:
                if (
                    client.get(f"{storage.scope}?api-version={STORAGE_VERSION}").json()["properties"][
                        "provisioningState"
                    ]
                    == "Succeeded"
                ):
                    break
            time.sleep(0.05)
        storage.allow(CONTRIBUTOR, azure.settings.object_id, "1")
        storage.allow(READER, azure.settings.second_object_id, "2")
        yield storage
