"""A real MariaDB as the image runs it: the role's configuration, certificates, and a way to run SQL."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.errors import MariaDBError
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.session import Login
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.transport import Completed
from ansible_collections.audioprothese.platform.plugins.module_utils.vault import certificates

from tests.contract.conftest import Manifests, find
from tests.contract.debian import daemon
from tests.contract.scratch import scratch_folder

PASSWORDS = {"root-password": "Root.1", "openmrs-password": "It's \\ a-Canary.2", "monitor-password": "Monitor_3"}
PASSWORDS |= {"backup-password": "Backup.4", "audit-password": "Audit-5", "replication-password": "Replica_6"}
PASSWORDS |= {"archive-password": "Archive-7"}
ACCESS_DENIED = "ERROR 1045"


@dataclass
class Server:
    """A running server."""

    folder: Path
    port: int
    number: int = 0
    configuration: Path = Path("/nonexistent")
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        program, environment = daemon("mariadbd").program("mariadbd"), daemon("mariadbd").environment
        command = [program, f"--defaults-file={self.configuration}", *options_of(self.folder, self.port)]
        environment["MYSQL_GROUP_SUFFIX"] = f"-{self.number}"
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        await_server(self, self.process)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, if it runs."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(timeout=60)
            self.process = None

    @property
    def socket(self) -> Path:
        return self.folder / "socket"

    def sql(self, statement: str, *options: str, user: str = "root", password: str = "") -> str:
        """Run a statement; AssertionError with the server's answer when it refuses."""
        done = subprocess.run(
            [
                daemon("mariadbd").program("mariadb"),
                "--no-defaults",
                f"--user={user}",
                *options,
                "-BN",
                "-e",
                statement,
            ],
            env={**daemon("mariadbd").environment, "MYSQL_PWD": password},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def root(self, statement: str) -> str:
        """As root, who has a password once the accounts are as declared, unless it is this machine's root."""
        try:
            return self.sql(statement, f"--socket={self.socket}")
        except AssertionError as exc:
            if ACCESS_DENIED not in str(exc):
                raise
            return self.sql(statement, f"--socket={self.socket}", password=PASSWORDS["root-password"])

    def login(self, administrator: str) -> Login:
        """How the product becomes administrator."""
        password = self.folder / "passwords" / "root-password"
        return Login(administrator=administrator, socket=str(self.socket), password_file=str(password))

    def over_tcp(self, statement: str, user: str, *options: str) -> str:
        """As a client inside the cluster connects."""
        connection = ["--host=127.0.0.1", f"--port={self.port}", "--protocol=tcp", *options]
        return self.sql(statement, *connection, user=user, password=PASSWORDS[f"{user}-password"])

    def tls(self, *more: str) -> list[str]:
        return [f"--ssl-ca={self.folder / 'tls' / 'ca.crt'}", *more]


def localize(text: str, folder: Path) -> str:
    """The container's paths on this machine."""
    for theirs, ours in {
        "/run/mariadb-tls": "tls",
        "/run/secrets/mariadb": "passwords",
        "/var/lib/mysql": "data",
    }.items():
        text = text.replace(theirs, str(folder / ours))
    return text


def write_inputs(manifests: Manifests, folder: Path) -> Path:
    for part in ("tls", "passwords", "data"):
        (folder / part).mkdir()
    for name, password in PASSWORDS.items():
        (folder / "passwords" / name).write_text(password)
    write_certificates(folder, validity_days=1)
    settings = str(find(manifests, "ConfigMap", "mariadb-configuration")["data"]["platform.cnf"])
    file = folder / "platform.cnf"
    file.write_text(localize(settings, folder))
    return file


def write_certificates(folder: Path, *, validity_days: int) -> None:
    """An authority, a certificate and its key, as the role's Secret holds them."""
    now, key, authority_key = dt.datetime.now(dt.UTC), certificates.signing_key(), certificates.signing_key()
    authority = certificates.certificate_authority(
        key_pem=authority_key, common_name="ca", validity_days=validity_days, now=now
    )
    certificate = certificates.issue_certificate(
        key_pem=key,
        issuer_key_pem=authority_key,
        issuer_certificate_pem=authority,
        common_name="mariadb",
        dns_names=["mariadb.mariadb.svc", "127.0.0.1"],
        validity_days=validity_days,
        now=now,
    )
    for name, content in {"ca.crt": authority, "tls.crt": certificate, "tls.key": key}.items():
        (folder / "tls" / name).write_text(content)


def options_of(folder: Path, port: int) -> list[str]:
    """What the image and this machine add to the configuration; less memory than in production."""
    share = next(path for path in (daemon("mariadbd").root / "usr/share").glob("m*/english") if path.is_dir())
    plugins = daemon("mariadbd").root / "usr/lib/mysql/plugin"
    found = [f"--datadir={folder / 'data'}", f"--socket={folder / 'socket'}", f"--pid-file={folder / 'pid'}"]
    found += [f"--lc-messages-dir={share.parent}", "--bind-address=127.0.0.1", f"--port={port}", f"--tmpdir={folder}"]
    found += ["--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M", f"--plugin-dir={plugins}"]
    return [*found, "--user=root"] if os.geteuid() == 0 else found


@contextlib.contextmanager
def running(manifests: Manifests, port: int, number: int = 0) -> Iterator[Server]:
    """A server on an empty data directory, as pod `number` of the StatefulSet; gone afterwards."""
    with scratch_folder("mariadb-") as folder:
        server = Server(folder, port, number)
        try:
            server.configuration = write_inputs(manifests, server.folder)
            bootstrap(server.folder, options_of(server.folder, port), daemon("mariadbd").environment)
            server.start()
            yield server
        finally:
            server.stop(signal.SIGKILL)


def bootstrap(folder: Path, options: list[str], environment: dict[str, str]) -> None:
    """Make the system tables, as the image's entry point does on an empty directory."""
    shared = next((daemon("mariadbd").root / "usr/share").glob("m*/mysql_system_tables.sql")).parent
    scripts = (
        "mysql_system_tables.sql",
        "mysql_performance_tables.sql",
        "mysql_system_tables_data.sql",
        "fill_help_tables.sql",
    )
    statements = "CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\n"
    statements += "\n".join((shared / name).read_text(errors="replace") for name in scripts)
    done = subprocess.run(
        [daemon("mariadbd").program("mariadbd"), "--no-defaults", *options, "--bootstrap", "--skip-log-bin"],
        input=statements,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def await_server(server: Server, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        with contextlib.suppress(AssertionError):
            server.root("SELECT 1")
            return
        assert process.poll() is None, (server.folder / "log").read_text()[-3000:]
        time.sleep(0.1)
    raise AssertionError((server.folder / "log").read_text()[-3000:])


@dataclass
class LocalTransport:
    """Runs on this machine what the product runs inside of the server's container."""

    server: Server

    def run(self, command: Sequence[str], stdin: str, *, timeout: float) -> Completed:
        program = daemon("mariadbd").program("mariadb")
        environment = daemon("mariadbd").environment
        environment["PATH"] = f"{Path(program).parent}{os.pathsep}{environment['PATH']}"
        try:
            done = subprocess.run(
                list(command),
                input=stdin,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired as exc:
            raise MariaDBError(f"a command did not end within {timeout:.0f} s") from exc
        return Completed(status=done.returncode, stdout=done.stdout, stderr=done.stderr)
