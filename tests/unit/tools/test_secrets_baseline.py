"""The check for secrets in the repository finds one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
HOOK = Path(sys.executable).with_name("detect-secrets-hook")


@pytest.mark.parametrize(
    ("content", "refused"),
    [
        ("connection: AccountKey=" + "Zm9v" * 21 + "Zg==", True),
        ("-----BEGIN RSA " + "PRIVATE KEY-----", True),
        ("mariadb_memory: 8Gi", False),
    ],
    ids=["key of a storage account", "private key", "no secret"],
)
def test_a_secret_is_found(tmp_path: Path, content: str, *, refused: bool) -> None:
    file = tmp_path / "production.yml"
    file.write_text(f"{content}\n")
    done = subprocess.run([HOOK, "--baseline", ".secrets.baseline", file], cwd=ROOT, check=False, capture_output=True)
    assert (done.returncode != 0) is refused, done.stdout.decode()
