"""Argo CD delivers OpenMRS from Git: what is committed runs, and nothing that was confirmed is lost on the way."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.end_to_end.conftest import Platform
from tests.end_to_end.support import archive
from tests.end_to_end.support.dashboards import answers, asked_of
from tests.end_to_end.support.git import Repository, repository
from tests.end_to_end.support.images import image_overrides
from tests.end_to_end.support.monitoring import RECEIVER_URL, TOLD_AT_ONCE, Monitoring, receiver
from tests.end_to_end.support.people import OPERATOR, VISITOR, browser, entra
from tests.end_to_end.support.pods import await_rollouts, pods
from tests.integration.support.lab import ROOT, UP_TIMEOUT
from tests.integration.support.lab_vault import enabled, set_secret, value
from tests.integration.support.playbook import PlaybookRun
from tests.integration.support.waiting import until
from tests.tools.sign_in import sign_in

CHART = ROOT / "charts" / "openmrs"
SECONDS = 300
APPLICATION = ("application", "openmrs", "-n", "argocd")
TRACKING = "argocd.argoproj.io/tracking-id"
PART_OF = "applyset.kubernetes.io/part-of"
GATEWAY = "templates/gateway/deployment.yaml"
KINDS = "configmaps,deployments,poddisruptionbudgets,serviceaccounts,services,statefulsets"
DIRECT, DELIVERED = {"openmrs_delivery": "direct"}, {"openmrs_delivery": "argocd"}
# What it says to a token that is signed by its key, and to another one.
DISABLED = "invalid session: account admin is disabled"
FORGED = "invalid session: token signature is invalid: signature is invalid"
# Of Argo CD, one version before ours.
BEFORE = "v3.6.0"


@dataclass
class Delivery:
    """The platform with Argo CD, and the repository that it delivers from."""

    platform: Platform
    repository: Repository

    def deploy(self, revision: str, *layers: str) -> PlaybookRun:
        """Have Argo CD deliver a revision."""
        return self.platform.deploy(*layers, extra={**DELIVERED, "openmrs_revision": revision})

    def application(self) -> dict[str, Any]:
        """What Argo CD says."""
        found = json.loads(self.platform.lab.kubectl("get", *APPLICATION, "-o", "json"))
        return dict(found.get("status", {}))

    def is_at(self, revision: str, health: str = "Healthy") -> bool:
        """Whether this revision is what runs."""
        status = self.application()
        sync, seen = status.get("sync", {}), status.get("health", {}).get("status")
        return (sync.get("status"), sync.get("revision"), seen) == ("Synced", revision, health)

    def refresh(self) -> None:
        """Have it look at the repository now, as a webhook would."""
        annotation = "argocd.argoproj.io/refresh=normal"
        self.platform.lab.kubectl("annotate", *APPLICATION, annotation, "--overwrite")

    def objects(self) -> dict[str, dict[str, Any]]:
        """What the chart made, by kind and name."""
        selector = "app.kubernetes.io/instance=openmrs"
        listed = self.platform.lab.kubectl("get", KINDS, "-n", "openmrs", "-l", selector, "-o", "json")
        return {f"{one['kind']}/{one['metadata']['name']}": one for one in json.loads(listed)["items"]}

    def refuses_a_token(self, key: str) -> str:
        """Why it takes no token of its administrator that a key has signed."""
        now = int(time.time())
        claims = {"iss": "argocd", "sub": "admin", "iat": now, "nbf": now, "exp": now + 60, "jti": str(uuid.uuid4())}
        with browser(self.platform, "argocd") as client:
            told = {"Authorization": f"Bearer {jwt.encode(claims, key, algorithm='HS256')}"}
            answer = client.get("/api/v1/projects", headers=told)
        assert answer.status_code == 401, answer.text
        return str(answer.json()["message"])

    def opens_the_cache(self, password: str) -> bool:
        """Whether a password does."""
        ask = "read -r REDISCLI_AUTH; export REDISCLI_AUTH; redis-cli ping"
        run = ("exec", "-i", "-n", "argocd", "deployment/argocd-redis", "--", "sh", "-c", ask)
        return "PONG" in self.platform.lab.kubectl(*run, stdin=f"{password}\n").split()

    def running(self) -> dict[str, int]:
        """The pods of OpenMRS that are not ending, by their uid, and how often each was started again."""
        return {
            pod["metadata"]["uid"]: sum(s["restartCount"] for s in pod["status"]["containerStatuses"])
            for pod in pods(self.platform.lab, "openmrs", "app.kubernetes.io/name=openmrs")
            if "deletionTimestamp" not in pod["metadata"]
        }


@pytest.fixture(scope="module")
def delivery(platform: Platform) -> Iterator[Delivery]:
    """Give Argo CD beside OpenMRS, which is still delivered directly."""
    with repository(platform.lab) as found:
        platform.site(extra=DIRECT).ok()
        yield Delivery(platform, found)
        # After a test that failed it may still be its.
        if "openmrs" in platform.lab.kubectl("get", "applications", "-n", "argocd", "-o", "name"):
            platform.deploy(extra=DIRECT).ok()
    platform.deploy().ok()


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """A copy of the chart to change."""
    return Path(shutil.copytree(CHART, tmp_path / "chart"))


def owners(one: dict[str, Any]) -> str:
    """Whose an object is, by the marks on it."""
    marked = str(one["metadata"].get("annotations", {}).get(TRACKING, "")).startswith("openmrs:")
    return " and ".join(["Argo CD"] * marked + ["us"] * (PART_OF in one["metadata"].get("labels", {})))


def changed(chart: Path, path: str, old: str, new: str) -> Path:
    """The chart, with something else in one of its files."""
    text = (chart / path).read_text()
    assert old in text
    (chart / path).write_text(text.replace(old, new, 1))
    return chart


def test_nobody_sees_it_without_a_sign_in(delivery: Delivery) -> None:
    clinic = delivery.platform.clinic
    with replace(clinic, host=clinic.host.replace("openmrs.", "argocd.", 1)).client() as client:
        assert client.get("/api/v1/settings").json()["userLoginsDisabled"] is True
        for path in ("applications", "clusters", "repositories", "projects", "account", "stream/applications"):
            assert client.get(f"/api/v1/{path}").status_code == 401, path
        assert client.post("/api/v1/session", json={"username": "admin", "password": "admin"}).status_code >= 400
        assert client.get("/metrics").status_code in (404, 401, 200)
        assert "argocd_" not in client.get("/metrics").text


@pytest.mark.soak
@pytest.mark.sabotage
def test_a_door_that_is_open_is_noticed(delivery: Delivery) -> None:
    lab = delivery.platform.lab
    everybody = json.dumps({"data": {"users.anonymous.enabled": "true"}})
    lab.kubectl("patch", "configmap", "argocd-cm", "-n", "argocd", "--type=merge", "-p", everybody)
    lab.kubectl("rollout", "restart", "deployment/argocd-server", "-n", "argocd")
    await_rollouts(lab)
    try:
        with pytest.raises(AssertionError):
            test_nobody_sees_it_without_a_sign_in(delivery)
    finally:
        delivery.platform.deploy("argocd", extra=DIRECT).ok()
        lab.kubectl("rollout", "restart", "deployment/argocd-server", "-n", "argocd")
        await_rollouts(lab)


def test_an_operator_sees_everything_and_somebody_else_of_the_tenant_nothing(delivery: Delivery) -> None:
    def projects(login: str) -> int:
        with browser(delivery.platform, "argocd") as client, entra(delivery.platform) as directory:
            sign_in(client, directory, login, "/auth/login")
            answer = client.get("/api/v1/projects")
            assert answer.status_code == 200, answer.text
            return len(answer.json().get("items") or [])

    assert projects(OPERATOR) == len({"default", "openmrs"})
    assert projects(VISITOR) == 0


def test_it_takes_over_what_runs_without_a_restart(well: Platform, delivery: Delivery) -> None:
    del well
    before, there = delivery.running(), delivery.objects()
    head = delivery.repository.head
    delivery.deploy(head).ok()
    assert delivery.running() == before
    now = delivery.objects()
    assert {name: one["metadata"]["uid"] for name, one in now.items()} == {
        name: one["metadata"]["uid"] for name, one in there.items()
    }
    assert {name: owners(one) for name, one in now.items()} == dict.fromkeys(now, "Argo CD")
    assert delivery.deploy(head).changed == 0


def test_what_is_committed_runs(well: Platform, delivery: Delivery, chart: Path) -> None:
    label = "        committed: first\n      annotations:\n"
    commit = delivery.repository.commit("A label", changed(chart, GATEWAY, "      annotations:\n", label))
    delivery.deploy(commit, "openmrs").ok()
    assert delivery.is_at(commit)

    def committed() -> set[str | None]:
        running = pods(well.lab, "openmrs", "app.kubernetes.io/component=gateway")
        return {pod["metadata"]["labels"].get("committed") for pod in running}

    # Those of before may still be ending.
    until(lambda: committed() == {"first"}, "only what was committed runs", SECONDS, every=1)
    well.run("verify").ok()


def test_its_secrets_are_rotated_and_it_delivers_on(well: Platform, delivery: Delivery, chart: Path) -> None:
    names = ["argocd-session-key", "argocd-redis-password"]
    before, running = {name: value(well.lab, name) for name in names}, delivery.running()
    head = delivery.repository.head
    assert delivery.opens_the_cache(before["argocd-redis-password"])
    assert delivery.refuses_a_token(before["argocd-session-key"]) == DISABLED
    declared = {**DELIVERED, "openmrs_revision": head, "secrets_rotation_only": names}
    well.run("rotate", extra=declared).ok()
    with browser(well, "argocd") as client, entra(well) as directory:
        sign_in(client, directory, OPERATOR, "/auth/login")
        assert client.get("/api/v1/projects").status_code == 200
    now = {name: value(well.lab, name) for name in names}
    assert [name for name in names if now[name] == before[name]] == []
    assert {name: enabled(well.lab, name).count(True) for name in names} == dict.fromkeys(names, 1)
    assert delivery.refuses_a_token(now["argocd-session-key"]) == DISABLED
    assert delivery.refuses_a_token(before["argocd-session-key"]) == FORGED
    assert delivery.opens_the_cache(now["argocd-redis-password"])
    assert not delivery.opens_the_cache(before["argocd-redis-password"])
    label = "        rotated: done\n      annotations:\n"
    commit = delivery.repository.commit("Another label", changed(chart, GATEWAY, "      annotations:\n", label))
    delivery.deploy(commit, "openmrs").ok()
    assert delivery.is_at(commit)
    assert running.keys() & delivery.running().keys(), "the backend was started again"


def change_by_hand(delivery: Delivery, seconds: float = SECONDS) -> None:
    """Have one pod more than Git says, and expect Argo CD to correct that."""
    lab = delivery.platform.lab
    lab.kubectl("scale", "deployment", "openmrs-frontend", "-n", "openmrs", "--replicas=3")

    def put_back() -> bool:
        return bool(delivery.objects()["Deployment/openmrs-frontend"]["spec"]["replicas"] == 2)

    until(put_back, "Argo CD corrects it", seconds, every=1)
    await_rollouts(lab)


def test_what_is_changed_by_hand_is_put_back(well: Platform, delivery: Delivery) -> None:
    del well
    change_by_hand(delivery)


@pytest.mark.soak
@pytest.mark.sabotage
def test_what_nobody_puts_back_is_noticed(well: Platform, delivery: Delivery) -> None:
    def heals(whether: bool) -> None:
        automated = {"spec": {"syncPolicy": {"automated": {"selfHeal": whether}}}}
        well.lab.kubectl("patch", *APPLICATION, "--type=merge", "-p", json.dumps(automated))

    heals(False)
    try:
        with pytest.raises(AssertionError, match="Argo CD corrects it"):
            change_by_hand(delivery, 60)
    finally:
        heals(True)
    change_by_hand(delivery)


def test_a_bad_commit_is_told_and_undone(well: Platform, delivery: Delivery, chart: Path) -> None:
    set_secret(well.lab, "alerts-test", RECEIVER_URL)
    with receiver(well.lab) as alertmanager:
        well.deploy("prometheus", extra=TOLD_AT_ONCE).ok()
        # From here on whatever is pushed is delivered.
        delivery.deploy("main", "openmrs").ok()
        changed(chart, GATEWAY, "spec:\n  replicas:", "spec:\n  progressDeadlineSeconds: 20\n  replicas:")
        bad = delivery.repository.commit(
            "Nothing that runs", changed(chart, GATEWAY, "command: [nginx,", "command: [/no/such/program,")
        )
        delivery.refresh()
        until(lambda: delivery.is_at(bad, "Degraded"), "it is degraded", SECONDS, every=1)

        def is_told() -> bool:
            return "DeliveryDegraded" in {alert["alertname"] for alert in alertmanager.received()}

        until(is_told, "somebody is told", SECONDS, every=2)
        # The pods of before serve on.
        well.clinic.await_healthy(SECONDS)
        good = delivery.repository.revert()
        delivery.refresh()
        until(lambda: delivery.is_at(good), "what was before is back", SECONDS, every=1)
    well.deploy("prometheus").ok()


def test_what_holds_records_stays_when_git_forgets_it(well: Platform, delivery: Delivery, chart: Path) -> None:
    shutil.rmtree(chart / "templates" / "backend")
    claims = well.lab.kubectl("get", "pvc", "-n", "openmrs", "-o", "name")
    commit = delivery.repository.commit("No backend", chart)
    delivery.refresh()
    until(lambda: delivery.application()["sync"]["revision"] == commit, "it has seen that", SECONDS, every=1)
    until(lambda: delivery.application()["sync"]["status"] == "OutOfSync", "and says so", SECONDS, every=1)
    assert "StatefulSet/openmrs-backend" in delivery.objects()
    assert well.lab.kubectl("get", "pvc", "-n", "openmrs", "-o", "name") == claims
    good = delivery.repository.revert()
    delivery.refresh()
    until(lambda: delivery.is_at(good), "all is as before", SECONDS, every=1)


@pytest.mark.soak
def test_an_upgrade_of_argo_cd_starts_nothing_of_openmrs_again(well: Platform, delivery: Delivery) -> None:
    well.lab.command("images", f"argocd:{BEFORE}", timeout=UP_TIMEOUT)
    head, running = delivery.repository.head, delivery.running()
    image = ("get", "statefulset", "argocd-application-controller", "-n", "argocd", "-o")
    for tag in (BEFORE, ""):
        images = image_overrides(well.lab, **({"argocd": tag} if tag else {}))
        declared = {**DELIVERED, "openmrs_revision": head, "platform_image_overrides": images}
        well.site("--skip-tags", "verify", extra=declared).ok()
        assert delivery.is_at(head)
        assert delivery.running() == running
        shown = well.lab.kubectl(*image, "jsonpath={.spec.template.spec.containers[0].image}")
        assert (images["argocd"]["digest"]) in shown
    commit = delivery.repository.revert()
    delivery.deploy(commit, "openmrs").ok()
    assert delivery.is_at(commit)


def test_every_query_of_its_dashboard_returns_data(delivery: Delivery) -> None:
    monitoring = Monitoring(delivery.platform.lab)
    queries = [query for query in asked_of("gitops") if query.title != "Alertes en cours"]

    def blank() -> list[str]:
        return [str(query) for query, found in answers(monitoring.ask, queries).items() if not found]

    with contextlib.suppress(AssertionError):
        until(lambda: not blank(), "every query has an answer", SECONDS, every=5)
    assert blank() == []


def test_it_may_write_nothing_else(delivery: Delivery) -> None:
    def may(account: str, verb: str, what: str, namespace: str) -> str:
        who = f"--as=system:serviceaccount:{account}"
        return delivery.platform.lab.kubectl("auth", "can-i", verb, what, "-n", namespace, who, check=False).strip()

    controller, deployer = "argocd:argocd-application-controller", "openmrs:argocd-deployer"
    assert may(controller, "patch", "deployments.apps", "openmrs") == "no"
    assert may(controller, "get", "secrets", "openmrs") == "no"
    assert may(controller, "get", "secrets", "mariadb") == "no"
    assert may(deployer, "patch", "deployments.apps", "openmrs") == "yes"
    for what in ("secrets", "pods", "persistentvolumeclaims", "roles.rbac.authorization.k8s.io"):
        assert may(deployer, "create", what, "openmrs") == "no", what
    assert may(deployer, "patch", "deployments.apps", "mariadb") == "no"


def test_it_gives_back_what_runs_without_a_restart(well: Platform, delivery: Delivery) -> None:
    # What Git has is what this collection has.
    same = delivery.repository.commit("As it was", CHART)
    delivery.deploy(same, "openmrs").ok()
    before = delivery.running()
    well.deploy(extra=DIRECT).ok()
    assert delivery.running() == before
    now = delivery.objects()
    assert {name: owners(one) for name, one in now.items()} == dict.fromkeys(now, "us")
    assert "openmrs" not in well.lab.kubectl("get", "applications", "-n", "argocd", "-o", "name")
    assert well.deploy(extra=DIRECT).changed == 0


@pytest.mark.soak
@pytest.mark.spoils
def test_a_moment_is_restored_while_it_delivers(well: Platform, delivery: Delivery) -> None:
    head = delivery.repository.head
    delivery.deploy(head).ok()
    kept = well.ledger.write("Gardée")
    time.sleep(2)
    moment = dt.datetime.now(dt.UTC).replace(microsecond=0)
    time.sleep(2)
    lost = well.clinic.register("Perdue")
    archive.await_archived(well.lab, moment)
    declared = {**DELIVERED, "openmrs_revision": head, "restore_to": moment.isoformat(), "restore_switch": True}
    [result] = well.run("restore", extra=declared).ok().results_of("mariadb_restore")
    well.declared["mariadb_volume"] = result["volume"]
    well.assert_well()
    assert delivery.is_at(head)
    assert well.clinic.patient(kept) is not None
    assert well.clinic.patient(lost) is None
    assert delivery.deploy(head).changed == 0
