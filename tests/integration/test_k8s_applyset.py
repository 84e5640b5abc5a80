"""The module k8s_applyset against a real API server with controllers: what only the real thing can prove."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import OutcomeError, PlatformError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.redaction import Redactor
from ansible_collections.audioprothese.platform.plugins.module_utils.kube import connection
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.applyset import PART_OF, ApplySet
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.client import KubeClient
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.errors import ConnectionFailed
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.runner import Options, Runner

from tests.integration.support.control_plane import ControlPlane, control_plane

Document = dict[str, Any]
TAKE_OVER = ("before-first-apply", "k9s*", "kubectl*", "Mozilla*")
CANARY = "canary-5a1e77b0c4-do-not-leak"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Run one API server for this file."""
    with control_plane(tmp_path_factory.mktemp("plane")) as running:
        yield running


class Engine:
    """The module's engine in this process, with a set and a namespace of its own."""

    def __init__(self, plane: ControlPlane, name: str) -> None:
        self.plane, self.name = plane, name
        self.set = ApplySet(name, "kube-system")

    def document(self, api: str, kind: str, name: str, **rest: Any) -> Document:
        return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": self.name}, **rest}

    @property
    def namespace(self) -> Document:
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.name}}

    def config(self, name: str = "config", **data: str) -> Document:
        return self.document("v1", "ConfigMap", name, data=data)

    def deployment(self, replicas: int = 0, image: str = "registry.example/app:1", **rest: Any) -> Document:
        labels = {"app": "web"}
        container = {
            "name": "app",
            "image": image,
            "resources": {"requests": {"cpu": "1000m", "memory": "0.5Gi"}},
            "ports": [{"name": "http", "containerPort": 8080}],
            "env": [{"name": "MODE", "value": "production"}],
        }
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template, **rest}
        return self.document("apps/v1", "Deployment", "web", spec=spec)

    def run(
        self, *documents: Document, absent: bool = False, kubeconfig: Path | None = None, **options: Any
    ) -> Document:
        settings = {"applyset": self.name, "take_over": TAKE_OVER, "wait": False, "timeout": 20.0, **options}
        where = {"kubeconfig": str(kubeconfig or self.plane.admin)}
        runner = Runner(
            Options(**settings),
            connect=lambda: KubeClient(connection.configuration(where)),
            redactor=Redactor(b"key"),
        )
        return runner.absent(documents) if absent else runner.present(documents)

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        return self.plane.run_kubectl("-n", self.name, *arguments, stdin=stdin)


@pytest.fixture
def engine(plane: ControlPlane, request: pytest.FixtureRequest) -> Engine:
    """Give each test a set and a namespace with its name."""
    return Engine(plane, request.node.name.removeprefix("test_").replace("_", "-").partition("[")[0][:50])


def verbs(result: Document) -> list[tuple[str, str]]:
    return [(action["action"], action["resource"]) for action in result["plan"]]


def drift(result: Document) -> dict[str, tuple[Any, Any]]:
    return {f["path"]: (f["desired"], f["live"]) for f in result["findings"] if f["verdict"] == "drift"}


def test_values_the_server_writes_differently_are_equal(engine: Engine) -> None:
    """Quantities, defaults, and lists that the server completes are no drift, on the first look and later."""
    service = engine.document("v1", "Service", "web", spec={"selector": {"app": "web"}, "ports": [{"port": 80}]})
    secret = engine.document("v1", "Secret", "keys", stringData={"password": CANARY})
    documents = [engine.namespace, engine.deployment(), service, secret, engine.config(a="1")]
    first = engine.run(*documents)
    assert len(first["plan"]) == 6
    second = engine.run(*documents)
    assert (second["changed"], second["findings"]) == (False, [])
    assert second["requests"]["PATCH"] == 0
    assert second["requests"]["DRY_RUN"] == 6


