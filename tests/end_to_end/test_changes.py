"""Changes that an operator makes on a working day: nothing that was confirmed is lost, and later runs agree."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import Platform
from tests.end_to_end.support.database import query
from tests.end_to_end.support.images import image_overrides
from tests.end_to_end.support.pods import pods
from tests.end_to_end.support.writing import writing
from tests.integration.support.lab import ROOT
from tests.integration.support.waiting import until

# Variable of the size, pod, its claim, where it is mounted.
DISKS = [
    ("mariadb_storage_size", "mariadb", "mariadb-0", "data-mariadb-0", "/var/lib/mysql"),
    ("openmrs_storage_size", "openmrs", "openmrs-backend-0", "data-openmrs-backend-0", "/openmrs/data"),
]
GROWTH = 2
GIBIBYTE = 1 << 30


def pod(platform: Platform, namespace: str, name: str) -> dict[str, Any]:
    """Return one pod."""
    return next(entry for entry in pods(platform.lab, namespace) if entry["metadata"]["name"] == name)


def uids(platform: Platform) -> list[str]:
    """Return what tells the two pods with disks from their successors."""
    return [str(pod(platform, namespace, name)["metadata"]["uid"]) for _, namespace, name, _, _ in DISKS]


def sizes(platform: Platform) -> list[int]:
    """Return what the claims have, in GiB."""
    found = []
    for _, namespace, _, claim, _ in DISKS:
        path = "jsonpath={.status.capacity.storage}"
        found.append(int(platform.lab.kubectl("get", "pvc", claim, "-n", namespace, "-o", path).removesuffix("Gi")))
    return found


def available(platform: Platform) -> list[int]:
    """Return how many bytes the pods may still write to the mounted file systems."""
    free = ["df", "--output=avail", "--block-size=1"]
    return [
        int(platform.lab.kubectl("exec", "-n", namespace, name, "--", *free, path).split()[-1])
        for _, namespace, name, _, path in DISKS
    ]


def test_a_setting_of_mariadb_takes_effect_by_a_restart_that_loses_no_row(well: Platform) -> None:
    before = uids(well)[0]
    well.declared["mariadb_settings_overrides"] = {"max_connections": 150}
    with writing(well.ledger) as writer:
        assert well.deploy("mariadb").ok().changed > 0
        well.clinic.await_healthy()
        well.ledger.write("Redémarré")
    assert uids(well)[0] != before
    assert query(well.lab, "SELECT @@max_connections") == "150"
    assert writer.confirmed > 1, writer
    print(f"{writer.confirmed} records were confirmed meanwhile, {writer.refused} were not")


def test_disks_grow_under_the_running_pods(well: Platform) -> None:
    before, sizes_before, free_before = uids(well), sizes(well), available(well)
    well.declared |= {disk[0]: f"{size + GROWTH}Gi" for disk, size in zip(DISKS, sizes_before, strict=True)}
    assert well.deploy("mariadb", "openmrs").ok().changed > 0
    # The kubelet tells the claim's new size once it has looked at the mounted file system.
    until(lambda: sizes(well) == [size + GROWTH for size in sizes_before], "the claims have grown")
    for free, was in zip(available(well), free_before, strict=True):
        assert free > was + 0.8 * GROWTH * GIBIBYTE
    assert uids(well) == before
    smaller = {DISKS[0][0]: f"{sizes_before[0]}Gi"}
    assert "shrink" in well.run("deploy", "--check", "--tags", "mariadb", extra=smaller).failure()


# --- another version, forward and back ------------------------------------------------------------------------------

NEWER = "3.8.0-no-demo"
# What the next version of the chart brings: an object, and a setting of the backend that says where it comes from.
ADDED_OBJECT = """apiVersion: v1
kind: ConfigMap
metadata:
  name: openmrs-release
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "openmrs.labels" (list . "backend") | nindent 4 }}
data:
  release: {{ .Chart.Version | quote }}
"""
ADDED_SETTING = """            - name: OMRS_EXTRA_PLATFORM_RELEASE
              valueFrom:
                configMapKeyRef:
                  name: openmrs-release
                  key: release
