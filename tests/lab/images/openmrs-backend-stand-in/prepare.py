"""Make the image's own files: Tomcat, and the stand-in as a war file. Usage: prepare.py TARGET

Environment: SCHEMA_VERSION, the highest file of change sets and the version of the module that go in.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from tests.lab.build.builder import cache_root
from tests.tools.java import home, maven

__all__ = ["prepare"]

HERE = Path(__file__).parent
# Copies what pom.xml names, and what that needs, into a folder.
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
# Of Tomcat, what a server needs: no manual, no demonstrations.
TOMCAT = ("bin/", "conf/", "lib/")
# The same content gives the same file.
MOMENT = (2026, 1, 1, 0, 0, 0)


def prepare(target: Path, schema_version: int) -> None:
    """Fill `target` as the root of the image.

    Raises:
        SystemExit: a file is not the pinned one.
        CalledProcessError: Maven or the compiler failed; they say why.

    """
    with tempfile.TemporaryDirectory() as scratch:
        fetched, classes = _fetched(), Path(scratch) / "classes"
        tomcat = target / "usr/local/tomcat"
        _unpack(next(fetched.glob("tomcat-*.tar.gz")), tomcat)
        for name in ("server.xml", "logging.properties"):
            (tomcat / "conf" / name).write_bytes((HERE / "tomcat" / name).read_bytes())
        jars = sorted(fetched.glob("*.jar"))
        _compile(classes, [*jars, *sorted((tomcat / "lib").glob("*.jar")), tomcat / "bin/tomcat-juli.jar"])
        distribution = target / "openmrs/distribution"
        _pack(distribution / "openmrs_core/openmrs.war", _contents(classes, jars, schema_version))
        module = distribution / f"openmrs_modules/standin-{schema_version}.omod"
        module.parent.mkdir(parents=True)
        module.write_text("The stand-in reads the name only.\n")


def _fetched() -> Path:
    """What comes from Maven Central, kept in the cache under the pinned checksums; complete or absent."""
    checksums = (HERE / "checksums.txt").read_text()
    folder = cache_root() / "maven" / hashlib.sha256(checksums.encode()).hexdigest()[:16]
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as scratch:
        aside = Path(scratch) / "fetched"
        command = [
            *maven(),
            "--quiet",
            "--batch-mode",
            "--file",
            str(HERE / "pom.xml"),
            COPY,
            f"-DoutputDirectory={aside}",
        ]
        environment = {**os.environ, "JAVA_HOME": str(home())}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)
        if done.returncode:
            sys.exit(f"Maven failed: {(done.stdout + done.stderr)[-1500:]}")
        pinned = {line.split()[1]: line.split()[0] for line in checksums.splitlines()}
        found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in aside.iterdir()}
        if wrong := sorted(name for name in found.keys() | pinned.keys() if found.get(name) != pinned.get(name)):
            sys.exit(f"not the files of checksums.txt: {', '.join(wrong)}")
        with contextlib.suppress(OSError):  # somebody else was quicker
            aside.rename(folder)
    return folder


def _unpack(archive: Path, target: Path) -> None:
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            name = member.name.partition("/")[2]
            if name.startswith(TOMCAT):
                member.name = name
                tar.extract(member, target, filter="data")


def _compile(classes: Path, jars: list[Path]) -> None:
    sources = sorted(str(path) for path in (HERE / "src").rglob("*.java"))
    options = [
        "--release",
        "17",
        "-Xlint:all,-path,-serial",
        "-Werror",
        "-cp",
        os.pathsep.join(map(str, jars)),
        "-d",
        str(classes),
    ]
    subprocess.run([str(home() / "bin/javac"), *options, *sources], check=True, timeout=300)


def _contents(classes: Path, jars: list[Path], schema_version: int) -> dict[str, Path]:
    found = {"WEB-INF/web.xml": HERE / "tomcat/web.xml"}
    found |= {f"WEB-INF/lib/{jar.name}": jar for jar in jars}
    for root in (classes, HERE / "resources"):
        files = (path for path in root.rglob("*") if path.is_file())
        found |= {f"WEB-INF/classes/{path.relative_to(root)}": path for path in files}
    newer = [name for name, path in found.items() if path.suffix == ".sql" and int(path.stem) > schema_version]
    return {name: path for name, path in found.items() if name not in newer}


def _pack(war: Path, contents: dict[str, Path]) -> None:
    war.parent.mkdir(parents=True)
    with zipfile.ZipFile(war, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in sorted(contents.items()):
            archive.writestr(zipfile.ZipInfo(name, MOMENT), path.read_bytes())


if __name__ == "__main__":
    prepare(Path(sys.argv[1]), int(os.environ["SCHEMA_VERSION"]))
