# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Azure answers when something fails, as one sentence with the remedy."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import PlatformError

if t.TYPE_CHECKING:
    from azure.core.exceptions import AzureError, HttpResponseError

__all__ = ["ArmError", "AuthenticationError", "explain", "retry_after"]

# Entra ID error numbers, from "Microsoft Entra authentication and authorization error codes" of learn.microsoft.com.
_ENTRA: t.Final = {
    "AADSTS7000222": ("the client secret has expired", "Create a new secret for the application and set AZURE_SECRET"),
    "AADSTS7000215": ("the client secret is wrong", "Set AZURE_SECRET to the secret's value, not to its id"),
    "AADSTS700016": (
        "the application does not exist in this tenant",
        "Check AZURE_CLIENT_ID, and that AZURE_TENANT is the tenant it was created in",
    ),
    "AADSTS700027": ("the client certificate is not one of the application's", "Upload the certificate to it"),
    "AADSTS70021": (
        "no federated credential of the application matches the token",
        "Compare issuer, subject and audience of the federated credential with those of the token",
    ),
    "AADSTS700024": ("the federated token has expired", "Let the platform that issues it write a new one"),
    "AADSTS90002": ("the tenant does not exist", "Check AZURE_TENANT"),
    "AADSTS90072": ("the account is not a member of this tenant", "Check AZURE_TENANT"),
    "AADSTS50034": ("the account does not exist in this tenant", "Check AZURE_AD_USER and AZURE_TENANT"),
    "AADSTS50126": ("the user name or password is wrong", "Check AZURE_AD_USER and AZURE_PASSWORD"),
    "AADSTS50076": ("the account needs a second factor", "Use a service principal or a managed identity"),
}

# ARM and resource provider codes, from "Troubleshoot common Azure deployment errors" of learn.microsoft.com.
_REMEDIES: t.Final = {
    "authorizationfailed": "Give the identity a role with this permission at this scope, or wait until it took effect",
    "linkedauthorizationfailed": "Give the identity a role on the linked resource too",
    "invalidauthenticationtokentenant": "The token is of another tenant than the subscription: check AZURE_TENANT",
    "invalidauthenticationtoken": "Check the credentials and the clock of this machine",
    "subscriptionnotfound": "Check the subscription id in the document, and that the identity may see it",
    "missingsubscriptionregistration": "Add a document with id /subscriptions/S/providers/NAMESPACE to register it",
    "noregisteredproviderfound": "The api-version or the location is not served for this type: set apiVersion",
    "invalidresourcetype": "Check the type in the id, and apiVersion",
    "invalidapiversionparameter": "Set apiVersion to one that the error names",
    "requestdisallowedbypolicy": "Change the document to satisfy the policy, or have an exemption granted",
    "scopelocked": "Remove the management lock first, if that is what you want",
    "keyvaultaccessforbidden": "Give the identity the role Key Vault Crypto Service Encryption User on the key",
    "kubernetesbackuplistextensionserror": "Give the backup vault the role Reader on the cluster",
    "usererrorbackupstoragelocationnotready": "Give the backup extension Storage Blob Data Contributor on the account",
    "usererrorextensionmsimissingpermissionsonbackupstoragelocation": "Give the backup extension Storage Blob Data"
    " Contributor on the account",
    "usererrordppdatasourcealreadyprotected": "Bring the deleted backup instance back (az dataprotection"
    " backup-instance deleted-backup-instance undelete), or wait until the days of soft delete are over",
    "usererrorsnapshotresourcegrouphaslocks": "Remove the lock from the resource group of the snapshots",
    "quotaexceeded": "Ask for more quota, or choose another size or region",
    "errcode_insufficientvcpuquota": "Ask for more vCPU quota, or choose a smaller size or another region",
    "roleassignmentupdatenotpermitted": "Delete the role assignment first, or give the new one another name",
}


_NOT_FOUND: t.Final = 404
_FIRST_ERROR: t.Final = 400


