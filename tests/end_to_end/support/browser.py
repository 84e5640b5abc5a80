"""A browser in a centre."""

from __future__ import annotations

import base64
import hashlib
import socket
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.end_to_end.support.clinic import Clinic
from tests.tools.browser import open_page

__all__ = ["dump_page"]


def dump_page(clinic: Clinic, path: str, *, picture: Path, folder: Path) -> str:
    """Open a page of OpenMRS until it has settled; return its document, and leave a picture of it.

    The browser knows one key: that of the certificate which verified against the environment's authority.
    """
    return open_page(
        f"https://{clinic.host}{path}",
        f"--host-resolver-rules=MAP {clinic.host}:443 {urlsplit(clinic.address).netloc}",
        f"--ignore-certificate-errors-spki-list={_key_of(clinic)}",
        picture=picture,
        folder=folder,
    )


def _key_of(clinic: Clinic) -> str:
    """Return the fingerprint of the verified certificate's key, as Chromium takes it."""
    where = urlsplit(clinic.address)
    trust = ssl.create_default_context(cafile=clinic.ca_file)
    with (
        socket.create_connection((where.hostname or "", where.port or 443), timeout=10) as plain,
        trust.wrap_socket(plain, server_hostname=clinic.host) as secure,
    ):
        shown = secure.getpeercert(binary_form=True)
    assert shown
    key = x509.load_der_x509_certificate(shown).public_key()
    encoded = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(encoded).digest()).decode()
