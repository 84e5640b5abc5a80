"""The images of delivery from Git: Argo CD, its Redis and the lab's Git server, run without Kubernetes."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.lab.control.pki import Authority
from tests.lab.tests.rootfs import Container, Rootfs, eventually, folder
from tests.lab.tests.test_images import needs_root, unpacked

pytestmark = needs_root

PASSWORD = "A-secret.7"
REPOSITORY = "openmrs-gitops"
# Where Argo CD reaches the others, each by a cable of its own.
GIT, REDIS = "10.77.1.2", "10.77.2.2"
NOBODY = 65534
# A container runtime takes it from the image's /etc/passwd.
AT_HOME = {"HOME": "/home/argocd"}
CHART = {
    "Chart.yaml": "apiVersion: v2\nname: shop\nversion: 1.0.0\n",
    "values.yaml": "colour: red\n",
    "templates/shop.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\n"
    "data: {colour: {{ .Values.colour }}}\n",
}


@pytest.fixture(scope="module")
def argocd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rootfs]:
    with unpacked("argoproj/argocd:v3.6.1", tmp_path_factory) as (_, rootfs):
        yield rootfs


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rootfs]:
    with unpacked("docker/library/redis:8.10.1", tmp_path_factory) as (_, rootfs):
        yield rootfs


@pytest.fixture(scope="module")
def git_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rootfs]:
    with unpacked("audioprothese/lab-git:", tmp_path_factory) as (_, rootfs):
        yield rootfs


@dataclass(frozen=True)
class Trust:
    """An authority, and the folders with what it issued, as Secrets are mounted."""

    authority: Path
    git: Path
    repo_server: Path


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    authority = Authority(tmp_path / "authority", "test")
    folders = {}
    for name, hosts in {"git": ["127.0.0.1", GIT], "repo-server": ["127.0.0.1"]}.items():
        pair = authority.issue(name, common_name=name, hosts=hosts)
        folders[name] = mounted(tmp_path / name, {"tls.crt": pair.certificate, "tls.key": pair.key})
    return Trust(authority.pair.certificate, folders["git"], folders["repo-server"])


def mounted(target: Path, files: dict[str, Path]) -> Path:
    """Lay files out as the kubelet mounts a Secret: readable for the user of the container."""
    target.mkdir()
    for name, source in files.items():
        (target / name).write_bytes(source.read_bytes())
        (target / name).chmod(0o644)
    return target


@contextmanager
def broken(rootfs: Rootfs, path: str, old: str = "", new: str = "") -> Iterator[None]:
    """Take a file out of an image, or change a part of its text, for a while."""
    file = rootfs.path / path
    content, mode = file.read_bytes(), file.stat().st_mode
    assert old.encode() in content
    if old:
        file.write_bytes(content.replace(old.encode(), new.encode()))
    else:
        file.unlink()
    try:
        yield
    finally:
        file.write_bytes(content)
        file.chmod(mode)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up early on what is broken and never comes."""
    patient = eventually
    monkeypatch.setitem(globals(), "eventually", lambda ready, container, _: patient(ready, container, 5))


# --- Argo CD

ROLES = [
    "application-controller",
    "applicationset-controller",
    "cmp-server",
    "commit-server",
    "dex",
    "notifications",
    "repo-server",
    "server",
]


def runs(rootfs: Rootfs, *command: str) -> str:
    """Run a program as a pod does, on a read-only root; returns what it says."""
    ask = [*rootfs.config["Entrypoint"], *command]
    with Container(rootfs, command=ask, environment=AT_HOME, volumes=("tmpfs:/tmp",)) as container:
        assert container.wait(60) == 0, container.output
        return container.output


