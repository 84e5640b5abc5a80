"""Argo CD's own tools read the settings of both inventories, and say what they come to."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contract.conftest import Manifests, find
from tests.contract.rendered import Documents, render
from tests.lab.build.builder import built

OPENMRS = "openmrs/openmrs"
NOTIFICATIONS = ("--config-map", "argocd-notifications-cm.yml", "--secret", "argocd-notifications-secret.yml")
SETTINGS = ("--argocd-cm-path", "argocd-cm.yml", "--argocd-secret-path", "argocd-secret.yml")
# Some of its tools want to know a cluster, and ask it nothing.
NOWHERE = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "nowhere", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "nobody", "user": {"token": "none"}}],
    "contexts": [{"name": "nowhere", "context": {"cluster": "nowhere", "user": "nobody"}}],
    "current-context": "nowhere",
}


@dataclass
class Settings:
    """The ConfigMaps and Secrets of Argo CD, as files in a folder."""

    folder: Path
    manifests: dict[str, Any]

    def write(self) -> None:
        """Write them."""
        for name, manifest in self.manifests.items():
            (self.folder / f"{name}.yml").write_text(yaml.safe_dump(manifest), encoding="utf-8")

    def change(self, name: str, key: str, value: str) -> None:
        """Write one of them with something else in it."""
        manifest = {**self.manifests[name], "data": {**self.data(name), key: value}}
        (self.folder / f"{name}.yml").write_text(yaml.safe_dump(manifest), encoding="utf-8")

    def data(self, name: str) -> dict[str, str]:
        """What one of them holds."""
        return dict(self.manifests[name].get("data", {}))

    def admin(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `argocd admin` in the folder."""
        return subprocess.run(
            [built("argo-cd").folder / "argocd", "admin", *arguments],
            cwd=self.folder,
            env={"HOME": str(self.folder), "KUBECONFIG": str(self.folder / "kubeconfig")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def may(self, who: str, verb: str, what: str) -> str:
        """Whether somebody may."""
        policy = ("--policy-file", "argocd-rbac-cm.yml")
        return self.admin("settings", "rbac", "can", who, verb, what, OPENMRS, *policy).stdout.strip()

    def problems(self) -> list[str]:
        """What is wrong with the settings."""
        said = self.admin("settings", "validate", *SETTINGS).stdout
        assert said.count("✅") + said.count("❌") >= 4, said
        return [part.splitlines()[1] for part in said.split("❌")[1:]]

    def triggered(self, trigger: str, **status: Any) -> bool:
        """Whether a trigger fires on an Application of this status."""
        self.application(**status)
        said = self.admin("notifications", "trigger", "run", trigger, "application.yml", *NOTIFICATIONS)
        assert said.returncode == 0, said.stderr
        result = said.stdout.splitlines()[-1].split()[-1]
        assert result in ("true", "false"), said.stdout
        return result == "true"

    def application(self, **status: Any) -> None:
        """Write an Application of this status."""
        about = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {"name": "openmrs"}}
        body = {**about, "spec": {"project": "openmrs"}, "status": status}
        (self.folder / "application.yml").write_text(yaml.safe_dump(body), encoding="utf-8")


@pytest.fixture(scope="module", params=["lab", "production"])
def manifests(
    request: pytest.FixtureRequest, rendered: Callable[[str], Documents], tmp_path_factory: pytest.TempPathFactory
) -> Manifests:
    """What an inventory makes; that of the lab with Argo CD."""
    if request.param == "production":
        return rendered("production")["kubernetes"]
    more = {"platform_argocd": True, "openmrs_delivery": "argocd"}
    return render("lab", tmp_path_factory.mktemp("lab"), **more)["kubernetes"]


@pytest.fixture
def settings(manifests: Manifests, tmp_path: Path) -> Settings:
    """Give the settings of an inventory."""
    names = {
        "ConfigMap": ["argocd-cm", "argocd-rbac-cm", "argocd-notifications-cm"],
        "Secret": ["argocd-secret", "argocd-notifications-secret"],
    }
    found = {name: find(manifests, kind, name) for kind, of_kind in names.items() for name in of_kind}
    # Of the vault; a cluster would make `data` of it.
    key = {"server.secretkey": base64.b64encode(b"of the vault").decode()}
    assert found["argocd-secret"].pop("stringData").keys() == key.keys()
    result = Settings(tmp_path, {**found, "argocd-secret": {**found["argocd-secret"], "data": key}})
    (tmp_path / "kubeconfig").write_text(json.dumps(NOWHERE), encoding="utf-8")
    result.write()
    return result


def test_its_settings_are_valid(settings: Settings) -> None:
    assert settings.problems() == []
    assert "OIDC is configured" in settings.admin("settings", "validate", *SETTINGS).stdout


@pytest.mark.sabotage
def test_settings_that_it_cannot_read_are_noticed(settings: Settings) -> None:
    data = settings.data("argocd-cm")
    settings.change("argocd-cm", "oidc.config", data["oidc.config"].replace("issuer:", "issuer"))
    [problem] = settings.problems()
    assert "invalid oidc.config" in problem


def test_administrators_may_everything_and_nobody_else_anything(settings: Settings) -> None:
    assert settings.admin("settings", "rbac", "validate", "--policy-file", "argocd-rbac-cm.yml").returncode == 0
    groups = [line.split('"')[1] for line in settings.data("argocd-rbac-cm")["policy.csv"].splitlines()]
    assert groups
    for group in groups:
        assert {settings.may(group, verb, "applications") for verb in ("get", "sync", "delete")} == {"Yes"}
    assert {settings.may("somebody", verb, "applications") for verb in ("get", "sync", "delete")} == {"No"}


@pytest.mark.sabotage
def test_a_role_for_everybody_is_noticed(settings: Settings) -> None:
    settings.change("argocd-rbac-cm", "policy.default", "role:readonly")
    with pytest.raises(AssertionError):
        test_administrators_may_everything_and_nobody_else_anything(settings)


SYNC = {"status": "Synced", "revision": "0123456"}
FAILED = {"phase": "Failed", "message": "one or more objects failed to apply", "syncResult": {"revision": "0123456"}}


def test_who_has_to_know_is_told_of_what_went_wrong_and_of_nothing_else(settings: Settings) -> None:
    healthy, degraded = {"status": "Healthy"}, {"status": "Degraded"}
    assert settings.triggered("delivery-failed", sync=SYNC, health=healthy, operationState=FAILED)
    assert settings.triggered("delivery-degraded", sync=SYNC, health=degraded)
    done = {**FAILED, "phase": "Succeeded"}
    assert not settings.triggered("delivery-failed", sync=SYNC, health=degraded, operationState=done)
    assert not settings.triggered("delivery-degraded", sync=SYNC, health=healthy, operationState=FAILED)
    # One that was never delivered has neither.
    assert not settings.triggered("delivery-failed")
    assert not settings.triggered("delivery-degraded")


def test_an_alert_says_what_failed(settings: Settings) -> None:
    settings.application(sync=SYNC, health={"status": "Healthy"}, operationState=FAILED)
    notify = ("notifications", "template", "notify", "delivery-failed", "application.yml")
    said = settings.admin(*notify, "--recipient", "console:stdout", *NOTIFICATIONS)
    assert said.returncode == 0, said.stderr
    for expected in ("alertname: DeliveryFailed", "application: openmrs", FAILED["message"], "docs/alerts.md#delivery"):
        assert str(expected) in said.stdout, said.stdout


@pytest.mark.sabotage
def test_a_trigger_that_never_fires_is_noticed(settings: Settings) -> None:
    data = settings.data("argocd-notifications-cm")
    never = data["trigger.delivery-failed"].replace("'Failed'", "'Refused'")
    assert never != data["trigger.delivery-failed"]
    settings.change("argocd-notifications-cm", "trigger.delivery-failed", never)
    with pytest.raises(AssertionError):
        test_who_has_to_know_is_told_of_what_went_wrong_and_of_nothing_else(settings)
