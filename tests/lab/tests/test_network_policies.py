"""Network policies are enforced: real packets between pods that are network namespaces, a real API server, nftables."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.lab.tests.enforcer import PolicyLab, policy_lab
from tests.lab.tests.pod_network import NODE, OUTSIDE, Host, eventually, obstacle

pytestmark = pytest.mark.skipif(bool(obstacle()), reason=f"pods in network namespaces: {obstacle()}")

ASK_FOR_ANYTHING = """
endpointSelector: {}
egress: [{toPorts: [{ports: [{port: "53"}], rules: {dns: [{matchPattern: "*"}]}}]}]
"""
DENY_ALL = "{podSelector: {}, policyTypes: [Ingress, Egress]}"
WEB_TO_DB = """
db:
  podSelector: {matchLabels: {app: db}}
  ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 3306}]}]
web:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Egress]
  egress: [{to: [{podSelector: {matchLabels: {app: db}}}], ports: [{port: p3306}]}]
"""
DNS_STAND_IN: list[dict[str, Any]] = [
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
        "spec": {"ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]},
    },
    {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kube-dns",
            "namespace": "kube-system",
            "labels": {"kubernetes.io/service-name": "kube-dns"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [NODE]}],
        "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}],
    },
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PolicyLab]:
    """A node with pods in three namespaces; `shop` has two that talk to each other."""
    with policy_lab(tmp_path_factory.mktemp("policies")) as running:
        running.server.define_cilium()
        running.network.node(53, 18400, 9000)
        running.network.add("outside", OUTSIDE, 443, 80)
        running.namespace("kube-system")
        running.namespace("shop")
        running.namespace("other", team="b")
        running.pod("shop", "web", "10.244.0.2", 8080, labels={"app": "web"})
        running.pod("shop", "db", "10.244.0.3", 3306, 22, labels={"app": "db"})
        running.pod("other", "stranger", "10.244.0.4", 8080, labels={"app": "web"})
        running.start()
        yield running


@pytest.fixture(autouse=True)
def _clean(lab: PolicyLab) -> Iterator[None]:
    """Every test begins and ends without a policy, with the enforcer running."""
    yield
    for path in (
        "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies",
        "/apis/cilium.io/v2/namespaces/shop/ciliumnetworkpolicies",
    ):
        assert lab.server.request("DELETE", path).status == 200
    if lab.process is None:
        lab.start()
    eventually(lambda: host(lab, "web").reaches(host(lab, "db"), 22), "open")
    eventually(lambda: host(lab, "other/stranger").reaches(host(lab, "db"), 22), "open")


def host(lab: PolicyLab, name: str) -> Host:
    return lab.network.hosts.get(name) or lab.network.hosts[f"shop/{name}"]


def policy(name: str, spec: str | dict[str, Any], kind: str = "NetworkPolicy") -> dict[str, Any]:
    api = {"NetworkPolicy": "networking.k8s.io/v1", "CiliumNetworkPolicy": "cilium.io/v2"}[kind]
    body = yaml.safe_load(spec) if isinstance(spec, str) else spec
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": "shop"}, "spec": body}


def web_to_db() -> list[dict[str, Any]]:
    return [policy(name, spec) for name, spec in yaml.safe_load(WEB_TO_DB).items()]


def test_without_policies_everything_passes(lab: PolicyLab) -> None:
    expected = {
        (source.name, target.name, port)
        for source in lab.network.hosts.values()
        for target in lab.network.hosts.values()
        for port in target.ports
        if source is not target
    }
    assert lab.network.reachable() == expected


def test_only_the_allowed_flow_passes_and_the_node_reaches_its_pods(lab: PolicyLab) -> None:
    lab.apply(policy("deny", DENY_ALL), *web_to_db())

    def flows() -> set[tuple[str, str, int]]:
        found = lab.network.reachable()
        return {flow for flow in found if "shop/" in flow[0] + flow[1]}

    eventually(
        flows,
        {
            ("shop/web", "shop/db", 3306),
            ("node", "shop/web", 8080),
            ("node", "shop/db", 3306),
            ("node", "shop/db", 22),
        },
    )
    assert host(lab, "other/stranger").reaches("20.0.0.1", 443) == "open"


@pytest.mark.sabotage
def test_a_missing_policy_is_noticed(lab: PolicyLab) -> None:
    lab.apply(policy("deny", DENY_ALL), *web_to_db())
    web, db = host(lab, "web"), host(lab, "db")
    eventually(lambda: (web.reaches(db, 22), web.reaches(db, 3306)), ("cut", "open"))
    lab.delete(web_to_db()[0])
    eventually(lambda: web.reaches(db, 3306), "cut")
    lab.apply(web_to_db()[0])
    lab.delete(web_to_db()[1])
    eventually(lambda: web.reaches(db, 3306), "cut")
    lab.delete(policy("deny", DENY_ALL))
    eventually(lambda: web.reaches(db, 3306), "open")
    assert web.reaches(db, 22) == "cut"  # the policy of the database still isolates it


def test_labels_move_a_pod_in_and_out(lab: PolicyLab) -> None:
    lab.apply(policy("deny", DENY_ALL), *web_to_db())
    web, db = host(lab, "web"), host(lab, "db")
    eventually(lambda: web.reaches(db, 3306), "open")
    lab.relabel(web, app="else")
    eventually(lambda: web.reaches(db, 3306), "cut")
    lab.relabel(web, app="web")
    eventually(lambda: web.reaches(db, 3306), "open")


def test_an_established_connection_outlives_the_policy_that_refuses_new_ones(lab: PolicyLab) -> None:
    web, db = host(lab, "web"), host(lab, "db")
    assert web.reaches(db, 3306, "hold") == "open"
    lab.apply(policy("deny", DENY_ALL))
    eventually(lambda: web.reaches(db, 3306), "cut")
    assert web.reaches(db, 3306, "use") == "open"


def test_a_range_means_neither_pods_nor_nodes(lab: PolicyLab) -> None:
    lab.apply(policy("out", "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}"))
    web = host(lab, "web")
    eventually(lambda: (web.reaches(host(lab, "db"), 3306), web.reaches(OUTSIDE, 443)), ("cut", "open"))
    assert web.reaches(NODE, 9000) == "cut"
    assert web.reaches(NODE, 18400) == "open"  # there the outside begins


def test_an_exception_of_a_range(lab: PolicyLab) -> None:
    block = "{cidr: 0.0.0.0/0, except: [20.0.0.0/24]}"
    lab.apply(policy("out", f"{{podSelector: {{}}, policyTypes: [Egress], egress: [{{to: [{{ipBlock: {block}}}]}}]}}"))
    eventually(lambda: host(lab, "web").reaches(OUTSIDE, 443), "cut")


def test_names_are_resolved_over_udp_by_what_stands_in_for_the_server(lab: PolicyLab) -> None:
    lab.apply(*DNS_STAND_IN, policy("deny", DENY_ALL))
    web = host(lab, "web")
    eventually(lambda: web.reaches(NODE, 53, "udp"), "cut")
    peer = "{namespaceSelector: {}, podSelector: {matchLabels: {k8s-app: kube-dns}}}"
    rule = f"{{to: [{peer}], ports: [{{port: 53, protocol: UDP}}]}}"
    lab.apply(policy("dns", f"{{podSelector: {{}}, policyTypes: [Egress], egress: [{rule}]}}"))
    eventually(lambda: web.reaches(NODE, 53, "udp"), "open")
    assert web.reaches(NODE, 53) == "cut"


def test_the_api_server_by_its_entity(lab: PolicyLab) -> None:
    lab.apply(policy("deny", DENY_ALL))
    web, port = host(lab, "web"), int(lab.server.address.rpartition(":")[2])
    eventually(lambda: web.reaches(NODE, port), "cut")
    rule = '{toEntities: [kube-apiserver], toPorts: [{ports: [{port: "443", protocol: TCP}]}]}'
    spec = f"{{endpointSelector: {{matchLabels: {{app: web}}}}, egress: [{rule}]}}"
    lab.apply(policy("api", spec, "CiliumNetworkPolicy"))
    # The server of this test listens on loopback: the packet gets to the node and finds nobody.
    eventually(lambda: web.reaches(NODE, port), "closed")
    assert web.reaches(NODE, 9000) == "cut"
    assert host(lab, "db").reaches(NODE, port) == "cut"


def test_a_name_outside_and_only_with_the_right_to_ask_for_it(lab: PolicyLab) -> None:
    lab.apply(*DNS_STAND_IN, policy("deny", DENY_ALL))
    web = host(lab, "web")
    to_name = '{toFQDNs: [{matchName: login.example.com}], toPorts: [{ports: [{port: "443", protocol: TCP}]}]}'
    servers = "{matchLabels: {k8s:io.kubernetes.pod.namespace: kube-system, k8s:k8s-app: kube-dns}}"
    rules = "rules: {dns: [{matchName: login.example.com}]}"
    to_ask = f'{{toEndpoints: [{servers}], toPorts: [{{ports: [{{port: "53", protocol: ANY}}], {rules}}}]}}'
    lab.apply(policy("out", f"{{endpointSelector: {{}}, egress: [{to_name}]}}", "CiliumNetworkPolicy"))
    asks = f"{{endpointSelector: {{matchLabels: {{app: web}}}}, egress: [{to_ask}]}}"
    lab.apply(policy("ask", asks, "CiliumNetworkPolicy"))
    eventually(lambda: (web.reaches(OUTSIDE, 443), web.reaches(OUTSIDE, 80)), ("open", "cut"))
    assert host(lab, "db").reaches(OUTSIDE, 443) == "cut"  # it may go there, and may not ask where that is
    lab.delete(policy("ask", "{}", "CiliumNetworkPolicy"))
    eventually(lambda: web.reaches(OUTSIDE, 443), "cut")


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("{endpointSelector: {}, egressDeny: [{}]}", "egressDeny"),
        ("{endpointSelector: {}, egress: [{toEntities: [moon]}]}", "moon"),
        ("{endpointSelector: {}, egress: [{toEntities: [world], toCIDR: [1.0.0.0/8]}]}", "one kind of peers"),
        ("{endpointSelector: {}, egress: [{toFQDNs: [{matchPattern: '*.example'}]}]}", "match"),
        (ASK_FOR_ANYTHING, "matchPattern"),
        ("{egress: [{}]}", "endpointSelector"),
        ("{endpointSelector: {}, egress: [{toPorts: [{ports: [{port: 443}]}]}]}", "port"),
    ],
)
def test_the_definition_takes_only_what_is_enforced(lab: PolicyLab, spec: str, why: str) -> None:
    answer = lab.server.apply(policy("bad", spec, "CiliumNetworkPolicy"))
    assert answer.status in (400, 422, 500), answer.body
    assert why in answer.message


def test_a_new_pod_is_cut_off_until_its_rules_are_in_force(lab: PolicyLab) -> None:
    stranger = host(lab, "other/stranger")
    lab.apply(policy("deny", DENY_ALL))
    db = host(lab, "db")
    eventually(lambda: host(lab, "web").reaches(db, 3306), "cut")
    new = lab.pod("shop", "new", "10.244.0.20", 8080, known=False, labels={"app": "new"})
    with new.knocking(stranger, 8080) as out, stranger.knocking(new, 8080) as into:
        time.sleep(0.5)
        lab.announce(new)
        eventually(lambda: "/new {" in lab.nft("list", "table", "ip", "network-policies"), True)
        time.sleep(1)
    assert (out, into) == ([], [])


@pytest.mark.sabotage
def test_the_knocking_hears_an_open_door(lab: PolicyLab) -> None:
    new = lab.pod("shop", "unbound", "10.244.0.21", 8080, known=False, labels={"app": "new"})
    with new.knocking(host(lab, "other/stranger"), 8080) as before:
        time.sleep(1)
    assert before == []  # not known yet, although no policy selects it
    with new.knocking(host(lab, "other/stranger"), 8080) as after:
        lab.announce(new)
        time.sleep(2)
    assert after != []


def test_an_address_without_a_pod_any_more_is_cut_off(lab: PolicyLab) -> None:
    gone = lab.pod("shop", "gone", "10.244.0.22", 8080, labels={"app": "gone"})
    web = host(lab, "web")
    eventually(lambda: web.reaches(gone, 8080), "open")
    lab.delete({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "gone", "namespace": "shop"}})
    eventually(lambda: (web.reaches(gone, 8080), gone.reaches(OUTSIDE, 443)), ("cut", "cut"))


def test_rules_outlive_a_kill_and_are_brought_up_to_date_after_it(lab: PolicyLab) -> None:
    lab.apply(policy("deny", DENY_ALL), *web_to_db())
    web, db = host(lab, "web"), host(lab, "db")
    eventually(lambda: (web.reaches(db, 22), web.reaches(db, 3306)), ("cut", "open"))
    lab.kill()
    assert (web.reaches(db, 22), web.reaches(db, 3306)) == ("cut", "open")
    lab.delete(web_to_db()[0])  # while nobody looks
    with web.knocking(db, 22) as successes:
        lab.start()
        eventually(lambda: web.reaches(db, 3306), "cut")
    assert successes == []


def test_rules_that_somebody_removed_come_back(lab: PolicyLab) -> None:
    lab.apply(policy("deny", DENY_ALL))
    web, db = host(lab, "web"), host(lab, "db")
    eventually(lambda: web.reaches(db, 22), "cut")
    lab.nft("delete", "table", "ip", "network-policies")
    eventually(lambda: web.reaches(db, 22), "cut")


def test_changes_leave_no_gap(lab: PolicyLab) -> None:
    lab.apply(policy("deny", DENY_ALL))
    web, db = host(lab, "web"), host(lab, "db")
    eventually(lambda: web.reaches(db, 22), "cut")
    with web.knocking(db, 22) as successes:
        for number in range(40):
            lab.relabel(db, round=str(number))
    assert successes == []


def test_before_the_cluster_is_known_pods_are_cut_off(lab: PolicyLab) -> None:
    lab.kill()
    lab.nft("delete", "table", "ip", "network-policies")
    web, db = host(lab, "web"), host(lab, "db")
    assert web.reaches(db, 22) == "open"
    kubeconfig = lab.arguments[0]
    try:
        broken = lab.folder / "nowhere"
        broken.write_text((lab.folder / "kubeconfig").read_text().replace(lab.server.address, "https://127.0.0.1:1"))
        lab.arguments[0] = f"--kubeconfig={broken}"
        lab.start(wait=False)
        eventually(lambda: web.reaches(db, 22), "cut")
        assert lab.health() == 503
    finally:
        lab.arguments[0] = kubeconfig
        lab.kill()
