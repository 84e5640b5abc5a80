"""`/lab/…`: what tests and the command line ask of the simulator itself, guarded by a token of its own."""

from __future__ import annotations

import dataclasses
import hmac
import json
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.lab.azure import counters, quotas
from tests.lab.azure.entra import ISSUER_RECORD
from tests.lab.azure.faults import Fault, Faults
from tests.lab.azure.principals import Principal, hash_secret

if TYPE_CHECKING:
    from tests.lab.azure.app import Simulator


_CHANGEABLE = ("latency_ms", "time_scale", "retry_after", "token_seconds", "keys_followed")


def routes(simulator: Simulator) -> list[Route]:
    """All control routes."""
    control = Control(simulator)
    return [
        Route("/lab/health", control.health),
        Route("/lab/requests", control.requests),
        Route("/lab/requests", control.reset_requests, methods=["DELETE"]),
        Route("/lab/faults", control.faults, methods=["GET", "POST", "DELETE"]),
        Route("/lab/reset", control.reset, methods=["POST"]),
        Route("/lab/quota/{location}/{namespace}/{name}", control.quota, methods=["GET", "PUT"]),
        Route("/lab/principals", control.principals, methods=["GET", "POST"]),
        Route("/lab/principals/{client_id}", control.principal, methods=["POST"]),
        Route("/lab/issuers", control.issuers, methods=["POST"]),
        Route("/lab/settings", control.settings, methods=["GET", "POST"]),
        Route("/lab/resources", control.resources),
    ]


class Control:
    """Handlers; all but `health` need ``Authorization: Bearer <control token>``."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    def _refused(self, request: Request) -> Response | None:
        sent = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if hmac.compare_digest(sent, self._simulator.settings.control_token):
            return None
        return _problem(401, "the control token of this lab is missing or wrong")

    async def health(self, request: Request) -> Response:
        """Whether the simulator answers; no secret, no token needed."""
        running = len(self._simulator.engine.operations.running())
        return JSONResponse({"healthy": True, "operations_running": running})

    async def requests(self, request: Request) -> Response:
        """Counters since the last reset."""
        return self._refused(request) or JSONResponse(counters.summary(self._simulator.store))

    async def reset_requests(self, request: Request) -> Response:
        """Count from zero again."""
        refused = self._refused(request)
        if refused is None:
            self._simulator.store.reset_counts()
        return refused or Response(status_code=204)

    async def faults(self, request: Request) -> Response:
        """List, add or clear faults."""
        refused = self._refused(request)
        if refused is not None:
            return refused
        faults: Faults = self._simulator.faults
        if request.method == "DELETE":
            faults.clear()
            return Response(status_code=204)
        if request.method == "POST":
            try:
                name = faults.add(Fault(**await _json(request)))
            except (TypeError, ValueError) as exc:
                return _problem(400, str(exc))
            return JSONResponse({"name": name}, status_code=201)
        return JSONResponse({"value": faults.all()})

    async def reset(self, request: Request) -> Response:
        """Forget everything: resources, principals, faults, counters; clusters are emptied."""
        refused = self._refused(request)
        if refused is None:
            await self._simulator.reset()
        return refused or Response(status_code=204)

    async def quota(self, request: Request) -> Response:
        """Read or set one limit: ``{"limit": n}``."""
        refused = self._refused(request)
        if refused is not None:
            return refused
        engine = self._simulator.engine
        location, namespace, name = (request.path_params[key] for key in ("location", "namespace", "name"))
        if request.method == "PUT":
            try:
                quotas.set_limit(engine, location, namespace, name, int((await _json(request))["limit"]))
            except (KeyError, TypeError, ValueError) as exc:
                return _problem(400, f"no such quota or limit: {exc}")
        rows = quotas.usages(engine, self._simulator.settings.subscription_id, location, namespace)
        found = next((row for row in rows if row["name"]["value"].lower() == name.lower()), None)
        return JSONResponse(found) if found else _problem(404, f"no quota {namespace}/{name}")

    async def principals(self, request: Request) -> Response:
        """List principals, or create one: ``{"object_id", "client_id", "kind", "name", "groups", "secret"}``."""
        refused = self._refused(request)
        if refused is not None:
            return refused
        directory = self._simulator.engine.directory
        if request.method == "POST":
            raw = await _json(request)
            secret = raw.pop("secret", "")
            try:
                principal = Principal(
                    **{
                        **raw,
                        "groups": tuple(raw.get("groups", ())),
                        "secret_hash": hash_secret(secret) if secret else "",
                    }
                )
            except TypeError as exc:
                return _problem(400, str(exc))
            directory.save(principal)
        return JSONResponse({"value": [_plain(principal) for principal in directory.all()]})

    async def principal(self, request: Request) -> Response:
        """Change one: ``{"secret_expired": bool, "secret": text, "groups": [ids]}``."""
        refused = self._refused(request)
        if refused is not None:
            return refused
        directory = self._simulator.engine.directory
        found = directory.by_client_id(request.path_params["client_id"])
        if found is None:
            return _problem(404, "no principal with that client id")
        raw = await _json(request)
        if "secret" in raw:
            found = dataclasses.replace(found, secret_hash=hash_secret(str(raw["secret"])))
        if "secret_expired" in raw:
            found = dataclasses.replace(found, secret_expired=bool(raw["secret_expired"]))
        if "groups" in raw:
            found = dataclasses.replace(found, groups=tuple(str(entry) for entry in raw["groups"]))
        directory.save(found)
        return JSONResponse(_plain(found))

    async def issuers(self, request: Request) -> Response:
        """Make an outside issuer of tokens known: ``{"issuer": url, "jwks": {…}}``."""
        refused = self._refused(request)
        if refused is not None:
            return refused
        raw = await _json(request)
        self._simulator.store.put_record(ISSUER_RECORD, str(raw["issuer"]).rstrip("/"), {"jwks": raw["jwks"]})
        return Response(status_code=204)

    async def settings(self, request: Request) -> Response:
        """Read or change what may change while it runs: latency_ms, time_scale, retry_after, token_seconds."""
        refused = self._refused(request)
        if refused is not None:
            return refused
        if request.method == "POST":
            raw = await _json(request)
            allowed = {name: raw[name] for name in _CHANGEABLE if name in raw}
            for name, value in allowed.items():
                # Settings are frozen for everybody else; the running simulator shares this one object.
                object.__setattr__(self._simulator.settings, name, value)
        current = self._simulator.settings
        return JSONResponse({name: getattr(current, name) for name in _CHANGEABLE})

    async def resources(self, request: Request) -> Response:
        """Ids of everything stored, for tests and the final summary."""
        refused = self._refused(request)
        if refused is not None:
            return refused
        scope = f"/subscriptions/{self._simulator.settings.subscription_id}"
        return JSONResponse({"value": [resource.id.text for resource in reversed(self._simulator.store.below(scope))]})


async def _json(request: Request) -> dict[str, Any]:
    raw = await request.body()
    found = json.loads(raw) if raw else {}
    return found if isinstance(found, dict) else {}


def _problem(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": "LabError", "message": message}}, status_code=status)


def _plain(principal: Principal) -> dict[str, Any]:
    out = dataclasses.asdict(principal)
    out.pop("secret_hash")
    return out
