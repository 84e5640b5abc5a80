"""Make the image's own files: Tomcat, and the stand-in as a war file. Usage: prepare.py TARGET

Environment: SCHEMA_VERSION, the highest file of change sets and the version of the module that go in.
"""

from __future__ import annotations

import os
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.tools.java import compile_java, fetch, pack

__all__ = ["prepare"]

HERE = Path(__file__).parent
# Of Tomcat, what a server needs: no manual, no demonstrations.
TOMCAT = ("bin/", "conf/", "lib/")


def prepare(target: Path, schema_version: int) -> None:
    """Fill `target` as the root of the image.

    Raises:
        SystemExit: a file is not the pinned one.
        CalledProcessError: Maven or the compiler failed; they say why.

    """
    with tempfile.TemporaryDirectory() as scratch:
        fetched, classes = fetch(HERE), Path(scratch) / "classes"
        tomcat = target / "usr/local/tomcat"
        _unpack(next(fetched.glob("tomcat-*.tar.gz")), tomcat)
        for name in ("server.xml", "logging.properties"):
            (tomcat / "conf" / name).write_bytes((HERE / "tomcat" / name).read_bytes())
        jars = sorted(fetched.glob("*.jar"))
        compile_java(
            HERE / "src", classes, [*jars, *sorted((tomcat / "lib").glob("*.jar")), tomcat / "bin/tomcat-juli.jar"]
        )
        distribution = target / "openmrs/distribution"
        contents = _contents(classes, jars, schema_version)
        pack(distribution / "openmrs_core/openmrs.war", {name: path.read_bytes() for name, path in contents.items()})
        module = distribution / f"openmrs_modules/standin-{schema_version}.omod"
        module.parent.mkdir(parents=True)
        module.write_text("The stand-in reads the name only.\n")


def _unpack(archive: Path, target: Path) -> None:
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            name = member.name.partition("/")[2]
            if name.startswith(TOMCAT):
                member.name = name
                tar.extract(member, target, filter="data")


def _contents(classes: Path, jars: list[Path], schema_version: int) -> dict[str, Path]:
    found = {"WEB-INF/web.xml": HERE / "tomcat/web.xml"}
    found |= {f"WEB-INF/lib/{jar.name}": jar for jar in jars}
    for root in (classes, HERE / "resources"):
        files = (path for path in root.rglob("*") if path.is_file())
        found |= {f"WEB-INF/classes/{path.relative_to(root)}": path for path in files}
    newer = [name for name, path in found.items() if path.suffix == ".sql" and int(path.stem) > schema_version]
    return {name: path for name, path in found.items() if name not in newer}


if __name__ == "__main__":
    prepare(Path(sys.argv[1]), int(os.environ["SCHEMA_VERSION"]))
