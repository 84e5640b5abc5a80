"""Files that SOPS encrypts, by the real program, for keys of age that are made here."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.integration.support.playbook import BIN
from tests.lab.build.builder import built

__all__ = ["Key", "encrypt", "make_key", "sops", "sops_environment"]


@dataclass(frozen=True)
class Key:
    """A key of age: the file that an administrator keeps, and what others encrypt for."""

    file: Path
    recipient: str


def make_key(file: Path) -> Key:
    """Make a key as an administrator does."""
    subprocess.run([built("age-keygen").binary, "-o", file], check=True, capture_output=True, timeout=60)
    done = subprocess.run(
        [built("age-keygen").binary, "-y", file], check=True, capture_output=True, text=True, timeout=60
    )
    return Key(file, done.stdout.strip())


def sops_environment(key: Key | None, home: Path) -> dict[str, str]:
    """The variables of somebody with this key, or with none, who keeps no other below that folder."""
    path = f"{built('sops').folder}{os.pathsep}{BIN}{os.pathsep}{os.environ['PATH']}"
    mine = {"SOPS_AGE_KEY_FILE": str(key.file)} if key else {}
    return {"PATH": path, "XDG_CONFIG_HOME": str(home), **mine}


def sops(
    *arguments: str | Path, folder: Path, key: Key | None = None, variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run SOPS in a folder, where it looks for its `.sops.yaml`."""
    return subprocess.run(
        [built("sops").binary, *arguments],
        cwd=folder,
        env={**sops_environment(key, folder), **(variables or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def encrypt(file: Path, values: dict[str, object], *keys: Key) -> None:
    """Write a file that any of the keys decrypts, whatever `.sops.yaml` says."""
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    recipients = ",".join(key.recipient for key in keys)
    arguments = ("--config", os.devnull, "encrypt", "--in-place", "--age", recipients)
    done = sops(*arguments, file, folder=file.parent)
    assert done.returncode == 0, done.stderr
