# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""Container registries: what their tier allows, importing images, and whether a name is free.

Source: https://learn.microsoft.com/rest/api/container-registry/registries
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from tests.lab.azure.behaviour import (
    Accepted,
    Action,
    ArmError,
    Behaviour,
    OperationError,
    ProviderRequest,
    Read,
    Write,
    action,
    behaviour,
    provider_route,
)
from tests.lab.azure.behaviours.private_links import connections
from tests.lab.azure.image_store import Images, digest_of_name, split
from tests.lab.images.hosts import play

TYPE = "microsoft.containerregistry/registries"
IMAGE = re.compile(r"[a-z0-9]+([._/-][a-z0-9]+)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|@sha256:[0-9a-f]{64})?")


@behaviour("Microsoft.ContainerRegistry/registries")
class Registries(Behaviour):
    """Images that were imported are kept beside the registry: `private["images"]`, tag to source, and `["digests"]`."""

    def before_put(self, ctx: Write) -> None:
        properties = ctx.body.setdefault("properties", {})
        properties["loginServer"] = f"{ctx.id.name.lower()}.azurecr.io"
        data_endpoint = properties.get("dataEndpointEnabled")
        if data_endpoint and ctx.body["sku"]["name"] != "Premium":
            raise ArmError(
                400, "DataEndpointNotSupported", "Dedicated data endpoints are only available for Premium registries."
            )
        properties["dataEndpointHostNames"] = (
            [f"{ctx.id.name.lower()}.{ctx.body['location']}.data.azurecr.io"] if data_endpoint else []
        )

    def show(self, ctx: Read) -> None:
        ctx.body["properties"]["privateEndpointConnections"] = connections(ctx)
        identity = ctx.body.get("identity")
        if identity and identity.get("type"):
            kind = identity["type"]
            identity["type"] = kind[0].lower() + kind[1:]  # recorded 1 of 1

    @action("importImage")
    def import_image(self, ctx: Action) -> Accepted:
        """Copy an image into the registry."""
        body = ctx.body or {}
        source = body.get("source") or {}
        image = source.get("sourceImage")
        if not image or not (source.get("registryUri") or source.get("resourceId")):
            raise ArmError(
                400, "InvalidParameter", "The source of the import needs sourceImage and registryUri or resourceId."
            )
        tags = body.get("targetTags") or body.get("untaggedTargetRepositories") or [image]
        wrong = next((name for name in [image, *tags] if not IMAGE.fullmatch(name)), None)
        if wrong is not None:
            raise ArmError(400, "InvalidParameter", f"'{wrong}' is not a valid image reference.")
        return Accepted(
            run="import_now",
            payload={"source": source, "tags": tags, "force": str(body.get("mode", "NoForce")).lower() == "force"},
            via="Location",
        )

    async def import_now(self, ctx: Write, payload: dict[str, Any]) -> None:
        """The long-running part of importImage."""
        images = ctx.private.setdefault("images", {})
        taken = next((tag for tag in payload["tags"] if tag in images), None)
        if taken is not None and not payload["force"]:
            raise OperationError("Conflict", f"Tag {taken} already exists in target registry.")
        source = payload["source"]
        # A registry of the same subscription is named by its id: its login server is its name.
        host = source.get("registryUri") or f"{source['resourceId'].rpartition('/')[2].lower()}.azurecr.io"
        login_server, url = f"{ctx.id.name.lower()}.azurecr.io", ctx.settings.registry_url
        digest = await Images(url).copy(
            source=host, image=source["sourceImage"], target=login_server, tags=payload["tags"]
        )
        if digest:
            play(ctx.settings.home, url, login_server)
        for tag in payload["tags"]:
            images[tag] = f"{source.get('registryUri') or source.get('resourceId')}/{source['sourceImage']}"
            name = ":".join(split(tag))
            ctx.private.setdefault("digests", {})[name] = digest or digest_of_name(images[tag])

    @action("listCredentials", effect="list")
    def list_credentials(self, ctx: Action) -> dict[str, Any]:
        """The admin user's passwords, refused while that user is off."""
        if not ctx.resource.body["properties"].get("adminUserEnabled"):
            raise ArmError(
                400,
                "UnAuthorizedForCredentialOperations",
                f"Cannot perform credential operations for {ctx.id.text} as admin user is disabled. Kindly "
                "enable admin user as per docs: "
                "https://learn.microsoft.com/azure/container-registry/container-registry-authentication#admin-account",
            )
        digest = hashlib.sha256(ctx.id.key.encode()).hexdigest()
        return {
            "username": ctx.id.name,
            "passwords": [{"name": "password", "value": digest[:32]}, {"name": "password2", "value": digest[32:]}],
        }


@provider_route("Microsoft.ContainerRegistry", r"checkNameAvailability")
def check_name(request: ProviderRequest) -> dict[str, Any]:
    """Whether a registry of that name could be made."""
    request.authorize("Microsoft.ContainerRegistry/checkNameAvailability/read")
    name = str((request.body or {}).get("name", ""))
    if not re.fullmatch(r"[a-zA-Z0-9]{5,50}", name):
        return {"nameAvailable": False, "reason": "Invalid", "message": f"The registry name {name} is invalid."}
    if request.engine.store.find(TYPE, name=name):
        return {"nameAvailable": False, "reason": "AlreadyExists", "message": f"The registry {name} is already in use."}
    return {"nameAvailable": True}
