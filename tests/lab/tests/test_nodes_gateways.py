"""Gateways on a real node: Envoy serves what routes say, says what it does not serve, and loses no request."""

from __future__ import annotations

import base64
import collections
import contextlib
import datetime as dt
import http.client
import json
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.vault import certificates

from tests.lab.tests.clusters import Cluster, eventually
from tests.lab.tests.containers import BUSYBOX

pytestmark = pytest.mark.lab

HOST = "shop.soins.example"
PLACE = "/cgi-bin/say"
EXPRESSION = "RegularExpression"
SECONDS = 120
NOW = dt.datetime.now(dt.UTC)
AUTHORITY_KEY = certificates.signing_key(authority=True)
AUTHORITY = certificates.certificate_authority(key_pem=AUTHORITY_KEY, common_name="test", validity_days=10, now=NOW)
# Says who it is and what it was asked; waits as the query asks.
SAY = """#!/bin/sh
case "$QUERY_STRING" in *slow=*) sleep "${QUERY_STRING##*slow=}" ;; esac
printf 'Content-Type: application/json\\r\\nServer-Secret: version 7\\r\\n\\r\\n'
printf '{"name": "%s", "host": "%s", ' "$NAME" "$HTTP_HOST"
printf '"proto": "%s", "added": "%s"}' "$HTTP_X_FORWARDED_PROTO" "$HTTP_X_ADDED"
"""
NAMESPACES = """
apiVersion: v1
kind: Namespace
metadata: {name: edge, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {pod-security.kubernetes.io/enforce: restricted}}
"""
# What the platform lets a gateway do (roles/namespaces), and what it lets reach the service.
POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: gateway, namespace: edge}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
  ingress:
    - ports: [{port: 80}, {port: 443}]
  egress:
    - to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}}]
      ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
    - to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}}]
      ports: [{port: 8080}]
    - to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: aks-istio-system}}}]
      ports: [{port: CONTROL}]
"""


def pair() -> tuple[str, str]:
    """A new certificate for the host, and its key."""
    key = certificates.signing_key()
    pem = certificates.issue_certificate(
        key_pem=key,
        issuer_key_pem=AUTHORITY_KEY,
        issuer_certificate_pem=AUTHORITY,
        common_name=HOST,
        dns_names=[HOST],
        validity_days=5,
        now=NOW,
    )
    return pem, key


def secret(pem: str, key: str) -> dict[str, Any]:
    data = {"tls.crt": base64.b64encode(pem.encode()).decode(), "tls.key": base64.b64encode(key.encode()).decode()}
    about = {"name": "edge-tls", "namespace": "edge"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": about, "type": "kubernetes.io/tls", "data": data}


def service(name: str) -> list[dict[str, Any]]:
    """A web server that says its name, restricted as the platform's pods are."""
    secure = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    container = {
        "name": "web",
        "image": BUSYBOX,
        "command": ["httpd", "-f", "-p", "8080", "-h", "/www"],
        "env": [{"name": "NAME", "value": name}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
        "securityContext": secure,
        "volumeMounts": [{"name": "say", "mountPath": "/www/cgi-bin"}],
    }
    pod = {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [{"name": "say", "configMap": {"name": "say", "defaultMode": 0o555}}],
    }
    about, labels = {"name": name, "namespace": "shop"}, {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": about,
            "spec": {"selector": {"matchLabels": labels}, "template": template},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": about,
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
        },
    ]


def gateway(name: str = "front") -> dict[str, Any]:
    everywhere = {"namespaces": {"from": "All"}}
    tls = {"mode": "Terminate", "certificateRefs": [{"name": "edge-tls"}]}
    listeners = [
        {"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": everywhere},
        {
            "name": "https",
            "port": 443,
            "protocol": "HTTPS",
            "hostname": HOST,
            "tls": tls,
            "allowedRoutes": everywhere,
        },
    ]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": name, "namespace": "edge"},
        "spec": {"gatewayClassName": "approuting-istio", "listeners": listeners},
    }


def route(name: str, *rules: dict[str, Any], namespace: str = "shop", section: str = "https") -> dict[str, Any]:
    parent = {"name": "front", "namespace": "edge", "sectionName": section}
    spec: dict[str, Any] = {"parentRefs": [parent], "rules": list(rules)}
    if section == "https":
        spec["hostnames"] = [HOST]
    about = {"name": name, "namespace": namespace}
    return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": about, "spec": spec}