def test_argo_cd_keeps_the_contract_of_the_published_image(argocd: Rootfs) -> None:
    """https://github.com/argoproj/argo-cd/blob/v3.6.1/Dockerfile"""
    assert argocd.config["Entrypoint"] == ["/usr/bin/tini", "--"]
    assert "Cmd" not in argocd.config
    assert argocd.config["User"] == "999"
    assert argocd.config["WorkingDir"] == "/home/argocd"
    assert argocd.environment["USER"] == "argocd"
    assert argocd.environment["GRPC_ENABLE_TXT_SERVICE_CONFIG"] == "false"
    users = (argocd.path / "etc/passwd").read_text()
    assert "argocd:x:999:999::/home/argocd:" in users
    assert "root:x:0:0:" in users
    owners = {"home/argocd": (999, 0, 0o775), "app/config/gpg/keys": (999, 0, 0o700), "app/config/tls": (0, 0, 0o755)}
    for path, owner in owners.items():
        found = (argocd.path / path).stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == owner, path
    assert (argocd.path / "etc/ssh/ssh_known_hosts").readlink() == Path("/app/config/ssh/ssh_known_hosts")
    assert (argocd.path / "LICENSE").stat().st_size


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("argocd version --client --short", "argocd: v3.6.1+"),
        ("argocd-server version --short", "argocd-server: v3.6.1+"),
        *((f"argocd-{role} --help", f"Usage:\n  argocd-{role} [") for role in ROLES),
        ("argocd-k8s-auth --help", "Usage:\n  argocd-k8s-auth "),
        ("uid_entrypoint.sh argocd version --client --short", "argocd: v3.6.1+"),
        ("helm version --short", "v4.3.1"),
        ("git lfs version", "git-lfs/"),
        ("git config --system filter.lfs.required", "true"),
        ("ssh -V", "OpenSSH"),
        ("gpg-wrapper.sh --homedir /tmp --list-secret-keys 0123456789ABCDEF", "gpg: error reading key: No secret key"),
    ],
)
def test_a_program_of_argo_cd_runs_as_its_user(argocd: Rootfs, command: str, says: str) -> None:
    assert says in runs(argocd, *command.split())


@pytest.mark.soak
def test_there_is_a_version_to_upgrade_from(tmp_path_factory: pytest.TempPathFactory) -> None:
    with unpacked("argoproj/argocd:v3.6.0", tmp_path_factory) as (_, rootfs):
        assert "argocd: v3.6.0+" in runs(rootfs, "argocd", "version", "--client", "--short")


def test_a_commit_and_a_tag_without_a_signature_are_no_failure(argocd: Rootfs) -> None:
    identity = "-c user.name=test -c user.email=test@example.org"
    commands = (
        "git init --quiet /tmp/work && cd /tmp/work",
        f"git {identity} commit --quiet --allow-empty --message=one",
        f"git {identity} tag --annotate --message=one v1",
        "git-verify-wrapper.sh HEAD && git-verify-wrapper.sh v1",
    )
    assert "error" not in runs(argocd, "sh", "-c", " && ".join(commands))


@pytest.mark.sabotage
def test_a_name_that_is_no_role_is_noticed(argocd: Rootfs) -> None:
    """The program takes any other name for its command line."""
    (argocd.path / "usr/local/bin/argocd-no-role").symlink_to("argocd")
    said = runs(argocd, "argocd-no-role", "--help")
    (argocd.path / "usr/local/bin/argocd-no-role").unlink()
    assert "Usage:\n  argocd-no-role [" not in said


# --- Redis


def redis_server(rootfs: Rootfs, data: Path | None = None, *options: str) -> Container:
    # It works in its folder of data, as the image says and a kubelet does.
    command = [*rootfs.config["Entrypoint"], "--dir", "/data", f"--requirepass {PASSWORD}", *options]
    return Container(rootfs, command=command, volumes=(f"{data}:/data" if data else "tmpfs:/data",))


def ask_redis(container: Container, *command: str, password: str = PASSWORD) -> str:
    done = container.run("env", *([f"REDISCLI_AUTH={password}"] if password else []), "redis-cli", *command)
    return (done.stdout + done.stderr).strip()


def test_redis_keeps_the_contract_of_the_published_image(redis: Rootfs) -> None:
    """https://hub.docker.com/_/redis"""
    assert redis.command == ["docker-entrypoint.sh", "redis-server"]
    assert redis.config["WorkingDir"] == "/data"
    assert set(redis.config["Volumes"]) == {"/data"}
    assert set(redis.config["ExposedPorts"]) == {"6379/tcp"}
    assert "redis:x:999:1000::/data:" in (redis.path / "etc/passwd").read_text()


