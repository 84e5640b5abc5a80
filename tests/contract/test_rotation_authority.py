"""The platform's authority is replaced under clients that verify, cut short wherever it can be, with a real MariaDB."""

from __future__ import annotations

import copy
import functools
import getpass
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.audioprothese.platform.plugins.filter.secret import secret
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import OutcomeError
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.accounts_runner import (
    AccountsRunner,
    Options,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.connect import Connections
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.logins import Certificate, LoginsRunner
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.pods import Pod
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.runner import Server as Asked
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.session import Session
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.trust import Trust, TrustRunner
from ansible_collections.audioprothese.platform.plugins.module_utils.vault import certificates, rotation_runner
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.client import VaultClient
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.maker import Maker
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.rotation import CLOSING
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.rotation_runner import (
    RotationOptions,
    RotationRunner,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.runner import Options as VaultOptions
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.runner import Runner
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.wanted import expand

from tests.contract.mariadb import LocalTransport, Server, running
from tests.contract.rendered import Documents
from tests.contract.test_mariadb_accounts import LEFT_ALONE, complete
from tests.integration.support.vaults import connection, create_vault, vault_id
from tests.lab.azure.testing import Running, serve

ME = getpass.getuser()
PASSWORD, CA, LEAF, OTHER = "mariadb-openmrs-password", "platform-ca", "mariadb-tls", "gateway-tls"
CA_NAME, LEAF_NAME = f"{CA}-certificate", f"{LEAF}-certificate"
CATALOGUE: list[dict[str, Any]] = [
    {"name": PASSWORD, "kind": "password", "rotation": {"days": 90, "proof": "login"}},
    {"name": CA, "kind": "certificate_authority", "rotation": {"days": 1825, "proof": "trusted"}},
    *(
        {
            "name": name,
            "kind": "certificate",
            "issuer": CA,
            "dns_names": ["localhost", "127.0.0.1"],
            "rotation": {"days": 300, "proof": proof},
        }
        for name, proof in ((LEAF, "served"), (OTHER, "delivered"))
    ),
]


class Killed(Exception):
    """Ends a run like a kill does: what comes after it is not done."""


class CutVault(VaultClient):
    """The vault for a run that is killed right before one of its writes."""

    writes_left: int | None = None

    def _call(self, verb: str, path: str, *, doing: str, body: Any = None) -> Any:
        if verb != "GET" and self.writes_left is not None:
            if not self.writes_left:
                raise Killed
            self.writes_left -= 1
        return super()._call(verb, path, doing=doing, body=body)


@dataclass
class Clients:
    """Two clients, each with a file of its own, that verify the server and connect without a pause."""

    server: Server
    password: str
    files: list[Path]
    failures: list[str] = field(default_factory=list)
    connected: int = 0

    def ask(self, file: Path) -> None:
        self.server.sql(
            "SELECT 1",
            "--host=127.0.0.1",
            f"--port={self.server.port}",
            "--protocol=tcp",
            f"--ssl-ca={file}",
            "--ssl-verify-server-cert",
            user="openmrs",
            password=self.password,
        )

    def trusts(self, file: Path) -> bool:
        """Ask once; anything but a matter of trust is an error."""
        try:
            self.ask(file)
        except AssertionError as exc:
            assert "ERROR 2026" in str(exc), exc
            return False
        return True

    def __enter__(self) -> Clients:
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(file,)) for file in self.files]
        for thread in self._threads:
            thread.start()
        return self

    def _work(self, file: Path) -> None:
        while not self._over.is_set():
            try:
                self.ask(file)
                self.connected += 1
            except AssertionError as exc:
                self.failures.append(f"{file}: {exc}")
            time.sleep(0.02)

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


