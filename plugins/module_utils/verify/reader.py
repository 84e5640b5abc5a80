# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Azure read over plain HTTP with a client secret; it shares no code with what writes."""

from __future__ import annotations

import base64
import typing as t
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError, PlatformError

if t.TYPE_CHECKING:
    import requests

__all__ = ["AKS_AUDIENCE", "Reader"]

# Id of the AKS server application, the same in every tenant: what a token for the API server is made out to.
# Source: https://learn.microsoft.com/azure/aks/kubelogin-authentication
AKS_AUDIENCE: t.Final = "6dae42f8-4368-4678-94ff-3960e28e3630"
_CREDENTIAL_API: t.Final = "2026-02-01"
# https://learn.microsoft.com/azure-stack/user/azure-stack-rest-api-use#get-service-endpoints
_METADATA: t.Final = "/metadata/endpoints"
_METADATA_VERSION: t.Final = "api-version=2022-09-01"
_PUBLIC_CLOUD: t.Final = {
    "resourceManager": "https://management.azure.com",
    "authentication": {"loginEndpoint": "https://login.microsoftonline.com"},
}
_AT_ONCE: t.Final = 8


class Reader:
    """Reads what a client may see.

    Args:
        session: sends the requests.
        cloud: ARM endpoint of the cloud or its metadata endpoint (C(https://…)); anything else means the public cloud.
        tenant: tenant that the client is in.
        client_id: the client.
        secret: its secret.
        timeout: seconds to wait for a connection and for each part of an answer.
    """

    def __init__(
        self, session: requests.Session, *, cloud: str, tenant: str, client_id: str, secret: str, timeout: float
    ) -> None:
        self._session = session
        self._cloud = cloud
        self._tenant = tenant
        self._login = {"client_id": client_id, "client_secret": secret}
        self._timeout = timeout

    def resources(self, wanted: Iterable[Mapping[str, str]]) -> list[dict[str, t.Any]]:
        """C(id), C(status) and C(body) of each resource, which is given by C(id) and C(api_version)."""
        token = self._arm_token  # once, before everybody needs it
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(lambda entry: self._resource(entry, token), wanted))

    def kubeconfig(self, cluster: str) -> dict[str, t.Any]:
        """A kubeconfig that holds a token of the client, or an empty one where there is no cluster yet."""
        answer = self._arm("POST", f"{cluster}/listClusterUserCredential", _CREDENTIAL_API, self._arm_token)
        if not answer.ok:
            return {}
        import yaml  # noqa: PLC0415 - a missing library is reported by the module

        given = base64.b64decode(answer.json()["kubeconfigs"][0]["value"])
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "reader",
            "clusters": [{"name": "cluster", "cluster": yaml.safe_load(given)["clusters"][0]["cluster"]}],
            "users": [{"name": "reader", "user": {"token": self._token(f"{AKS_AUDIENCE}/.default")}}],
            "contexts": [{"name": "reader", "context": {"cluster": "cluster", "user": "reader"}}],
        }

    def _resource(self, entry: Mapping[str, str], token: str) -> dict[str, t.Any]:
        answer = self._arm("GET", entry["id"], entry["api_version"], token)
        return {"id": entry["id"], "status": answer.status_code, "body": answer.json() if answer.ok else None}

    def _arm(self, verb: str, path: str, version: str, token: str) -> requests.Response:
        url = f"{self._arm_address}{path}?api-version={version}"
        return self._ask(verb, url, headers={"Authorization": f"Bearer {token}"})

    @cached_property
    def _services(self) -> dict[str, t.Any]:
        if not self._cloud.startswith("https://"):
            return _PUBLIC_CLOUD
        asks = _METADATA in self._cloud
        answer = self._ask("GET", self._cloud if asks else f"{self._cloud.rstrip('/')}{_METADATA}?{_METADATA_VERSION}")
        if not answer.ok:
            raise InputError(
                f"the cloud does not say where its services are, but {answer.status_code}",
                where=self._cloud,
                remedy="Check cloud_environment",
            )
        services: dict[str, t.Any] = answer.json()
        return services

    @property
    def _arm_address(self) -> str:
        return str(self._services["resourceManager"]).rstrip("/")

    @cached_property
    def _arm_token(self) -> str:
        return self._token(f"{self._arm_address}/.default")

    def _token(self, scope: str) -> str:
        authority = str(self._services["authentication"]["loginEndpoint"]).rstrip("/")
        url = f"{authority}/{self._tenant}/oauth2/v2.0/token"
        form = {**self._login, "grant_type": "client_credentials", "scope": scope}
        answer = self._ask("POST", url, data=form)
        if not answer.ok:
            raise InputError(
                f"Entra refuses the client {self._login['client_id']}: {_reason(answer)}",
                where=url,
                remedy="Check tenant, client and secret; the secret may have expired",
            )
        return str(answer.json()["access_token"])

    def _ask(self, verb: str, url: str, **more: t.Any) -> requests.Response:
        import requests  # noqa: PLC0415 - a missing library is reported by the module

        try:
            return self._session.request(verb, url, timeout=self._timeout, **more)
        except requests.RequestException as exc:
            raise PlatformError(f"no answer: {exc}", where=url, remedy="Check the way to it") from exc


def _reason(answer: requests.Response) -> str:
    """What Entra says, without the times and numbers of the request."""
    try:
        said = str(answer.json().get("error_description", ""))
    except ValueError:
        said = ""
    return said.partition("\r\n")[0].partition(" Trace ID")[0] or str(answer.status_code)