def asks_for_a_password_and_keeps_data(redis: Rootfs) -> None:
    with folder() as data:
        with redis_server(redis, data, "--appendonly", "yes") as container:
            eventually(lambda: ask_redis(container, "PING") == "PONG", container, 30)
            assert ask_redis(container, "SET", "key", "value") == "OK"
            assert "NOAUTH" in ask_redis(container, "GET", "key", password="")
            assert "WRONGPASS" in ask_redis(container, "GET", "key", password="other")
            container.signal(signal.SIGTERM)
            assert container.wait(30) == 0, container.output
        with redis_server(redis, data, "--appendonly", "yes") as again:
            eventually(lambda: ask_redis(again, "GET", "key") == "value", again, 30)


def test_redis_asks_for_a_password_and_keeps_data(redis: Rootfs) -> None:
    asks_for_a_password_and_keeps_data(redis)


@pytest.mark.sabotage
@pytest.mark.usefixtures("impatient")
def test_a_redis_that_loses_its_options_is_noticed(redis: Rootfs) -> None:
    entry_point = "usr/local/bin/docker-entrypoint.sh"
    with broken(redis, entry_point, 'redis-server "$@"', "redis-server"), pytest.raises(AssertionError):
        asks_for_a_password_and_keeps_data(redis)


def test_redis_started_by_root_becomes_its_user(redis: Rootfs) -> None:
    with folder(0) as data, replace(redis_server(redis, data), user=0, group=0) as container:
        eventually(lambda: ask_redis(container, "PING") == "PONG", container, 30)
        status = Path(f"/proc/{container.pid}/status").read_text()
        assert "\nUid:\t999\t999\t" in status
        assert "\nGid:\t1000\t1000\t" in status
        assert data.stat().st_uid == 999


# --- the Git server


def serves_git(
    rootfs: Rootfs, repositories: Path, trust: Trust, *volumes: str, repository: str = REPOSITORY
) -> Container:
    return Container(
        rootfs,
        environment={"REPOSITORY": repository},
        volumes=(f"{repositories}:/srv/git", f"{trust.git}:/tls", "tmpfs:/tmp", *volumes),
        user=NOBODY,
        group=NOBODY,
    )


