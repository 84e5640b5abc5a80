# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who we are and which cloud we talk to, from options, environment, profile file or Azure CLI."""

from __future__ import annotations

import configparser
import dataclasses
import os
import pathlib
import threading
import time
import typing as t
from collections.abc import Callable, Mapping

from ansible_collections.audioprothese.platform.plugins.module_utils.arm.errors import (
    ArmError,
    AuthenticationError,
    explain,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError

if t.TYPE_CHECKING:
    from azure.core.credentials import AccessToken, AccessTokenInfo, TokenCredential, TokenRequestOptions

__all__ = ["Cloud", "Identity", "SharedToken", "build_credential", "resolve_cloud", "resolve_identity"]

# azure.azcollection's names first, then those of azure-identity and of AWX's Azure credential.
_ENVIRONMENT: t.Final[dict[str, tuple[str, ...]]] = {
    "profile": ("AZURE_PROFILE",),
    "subscription_id": ("AZURE_SUBSCRIPTION_ID",),
    "client_id": ("AZURE_CLIENT_ID",),
    "secret": ("AZURE_SECRET", "AZURE_CLIENT_SECRET"),
    "tenant": ("AZURE_TENANT", "AZURE_TENANT_ID"),
    "ad_user": ("AZURE_AD_USER", "AZURE_USERNAME"),
    "password": ("AZURE_PASSWORD",),
    "cloud_environment": ("AZURE_CLOUD_ENVIRONMENT",),
    "cert_validation_mode": ("AZURE_CERT_VALIDATION_MODE", "AZURE_CERT_VALIDATION"),
    "adfs_authority_url": ("AZURE_ADFS_AUTHORITY_URL",),
    "x509_certificate_path": ("AZURE_X509_CERTIFICATE_PATH", "AZURE_CLIENT_CERTIFICATE_PATH"),
    "thumbprint": ("AZURE_THUMBPRINT",),
    "federated_token_file": ("AZURE_FEDERATED_TOKEN_FILE",),
    "disable_instance_discovery": ("AZURE_DISABLE_INSTANCE_DISCOVERY",),
}
# How to reach the cloud is taken from wherever it is given, whoever we are.
_CONNECTION: t.Final = ("cloud_environment", "cert_validation_mode", "adfs_authority_url", "disable_instance_discovery")
_REFRESH_BEFORE: t.Final = 300.0
_METADATA_VERSION: t.Final = "2022-09-01"
_HTTP_TIMEOUT: t.Final = (5, 20)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """Where the services of one cloud are.

    Attributes:
        name: C(AzureCloud) or the address it was discovered at.
        resource_manager: C(https://management.azure.com), without a trailing slash.
        authority: where tokens come from, C(https://login.microsoftonline.com).
        audience: resource that an ARM token is asked for, with its trailing slash if it has one.
        vault_audience: resource that a Key Vault token is asked for.
    """

    name: str
    resource_manager: str
    authority: str
    audience: str
    vault_audience: str

    @property
    def scope(self) -> str:
        """The OAuth scope of ARM."""
        return self.audience.rstrip("/") + "/.default"

    @property
    def vault_scope(self) -> str:
        """The OAuth scope of Key Vault's data plane."""
        return self.vault_audience.rstrip("/") + "/.default"


# Source: "National clouds" and "Compare Azure Government and global Azure" of learn.microsoft.com.
_CLOUDS: t.Final = {
    "azurecloud": Cloud(
        name="AzureCloud",
        resource_manager="https://management.azure.com",
        authority="https://login.microsoftonline.com",
        audience="https://management.azure.com",
        vault_audience="https://vault.azure.net",
    ),
    "azurechinacloud": Cloud(
        name="AzureChinaCloud",
        resource_manager="https://management.chinacloudapi.cn",
        authority="https://login.chinacloudapi.cn",
        audience="https://management.chinacloudapi.cn",
        vault_audience="https://vault.azure.cn",
    ),
    "azureusgovernment": Cloud(
        name="AzureUSGovernment",
        resource_manager="https://management.usgovcloudapi.net",
        authority="https://login.microsoftonline.us",
        audience="https://management.usgovcloudapi.net",
        vault_audience="https://vault.usgovcloudapi.net",
    ),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """The options that decide who we are, after all sources were asked.

    Attributes:
        source: C(options), C(env), C(credential_file), C(cli) or C(msi).
        values: option name to value; never printed.
    """

    source: str
    values: Mapping[str, t.Any] = dataclasses.field(repr=False)

    def get(self, name: str) -> t.Any:
        """The option's value or None."""
        return self.values.get(name)

    @property
    def verify(self) -> bool:
        """Whether server certificates are checked."""
        return bool(self.get("cert_validation_mode") != "ignore")


def resolve_identity(  # noqa: PLR0911  (one return per source)
    params: Mapping[str, t.Any],
    *,
    environ: Mapping[str, str] = os.environ,
    profile_file: pathlib.Path | None = None,
) -> Identity:
    """Decide whose credentials are used.

    With C(auth_source=auto): a C(profile) or credentials among the options, then the environment, then the section
    C(default) of C(~/.azure/credentials), then the Azure CLI.

    Raises:
        InputError: the profile asked for does not exist or is not complete.
    """
    options = {name: value for name, value in params.items() if name in _ENVIRONMENT and value not in (None, "")}
    from_env = _from_environment(environ)
    path = profile_file or pathlib.Path("~/.azure/credentials").expanduser()
    source = params.get("auth_source") or "auto"

    def identity(name: str, values: Mapping[str, t.Any]) -> Identity:
        shared: dict[str, t.Any] = {key: from_env[key] for key in (*_CONNECTION, "subscription_id") if key in from_env}
        return Identity(name, {**shared, **values, **options})

    if source in ("cli", "msi"):
        return identity(
            source, {"client_id": from_env["client_id"]} if source == "msi" and "client_id" in from_env else {}
        )
    if source == "credential_file":
        return identity(source, _profile(path, options.get("profile") or from_env.get("profile") or "default"))
    if source == "auto" and options.get("profile"):
        return identity("credential_file", _profile(path, options["profile"]))
    if source == "auto" and (options.get("client_id") or options.get("ad_user")):
        missing = {key: value for key, value in from_env.items() if key == "tenant"}
        return identity("options", missing)
    if from_env.get("profile"):
        return identity("credential_file", _profile(path, from_env["profile"]))
    if source == "env" or from_env.get("client_id") or from_env.get("ad_user"):
        return identity("env", from_env)
    if path.exists() and _sections(path).has_section("default"):
        return identity("credential_file", _profile(path, "default"))
    return identity("cli", {})


def resolve_cloud(identity: Identity, *, fetch: Callable[[str], t.Any] | None = None) -> Cloud:
    """Find the cloud by name, or ask a metadata endpoint for it as Azure Stack and the lab have one.

    Args:
        identity: holds C(cloud_environment): a name, an ARM endpoint, or the address of its metadata document.
        fetch: gives the JSON document at an address; for tests.

    Raises:
        InputError: the name is not known.
        ArmError: the endpoint does not answer, or not with such a document.
    """
    name = str(identity.get("cloud_environment") or "AzureCloud")
    cloud = _CLOUDS.get(name.lower().replace("_", ""))
    if cloud is None:
        if "://" not in name:
            names = ", ".join(known.name for known in _CLOUDS.values())
            raise InputError(
                f"cloud_environment {name!r} is not known",
                remedy=f"Use one of {names}, or the address of a metadata endpoint",
            )
        cloud = _discover(name, fetch or _fetcher(verify=identity.verify))
    authority = identity.get("adfs_authority_url")
    return dataclasses.replace(cloud, authority=str(authority).rstrip("/")) if authority else cloud


def build_credential(identity: Identity, cloud: Cloud) -> TokenCredential:
    """The azure-identity credential for what was resolved.

    Raises:
        InputError: something the kind of credential needs is not given.
    """
    from azure import identity as azure  # noqa: PLC0415  (0.4 s: only when a request is due)

    common: dict[str, t.Any] = {
        "authority": cloud.authority,
        "disable_instance_discovery": _truth(identity.get("disable_instance_discovery")),
        "connection_verify": identity.verify,
    }
    if identity.source == "cli":
        return azure.AzureCliCredential(tenant_id=identity.get("tenant") or "")
    if identity.source == "msi":
        client = identity.get("client_id")
        return azure.ManagedIdentityCredential(client_id=client) if client else azure.ManagedIdentityCredential()
    tenant = _needed(identity, "tenant")
    if identity.get("ad_user"):
        return azure.UsernamePasswordCredential(
            _needed(identity, "client_id"),
            identity.get("ad_user"),
            _needed(identity, "password"),
            tenant_id=tenant,
            **common,
        )
    client_id = _needed(identity, "client_id")
    if identity.get("secret"):
        return azure.ClientSecretCredential(tenant, client_id, identity.get("secret"), **common)
    if identity.get("x509_certificate_path"):
        return azure.CertificateCredential(tenant, client_id, identity.get("x509_certificate_path"), **common)
    if identity.get("federated_token_file"):
        token_file = pathlib.Path(identity.get("federated_token_file"))
        return azure.ClientAssertionCredential(tenant, client_id, lambda: _read_token(token_file), **common)
    raise InputError(
        "no secret, certificate or federated token goes with the client id",
        where=f"credentials from {identity.source}",
        remedy="Set AZURE_SECRET, AZURE_X509_CERTIFICATE_PATH or AZURE_FEDERATED_TOKEN_FILE",
    )


class SharedToken:
    """One token per scope for all threads of a run: asked for once, renewed five minutes before it ends.

    Args:
        credential: makes the credential when the first token is due.
        where: who the token is for, as errors name it.
        authority: the server that gives tokens.
    """

    def __init__(self, credential: Callable[[], TokenCredential], *, where: str = "", authority: str = "") -> None:
        self._make, self._where, self._authority = credential, where, authority
        self._credential: TokenCredential | None = None
        self._tokens: dict[tuple[t.Any, ...], AccessToken] = {}
        self._lock = threading.Lock()
        self.requests = 0

    def get_token(self, *scopes: str, claims: str | None = None, **kwargs: t.Any) -> AccessToken:
        """The token for these scopes.

        Raises:
            AuthenticationError: Entra ID refuses; the sentence says why and what to do.
        """
        key = (scopes, claims)
        with self._lock:
            token = self._tokens.get(key)
            if token is None or token.expires_on - time.time() < _REFRESH_BEFORE:
                kwargs.pop("enable_cae", None)
                token = self._tokens[key] = self._fetch(scopes, claims, kwargs)
        return token

    def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        """The same, for newer releases of azure-core."""
        from azure.core.credentials import AccessTokenInfo  # noqa: PLC0415

        token = self.get_token(*scopes, claims=(options or {}).get("claims"))
        return AccessTokenInfo(token.token, int(token.expires_on))

    def _fetch(self, scopes: tuple[str, ...], claims: str | None, kwargs: dict[str, t.Any]) -> AccessToken:
        from azure.core.exceptions import AzureError  # noqa: PLC0415

        try:
            if self._credential is None:
                self._credential = self._make()
            self.requests += 1
            return self._credential.get_token(*scopes, claims=claims, **kwargs)
        except AzureError as exc:
            raise explain(exc, doing="get a token", where=self._where, host=self._authority) from exc
        except ValueError as exc:
            raise AuthenticationError(
                f"cannot get a token: {exc}", where=self._where, remedy="Check tenant, client id and certificate"
            ) from exc


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for option, names in _ENVIRONMENT.items():
        value = next((environ[name] for name in names if environ.get(name)), None)
        if value is not None:
            found[option] = value
    return found


def _sections(path: pathlib.Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as exc:
        # The parser quotes the line it stumbles over, and that line may be a secret.
        raise InputError("the profile file is not an INI file", where=str(path), remedy="Check its syntax") from exc
    return parser


def _profile(path: pathlib.Path, name: str) -> dict[str, str]:
    parser = _sections(path)
    if not parser.has_section(name):
        raise InputError(
            f"there is no profile {name!r}",
            where=str(path),
            remedy=f"Choose one of {', '.join(parser.sections()) or 'none: the file is empty or absent'}",
        )
    return {key: value for key, value in parser.items(name) if value}


def _discover(address: str, fetch: Callable[[str], t.Any]) -> Cloud:
    url = address
    if "/metadata/endpoints" not in address:
        url = f"{address.rstrip('/')}/metadata/endpoints?api-version={_METADATA_VERSION}"
    document = fetch(url)
    clouds = document if isinstance(document, list) else [document]
    for cloud in clouds:
        try:
            manager = str(cloud["resourceManager"]).rstrip("/")
            authentication = cloud["authentication"]
            audiences = [str(audience) for audience in authentication["audiences"]]
            suffix = str(cloud.get("suffixes", {}).get("keyVaultDns") or "vault.azure.net").lstrip(".")
            found = Cloud(
                name=str(cloud.get("name") or address),
                resource_manager=manager,
                authority=str(authentication["loginEndpoint"]).rstrip("/"),
                audience=next((a for a in audiences if a.rstrip("/") == manager), audiences[0]),
                vault_audience=f"https://{suffix}",
            )
        except (KeyError, TypeError, IndexError, AttributeError):
            continue
        if len(clouds) == 1 or address.startswith(manager):
            return found
    raise ArmError(
        "the answer is not a metadata document of a cloud with resourceManager and authentication",
        where=url,
        remedy="Check cloud_environment (AZURE_CLOUD_ENVIRONMENT)",
    )


def _fetcher(*, verify: bool) -> Callable[[str], t.Any]:
    def fetch(url: str) -> t.Any:
        import requests  # noqa: PLC0415

        try:
            answer = requests.get(url, timeout=_HTTP_TIMEOUT, verify=None if verify else False)
            answer.raise_for_status()
            return answer.json()
        except (requests.RequestException, ValueError) as exc:
            from azure.core.exceptions import ServiceRequestError  # noqa: PLC0415

            raise explain(
                ServiceRequestError(str(exc)), doing="read the cloud's metadata", where=url, host=url
            ) from exc

    return fetch


def _needed(identity: Identity, name: str) -> str:
    value = identity.get(name)
    if not value:
        raise InputError(
            f"{name} is not given",
            where=f"credentials from {identity.source}",
            remedy=f"Set the option {name} or {_ENVIRONMENT[name][0]}",
        )
    return str(value)


def _read_token(path: pathlib.Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as exc:
        raise InputError(
            f"the federated token cannot be read: {exc.strerror}",
            where=str(path),
            remedy="Check AZURE_FEDERATED_TOKEN_FILE",
        ) from exc


def _truth(value: t.Any) -> bool:
    return str(value).strip().lower() in ("1", "true", "yes", "on") if value is not None else False
