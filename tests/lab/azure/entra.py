"""Entra ID: discovery, keys, and tokens for client credentials and federated token exchange.

Error codes: https://learn.microsoft.com/entra/identity-platform/reference-error-codes
"""

from __future__ import annotations

import base64
import datetime
import uuid
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.lab.azure.principals import Directory, Principal, secret_matches
from tests.lab.azure.settings import Settings
from tests.lab.azure.sign_in import Refusal, SignIn
from tests.lab.azure.store import Store
from tests.lab.azure.tokens import Tokens

FEDERATED_TYPE = "microsoft.managedidentity/userassignedidentities/federatedidentitycredentials"
IDENTITY_TYPE = "microsoft.managedidentity/userassignedidentities"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ISSUER_RECORD = "issuer"


class EntraError(Exception):
    """A refusal of the token endpoint; `number` is the AADSTS code."""

    def __init__(self, error: str, number: int, text: str, *, status: int = 400) -> None:
        super().__init__(text)
        self.error, self.number, self.text, self.status = error, number, text, status

    def body(self) -> dict[str, Any]:
        """The JSON body as Entra writes it."""
        trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        return {
            "error": self.error,
            "error_description": f"AADSTS{self.number}: {self.text} Trace ID: {trace} Correlation ID: {correlation} "
            f"Timestamp: {now}",
            "error_codes": [self.number],
            "timestamp": now,
            "trace_id": trace,
            "correlation_id": correlation,
        }