def git(server: Container, trust: Trust | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this machine's git on the network of the server; without trust it has no authority to ask."""
    return subprocess.run(
        ["nsenter", f"--target={server.pid}", "--net", "git", *arguments],
        env={
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_SSL_CAINFO": str(trust.authority) if trust else "/dev/null",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def push(server: Container, files: dict[str, str], repository: str = REPOSITORY) -> str:
    """Write files into a repository from inside, as `kubectl exec` does; returns the commit."""
    written = "".join(
        f"mkdir -p \"$(dirname 'work/{path}')\" && cat > 'work/{path}' <<'END'\n{text}END\n"
        for path, text in files.items()
    )
    done = server.run(
        "sh",
        input=f"set -e\ncd /tmp\nrm -rf work\ngit clone --quiet /srv/git/{repository} work\n{written}cd work\n"
        "git add .\ngit -c user.name=test -c user.email=test@example.org commit --quiet --message=change\n"
        "git push --quiet origin HEAD\ngit rev-parse HEAD\n",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def listens(server: Container, trust: Trust, url: str) -> None:
    eventually(lambda: git(server, trust, "ls-remote", url).returncode == 0, server, 30)


def serves_for_reading(rootfs: Rootfs, trust: Trust, scratch: Path) -> None:
    url = f"https://127.0.0.1:8443/{REPOSITORY}"
    with folder(NOBODY) as repositories:
        with serves_git(rootfs, repositories, trust) as server:
            listens(server, trust, url)
            commit = push(server, {"folder/file": "content\n"})
            cloned = git(server, trust, "clone", "--quiet", url, str(scratch / "clone"))
            assert cloned.returncode == 0, cloned.stderr
            assert (scratch / "clone/folder/file").read_text() == "content\n"
            unknown = git(server, trust, "ls-remote", "https://127.0.0.1:8443/unknown")
            assert "not found" in unknown.stderr
            assert "certificate" in git(server, None, "ls-remote", url).stderr
            pushed = git(server, trust, "-C", str(scratch / "clone"), "push", "origin", "HEAD:refs/heads/other")
            assert "403" in pushed.stderr
            server.signal(signal.SIGTERM)
            assert server.wait(30) == 0, server.output
        with serves_git(rootfs, repositories, trust) as again:
            listens(again, trust, f"{url}.git")
            assert commit in git(again, trust, "ls-remote", f"{url}.git", "refs/heads/main").stdout


def test_the_git_server_serves_for_reading(git_server: Rootfs, trust: Trust, tmp_path: Path) -> None:
    serves_for_reading(git_server, trust, tmp_path)


@pytest.mark.sabotage
@pytest.mark.parametrize(
    "change",
    [
        ("etc/gitconfig", "receivepack = false", "receivepack = true"),
        ("etc/lighttpd/open.conf", '"/tls/tls.crt"', '"/tls/tls.key"'),
        ("usr/local/bin/git-server", "git init", "true"),
    ],
    ids=["anybody may push", "no certificate", "no repository"],
)
@pytest.mark.usefixtures("impatient")
def test_a_git_server_that_lost_a_part_is_noticed(
    git_server: Rootfs, trust: Trust, tmp_path: Path, change: tuple[str, str, str]
) -> None:
    with broken(git_server, *change), pytest.raises(AssertionError):
        serves_for_reading(git_server, trust, tmp_path)


def test_the_git_server_asks_for_an_account_where_a_file_names_some(
    git_server: Rootfs, trust: Trust, tmp_path: Path
) -> None:
    hashed = subprocess.run(["openssl", "passwd", "-apr1", PASSWORD], capture_output=True, text=True, check=True)
    (tmp_path / "accounts").write_text(f"argocd:{hashed.stdout}")
    accounts = mounted(tmp_path / "etc", {"htpasswd": tmp_path / "accounts"})
    url = f"127.0.0.1:8443/{REPOSITORY}"
    with (
        folder(NOBODY) as repositories,
        serves_git(git_server, repositories, trust, f"{accounts}:/etc/git-server") as server,
    ):
        listens(server, trust, f"https://argocd:{PASSWORD}@{url}")
        assert "could not read Username" in git(server, trust, "ls-remote", f"https://{url}").stderr
        other = PASSWORD[::-1]
        assert "Authentication failed" in git(server, trust, "ls-remote", f"https://argocd:{other}@{url}").stderr


# --- all of them


def connect(one: Container, other: Container, address: str) -> None:
    """Lay a cable between two containers; the other has the address, as pods have one."""
    network = address.rpartition(".")[0]
    name = f"to-{network.rpartition('.')[2]}"
    ends = ["name", name, "netns", str(one.pid), "type", "veth", "peer", "name", name, "netns", str(other.pid)]
    subprocess.run(["ip", "link", "add", *ends], check=True)
    for container, own in ((one, f"{network}.1"), (other, address)):
        inside = ["nsenter", f"--target={container.pid}", "--net", "ip"]
        subprocess.run([*inside, "address", "add", f"{own}/24", "dev", name], check=True)
        subprocess.run([*inside, "link", "set", name, "up"], check=True)


def message(**fields: str | bytes) -> bytes:
    """Encode strings and messages as protobuf does: `f4="text"` is field 4. Each is short."""
    encoded = {int(name[1:]): text.encode() if isinstance(text, str) else text for name, text in fields.items()}
    assert all(number < 16 and len(text) < 128 for number, text in encoded.items())
    return b"".join(bytes([number << 3 | 2, len(text)]) + text for number, text in encoded.items())


def ask_repo_server(container: Container, authority: Path, request: bytes) -> str:
    """Ask for manifests as the application controller does; returns the answer's bytes, with headers, as they are."""
    url = "https://127.0.0.1:8081/repository.RepoServerService/GenerateManifest"
    headers = ["--header", "Content-Type: application/grpc", "--header", "TE: trailers"]
    done = subprocess.run(
        ["nsenter", f"--target={container.pid}", "--net", "curl", "--silent", "--show-error", "--include", "--http2",
         "--cacert", str(authority), *headers, "--data-binary", "@-", url],
        input=b"\0" + len(request).to_bytes(4, "big") + request,
        capture_output=True,
        check=False,
        timeout=120,
    )  # fmt: skip
    return (done.stdout + done.stderr).decode(errors="replace")


@dataclass(frozen=True)
class Images:
    """Those that work together."""

    argocd: Rootfs
    redis: Rootfs
    git_server: Rootfs


@pytest.fixture
def images(argocd: Rootfs, redis: Rootfs, git_server: Rootfs) -> Images:
    return Images(argocd, redis, git_server)


def renders_what_git_holds(images: Images, trust: Trust, trusted: Path, password: str = PASSWORD) -> None:
    """Render a Helm chart of the Git server, whose authority is trusted, and find in Redis that it was rendered."""
    url = f"https://{GIT}:8443/{REPOSITORY}"
    volumes = (
        "tmpfs:/tmp",
        "tmpfs:/helm-working-dir",
        "tmpfs:/app/config/gpg/keys",
        f"{trusted}:/app/config/tls",
        f"{trust.repo_server}:/app/config/reposerver/tls",
    )
    helm = dict.fromkeys(("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"), "/helm-working-dir")
    with ExitStack() as stack:
        repositories = stack.enter_context(folder(NOBODY))
        repo_server = stack.enter_context(
            Container(
                images.argocd,
                command=[*images.argocd.config["Entrypoint"], "/usr/local/bin/argocd-repo-server"],
                environment={"REDIS_SERVER": f"{REDIS}:6379", "REDIS_PASSWORD": password, **AT_HOME, **helm},
                volumes=volumes,
            )
        )
        cache = stack.enter_context(redis_server(images.redis))
        source = stack.enter_context(serves_git(images.git_server, repositories, trust))
        connect(repo_server, cache, REDIS)
        connect(repo_server, source, GIT)
        listens(source, trust, f"https://127.0.0.1:8443/{REPOSITORY}")
        commit = push(source, {f"shop/{path}": text for path, text in CHART.items()})
        eventually(lambda: repo_server.asked("http://127.0.0.1:8084/healthz?full=true") == "ok\n", repo_server, 60)
        request = message(
            f1=message(f1=url),
            f2="main",
            f5="shop-of-paris",
            f8="shop",
            f10=message(f1=url, f2="shop", f4="main"),
            f14="1.35.4",
        )
        answer = ask_repo_server(repo_server, trust.authority, request)
        assert "grpc-status: 0" in answer, f"{answer}\n{repo_server.output[-4000:]}"
        for part in ('"kind":"ConfigMap"', '"name":"shop-of-paris"', '"colour":"red"', commit, "Helm"):
            assert part in answer
        assert "argocd_redis_request_total" in repo_server.asked("http://127.0.0.1:8084/metrics")
        assert f"git-refs|{url}" in ask_redis(cache, "KEYS", "*")
        assert "mfst|" in ask_redis(cache, "KEYS", "*")
        repo_server.signal(signal.SIGTERM)
        assert repo_server.wait(30) == 0, repo_server.output[-2000:]


def test_the_repo_server_renders_what_git_holds(images: Images, trust: Trust, tmp_path: Path) -> None:
    renders_what_git_holds(images, trust, mounted(tmp_path / "trusted", {GIT: trust.authority}))


@pytest.mark.sabotage
@pytest.mark.parametrize(
    ("lost", "seen"),
    [("helm", "executable file not found"), ("the authority", "certificate"), ("the password", "WRONGPASS")],
)
def test_a_repo_server_that_lost_a_part_is_noticed(
    images: Images, trust: Trust, tmp_path: Path, lost: str, seen: str
) -> None:
    trusted = mounted(tmp_path / "trusted", {} if lost == "the authority" else {GIT: trust.authority})
    with ExitStack() as stack:
        if lost == "helm":
            stack.enter_context(broken(images.argocd, "usr/local/bin/helm"))
        stack.enter_context(pytest.raises(AssertionError, match=seen))
        renders_what_git_holds(images, trust, trusted, "other" if lost == "the password" else PASSWORD)
