"""OpenMRS as a centre sees it: HTTPS through the gateway, by its name, with a verified certificate."""

from __future__ import annotations

import ssl
import time
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

__all__ = ["Clinic", "Ledger"]

REST = "/openmrs/ws/rest/v1"
EVERY_SECONDS = 1.0


@dataclass(kw_only=True)
class Clinic:
    """The front door of one environment.

    `address` is where the gateway listens for this machine, `host` the name it serves.
    """

    host: str
    address: str
    ca_file: str
    password: str

    def client(self, *, timeout: float = 20) -> httpx.Client:
        """Return an HTTP client that trusts the authority of the environment and nobody else."""
        trust = ssl.create_default_context(cafile=self.ca_file)
        return httpx.Client(
            base_url=f"https://{urlsplit(self.address).netloc}",
            headers={"Host": self.host},
            verify=trust,
            trust_env=False,
            timeout=timeout,
            # The name in the handshake, against which the certificate is verified.
            event_hooks={"request": [lambda request: request.extensions.update(sni_hostname=self.host)]},
        )

    def get(self, path: str) -> httpx.Response:
        """Ask for a page."""
        with self.client() as client:
            return client.get(path)

    def healthy(self) -> bool:
        """Tell whether the backend says that it has started."""
        try:
            return self.get("/openmrs/health/started").status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def await_healthy(self, seconds: float = 300) -> float:
        """Wait until it has started; return the seconds that took."""
        started = time.monotonic()
        while not self.healthy():
            assert time.monotonic() - started < seconds, f"OpenMRS is not healthy after {seconds:.0f} s"
            time.sleep(EVERY_SECONDS)
        return time.monotonic() - started

    def register(self, family_name: str) -> str:
        """Write a patient record; return its uuid once the server says that it is written."""
        body = {
            "person": {
                "names": [{"givenName": "Éloïse", "familyName": family_name}],
                "gender": "F",
                "birthdate": "1951-04-12",
            },
            "identifiers": [{"identifier": uuid.uuid4().hex[:12].upper(), "preferred": True}],
        }
        with self.client() as client:
            answer = client.post(f"{REST}/patient", json=body, auth=("admin", self.password))
        answer.raise_for_status()
        return str(answer.json()["uuid"])

    def patient(self, key: str) -> dict[str, Any] | None:
        """Read a patient record; None when there is none."""
        with self.client() as client:
            answer = client.get(f"{REST}/patient/{key}", auth=("admin", self.password))
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def search(self, text: str) -> set[str]:
        """Ask the search index; return the uuids of the patients that it and the database know."""
        with self.client() as client:
            answer = client.get(f"{REST}/patient", params={"q": text}, auth=("admin", self.password))
        answer.raise_for_status()
        return {str(found["uuid"]) for found in answer.json()["results"]}

    def reindex(self) -> None:
        """Have the search index made anew."""
        with self.client() as client:
            client.post(f"{REST}/searchindexupdate", auth=("admin", self.password)).raise_for_status()


class Ledger:
    """Every record that the server has confirmed: none of them may ever be missing again."""

    def __init__(self, clinic: Clinic) -> None:
        self.clinic = clinic
        self.confirmed: list[str] = []

    def write(self, family_name: str) -> str:
        """Register one more patient."""
        self.confirmed.append(self.clinic.register(family_name))
        return self.confirmed[-1]

    def missing(self) -> list[str]:
        """Return the confirmed records that cannot be read."""
        return [key for key in self.confirmed if self.clinic.patient(key) is None]

    def assert_complete(self, seconds: float = 0) -> None:
        """Expect that no confirmed record is lost; for so long a server may answer that it cannot tell."""
        assert self.confirmed, "nothing was ever confirmed"
        lost, deadline = None, time.monotonic() + seconds
        while lost is None:
            try:
                lost = self.missing()
            except httpx.HTTPError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(EVERY_SECONDS)
        assert not lost, f"{len(lost)} of {len(self.confirmed)} confirmed records are lost: {lost}"
