"""The policies of the role namespaces, enforced: what its table of flows declares passes, all else is refused."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import yaml

from tests.contract.conftest import ROOT, Manifests
from tests.contract.rendered import render
from tests.lab.tests.enforcer import PolicyLab, policy_lab
from tests.lab.tests.pod_network import NODE, OUTSIDE, eventually, obstacle

pytestmark = pytest.mark.skipif(bool(obstacle()), reason=f"pods in network namespaces: {obstacle()}")

Flow = tuple[str, str, int]
DEFAULTS = {
    name: value
    for role in ("namespaces", "platform")
    for name, value in yaml.safe_load((ROOT / "roles" / role / "defaults" / "main.yml").read_text()).items()
}
# Workloads of the kinds that come later: one that talks to Azure, one that talks to the API server.
LATER = {
    "backup": {"namespace": "mariadb", "labels": {"app.kubernetes.io/name": "backup"}},
    "operator": {"namespace": "mariadb", "labels": {"app.kubernetes.io/name": "operator"}},
}
WORKLOADS: dict[str, dict[str, Any]] = {**DEFAULTS["platform_workloads"], **LATER}
DECLARED: list[dict[str, Any]] = [
    *DEFAULTS["namespaces_flows"],
    {"from": "backup", "to": "mariadb", "ports": [3306]},
    {"from": "backup", "fqdn": ["login.microsoftonline.com", "account.blob.core.windows.net"], "ports": [443]},
    {"from": "operator", "to": "kube-apiserver", "ports": [443]},
]
FLOWS = [
    *DECLARED,
    *(
        {"from": "prometheus", "to": name, "ports": [workload["metrics"]["port"]]}
        for name, workload in WORKLOADS.items()
        if "metrics" in workload
    ),
]
# What each pod listens on: whatever the table names, and what it does not.
PORTS = (
    *(22, 80, 443, 3000, 3100, 3306, 4180, 6379, 8080, 8081, 8082, 8083, 8084, 8888, 9001, 9090, 9093),
    *(9100, 9104, 9105, 9113, 9115, 9404, 15012, 15021, 44180),
)
KINDS = ("NetworkPolicy", "CiliumNetworkPolicy")
# Whose policies are between records and everybody else.
GUARDS_RECORDS = {"mariadb", "openmrs-backend", "openmrs-gateway", "oauth2-proxy", "loki"}


def expected() -> set[Flow]:
    """The table of flows, for the pods below."""
    found = set()
    for flow in FLOWS:
        sources = ["outside", "stranger", "istiod"] if flow["from"] == "internet" else pods_of(flow["from"])
        targets = ["outside"] if "fqdn" in flow else pods_of(flow["to"])
        found |= {
            (source, target, port)
            for source in sources
            for target in targets
            for port in flow["ports"]
            if source != target
        }
    free = ("outside", "stranger", "istiod")
    return found | {(a, b, port) for a in free for b in free if a != b for port in PORTS}


def pods_of(workload: str) -> list[str]:
    """The pods of a workload: the database has two."""
    if workload in ("kube-apiserver", "nodes"):
        return []
    return [workload, "mariadb-1"] if workload == "mariadb" else [workload]


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Manifests:
    """All policies, as the role writes them."""
    variables = {"platform_workloads": WORKLOADS, "namespaces_flows": DECLARED}
    documents = render("lab", tmp_path_factory.mktemp("rendered"), **variables)
    return [manifest for manifest in documents["kubernetes"] if manifest["kind"] in KINDS]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, policies: Manifests) -> Iterator[PolicyLab]:
    """A pod for each workload, two for the database, one that no policy knows, and a stranger outside."""
    with policy_lab(tmp_path_factory.mktemp("flows")) as running:
        running.server.define_cilium()
        running.network.add("outside", OUTSIDE, *PORTS)
        for namespace in {workload["namespace"] for workload in WORKLOADS.values()} | {
            *DEFAULTS["namespaces_settings"],
            "kube-system",
            "default",
        }:
            running.namespace(namespace)
        names = {**{name: name for name in WORKLOADS}, "mariadb-1": "mariadb"}
        for number, (name, workload) in enumerate(names.items(), 10):
            about = WORKLOADS[workload]
            host = running.pod(about["namespace"], name, f"10.244.0.{number}", *PORTS, labels=about.get("labels"))
            running.network.rename(host, name)
        stranger = running.pod("default", "stranger", "10.244.0.100", *PORTS)
        running.network.rename(stranger, "stranger")
        dns = running.pod("kube-system", "dns", "10.244.0.101", 53, labels={"k8s-app": "kube-dns"})
        running.network.rename(dns, "dns")
        running.apply(*name_server(dns.address), *policies)
        running.start()
        eventually(lambda: running.network.hosts["backup"].reaches(OUTSIDE, 443), "open")
        yield running


def name_server(address: str) -> Manifests:
    """The Service of the cluster's names, with its pod."""
    about = {"name": "kube-dns", "namespace": "kube-system"}
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}]
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {**about, "labels": {"k8s-app": "kube-dns"}},
            "spec": {"ports": ports, "selector": {"k8s-app": "kube-dns"}},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**about, "labels": {"kubernetes.io/service-name": "kube-dns"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "targetRef": {"kind": "Pod", "name": "dns"}}],
            "ports": ports,
        },
    ]


