"""The certificate that the gateway serves, and one that soon expires."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.end_to_end.support.clinic import Clinic

__all__ = ["Expiring", "expiring", "served"]


@dataclass(frozen=True)
class Expiring:
    """A certificate that soon ends, its key, and the authority that signed it, all as PEM."""

    certificate: str
    key: str
    authority: str

    @property
    def serial(self) -> int:
        """Its number."""
        return x509.load_pem_x509_certificate(self.certificate.encode()).serial_number

    @property
    def ends(self) -> dt.datetime:
        """When it ends."""
        return x509.load_pem_x509_certificate(self.certificate.encode()).not_valid_after_utc


def expiring(host: str, lifetime: dt.timedelta) -> Expiring:
    """Make one for a host. It has to end while it is served: Envoy Gateway takes none that has ended."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _signed(
        "an authority of the tests", authority_key, authority_key, lifetime=dt.timedelta(days=1), host=""
    )
    certificate = _signed("an authority of the tests", key, authority_key, lifetime=lifetime, host=host)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return Expiring(_pem(certificate), secret, _pem(authority))


def served(clinic: Clinic) -> x509.Certificate:
    """Return the certificate that the gateway shows, whatever it is worth."""
    where = urlsplit(clinic.address)
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((where.hostname or "", where.port or 443), timeout=10) as plain,
        trust.wrap_socket(plain, server_hostname=clinic.host) as secure,
    ):
        shown = secure.getpeercert(binary_form=True)
    assert shown
    return x509.load_der_x509_certificate(shown)


def _signed(
    issuer: str, key: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey, *, lifetime: dt.timedelta, host: str
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host or issuer)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=90))
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=not host, path_length=None), critical=True)
        # Without these a strict client says nothing about the dates.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
        .add_extension(_usage(signs=not host), critical=True)
    )
    if host:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    return builder.sign(by, hashes.SHA256())


def _usage(*, signs: bool) -> x509.KeyUsage:
    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign")
    never = dict.fromkeys((*others, "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(digital_signature=not signs, key_cert_sign=signs, **never)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
