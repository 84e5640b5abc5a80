"""Third proof that the simulator is not our own imagination: the unmodified azure.azcollection works on it.

Its modules run with their own pinned clients, in an environment of their own (`make venv-azcollection`), build a
network and a cluster, find nothing to do the second time, and take everything away again.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.integration.support.azure import resource_ids, type_of
from tests.integration.support.lab import ROOT, Lab
from tests.integration.support.playbook import PlaybookRun, environment, finish, run_playbook

PLAYBOOK = Path(__file__).parent / "azcollection" / "site.yml"
BUILT = {
    "Microsoft.ContainerService/managedClusters": 1,
    "Microsoft.Network/networkSecurityGroups": 1,
    "Microsoft.Network/privateDnsZones": 1,
    "Microsoft.Network/publicIPAddresses": 1,
    "Microsoft.Network/routeTables": 1,
    "Microsoft.Network/virtualNetworks": 1,
    "Microsoft.Network/virtualNetworks/subnets": 2,
}

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def clients() -> Path:
    """Make the environment with the collection's own clients, which is kept for all clones; where it is."""
    command = ["make", "--silent", "venv-azcollection"]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, timeout=1200)
    return Path(done.stdout.strip())


def cloud_variables(lab: Lab) -> dict[str, str]:
    """Return what its clients need to know a cloud that is not Microsoft's.

    They know the clouds that azure-cli-core knows, which asks this address for them, and take the one whose resource
    manager is named.
    """
    return {
        "ARM_CLOUD_METADATA_URL": f"{lab.info['arm_endpoint']}/metadata/endpoints?api-version=2019-05-01",
        "AZURE_CONFIG_DIR": str(lab.home / "azure-cli"),
    }


def run(clients: Path, lab: Lab, record: Path, *arguments: str) -> PlaybookRun:
    """Run the peer's playbook with the peer's interpreter."""
    started = time.monotonic()
    process = subprocess.Popen(
        [clients / "bin" / "ansible-playbook", "-i", "localhost,", PLAYBOOK, *arguments],
        cwd=ROOT,
        env={
            **environment(lab),
            **lab.client_environment,
            **cloud_variables(lab),
            "AZURE_CLOUD_ENVIRONMENT": lab.info["arm_endpoint"],
            "PATH": f"{clients / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONWARNINGS": "ignore",
            "RECORDER_PATH": str(record),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    return finish(process, record, started=started).ok()


@pytest.mark.soak
def test_its_modules_build_a_network_and_a_cluster_idempotently(clients: Path, empty_lab: Lab, tmp_path: Path) -> None:
    for namespace in ("Microsoft.Compute", "Microsoft.ContainerService", "Microsoft.Network"):
        empty_lab.register(namespace)  # no module of the collection can
    first = run(clients, empty_lab, tmp_path / "first")
    ids = [type_of(entry) for entry in resource_ids(empty_lab)]
    assert {name: ids.count(name) for name in BUILT} == BUILT
    assert first.changed >= len(BUILT) - 1
    second = run(clients, empty_lab, tmp_path / "second")
    assert second.changed == 0, [task["task"] for task in second.tasks if task["result"].get("changed")]
    gone = run(clients, empty_lab, tmp_path / "gone", "-e", "state=absent")
    assert gone.changed > 0
    assert resource_ids(empty_lab, "Microsoft.Network/virtualNetworks") == []
    assert resource_ids(empty_lab, "Microsoft.ContainerService/managedClusters") == []


@pytest.mark.soak
def test_verify_reads_azure_back_with_its_modules(clients: Path, converged_lab: Lab) -> None:
    """They sign in with what the inventory says, as nobody has set it in the environment."""
    info = converged_lab.info
    extra = {
        "verify_azure_reader": "azcollection",
        "ansible_python_interpreter": str(clients / "bin" / "python"),
        "platform_azure_connection": {
            "tenant": info["tenant_id"],
            "subscription_id": info["subscription_id"],
            "client_id": info["client_id"],
            "secret": info["client_secret"],
            "cloud_environment": info["arm_endpoint"],
            "disable_instance_discovery": True,
        },
        "platform_process_environment": {
            "AZURE_AUTHORITY_HOST": info["authority_host"],
            "REQUESTS_CA_BUNDLE": info["ca_file"],
            "SSL_CERT_FILE": info["ca_file"],
            **cloud_variables(converged_lab),
        },
    }
    verification = run_playbook(converged_lab, "verify", extra=extra).ok()
    [report] = verification.results_of("verify_report")
    read = [finding for finding in report["findings"] if finding["type"].startswith("Microsoft.")]
    assert read
    assert {finding["verdict"] for finding in read} == {"equal"}
