# Copyright (c) 2026, AudioProthese+ platform team
# SPDX-License-Identifier: GPL-3.0-or-later
"""The images of container registries: what importImage copies, and the data plane that shows it.

Where the lab runs a registry, each registry of the world is a prefix of its repositories, and an import copies manifest
and blobs from one prefix to another. Where it runs none, an import is only remembered, with the digest it asked for or
one made from its name.

The data plane is served below `/registries/LOGIN_SERVER`, as no name of the lab resolves: the token exchange of
https://azure.github.io/acr/AAD-OAuth.html and the manifests of
https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md .
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import urllib.parse
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import jwt
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.lab.azure.authorization import Caller
from tests.lab.azure.errors import OperationError
from tests.lab.azure.settings import Settings
from tests.lab.azure.store import Resource
from tests.lab.azure.tokens import ARM_AUDIENCES, TokenError

if TYPE_CHECKING:
    from tests.lab.azure.app import Simulator

__all__ = ["Images", "digest_of_name", "routes", "split"]

TYPE = "microsoft.containerregistry/registries"
AUDIENCE = "https://containerregistry.azure.net"
INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
ACCEPT = ", ".join((*INDEXES, *MANIFESTS))
TOKEN_SECONDS = 600
PULL = "Microsoft.ContainerRegistry/registries/pull/read"


def split(image: str) -> tuple[str, str]:
    """Return the repository and the tag or digest of `repository:tag` or `repository@digest`."""
    if "@" in image:
        repository, _, digest = image.partition("@")
        return repository, digest
    repository, _, tag = image.partition(":")
    return repository, tag or "latest"


def digest_of_name(source: str) -> str:
    """Return the digest of an image that only its name is known of."""
    named = re.search(r"@(sha256:[0-9a-f]{64})$", source)
    return named[1] if named else "sha256:" + hashlib.sha256(source.encode()).hexdigest()


class Manifest(NamedTuple):
    """A manifest as its registry gave it."""

    digest: str
    body: bytes
    kind: str


class Images:
    """Copies images between the prefixes of the lab's registry."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def copy(self, *, source: str, image: str, target: str, tags: list[str]) -> str | None:
        """Copy an image of registry `source` to registry `target` under each of the tags.

        Returns:
            Its digest; None where no registry runs.

        Raises:
            OperationError: there is no such image.

        """
        if not self._url:
            return None
        repository, reference = split(image)
        try:
            async with httpx.AsyncClient(base_url=self._url, trust_env=False, timeout=120) as client:
                found = await _manifest(client, f"{source}/{repository}", reference)
                for tag in tags:
                    copied_to, name = split(tag)
                    await _copy(client, found, f"{source}/{repository}", f"{target}/{copied_to}", name)
        except httpx.ConnectError:
            return None
        return found.digest


async def _manifest(client: httpx.AsyncClient, repository: str, reference: str) -> Manifest:
    answer = await client.get(f"/v2/{repository}/manifests/{reference}", headers={"Accept": ACCEPT})
    if answer.status_code == 404:
        # The text of the service around what the source answered: https://github.com/MicrosoftDocs/azure-docs/issues/90060
        raise OperationError("NotFound", f"Invalid message NotFound Not Found {answer.text.strip()}")
    answer.raise_for_status()
    return Manifest(answer.headers["Docker-Content-Digest"], answer.content, answer.headers["Content-Type"])


async def _copy(client: httpx.AsyncClient, found: Manifest, source: str, target: str, reference: str) -> None:
    """Copy what a manifest refers to, then the manifest itself."""
    manifest: dict[str, Any] = json.loads(found.body)
    for part in manifest.get("manifests", []):
        await _copy(client, await _manifest(client, source, part["digest"]), source, target, part["digest"])
    for blob in [*manifest.get("layers", []), *([manifest["config"]] if "config" in manifest else [])]:
        # One daemon holds both: a blob is never moved, only known under another name.
        mounted = await client.post(f"/v2/{target}/blobs/uploads/", params={"mount": blob["digest"], "from": source})
        if mounted.status_code != 201:
            raise OperationError("NotFound", f"The blob {blob['digest']} of {source} is unknown to its registry.")
    answer = await client.put(
        f"/v2/{target}/manifests/{reference}", content=found.body, headers={"Content-Type": found.kind}
    )
    answer.raise_for_status()


