# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""Microsoft's own management clients, pointed at a simulated Azure as one points them at a sovereign cloud.

They are typed as Any: the tests hand them plain ARM bodies.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from azure.core.exceptions import HttpResponseError
from azure.identity import ClientSecretCredential
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys.crypto import CryptographyClient
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.containerregistry import ContainerRegistryManagementClient
from azure.mgmt.containerservice import ContainerServiceClient
from azure.mgmt.dataprotection import DataProtectionMgmtClient
from azure.mgmt.dns import DnsManagementClient
from azure.mgmt.keyvault import KeyVaultManagementClient
from azure.mgmt.kubernetesconfiguration.extensions import KubernetesConfigurationExtensionsMgmtClient
from azure.mgmt.loganalytics import LogAnalyticsManagementClient
from azure.mgmt.monitor import MonitorManagementClient
from azure.mgmt.msi import ManagedServiceIdentityClient
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.privatedns import PrivateDnsManagementClient
from azure.mgmt.resource.locks import ManagementLockClient
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.mgmt.storage import StorageManagementClient

from tests.lab.azure.testing import Running

LOCATION = "francecentral"


@dataclass
class Clients:
    """One client per service, all with the same secret-based credential from azure-identity."""

    azure: Running

    @cached_property
    def credential(self) -> ClientSecretCredential:
        settings = self.azure.settings
        return ClientSecretCredential(
            settings.tenant_id,
            settings.client_id,
            settings.client_secret,
            authority=self.azure.base_url,
            disable_instance_discovery=True,
        )

    def grant(self, principal: str, role: str, scope: str) -> Any:
        """Assign a built-in role."""
        definition = f"{self.azure.subscription}/providers/Microsoft.Authorization/roleDefinitions/{role}"
        body = {"properties": {"roleDefinitionId": definition, "principalId": principal}}
        return self.authorization.role_assignments.create(scope, str(uuid.uuid4()), body)

    def _make(self, kind: Any, **more: Any) -> Any:
        options = {"base_url": self.azure.base_url, "credential_scopes": [f"{self.azure.base_url}/.default"]}
        return kind(self.credential, self.azure.settings.subscription_id, polling_interval=0, **options, **more)

    @cached_property
    def resources(self) -> Any:
        return self._make(ResourceManagementClient)

    @cached_property
    def locks(self) -> Any:
        return self._make(ManagementLockClient)

    @cached_property
    def authorization(self) -> Any:
        return self._make(AuthorizationManagementClient, api_version="2022-04-01")

    @cached_property
    def identities(self) -> Any:
        return self._make(ManagedServiceIdentityClient)

    @cached_property
    def network(self) -> Any:
        return self._make(NetworkManagementClient)

    @cached_property
    def private_dns(self) -> Any:
        return self._make(PrivateDnsManagementClient)

    @cached_property
    def dns(self) -> Any:
        return self._make(DnsManagementClient)

    @cached_property
    def vaults(self) -> Any:
        return self._make(KeyVaultManagementClient)

    def keys(self, vault_uri: str) -> Any:
        """The data plane of one vault for keys."""
        return KeyClient(vault_uri, self.credential, verify_challenge_resource=False)

    def cryptography(self, key: Any, **more: Any) -> Any:
        """Operations with one key, by its object or its address."""
        return CryptographyClient(key, self.credential, verify_challenge_resource=False, **more)

    @cached_property
    def compute(self) -> Any:
        return self._make(ComputeManagementClient)

    @cached_property
    def registries(self) -> Any:
        return self._make(ContainerRegistryManagementClient)

    @cached_property
    def storage(self) -> Any:
        return self._make(StorageManagementClient)

    @cached_property
    def workspaces(self) -> Any:
        return self._make(LogAnalyticsManagementClient)

    @cached_property
    def monitor(self) -> Any:
        return self._make(MonitorManagementClient, api_version="2021-05-01-preview")

    @cached_property
    def clusters(self) -> Any:
        return self._make(ContainerServiceClient)

    @cached_property
    def extensions(self) -> Any:
        return self._make(KubernetesConfigurationExtensionsMgmtClient)

    @cached_property
    def backup(self) -> Any:
        return self._make(DataProtectionMgmtClient)


@dataclass
class InGroup:
    """A resource group of a test's own; what it needs there, the tests add."""

    azure: Running
    sdk: Clients
    group: str

    @property
    def rg(self) -> str:
        """Name of the resource group."""
        return self.group.rsplit("/", 1)[-1]


def code(error: HttpResponseError) -> str:
    """The error code of a refusal, as azure-core read it."""
    return (error.error.code or "") if error.error is not None else ""


def made(client: Any, *arguments: Any) -> Any:
    """Create or update something and wait until it is done."""
    return client.begin_create_or_update(*arguments).result(30)


def vnet_body(*prefixes: str, **subnets: Any) -> dict[str, Any]:
    """A virtual network with subnets by name: a prefix, or properties."""
    items = [
        {"name": name, "properties": {"addressPrefix": value} if isinstance(value, str) else value}
        for name, value in subnets.items()
    ]
    spaces = list(prefixes) or ["10.0.0.0/16"]
    return {"location": LOCATION, "properties": {"addressSpace": {"addressPrefixes": spaces}, "subnets": items}}


def cluster_body(**properties: Any) -> dict[str, Any]:
    """The smallest cluster that AKS accepts."""
    pool = {"name": "system", "mode": "System", "count": 1, "vmSize": "Standard_D2s_v5", "osType": "Linux"}
    return {
        "location": LOCATION,
        "identity": {"type": "SystemAssigned"},
        "properties": {"dnsPrefix": "aks", "agentPoolProfiles": [pool], **properties},
    }


def vault_body(azure: Running, **properties: Any) -> dict[str, Any]:
    """A vault that trusts Azure's roles."""
    wanted = {
        "tenantId": azure.settings.tenant_id,
        "sku": {"family": "A", "name": "standard"},
        "enableRbacAuthorization": True,
    }
    return {"location": LOCATION, "properties": wanted | properties}


def account_body(**properties: Any) -> dict[str, Any]:
    """A storage account."""
    return {"location": LOCATION, "kind": "StorageV2", "sku": {"name": "Standard_ZRS"}, "properties": properties}
