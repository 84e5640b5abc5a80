"""Build what is missing of the images, once, into the cache: each an OCI layout under a name made of its inputs.

A result is complete or absent (made aside, then renamed). A lock lets one process build at a time.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.build.builder import BuildError, built, cache_root
from tests.lab.images.apt import Apt
from tests.lab.images.definitions import CLONE, SUITES, Image, ImageError, key
from tests.lab.images.tools import Tools, run, unusable

__all__ = ["Builder", "Built"]

HERE = Path(__file__).parent
BASE = HERE / "base" / "Containerfile"
RELEASES = {"bookworm": "docker.io/library/debian:12-slim", "trixie": "docker.io/library/debian:13-slim"}
ESSENTIAL = ("?essential", "?priority(required)", "apt")
# What images count on and a release no longer takes for essential.
INCLUDED: dict[str, tuple[str, ...]] = {"bookworm": (), "trixie": ("passwd",)}
# Licences stay, as their terms ask.
WITHOUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/lintian/*")
WITH = ("/usr/share/doc/*/copyright",)
# Nothing of this machine stays: its sources, its settings, its name, its resolver.
FORGOTTEN = ("etc/apt/apt.conf.d/99mmdebstrap", "etc/apt/sources.list", "etc/resolv.conf", "etc/hostname")
# Published images of programs only run as nobody, by name.
NOBODY = {"passwd": "nobody:x:65534:65534:nobody:/home:/bin/false\n", "group": "nobody:x:65534:\n"}
KEPT_RESULTS = 2
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Built:
    """A built image: where its OCI layout is, and the digest of its manifest."""

    image: Image
    folder: Path

    @property
    def digest(self) -> str:
        """The digest by which it is pulled."""
        manifests = json.loads((self.folder / "index.json").read_text())["manifests"]
        return str(manifests[0]["digest"])


class Builder:
    """The images in the cache and what makes them."""

    def __init__(self, say: Say = print) -> None:
        self.folder = cache_root() / "images"
        self._say = say
        self._tools = Tools(self.folder / "tools", say)
        self._apt = {suite: Apt(suite, self.folder / "apt") for suite in SUITES}

    def build(self, images: Iterable[Image]) -> list[Built]:
        """Return the images, after building those that are not in the cache.

        Raises:
            ImageError: this machine cannot build, or an image does not build.

        """
        wanted = list(images)
        found = [self.cached(image) for image in wanted]
        if all(found):
            return [built for built in found if built]
        if reason := unusable():
            raise ImageError(reason)
        with self._lock():
            for suite in sorted({image.suite for image in wanted}):
                self._apt[suite].prepare()
                self._apt[suite].refresh()
            missing = [image for image in wanted if not self.cached(image)]
            if missing:
                self._tools.prepare()
                self._say(f"building {', '.join(image.reference for image in missing)} (kept in {self.folder})")
            for image in missing:
                self._build(image)
        return [self._built(image) for image in wanted]

    def cached(self, image: Image) -> Built | None:
        """Return an image when the cache holds it as it is described now, without asking anything of the network."""
        if not self._apt[image.suite].refreshed or not self._base(image.suite).is_dir():
            return None
        built = self._built(image)
        return built if built.folder.is_dir() else None

    def _built(self, image: Image) -> Built:
        base = self._base(image.suite)
        versions = self._apt[image.suite].versions(image.packages, status=base / "status")
        name = image.reference.rpartition("/")[2].replace(":", "-")
        return Built(
            image=image, folder=self.folder / "results" / f"{name}-{key(image, base=base.name, versions=versions)}"
        )

    def _build(self, image: Image) -> None:
        started = time.monotonic()
        base = self._ensure_base(image.suite)
        target = self._built(image).folder
        if target.is_dir():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".context-") as scratch:
            context = Path(scratch) / "context"
            shutil.copytree(image.folder, context, ignore=shutil.ignore_patterns("__pycache__", "image.yml", "*.md"))
            if (prepare := context / "prepare.py").exists():
                prepare.unlink()
                self._prepare(image, context / "prepared")
            if image.programs:
                self._place(image, context / "prepared")
            self._say(f"{image.reference}: installing and copying")
            arguments = {
                "BASE": RELEASES[image.suite],
                "PACKAGES": " ".join(image.packages),
                "TAG": image.tag,
                **image.arguments,
            }
            tag = f"localhost/building:{target.name}"
            self._bud(context, tag, image.reference, [f"--build-arg={name}={arguments[name]}" for name in arguments],
                      apt=self._apt[image.suite])  # fmt: skip
            self._keep(tag, target, image.reference)
        self._forget_older(target)
        size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        self._say(f"{image.reference}: built in {time.monotonic() - started:.0f} s on {base.name}, {size / 1e6:.0f} MB")

    def _prepare(self, image: Image, target: Path) -> None:
        target.mkdir()
        command = [sys.executable, str(image.folder / "prepare.py"), str(target)]
        environment = {"PYTHONPATH": str(CLONE), "TAG": image.tag, **image.arguments}
        output = run(command, what=f"{image.reference}: preparing", say=self._say, environment=environment)
        for line in output.splitlines():
            self._say(f"{image.reference}: {line}")

    def _place(self, image: Image, root: Path) -> None:
        """Lay out programs that the lab builds, with their licences and the user nobody."""
        (root / "etc").mkdir(parents=True, exist_ok=True)
        for name, text in NOBODY.items():
            (root / "etc" / name).write_text(text)
        for path, name in image.programs.items():
            try:
                tool = built(name, self._say)
            except BuildError as exc:
                raise ImageError(f"{image.reference}: {exc}") from exc
            program = root / path.lstrip("/")
            program.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(tool.binary, program)
            program.chmod(0o755)
            for licence in (tool.folder / "licences").glob("*"):
                shutil.copyfile(licence, root / licence.name)

    def _bud(self, context: Path, tag: str, what: str, arguments: list[str], *, apt: Apt | None = None) -> None:
        volumes = []
        if apt:
            # The configuration is written to by nobody: every installation would leave its mark there.
            volumes = [
                f"--volume={apt.configuration}:/etc/apt:ro",
                f"--volume={apt.lists}:/var/lib/apt/lists",
                f"--volume={apt.archives}:/var/cache/apt/archives",
            ]
        options = ["--isolation=chroot", "--pull-never", "--timestamp=0", "--format=oci", "--squash=false"]
        self._tools.buildah("bud", *options, *volumes, *arguments, f"--tag={tag}", str(context), what=what)

    def _keep(self, tag: str, target: Path, what: str) -> None:
        """Move a built image out of buildah's storage into an OCI layout of its own."""
        aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=".aside-"))
        try:
            self._tools.buildah("push", "--format=oci", tag, f"oci:{aside}/layout:latest", what=f"{what}: compressing")
            (aside / "layout").rename(target)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        self._tools.buildah("rmi", tag, what=what)

    def _base(self, suite: str) -> Path:
        """The folder of the base layer: its dpkg status, and the id that buildah knows it by."""
        versions = self._apt[suite].versions(ESSENTIAL)
        facts = [suite, versions, WITHOUT, WITH, FORGOTTEN, BASE.read_text(), *INCLUDED[suite]]
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        return self.folder / "base" / f"{suite}-{digest[:16]}"

    def _ensure_base(self, suite: str) -> Path:
        target, apt, tag = self._base(suite), self._apt[suite], RELEASES[suite]
        if target.is_dir():
            known = self._tools.buildah("images", "--filter", f"reference={tag}", "--format", "{{.ID}}", what=tag)
            if (target / "id").read_text() == known.strip():
                return target
        started = time.monotonic()
        self._say(f"{tag}: Debian {suite}, the layer below all others")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".base-") as scratch:
            archive = Path(scratch) / "root.tar"
            options = [
                "--mode=root",
                "--variant=apt",
                "--include=passwd",
                "--format=tar",
                f"--keyring={apt.configuration}/trusted.gpg.d",
            ]
            options += [f"--aptopt={apt.configuration}/apt.conf", "--dpkgopt=force-unsafe-io"]
            options += [f"--include={package}" for package in INCLUDED[suite]]
            options += [f"--dpkgopt=path-exclude={pattern}" for pattern in WITHOUT]
            options += [f"--dpkgopt=path-include={pattern}" for pattern in WITH]
            options += [f'--customize-hook=rm -f "$1/{path}"' for path in FORGOTTEN]
            options += [f'--customize-hook=cp "$1/var/lib/dpkg/status" "{scratch}/status"']
            options += ['--customize-hook=rm -rf "$1"/var/log/*.log "$1"/var/log/apt "$1"/var/cache/debconf/*-old']
            command = ["mmdebstrap", *options, suite, str(archive), f"{apt.configuration}/sources.list"]
            self._tools.run(*command, what=f"{tag}: unpacking", environment={"SOURCE_DATE_EPOCH": "0"})
            shutil.copyfile(BASE, Path(scratch) / "Containerfile")
            self._bud(Path(scratch), tag, tag, [])
            kept = Path(scratch) / "kept"
            kept.mkdir()
            identity = self._tools.buildah("images", "--filter", f"reference={tag}", "--format", "{{.ID}}", what=tag)
            (kept / "id").write_text(identity.strip())
            (Path(scratch) / "status").rename(kept / "status")
            shutil.rmtree(target, ignore_errors=True)
            kept.rename(target)
        self._say(f"{tag}: made in {time.monotonic() - started:.0f} s")
        return target

    def _forget_older(self, newest: Path) -> None:
        """Keep the newest results of an image: what a running lab served stays where it was copied to."""
        name = newest.name.rpartition("-")[0]
        others = [path for path in newest.parent.glob(f"{name}-*") if path.name.rpartition("-")[0] == name]
        for path in sorted(others, key=lambda path: path.stat().st_mtime)[:-KEPT_RESULTS]:
            shutil.rmtree(path)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._say("another process is building images; waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            for left in self.folder.glob(".*-*"):  # of a build that was killed
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
            os.set_inheritable(lock.fileno(), False)
            yield
