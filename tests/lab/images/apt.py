"""Debian packages for images: one state of apt for each suite, apart from the machine's own.

The machine's sources and the way it reaches them are used to build, and nothing of them stays in an image.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from tests.lab.control.home import write_private
from tests.lab.images.definitions import ImageError

__all__ = ["Apt", "versions_to_install"]

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# What a refresh of the lists is worth: a security update gets into the images a day later at most.
FRESH_SECONDS = 24 * 3600
SECONDS = 600


class Apt:
    """The packages of one suite, as this machine gets them."""

    def __init__(self, suite: str, folder: Path) -> None:
        self.suite = suite
        self.configuration = folder / suite / "etc"
        self.lists = folder / suite / "lists"
        self.archives = folder / suite / "archives"

    def prepare(self) -> None:
        """Lay out the configuration anew and the folders when they are new.

        Raises:
            ImageError: this machine has no sources of Debian.

        """
        for path in (self.lists / "partial", self.archives / "partial", self.configuration / "preferences.d"):
            path.mkdir(parents=True, exist_ok=True)
        for name in ("trusted.gpg.d", "apt.conf.d", "sources.list.d"):
            (self.configuration / name).mkdir(exist_ok=True)
        if not KEYRING.is_file():
            raise ImageError(f"{KEYRING} is missing: install the package debian-archive-keyring")
        shutil.copyfile(KEYRING, self.configuration / "trusted.gpg.d" / "debian-archive.gpg")
        (self.configuration / "sources.list").write_text("\n".join(_sources(self.suite)) + "\n")
        (self.configuration / "apt.conf").write_text(_settings())

    def refresh(self, *, force: bool = False) -> None:
        """Ask for the lists of packages when there are none, or those there are have aged.

        Raises:
            ImageError: the lists cannot be had.

        """
        stamp = self.lists / "refreshed"
        if not force and stamp.exists() and time.time() - stamp.stat().st_mtime < FRESH_SECONDS:
            return
        self._run("update")
        (self.lists / "resolved.json").unlink(missing_ok=True)
        stamp.touch()

    @property
    def refreshed(self) -> bool:
        """Whether there are lists at all."""
        return (self.lists / "refreshed").exists()

    def versions(self, packages: tuple[str, ...], *, status: Path | None = None) -> list[str]:
        """Return `package=version` of all that an installation brings, onto a system whose dpkg status is given."""
        if not packages:
            return []
        # Asking apt takes seconds; its answer is the same until the lists are asked for again.
        asked = " ".join([*packages, "on", status.parent.name if status else "nothing"])
        kept = self.lists / "resolved.json"
        known: dict[str, list[str]] = json.loads(kept.read_text()) if kept.exists() else {}
        if asked not in known:
            options = ["-o", f"Dir::State::status={status or '/dev/null'}"]
            simulated = self._run(*options, "--simulate", "--no-install-recommends", "install", *packages)
            known[asked] = versions_to_install(simulated)
            write_private(kept, json.dumps(known, indent=1))
        return known[asked]

    def _run(self, *arguments: str) -> str:
        options = {
            "Dir::Etc": str(self.configuration),
            "Dir::State::Lists": str(self.lists),
            "Dir::Cache::Archives": str(self.archives),
            "Dir::Cache::pkgcache": str(self.lists.parent / "pkgcache.bin"),
            "Dir::Cache::srcpkgcache": str(self.lists.parent / "srcpkgcache.bin"),
            "APT::Sandbox::User": "root",
        }
        command = ["apt-get", *(text for pair in options.items() for text in ("-o", "=".join(pair))), *arguments]
        done = subprocess.run(
            command,
            env={**os.environ, "LC_ALL": "C", "APT_CONFIG": str(self.configuration / "apt.conf")},
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        if done.returncode:
            raise ImageError(f"apt-get {arguments[-1]} for {self.suite} failed: {done.stderr.strip()[-600:]}")
        return done.stdout


def versions_to_install(simulated: str) -> list[str]:
    """Return `package=version` of each line `Inst` of a simulated run of apt-get, sorted."""
    found = re.findall(r"^Inst (\S+) (?:\[[^]]*\] )?\((\S+)", simulated, re.MULTILINE)
    return sorted(f"{package}={version}" for package, version in found)


def _sources(suite: str) -> list[str]:
    """Where this machine gets Debian from, with another suite in place of its own.

    The fields are those of apt-get(8), `indextargets`.
    """
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)|$(RELEASE)|$(ORIGIN)|$(LABEL)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    uris: dict[str, str] = {}
    for line in done.stdout.splitlines():
        uri, _, origin, label = line.split("|")
        if origin == "Debian" and label in {"Debian", "Debian-Security"}:
            uris.setdefault(label, uri)
    if "Debian" not in uris:
        raise ImageError("apt-get knows no source of Debian here: run `apt-get update` on a Debian machine first")
    lines = [f"deb {uris['Debian']} {name} main" for name in (suite, f"{suite}-updates")]
    if "Debian-Security" in uris:
        lines.append(f"deb {uris['Debian-Security']} {suite}-security main")
    return lines


def _settings() -> str:
    """How this machine reaches its sources: proxies and certificates, none of its habits."""
    done = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True, timeout=SECONDS)
    kept = [
        line for line in done.stdout.splitlines() if re.match(r"Acquire::(http|https|Retries|Check|ForceIPv)", line)
    ]
    own = ['Acquire::Languages "none";', 'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";']
    return "\n".join([*kept, *own, 'APT::Sandbox::User "root";']) + "\n"