def routes(simulator: Simulator) -> list[Route]:
    """The data plane of every registry."""
    plane = DataPlane(simulator)
    return [
        Route("/registries/{host}/oauth2/exchange", plane.exchange, methods=["POST"]),
        Route("/registries/{host}/oauth2/token", plane.token, methods=["POST"]),
        Route("/registries/{host}/v2/{repository:path}/manifests/{reference}", plane.manifest, methods=["GET", "HEAD"]),
    ]


class DataPlane:
    """Tokens and manifests."""

    def __init__(self, simulator: Simulator) -> None:
        self._store = simulator.store
        self._tokens = simulator.tokens
        self._authorization = simulator.engine.authorization
        self._settings: Settings = simulator.engine.settings

    async def exchange(self, request: Request) -> Response:
        """An Entra token for a refresh token of the registry."""
        registry, form = self._registry(request), await _form(request)
        if registry is None:
            return _refusal(404, "NAME_UNKNOWN", "registry does not exist")
        as_arm = registry.body["properties"].get("policies", {}).get("azureADAuthenticationAsArmPolicy", {})
        allowed = [AUDIENCE, *(ARM_AUDIENCES if as_arm.get("status", "enabled") == "enabled" else ())]
        try:
            claims = self._tokens.check(form.get("access_token", ""), *allowed)
        except TokenError as exc:
            return _refusal(401, "UNAUTHORIZED", f"authentication required: {exc.message}")
        return JSONResponse({"refresh_token": self._sign(claims, request.path_params["host"], "refresh")})

    async def token(self, request: Request) -> Response:
        """A refresh token for an access token to one repository."""
        registry, form = self._registry(request), await _form(request)
        claims = self._claims(form.get("refresh_token", ""), request.path_params["host"], "refresh")
        if registry is None or claims is None:
            return _refusal(401, "UNAUTHORIZED", "authentication required")
        repository = form.get("scope", "").partition(":")[2].rpartition(":")[0]
        caller = Caller.from_claims(claims)
        actions = ["pull"] if self._authorization.allowed(caller, PULL, registry.id) else []
        access = {"access": [{"type": "repository", "name": repository, "actions": actions}]}
        return JSONResponse({"access_token": self._sign({**claims, **access}, request.path_params["host"], "access")})

    async def manifest(self, request: Request) -> Response:
        """What a tag or a digest is."""
        host, repository = request.path_params["host"], request.path_params["repository"]
        registry = self._registry(request)
        claims = self._claims(request.headers.get("authorization", "").partition(" ")[2], host, "access")
        wanted = {"type": "repository", "name": repository, "actions": ["pull"]}
        if registry is None or claims is None or wanted not in claims.get("access", []):
            challenge = (
                f'Bearer realm="https://{host}/oauth2/token",service="{host}",scope="repository:{repository}:pull"'
            )
            return _refusal(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": challenge})
        reference = request.path_params["reference"]
        digests = registry.private.get("digests", {})
        known = digests.get(f"{repository}:{reference}")
        if known is None and reference in {v for k, v in digests.items() if k.partition(":")[0] == repository}:
            known = reference
        if known is None:
            return _refusal(404, "MANIFEST_UNKNOWN", f"manifest tagged by {reference!r} is not found")
        return Response(headers={"Docker-Content-Digest": known, "Content-Type": MANIFESTS[0]})

    def _registry(self, request: Request) -> Resource | None:
        host = request.path_params["host"]
        found = (item for item in self._store.find(TYPE) if item.body["properties"].get("loginServer") == host)
        return next(found, None)

    def _sign(self, claims: dict[str, Any], host: str, use: str) -> str:
        return self._tokens.sign({**claims, "aud": host, "use": use, "exp": int(time.time()) + TOKEN_SECONDS})

    def _claims(self, token: str, host: str, use: str) -> dict[str, Any] | None:
        try:
            claims: dict[str, Any] = jwt.decode(token, self._tokens.keys.public, algorithms=["RS256"], audience=host)
        except jwt.PyJWTError:
            return None
        return claims if claims.get("use") == use else None


async def _form(request: Request) -> dict[str, str]:
    return {name: values[0] for name, values in urllib.parse.parse_qs((await request.body()).decode()).items()}


def _refusal(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"errors": [{"code": code, "message": message}]}, status_code=status, headers=headers)
