"""Disks of a lab with a real node: a driver that behaves as Azure's, and data that outlives whatever dies."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.build import builder
from tests.lab.nodes.disks import BUDGET_GIB
from tests.lab.nodes.node import RealNode
from tests.lab.tests.clusters import Cluster, eventually
from tests.lab.tests.containers import BUSYBOX
from tests.lab.tests.test_control import kill

pytestmark = pytest.mark.lab

SECONDS = 120
GIBIBYTE = 1 << 30
STATEFUL_SET = """
apiVersion: v1
kind: Namespace
metadata: {name: NAME, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: NAME}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  volumeClaimTemplates:
    - metadata: {name: data}
      spec:
        accessModes: [ReadWriteOnce]
        storageClassName: managed-csi-premium
        resources: {requests: {storage: SIZE}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 1
      securityContext: {runAsNonRoot: true, runAsUser: 999, fsGroup: 2002, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: db
          image: IMAGE
          command: [sh, -c, "trap exit TERM; while :; do sleep 1; done"]
          volumeMounts: [{name: data, mountPath: /data}]
          securityContext:
            {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
"""


# --- the driver alone


def test_the_tests_of_the_driver_in_its_own_language() -> None:
    """Refusals, sizes, zones, attaching; as root also mounts, growth, a full disk and the budget, with its sabotage."""
    go = Path(sys.executable).with_name("go")
    done = subprocess.run(
        [go, "test", "-vet=off", "-trimpath", "-count=1", "./csi/"],
        cwd=builder.SOURCES / "kube",
        env={**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[Path]:
    """Run the driver by itself; its socket."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    builder.built("csi-sanity")
    socket = tmp_path / "csi.sock"
    command = [
        str(builder.tools()["kube"].program("disk-csi-driver")),
        f"--folder={tmp_path / 'disks'}",
        f"--endpoint={socket}",
        "--node=node",
        "--zone=francecentral-1",
        "--resource-group-id=/subscriptions/s/resourceGroups/g",
    ]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as driver:
        try:
            eventually(socket.exists)
            yield socket
        finally:
            driver.terminate()


def test_the_driver_is_one_by_the_specification(endpoint: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            builder.tools()["csi-sanity"].binary,
            f"--csi.endpoint={endpoint}",
            f"--csi.mountdir={tmp_path / 'mount'}",
            f"--csi.stagingdir={tmp_path / 'stage'}",
            f"--csi.testvolumesize={GIBIBYTE}",
            f"--csi.testvolumeexpandsize={2 * GIBIBYTE}",
            "--ginkgo.no-color",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " 0 Failed" in done.stdout
    assert list((tmp_path / "disks").iterdir()) == []


# --- with real pods


@pytest.fixture(scope="module")
def cluster(real_cluster: Cluster) -> Cluster:
    """Share the one of the session."""
    return real_cluster


def database(cluster: Cluster, namespace: str, *, size: str = "1Gi", **changes: Any) -> str:
    """Run a pod with a disk; the name of its volume. `changes` are for the pod's security context."""
    documents = list(
        yaml.safe_load_all(STATEFUL_SET.replace("NAME", namespace).replace("SIZE", size).replace("IMAGE", BUSYBOX))
    )
    documents[1]["spec"]["template"]["spec"]["securityContext"] |= changes
    cluster.apply(yaml.safe_dump_all(documents))
    ready(cluster, namespace)
    return str(claim(cluster, namespace)["spec"]["volumeName"])


def ready(cluster: Cluster, namespace: str) -> None:
    cluster.lab.kubectl("-n", namespace, "rollout", "status", "statefulset/db", f"--timeout={SECONDS}s")


def claim(cluster: Cluster, namespace: str, name: str = "data-db-0") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cluster.lab.kubectl("-n", namespace, "get", "pvc", name, "-o", "json"))
    return found


def in_pod(cluster: Cluster, namespace: str, script: str, *, check: bool = True) -> str:
    done = cluster.lab.kubectl("-n", namespace, "exec", "db-0", "--", "sh", "-c", script, check=check)
    return done.strip()


def fill(cluster: Cluster, namespace: str, mebibytes: int) -> str:
    """Write that much; what the writer said, and the bytes that arrived in its last line."""
    script = f"dd if=/dev/zero of=/data/fill bs=1M count={mebibytes} conv=fsync 2>&1; stat -c %s /data/fill"
    return in_pod(cluster, namespace, script, check=False)


def image(node: RealNode, volume: str) -> Path:
    return node.folder / "disks" / volume / "image"


def loops(node: RealNode) -> list[str]:
    found = subprocess.run(
        ["losetup", "--list", "--noheadings", "--output", "BACK-FILE"], capture_output=True, text=True, check=True
    )
    return [line for line in found.stdout.splitlines() if line.startswith(str(node.folder))]


def available(cluster: Cluster, namespace: str) -> int:
    """Bytes that the pod sees free on its disk."""
    return int(in_pod(cluster, namespace, "df -k /data | tail -n 1 | tr -s ' '").split()[3]) * 1024


def test_a_claim_gets_a_disk_in_the_zone_of_its_pod(cluster: Cluster, node: RealNode, namespace: str) -> None:
    name = database(cluster, namespace, size="64Gi")
    volume = json.loads(cluster.lab.kubectl("get", "pv", name, "-o", "json"))["spec"]
    assert volume["csi"]["driver"] == "disk.csi.azure.com"
    assert volume["csi"]["volumeHandle"].endswith(f"/providers/Microsoft.Compute/disks/{name}")
    assert volume["capacity"] == {"storage": "64Gi"}
    (expression,) = volume["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"]
    zone = node.labels["topology.disk.csi.azure.com/zone"]
    assert (expression["key"], expression["values"]) == ("topology.disk.csi.azure.com/zone", [zone])
    attachments = [
        one for one in cluster.items("volumeattachments") if one["spec"]["source"].get("persistentVolumeName") == name
    ]
    assert [(one["spec"]["nodeName"], one["status"]["attached"]) for one in attachments] == [(node.name, True)]
    assert image(node, name).stat().st_blocks * 512 < 64 << 20
    drivers = json.loads(cluster.lab.kubectl("get", "csinode", node.name, "-o", "json"))["spec"]["drivers"]
    assert [(one["name"], one["allocatable"]["count"]) for one in drivers if one["name"].startswith("disk")] == [
        ("disk.csi.azure.com", 8)
    ]


def test_the_group_of_the_pod_owns_the_disk(cluster: Cluster, namespace: str) -> None:
    database(cluster, namespace)
    in_pod(cluster, namespace, "touch /data/mine")
    assert in_pod(cluster, namespace, "stat -c '%u %g' /data/mine; stat -c %g /data").split() == ["999", "2002", "2002"]
    assert "lost+found" in in_pod(cluster, namespace, "ls /data")


def test_without_a_group_the_disk_is_root_s(cluster: Cluster, namespace: str) -> None:
    """The sabotage of the test above."""
    database(cluster, namespace, fsGroup=None)
    assert in_pod(cluster, namespace, "touch /data/mine && echo written", check=False) == ""


def test_data_survives_the_pod_and_the_driver(cluster: Cluster, namespace: str) -> None:
    database(cluster, namespace)
    in_pod(cluster, namespace, "echo first > /data/file; sync")
    cluster.lab.kubectl("-n", namespace, "delete", "pod", "db-0")
    ready(cluster, namespace)
    assert in_pod(cluster, namespace, "cat /data/file") == "first"
    kill(cluster.lab.status()["parts"]["disk-csi-driver"]["pid"])
    in_pod(cluster, namespace, "echo second > /data/file; sync")
    cluster.lab.kubectl("-n", namespace, "delete", "pod", "db-0", "--wait=false")
    cluster.lab.up()
    eventually(lambda: cluster.lab.status()["parts"]["disk-csi-driver"]["healthy"])
    ready(cluster, namespace)
    assert in_pod(cluster, namespace, "cat /data/file") == "second"


# The end-to-end tests grow the platform's disks, and stop and start the lab under it.
@pytest.mark.soak
def test_a_disk_grows_under_its_pod(cluster: Cluster, namespace: str) -> None:
    database(cluster, namespace)
    before = available(cluster, namespace)
    started = in_pod(cluster, namespace, "stat -c %Z /proc/1")
    grow(cluster, namespace, "3Gi")
    eventually(lambda: claim(cluster, namespace)["status"]["capacity"]["storage"] == "3Gi", seconds=SECONDS)
    eventually(lambda: available(cluster, namespace) > before + 1.8 * GIBIBYTE)
    assert in_pod(cluster, namespace, "stat -c %Z /proc/1") == started
    assert int(fill(cluster, namespace, 1500).splitlines()[-1]) == 1500 << 20


def grow(cluster: Cluster, namespace: str, size: str) -> None:
    patch = json.dumps({"spec": {"resources": {"requests": {"storage": size}}}})
    cluster.lab.kubectl("-n", namespace, "patch", "pvc", "data-db-0", "-p", patch)


def test_a_disk_does_not_shrink(cluster: Cluster, namespace: str) -> None:
    database(cluster, namespace, size="2Gi")
    with pytest.raises(AssertionError, match="can not be less than status"):
        grow(cluster, namespace, "1Gi")


def test_a_full_disk_is_full_for_its_pod_alone(cluster: Cluster, node: RealNode, namespace: str) -> None:
    other = f"{namespace}-other"
    try:
        database(cluster, other)
        name = database(cluster, namespace)
        free = shutil.disk_usage(node.folder).free
        said = fill(cluster, namespace, 1200)
        assert "No space left on device" in said
        assert 900 << 20 < int(said.splitlines()[-1]) < GIBIBYTE
        assert available(cluster, namespace) < 1 << 20
        assert "No space left" not in fill(cluster, other, 100)
        assert image(node, name).stat().st_blocks * 512 <= GIBIBYTE
        assert free - shutil.disk_usage(node.folder).free < 20 * GIBIBYTE  # others write on this machine too
        in_pod(cluster, namespace, "rm /data/fill; sync")
        assert "No space left" not in fill(cluster, namespace, 500)
        eventually(lambda: image(node, name).stat().st_blocks * 512 < 700 << 20)
    finally:
        cluster.lab.kubectl("delete", "namespace", other, "--wait=false")


def test_a_large_disk_never_takes_more_than_the_budget(cluster: Cluster, namespace: str) -> None:
    """Not filled here: 20 GiB would take long. The driver's own tests fill a small budget."""
    database(cluster, namespace, size="256Gi")
    assert available(cluster, namespace) <= BUDGET_GIB * GIBIBYTE


def test_a_deleted_claim_leaves_nothing(cluster: Cluster, node: RealNode, namespace: str) -> None:
    name = database(cluster, namespace)
    assert image(node, name).exists()
    assert str(image(node, name)) in loops(node)
    cluster.lab.kubectl("-n", namespace, "delete", "statefulset", "db")
    cluster.lab.kubectl("-n", namespace, "delete", "pvc", "data-db-0")
    eventually(lambda: name not in {one["metadata"]["name"] for one in cluster.items("pv")}, seconds=SECONDS)
    eventually(lambda: not image(node, name).parent.exists())
    assert str(image(node, name)) not in loops(node)


@pytest.mark.parametrize(
    ("parameters", "why"),
    [({"skuname": "Premium_GRS"}, "not supported sku"), ({"colour": "blue"}, "invalid parameter colour")],
)
def test_what_azure_refuses_is_refused(cluster: Cluster, namespace: str, parameters: dict[str, str], why: str) -> None:
    wrong = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": namespace},
        "provisioner": "disk.csi.azure.com",
        "parameters": parameters,
        "volumeBindingMode": "Immediate",
    }
    asked = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "wrong", "namespace": namespace},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": namespace,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    cluster.lab.kubectl("create", "namespace", namespace)
    cluster.apply(yaml.safe_dump_all([wrong, asked]))
    try:

        def refusal() -> bool:
            events = cluster.items("events", "-n", namespace, "--field-selector=reason=ProvisioningFailed")
            return any(why in event["message"] for event in events)

        eventually(refusal, seconds=60)
        assert claim(cluster, namespace, "wrong")["status"]["phase"] == "Pending"
    finally:
        cluster.lab.kubectl("delete", "storageclass", namespace)


@pytest.mark.soak
def test_data_survives_the_lab(cluster: Cluster, node: RealNode, namespace: str) -> None:
    database(cluster, namespace)
    in_pod(cluster, namespace, "echo kept > /data/file; sync")
    cluster.lab.down()
    assert loops(node) == []
    assert str(node.folder) not in Path("/proc/mounts").read_text()
    cluster.lab.up()
    started = time.monotonic()
    while "kept" not in in_pod(cluster, namespace, "cat /data/file", check=False):
        assert time.monotonic() < started + SECONDS, cluster.lab.kubectl("-n", namespace, "describe", "pods")
        time.sleep(1)
    grow(cluster, namespace, "2Gi")
    eventually(lambda: claim(cluster, namespace)["status"]["capacity"]["storage"] == "2Gi", seconds=SECONDS)


# --- encryption

SET = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/diskEncryptionSets/des"
ENCRYPTED = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: NAME}}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {{name: NAME}}
provisioner: disk.csi.azure.com
volumeBindingMode: Immediate
parameters: {{skuName: Premium_ZRS, diskEncryptionSetID: {SET}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: data, namespace: NAME}}
spec: {{accessModes: [ReadWriteOnce], storageClassName: NAME, resources: {{requests: {{storage: 1Gi}}}}}}
"""


def test_no_disk_is_made_with_an_encryption_set_that_is_not_there(cluster: Cluster, namespace: str) -> None:
    cluster.apply(ENCRYPTED.replace("NAME", namespace))
    try:
        refused = f"ResourceNotFound: The disk encryption set '{SET}' was not found"
        told = ("get", "events", "-n", namespace, "-o", "jsonpath={.items[*].message}")
        eventually(lambda: refused in cluster.lab.kubectl(*told), seconds=SECONDS)
        assert cluster.lab.kubectl("get", "pvc", "data", "-n", namespace, "-o", "jsonpath={.status.phase}") == "Pending"
    finally:
        cluster.lab.kubectl("delete", "storageclass", namespace)
