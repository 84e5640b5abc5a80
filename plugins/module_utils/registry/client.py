# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One container registry: its images by its data plane, imports by ARM.

Sources: https://azure.github.io/acr/AAD-OAuth.html (tokens),
https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md (manifests),
https://learn.microsoft.com/rest/api/container-registry/registries/import-image
"""

from __future__ import annotations

import typing as t

from ansible_collections.audioprothese.platform.plugins.module_utils.arm.catalogue import facts_of
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.errors import ArmError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import PlatformError
from ansible_collections.audioprothese.platform.plugins.module_utils.registry.images import Image, import_body

if t.TYPE_CHECKING:
    import requests
    from ansible_collections.audioprothese.platform.plugins.module_utils.arm.client import ArmClient

__all__ = ["RegistryClient", "RegistryError"]

REGISTRY_TYPE: t.Final = "Microsoft.ContainerRegistry/registries"
# Not the audience of ARM: a registry may refuse those tokens (policy azureADAuthenticationAsArmPolicy).
SCOPE: t.Final = "https://containerregistry.azure.net/.default"
ACCEPT: t.Final = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
NOT_FOUND: t.Final = 404
REFUSED: t.Final = (401, 403)
TIMEOUTS: t.Final = (10, 60)


class RegistryError(PlatformError):
    """The registry cannot be reached, refuses, or does not hold what was imported."""


class RegistryClient:
    """Reads and imports images.

    Args:
        azure: client of the identity that asks.
        registry_id: ARM id of the registry.
        endpoint: where its data plane answers, if not at its login server.
        verify: check server certificates.
    """

    def __init__(self, azure: ArmClient, registry_id: str, *, endpoint: str = "", verify: bool = True) -> None:
        self._azure, self._id, self._endpoint = azure, registry_id.rstrip("/"), endpoint.rstrip("/")
        self._verify = verify
        self._opened: requests.Session | None = None
        self._refresh = ""

    def login_server(self) -> str | None:
        """Name by which images are pulled; None when the registry is not there."""
        try:
            found = self._azure.get(self._id, facts_of(REGISTRY_TYPE).api_version, doing="read the registry")
        except ArmError as exc:
            if exc.status == NOT_FOUND:
                return None
            raise
        return str(found["properties"]["loginServer"])

    def digest(self, server: str, image: Image) -> str | None:
        """Digest of what a tag means now; None when there is no such tag.

        Raises:
            RegistryError: the registry does not answer, or refuses.
        """
        token = self._token(server, image.repository)
        answer = self._ask(
            "HEAD",
            f"{self._base(server)}/v2/{image.repository}/manifests/{image.tag}",
            server,
            headers={"Authorization": f"Bearer {token}", "Accept": ACCEPT},
        )
        return None if answer.status_code == NOT_FOUND else str(answer.headers["Docker-Content-Digest"])

    def bring(self, image: Image, *, force: bool) -> None:
        """Import an image and wait until it is there.

        Raises:
            ArmError: the service cannot get it; the text says why.
        """
        self._azure.post(
            f"{self._id}/importImage",
            facts_of(REGISTRY_TYPE).api_version,
            import_body(image, force=force),
            doing=f"import {image.registry}/{image.name}",
        )

    def _base(self, server: str) -> str:
        return f"{self._endpoint}/{server}" if self._endpoint else f"https://{server}"

    def _token(self, server: str, repository: str) -> str:
        base = self._base(server)
        if not self._refresh:
            form = {"grant_type": "access_token", "service": server, "access_token": self._azure.token(SCOPE)}
            self._refresh = str(self._ask("POST", f"{base}/oauth2/exchange", server, data=form).json()["refresh_token"])
        scope = f"repository:{repository}:pull"
        form = {"grant_type": "refresh_token", "service": server, "scope": scope, "refresh_token": self._refresh}
        return str(self._ask("POST", f"{base}/oauth2/token", server, data=form).json()["access_token"])

    def _ask(self, verb: str, url: str, server: str, **arguments: t.Any) -> requests.Response:
        import requests  # noqa: PLC0415

        try:
            answer = self._session().request(verb, url, timeout=TIMEOUTS, verify=self._verify, **arguments)
        except requests.RequestException as exc:
            raise RegistryError(
                f"it does not answer ({type(exc).__name__})",
                where=server,
                remedy="Run from a network that reaches its private endpoint and resolves its name",
            ) from exc
        self._azure.counter.add(verb)
        if answer.status_code in REFUSED:
            raise RegistryError(
                "it refuses this identity or this network",
                where=server,
                remedy="Give the identity the role AcrPull on the registry, and reach it by its private endpoint",
            )
        if not answer.ok and not (verb == "HEAD" and answer.status_code == NOT_FOUND):
            raise RegistryError(f"it answers {answer.status_code} to {verb}", where=server, remedy="Run again")
        return answer

    def _session(self) -> requests.Session:
        import requests  # noqa: PLC0415
        from requests.adapters import HTTPAdapter  # noqa: PLC0415
        from urllib3.util import Retry  # noqa: PLC0415

        if self._opened is None:
            self._opened = requests.Session()
            retry = Retry(
                total=6,
                backoff_factor=0.4,
                status_forcelist=(429, 500, 502, 503, 504),
                allowed_methods=None,
                raise_on_status=False,
            )
            self._opened.mount("https://", HTTPAdapter(max_retries=retry))
        return self._opened
