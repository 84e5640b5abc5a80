# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage accounts: replicated endpoints, keys, and whether a name is free.

Source: https://learn.microsoft.com/rest/api/storagerp/storage-accounts and 29 recorded accounts.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

from tests.lab.azure.behaviour import (
    Action,
    ArmError,
    Behaviour,
    ProviderRequest,
    Read,
    action,
    behaviour,
    provider_route,
)
from tests.lab.azure.behaviours.private_links import connections

TYPE = "microsoft.storage/storageaccounts"
#: Regions whose data is copied to each other (https://learn.microsoft.com/azure/reliability/cross-region-replication-azure).
PAIRS = {
    "francecentral": "francesouth",
    "westeurope": "northeurope",
    "northeurope": "westeurope",
    "swedencentral": "swedensouth",
    "germanywestcentral": "germanynorth",
    "uksouth": "ukwest",
    "eastus": "westus",
    "westus": "eastus",
    "eastus2": "centralus",
    "centralus": "eastus2",
    "westus2": "westcentralus",
    "westus3": "eastus",
    "eastus2euap": "centraluseuap",
    "centraluseuap": "eastus2euap",
}
GEO = ("GRS", "RAGRS", "GZRS", "RAGZRS")


@behaviour("Microsoft.Storage/storageAccounts")
class StorageAccounts(Behaviour):
    """What depends on the kind of replication."""

    def show(self, ctx: Read) -> None:
        properties = ctx.body["properties"]
        properties["privateEndpointConnections"] = connections(ctx)
        replication = ctx.body["sku"]["name"].rsplit("_", 1)[-1]
        if replication in GEO:
            properties["secondaryLocation"] = PAIRS.get(ctx.body["location"], ctx.body["location"])
            properties["statusOfSecondary"] = "available"
        if replication.startswith("RA"):
            primary = properties["primaryEndpoints"]
            properties["secondaryEndpoints"] = {
                service: address.replace(f"//{ctx.id.name}.", f"//{ctx.id.name}-secondary.")
                for service, address in primary.items()
                if service != "file"
            }

    @action("listKeys", effect="list", permission="Microsoft.Storage/storageAccounts/listkeys/action")
    def list_keys(self, ctx: Action) -> dict[str, Any]:
        """The two account keys."""
        return {"keys": [_key(ctx.resource.body, ctx.id.key, name) for name in ("key1", "key2")]}

    @action("regenerateKey")
    def regenerate_key(self, ctx: Action) -> dict[str, Any]:
        """A new value for one of the keys."""
        name = str((ctx.body or {}).get("keyName", ""))
        if name not in ("key1", "key2"):
            raise ArmError(
                400, "InvalidValuesForRequestParameters", "Values for request parameters are invalid: keyName."
            )
        ctx.resource.body["properties"]["keyCreationTime"][name] = ctx.engine.make("now")
        ctx.store.save(ctx.resource)
        return self.list_keys(ctx)


@behaviour("Microsoft.Storage/storageAccounts/blobServices")
class BlobServices(Behaviour):
    """The blob service shows its account's SKU."""

    def show(self, ctx: Read) -> None:
        account = ctx.store.get(ctx.id.parent)
        if account is not None:
            ctx.body["sku"] = dict(account.body.get("sku", {}))


def _key(body: dict[str, Any], account: str, name: str) -> dict[str, Any]:
    created = body["properties"]["keyCreationTime"][name]
    value = base64.b64encode(hashlib.sha512(f"{account}/{name}/{created}".encode()).digest()).decode()
    return {"creationTime": created, "keyName": name, "value": value, "permissions": "FULL"}


@provider_route("Microsoft.Storage", r"checkNameAvailability")
def check_name(request: ProviderRequest) -> dict[str, Any]:
    """Whether an account of that name could be made."""
    request.authorize("Microsoft.Storage/checknameavailability/read")
    name = str((request.body or {}).get("name", ""))
    if not re.fullmatch(r"[a-z0-9]{3,24}", name):
        message = f"{name} is not a valid storage account name."
        return {"nameAvailable": False, "reason": "AccountNameInvalid", "message": message}
    if request.engine.store.find(TYPE, name=name):
        message = f"The storage account named {name} is already taken."
        return {"nameAvailable": False, "reason": "AlreadyExists", "message": message}
    return {"nameAvailable": True}
