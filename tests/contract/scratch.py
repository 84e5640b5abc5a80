"""Folders that daemons of the tests live in: gone with what still runs in them, also when pytest is killed."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Waits until its standard input closes, which the kernel does when the tests end in any way. What was started on the
# folder names it in its arguments or in its environment.
REAPER = """
import contextlib, os, pathlib, shutil, signal, sys, time

def mentioning(name):
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(process.name) != os.getpid() and any(
                name in (process / part).read_bytes() for part in ("cmdline", "environ")
            ):
                yield int(process.name)

sys.stdin.read()
folder = sys.argv[1]
for _ in range(100):
    found = list(mentioning(folder.encode() + b"/"))
    for process in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)
    if not found and not os.path.exists(folder):
        sys.exit()
    time.sleep(0.1)
sys.exit(f"{folder} stays")
"""


@contextlib.contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """A folder with a short path, as sockets need it.

    Args:
        prefix: beginning of its name.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    reaper = subprocess.Popen(
        [sys.executable, "-c", REAPER, str(folder)], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        yield folder
    finally:
        assert reaper.stdin is not None
        reaper.stdin.close()
        assert reaper.wait(timeout=60) == 0, f"{folder} stays"
