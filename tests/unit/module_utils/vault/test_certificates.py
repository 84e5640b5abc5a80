# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates as another implementation (OpenSSL through the standard library) judges them."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
import threading
from pathlib import Path

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.vault import certificates
from cryptography import x509

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)


class Authority:
    def __init__(self, *, validity_days: int = 3650, now: dt.datetime = NOW) -> None:
        self.key = certificates.signing_key(authority=True)
        self.certificate = certificates.certificate_authority(
            key_pem=self.key, common_name="platform", validity_days=validity_days, now=now
        )

    def issue(self, *names: str, key: str = "", validity_days: int = 397, now: dt.datetime = NOW) -> tuple[str, str]:
        key = key or certificates.signing_key()
        certificate = certificates.issue_certificate(
            key_pem=key,
            issuer_key_pem=self.key,
            issuer_certificate_pem=self.certificate,
            common_name=names[0],
            dns_names=names,
            validity_days=validity_days,
            now=now,
        )
        return key, certificate


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def handshake(tmp_path: Path, pair: tuple[str, str], *, trust: str, name: str) -> str:
    """Speak TLS over a socket pair; the client's error, or nothing."""
    (tmp_path / "key").write_text(pair[0])
    (tmp_path / "certificate").write_text(pair[1])
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    client_context = ssl.create_default_context(cadata=trust)
    client_context.verify_flags |= ssl.VERIFY_X509_STRICT
    server_end, client_end = socket.socketpair()
    for end in (server_end, client_end):
        end.settimeout(10)

    def serve() -> None:
        try:
            server_context.wrap_socket(server_end, server_side=True).close()
        except OSError:
            server_end.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        client_context.wrap_socket(client_end, server_hostname=name).close()
    except ssl.SSLError as error:
        return str(error)
    finally:
        client_end.close()
        thread.join()
    return ""


def test_a_strict_client_accepts_the_certificate_for_its_names(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("mariadb", "mariadb.mariadb.svc", "127.0.0.1")
    assert handshake(tmp_path, pair, trust=authority.certificate, name="mariadb.mariadb.svc") == ""
    assert handshake(tmp_path, pair, trust=authority.certificate, name="127.0.0.1") == ""
    assert "mismatch" in handshake(tmp_path, pair, trust=authority.certificate, name="other")


def test_another_authority_is_not_trusted(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("mariadb")
    assert "CERTIFICATE_VERIFY_FAILED" in handshake(tmp_path, pair, trust=Authority().certificate, name="mariadb")


def test_by_a_bundle_two_authorities_of_one_name_are_trusted_and_no_third(authority: Authority, tmp_path: Path) -> None:
    new = Authority()
    both = certificates.bundle(new.certificate, authority.certificate)
    for one in (new, authority):
        assert handshake(tmp_path, one.issue("mariadb"), trust=both, name="mariadb") == ""
    third = Authority().issue("mariadb")
    assert "CERTIFICATE_VERIFY_FAILED" in handshake(tmp_path, third, trust=both, name="mariadb")
    assert certificates.bundle(both) == new.certificate, "the first one is the one that signs"
    assert certificates.read_certificate(both, where="x").pem == both


def test_profiles(authority: Authority) -> None:
    root = x509.load_pem_x509_certificate(authority.certificate.encode())
    leaf = x509.load_pem_x509_certificate(authority.issue("a", "10.0.0.1")[1].encode())
    root_usage = root.extensions.get_extension_for_class(x509.KeyUsage)
    leaf_usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    assert root_usage.critical
    assert root_usage.value.key_cert_sign
    assert not root_usage.value.digital_signature
    assert leaf_usage.value.digital_signature
    assert not leaf_usage.value.key_cert_sign
    constraints = root.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("10.0.0.1")]
    assert leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)


def test_a_certificate_never_outlives_its_authority() -> None:
    short = Authority(validity_days=10)
    facts = certificates.read_certificate(short.issue("a", validity_days=397)[1], where="x")
    assert facts.not_after == NOW + dt.timedelta(days=10)


def test_facts(authority: Authority) -> None:
    facts = certificates.read_certificate(authority.issue("b", "a", "10.0.0.1")[1], where="x")
    root = certificates.read_certificate(authority.certificate, where="x")
    assert facts.common_name == "b"
    assert facts.names == ("10.0.0.1", "a", "b")
    assert facts.not_after == NOW + dt.timedelta(days=397)
    assert (facts.authority, root.authority) == (False, True)
    assert facts.issued_by(root)
    assert root.issued_by(root)
    assert not facts.issued_by(certificates.read_certificate(Authority().certificate, where="x"))


def test_the_authoritys_pair_must_fit(authority: Authority) -> None:
    other = Authority()
    with pytest.raises(InputError, match="does not belong"):
        certificates.issue_certificate(
            key_pem=certificates.signing_key(),
            issuer_key_pem=other.key,
            issuer_certificate_pem=authority.certificate,
            common_name="a",
            dns_names=["a"],
            validity_days=1,
            now=NOW,
        )


def test_an_expired_authority_signs_nothing() -> None:
    with pytest.raises(InputError, match="expired"):
        Authority(validity_days=10).issue("a", now=NOW + dt.timedelta(days=11))


def test_an_error_never_quotes_key_material(authority: Authority) -> None:
    broken = authority.key.replace("PRIVATE KEY-----\nMI", "PRIVATE KEY-----\nXX")
    with pytest.raises(InputError) as caught:
        certificates.certificate_authority(key_pem=broken, common_name="a", validity_days=1, now=NOW)
    assert not any(line in str(caught.value) for line in broken.splitlines() if line)
    assert caught.value.__cause__ is None


def test_what_is_no_certificate_is_refused() -> None:
    with pytest.raises(InputError, match="not a certificate"):
        certificates.read_certificate("hello", where="x")
