"""A real bash runs the backend's start script around a stand-in for the image's own."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.contract.conftest import Manifests, find

DATABASE_PASSWORD = "Canary.Database-1"
ADMIN_PASSWORD = "Canary.Admin_2"

# What matters of the image's script: strict bash that writes properties files from the environment, shows them, and
# merges an existing one.
IMAGE_SCRIPT = r"""#!/bin/bash -aeu
cat > "$STATE/openmrs-server.properties" << END
connection.password=${OMRS_DB_PASSWORD}
admin_user_password=${OMRS_ADMIN_USER_PASSWORD}
END
echo -e "connection.password=${OMRS_EXTRA_CONNECTION_PASSWORD}\n" >> "$STATE/openmrs-server.properties"
cat "$STATE/openmrs-server.properties"
cat /dev/null
echo "plain" | cat
cat "$STATE/plain.txt"
sh -c 'echo started'
"""


def run(script: str, folder: Path, *, answer: bool = True) -> subprocess.CompletedProcess[str]:
    secrets = folder / "secrets"
    secrets.mkdir(exist_ok=True)
    (secrets / "database-password").write_text(DATABASE_PASSWORD)
    (secrets / "admin-password").write_text(ADMIN_PASSWORD)
    (folder / "plain.txt").write_text("shown\n")
    image = folder / "startup.sh"
    image.write_text(IMAGE_SCRIPT)
    image.chmod(0o755)
    start = folder / "start.sh"
    exchange = folder / "exchange"
    exchange.mkdir()
    places = {"/run/secrets/openmrs": secrets, "/openmrs/startup.sh": image, "/run/lock-doctor": exchange}
    for path, here in places.items():
        assert path in script
        script = script.replace(path, str(here))
    start.write_text(script)
    process = subprocess.Popen(
        ["/bin/bash", start],
        env={"PATH": "/usr/bin:/bin", "STATE": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        if answer:
            answer_question(exchange, process)
        output, complaints = process.communicate(timeout=8 if not answer else 30)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, output, complaints)


def answer_question(exchange: Path, process: subprocess.Popen[str]) -> None:
    """Answer as the lock doctor does."""
    deadline = time.monotonic() + 20
    while process.poll() is None and not (exchange / "question").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if process.poll() is None:
        (exchange / "answer").write_text((exchange / "question").read_text())


@pytest.fixture
def script(chart: Manifests) -> str:
    """The script as the chart mounts it."""
    return str(find(chart, "ConfigMap", "openmrs-backend")["data"]["start.sh"])


def test_the_passwords_reach_openmrs_and_not_the_log(script: str, tmp_path: Path) -> None:
    done = run(script, tmp_path)
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "openmrs-server.properties").read_text()
    assert written.count(f"connection.password={DATABASE_PASSWORD}") == 2
    assert f"admin_user_password={ADMIN_PASSWORD}" in written
    assert "Canary" not in done.stdout + done.stderr
    own = ("not shown", "lock doctor")
    shown = [line for line in done.stdout.splitlines() if not any(words in line for words in own)]
    assert shown == ["plain", "shown", "started"]


@pytest.mark.sabotage
def test_without_the_guard_the_log_has_them(script: str, tmp_path: Path) -> None:
    done = run(script.replace("export -f cat", ""), tmp_path)
    assert "Canary" in done.stdout


def test_a_missing_password_stops_the_start(script: str, tmp_path: Path) -> None:
    broken = script.replace("/run/secrets/openmrs/admin-password", "/run/secrets/openmrs/missing")
    done = run(broken, tmp_path)
    assert done.returncode != 0
    assert not (tmp_path / "openmrs-server.properties").exists()


def test_nothing_starts_before_the_lock_doctor_has_answered_this_question(script: str, tmp_path: Path) -> None:
    # An answer to an earlier start's question is none.
    stale = script.replace("until [", "echo earlier > /run/lock-doctor/answer\nuntil [")
    assert stale != script
    with pytest.raises(subprocess.TimeoutExpired):
        run(stale, tmp_path, answer=False)
    assert not (tmp_path / "openmrs-server.properties").exists()