def flows(lab: PolicyLab, of: Collection[str] = ()) -> set[Flow]:
    return {flow for flow in lab.network.reachable(PORTS, of=of) if "dns" not in flow}


def test_exactly_the_declared_flows_pass(lab: PolicyLab) -> None:
    # A busy machine lets a probe of what is open time out.
    eventually(lambda: flows(lab), expected())


def test_every_pod_resolves_names(lab: PolicyLab) -> None:
    server = lab.network.hosts["dns"]
    answers = {host.name: host.reaches(server, 53, "udp") for host in lab.network.hosts.values() if host is not server}
    assert set(answers.values()) == {"open"}, answers


def test_only_who_asks_the_api_server_reaches_it(lab: PolicyLab) -> None:
    port = int(lab.server.address.rpartition(":")[2])
    with ThreadPoolExecutor(len(WORKLOADS)) as pool:
        answers = pool.map(lambda name: lab.network.hosts[name].reaches(NODE, port), WORKLOADS)
    # It listens on loopback: closed, and not cut.
    reached = {name for name, answer in zip(WORKLOADS, answers, strict=True) if answer != "cut"}
    # The add-on's own pods are nobody's business here.
    argo_cd = {f"argocd-{name}" for name in ("application-controller", "notifications-controller", "server")}
    assert reached == {"operator", "istiod", "prometheus", "kube-state-metrics"} | argo_cd


@pytest.mark.sabotage
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["some", "every"])
def test_each_policy_is_missed(lab: PolicyLab, policies: Manifests, kind: str, every: bool) -> None:
    """Taking any one away changes what passes, but for those that another one covers."""
    covered = {"default-deny", "allow-dns"}  # each pod here has a policy of its own; names are a test of their own
    for policy in policies:
        # What only leaves the cluster has all of it from its CiliumNetworkPolicy, and the default refuses the rest.
        alone = (
            {"operator", "mariadb-restore"}
            if kind == "NetworkPolicy"
            else {"operator", "kube-state-metrics", "prometheus"}
        )
        if policy["kind"] != kind or policy["metadata"]["name"] in covered | alone:
            continue
        if not every and policy["metadata"]["name"] not in GUARDS_RECORDS:
            continue
        lab.delete(policy)
        pods = pods_of(policy["metadata"]["name"])
        usual = {flow for flow in expected() if {flow[0], flow[1]} & {*pods}}
        seen = functools.partial(flows, lab, pods)
        try:
            eventually(lambda seen=seen, usual=usual: bool(seen() != usual), True)  # type: ignore[misc]
        finally:
            lab.apply(policy)
        eventually(seen, usual)


@pytest.mark.sabotage
def test_a_pod_that_no_policy_names_is_cut_off_by_the_default(lab: PolicyLab, policies: Manifests) -> None:
    nobody = lab.pod("openmrs", "nobody", "10.244.0.120", 8080, labels={"app": "nobody"})
    stranger = lab.network.hosts["stranger"]
    try:
        eventually(lambda: "/nobody {" in lab.nft("list", "table", "ip", "network-policies"), True)
        assert (nobody.reaches(stranger, 80), stranger.reaches(nobody, 8080)) == ("cut", "cut")
        (default,) = [
            policy
            for policy in policies
            if (policy["metadata"]["namespace"], policy["metadata"]["name"]) == ("openmrs", "default-deny")
        ]
        lab.delete(default)
        eventually(lambda: stranger.reaches(nobody, 8080), "open")
        lab.apply(default)
        eventually(lambda: stranger.reaches(nobody, 8080), "cut")
    finally:
        lab.network.hosts.pop("openmrs/nobody")