def test_edits_by_hand_are_found_by_path_and_corrected(engine: Engine) -> None:
    documents = [engine.namespace, engine.deployment(), engine.config(a="1", b="2")]
    engine.run(*documents)
    engine.kubectl("scale", "deployment/web", "--replicas=3")
    engine.kubectl("set", "image", "deployment/web", "app=registry.example/app:evil")
    engine.kubectl("set", "env", "deployment/web", "MODE=debug")
    engine.kubectl("patch", "configmap/config", "--type=json", "-p", '[{"op": "remove", "path": "/data/b"}]')
    engine.kubectl("label", "configmap/config", f"{PART_OF}-")
    engine.kubectl("annotate", "deployment/web", "owner=somebody")
    expected = {
        "spec.replicas": (0, 3),
        "spec.template.spec.containers[name=app].image": ("registry.example/app:1", "registry.example/app:evil"),
        "spec.template.spec.containers[name=app].env[name=MODE].value": ("production", "debug"),
        "data.b": ("2", None),
        f'metadata.labels["{PART_OF}"]': (engine.set.id, None),
    }
    check = engine.run(*documents, check=True)
    assert drift(check) == expected
    assert check["requests"]["PATCH"] == 0
    origins = {f["path"]: f["origin"] for f in check["findings"]}
    assert origins["spec.template.spec.containers[name=app].image"].startswith("kubectl-set (Update 20")
    real = engine.run(*documents, expect_plan=check["plan_digest"])
    assert (real["plan"], real["findings"]) == (check["plan"], check["findings"])
    assert engine.run(*documents)["changed"] is False
    assert engine.kubectl("get", "deployment/web", "-o", "jsonpath={.metadata.annotations.owner}") == "somebody"


def test_a_field_of_a_controller_is_not_taken_unless_forced(engine: Engine) -> None:
    engine.run(engine.namespace, engine.deployment(replicas=1))
    autoscaled = yaml.safe_dump({"spec": {"replicas": 4}})
    engine.kubectl("patch", "deployment/web", "--field-manager=autoscaler", "-p", autoscaled)
    with pytest.raises(OutcomeError, match=r"spec\.replicas is held by the field manager autoscaler"):
        engine.run(engine.namespace, engine.deployment(replicas=1))
    result = engine.run(engine.namespace, engine.deployment(replicas=1), force_conflicts=True)
    assert drift(result) == {"spec.replicas": (1, 4)}
    assert [f["message"] for f in result["findings"]] == ["taken over from the field manager autoscaler"]


@pytest.mark.parametrize(
    ("kind", "path"),
    [("deployment", "spec.selector.matchLabels.app"), ("statefulset", r"spec\.volumeClaimTemplates.*accessModes")],
)
def test_what_cannot_change_is_named_before_the_first_write(engine: Engine, kind: str, path: str) -> None:
    def workload(value: str) -> Document:
        body = engine.deployment()
        if kind == "deployment":
            body["spec"]["selector"] = {"matchLabels": {"app": value}}
            body["spec"]["template"]["metadata"] = {"labels": {"app": value}}
            return body
        mode = {"first": "ReadWriteOnce", "second": "ReadWriteMany"}[value]
        claim = {"accessModes": [mode], "resources": {"requests": {"storage": "1Gi"}}}
        spec = {**body["spec"], "serviceName": "web"}
        spec["volumeClaimTemplates"] = [{"metadata": {"name": "data"}, "spec": claim}]
        return {**body, "kind": "StatefulSet", "spec": spec}

    engine.run(engine.namespace, workload("first"))
    before = engine.kubectl("get", "configmap", "-o", "name")
    for check in (True, False):
        with pytest.raises(OutcomeError, match=f"{path}.* cannot be changed in place"):
            engine.run(engine.namespace, engine.config(new="1"), workload("second"), check=check)
    assert engine.kubectl("get", "configmap", "-o", "name") == before
    engine.run(engine.namespace, absent=True, allow_delete=(f"Namespace/{engine.name}",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spec": {"replicaz": 1}}, r"Deployment/default/web: spec\.replicaz is no field of apps/v1/Deployment"),
        ({"spec": {"replicas": -1}}, r"spec\.replicas is not valid"),
        ({"kind": "Deploymentt"}, r"does not serve apps/v1/Deploymentt"),
    ],
)
def test_a_wrong_document_stops_the_run(engine: Engine, change: Document, message: str) -> None:
    wrong = {**engine.deployment(), **{k: v for k, v in change.items() if k != "spec"}}
    wrong["spec"] = {**wrong["spec"], **change.get("spec", {})}
    default = {**wrong, "metadata": {"name": "web", "namespace": "default"}}
    with pytest.raises(OutcomeError, match=message):
        engine.run(engine.namespace, default)
    assert engine.name not in engine.plane.run_kubectl("get", "namespaces", "-o", "name")


