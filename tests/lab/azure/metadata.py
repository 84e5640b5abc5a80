"""`/metadata/endpoints`: how a client learns where this cloud's services are.

Shapes by api-version as https://management.azure.com/metadata/endpoints answers them: one flat object (2015-01-01,
2018-05-01), a list of clouds (2019-05-01, 2020-06-01), one cloud (2022-09-01).
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.lab.azure.errors import ArmError
from tests.lab.azure.settings import Settings

_FLAT = ("2015-01-01", "2018-05-01")
_LIST = ("2019-05-01", "2020-06-01")
_ONE = ("2022-09-01",)
CLOUD_NAME = "AudioProtheseLab"


def routes(settings: Settings) -> list[Route]:
    """The one route."""

    async def endpoints(request: Request) -> Response:
        version = request.query_params.get("api-version", "").split("/", 1)[0]
        if version in _FLAT:
            return JSONResponse(_flat(settings))
        if version in _LIST:
            return JSONResponse([_cloud(settings)])
        if version in _ONE:
            return JSONResponse(_cloud(settings))
        error = ArmError(
            400,
            "InvalidApiVersionParameter",
            f"The api-version '{version}' is invalid. The supported versions are '{','.join(_FLAT + _LIST + _ONE)}'.",
        )
        return JSONResponse(error.body(), status_code=error.status)

    return [Route("/metadata/endpoints", endpoints)]


def _flat(settings: Settings) -> dict[str, Any]:
    return {
        "galleryEndpoint": settings.base_url,
        "graphEndpoint": "https://graph.windows.net/",
        "portalEndpoint": settings.base_url,
        "authentication": {
            "loginEndpoint": f"{settings.base_url}/",
            "audiences": [settings.base_url, f"{settings.base_url}/"],
        },
    }


def _cloud(settings: Settings) -> dict[str, Any]:
    base = settings.base_url
    return {
        "name": CLOUD_NAME,
        "portal": base,
        "authentication": {
            "loginEndpoint": base,
            "audiences": [base, f"{base}/"],
            "tenant": settings.tenant_id,
            "identityProvider": "AAD",
        },
        "resourceManager": base,
        "media": "https://rest.media.azure.net",
        "graph": "https://graph.windows.net/",
        "graphAudience": "https://graph.windows.net/",
        "microsoftGraphResourceId": "https://graph.microsoft.com/",
        "batch": "https://batch.core.windows.net/",
        "gallery": base,
        "sqlManagement": base,
        "vmImageAliasDoc": f"{base}/metadata/aliases.json",
        "activeDirectoryDataLake": "https://datalake.azure.net/",
        "logAnalyticsResourceId": "https://api.loganalytics.io",
        "appInsightsResourceId": "https://api.applicationinsights.io",
        "ossrdbmsResourceId": "https://ossrdbms-aad.database.windows.net",
        "suffixes": {
            "acrLoginServer": "azurecr.io",
            "azureDataLakeStoreFileSystem": "azuredatalakestore.net",
            "azureDataLakeAnalyticsCatalogAndJob": "azuredatalakeanalytics.net",
            "keyVaultDns": "vault.azure.net",
            "sqlServerHostname": "database.windows.net",
            "storage": "core.windows.net",
        },
    }
