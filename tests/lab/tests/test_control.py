"""The lab's command: up, down, status, env, faults, and that it survives and leaves nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.support.lab import COMMAND, Lab, free_port_block, running_lab
from tests.lab.control.home import CONTROL_PORTS, PORTS
from tests.lab.tests.clusters import Cluster, cluster_body
from tests.lab.tests.leftovers import leftovers

pytestmark = pytest.mark.lab

GROUP = "/resourceGroups/rg-control"
GROUP_VERSION = "2025-04-01"


@pytest.fixture
def own_lab() -> Iterator[Lab]:
    """Give a lab that the test may stop."""
    with running_lab() as lab:
        yield lab


def group(lab: Lab) -> str:
    return f"/subscriptions/{lab.info['subscription_id']}{GROUP}"


def test_up_again_changes_nothing(lab: Lab) -> None:
    before = lab.status()["parts"]
    lab.up()
    assert {name: part["pid"] for name, part in lab.status()["parts"].items()} == {
        name: part["pid"] for name, part in before.items()
    }


def test_a_purged_lab_starts_anew(own_lab: Lab) -> None:
    own_lab.arm("PUT", group(own_lab), GROUP_VERSION, {"location": "francecentral"})
    own_lab.command("down", "--purge")
    own_lab.up()
    with pytest.raises(OSError, match="404"):
        own_lab.arm("GET", group(own_lab), GROUP_VERSION)


def test_status_names_every_part_and_counts_requests(lab: Lab) -> None:
    lab.command("reset", "--counters")
    lab.arm("PUT", group(lab), GROUP_VERSION, {"location": "francecentral"})
    lab.arm("GET", group(lab), GROUP_VERSION)
    status = lab.status()
    simulator = status["parts"]["simulator"]
    assert simulator["healthy"]
    assert simulator["address"] == lab.info["arm_endpoint"]
    assert status["requests"]["azure"] | {"write": 1, "read": 1, "token": 2} == status["requests"]["azure"]
    assert status["requests"]["by_verb"]["azure"] == {"PUT": 1, "GET": 1, "POST": 2}
    printed = lab.command("status").stdout
    assert "healthy" in printed
    assert "write 1" in printed


def test_status_says_what_is_not_well(own_lab: Lab) -> None:
    kill(own_lab.status()["parts"]["simulator"]["pid"])
    part = own_lab.status()["parts"]["simulator"]
    assert not part["healthy"]
    assert "simulator.log" in part["why"]
    refused = own_lab.command("reset", check=False)
    assert refused.returncode == 1
    assert "tests/lab/lab up" in refused.stderr


def test_everything_of_a_lab_is_private(lab: Lab) -> None:
    assert stat.S_IMODE(lab.home.stat().st_mode) == 0o700
    for name in ("env.json", "azure.json", "control-token", "pki/ca.key", "pki/simulator.key"):
        assert stat.S_IMODE((lab.home / name).stat().st_mode) == 0o600, name


def test_env_points_a_client_at_the_lab(lab: Lab) -> None:
    script = (
        'eval "$("$0" env)" && test "$AZURE_SUBSCRIPTION_ID" = "$1" && command -v helm kubectl '
        '&& curl --fail --silent --show-error --cacert "$SSL_CERT_FILE" "$AZURE_CLOUD_ENVIRONMENT"'
    )
    done = subprocess.run(
        ["bash", "-c", script, COMMAND, lab.info["subscription_id"]],
        env=lab.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert lab.info["arm_endpoint"] in done.stdout


def test_the_simulator_answers_on_loopback_alone(lab: Lab) -> None:
    listening = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, check=True).stdout.splitlines()
    ours = [line.split()[3] for line in listening]
    ours = [address for address in ours if int(address.rpartition(":")[2]) in range(lab.port, lab.port + len(PORTS))]
    assert ours
    assert all(address.startswith("127.") for address in ours), ours


def test_a_fault_is_met_as_often_as_asked(lab: Lab) -> None:
    lab.arm("PUT", group(lab), GROUP_VERSION, {"location": "francecentral"})
    lab.fault("throttle", "--match", "GET .*rg-control", "--count", "1", "--retry-after", "7")
    with httpx.Client(verify=ssl.create_default_context(cafile=lab.info["ca_file"]), trust_env=False) as client:
        token = lab._token(f"{lab.info['arm_endpoint']}/.default")
        url = f"{lab.info['arm_endpoint']}{group(lab)}?api-version={GROUP_VERSION}"
        answers = [client.get(url, headers={"Authorization": f"Bearer {token}"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [429, 200]
    assert answers[0].headers["retry-after"] == "7"


def test_faults_that_are_left_can_be_cleared(lab: Lab) -> None:
    lab.fault("error", "--match", "GET .*rg-control", "--status", "503", "--count", "5")
    assert json.loads(lab.command("fault", "list").stdout)[0]["status"] == 503
    lab.fault("clear")
    assert json.loads(lab.command("fault", "list").stdout) == []


def test_reset_empties_azure_without_a_stop(lab: Lab) -> None:
    lab.arm("PUT", group(lab), GROUP_VERSION, {"location": "francecentral"})
    before = lab.status()["parts"]["simulator"]["pid"]
    lab.reset()
    status = lab.status()
    assert status["parts"]["simulator"]["pid"] == before
    assert status["requests"]["azure"]["write"] == 0
    with pytest.raises(OSError, match="404"):
        lab.arm("GET", group(lab), GROUP_VERSION)


def test_a_killed_simulator_comes_back_with_its_state(own_lab: Lab) -> None:
    own_lab.arm("PUT", group(own_lab), GROUP_VERSION, {"location": "francecentral"})
    killed = own_lab.status()["parts"]["simulator"]["pid"]
    kill(killed)
    own_lab.up()
    assert own_lab.status()["parts"]["simulator"]["pid"] != killed
    assert own_lab.arm("GET", group(own_lab), GROUP_VERSION)["location"] == "francecentral"


def test_down_leaves_no_process_mount_or_port(own_lab: Lab) -> None:
    ports = range(own_lab.port, own_lab.port + len(PORTS))
    assert leftovers(own_lab.home, ports), "a running lab must be seen, or the test below proves nothing"
    own_lab.down()
    assert leftovers(own_lab.home, ports) == []
    own_lab.command("down")


@pytest.mark.sabotage
def test_a_daemon_that_stays_is_seen(tmp_path: Path) -> None:
    port = free_port_block(start=29000, end=30000, size=1)
    code = f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path) as daemon:
        try:
            deadline = time.monotonic() + 10
            while len(found := leftovers(tmp_path, range(port, port + 1))) < 2 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert [line.split()[0] for line in found] == ["process", "port"]
        finally:
            daemon.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="all of these tests run without privileges already")
def test_no_privilege_is_needed(own_lab: Lab) -> None:
    own_lab.down()
    bare = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", str(COMMAND), "up"]
    subprocess.run(bare, env=own_lab.environment, check=True, capture_output=True)
    pid = own_lab.status()["parts"]["simulator"]["pid"]
    assert "CapEff:\t0000000000000000" in Path(f"/proc/{pid}/status").read_text()
    Cluster(own_lab).put(cluster_body())
    parts = own_lab.status()["parts"]
    assert set(parts) == set(CONTROL_PORTS) - {"acme-management", "dns", "etcd-peer"}
    assert all(part["healthy"] for part in parts.values())


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    port = free_port_block()
    with socket.create_server(("127.0.0.1", port + 2)):
        lab = Lab(tmp_path / "lab", port)
        refused = lab.command("up", check=False)
    assert refused.returncode == 1
    assert f"port {port + 2} (etcd) is taken" in refused.stderr
    assert leftovers(lab.home, range(port, port + 2)) == []


def test_a_lab_keeps_its_ports(lab: Lab) -> None:
    other = Lab(lab.home, lab.port + 1)
    refused = other.command("status", check=False)
    assert refused.returncode == 1
    assert "another LAB_HOME" in refused.stderr


def test_nothing_is_delivered_where_no_pod_runs(lab: Lab) -> None:
    refused = lab.command("repository", check=False)
    assert refused.returncode == 1
    assert "up --nodes containers" in refused.stderr
    assert json.loads((lab.home / "env.json").read_text())["repository"] == {}


def test_without_the_environment_the_command_says_how_to_make_it(tmp_path: Path) -> None:
    script = tmp_path / "tests" / "lab" / "lab"
    script.parent.mkdir(parents=True)
    shutil.copy(COMMAND, script)
    refused = subprocess.run([sys.executable, script, "up"], capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "make venv" in refused.stderr


def kill(pid: int) -> None:
    """End a process as a crash would, and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.02)