"""
BEFORE_SETTING = "            - name: OMRS_INSTALL_METHOD\n"


def newer_chart(folder: Path) -> Path:
    """Copy the chart as its next version: one more object, one more setting, and a number that every pod shows."""
    chart = folder / "openmrs"
    shutil.copytree(ROOT / "charts" / "openmrs", chart)
    backend = chart / "templates" / "backend"
    (backend / "release.yaml").write_text(ADDED_OBJECT, encoding="utf-8")
    statefulset = (backend / "statefulset.yaml").read_text(encoding="utf-8")
    assert statefulset.count(BEFORE_SETTING) == 1
    changed = statefulset.replace(BEFORE_SETTING, ADDED_SETTING + BEFORE_SETTING)
    (backend / "statefulset.yaml").write_text(changed, encoding="utf-8")
    about = chart / "Chart.yaml"
    text = re.sub(r"(?m)^version: .*$", "version: 0.2.0", about.read_text(encoding="utf-8"))
    about.write_text(re.sub(r"(?m)^appVersion: .*$", "appVersion: 3.8.0", text), encoding="utf-8")
    return chart


def forward(platform: Platform, folder: Path) -> dict[str, object]:
    """Return the variables of an upgrade of chart and backend."""
    platform.lab.command("images", "3.8.0", timeout=1800)
    overrides = image_overrides(platform.lab, openmrs_backend=NEWER)
    return {"platform_image_overrides": overrides, "openmrs_chart": str(newer_chart(folder))}


def backend(platform: Platform) -> tuple[str, str, int]:
    """Return what runs: the tag of the image, the version that the chart writes on it, and how far the schema is."""
    found = pod(platform, "openmrs", "openmrs-backend-0")
    image = next(c["image"] for c in found["spec"]["containers"] if c["name"] == "backend")
    change_sets = int(query(platform.lab, "SELECT COUNT(*) FROM openmrs.liquibasechangelog"))
    tag = image.partition(":")[2].partition("@")[0]
    return tag, found["metadata"]["labels"]["app.kubernetes.io/version"], change_sets


def release(platform: Platform) -> tuple[str, str]:
    """Return what the next version of the chart adds: the object's content, and the setting as the backend has it."""
    path = "jsonpath={.data.release}"
    found = platform.lab.kubectl("get", "configmap", "openmrs-release", "-n", "openmrs", "-o", path, check=False)
    properties = ["cat", "/openmrs/data/openmrs-runtime.properties"]
    text = platform.lab.kubectl("exec", "-n", "openmrs", "openmrs-backend-0", "-c", "backend", "--", *properties)
    setting = re.search(r"(?m)^platform\.release=(.*)$", text)
    return found, setting.group(1) if setting else ""


def modules(platform: Platform) -> dict[str, int]:
    """Return the modules that the backend has loaded, with their versions."""
    with platform.clinic.client() as client:
        answer = client.get("/openmrs/ws/rest/v1/module", auth=("admin", platform.clinic.password))
    answer.raise_for_status()
    return {module["uuid"]: int(module["version"]) for module in answer.json()["results"]}


def test_chart_and_image_go_forward_and_back(well: Platform, tmp_path: Path) -> None:
    before, modules_before = backend(well), modules(well)
    well.site("--skip-tags", "verify", extra=forward(well, tmp_path)).ok()
    newer = backend(well)
    assert newer[:2] == (NEWER, "3.8.0")
    assert release(well) == ("0.2.0", "0.2.0")
    assert newer[2] > before[2]
    modules_newer = modules(well)
    assert any(modules_newer[name] > version for name, version in modules_before.items())
    well.ledger.write("Nouvelle-version")
    well.ledger.assert_complete()
    well.deploy().ok()
    assert backend(well) == (before[0], before[1], newer[2])
    assert modules(well) == modules_before
    # The object goes with its chart. A setting that OpenMRS has merged into its file stays there: it only adds.
    assert release(well)[0] == ""


# --- the proof of all of these --------------------------------------------------------------------------------------


@pytest.mark.sabotage
def test_a_row_that_is_lost_is_noticed(well: Platform) -> None:
    lost = well.ledger.write("Perdue")
    query(well.lab, f"SET foreign_key_checks = 0; DELETE FROM openmrs.person WHERE uuid = '{lost}'")  # noqa: S608
    with pytest.raises(AssertionError, match=lost):
        well.ledger.assert_complete()
    well.ledger.confirmed.remove(lost)
