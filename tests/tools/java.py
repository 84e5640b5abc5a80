"""A Java development kit and Maven: the machine's own where they will do, or out of Debian packages."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.tools.debian import unpack

__all__ = ["home", "maven"]

NEEDED = 17  # Debian 12's, and the least that the stand-in's classes run on
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