@dataclass
class Platform:
    """The vault, the server, an application with a file of its own, and what the playbooks do with them."""

    azure: Running
    vault: CutVault
    server: Server
    application: Path
    kept: tuple[str, ...] = ()  # files that the kubelet does not bring

    def rotate(self, step: str, *only: str, check: bool = False) -> dict[str, Any]:
        options = RotationOptions(vault_id=vault_id(self.azure), step=step, only=only, check=check)
        return RotationRunner(self.vault, options).run(CATALOGUE, expand(CATALOGUE))

    def make(self) -> dict[str, Any]:
        time.sleep(1 - time.time() % 1)  # a server's certificates of one second cannot be told apart by their ends
        return Runner(self.vault, VaultOptions(vault_id=vault_id(self.azure))).run(expand(CATALOGUE))

    def phase(self, name: str = CA) -> str:
        return str(self.rotate("report")["rotations"][name]["phase"])

    def value(self, name: str) -> str:
        return self.vault.get(name) or ""

    def deliver(self, *names: str) -> None:
        """Bring files as the kubelet does, each of them whole."""
        tls, ca = self.server.folder / "tls", self.value(CA_NAME)
        files = {"tls.crt": (tls, self.value(LEAF_NAME)), "tls.key": (tls, self.value(f"{LEAF}-key"))}
        files |= {"ca.crt": (tls, ca), "application.crt": (self.application, ca)}
        for name, (folder, text) in files.items():
            if (not names or name in names) and name not in self.kept:
                (folder / "new").write_text(text)
                (folder / "new").rename(folder / name)

    def files(self) -> list[Path]:
        return [self.server.folder / "tls" / "ca.crt", self.application / "application.crt"]

    def asked(self, name: str = "mariadb-0") -> list[Asked]:
        session = Session(LocalTransport(self.server), self.server.login(ME), where=f"Pod/mariadb/{name}")
        return [Asked(pod=Pod(namespace="mariadb", name=name), session=session)]

    def connections(self) -> Connections:
        return Connections({"_progress": None, **connection(self.azure)}, verbosity=0)

    def accounts(self) -> None:
        """Converge the account, and have a new certificate served, as the module mariadb_accounts does."""
        own = {"user": ME, "host": "localhost", "plugin": "unix_socket", "require": "none"}
        grants = [{"on": "*.*", "privileges": ["ALL"], "grant_option": True}]
        entries = [complete({"user": "openmrs"}), complete({**own, "grants": grants})]
        options = Options(left_alone=tuple(LEFT_ALONE), certificate_file=str(self.server.folder / "tls" / "tls.crt"))
        AccountsRunner(servers=self.asked).run(entries, {"openmrs@%": self.value(PASSWORD)}, options)

    def served(self) -> list[str]:
        """Prove the leaf, as the module mariadb_logins does."""
        certificate = Certificate(secret=LEAF_NAME, pem=self.value(LEAF_NAME))
        return list(LoginsRunner(servers=self.asked).run([], certificate=certificate)["proven"])

    def trusted(self, *, check: bool = False) -> list[str]:
        """Prove the authority with every client, as the module mariadb_trust does."""
        replaced = self.connections().replaced(secret(vault_id(self.azure), CA_NAME), CLOSING)
        proven = {CA_NAME}
        for file in self.files():
            claim = Trust(
                secret=CA_NAME,
                authorities=self.value(CA_NAME),
                refused=certificates.bundle(replaced) if replaced else "",
                file=str(file),
                host="127.0.0.1",
                port=self.server.port,
                user="openmrs",
                password=self.value(PASSWORD),
            )
            result = TrustRunner(servers=self.asked, check=check).run(claim)
            assert claim.password not in str(result)
            proven &= set(result["proven"])
        return sorted(proven)

    def site(self, steps: int | None = None) -> int:
        """Do what site.yml does about a rotation, or only the first steps of that; gives their number."""
        for number, _step in enumerate(self._site(), 1):
            if number == steps:
                return number
        return number

    def _site(self) -> Iterator[None]:
        moved = True
        while moved:
            self.make()
            yield
            for files in (("application.crt",), ("ca.crt",), ("tls.crt", "tls.key")):
                self.deliver(*files)
                yield
            self.accounts()
            yield
            proven = [OTHER, *self.served()]
            self.rotate("proven", *proven)
            yield
            trusted = self.trusted() if self.phase() != "closed" else []
            self.rotate("close", *proven, *trusted)
            yield
            moved = bool(self.rotate("proven", *trusted)["changed"])
            yield

    def issuer(self, name: str = LEAF_NAME, authority: str = "") -> bool:
        """Tell whether an authority, by default the first of the vault, signed a certificate of the vault."""
        facts = certificates.read_certificate(authority or self.value(CA_NAME), where="")
        return certificates.read_certificate(self.value(name), where="").issued_by(facts)

    def assert_over(self) -> None:
        """Expect one authority, which signed everything, and no other version that can be read."""
        assert self.value(CA_NAME).count("BEGIN CERTIFICATE") == 1
        assert certificates.key_matches(key_pem=self.value(f"{CA}-key"), certificate_pem=self.value(CA_NAME))
        for name in (CA, LEAF, OTHER):
            assert self.phase(name) == "closed"
            assert self.issuer(f"{name}-certificate")
            for part in ("key", "certificate"):
                versions = self.vault.versions(f"{name}-{part}")
                assert [version.enabled for version in versions].count(True) == 1
        assert self.make()["findings"] == []
        for file in self.files():
            assert file.read_text() == self.value(CA_NAME)


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serve(tmp_path_factory.mktemp("azure")) as found:
        yield found


