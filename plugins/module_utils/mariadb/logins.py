# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prove which passwords every server accepts and which it refuses, and which certificate it serves. Writes nothing."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.findings import Finding
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.accounts import parse_not_after
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.errors import MariaDBError
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.runner import Base
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.session import DENIED, Session
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.certificates import read_certificate

__all__ = ["Certificate", "Claim", "LoginsRunner", "claims_of"]

TYPE = "mariadb/login"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A password that an account must accept, or refuse.

    Attributes:
        secret: name of what is proven, such as the secret of a vault.
        which: C(current), C(previous) or C(revoked).
    """

    secret: str
    user: str
    host: str
    which: str
    password: str

    @property
    def accepted(self) -> bool:
        """What must be so."""
        return self.which != "revoked"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The certificate that every server must serve, as PEM."""

    secret: str
    pem: str


def claims_of(secret: str, account: tuple[str, str], passwords: Mapping[str, str]) -> list[Claim]:
    """All that is claimed about an account, by user and host.

    Args:
        secret: what is proven by it.
        account: user and host.
        passwords: by C(which); one that is empty, or the same as the current one, claims nothing.
    """
    user, host = account
    return [
        Claim(secret=secret, user=user, host=host, which=which, password=password)
        for which, password in passwords.items()
        if password and (which == "current" or password != passwords["current"])
    ]


class LoginsRunner(Base):
    """One run of C(mariadb_logins); see Base."""

    kind = "MariaDBLogins"

    def run(
        self, claims: Sequence[Claim], *, port: int = 3306, certificate: Certificate | None = None
    ) -> dict[str, t.Any]:
        """Hold every claim against every server.

        Args:
            claims: of the accounts.
            port: that the servers listen on, on their own machines.
            certificate: what they must serve.

        Raises:
            PlatformError: a server cannot be asked, or, in a real run, a claim does not hold.
        """
        for claim in claims:
            self._report.redactor.add(claim.password)
        proven: set[str] = set()
        with self._report.reporting(self._outcome):
            proven = self._run(claims, port, certificate)
        return {**self._result(), "proven": sorted(proven)}

    def _run(self, claims: Sequence[Claim], port: int, certificate: Certificate | None) -> set[str]:
        asked = self._servers()
        names = {claim.secret for claim in claims} | ({certificate.secret} if certificate else set())
        with self._report.timing.phase("read"):
            for place, session in asked:
                self._report.findings += [
                    finding for claim in claims for finding in self._tried(place, session, claim, port)
                ]
                if certificate:
                    self._report.findings.append(self._served(place, session, certificate))
        wrong = [finding for finding in self._report.findings if finding.verdict == "drift"]
        if wrong and not self._check:
            raise MariaDBError(
                wrong[0].message.rstrip("."),
                where=wrong[0].resource,
                remedy="Run playbooks/site.yml, which converges the accounts and goes on from there",
            )
        told = bool(asked) and len(asked) == len(self._known)
        return names - {finding.path for finding in wrong} if told else set()

    def _tried(self, place: str, session: Session, claim: Claim, port: int) -> Iterator[Finding]:
        accepted = self._accepts(session, claim, port)
        name = f"{claim.user}@{claim.host}"
        does = "accepts" if accepted else "refuses"
        yield Finding(
            source="mariadb",
            resource=f"MariaDBAccount/{place}/{name}",
            type=TYPE,
            path=claim.secret,
            verdict="equal" if accepted == claim.accepted else "drift",
            desired=f"{claim.which} password {'accepted' if claim.accepted else 'refused'}",
            live="accepted" if accepted else "refused",
            message=f"the server {does} the {claim.which} password of {name}",
        )

    def _accepts(self, session: Session, claim: Claim, port: int) -> bool:
        try:
            told = session.try_login(claim.user, claim.password, port=0 if claim.host == "localhost" else port)
        except MariaDBError as exc:
            if exc.code in DENIED:
                return False
            raise
        return told == f"{claim.user}@{claim.host}"

    def _served(self, place: str, session: Session, certificate: Certificate) -> Finding:
        (rows,) = session.query(["SHOW GLOBAL STATUS LIKE 'Ssl\\_server\\_not\\_%'"])
        served = {row["Variable_name"].lower(): parse_not_after(row["Value"]) for row in rows}
        wanted = read_certificate(certificate.pem, where=certificate.secret)
        # Certificates of one authority have both ends in common only when they are the same one.
        pair = [served.get("ssl_server_not_before"), served.get("ssl_server_not_after")]
        same = pair == [wanted.not_before, wanted.not_after]
        return Finding(
            source="mariadb",
            resource=f"MariaDBServer/{place}",
            type="mariadb/server",
            path=certificate.secret,
            verdict="equal" if same else "drift",
            desired=wanted.not_after.isoformat(),
            live=pair[1].isoformat() if pair[1] else None,
            message=f"the server serves {'the certificate' if same else 'another certificate than that'} of the vault",
        )
