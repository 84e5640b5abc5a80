# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""Extensions of clusters and their identities, and whom a cluster trusts.

Sources: https://learn.microsoft.com/azure/aks/cluster-extensions and
https://learn.microsoft.com/azure/aks/trusted-access-feature ; words and codes of the refusals are ours.
"""

from __future__ import annotations

from tests.lab.azure.arm_id import ArmId
from tests.lab.azure.behaviour import ArmError, Behaviour, Write, behaviour
from tests.lab.azure.behaviours.backup_checks import CLUSTER, OPERATOR, VAULT
from tests.lab.azure.principals import Principal

_ROLES = {VAULT: {OPERATOR}}


@behaviour("Microsoft.KubernetesConfiguration/extensions")
class ClusterExtensions(Behaviour):
    """Software that Azure installs, with an identity of its own."""

    def before_put(self, ctx: Write) -> None:
        """The provider is registered, and AKS gives the identity (recorded 5 of 5; one asked for is ignored)."""
        ctx.engine.require_registration(ctx.id.subscription, ctx.id.namespace)
        if ctx.id.scope.type != CLUSTER:
            raise ArmError(400, "ClusterTypeNotSupported", f"'{ctx.id.scope.text}' is no managed cluster.")
        ignored = (ctx.body.pop("identity", None) or {}).get("principalId")
        if ignored:
            ctx.engine.directory.delete(ignored)
        if not ctx.create:
            return
        principal = Principal(
            object_id=str(ctx.engine.make("guid")),
            client_id=str(ctx.engine.make("guid")),
            kind="ManagedIdentity",
            name=ctx.id.name,
            resource=ctx.id.text,
        )
        ctx.engine.directory.save(principal)
        identity = {"principalId": principal.object_id, "tenantId": ctx.settings.tenant_id, "type": None}
        ctx.body["properties"]["aksAssignedIdentity"] = identity

    def after_delete(self, ctx: Write) -> None:
        """The identity goes with it."""
        ctx.engine.directory.delete(ctx.body["properties"]["aksAssignedIdentity"]["principalId"])


@behaviour("Microsoft.ContainerService/managedClusters/trustedAccessRoleBindings")
class TrustedAccessRoleBindings(Behaviour):
    """A resource may reach into the cluster in a role of its type."""

    def before_put(self, ctx: Write) -> None:
        """The role is one of the source's type."""
        properties = ctx.body["properties"]
        source = ArmId.parse(str(properties["sourceResourceId"])).type
        known = _ROLES.get(source)
        for role in properties["roles"]:
            if role.rsplit("/", 1)[0].lower() != source or (known is not None and role not in known):
                raise ArmError(
                    400, "InvalidParameter", f"'{role}' is no trusted access role of a resource of the type {source}."
                )