@pytest.fixture(scope="module")
def started(rendered: Callable[[str], Documents], free_port: Callable[[], int]) -> Iterator[Server]:
    with running(rendered("production")["kubernetes"], free_port()) as found:
        yield found


@pytest.fixture
def platform(azure: Running, started: Server, tmp_path: Path) -> Platform:
    """Give a platform on which nothing is under way."""
    azure.control("POST", "/lab/reset")
    made = create_vault(azure)
    found = Platform(azure, CutVault(made._azure, vault_id(azure)), started, tmp_path)
    found.make()
    found.deliver()
    found.accounts()
    return found


@pytest.fixture
def clients(platform: Platform) -> Clients:
    """Give the clients of that platform."""
    return Clients(platform.server, platform.value(PASSWORD), platform.files())


def moments(*numbers: int, every: int = 10) -> list[Any]:
    """Some of the moments for every change of the code, all of them for `make soak`."""
    return [pytest.param(n, marks=[] if place % every == 1 else pytest.mark.soak) for place, n in enumerate(numbers)]


def assert_connected(clients: Clients) -> None:
    assert clients.connected > 5
    assert clients.failures == []


def test_the_authority_is_replaced_without_a_failed_connection(
    platform: Platform, clients: Clients, tmp_path: Path
) -> None:
    old, leaf = platform.value(CA_NAME), platform.value(LEAF_NAME)
    (tmp_path / "old.crt").write_text(old)
    with clients:
        predicted = platform.rotate("open", CA, check=True)
        assert platform.value(CA_NAME) == old, "check mode wrote"
        done = platform.rotate("open", f"{CA}-key")
        assert done["plan_digest"] == predicted["plan_digest"]
        new = certificates.bundle(platform.value(CA_NAME))
        assert platform.value(CA_NAME) == new + old
        platform.site()
    assert_connected(clients)
    platform.assert_over()
    assert platform.value(CA_NAME) == new
    assert platform.value(LEAF_NAME) != leaf
    assert not clients.trusts(tmp_path / "old.crt"), "the old authority is accepted"
    for name, text in {"tls.crt": leaf, "tls.key": before(platform, f"{LEAF}-key")}.items():
        (platform.server.folder / "tls" / name).write_text(text)
    platform.server.root("FLUSH SSL")
    assert clients.trusts(tmp_path / "old.crt")
    assert not any(clients.trusts(file) for file in platform.files()), "a certificate of the old one is accepted"


def before(platform: Platform, name: str) -> str:
    """Enable the version before the current one, as a person does, and read it."""
    current = platform.vault.read(name)
    (other,) = [version.id for version in platform.vault.versions(name) if current and version.id != current.version]
    platform.vault._call("PATCH", f"secrets/{name}/{other}", doing="enable", body={"attributes": {"enabled": True}})
    found = platform.vault.read(name, other)
    return found.value if found else ""


