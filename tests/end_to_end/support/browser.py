"""A real browser: Chromium of Debian, unpacked beside the system with all that it needs."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import socket
import ssl
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.end_to_end.support.clinic import Clinic
from tests.tools.debian import unpack

__all__ = ["dump_page", "program"]

PACKAGES = ("chromium", "fontconfig-config", "fonts-dejavu-core")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1280,900",
)


def program() -> tuple[Path, dict[str, str]]:
    """Return the browser's executable and the environment in which it finds its libraries and fonts."""
    if found := shutil.which("chromium"):
        return Path(found), dict(os.environ)
    chromium = unpack("chromium", PACKAGES, with_dependencies=True)
    fonts = chromium.root / "fonts.conf"
    folders = ["/usr/share/fonts", chromium.root / "usr/share/fonts"]
    listed = "".join(f"<dir>{folder}</dir>" for folder in folders)
    listed += f"<cachedir>{chromium.root / 'fonts'}</cachedir>"
    fonts.write_text(f'<?xml version="1.0"?><fontconfig>{listed}</fontconfig>\n', encoding="utf-8")
    return chromium.root / "usr/lib/chromium/chromium", {**chromium.environment, "FONTCONFIG_FILE": str(fonts)}


def dump_page(clinic: Clinic, path: str, *, picture: Path, folder: Path) -> str:
    """Open a page until it has settled; return its document, and leave a picture of it.

    The browser knows one key: that of the certificate which verified against the environment's authority.
    """
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.unlink(missing_ok=True)
    browser, environment = program()
    command = [
        str(browser),
        *FLAGS,
        f"--user-data-dir={folder / 'profile'}",
        f"--host-resolver-rules=MAP {clinic.host}:443 {urlsplit(clinic.address).netloc}",
        f"--ignore-certificate-errors-spki-list={_key_of(clinic)}",
        "--virtual-time-budget=30000",
        "--dump-dom",
        f"--screenshot={picture}",
        f"https://{clinic.host}{path}",
    ]
    done = subprocess.run(
        command, env={**environment, "HOME": str(folder)}, capture_output=True, text=True, timeout=180, check=False
    )
    assert picture.exists(), done.stderr[-2000:]
    return done.stdout


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
