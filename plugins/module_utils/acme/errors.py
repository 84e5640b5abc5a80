# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An ACME authority's answers in the words of the platform."""

from __future__ import annotations

import traceback
import typing as t

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import PlatformError

__all__ = ["LIBRARY_IMPORT_ERROR", "AcmeError", "explain"]

LIBRARY_IMPORT_ERROR: str | None = None
try:
    import requests
    from acme import errors, messages
    from josepy import errors as jose_errors
except ImportError:
    LIBRARY_IMPORT_ERROR = traceback.format_exc()

# RFC 8555, section 6.7; the hints are for the operator of this platform.
_REMEDIES: t.Final = {
    "badCSR": "Check dns_names; the authority may not take so many or such names",
    "caa": "Let the zone's CAA records name the authority (network_caa_issuers)",
    "dns": "Check that the parent zone delegates to the name servers of the Azure zone: dig NS <zone>",
    "dnssec": "Repair or remove the DS record in the parent zone",
    "externalAccountRequired": "This authority wants an account of its own customers, which is not supported",
    "incorrectResponse": "Check that the parent zone delegates to the name servers of the Azure zone: dig NS <zone>",
    "invalidContact": "Correct contact",
    "invalidProfile": "Correct certificate_profile (gateway_acme.profile), or leave it out",
    "malformed": "Check directory: it may not be an ACME authority",
    "rateLimited": "Wait; the certificate that is there stays in use. Try with the authority's staging directory",
    "rejectedIdentifier": "The authority does not issue for this name: correct dns_names, or use another authority",
    "serverInternal": "Run again later; the authority has a problem of its own",
    "unauthorized": "Check that the parent zone delegates to the name servers of the Azure zone: dig NS <zone>",
    "unknownHost": "Check that the parent zone delegates to the name servers of the Azure zone: dig NS <zone>",
    "userActionRequired": "Agree to the authority's new terms, as it describes",
}
_FALLBACK: t.Final = "Run again later; the certificate that is there stays in use"


class AcmeError(PlatformError):
    """The authority refused or could not be asked.

    Attributes:
        code: ACME's error type without its prefix, C(rateLimited); empty when there is none.
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "", code: str = "") -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.code = code


def explain(exc: Exception, *, doing: str, where: str) -> AcmeError:
    """Turn an exception of the ACME library into one sentence.

    Args:
        exc: what was raised.
        doing: the step in words, C(order the certificate).
        where: the authority's directory.
    """
    if isinstance(exc, errors.IssuanceError):
        exc = exc.error
    if isinstance(exc, messages.Error):
        return _refused(exc, doing=doing, where=where)
    if isinstance(exc, errors.TimeoutError):
        return AcmeError(
            f"cannot {doing}: the authority did not finish in time",
            where=where,
            remedy="Run again: it goes on with the same order. A larger timeout waits longer",
        )
    if isinstance(exc, requests.exceptions.SSLError):
        what, remedy = (
            "it shows a certificate that this machine does not trust",
            "Set REQUESTS_CA_BUNDLE to the CA's file",
        )
    elif isinstance(exc, requests.exceptions.RequestException):
        what, remedy = "it does not answer", "Check the address, and firewall and proxy (HTTPS_PROXY) of this machine"
    elif isinstance(exc, (errors.ClientError, jose_errors.Error, ValueError)):
        what, remedy = "its answer is not one of an ACME authority", "Check directory"
    else:
        what, remedy = f"it failed ({type(exc).__name__})", _FALLBACK
    return AcmeError(f"cannot {doing}: {what}", where=where, remedy=remedy)


def _refused(error: messages.Error, *, doing: str, where: str) -> AcmeError:
    code = str(error.typ or "").rpartition(":")[2]
    details = [_detail(error), *(_detail(each) for each in error.subproblems or ())]
    said = "; ".join(dict.fromkeys(detail for detail in details if detail)) or code or "without a reason"
    return AcmeError(
        f"cannot {doing}: the authority refuses ({code}): {said}" if code else f"cannot {doing}: {said}",
        where=where,
        remedy=_REMEDIES.get(code, _FALLBACK),
        code=code,
    )


def _detail(error: messages.Error) -> str:
    name = f"{error.identifier.value}: " if error.identifier else ""
    return f"{name}{' '.join(str(error.detail or '').split()).rstrip('.')}" if error.detail else ""