def test_custom_resources_come_with_their_definition(engine: Engine) -> None:
    group = f"{engine.name}.example"
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "names": {"kind": "Widget", "plural": "widgets"},
            "scope": "Namespaced",
            "versions": [version],
        },
    }
    documents = [engine.document(f"{group}/v1", "Widget", "w", spec={"size": 3}), definition, engine.namespace]
    check = engine.run(*documents, check=True)
    assert [a["unverified"] for a in check["plan"]] == [False, False, False, True]
    real = engine.run(*documents, expect_plan=check["plan_digest"])
    assert verbs(real) == verbs(check)
    assert engine.run(*documents)["changed"] is False
    with pytest.raises(OutcomeError, match="it would be deleted, and it holds state"):
        engine.run(*documents, absent=True)


def test_what_is_being_deleted_is_waited_for_by_nobody(engine: Engine) -> None:
    engine.run(engine.namespace, engine.config(a="1"))
    engine.kubectl("patch", "configmap/config", "-p", '{"metadata": {"finalizers": ["test.example/hold"]}}')
    engine.kubectl("delete", "configmap/config", "--wait=false")
    with pytest.raises(OutcomeError, match=r"config: it is being deleted, held by test\.example/hold"):
        engine.run(engine.namespace, engine.config(a="2"))
    engine.kubectl("patch", "configmap/config", "-p", '{"metadata": {"finalizers": null}}')
    assert engine.run(engine.namespace, engine.config(a="2"))["changed"] is True


def test_versions_of_one_kind_may_be_mixed(engine: Engine) -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    common = {"scaleTargetRef": target, "maxReplicas": 3}
    old = engine.document("autoscaling/v1", "HorizontalPodAutoscaler", "old", spec=common)
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
    }
    new = engine.document("autoscaling/v2", "HorizontalPodAutoscaler", "new", spec={**common, "metrics": [metric]})
    engine.run(engine.namespace, old, new)
    assert engine.run(engine.namespace, old, new)["changed"] is False


def test_members_no_longer_declared_are_pruned_wherever_they_are(engine: Engine) -> None:
    far = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"{engine.name}-far"}}
    service = engine.document("v1", "Service", "web", spec={"ports": [{"port": 80}], "selector": {"app": "web"}})
    moved = {**engine.config(), "metadata": {"name": "moved", "namespace": f"{engine.name}-far"}}
    engine.run(engine.namespace, far, service, moved, engine.config(a="1"))
    check = engine.run(engine.namespace, far, engine.config(a="1"), check=True)
    gone = [("delete", f"Service/{engine.name}/web"), ("delete", f"ConfigMap/{engine.name}-far/moved")]
    assert [action for action in verbs(check) if action[0] == "delete"] == gone
    unexpected = [f["resource"] for f in check["findings"] if f["verdict"] == "unexpected"]
    assert sorted(unexpected) == sorted(name for _verb, name in gone)
    engine.run(engine.namespace, far, engine.config(a="1"), expect_plan=check["plan_digest"])
    assert engine.run(engine.namespace, far, engine.config(a="1"))["changed"] is False
    assert "web" not in engine.kubectl("get", "service", "-o", "name")


