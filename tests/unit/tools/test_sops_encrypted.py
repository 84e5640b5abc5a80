"""A file that should be encrypted and is not does not get into the repository."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CANARY = "canary-" + "5e0c19"
HIDDEN = "ENC[AES256_GCM,data:8Zk=,iv:c2Vj,tag:dGFn,type:str]"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"a: {HIDDEN}\nsops: {{version: 3.13.3}}\n", ""),
        (f"a: {CANARY}\n", "is not encrypted"),
        (f"a: {CANARY}\nsops: {{version: 3.13.3}}\n", "holds values in clear text (a)"),
    ],
    ids=["encrypted", "clear", "pasted"],
)
def test_a_file_in_clear_text_is_refused_and_not_shown(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "bootstrap.sops.yml"
    file.write_text(text)
    done = subprocess.run(
        [sys.executable, "tests/tools/sops_encrypted.py", file],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / ".ansible" / "collections")},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == bool(said), done.stderr
    assert said in done.stdout
    assert CANARY not in done.stdout + done.stderr