def rule(match: dict[str, Any], *backends: tuple[str, int], **more: Any) -> dict[str, Any]:
    """To a backend, whose script is at one place."""
    rewrite = {"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": PLACE}}}
    return {
        "matches": [match],
        "filters": [rewrite, *more.pop("filters", [])],
        "backendRefs": [{"name": name, "port": 80, "weight": weight} for name, weight in backends],
        **more,
    }


def prefix(value: str) -> dict[str, Any]:
    return {"path": {"type": "PathPrefix", "value": value}}


HEADERS = {"set": [{"name": "X-Frame-Options", "value": "DENY"}], "remove": ["Server-Secret"]}
ADDED = {"add": [{"name": "X-Added", "value": "here"}]}
ROUTES = [
    route(
        "main",
        rule(
            prefix("/"),
            ("one", 1),
            filters=[
                {"type": "ResponseHeaderModifier", "responseHeaderModifier": HEADERS},
                {"type": "RequestHeaderModifier", "requestHeaderModifier": ADDED},
            ],
        ),
        rule(prefix("/impatient"), ("one", 1), timeouts={"request": "2s"}),
        rule(prefix("/app"), ("two", 1)),
        rule({"path": {"type": "Exact", "value": "/app/one"}}, ("one", 1)),
        rule({"path": {"type": EXPRESSION, "value": "/number/[0-9]+"}}, ("two", 1)),
        rule(prefix("/") | {"headers": [{"name": "X-Canary", "value": "yes"}]}, ("two", 1)),
        rule(prefix("/") | {"headers": [{"name": "X-Mind", "value": "^b.*", "type": EXPRESSION}]}, ("two", 1)),
        rule(prefix("/") | {"queryParams": [{"name": "version", "value": "2"}]}, ("two", 1)),
        rule(prefix("/") | {"method": "DELETE"}, ("two", 1)),
        rule(prefix("/shared"), ("one", 3), ("two", 1)),
    ),
    route("gone", {"matches": [prefix("/gone")], "backendRefs": [{"name": "nobody", "port": 80}]}),
    route(
        "redirect",
        {
            "filters": [{"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 301}}],
        },
        namespace="edge",
        section="http",
    ),
]


@dataclass
class Front:
    """The Gateway as the user's machine reaches it."""

    cluster: Cluster

    @property
    def address(self) -> tuple[str, int]:
        found = urllib.parse.urlsplit(self.cluster.lab.info["gateway_https"])
        return str(found.hostname), int(found.port or 0)

    def connect(self, host: str = HOST) -> ssl.SSLSocket:
        context = ssl.create_default_context(cadata=AUTHORITY)
        return context.wrap_socket(socket.create_connection(self.address, timeout=20), server_hostname=host)

    def ask(self, path: str = "/", *, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], Any]:
        """Ask over HTTPS with verified TLS: status, headers, content."""
        with self.connect() as secure:
            connection = http.client.HTTPConnection(HOST)
            connection.sock = secure
            connection.request(method, path, headers={name.replace("_", "-"): headers[name] for name in headers})
            answer = connection.getresponse()
            text = answer.read()
            content = json.loads(text) if text.startswith(b"{") else text.decode()
            return answer.status, {key.lower(): value for key, value in answer.getheaders()}, content

    def name(self, path: str = "/", *, method: str = "GET", **headers: str) -> str:
        """Who answers."""
        return str(self.ask(path, method=method, **headers)[2]["name"])

    def served(self) -> str:
        """The certificate that is shown, PEM."""
        with self.connect() as secure:
            return "".join(ssl.DER_cert_to_PEM_cert(secure.getpeercert(binary_form=True) or b"").split())

    def apply(self, *objects: dict[str, Any]) -> None:
        self.cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def conditions(self, name: str, namespace: str = "shop") -> dict[str, tuple[str, str]]:
        """Status and reason of each condition of a route."""
        found = json.loads(self.cluster.lab.kubectl("-n", namespace, "get", "httproute", name, "-o", "json"))
        parents = found.get("status", {}).get("parents") or [{}]
        return {entry["type"]: (entry["status"], entry["reason"]) for entry in parents[0].get("conditions") or []}

    def answers(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.ask()[0] == 200
        return False


@contextlib.contextmanager
def load(front: Front, path: str = "/?slow=0.05") -> Iterator[tuple[list[str], list[int]]]:
    """Eight clients that ask all the time: what failed, and one entry for each request."""
    until, failures, count = threading.Event(), list[str](), list[int]()

    def work() -> None:
        while not until.is_set():
            try:
                status = front.ask(path)[0]
                if status != 200:
                    failures.append(str(status))
            except (OSError, http.client.HTTPException) as exc:
                failures.append(repr(exc))
            count.append(1)

    clients = [threading.Thread(target=work) for _ in range(8)]
    for client in clients:
        client.start()
    try:
        yield failures, count
    finally:
        until.set()
        for client in clients:
            client.join()


@pytest.fixture(scope="module")
def front(real_cluster: Cluster) -> Iterator[Front]:
    cluster, front = real_cluster, Front(real_cluster)
    cluster.lab.command("images", "proxyv2", timeout=1200)
    cluster.apply(NAMESPACES)
    cluster.apply(POLICY.replace("CONTROL", "15012"))
    script = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "say", "namespace": "shop"},
        "data": {"say": SAY},
    }
    front.apply(script, *service("one"), *service("two"), secret(*pair()), gateway(), *ROUTES)
    wait = ("wait", "gateway/front", "--for=condition=Programmed", f"--timeout={SECONDS}s")
    cluster.lab.kubectl("-n", "edge", *wait)
    eventually(front.answers, seconds=SECONDS, every=0.5)
    yield front
    cluster.lab.kubectl("delete", "namespace", "edge", "shop")


