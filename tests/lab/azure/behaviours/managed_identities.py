"""Microsoft.ManagedIdentity: an identity in ARM is a principal in the directory.

A federated credential takes a moment to be written, and two at once under one identity are refused:
https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations
"""

from __future__ import annotations

import asyncio

from tests.lab.azure.behaviour import Behaviour, Write, behaviour
from tests.lab.azure.principals import Principal

WRITE_SECONDS = 0.05


@behaviour("Microsoft.ManagedIdentity/userAssignedIdentities")
class UserAssignedIdentities(Behaviour):
    """The principal lives as long as the resource."""

    def after_put(self, ctx: Write) -> None:
        """Create the principal."""
        properties = ctx.body["properties"]
        if ctx.engine.directory.by_object_id(properties["principalId"]) is None:
            ctx.engine.directory.save(
                Principal(
                    object_id=properties["principalId"],
                    client_id=properties["clientId"],
                    kind="ManagedIdentity",
                    name=ctx.id.name,
                    resource=ctx.id.text,
                )
            )

    def after_delete(self, ctx: Write) -> None:
        """Remove the principal; role assignments that name it stay behind, as in Azure."""
        ctx.engine.directory.delete(ctx.body["properties"]["principalId"])


@behaviour("Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials")
class FederatedIdentityCredentials(Behaviour):
    """Writes under one identity do not overlap."""

    async def run(self, ctx: Write) -> None:
        """Take as long as the directory needs; meanwhile a second write is refused."""
        await asyncio.sleep(WRITE_SECONDS * ctx.settings.time_scale)
