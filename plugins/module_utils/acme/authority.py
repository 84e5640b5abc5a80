# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One ACME authority (RFC 8555), by certbot's library C(acme): account, order, proof, certificate."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import logging
import time
import typing as t
from collections.abc import Iterator, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.acme.errors import AcmeError, explain

if t.TYPE_CHECKING:
    from acme import client, messages

__all__ = ["Authority", "Order", "Proof", "signing_request"]

USER_AGENT: t.Final = "audioprothese.platform"
POLL_SECONDS: t.Final = 1.0
DEAD: t.Final = ("invalid", "deactivated", "expired", "revoked")


@dataclasses.dataclass(frozen=True, slots=True)
class Proof:
    """What a host name is proven with: the TXT value, and the library's own objects to answer with."""

    host: str
    value: str
    challenge: t.Any
    response: t.Any


@dataclasses.dataclass(slots=True)
class Order:
    """An order of the authority.

    Attributes:
        url: its address; enough to find it again.
        resource: the library's view of it.
    """

    url: str
    resource: messages.OrderResource

    @property
    def status(self) -> str:
        """C(pending), C(ready), C(processing), C(valid) or C(invalid)."""
        return str(self.resource.body.status.name)


class Authority:
    """The authority at one directory, for one account.

    Args:
        directory: address of the directory.
        account_key: private key of the account, PEM.
        timeout: seconds that a step may take.
    """

    def __init__(self, directory: str, account_key: str, *, timeout: float) -> None:
        from acme import client  # noqa: PLC0415
        from josepy.jwa import ES256  # noqa: PLC0415
        from josepy.jwk import JWK  # noqa: PLC0415

        # It logs messages and answers at debug level into a stream that Ansible may show.
        logging.getLogger("acme").setLevel(logging.CRITICAL)
        self._where, self._timeout = directory, timeout
        self._key = JWK.load(account_key.encode("ascii"))
        network = client.ClientNetwork(self._key, alg=ES256, user_agent=USER_AGENT)
        with self._explained("read the authority's directory"):
            self._client: client.ClientV2 = client.ClientV2(client.ClientV2.get_directory(directory, network), network)

    def sign_in(self, contact: str) -> None:
        """Use the key's account, made when there is none. The caller has agreed to the terms."""
        from acme import errors, messages  # noqa: PLC0415

        registration = messages.NewRegistration.from_data(email=contact or None, terms_of_service_agreed=True)
        with self._explained("sign in"):
            try:
                self._client.new_account(registration)
            except errors.ConflictError as exc:
                self._client.net.account = messages.RegistrationResource(uri=exc.location, body=messages.Registration())

    def order(self, csr: bytes, profile: str) -> Order:
        """Place a new order."""
        with self._explained("order the certificate"):
            placed = self._client.new_order(csr, profile=profile or None)
        return Order(str(placed.uri), placed)

    def find(self, url: str, csr: bytes) -> Order | None:
        """An order of an earlier run; None when the authority does not know it any more or has closed it."""
        from acme import messages  # noqa: PLC0415

        try:
            with self._explained("read the order"):
                body = messages.Order.from_json(self._post_as_get(url).json())
                proofs = [self._authorization(each) for each in body.authorizations]
        except AcmeError as exc:
            if exc.code:
                return None
            raise
        found = Order(url, messages.OrderResource(uri=url, body=body, authorizations=proofs, csr_pem=csr))
        return None if found.status in DEAD or any(_status(each) in DEAD for each in proofs) else found

    def proofs(self, order: Order) -> list[Proof]:
        """What is still to be proven."""
        from acme import challenges  # noqa: PLC0415

        found = []
        for authorization in order.resource.authorizations:
            if _status(authorization) != "pending":
                continue
            host = str(authorization.body.identifier.value)
            offered = [each for each in authorization.body.challenges if isinstance(each.chall, challenges.DNS01)]
            if not offered:
                raise AcmeError(
                    "the authority offers no dns-01 challenge",
                    where=host,
                    remedy="Use an authority that does, as Let's Encrypt",
                )
            response, value = offered[0].response_and_validation(self._key)
            found.append(Proof(host, str(value), offered[0], response))
        return found

    def answer(self, proofs: Sequence[Proof]) -> None:
        """Say that the records are there. One that is being looked up already is left alone."""
        with self._explained("answer the challenge"):
            for proof in proofs:
                if proof.challenge.status.name == "pending":
                    self._client.answer_challenge(proof.challenge, proof.response)

    def await_proofs(self, order: Order) -> None:
        """Wait until the authority has looked at all records.

        Raises:
            AcmeError: it did not find what it should.
        """
        from acme import errors  # noqa: PLC0415

        deadline = time.monotonic() + self._timeout
        with self._explained("prove the names"):
            for authorization in order.resource.authorizations:
                current = authorization
                while _status(current) in ("pending", "processing"):
                    if time.monotonic() > deadline:
                        raise errors.TimeoutError()
                    time.sleep(POLL_SECONDS)
                    current = self._authorization(authorization.uri)
                failed = [each.error for each in current.body.challenges if each.error is not None]
                if _status(current) != "valid":
                    raise failed[0] if failed else errors.Error(f"the proof is {_status(current)}")

    def collect(self, order: Order) -> str:
        """Have it issued, if it is not yet, and give the certificate with its chain, PEM."""
        deadline = dt.datetime.now() + dt.timedelta(seconds=self._timeout)  # the library compares with local time
        with self._explained("get the certificate"):
            if order.status in ("valid", "processing"):
                return str(self._client.poll_finalization(order.resource, deadline).fullchain_pem)
            return str(self._client.finalize_order(order.resource, deadline).fullchain_pem)

    def _authorization(self, url: str) -> messages.AuthorizationResource:
        from acme import messages  # noqa: PLC0415

        return messages.AuthorizationResource(
            uri=url, body=messages.Authorization.from_json(self._post_as_get(url).json())
        )

    def _post_as_get(self, url: str) -> t.Any:
        return self._client.net.post(url, None, new_nonce_url=self._client.directory["newNonce"])

    @contextlib.contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        try:
            yield
        except AcmeError:
            raise
        except Exception as exc:
            raise explain(exc, doing=doing, where=self._where) from None


def signing_request(key_pem: str, names: Sequence[str]) -> bytes:
    """A certificate signing request (PEM) for a private key and host names."""
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = serialization.load_pem_private_key(key_pem.encode("ascii"), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 - it is one of our own making
    alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = (
        x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(alternatives, critical=True)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _status(authorization: messages.AuthorizationResource) -> str:
    return str(authorization.body.status.name)