PASS, STEPS = 8, 24
"""Steps of a pass, and of all three."""


@pytest.mark.parametrize("steps", moments(*range(1, STEPS + 1)))
def test_cut_short_after_any_step_the_next_run_ends_it(platform: Platform, clients: Clients, steps: int) -> None:
    with clients:
        platform.rotate("open", CA)
        new = certificates.bundle(platform.value(CA_NAME))
        assert platform.site(steps) == steps, "there are fewer steps than that"
        over = platform.phase() == "closed"
        assert over == (steps >= STEPS - 1)
        assert over or not platform.rotate("open", CA)["plan"], "the second attempt made a third one"
        platform.site()
    assert_connected(clients)
    assert platform.value(CA_NAME) == new
    platform.assert_over()


WRITES = 27
"""To a vault, from the first to the last of a rotation."""


@pytest.mark.parametrize("writes", moments(*range(WRITES + 1)))
def test_killed_before_any_write_the_next_run_ends_it(platform: Platform, clients: Clients, writes: int) -> None:
    old = platform.value(CA_NAME)
    with clients:
        platform.vault.writes_left = writes
        try:
            platform.rotate("open", CA)
            platform.site()
        except Killed:
            assert writes < WRITES
        else:
            assert (writes, platform.vault.writes_left) == (WRITES, 0)
        platform.vault.writes_left = None
        platform.site()
    assert_connected(clients)
    assert (platform.value(CA_NAME) == old) == (writes == 0)
    platform.assert_over()


@pytest.mark.parametrize("steps", moments(*range(0, STEPS - 1, 2)))
def test_the_way_back(platform: Platform, clients: Clients, steps: int) -> None:
    old = platform.value(CA_NAME)
    with clients:
        platform.rotate("open", CA)
        if steps:
            platform.site(steps)
        platform.rotate("back", CA)
        assert not platform.rotate("back", CA)["plan"], "the second attempt goes forth again"
        platform.site()
    assert_connected(clients)
    assert platform.value(CA_NAME) == old
    assert platform.rotate("report")["rotations"][CA]["due"]
    platform.assert_over()


@pytest.mark.parametrize("steps", [0, PASS, 2 * PASS])
@pytest.mark.parametrize("writes", moments(*range(4), every=4))
def test_a_way_back_that_is_killed_is_gone_to_its_end(
    platform: Platform, clients: Clients, steps: int, writes: int
) -> None:
    old = platform.value(CA_NAME)
    with clients:
        platform.rotate("open", CA)
        if steps:
            platform.site(steps)
        new = certificates.bundle(platform.value(CA_NAME))
        platform.vault.writes_left = writes
        with pytest.raises(Killed):
            platform.rotate("back", CA)
            platform.site()
        platform.vault.writes_left = None
        platform.site()
    assert_connected(clients)
    assert platform.value(CA_NAME) == (old if writes else new)
    platform.assert_over()


@pytest.mark.parametrize("steps", moments(*range(0, STEPS, 4), every=3))
def test_what_it_signs_is_rotated_meanwhile(platform: Platform, clients: Clients, steps: int) -> None:
    with clients:
        platform.rotate("open", CA)
        if steps:
            platform.site(steps)
        platform.rotate("open", LEAF)
        platform.site()
    assert_connected(clients)
    platform.assert_over()


# -- what is not proven stays as it is


def test_it_does_not_sign_before_everybody_trusts_it(platform: Platform, clients: Clients) -> None:
    old = platform.value(CA_NAME)
    platform.rotate("open", CA)
    platform.kept = ("application.crt",)
    with clients:
        with pytest.raises(OutcomeError, match="its file holds other authorities"):
            platform.site()
        assert platform.trusted(check=True) == []
        assert platform.phase() == "open"
        assert platform.issuer(LEAF_NAME, old)
        platform.rotate("open", LEAF)
        platform.deliver()
        platform.accounts()
        assert platform.issuer(LEAF_NAME, old), "who does not trust it yet would be cut off"
        platform.kept = ()
        platform.site()
    assert_connected(clients)
    platform.assert_over()


