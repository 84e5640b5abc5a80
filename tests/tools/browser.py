"""A real browser: Chromium of Debian, unpacked beside the system with all that it needs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.tools.debian import unpack

__all__ = ["open_page", "program"]

PACKAGES = ("chromium", "fontconfig-config", "fonts-dejavu-core")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1280,900",
)


def program() -> tuple[Path, dict[str, str]]:
    """Return the browser's executable and the environment in which it finds its libraries and fonts."""
    if found := shutil.which("chromium"):
        return Path(found), dict(os.environ)
    chromium = unpack("chromium", PACKAGES, with_dependencies=True)
    fonts = chromium.root / "fonts.conf"
    folders = ["/usr/share/fonts", chromium.root / "usr/share/fonts"]
    listed = "".join(f"<dir>{folder}</dir>" for folder in folders)
    listed += f"<cachedir>{chromium.root / 'fonts'}</cachedir>"
    fonts.write_text(f'<?xml version="1.0"?><fontconfig>{listed}</fontconfig>\n', encoding="utf-8")
    return chromium.root / "usr/lib/chromium/chromium", {**chromium.environment, "FONTCONFIG_FILE": str(fonts)}


def open_page(url: str, *flags: str, picture: Path, folder: Path) -> str:
    """Open a page until it has settled; return its document, and leave a picture of it."""
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.unlink(missing_ok=True)
    browser, environment = program()
    command = [str(browser), *FLAGS, f"--user-data-dir={folder / 'profile'}", *flags]
    done = subprocess.run(
        [*command, "--virtual-time-budget=30000", "--dump-dom", f"--screenshot={picture}", url],
        env={**environment, "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert picture.exists(), done.stderr[-2000:]
    return done.stdout
