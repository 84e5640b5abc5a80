# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make and read X.509 pairs (PEM) of the platform's own authority: RFC 5280 profiles on elliptic curves."""

from __future__ import annotations

import datetime as dt
import ipaddress
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError

CRYPTOGRAPHY_IMPORT_ERROR: str | None = None
try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError:
    CRYPTOGRAPHY_IMPORT_ERROR = traceback.format_exc()

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "CRYPTOGRAPHY_IMPORT_ERROR",
    "CertificateFacts",
    "bundle",
    "certificate_authority",
    "issue_certificate",
    "key_matches",
    "read_certificate",
    "signing_key",
]

ORGANIZATION = "AudioProthese+"
CLOCK_SKEW = dt.timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFacts:
    """What the plan needs to know of a stored certificate."""

    common_name: str
    names: tuple[str, ...]
    not_before: dt.datetime
    not_after: dt.datetime
    authority: bool
    pem: str

    def issued_by(self, issuer: CertificateFacts) -> bool:
        """Tell whether the issuer's key made this certificate's signature."""
        certificate = x509.load_pem_x509_certificate(self.pem.encode("ascii"))
        try:
            certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(issuer.pem.encode("ascii")))
        except (InvalidSignature, TypeError, ValueError):
            return False
        return True


def read_certificate(pem: str, *, where: str) -> CertificateFacts:
    """Read the first certificate of a PEM text; InputError when there is none."""
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode("ascii"))
    except ValueError:
        raise InputError(
            what="the stored value is not a certificate in PEM form",
            where=where,
            remedy="restore an earlier version of that secret or delete it so that a new certificate is issued",
        ) from None
    common_names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return CertificateFacts(
        common_name=str(common_names[0].value) if common_names else "",
        names=_alternative_names(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        authority=_is_authority(certificate),
        pem=pem,
    )


def bundle(*pems: str) -> str:
    """The first certificate of each text as one PEM text: what is to be trusted, the one that signs first.

    Raises:
        ValueError: one of them holds no certificate.
    """
    return "".join(_pem(x509.load_pem_x509_certificate(pem.encode("ascii"))) for pem in pems)


def signing_key(*, authority: bool = False) -> str:
    """Return a new private key as PKCS#8 PEM: P-384 for an authority, P-256 otherwise."""
    key = ec.generate_private_key(ec.SECP384R1() if authority else ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pem.decode("ascii")


def certificate_authority(*, key_pem: str, common_name: str, validity_days: int, now: dt.datetime) -> str:
    """Return a self-signed authority certificate (PEM) for a key; it may sign leaves only (path length 0)."""
    key = _private_key(key_pem, where=common_name)
    name = _name(common_name)
    certificate = (
        _builder(name, name, not_before=now, not_after=now + dt.timedelta(days=validity_days))
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA384())
    )
    return _pem(certificate)


def issue_certificate(
    *,
    key_pem: str,
    issuer_key_pem: str,
    issuer_certificate_pem: str,
    common_name: str,
    dns_names: Sequence[str],
    validity_days: int,
    now: dt.datetime,
) -> str:
    """Return a server certificate (PEM) for a key, signed by an authority and never outliving it.

    Raises InputError when the authority's key and certificate are not a pair or the authority has expired.
    """
    if not key_matches(key_pem=issuer_key_pem, certificate_pem=issuer_certificate_pem):
        raise InputError(
            what="the authority's private key does not belong to its certificate",
            where=f"certificate {common_name}",
            remedy="restore both secrets of the authority from the same moment",
        )
    issuer = x509.load_pem_x509_certificate(issuer_certificate_pem.encode("ascii"))
    if issuer.not_valid_after_utc <= now:
        raise InputError(
            what=f"the authority expired on {issuer.not_valid_after_utc:%Y-%m-%d}",
            where=f"certificate {common_name}",
            remedy="rotate the authority first",
        )
    public_key = _private_key(key_pem, where=common_name).public_key()
    not_after = min(now + dt.timedelta(days=validity_days), issuer.not_valid_after_utc)
    certificate = (
        _builder(_name(common_name), issuer.subject, not_before=now, not_after=not_after)
        .public_key(public_key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in dns_names]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(_authority_identifier(issuer), critical=False)
        .sign(_private_key(issuer_key_pem, where=f"issuer of {common_name}"), hashes.SHA384())
    )
    return _pem(certificate)


def key_matches(*, key_pem: str, certificate_pem: str) -> bool:
    """Tell whether a private key belongs to a certificate."""
    certificate = x509.load_pem_x509_certificate(certificate_pem.encode("ascii"))
    return _private_key(key_pem, where="key pair").public_key() == certificate.public_key()


def _private_key(pem: str, *, where: str) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem.encode("ascii"), password=None)
    except (TypeError, ValueError):
        key = None  # the parser's own message is dropped: it could quote the key
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InputError(
            what="the stored private key is not an unencrypted elliptic-curve key in PEM form",
            where=where,
            remedy="restore an earlier version of that secret",
        )
    return key


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    *,
    not_before: dt.datetime,
    not_after: dt.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before - CLOCK_SKEW)
        .not_valid_after(not_after)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _alternative_names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(sorted(str(name.value) for name in names))


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _authority_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    subject_identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_identifier)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")
