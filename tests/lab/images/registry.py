"""The registry daemon of a lab: it plays the published registries and the production registry, each below a prefix.

`docker.io/library/mariadb` is its repository `docker.io/library/mariadb`, filled with what the lab built. The
repositories below `NAME.azurecr.io` are filled by importImage of the simulated Azure and by nothing else.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable
from typing import Any

import httpx
import yaml

from tests.lab.build import builder
from tests.lab.control.home import Home, write_private
from tests.lab.control.process import Daemon
from tests.lab.images.build import Built
from tests.lab.images.hosts import play
from tests.lab.images.tools import Tools

__all__ = ["Registry"]

START_SECONDS = 30
Say = Callable[[str], None]


class Registry:
    """The registry of one lab, running or not."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.folder = home.path / "registry"
        self.url = f"http://127.0.0.1:{home.port('registry')}"

    @property
    def daemon(self) -> Daemon:
        """The process; its storage is below the lab's folder."""
        configuration = self.folder / "config.yml"
        return Daemon(
            name="registry",
            command=[str(builder.tools()["registry"].binary), "serve", str(configuration)],
            folder=self.home.path,
            environment={"OTEL_TRACES_EXPORTER": "none", "GOMAXPROCS": "2"},
            inputs=(configuration,),
        )

    @property
    def wanted(self) -> bool:
        """Whether this lab ever served images."""
        return (self.folder / "config.yml").exists()

    @property
    def published(self) -> dict[str, str]:
        """The digest of each image that the lab built and serves, by its reference."""
        path = self.home.path / "images.json"
        known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        return known

    def start(self) -> bool:
        """Start it unless it runs, and wait until it answers; True when it was started.

        Raises:
            LabError: it does not come up.

        """
        self.folder.mkdir(parents=True, exist_ok=True)
        wanted = yaml.safe_dump(self._configuration(), sort_keys=False)
        if not self.wanted or (self.folder / "config.yml").read_text() != wanted:
            write_private(self.folder / "config.yml", wanted)
        daemon = self.daemon
        started = daemon.start()
        daemon.await_ready(self.problem, START_SECONDS, name="the registry")
        return started

    def problem(self) -> str:
        """Return why it cannot be used; empty when it answers."""
        if self.daemon.pid() is None:
            return f"not running; see {self.daemon.log}"
        try:
            answer = httpx.get(f"{self.url}/v2/", timeout=5, trust_env=False)
        except httpx.HTTPError as exc:
            return f"no answer ({type(exc).__name__})"
        return "" if answer.is_success else f"{answer.status_code}: {answer.text[:200]}"

    def publish(self, images: Iterable[Built], *, say: Say) -> None:
        """Serve images under the names they are published by elsewhere.

        Raises:
            ImageError: an image cannot be copied.

        """
        for built in images:
            self._push(built, say)

    def _push(self, built: Built, say: Say) -> None:
        reference, digest = built.image.reference, built.digest
        if not (self.published.get(reference) == digest and self._has(built)):
            tools = Tools(self.folder / "tools", say)
            tools.prepare()
            target = f"docker://{self.url.removeprefix('http://')}/{reference}"
            options = ["--dest-tls-verify=false", "--preserve-digests", "--quiet"]
            source = f"oci:{built.folder}:latest"
            tools.skopeo("copy", *options, source, target, what=f"{reference}: copying into the registry")
            say(f"{reference}: served as {digest[:19]}…")
        play(self.home.path, self.url, reference.partition("/")[0])
        # One at a time: what an interruption leaves out is copied by the next run.
        write_private(
            self.home.path / "images.json",
            json.dumps({**self.published, reference: digest}, indent=2, sort_keys=True) + "\n",
        )

    def _has(self, built: Built) -> bool:
        answer = httpx.head(
            f"{self.url}/v2/{built.image.name}/manifests/{built.image.tag}",
            headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
            trust_env=False,
        )
        return answer.is_success and answer.headers.get("Docker-Content-Digest") == built.digest

    def _configuration(self) -> dict[str, Any]:
        """https://distribution.github.io/distribution/about/configuration/."""
        return {
            "version": "0.1",
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.folder / "data")},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": True, "age": "24h", "interval": "24h", "dryrun": False}},
            },
            "http": {"addr": f"127.0.0.1:{self.home.port('registry')}", "secret": self._secret()},
        }

    def _secret(self) -> str:
        path = self.folder / "secret"
        if not path.exists():
            write_private(path, secrets.token_hex(16))
        return path.read_text()