class ArmError(PlatformError):
    """Azure refused or failed a request.

    Attributes:
        status: HTTP status, 0 when there was no answer.
        code: Azure's error code, empty when there is none.
        text: Azure's own message.
        wait: seconds that Retry-After asks for, 0 without the header.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        remedy: str = "",
        status: int = 0,
        code: str = "",
        text: str = "",
        wait: float = 0,
    ) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.status, self.code, self.text, self.wait = status, code, text, wait

    @property
    def not_there(self) -> bool:
        """Whether there is no such resource; nothing exists where its provider is not registered yet."""
        return self.status == 404 or self.code.lower() == "missingsubscriptionregistration"  # noqa: PLR2004


class AuthenticationError(ArmError):
    """No token could be had."""


def explain(exc: AzureError, *, doing: str, where: str, host: str = "") -> ArmError:
    """Turn an exception of azure-core or azure-identity into one sentence.

    Args:
        exc: what was raised.
        doing: the step in words, C(read), C(create), C(get a token).
        where: id of the resource, or another address.
        host: the server that was asked.
    """
    from azure.core import exceptions as core  # noqa: PLC0415

    if isinstance(exc, core.ClientAuthenticationError) and exc.response is None:
        return _no_token(exc, where, host)
    if isinstance(exc, core.HttpResponseError):
        return _refused(exc, doing=doing, where=where)
    if isinstance(exc, (core.ServiceRequestError, core.ServiceResponseError)):
        return _unreachable(exc, doing=doing, where=where, host=host)
    return ArmError(f"cannot {doing}: {_first_line(exc)}", where=where)


def retry_after(headers: t.Mapping[str, str]) -> float:
    """The seconds an answer asks to wait; 0 without a usable header."""
    for name, divisor in (("retry-after-ms", 1000.0), ("x-ms-retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            return float(headers[name]) / divisor
        except (KeyError, TypeError, ValueError):
            continue
    return 0.0


def _no_token(exc: AzureError, where: str, host: str = "") -> ArmError:
    text = str(exc)
    if "HTTPSConnection" in text or "HTTPConnection" in text:
        return _unreachable(exc, doing="get a token", where=where, host=host)
    if "Azure CLI" in text:
        return AuthenticationError(
            f"no credentials were found, and the Azure CLI has none either ({_first_line(exc)})",
            where=where,
            remedy="Set AZURE_CLIENT_ID, AZURE_SECRET and AZURE_TENANT, name a profile, or run az login",
            text=text,
        )
    if "Unable to get authority configuration" in text:
        return AuthenticationError(
            f"cannot get a token: {host or 'the authority'} does not know the tenant",
            where=where,
            remedy="Check AZURE_TENANT, and cloud_environment",
            text=text,
        )
    found = re.search(r"AADSTS\d+", text)
    number = found.group(0) if found else ""
    what, remedy = _ENTRA.get(number, (_first_line(exc), "Check the credentials given to the module"))
    return AuthenticationError(
        f"cannot get a token: {what}{f' ({number})' if number else ''}",
        where=where,
        remedy=remedy,
        code=number,
        text=text,
    )


def _refused(exc: HttpResponseError, *, doing: str, where: str) -> ArmError:
    status = exc.status_code or 0
    code, text = _code_and_message(exc)
    if "AADSTS" in text:
        return _no_token(exc, where)
    remedy = _REMEDIES.get(code.lower(), "")
    if not remedy and status in (401, 403):
        remedy = _REMEDIES["authorizationfailed" if status == 403 else "invalidauthenticationtoken"]  # noqa: PLR2004
    if not code and text.startswith("Operation returned"):
        text = str(getattr(exc, "reason", "") or "without a reason")
    if "deleted state" in text:
        # A vault outlives its deletion: "Key Vault soft-delete overview" of learn.microsoft.com.
        remedy = "Set createMode to recover in its document, or purge it"
    if "deleted but recoverable state" in text:
        remedy = "Recover it (az keyvault key recover): nothing else opens what was encrypted with it"
    said = f"{code}: {text}" if code and text else code or text
    answered = f"Azure answered {status}" if status >= _FIRST_ERROR else "the operation failed with"
    return ArmError(
        f"cannot {doing}: {answered} {said}",
        where=where,
        remedy=remedy,
        status=status,
        code=code,
        text=text,
        wait=retry_after(getattr(exc.response, "headers", {}) or {}),
    )


def _unreachable(exc: AzureError, *, doing: str, where: str, host: str) -> ArmError:
    text = str(exc)
    server = host or "the Azure endpoint"
    if "CERTIFICATE_VERIFY_FAILED" in text or "SSLError" in text:
        what, remedy = (
            f"{server} shows a certificate that this machine does not trust",
            "Set REQUESTS_CA_BUNDLE to the CA's file",
        )
    elif re.search(r"Name or service not known|Failed to resolve|getaddrinfo|NameResolution", text):
        what, remedy = f"the name of {server} does not resolve", "Check the DNS of this machine, and cloud_environment"
    elif re.search(r"[Tt]imed? ?out", text):
        what, remedy = f"{server} did not answer in time", "Check firewall and proxy (HTTPS_PROXY) of this machine"
    elif "refused" in text:
        what, remedy = f"{server} refuses the connection", "Check cloud_environment, and that the service is up"
    else:
        what = f"the connection to {server} failed: {_first_line(exc)}"
        remedy = "Check the network and proxy (HTTPS_PROXY) of this machine"
    return ArmError(f"cannot {doing}: {what}", where=where, remedy=remedy, text=text)


def _code_and_message(exc: HttpResponseError) -> tuple[str, str]:
    body: t.Any = None
    try:
        body = exc.response.json() if exc.response is not None else None  # type: ignore[attr-defined]
    except Exception:  # an error page may be anything
        body = None
    error = body.get("error", body) if isinstance(body, dict) else None
    if isinstance(error, dict) and (error.get("code") or error.get("message")):
        code, message = str(error.get("code") or ""), str(error.get("message") or "")
        details = [d for d in error.get("details") or [] if isinstance(d, dict) and d.get("message")]
        if details and str(details[0]["message"]) not in message:
            message = f"{message.rstrip('. ')}: {details[0].get('code', '')} {details[0]['message']}".strip()
        return code, " ".join(message.split())
    model = getattr(exc, "error", None)
    if model is not None and getattr(model, "code", None):
        return str(model.code), " ".join(str(getattr(model, "message", "")).split())
    return "", _first_line(exc)


def _first_line(exc: BaseException) -> str:
    return next((line.strip() for line in str(exc).splitlines() if line.strip()), type(exc).__name__)[:500]
