"""A Java development kit and Maven, the machine's own or out of Debian packages, and what they do."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.lab.build.builder import cache_root
from tests.tools.debian import unpack

__all__ = ["compile_java", "fetch", "home", "maven", "pack"]

NEEDED = 17  # Debian 12's, and the least that our classes run on
# Copies what pom.xml names, and what that needs, into a folder.
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
# The same content gives the same file.
MOMENT = (2026, 1, 1, 0, 0, 0)
JDK = ("openjdk-17-jdk-headless", "openjdk-17-jre-headless")
# `apt-cache depends --recurse --no-recommends maven`, without what only installs.
MAVEN = (
    "libaopalliance-java",
    "libapache-pom-java",
    "libatinject-jsr330-api-java",
    "libcdi-api-java",
    "libcommons-cli-java",
    "libcommons-io-java",
    "libcommons-lang3-java",
    "liberror-prone-java",
    "libgeronimo-annotation-1.3-spec-java",
    "libgeronimo-interceptor-3.0-spec-java",
    "libguava-java",
    "libguice-java",
    "libjansi-java",
    "libjsr305-java",
    "libmaven-resolver-java",
    "libmaven-shared-utils-java",
    "libmaven3-core-java",
    "libplexus-cipher-java",
    "libplexus-classworlds-java",
    "libplexus-component-annotations-java",
    "libplexus-interpolation-java",
    "libplexus-sec-dispatcher-java",
    "libplexus-utils2-java",
    "libsisu-inject-java",
    "libsisu-plexus-java",
    "libslf4j-java",
    "libwagon-file-java",
    "libwagon-http-shaded-java",
    "libwagon-provider-api-java",
    "maven",
)


@functools.cache
def home() -> Path:
    """Return the JAVA_HOME of a development kit.

    Raises:
        UnpackError: there is none here, and no Debian package of one.

    """
    found = shutil.which("javac")
    if found and _version(found) >= NEEDED:
        return Path(found).resolve().parents[1]
    root = unpack("jdk", JDK).root
    _make_links_relative(root)
    return next((root / "usr/lib/jvm").glob("java-17-openjdk-*"))


def maven() -> list[str]:
    """Return the command that runs Maven, with the user's own settings.

    Raises:
        UnpackError: there is none here, and no Debian package of one.

    """
    if found := shutil.which("mvn"):
        return [found]
    root = unpack("maven", MAVEN).root
    _make_links_relative(root)
    return [str(root / "usr/share/maven/bin/mvn")]


def fetch(folder: Path) -> Path:
    """Return where the files are that `pom.xml` of a folder names; they are kept under what its `checksums.txt` pins.

    Raises:
        SystemExit: Maven failed, or a file is not the pinned one.
        UnpackError: there is no Java development kit or Maven, and no Debian package of one.

    """
    checksums = (folder / "checksums.txt").read_text()
    kept = cache_root() / "maven" / hashlib.sha256(checksums.encode()).hexdigest()[:16]
    if kept.is_dir():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".") as scratch:
        aside = Path(scratch) / "fetched"
        command = [*maven(), "--quiet", "--batch-mode", "--file", str(folder / "pom.xml"), COPY]
        done = subprocess.run(
            [*command, f"-DoutputDirectory={aside}"],
            env={**os.environ, "JAVA_HOME": str(home())},
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        if done.returncode:
            sys.exit(f"Maven failed: {(done.stdout + done.stderr)[-1500:]}")
        pinned = {line.split()[1]: line.split()[0] for line in checksums.splitlines()}
        found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in aside.iterdir()}
        if wrong := sorted(name for name in found.keys() | pinned.keys() if found.get(name) != pinned.get(name)):
            sys.exit(f"not the files of checksums.txt: {', '.join(wrong)}")
        with contextlib.suppress(OSError):  # somebody else was quicker
            aside.rename(kept)
    return kept


def compile_java(sources: Path, classes: Path, jars: Iterable[Path]) -> None:
    """Compile every source below a folder.

    Raises:
        CalledProcessError: the compiler failed, or warned; it says why.

    """
    options = ["--release", str(NEEDED), "-Xlint:all,-path,-serial", "-Werror", "-d", str(classes)]
    files = sorted(str(path) for path in sources.rglob("*.java"))
    command = [str(home() / "bin/javac"), *options, "-cp", os.pathsep.join(map(str, jars)), *files]
    subprocess.run(command, check=True, timeout=300)


def pack(archive: Path, contents: Mapping[str, bytes]) -> None:
    """Write a jar or war of these files."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in sorted(contents.items()):
            file.writestr(zipfile.ZipInfo(name, MOMENT), content)


def _version(javac: str) -> int:
    done = subprocess.run([javac, "-version"], capture_output=True, text=True, check=False, timeout=60)
    numbers = re.findall(r"\d+", done.stdout + done.stderr)
    return int(numbers[0]) if numbers else 0


def _make_links_relative(root: Path) -> None:
    """Let the links into /etc and /usr/share end in the unpacked folder."""
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            link = Path(folder) / name
            if link.is_symlink() and (target := str(link.readlink())).startswith("/"):
                inside = os.path.relpath(root / target[1:], folder)
                aside = link.with_name(f".{name}.{os.getpid()}")
                aside.symlink_to(inside)
                aside.rename(link)