def test_kubectl_understands_the_set(engine: Engine) -> None:
    """kubectl's own ApplySet code reads our parent, and refuses it because the set is ours."""
    engine.run(engine.namespace, engine.config(a="1"))
    command = ["--kubeconfig", str(engine.plane.admin), "-n", "kube-system", "apply", "--server-side", "--prune"]
    done = subprocess.run(
        [str(engine.plane.kubectl), *command, f"--applyset=configmaps/{engine.name}", "-f", "-"],
        input=json.dumps(engine.config(a="2")),
        env={**os.environ, "KUBECTL_APPLYSET": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert 'managed by tooling "audioprothese.platform" instead of "kubectl"' in done.stderr


def test_absent_deletes_and_waits_until_it_is_gone(engine: Engine) -> None:
    documents = [engine.namespace, engine.config(a="1"), engine.deployment()]
    engine.run(*documents)
    result = engine.run(*documents, absent=True, allow_delete=("Namespace/*",))
    assert verbs(result)[-1] == ("delete", f"ConfigMap/kube-system/{engine.name}")
    assert engine.name not in engine.plane.run_kubectl("get", "namespaces", "-o", "name")
    assert engine.run(*documents, absent=True)["changed"] is False


def test_waiting_ends_with_the_reason(engine: Engine) -> None:
    """No node takes the pod: the message names the object, how far it got and what the scheduler or quota says."""
    quota = engine.document("v1", "ResourceQuota", "none", spec={"hard": {"pods": "0"}})
    engine.run(engine.namespace, quota)
    with pytest.raises(OutcomeError, match=r"Deployment/.*/web.*(exceeded quota|0 of 1 replicas)") as caught:
        engine.run(engine.namespace, quota, engine.deployment(replicas=1), wait=True, wait_timeout=6.0)
    assert caught.value.outcome["changed"] is True
    assert ("create", f"Deployment/{engine.name}/web") in verbs(caught.value.outcome)
    engine.run(engine.namespace, quota, engine.deployment(replicas=0), wait=True)


@pytest.mark.parametrize(
    ("rights", "message"),
    [((), r"User \"nobody\" cannot"), (None, "does not accept the credentials")],
)
def test_an_identity_without_rights_gets_one_sentence(
    engine: Engine, rights: tuple[str, ...] | None, message: str
) -> None:
    kubeconfig = engine.plane.kubeconfig("nobody")
    if rights is None:
        content = yaml.safe_load(kubeconfig.read_text())
        content["users"][0]["user"] = {"token": CANARY}
        kubeconfig = kubeconfig.with_name("token.kubeconfig")
        kubeconfig.write_text(yaml.safe_dump(content))
    with pytest.raises(PlatformError, match=message) as caught:
        engine.run(engine.namespace, kubeconfig=kubeconfig)
    assert CANARY not in str(caught.value)


def test_an_api_server_that_is_not_there_gets_one_sentence(engine: Engine) -> None:
    content = yaml.safe_load(engine.plane.admin.read_text())
    content["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    path = engine.plane.folder / "gone.kubeconfig"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ConnectionFailed, match=r"https://127\.0\.0\.1:1 refuses the connection"):
        engine.run(engine.namespace, kubeconfig=path)


# -- through ansible-playbook


def play(plane: ControlPlane, folder: Path, options: Document, *arguments: str) -> tuple[Document, str]:
    """Run one task of the module and return its result and everything ansible-playbook printed."""
    outcome = folder / "result.json"
    outcome.unlink(missing_ok=True)
    task = {
        "name": "Converge",
        "audioprothese.platform.k8s_applyset": {"kubeconfig": str(plane.admin), **options},
        "register": "converged",
        "ignore_errors": True,
    }
    keep = {
        "name": "Keep the result",
        "ansible.builtin.copy": {"dest": str(outcome), "content": "{{ converged | to_json }}", "mode": "0600"},
        "check_mode": False,
        "no_log": True,
    }
    whole = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": sys.executable, "greeting": "bonjour"},
        "tasks": [task, keep],
    }
    (folder / "play.yml").write_text(yaml.safe_dump([whole]))
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", str(folder / "play.yml")]
    done = subprocess.run(
        [*command, *arguments],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "ANSIBLE_LOCALHOST_WARNING": "false", "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    text = done.stdout + done.stderr
    assert outcome.exists(), text
    return json.loads(outcome.read_text()), text


TEMPLATE = """
apiVersion: v1
kind: Namespace
metadata: {name: NAME}
---
{% for n in [1, 2] %}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: "c{{ n }}", namespace: NAME}
data: {text: "{{ greeting }}"}
{% endfor %}
"""


def test_templates_and_secrets_through_ansible(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "templates" / "kubernetes").mkdir(parents=True)
    (tmp_path / "templates" / "kubernetes" / "all.yml.j2").write_text(TEMPLATE.replace("NAME", engine.name))
    secret = engine.document("v1", "Secret", "keys", stringData={"password": CANARY})
    options = {"applyset": engine.name, "templates": ["kubernetes/*.yml.j2"], "documents": [secret]}
    check, shown = play(engine.plane, tmp_path, options, "--check", "--diff", "-vvv")
    real, more = play(engine.plane, tmp_path, options, "--diff", "-vvv")
    assert [a["resource"] for a in real["plan"]] == [
        f"ConfigMap/kube-system/{engine.name}",
        f"Namespace/{engine.name}",
        f"ConfigMap/{engine.name}/c1",
        f"ConfigMap/{engine.name}/c2",
        f"Secret/{engine.name}/keys",
    ]
    assert (check["plan"], check["plan_digest"]) == (real["plan"], real["plan_digest"])
    assert f"create ConfigMap/{engine.name}/c1" in more
    engine.kubectl("patch", "secret/keys", "-p", json.dumps({"stringData": {"password": f"{CANARY}-2"}}))
    changed, last = play(engine.plane, tmp_path, options, "--diff", "-vvv")
    assert list(drift(changed)) == ["data.password"]
    again, _text = play(engine.plane, tmp_path, options)
    assert (again["changed"], again["failed"]) == (False, False)
    for text in (shown, more, last, json.dumps(changed), json.dumps(real)):
        assert CANARY not in text
        assert "<secret " in text


def test_a_chart_is_part_of_the_set(engine: Engine, tmp_path: Path) -> None:
    chart = tmp_path / "shop"
    (chart / "templates").mkdir(parents=True)
    (chart / "crds").mkdir()
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: shop\nversion: 0.1.0\n")
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\n"
    (chart / "templates" / "config.yaml").write_text(text + "data:\n  greeting: {{ .Values.greeting }}\n")
    hook = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: hook\n  annotations: {helm.sh/hook: pre-install}\n"
    item = {"path": str(chart), "release": "shop", "namespace": engine.name, "values": {"greeting": "bonjour"}}
    helm = next((p for p in sorted(engine.plane.kubectl.parents[1].glob("helm-*/helm"))), None)
    assert helm is not None
    options = {"applyset": engine.name, "chart": item, "documents": [engine.namespace], "helm_binary": str(helm)}
    result, _text = play(engine.plane, tmp_path, options)
    assert engine.kubectl("get", "configmap/shop", "-o", "jsonpath={.data.greeting}") == "bonjour", result
    again, _text = play(engine.plane, tmp_path, options, "--check")
    assert again["changed"] is False
    (chart / "templates" / "hook.yaml").write_text(hook)
    refused, _text = play(engine.plane, tmp_path, options)
    assert "Pod/hook is a Helm hook (pre-install)" in refused["msg"]


def stateful(engine: Engine, size: str, service: str = "db") -> Document:
    labels = {"app": "db"}
    container = {"name": "db", "image": "registry.example/db:1"}
    claim = {
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": engine.name,
            "resources": {"requests": {"storage": size}},
        },
    }
    spec = {
        "replicas": 1,
        "serviceName": service,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        "volumeClaimTemplates": [claim],
    }
    return engine.document("apps/v1", "StatefulSet", "db", spec=spec)


def with_disk(engine: Engine, size: str = "1Gi") -> None:
    """A StatefulSet whose claim is bound to a disk, as a storage driver would have it."""
    storage = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": engine.name},
        "provisioner": "example.com/nobody",
        "allowVolumeExpansion": True,
    }
    disk = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": engine.name},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": engine.name,
            "hostPath": {"path": "/nowhere"},
            "claimRef": {"namespace": engine.name, "name": "data-db-0"},
        },
    }
    engine.run(engine.namespace)
    engine.kubectl("create", "-f", "-", stdin=yaml.safe_dump_all([storage, disk]))
    engine.run(engine.namespace, stateful(engine, size))
    engine.kubectl("wait", "--for=create", "pod/db-0", "--timeout=60s")
    engine.kubectl("wait", "--for=jsonpath={.status.phase}=Bound", "pvc/data-db-0", "--timeout=60s")


