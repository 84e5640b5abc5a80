"""A rotation from first to last, with a real MariaDB and the simulated vault, cut short wherever it can be."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.audioprothese.platform.plugins.filter.secret import secret
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.errors import ArmError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import OutcomeError
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.accounts_runner import (
    AccountsRunner,
    Options,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.connect import Connections
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.errors import MariaDBError
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.logins import LoginsRunner, claims_of
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.pods import Pod
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.runner import Server as Asked
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.session import Session
from ansible_collections.audioprothese.platform.plugins.module_utils.vault import certificates
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.client import VaultClient
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.rotation import CLOSING, OPEN
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.rotation_runner import (
    RotationOptions,
    RotationRunner,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.runner import Options as VaultOptions
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.runner import Runner
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.wanted import expand

from tests.contract.conftest import Manifests
from tests.contract.mariadb import LocalTransport, Server, running
from tests.contract.rendered import Documents
from tests.contract.test_mariadb_accounts import LEFT_ALONE, complete
from tests.integration.support.vaults import connection, create_vault, vault_id
from tests.lab.azure.testing import Running, serve

ME = getpass.getuser()
NAME, OTHER = "mariadb-openmrs-password", "mariadb-audit-password"
CATALOGUE: list[dict[str, Any]] = [
    {"name": NAME, "kind": "password", "rotation": {"days": 90, "proof": "login"}},
    {"name": OTHER, "kind": "password", "rotation": {"days": 90, "proof": "login"}},
    {"name": "ca", "kind": "certificate_authority", "rotation": {"because": "of the test"}},
    {
        "name": "web",
        "kind": "certificate",
        "issuer": "ca",
        "dns_names": ["w"],
        "rotation": {"days": 9, "proof": "served"},
    },
]


@dataclass
class Platform:
    """The vault, the server, and the steps that playbooks make of them."""

    azure: Running
    vault: VaultClient
    server: Server

    def rotate(self, step: str, *only: str, check: bool = False) -> dict[str, Any]:
        options = RotationOptions(vault_id=vault_id(self.azure), step=step, only=only, check=check)
        return RotationRunner(self.vault, options).run(CATALOGUE, expand(CATALOGUE))

    def phase(self, name: str = NAME) -> str:
        return str(self.rotate("report")["rotations"][name]["phase"])

    def servers(self) -> list[Asked]:
        session = Session(LocalTransport(self.server), self.server.login(ME), where="Pod/mariadb/mariadb-0")
        return [Asked(pod=Pod(namespace="mariadb", name="mariadb-0"), session=session)]

    def entries(self) -> dict[str, str]:
        names = {"openmrs": NAME, "audit": OTHER}
        return {user: secret(vault_id(self.azure), name) for user, name in names.items()}

    def accounts(self) -> dict[str, Any]:
        """Converge them as the module mariadb_accounts does."""
        connections = Connections({"_progress": None, **connection(self.azure)}, verbosity=0)
        entries = [complete({"user": user}) for user in self.entries()]
        own = {"user": ME, "host": "localhost", "plugin": "unix_socket", "require": "none"}
        grants = [{"on": "*.*", "privileges": ["ALL"], "grant_option": True}]
        entries.append(complete({**own, "grants": grants}))
        passwords = {f"{user}@%": connections.password(value) for user, value in self.entries().items()}
        previous = {f"{user}@%": connections.replaced(value, OPEN) for user, value in self.entries().items()}
        runner = AccountsRunner(servers=self.servers)
        return runner.run(entries, passwords, Options(left_alone=tuple(LEFT_ALONE)), previous=previous)

    def prove(self, *, check: bool = False) -> list[str]:
        """Prove as the module mariadb_logins does, and give what is proven."""
        connections = Connections({"_progress": None, **connection(self.azure)}, verbosity=0)
        claims = []
        for user, value in self.entries().items():
            phases = {"previous": OPEN, "revoked": CLOSING}
            passwords = {which: connections.replaced(value, phase) for which, phase in phases.items()}
            passwords = {"current": connections.password(value) or "", **passwords}
            claims += claims_of({"openmrs": NAME, "audit": OTHER}[user], (user, "%"), passwords)
        result = LoginsRunner(servers=self.servers, check=check).run(claims, port=self.server.port)
        assert not any(claim.password in str(result) for claim in claims)
        return list(result["proven"])

    def run(self, steps: int = 7) -> None:
        """Do what site.yml does about a rotation, or only the first steps of that."""
        todo: list[Callable[[], Any]] = [
            self.accounts,
            self.prove,
            lambda: self.rotate("proven", *self.prove()),
            self.accounts,
            self.prove,
            lambda: self.rotate("close", *self.prove()),
        ]
        for step in todo[:steps]:
            step()

    def accepts(self, password: str | None) -> bool:
        """Ask as a client in the cluster would."""
        assert password
        session = self.servers()[0].session
        assert session is not None
        try:
            return session.try_login("openmrs", password, port=self.server.port) == "openmrs@%"
        except MariaDBError as exc:
            assert exc.code == 1045
            return False


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serve(tmp_path_factory.mktemp("azure")) as found:
        yield found


@pytest.fixture(scope="module")
def started(rendered: Callable[[str], Documents], free_port: Callable[[], int]) -> Iterator[Server]:
    manifests: Manifests = rendered("production")["kubernetes"]
    with running(manifests, free_port()) as found:
        yield found


@pytest.fixture
def platform(azure: Running, started: Server) -> Platform:
    """Give a platform on which nothing is under way."""
    azure.control("POST", "/lab/reset")
    vault = create_vault(azure)
    Runner(vault, VaultOptions(vault_id=vault_id(azure))).run(expand(CATALOGUE))
    found = Platform(azure, vault, started)
    found.accounts()
    return found


def test_a_rotation_from_end_to_end(platform: Platform) -> None:
    old, audit = platform.vault.get(NAME), platform.vault.get(OTHER)
    predicted = platform.rotate("open", NAME, check=True)
    assert platform.vault.get(NAME) == old, "check mode wrote"
    done = platform.rotate("open", NAME)
    assert done["plan_digest"] == predicted["plan_digest"]
    new = platform.vault.get(NAME)
    assert new != old
    assert (platform.accepts(old), platform.accepts(new)) == (True, False)
    platform.run(1)
    assert (platform.accepts(old), platform.accepts(new)) == (True, True), "there is no overlap"
    assert not platform.accounts()["plan"], "the overlap is what is declared"
    platform.run()
    assert (platform.accepts(old), platform.accepts(new)) == (False, True)
    assert platform.phase() == "closed"
    assert [version.enabled for version in platform.vault.versions(NAME)].count(True) == 1
    before = next(version.id for version in platform.vault.versions(NAME) if not version.enabled)
    with pytest.raises(ArmError, match="it is disabled"):
        platform.vault.read(NAME, before)
    assert platform.vault.get(OTHER) == audit
    assert "rotation" not in str(platform.vault.list()[NAME].tags)
    results = [done, platform.rotate("report"), platform.accounts()]
    assert not any(value in str(results) for value in (old, new, audit) if value)
    assert not platform.accounts()["plan"]


@pytest.mark.parametrize("steps", range(7))
def test_cut_short_after_any_step_the_next_run_ends_it(platform: Platform, steps: int) -> None:
    old = platform.vault.get(NAME)
    platform.rotate("open", NAME)
    platform.run(steps)
    assert not platform.rotate("open", NAME)["plan"] or steps >= 6, "the second attempt made a third value"
    new = platform.vault.get(NAME)
    platform.run()
    assert (platform.phase(), platform.accepts(old), platform.accepts(new)) == ("closed", False, True)


@pytest.mark.parametrize("steps", [0, 1, 3, 4])
def test_the_way_back(platform: Platform, steps: int) -> None:
    old = platform.vault.get(NAME)
    platform.rotate("open", NAME)
    new = platform.vault.get(NAME)
    platform.run(steps)
    platform.rotate("back", NAME)
    assert not platform.rotate("back", NAME)["plan"], "the second attempt goes forth again"
    platform.run(1)
    assert (platform.accepts(old), platform.accepts(new)) == (True, True), "who has the new one is locked out"
    platform.run()
    assert (platform.phase(), platform.accepts(old), platform.accepts(new)) == ("closed", True, False)
    assert platform.rotate("report")["rotations"][NAME]["due"]
    assert [version.enabled for version in platform.vault.versions(NAME)].count(True) == 1


def test_nothing_is_closed_while_the_old_password_is_accepted(platform: Platform) -> None:
    platform.rotate("open", NAME)
    platform.run(1)
    assert not platform.rotate("close", NAME)["plan"], "closed without a proof"
    platform.rotate("proven", NAME)
    with pytest.raises(OutcomeError, match="accepts the revoked password of openmrs@%"):
        platform.prove()
    assert platform.prove(check=True) == [OTHER]
    assert platform.phase() == "closing"
    platform.run()
    assert platform.phase() == "closed"


def test_nothing_is_let_go_while_the_new_password_is_refused(platform: Platform) -> None:
    old = platform.vault.get(NAME)
    platform.rotate("open", NAME)
    with pytest.raises(OutcomeError, match="refuses the current password of openmrs@%"):
        platform.prove()
    assert platform.accepts(old)
    assert platform.phase() == "open"
    platform.run()


def test_a_server_that_nobody_can_ask_proves_nothing(platform: Platform) -> None:
    pod = Pod(namespace="mariadb", name="mariadb-1", untold="its pod is on a simulated node")
    claims = claims_of(OTHER, ("audit", "%"), {"current": platform.vault.get(OTHER) or ""})
    both = [*platform.servers(), Asked(pod=pod, session=None)]
    result = LoginsRunner(servers=lambda: both).run(claims, port=platform.server.port)
    assert result["proven"] == []
    assert sorted(finding["verdict"] for finding in result["findings"]) == ["equal", "not_verifiable"]


@pytest.mark.sabotage
def test_a_proof_that_always_says_refused_is_noticed(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: Any, **_options: Any) -> str:
        raise MariaDBError("denied", code=1045)

    platform.rotate("open", NAME)
    platform.run(1)
    monkeypatch.setattr(Session, "try_login", refuse)
    with pytest.raises(OutcomeError, match="refuses the current password"):
        platform.run()


@pytest.mark.sabotage
def test_accounts_that_keep_the_old_password_are_noticed(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    replaced = Connections.replaced
    platform.rotate("open", NAME)
    monkeypatch.setattr(
        Connections,
        "replaced",
        lambda self, value, phase: replaced(self, value, phase) or replaced(self, value, CLOSING),
    )
    with pytest.raises(OutcomeError, match="accepts the revoked password"):
        platform.run()
    assert platform.phase() == "closing"


def test_a_pair_gets_a_new_key_and_a_certificate_for_it(platform: Platform, tmp_path: Path) -> None:
    names = ("web-key", "web-certificate")
    before = [platform.vault.get(name) for name in names]
    platform.rotate("open", "web")
    key, certificate = (str(platform.vault.get(name)) for name in names)
    assert key != before[0]
    assert certificates.key_matches(key_pem=key, certificate_pem=certificate)
    platform.rotate("proven", "web-certificate")
    platform.rotate("close", "web-certificate")
    assert platform.phase("web") == "closed"
    assert all([v.enabled for v in platform.vault.versions(name)].count(True) == 1 for name in names)