class Entra:
    """The directory's endpoints below `/<tenant>/`."""

    def __init__(self, store: Store, settings: Settings, directory: Directory, tokens: Tokens) -> None:
        self._store = store
        self._settings = settings
        self._directory = directory
        self._tokens = tokens
        self._sign_in = SignIn(directory, tokens, settings.tenant_id)

    def routes(self) -> list[Route]:
        """Routes; `{tenant}` is checked by each."""
        return [
            Route("/common/discovery/instance", self.instance_discovery),
            Route("/{tenant}/.well-known/openid-configuration", self.configuration_v1),
            Route("/{tenant}/v2.0/.well-known/openid-configuration", self.configuration_v2),
            Route("/{tenant}/discovery/keys", self.jwks),
            Route("/{tenant}/discovery/v2.0/keys", self.jwks),
            Route("/{tenant}/oauth2/v2.0/authorize", self.authorize, methods=["GET", "POST"]),
            Route("/{tenant}/oauth2/token", self.token_v1, methods=["POST"]),
            Route("/{tenant}/oauth2/v2.0/token", self.token_v2, methods=["POST"]),
        ]

    def _known(self, tenant: str) -> bool:
        return tenant.lower() in (self._settings.tenant_id, "common", "organizations")

    def _base(self, host: str) -> str:
        """How whoever says that host reaches this: pods know it by a name."""
        named = host.partition(":")[0] == self._settings.service_domain
        return f"https://{host}" if named else self._settings.base_url

    async def instance_discovery(self, request: Request) -> Response:
        """Which hosts speak for this cloud: the one that is asked about, where it is this one."""
        asked = urlsplit(request.query_params.get("authorization_endpoint", "")).netloc
        base = self._base(asked or request.url.netloc)
        host = base.split("://", 1)[1]
        return JSONResponse(
            {
                "tenant_discovery_endpoint": f"{base}/{self._settings.tenant_id}/v2.0/.well-known/openid-configuration",
                "api-version": "1.1",
                "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
            }
        )

    async def configuration_v1(self, request: Request) -> Response:
        """OpenID configuration, first version of the endpoints."""
        return self._configuration(request, "oauth2", "discovery/keys", self._tokens.issuer)

    async def configuration_v2(self, request: Request) -> Response:
        """OpenID configuration, second version. Its issuer is that of ID tokens; access tokens are v1 style."""
        return self._configuration(request, "oauth2/v2.0", "discovery/v2.0/keys", self._people_issuer(request))

    def _people_issuer(self, request: Request) -> str:
        return f"{self._base(request.url.netloc)}/{self._settings.tenant_id}/v2.0"

    async def authorize(self, request: Request) -> Response:
        """Sign a person in to an application."""
        return await self._sign_in.authorize(request, self._people_issuer(request))

    def _configuration(self, request: Request, endpoint: str, keys: str, issuer: str) -> Response:
        tenant = request.path_params["tenant"]
        if not self._known(tenant):
            error = EntraError("invalid_tenant", 90002, f"Tenant '{tenant}' not found.")
            return JSONResponse(error.body(), status_code=error.status)
        host = self._base(request.url.netloc)
        base = f"{host}/{self._settings.tenant_id}"
        return JSONResponse(
            {
                # Clients hold it against the host that they asked.
                "issuer": issuer.replace(self._settings.base_url, host),
                "authorization_endpoint": f"{base}/{endpoint}/authorize",
                "token_endpoint": f"{base}/{endpoint}/token",
                "device_authorization_endpoint": f"{base}/{endpoint}/devicecode",
                "jwks_uri": f"{base}/{keys}",
                "response_types_supported": ["code", "id_token", "token"],
                "response_modes_supported": ["query", "fragment", "form_post"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "token_endpoint_auth_methods_supported": [
                    "client_secret_post",
                    "private_key_jwt",
                    "client_secret_basic",
                ],
                "claims_supported": ["sub", "iss", "aud", "exp", "iat", "oid", "tid", "groups"],
                "scopes_supported": ["openid"],
                "tenant_region_scope": "EU",
                "cloud_instance_name": self._settings.base_url.split("://", 1)[1],
            }
        )

    async def jwks(self, request: Request) -> Response:
        """Public keys of the tenant."""
        return JSONResponse(self._tokens.keys.jwks())

    async def token_v1(self, request: Request) -> Response:
        """Tokens by `resource`."""
        return await self._token(request, by_scope=False)

    async def token_v2(self, request: Request) -> Response:
        """Tokens by `scope`."""
        return await self._token(request, by_scope=True)

    async def _token(self, request: Request, *, by_scope: bool) -> Response:
        form = {
            key: values[0] for key, values in parse_qs((await request.body()).decode(), keep_blank_values=True).items()
        }
        try:
            if not self._known(request.path_params["tenant"]):
                tenant = request.path_params["tenant"]
                raise EntraError(
                    "invalid_request",
                    90002,
                    f"Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing "
                    "into the correct cloud.",
                )
            body = self._grant(form, request.headers.get("authorization", ""), by_scope=by_scope)
        except EntraError as error:
            return JSONResponse(error.body(), status_code=error.status, headers=_NO_STORE)
        return JSONResponse(body, headers=_NO_STORE)

    def _grant(self, form: dict[str, str], authorization: str, *, by_scope: bool) -> dict[str, Any]:
        by_code = by_scope and form.get("grant_type") == "authorization_code"
        if form.get("grant_type") != "client_credentials" and not by_code:
            raise EntraError(
                "unsupported_grant_type",
                70003,
                f"The app requested an unsupported grant type '{form.get('grant_type', '')}'.",
            )
        if authorization.lower().startswith("basic "):
            try:
                user, _, password = base64.b64decode(authorization[6:]).decode().partition(":")
            except ValueError as exc:
                raise EntraError("invalid_request", 900023, "The Authorization header is not readable.") from exc
            form = {"client_id": user, "client_secret": password, **form}
        client_id = form.get("client_id", "")
        if not client_id:
            raise EntraError(
                "invalid_request", 900144, "The request body must contain the following parameter: 'client_id'."
            )
        principal = self._directory.by_client_id(client_id)
        if principal is None:
            raise EntraError(
                "unauthorized_client",
                700016,
                f"Application with identifier '{client_id}' was not found in the directory "
                f"'{self._settings.tenant_id}'. "
                "This can happen if the application has not been installed by the administrator of the tenant or "
                "consented to by "
                "any user in the tenant. You may have sent your authentication request to the wrong tenant.",
            )
        if by_code:
            self._authenticate(principal, form)
            try:
                return self._sign_in.redeem(form)
            except Refusal as refusal:
                raise EntraError(refusal.error, refusal.number, refusal.text) from refusal
        audience, resource = self._audience(form, by_scope=by_scope)
        self._authenticate(principal, form)
        token, seconds = self._tokens.issue(principal, audience)
        answer: dict[str, Any] = {
            "token_type": "Bearer",
            "expires_in": seconds,
            "ext_expires_in": seconds,
            "access_token": token,
        }
        if not by_scope:
            claims = jwt.decode(token, options={"verify_signature": False})
            answer |= {
                "expires_in": str(seconds),
                "ext_expires_in": str(seconds),
                "expires_on": str(claims["exp"]),
                "not_before": str(claims["nbf"]),
                "resource": resource,
            }
        return answer

    def _audience(self, form: dict[str, str], *, by_scope: bool) -> tuple[str, str]:
        name = "scope" if by_scope else "resource"
        asked = form.get(name, "")
        if not asked:
            raise EntraError(
                "invalid_request", 900144, f"The request body must contain the following parameter: '{name}'."
            )
        resource = asked
        if by_scope:
            scopes = [scope for scope in asked.split() if scope not in ("openid", "profile", "offline_access")]
            if len(scopes) != 1 or not scopes[0].endswith("/.default"):
                raise EntraError(
                    "invalid_scope",
                    1002012,
                    f"The provided value for scope {asked} is not valid. Client credential flows must have a scope "
                    "value with /.default suffixed to the resource identifier.",
                )
            resource = scopes[0].removesuffix("/.default")
        audience = self._tokens.audience(resource)
        if audience is None:
            raise EntraError(
                "invalid_resource",
                500011,
                f"The resource principal named {resource} was not found in the tenant named "
                f"{self._settings.tenant_id}.",
            )
        return audience, resource

    def _authenticate(self, principal: Principal, form: dict[str, str]) -> None:
        if "client_assertion" in form:
            if form.get("client_assertion_type") != ASSERTION_TYPE:
                raise EntraError(
                    "invalid_request", 900144, "The request body must contain the parameter 'client_assertion_type'."
                )
            self._check_assertion(principal, form["client_assertion"])
            return
        secret = form.get("client_secret", "")
        if not secret:
            raise EntraError(
                "invalid_client",
                7000218,
                "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
                status=401,
            )
        if not secret_matches(principal, secret):
            raise EntraError(
                "invalid_client",
                7000215,
                "Invalid client secret provided. Ensure the secret being sent in the request is the client secret "
                "value, not the "
                f"client secret ID, for a secret added to app '{principal.client_id}'.",
                status=401,
            )
        if principal.secret_expired:
            raise EntraError(
                "invalid_client",
                7000222,
                f"The provided client secret keys for app '{principal.client_id}' are expired. Visit the Azure "
                "portal to create new "
                "keys for your app, or consider using certificate credentials for added security.",
                status=401,
            )

    def _check_assertion(self, principal: Principal, assertion: str) -> None:
        """Federated token exchange: issuer, subject, audience against the credentials created, then the signature."""
        try:
            header = jwt.get_unverified_header(assertion)
            claims = jwt.decode(assertion, options={"verify_signature": False})
        except jwt.PyJWTError as exc:
            raise EntraError("invalid_request", 50027, "JWT token is invalid or malformed.") from exc
        audiences = claims.get("aud", [])
        audiences = [audiences] if isinstance(audiences, str) else audiences
        issuer, subject = str(claims.get("iss", "")), str(claims.get("sub", ""))
        credentials = self._federated_credentials(principal) + _of_application(principal, issuer, subject)
        same_issuer = [found for found in credentials if found["issuer"] == issuer]
        if not same_issuer:
            raise _no_match(700211, "issuer", issuer)
        same_subject = [found for found in same_issuer if found["subject"] == subject]
        if not same_subject:
            # Subjects match in their exact case; one that differs in nothing else has a number of its own:
            # https://learn.microsoft.com/entra/identity-platform/reference-breaking-changes
            misspelled = any(found["subject"].lower() == subject.lower() for found in same_issuer)
            raise _no_match(7002138 if misspelled else 700213, "subject", subject)
        if not any(set(found.get("audiences", [])) & set(audiences) for found in same_subject):
            raise _no_match(700212, "audience", ", ".join(audiences))
        key = self._issuer_key(issuer, header.get("kid"))
        try:
            jwt.decode(
                assertion, key, algorithms=["RS256", "ES256"], options={"verify_aud": False, "require": ["exp", "iat"]}
            )
        except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError) as exc:
            raise EntraError(
                "invalid_client", 700024, "Client assertion is not within its valid time range.", status=401
            ) from exc
        except jwt.PyJWTError as exc:
            raise EntraError(
                "invalid_client",
                700027,
                f"The certificate with identifier used to sign the client assertion is not registered: {exc}.",
                status=401,
            ) from exc

    def _federated_credentials(self, principal: Principal) -> list[dict[str, Any]]:
        if not principal.resource:
            return []
        found = self._store.children(principal.resource, FEDERATED_TYPE)
        return [resource.body.get("properties", {}) for resource in found]

    def _issuer_key(self, issuer: str, key_id: str | None) -> Any:
        """The issuer's public key: a cluster's is known since its creation, others are registered at `/lab/issuers`."""
        known = self._store.record(ISSUER_RECORD, issuer.rstrip("/"))
        if known is None:
            raise EntraError("invalid_request", 50166, f"Request to External OIDC endpoint failed: {issuer}.")
        for key in jwt.PyJWKSet.from_dict(known["jwks"]).keys if known["jwks"].get("keys") else []:
            if key_id is None or key.key_id == key_id:
                return key.key
        raise EntraError("invalid_client", 700027, f"The key '{key_id}' is not among the keys of {issuer}.", status=401)


def _of_application(principal: Principal, issuer: str, subject: str) -> list[dict[str, Any]]:
    """The credential of an application for a ServiceAccount."""
    if subject not in principal.subjects:
        return []
    return [{"issuer": issuer, "subject": subject, "audiences": ["api://AzureADTokenExchange"]}]


def _no_match(number: int, what: str, value: str) -> EntraError:
    return EntraError(
        "invalid_client",
        number,
        f"No matching federated identity record found for presented assertion {what} '{value}'. Check your federated "
        "identity "
        "credential Subject, Audience and Issuer against the presented assertion. "
        "https://learn.microsoft.com/entra/workload-id/workload-identity-federation",
        status=401,
    )


_NO_STORE = {"Cache-Control": "no-store, no-cache", "Pragma": "no-cache"}