def uid_of(engine: Engine, what: str) -> str:
    return engine.kubectl("get", what, "-o", "jsonpath={.metadata.uid}")


def test_a_disk_grows_around_a_running_pod(engine: Engine) -> None:
    with_disk(engine)
    pod, owner = uid_of(engine, "pod/db-0"), uid_of(engine, "statefulset/db")
    grown = [engine.namespace, stateful(engine, "2Gi")]
    predicted = engine.run(*grown, check=True)
    assert [(a["action"], a["resource"].partition("/")[0]) for a in predicted["plan"]] == [
        ("update", "PersistentVolumeClaim"),
        ("update", "StatefulSet"),
    ]
    assert uid_of(engine, "statefulset/db") == owner, "check mode wrote"
    done = engine.run(*grown, expect_plan=predicted["plan_digest"])
    assert done["plan"] == predicted["plan"]
    assert uid_of(engine, "statefulset/db") != owner
    wanted = "jsonpath={.metadata.ownerReferences[0].uid}"
    engine.kubectl("wait", f"--for={wanted}={uid_of(engine, 'statefulset/db')}", "pod/db-0", "--timeout=60s")
    assert uid_of(engine, "pod/db-0") == pod, "the pod was restarted"
    path = "jsonpath={.spec.resources.requests.storage}"
    assert engine.kubectl("get", "pvc/data-db-0", "-o", path) == "2Gi"
    again = engine.run(*grown)
    assert (again["changed"], again["findings"]) == (False, [])