# --- what is served


@pytest.mark.parametrize(
    ("path", "asked", "name"),
    [
        ("/", {}, "one"),
        ("/app", {}, "two"),
        ("/app/x", {}, "two"),
        ("/apple", {}, "one"),
        ("/app/one", {}, "one"),
        ("/number/12", {}, "two"),
        ("/number/twelve", {}, "one"),
        ("/", {"X_Canary": "yes"}, "two"),
        ("/", {"X_Canary": "no"}, "one"),
        ("/", {"X_Mind": "be"}, "two"),
        ("/", {"X_Mind": "abe"}, "one"),
        ("/?version=2", {}, "two"),
        ("/?version=1", {}, "one"),
        ("/", {"method": "DELETE"}, "two"),
        ("/", {"method": "POST"}, "one"),
    ],
)
def test_each_match_of_a_route_decides(front: Front, path: str, asked: dict[str, str], name: str) -> None:
    assert front.name(path, **asked) == name


def test_https_reaches_the_service_under_its_host_name(front: Front) -> None:
    status, headers, content = front.ask()
    assert (status, content) == (200, {"name": "one", "host": HOST, "proto": "https", "added": "here"})
    assert headers["x-frame-options"] == "DENY"
    assert "server-secret" not in headers


def test_plain_http_is_sent_to_https(front: Front) -> None:
    address = urllib.parse.urlsplit(front.cluster.lab.info["gateway_http"])
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
    connection.request("GET", "/openmrs/spa?a=b", headers={"Host": HOST})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Location"]) == (301, f"https://{HOST}/openmrs/spa?a=b")


def test_another_host_gets_no_handshake(front: Front) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        front.connect("other.soins.example")


def test_weights_share_the_requests(front: Front) -> None:
    seen = collections.Counter(front.name("/shared") for _ in range(80))
    assert 45 <= seen["one"] <= 75
    assert seen["one"] + seen["two"] == 80


def test_a_request_that_takes_too_long_is_given_up(front: Front) -> None:
    assert front.ask("/impatient?slow=6")[0] == 504


# --- what is said


def test_routes_that_are_served_say_so(front: Front) -> None:
    for name in ("main", "redirect"):
        found = front.conditions(name, "edge" if name == "redirect" else "shop")
        assert {kind: state for kind, (state, _) in found.items()} == {"Accepted": "True", "ResolvedRefs": "True"}


def test_a_backend_that_is_not_there_is_said_and_is_an_error(front: Front) -> None:
    assert front.conditions("gone")["ResolvedRefs"] == ("False", "BackendNotFound")
    assert front.ask("/gone")[0] == 500


@pytest.mark.parametrize(
    ("name", "refused", "condition"),
    [
        (
            "expression",
            {"matches": [{"path": {"type": EXPRESSION, "value": "/(open"}}], "backendRefs": []},
            ("Accepted", "False"),
        ),
        (
            "elsewhere",
            {"backendRefs": [{"name": "edge-only", "namespace": "edge", "port": 80}]},
            ("ResolvedRefs", "False"),
        ),
        (
            "extension",
            {
                "filters": [{"type": "ExtensionRef", "extensionRef": {"group": "x", "kind": "Y", "name": "z"}}],
                "backendRefs": [{"name": "one", "port": 80}],
            },
            ("Accepted", "False"),
        ),
    ],
)
def test_what_is_not_served_is_said(
    front: Front, name: str, refused: dict[str, Any], condition: tuple[str, str]
) -> None:
    front.apply(route(name, refused))
    kind, state = condition
    eventually(lambda: front.conditions(name).get(kind, ("", ""))[0] == state)
    front.cluster.lab.kubectl("-n", "shop", "delete", "httproute", name)
    assert front.name() == "one"


