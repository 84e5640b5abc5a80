"""The images: what describes them, and that each keeps the contract of the published one, run without Kubernetes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.lab.blob.testing import storage_account
from tests.lab.build.builder import tools
from tests.lab.images.apt import versions_to_install
from tests.lab.images.build import Builder, Built
from tests.lab.images.definitions import Image, ImageError, definitions, key, load
from tests.lab.images.tools import unusable
from tests.lab.tests.rootfs import Container, Rootfs, eventually, folder, unpack

ROOT_PASSWORD = "It's \\ root"
USERS = r"""
create() {
  local password
  password=$(docker_sql_escape_string_literal "a'b\\c")
  docker_process_sql --database=mysql <<SQL
SET SESSION sql_log_bin = 0;
CREATE USER 'app'@'%' IDENTIFIED BY '$password';
GRANT ALL ON \`openmrs\`.* TO 'app'@'%';
SQL
}
create
"""

# --- descriptions


def described(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "image.yml").write_text(text)
    (folder / "Containerfile").write_text("FROM scratch\n")
    return folder


GOOD = "name: docker.io/library/thing\nvariants: [{tag: '1', suite: bookworm}]\npackages: [nginx]\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "colour: red\n", "unknown colour"),
        (GOOD.replace("docker.io/library/thing", "thing"), "name has to be registry and repository"),
        (GOOD.replace("bookworm", "jessie"), "a suite, one of bookworm, trixie"),
        ("name: docker.io/library/thing\n", "variants is empty"),
        (GOOD + "inputs: [no/such/file]\n", "does not exist"),
        (GOOD + "programs: {/bin/thing: thing}\n", "thing of programs is not in"),
    ],
)
def test_a_wrong_description_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=message):
        load(described(tmp_path / "thing", text))


def test_two_folders_cannot_describe_one_image(tmp_path: Path) -> None:
    for name in ("one", "two"):
        described(tmp_path / name, GOOD)
    with pytest.raises(ImageError, match=r"described twice: docker.io/library/thing:1"):
        definitions([tmp_path])


def test_every_input_is_part_of_the_key(tmp_path: Path) -> None:
    (image,) = load(described(tmp_path / "thing", GOOD))
    (tmp_path / "thing" / "start.sh").write_text("one")
    base = {"base": "bookworm-1", "versions": ["nginx=1"]}
    keys = {
        key(image, **base),  # type: ignore[arg-type]
        key(image, base="bookworm-2", versions=["nginx=1"]),
        key(image, base="bookworm-1", versions=["nginx=2"]),
        key(replace(image, arguments={"KEY": "x"}), **base),  # type: ignore[arg-type]
        key(replace(image, tag="2"), **base),  # type: ignore[arg-type]
    }
    (tmp_path / "thing" / "start.sh").write_text("two")
    keys.add(key(image, **base))  # type: ignore[arg-type]
    (tmp_path / "thing" / "start.sh").chmod(0o755)
    keys.add(key(image, **base))  # type: ignore[arg-type]
    assert len(keys) == 7
    assert key(image, **base) in keys  # type: ignore[arg-type]


def test_a_program_is_part_of_the_key_as_it_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (image,) = load(described(tmp_path / "thing", GOOD + "programs: {/bin/promtool: promtool}\n"))
    before = key(image, base="bookworm-1", versions=[])
    newer = {**tools(), "promtool": replace(tools()["promtool"], version="99.0.0")}
    monkeypatch.setattr("tests.lab.images.definitions.tools", lambda: newer)
    assert key(image, base="bookworm-1", versions=[]) != before
    assert key(replace(image, programs={}), base="bookworm-1", versions=[]) != before


def test_versions_are_those_that_apt_would_install() -> None:
    simulated = "Inst b (2:1.0-1 Debian:12 [amd64])\nInst a [1.0] (1.1+deb12u1 Debian-Security [amd64])\nConf a (1.1)\n"
    assert versions_to_install(simulated) == ["a=1.1+deb12u1", "b=2:1.0-1"]


# --- running them

needs_root = pytest.mark.skipif(bool(unusable()), reason=unusable() or "images can be built here")


def image(name: str) -> Image:
    return next(found for found in definitions() if name in found.reference)


@contextmanager
def unpacked(name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Built, Rootfs]]:
    (built,) = Builder().build([image(name)])
    yield built, unpack(built, tmp_path_factory.mktemp("image") / "rootfs")


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rootfs]:
    with unpacked("mariadb:10.11", tmp_path_factory) as (_, rootfs):
        yield rootfs


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """Mount the root password as a Secret is: a file that the container may read."""
    path = tmp_path / "secrets"
    path.mkdir()
    (path / "root").write_text(ROOT_PASSWORD + "\n")
    for each in (tmp_path, path):
        each.chmod(0o755)
    return path


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    path = tmp_path / "initdb"
    path.mkdir()
    (path / "users.sh").write_text(USERS)
    path.chmod(0o755)
    return path


def server(rootfs: Rootfs, data: Path, secrets: Path, scripts: Path, **environment: str) -> Container:
    return Container(
        rootfs,
        environment={
            "MARIADB_ROOT_PASSWORD_FILE": "/secrets/root",
            "MARIADB_ROOT_HOST": "localhost",
            "MARIADB_DATABASE": "openmrs",
            "MARIADB_AUTO_UPGRADE": "1",
            **environment,
        },
        volumes=(
            f"{data}:/var/lib/mysql",
            "tmpfs:/run/mysqld",
            "tmpfs:/tmp",
            f"{secrets}:/secrets",
            f"{scripts}:/docker-entrypoint-initdb.d",
        ),
    )


def healthy(container: Container) -> bool:
    return container.run("healthcheck.sh", "--connect", "--innodb_initialized").returncode == 0


def asks(container: Container, sql: str, *, user: str = "root", password: str = ROOT_PASSWORD) -> str:
    done = container.run(
        "mariadb", f"--user={user}", f"--password={password}", "--batch", "--skip-column-names", input=sql
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def stop(container: Container, within: float = 60) -> None:
    container.signal(signal.SIGTERM)
    assert container.wait(within) == 0, container.output[-2000:]
    assert "Shutdown complete" in container.output


@needs_root
def test_mariadb_starts_empty_restarts_and_stops(mariadb: Rootfs, secrets: Path, scripts: Path) -> None:
    with folder() as data:
        with server(mariadb, data, secrets, scripts) as first:
            eventually(lambda: healthy(first), first)
            accounts = asks(first, "SELECT user, host FROM mysql.global_priv WHERE user <> 'mariadb.sys' ORDER BY 1, 2")
            assert accounts.split("\n") == [
                "app\t%",
                "healthcheck\t127.0.0.1",
                "healthcheck\t::1",
                "healthcheck\tlocalhost",
                "root\tlocalhost",
            ]
            asks(
                first,
                "CREATE TABLE openmrs.row (id INT); INSERT INTO openmrs.row VALUES (7)",
                user="app",
                password="a'b\\c",
            )
            assert ROOT_PASSWORD not in first.output
            stop(first)
        with server(mariadb, data, secrets, scripts) as second:
            eventually(lambda: healthy(second), second)
            assert asks(second, "SELECT id FROM openmrs.row") == "7"
            assert "first start" not in second.output
            assert second.run("healthcheck.sh", "--mariadbupgrade").returncode == 0
            os.kill(second.pid, signal.SIGKILL)
            assert second.wait(30) != 0
        with server(mariadb, data, secrets, scripts) as recovered:
            eventually(lambda: healthy(recovered), recovered)
            assert asks(recovered, "SELECT id FROM openmrs.row") == "7"


@needs_root
@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"MARIADB_ROOT_PASSWORD_FILE": ""}, "no way for root to log in is given"),
        ({"MARIADB_ROOT_PASSWORD": "x"}, "MARIADB_ROOT_PASSWORD and MARIADB_ROOT_PASSWORD_FILE are both set"),
        ({"MARIADB_ROOT_PASSWORD_FILE": "/secrets/none"}, "names /secrets/none, which cannot be read"),
        ({"MARIADB_USER": "root", "MARIADB_PASSWORD": "x"}, "MARIADB_USER cannot be root"),
        ({"MARIADB_USER": "app"}, "MARIADB_USER has no password"),
        ({"MARIADB_MASTER_HOST": "primary"}, "replication needs MARIADB_REPLICATION_USER"),
    ],
)
def test_mariadb_refuses_wrong_variables_before_it_writes(
    environment: dict[str, str], message: str, mariadb: Rootfs, secrets: Path, scripts: Path
) -> None:
    with folder() as data, server(mariadb, data, secrets, scripts, **environment) as container:
        assert container.wait(60) == 1
        assert message in container.output
        assert not list(data.iterdir())


@needs_root
def test_mariadb_refuses_a_wrong_setting(mariadb: Rootfs, secrets: Path, scripts: Path) -> None:
    with folder() as data:
        wrong = replace(
            server(mariadb, data, secrets, scripts), command=["docker-entrypoint.sh", "mariadbd", "--no-such"]
        )
        with wrong as container:
            assert container.wait(60) == 1
            assert "the server refuses its settings" in container.output
            assert "--no-such" in container.output


@needs_root
def test_mariadb_is_upgraded_with_its_data(
    mariadb: Rootfs, secrets: Path, scripts: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with unpacked("mariadb:11.8", tmp_path_factory) as (_, newer), folder() as data:
        with server(mariadb, data, secrets, scripts) as old:
            eventually(lambda: healthy(old), old)
            asks(old, "CREATE TABLE openmrs.row (id INT); INSERT INTO openmrs.row VALUES (7)")
            stop(old)
        with server(newer, data, secrets, scripts) as new:
            eventually(lambda: healthy(new), new, 240)
            assert asks(new, "SELECT id FROM openmrs.row") == "7"
            assert asks(new, "SELECT version()").startswith("11.8.")
            assert new.run("healthcheck.sh", "--mariadbupgrade").returncode == 0
            assert list(data.glob("system_mysql_backup_10.11.*.sql.zst"))
            stop(new)


@needs_root
def test_mariadb_starts_on_a_restored_data_directory(mariadb: Rootfs, secrets: Path, scripts: Path) -> None:
    """A backup has no account's file and no note of its version, and its root may have the password of another day."""
    with folder() as data:
        with server(mariadb, data, secrets, scripts) as first:
            eventually(lambda: healthy(first), first)
            asks(first, "CREATE TABLE openmrs.row (id INT); INSERT INTO openmrs.row VALUES (7)")
            stop(first)
        (data / ".my-healthcheck.cnf").unlink()
        for name in ("mariadb_upgrade_info", "mysql_upgrade_info"):
            (data / name).unlink(missing_ok=True)
        (secrets / "root").write_text("Of-today.1\n")
        with server(mariadb, data, secrets, scripts) as restored:
            eventually(lambda: healthy(restored), restored)
            assert asks(restored, "SELECT id FROM openmrs.row") == "7"
            stop(restored)


@needs_root
@pytest.mark.sabotage
def test_an_entry_point_that_logs_in_again_does_not_start_on_it(
    mariadb: Rootfs, secrets: Path, scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, patient = mariadb.path / "usr/local/bin/docker-entrypoint.sh", eventually
    text, told = program.read_text(), "create_healthcheck_user --dont-use-mysql-root-password"
    assert told in text
    monkeypatch.setitem(globals(), "eventually", lambda ready, container: patient(ready, container, 40))
    first = "docker_process_sql --dont-use-mysql-root-password --database=mysql <<< 'FLUSH PRIVILEGES'"
    program.write_text(text.replace(told, f"{first}\n  create_healthcheck_user"))
    try:
        with pytest.raises(AssertionError):
            test_mariadb_starts_on_a_restored_data_directory(mariadb, secrets, scripts)
    finally:
        program.write_text(text)


@needs_root
def test_nothing_of_this_machine_is_in_an_image(mariadb: Rootfs) -> None:
    etc = mariadb.path / "etc"
    left = ("apt/sources.list", "apt/apt.conf", "resolv.conf", "hostname")
    assert [name for name in left if (etc / name).exists() and (etc / name).stat().st_size] == []
    assert not list((mariadb.path / "var/lib/apt/lists").glob("*_*"))
    assert not list((mariadb.path / "var/cache/apt/archives").glob("*.deb"))
    assert list((mariadb.path / "usr/share/doc").glob("*/copyright"))
    assert not (mariadb.path / "usr/share/man/man1").exists()


@needs_root
@pytest.mark.parametrize(
    ("name", "command", "user", "says"),
    [
        ("busybox", ["busybox", "sh", "-c", "id -u; nslookup -h; wget --help"], 65534, "Usage: wget"),
        ("openmrs-reference-application-3-gateway", ["nginx", "-v"], 101, "nginx version"),
    ],
)
def test_the_others_run_as_their_user(
    name: str, command: list[str], user: int, says: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with (
        unpacked(name, tmp_path_factory) as (_, rootfs),
        Container(rootfs, command=command, volumes=("tmpfs:/tmp",), user=user, group=user) as container,
    ):
        container.wait(60)
        assert says in container.output, container.output


@dataclass(frozen=True, kw_only=True)
class Contract:
    """What a pod may count on: the Dockerfile of each project at the version of its tag."""

    entry_point: list[str]
    command: list[str] = field(default_factory=list)
    user: str = "nobody"
    folder: str = "/"
    ports: tuple[int, ...]
    version: str = "--version"
    # Nothing where it needs a cluster to start.
    answers: dict[str, str] = field(default_factory=dict)
    further: tuple[str, ...] = ()


MONITORING = {
    # https://github.com/prometheus/prometheus/blob/v3.16.0/Dockerfile
    "prometheus/prometheus": Contract(
        entry_point=["/bin/prometheus"],
        command=["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"],
        folder="/prometheus",
        ports=(9090,),
        answers={"-/ready": "Ready", "api/v1/targets": "http://localhost:9090/metrics"},
    ),
    # https://github.com/prometheus/alertmanager/blob/v0.34.2/Dockerfile
    "prometheus/alertmanager": Contract(
        entry_point=["/bin/alertmanager"],
        command=["--config.file=/etc/alertmanager/alertmanager.yml", "--storage.path=/alertmanager"],
        folder="/alertmanager",
        ports=(9093,),
        answers={"-/ready": "OK", "api/v2/status": "nobody"},
        # The address that it would tell its peers is one of a pod.
        further=("--cluster.listen-address=",),
    ),
    # https://github.com/prometheus/blackbox_exporter/blob/v0.28.0/Dockerfile
    "prometheus/blackbox-exporter": Contract(
        entry_point=["/bin/blackbox_exporter"],
        command=["--config.file=/etc/blackbox_exporter/config.yml"],
        user="",
        ports=(9115,),
        answers={"-/healthy": "Healthy", "probe?module=http_2xx&target=127.0.0.1:9115/metrics": "probe_success 1"},
    ),
    # https://github.com/prometheus/node_exporter/blob/v1.12.1/Dockerfile
    "prometheus/node-exporter": Contract(
        entry_point=["/bin/node_exporter"], ports=(9100,), answers={"metrics": "node_filesystem_avail_bytes"}
    ),
    # https://github.com/kubernetes/kube-state-metrics/blob/v2.20.0/Dockerfile
    "kube-state-metrics/kube-state-metrics": Contract(
        entry_point=["/kube-state-metrics", "--port=8080", "--telemetry-port=8081"],
        ports=(8080, 8081),
        version="version",
    ),
    # https://github.com/prometheus/mysqld_exporter/blob/v0.19.0/Dockerfile
    "prom/mysqld-exporter": Contract(entry_point=["/bin/mysqld_exporter"], ports=(9104,)),
    # https://github.com/oauth2-proxy/oauth2-proxy/blob/v7.15.6/Dockerfile
    "oauth2-proxy/oauth2-proxy": Contract(entry_point=["/bin/oauth2-proxy"], user="65532:65532", ports=()),
    # https://github.com/nginx/nginx-prometheus-exporter/blob/v1.5.1/build/Dockerfile
    "nginx/nginx-prometheus-exporter": Contract(
        entry_point=["/usr/bin/nginx-prometheus-exporter"], user="1001:1001", ports=()
    ),
    # https://github.com/grafana/loki/blob/v3.7.8/cmd/loki/Dockerfile
    "grafana/loki": Contract(
        entry_point=["/usr/bin/loki"],
        command=["-config.file=/etc/loki/local-config.yaml"],
        user="10001",
        ports=(3100,),
        version="-version",
    ),
    # https://github.com/open-telemetry/opentelemetry-collector-releases/blob/v0.149.0/distributions/otelcol-k8s/Dockerfile
    "otel/opentelemetry-collector-k8s": Contract(
        entry_point=["/otelcol-k8s"], user="10001:10001", ports=(4317, 4318, 6831, 9411, 14250, 14268, 55679)
    ),
}


def keeps(contract: Contract, rootfs: Rootfs, version: str) -> None:
    """Hold an image against its contract: what it says of itself, and what starts as 65534 on a read-only root."""
    config = rootfs.config
    assert config["Entrypoint"] == contract.entry_point
    assert config.get("Cmd", []) == contract.command
    assert config.get("User", "") == contract.user
    assert config.get("WorkingDir", "/") == contract.folder
    assert set(config.get("ExposedPorts", {})) == {f"{port}/tcp" for port in contract.ports}
    assert "nobody:x:65534:65534:" in (rootfs.path / "etc/passwd").read_text()
    assert (rootfs.path / "LICENSE").stat().st_size
    data = (rootfs.path / contract.folder[1:]).stat() if contract.folder != "/" else None
    assert not data or (data.st_uid, data.st_gid) == (65534, 65534)
    nobody = {"user": 65534, "group": 65534}
    ask = [contract.entry_point[0], contract.version]
    with Container(rootfs, command=ask, **nobody) as asked:  # type: ignore[arg-type]
        assert asked.wait(30) == 0
        assert re.search(rf"\sv?{re.escape(version)}\s", asked.output), asked.output
    if not contract.answers:
        return
    volumes = (f"tmpfs:{contract.folder}",) if data else ()
    command = [*rootfs.command, *contract.further]
    with Container(rootfs, command=command, volumes=volumes, **nobody) as container:  # type: ignore[arg-type]
        for path, says in contract.answers.items():
            url = f"http://127.0.0.1:{contract.ports[0]}/{path}"
            eventually(lambda url=url, says=says: says in container.asked(url), container, 60)  # type: ignore[misc]
        container.signal(signal.SIGTERM)
        assert container.wait(30) in {0, 143}, container.output[-2000:]


@needs_root
@pytest.mark.parametrize("name", MONITORING)
def test_an_image_of_monitoring_keeps_its_contract(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    with unpacked(f"{name}:", tmp_path_factory) as (built, rootfs):
        keeps(MONITORING[name], rootfs, built.image.tag.removeprefix("v"))


@needs_root
@pytest.mark.sabotage
@pytest.mark.parametrize(
    ("lost", "seen"),
    [("default configuration", "Error loading config"), ("user", "root"), ("version", "version=3.16.0|version 3.16.0")],
)
def test_an_image_that_lost_a_part_of_its_contract_is_noticed(
    lost: str, seen: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with unpacked("prometheus/prometheus:", tmp_path_factory) as (_, rootfs):
        if lost == "default configuration":
            (rootfs.path / "etc/prometheus/prometheus.yml").unlink()
        config = {**rootfs.config, "User": "root" if lost == "user" else "nobody"}
        with pytest.raises(AssertionError):
            keeps(
                MONITORING["prometheus/prometheus"],
                replace(rootfs, config=config),
                "3.16.1" if lost == "version" else "3.16.0",
            )


@needs_root
def test_the_backup_image_has_its_programs_and_reaches_an_archive(tmp_path_factory: pytest.TempPathFactory) -> None:
    with (
        unpacked("audioprothese/mariadb-backup:10.11", tmp_path_factory) as (_, rootfs),
        storage_account(tmp_path_factory.mktemp("storage")) as storage,
    ):
        shutil.copy(storage.azure.ca_file, rootfs.path / "ca.crt")
        (rootfs.path / "ca.crt").chmod(0o644)
        settings = storage.azure.settings
        environment = {
            **rootfs.environment,
            "ARCHIVE_STORAGE": storage.container("archive"),
            "ARCHIVE_KEY": "https://nobody.vault.azure.net/keys/none",
            "ARCHIVE_OTHER_CLOUD": "1",
            "AZURE_AUTHORITY_HOST": settings.base_url,
            "AZURE_TENANT_ID": settings.tenant_id,
            "AZURE_CLIENT_ID": settings.client_id,
            "AZURE_CLIENT_SECRET": settings.client_secret,
            "REQUESTS_CA_BUNDLE": "/ca.crt",
        }

        inside = [
            "chroot",
            "--userspec=999:999",
            str(rootfs.path),
            *rootfs.command,
            "list",
        ]  # on this machine's loopback
        done = subprocess.run(inside, env=environment, capture_output=True, text=True, check=False, timeout=120)
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout) == {"ranges": [], "gaps": [], "bytes": 0}
        programs = "mariadbd mariadb mariadb-backup mariadb-binlog"
        asked = f"for program in {programs}; do $program --version; done; command -v mbstream"
        with Container(rootfs, command=["sh", "-c", asked], volumes=("tmpfs:/tmp",)) as container:
            assert container.wait(60) == 0, container.output
            assert container.output.count("10.11.") >= 3, container.output


@needs_root
@pytest.mark.sabotage
@pytest.mark.parametrize(
    "broken",
    [
        ("create_healthcheck_user\n  docker_process_init_files", "docker_process_init_files"),
        ('docker_process_init_files "$INIT_FOLDER"/*', ":"),
        ('value=$(< "${!file}")', "value=wrong"),
    ],
    ids=["no account for the health check", "no scripts of the first start", "another password than the file's"],
)
def test_without_a_part_of_the_entry_point_its_proof_turns_red(
    broken: tuple[str, str], mariadb: Rootfs, secrets: Path, scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = mariadb.path / "usr/local/bin/docker-entrypoint.sh"
    text, patient = program.read_text(), eventually
    assert broken[0] in text
    monkeypatch.setitem(globals(), "eventually", lambda ready, container: patient(ready, container, 40))
    program.write_text(text.replace(*broken))
    try:
        with pytest.raises(AssertionError):
            test_mariadb_starts_empty_restarts_and_stops(mariadb, secrets, scripts)
    finally:
        program.write_text(text)