def test_a_disk_does_not_shrink(engine: Engine) -> None:
    with_disk(engine, "2Gi")
    owner = uid_of(engine, "statefulset/db")
    for documents in ([engine.namespace, stateful(engine, "1Gi")], [stateful(engine, "3Gi", service="other")]):
        with pytest.raises(OutcomeError, match=r"would shrink|cannot be changed in place"):
            engine.run(engine.namespace, documents[-1])
    assert uid_of(engine, "statefulset/db") == owner


def test_a_growth_cut_short_is_completed(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the deletion of the StatefulSet and its creation."""
    with_disk(engine)
    pod = uid_of(engine, "pod/db-0")
    real = KubeClient.apply

    def cut(self: KubeClient, resource: Any, body: Any, *, dry_run: bool, **options: Any) -> Document:
        if body["kind"] == "StatefulSet" and not dry_run:
            raise ConnectionFailed("cut short")
        return real(self, resource, body, dry_run=dry_run, **options)

    monkeypatch.setattr(KubeClient, "apply", cut)
    with pytest.raises(OutcomeError, match="cut short"):
        engine.run(engine.namespace, stateful(engine, "2Gi"))
    monkeypatch.undo()
    assert engine.kubectl("get", "statefulset", "-o", "name") == ""
    assert engine.run(engine.namespace, stateful(engine, "2Gi"))["changed"]
    assert uid_of(engine, "pod/db-0") == pod
    assert not engine.run(engine.namespace, stateful(engine, "2Gi"))["changed"]


@pytest.mark.sabotage
def test_a_growth_that_takes_the_pod_along_is_noticed(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    real = KubeClient.delete

    def delete(self: KubeClient, resource: Any, live: Any, *, dry_run: bool, orphan: bool = False) -> None:
        real(self, resource, live, dry_run=dry_run)

    monkeypatch.setattr(KubeClient, "delete", delete)
    with pytest.raises((AssertionError, subprocess.CalledProcessError)):
        test_a_disk_grows_around_a_running_pod(engine)


CONSENT: Document = {"allow_other_volumes": ("StatefulSet/*/db",)}


def on_volume(engine: Engine, volume: str, service: str = "db") -> Document:
    document = stateful(engine, "1Gi", service)
    document["spec"]["volumeClaimTemplates"][0]["metadata"]["name"] = volume
    container = document["spec"]["template"]["spec"]["containers"][0]
    container["volumeMounts"] = [{"name": volume, "mountPath": "/data"}]
    return document


def with_two_volumes(engine: Engine) -> None:
    """A StatefulSet on one claim, and another claim that it could be put on."""
    engine.run(engine.namespace, on_volume(engine, "data"))
    engine.kubectl("wait", "--for=create", "pod/db-0", "--timeout=60s")
    claim = engine.document("v1", "PersistentVolumeClaim", "other-db-0")
    claim["spec"] = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    engine.kubectl("create", "-f", "-", stdin=yaml.safe_dump(claim))


def volumes_of(engine: Engine) -> str:
    return engine.kubectl("get", "pod/db-0", "-o", "jsonpath={.spec.volumes[*].persistentVolumeClaim.claimName}")


def test_pods_start_on_other_volumes_with_consent_only(engine: Engine) -> None:
    with_two_volumes(engine)
    before = [uid_of(engine, what) for what in ("pod/db-0", "statefulset/db", "pvc/data-db-0")]
    other = [engine.namespace, on_volume(engine, "other")]
    for check in (True, False):
        with pytest.raises(OutcomeError, match="its pods would start on other volumes, other instead of data"):
            engine.run(*other, check=check)
        with pytest.raises(OutcomeError, match="there is no claim third-db-0"):
            engine.run(engine.namespace, on_volume(engine, "third"), check=check, **CONSENT)
        with pytest.raises(OutcomeError, match=r"spec\.serviceName"):
            engine.run(engine.namespace, on_volume(engine, "data", service="another"), check=check, **CONSENT)
    predicted = engine.run(*other, check=True, **CONSENT)
    assert verbs(predicted) == [("update", f"StatefulSet/{engine.name}/db")]
    assert drift(predicted)["spec.volumeClaimTemplates[0].metadata.name"] == ("other", "data")
    paths = {path for path in drift(predicted) if not path.startswith("spec.template.spec.containers[name=db]")}
    assert paths == {"spec.volumeClaimTemplates[0].metadata.name"}, "what is the same is no drift"
    assert [uid_of(engine, what) for what in ("pod/db-0", "statefulset/db", "pvc/data-db-0")] == before
    done = engine.run(*other, expect_plan=predicted["plan_digest"], **CONSENT)
    assert done["plan"] == predicted["plan"]
    engine.kubectl("wait", "--for=create", "pod/db-0", "--timeout=60s")
    after = [uid_of(engine, what) for what in ("pod/db-0", "statefulset/db", "pvc/data-db-0")]
    assert [old == new for old, new in zip(before, after, strict=True)] == [False, False, True]
    assert volumes_of(engine) == "other-db-0"
    again = engine.run(*other)
    assert (again["changed"], again["findings"]) == (False, [])


def test_an_exchange_of_volumes_cut_short_is_completed(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with_two_volumes(engine)
    real = KubeClient.apply

    def cut(self: KubeClient, resource: Any, body: Any, *, dry_run: bool, **options: Any) -> Document:
        if body["kind"] == "StatefulSet" and not dry_run:
            raise ConnectionFailed("cut short")
        return real(self, resource, body, dry_run=dry_run, **options)

    monkeypatch.setattr(KubeClient, "apply", cut)
    with pytest.raises(OutcomeError, match="cut short"):
        engine.run(engine.namespace, on_volume(engine, "other"), **CONSENT)
    monkeypatch.undo()
    assert engine.kubectl("get", "statefulsets,pods", "-o", "name") == ""
    assert engine.run(engine.namespace, on_volume(engine, "other"), **CONSENT)["changed"]
    engine.kubectl("wait", "--for=create", "pod/db-0", "--timeout=60s")
    assert volumes_of(engine) == "other-db-0"


@pytest.mark.sabotage
def test_an_exchange_that_leaves_the_pods_is_noticed(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    real = KubeClient.delete

    def delete(self: KubeClient, resource: Any, live: Any, *, dry_run: bool, foreground: bool = False) -> None:
        real(self, resource, live, dry_run=dry_run, orphan=foreground)

    monkeypatch.setattr(KubeClient, "delete", delete)
    with pytest.raises((AssertionError, subprocess.CalledProcessError)):
        test_pods_start_on_other_volumes_with_consent_only(engine)