def test_a_backend_of_another_namespace_needs_its_leave(front: Front) -> None:
    abroad = rule(prefix("/abroad"), ("two", 1))
    abroad["backendRefs"][0]["namespace"] = "shop"
    front.apply(route("abroad", abroad, namespace="edge"))
    eventually(lambda: front.conditions("abroad", "edge").get("ResolvedRefs") == ("False", "RefNotPermitted"))
    assert front.ask("/abroad")[0] == 500
    leave = {
        "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "edge"}],
        "to": [{"group": "", "kind": "Service", "name": "two"}],
    }
    about = {"name": "leave", "namespace": "shop"}
    front.apply(
        {"apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant", "metadata": about, "spec": leave}
    )
    eventually(lambda: front.ask("/abroad")[0] == 200 and front.name("/abroad") == "two")
    front.cluster.lab.kubectl("-n", "edge", "delete", "httproute", "abroad")


def test_a_gateway_with_options_of_istio_is_refused(front: Front) -> None:
    asked = gateway("other")
    asked["spec"]["infrastructure"] = {"parametersRef": {"group": "", "kind": "ConfigMap", "name": "options"}}
    front.apply(asked)
    kubectl = front.cluster.lab.kubectl
    kubectl("-n", "edge", "wait", "gateway/other", "--for=condition=Accepted=false", f"--timeout={SECONDS}s")
    kubectl("-n", "edge", "delete", "gateway", "other")


# --- what nobody notices


def test_a_new_certificate_is_served_and_no_request_is_lost(front: Front) -> None:
    with load(front) as (failures, count):
        for _ in range(3):
            pem, key = pair()
            front.apply(secret(pem, key))
            eventually(lambda: front.served() == "".join(pem.split()))  # noqa: B023
    assert failures == []
    assert len(count) > 50


def rolled(front: Front, *command: str) -> list[str]:
    """What failed while the proxies were replaced."""
    with load(front) as (failures, count):
        front.cluster.lab.kubectl("-n", "edge", *command)
        front.cluster.lab.kubectl("-n", "edge", "rollout", "status", "deployment/front", f"--timeout={SECONDS}s")
    assert len(count) > 50
    return failures


def test_proxies_are_replaced_and_no_request_is_lost(front: Front) -> None:
    assert rolled(front, "rollout", "restart", "deployment/front") == []


@pytest.mark.sabotage
def test_proxies_that_are_gone_are_noticed(front: Front) -> None:
    """Sabotage: all at once, in place of one after the other."""
    assert rolled(front, "delete", "pods", "--all", "--grace-period=0", "--force")


def test_proxies_serve_without_their_control_plane_and_take_what_came_meanwhile(front: Front) -> None:
    kubectl = front.cluster.lab.kubectl
    kubectl("-n", "aks-istio-system", "scale", "deployment/envoy-gateway", "--replicas=0")
    kubectl("-n", "aks-istio-system", "wait", "pods", "--all", "--for=delete", f"--timeout={SECONDS}s")
    late = route("late", rule(prefix("/late"), ("two", 1)))
    try:
        front.apply(late)
        time.sleep(2)
        assert front.name("/late") == "one"
    finally:
        kubectl("-n", "aks-istio-system", "scale", "deployment/envoy-gateway", "--replicas=1")
    eventually(lambda: front.name("/late") == "two", seconds=SECONDS)
    kubectl("-n", "shop", "delete", "httproute", "late")


# --- network policies


def served_with(front: Front, port: str) -> Callable[[], bool]:
    """Replace the proxies under a policy that opens that port of the control plane; whether one becomes ready."""
    front.cluster.apply(POLICY.replace("CONTROL", port))
    front.cluster.lab.kubectl("-n", "edge", "delete", "pods", "--all", "--grace-period=0", "--force")

    def ready() -> bool:
        found = json.loads(front.cluster.lab.kubectl("-n", "edge", "get", "deployment", "front", "-o", "json"))
        return int(found["status"].get("readyReplicas", 0)) >= 1 and front.answers()

    return ready


@pytest.mark.sabotage
def test_without_istiods_port_no_proxy_serves(front: Front) -> None:
    """Sabotage: the flow from the gateway to 15012, which AKS needs, is not there."""
    ready = served_with(front, "15013")
    time.sleep(15)
    assert not ready()
    eventually(served_with(front, "15012"), seconds=SECONDS, every=0.5)
