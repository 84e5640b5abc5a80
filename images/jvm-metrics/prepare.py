"""Make the agent: one jar of our class and the libraries that it needs. Usage: prepare.py TARGET"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path

from tests.tools.java import compile_java, fetch, pack

__all__ = ["prepare"]

HERE = Path(__file__).parent
MANIFEST = "Manifest-Version: 1.0\r\nPremain-Class: JvmMetricsAgent\r\n\r\n"


def prepare(target: Path) -> None:
    """Write agent.jar into `target`.

    Raises:
        SystemExit: a file is not the pinned one.
        CalledProcessError: the compiler failed; it says why.

    """
    jars = sorted(fetch(HERE).glob("*.jar"))
    contents = {"META-INF/MANIFEST.MF": MANIFEST.encode()}
    for jar in jars:
        with zipfile.ZipFile(jar) as archive:
            files = {name for name in archive.namelist() if not name.endswith("/")} - contents.keys()
            contents |= {name: archive.read(name) for name in files}
    with tempfile.TemporaryDirectory() as scratch:
        classes = Path(scratch)
        compile_java(HERE / "src", classes, jars)
        contents |= {str(path.relative_to(classes)): path.read_bytes() for path in classes.rglob("*.class")}
    pack(target / "agent.jar", contents)


if __name__ == "__main__":
    prepare(Path(sys.argv[1]))