def test_a_client_that_nobody_can_ask_proves_nothing(platform: Platform) -> None:
    pod = Pod(namespace="openmrs", name="openmrs-backend-1", untold="its pod is on a simulated node")
    claim = Trust(
        secret=CA_NAME,
        authorities=platform.value(CA_NAME),
        file=str(platform.files()[0]),
        host="127.0.0.1",
        port=platform.server.port,
        user="openmrs",
        password=platform.value(PASSWORD),
    )
    found: list[list[Asked] | None] = [[*platform.asked(), Asked(pod=pod, session=None)], [], None]
    for clients in found:
        result = TrustRunner(servers=functools.partial(copy.copy, clients), check=True).run(claim)
        assert result["proven"] == []
        assert "not_verifiable" in [finding["verdict"] for finding in result["findings"]]
    assert TrustRunner(servers=platform.asked).run(claim)["proven"] == [CA_NAME]


# -- sabotage: each proof turns red when what it proves is taken away


@pytest.mark.sabotage
@pytest.mark.parametrize("file", ["ca.crt", "application.crt"])
def test_an_old_authority_that_stays_in_a_file_is_noticed(platform: Platform, file: str) -> None:
    platform.rotate("open", CA)
    platform.site(2 * PASS)
    assert platform.phase() == "closing"
    platform.kept = (file,)
    with pytest.raises(OutcomeError, match="its file holds other authorities"):
        platform.site()
    assert platform.phase() == "closing"
    platform.kept = ()
    platform.site()
    platform.assert_over()


@pytest.mark.sabotage
def test_an_old_authority_that_stays_in_the_bundle_is_noticed(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.rotate("open", CA)
    platform.site(PASS)
    monkeypatch.setattr(rotation_runner, "bundle", lambda *pems: "".join(pems))
    with pytest.raises(OutcomeError, match="its file holds the old authority"):
        platform.site()
    assert platform.phase() == "closing"


@pytest.mark.sabotage
def test_what_is_not_issued_anew_is_noticed(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """First by the vault, which lets no authority go; then by the server, whatever the vault says."""
    old = platform.value(CA_NAME)
    platform.rotate("open", CA)
    with monkeypatch.context() as patch:
        patch.setattr(RotationRunner, "_signed", lambda *_: frozenset((LEAF, OTHER)))
        with pytest.raises(OutcomeError, match="by its file the server is not trusted"):
            platform.site()
    assert platform.phase() == "closing"
    assert platform.issuer(LEAF_NAME, old)
    platform.rotate("back", CA)
    platform.deliver()
    platform.site()
    platform.assert_over()


@pytest.mark.sabotage
def test_a_server_that_goes_on_with_the_old_one_is_noticed(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    platform.rotate("open", CA)
    monkeypatch.setattr(Session, "execute", lambda *_args, **_options: None)
    with pytest.raises(OutcomeError, match="serves another certificate"):
        platform.site()
    assert platform.phase() == "signing"


@pytest.mark.sabotage
def test_a_client_that_trusts_everybody_is_noticed(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    platform.rotate("open", CA)
    platform.site(2 * PASS)
    monkeypatch.setattr(Session, "try_trust", lambda *_args, **_options: True)
    with pytest.raises(OutcomeError, match="by the old authority the server is trusted"):
        platform.site()
    assert platform.phase() == "closing"


@pytest.mark.sabotage
def test_an_authority_that_signs_too_soon_cuts_clients_off(
    platform: Platform, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    def newest(self: Maker, wanted: Any) -> tuple[str, str]:
        values: Mapping[str, str] = {part: platform.value(f"{CA}-{part}") for part in ("key", "certificate")}
        return values["key"], values["certificate"]

    monkeypatch.setattr(Maker, "_issuer", newest)
    platform.rotate("open", CA)
    platform.make()
    platform.rotate("open", LEAF)
    platform.deliver("tls.crt", "tls.key")
    platform.accounts()
    assert not any(clients.trusts(file) for file in platform.files())
