"""A real bash runs the backend's start script around a stand-in for the image's own."""

from __future__ import annotations

import subprocess
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


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    secrets = folder / "secrets"
    secrets.mkdir(exist_ok=True)
    (secrets / "database-password").write_text(DATABASE_PASSWORD)
    (secrets / "admin-password").write_text(ADMIN_PASSWORD)
    (folder / "plain.txt").write_text("shown\n")
    image = folder / "startup.sh"
    image.write_text(IMAGE_SCRIPT)
    image.chmod(0o755)
    start = folder / "start.sh"
    for path in ("/run/secrets/openmrs", "/openmrs/startup.sh"):
        assert path in script
    start.write_text(script.replace("/run/secrets/openmrs", str(secrets)).replace("/openmrs/startup.sh", str(image)))
    return subprocess.run(
        ["/bin/bash", start],
        env={"PATH": "/usr/bin:/bin", "STATE": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


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
    assert [line for line in done.stdout.splitlines() if "not shown" not in line] == ["plain", "shown", "started"]


@pytest.mark.sabotage
def test_without_the_guard_the_log_has_them(script: str, tmp_path: Path) -> None:
    done = run(script.replace("export -f cat", ""), tmp_path)
    assert "Canary" in done.stdout


def test_a_missing_password_stops_the_start(script: str, tmp_path: Path) -> None:
    broken = script.replace("/run/secrets/openmrs/admin-password", "/run/secrets/openmrs/missing")
    done = run(broken, tmp_path)
    assert done.returncode != 0
    assert not (tmp_path / "openmrs-server.properties").exists()
