"""Ten changes behind the platform's back: five with Microsoft's clients, five with kubectl."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from azure.mgmt.containerservice import ContainerServiceClient
from azure.mgmt.keyvault import KeyVaultManagementClient
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.privatedns import PrivateDnsManagementClient
from azure.mgmt.storage import StorageManagementClient

from tests.integration.support.azure import client, resource_ids
from tests.integration.support.lab import Lab


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change and how it has to be reported.

    Attributes:
        what: for people.
        make: does it, and returns the resource as a report names it.
        path: the place in the report; empty when the whole resource is gone.
        desired: what the roles declare there.
        live: what the change put there.
    """

    what: str
    make: Callable[[Lab], str]
    path: str = ""
    desired: Any = None
    live: Any = None


def _group(resource_id: str) -> str:
    return resource_id.split("/")[4]


def _name(resource_id: str) -> str:
    return resource_id.rsplit("/", 1)[1]


def _only(lab: Lab, type_name: str, containing: str = "") -> str:
    (found,) = [entry for entry in resource_ids(lab, type_name) if containing in entry]
    return found


def open_management_port(lab: Lab) -> str:
    """Change a declared rule of a network security group."""
    group = _only(lab, "Microsoft.Network/networkSecurityGroups", "-private-endpoints")
    network = client(lab, NetworkManagementClient)
    body = network.network_security_groups.get(_group(group), _name(group))
    rule = next(rule for rule in body.security_rules if rule.name == "DenyAllInbound")
    rule.access = "Allow"
    network.network_security_groups.begin_create_or_update(_group(group), _name(group), body).result()
    return group


def weaken_tls(lab: Lab) -> str:
    """Let the storage account accept an old protocol version."""
    account = _only(lab, "Microsoft.Storage/storageAccounts")
    storage = client(lab, StorageManagementClient)
    storage.storage_accounts.update(_group(account), _name(account), {"properties": {"minimumTlsVersion": "TLS1_0"}})
    return account


def open_vault(lab: Lab) -> str:
    """Let every network reach the vault."""
    vault = _only(lab, "Microsoft.KeyVault/vaults")
    vaults = client(lab, KeyVaultManagementClient)
    vaults.vaults.update(_group(vault), _name(vault), {"properties": {"publicNetworkAccess": "Enabled"}})
    return vault


def stop_upgrades(lab: Lab) -> str:
    """Take the cluster off its upgrade channel."""
    cluster = _only(lab, "Microsoft.ContainerService/managedClusters")
    service = client(lab, ContainerServiceClient)
    body = service.managed_clusters.get(_group(cluster), _name(cluster))
    body.properties.auto_upgrade_profile.upgrade_channel = "none"
    service.managed_clusters.begin_create_or_update(_group(cluster), _name(cluster), body).result()
    return cluster


def unlink_zone(lab: Lab) -> str:
    """Delete the link between the vault's private zone and the network."""
    link = _only(lab, "Microsoft.Network/privateDnsZones/virtualNetworkLinks", "vaultcore")
    zone = link.split("/")[8]
    client(lab, PrivateDnsManagementClient).virtual_network_links.begin_delete(_group(link), zone, _name(link)).result()
    return link


def _patch(kind: str, namespace: str, name: str, patch: Any) -> Callable[[Lab], str]:
    def make(lab: Lab) -> str:
        scope = ("-n", namespace) if namespace else ()
        lab.kubectl("patch", kind.lower(), name, *scope, "--type=merge", "-p", json.dumps(patch))
        return "/".join(part for part in (kind, namespace, name) if part)

    return make


def _delete(kind: str, namespace: str, name: str) -> Callable[[Lab], str]:
    def make(lab: Lab) -> str:
        lab.kubectl("delete", kind.lower(), name, "-n", namespace)
        return f"{kind}/{namespace}/{name}"

    return make


AZURE = [
    Change(
        what="a denying rule of a security group allows",
        make=open_management_port,
        path="properties.securityRules[name=DenyAllInbound].properties.access",
        desired="Deny",
        live="Allow",
    ),
    Change(
        what="the storage account takes TLS 1.0",
        make=weaken_tls,
        path="properties.minimumTlsVersion",
        desired="TLS1_2",
        live="TLS1_0",
    ),
    Change(
        what="the vault is open to all networks",
        make=open_vault,
        path="properties.publicNetworkAccess",
        desired="Disabled",
        live="Enabled",
    ),
    Change(
        what="the cluster is off its upgrade channel",
        make=stop_upgrades,
        path="properties.autoUpgradeProfile.upgradeChannel",
        desired="patch",
        live="none",
    ),
    Change(what="the vault's private zone is not linked", make=unlink_zone),
]

KUBERNETES = [
    Change(
        what="a namespace lets privileged pods in",
        make=_patch(
            "Namespace", "", "openmrs", {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}
        ),
        path='metadata.labels["pod-security.kubernetes.io/enforce"]',
        desired="restricted",
        live="privileged",
    ),
    Change(what="nothing is denied by default", make=_delete("NetworkPolicy", "mariadb", "default-deny")),
    Change(
        what="the quota is wide open",
        make=_patch("ResourceQuota", "openmrs", "namespace", {"spec": {"hard": {"requests.memory": "1Ti"}}}),
        path='spec.hard["requests.memory"]',
        live="1Ti",
    ),
    Change(
        what="the frontend runs twice as often",
        make=_patch("Deployment", "openmrs", "openmrs-frontend", {"spec": {"replicas": 7}}),
        path="spec.replicas",
        live=7,
    ),
    Change(
        what="pods get a token of the API server",
        make=_patch("ServiceAccount", "openmrs", "default", {"automountServiceAccountToken": True}),
        path="automountServiceAccountToken",
        desired=False,
        live=True,
    ),
]
