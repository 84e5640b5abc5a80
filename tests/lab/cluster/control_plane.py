"""The daemons of one cluster: their files, their command lines, whether they are well."""

from __future__ import annotations

import ipaddress
import json
import ssl
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.lab.build import builder
from tests.lab.cluster.gateways import CONFIGURATION, NAMESPACE
from tests.lab.cluster.manager import ClusterError
from tests.lab.control.home import Home, write_private
from tests.lab.control.pki import Authority, Pair, json_web_key_set, signing_key
from tests.lab.control.process import Daemon
from tests.lab.nodes.node import RealNode, problem

__all__ = ["ControlPlane", "Network"]

# Entra application of every AKS cluster: https://learn.microsoft.com/azure/aks/kubelogin-authentication
AKS_SERVER_APPLICATION = "6dae42f8-4368-4678-94ff-3960e28e3630"
START_SECONDS = 60
# A smaller heap for somewhat more work: the whole control plane stays well below 1 GB.
GO_ENVIRONMENT = {"GOGC": "60"}
STAGES = Path(__file__).with_name("stages.yml")
AUDIT_POLICY = Path(__file__).with_name("audit-policy.yml")
POLICY_API = "admissionregistration.k8s.io/v1beta1"
# What a part reads once, when it starts.
INPUTS = {"kwok": (STAGES,), "kube-apiserver": (AUDIT_POLICY,), "envoy-gateway": (CONFIGURATION,)}


@dataclass(frozen=True)
class Network:
    """Address ranges of a cluster; the defaults are those of AKS with an overlay network.

    https://learn.microsoft.com/azure/aks/azure-cni-overlay
    """

    services: str = "10.0.0.0/16"
    pods: str = "10.244.0.0/16"

    @classmethod
    def of(cls, cluster: dict[str, Any]) -> Network:
        """Read the ranges of a managedClusters body."""
        profile = cluster.get("properties", {}).get("networkProfile") or {}
        return cls(profile.get("serviceCidr") or cls.services, profile.get("podCidr") or cls.pods)

    @property
    def first_service(self) -> str:
        """The address of the Service `kubernetes`."""
        return str(ipaddress.ip_network(self.services)[1])

    @property
    def dns(self) -> str:
        """The address of the Service `kube-dns`: https://learn.microsoft.com/azure/aks/configure-azure-cni"""
        return str(ipaddress.ip_network(self.services)[10])


class ControlPlane:
    """etcd, the API server and what works on it, in the folder of one cluster.

    With a real node all of it runs inside the node's namespace, which `real_node` (a Node) describes.
    """

    def __init__(
        self,
        home: Home,
        guid: str,
        cluster: dict[str, Any],
        *,
        tenant_id: str,
        control_token: str,
        real_node: dict[str, Any] | None = None,
    ) -> None:
        self.home = home
        self.guid = guid
        self.folder = home.clusters / guid
        self.network = Network.of(cluster)
        self._cluster = cluster
        self._tenant_id = tenant_id
        self._control_token = control_token
        self.node = RealNode(self, real_node) if real_node else None

    @property
    def server(self) -> str:
        """URL of the API server."""
        return f"https://127.0.0.1:{self.home.port('kube-apiserver')}"

    @property
    def issuer(self) -> str:
        """ServiceAccount issuer; its documents are served by the simulator."""
        return f"{self.home.simulator_url}/oidc/{self.guid}/"

    def azure_url(self, question: str) -> str:
        """Where the cluster asks Azure; see `azure/cluster_routes.py`."""
        return f"{self.home.simulator_url}/kubernetes/{question}/{self.guid}"

    @property
    def audit(self) -> Path:
        """The folder of the audit log, from which requests are counted."""
        return self.folder / "audit"

    @cached_property
    def authority(self) -> Authority:
        """The authority of this cluster alone."""
        return Authority(self.folder / "pki", f"lab cluster {self.guid}")

    @property
    def ca_pem(self) -> str:
        """Certificate of the cluster's authority."""
        return self.authority.pair.certificate.read_text()

    def jwks(self) -> dict[str, Any]:
        """Public keys of the ServiceAccount issuer."""
        return json_web_key_set(signing_key(self.folder / "pki" / "service-account.key"))

    def identity(self, user: str, *groups: str) -> Pair:
        """Return a client certificate of this cluster for a user and its groups."""
        return self.authority.issue("client-" + user.removeprefix("system:"), common_name=user, organizations=groups)

    def kubeconfig(self, user: str, *groups: str) -> Path:
        """Write a kubeconfig for that user and return its path."""
        pair = self.identity(user, *groups)
        path = self.folder / "config" / f"{user.removeprefix('system:')}.kubeconfig"
        write_private(
            path,
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [
                        {
                            "name": "lab",
                            "cluster": {
                                "server": self.server,
                                "certificate-authority": str(self.authority.pair.certificate),
                            },
                        }
                    ],
                    "users": [
                        {
                            "name": user,
                            "user": {"client-certificate": str(pair.certificate), "client-key": str(pair.key)},
                        }
                    ],
                    "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": user}}],
                    "current-context": "lab",
                }
            ),
        )
        return path

    def daemons(self) -> list[Daemon]:
        """Return every daemon, in the order in which they start."""
        tools = builder.tools()
        kube, kwok = tools["kube"], tools["kwok"]
        commands = {
            "etcd": [str(kube.program("etcd")), *self._etcd()],
            "kube-apiserver": [str(kube.program("kube-apiserver")), *self._api_server()],
            "kube-controller-manager": [str(kube.program("kube-controller-manager")), *self._controller_manager()],
            "kube-scheduler": [str(kube.program("kube-scheduler")), *self._scheduler()],
            "kwok": [str(kwok.binary), *self._kwok()],
            "aks-addons": [str(kube.program("aks-addons")), *self._addons()],
        }
        if not self.node:  # on a real node it is a pod
            commands["envoy-gateway"] = [str(tools["envoy-gateway"].binary), *self._gateways()]
        return [
            Daemon(
                name=name,
                command=self.node.namespace.command(command) if self.node else command,
                folder=self.folder,
                environment=GO_ENVIRONMENT,
                inputs=INPUTS.get(name, ()),
            )
            for name, command in commands.items()
        ]

    def health_url(self, part: str) -> str:
        """Where a part says how it is."""
        path = {"etcd": "/health", "kube-apiserver": "/readyz"}.get(part, "/healthz")
        scheme = "http" if part in {"kwok", "aks-addons", "envoy-gateway"} else "https"
        return f"{scheme}://127.0.0.1:{self.home.port(part)}{path}"

    def problem(self, part: str, client: httpx.Client) -> str:
        """Return why a part is not well, or an empty text."""
        return problem(self.health_url(part), client)

    def client(self) -> httpx.Client:
        """Return an HTTP client with the lab's own identity; its requests are not counted."""
        pair = self.identity("system:lab-manager", "system:masters")
        context = ssl.create_default_context(cafile=str(self.authority.pair.certificate))
        context.load_cert_chain(pair.certificate, pair.key)
        return httpx.Client(base_url=self.server, verify=context, trust_env=False, timeout=30)

    def start(self) -> None:
        """Start what does not run and wait until every part is well.

        Raises:
            ClusterError: a part did not come up; the message ends with the end of its log.

        """
        self._write_configuration()
        if self.node:
            self.node.open()
        daemons = {daemon.name: daemon for daemon in self.daemons()}
        clients = [name for name in daemons if name not in {"etcd", "kube-apiserver"}]
        with self.client() as client:
            for names in (["etcd"], ["kube-apiserver"], clients):
                if "kwok" in names and daemons["kwok"].pid() is None:
                    _forget_leases(client)
                for name in names:
                    daemons[name].start()
                for name in names:
                    self._await(daemons[name], client)

    def _await(self, daemon: Daemon, client: httpx.Client) -> None:
        deadline = time.monotonic() + START_SECONDS
        while why := self.problem(daemon.name, client):
            gone = daemon.pid() is None
            if gone or time.monotonic() > deadline:
                what = "stopped" if gone else f"is not ready after {START_SECONDS} s: {why}"
                raise ClusterError(f"{daemon.name} {what}; {daemon.log} ends with:\n{daemon.last_words()}")
            time.sleep(0.05)

    def _serving(self) -> Pair:
        properties = self._cluster.get("properties", {})
        names = {properties.get("fqdn"), properties.get("privateFQDN")} - {None, ""}
        service = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
        hosts = ["127.0.0.1", "localhost", self.network.first_service, *service, *sorted(str(name) for name in names)]
        return self.authority.issue("serving", common_name="kube-apiserver", hosts=hosts)

    def _local_serving(self) -> list[str]:
        pair = self.authority.issue("local", common_name="lab", hosts=["127.0.0.1", "localhost"])
        return [f"--tls-cert-file={pair.certificate}", f"--tls-private-key-file={pair.key}"]

    def _etcd(self) -> list[str]:
        pair = self.authority.issue("etcd", common_name="etcd", hosts=["127.0.0.1", "localhost"])
        ca = self.authority.pair.certificate
        client, peer = (f"https://127.0.0.1:{self.home.port(name)}" for name in ("etcd", "etcd-peer"))
        return [
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            f"--cert-file={pair.certificate}",
            f"--key-file={pair.key}",
            f"--trusted-ca-file={ca}",
            "--client-cert-auth",
            f"--peer-cert-file={pair.certificate}",
            f"--peer-key-file={pair.key}",
            f"--peer-trusted-ca-file={ca}",
            "--peer-client-cert-auth",
            # What a killed process wrote is in the page cache; only a power cut would lose it.
            "--unsafe-no-fsync",
            # The only member need not wait long for others to stand for election.
            "--heartbeat-interval=50",
            "--election-timeout=500",
            "--quota-backend-bytes=1073741824",
            "--auto-compaction-retention=5m",
            "--log-level=warn",
        ]

    def _api_server(self) -> list[str]:
        serving = self._serving()
        etcd = self.identity("kube-apiserver-etcd")
        config = self.folder / "config"
        accounts = self.folder / "pki" / "service-account.key"
        return [
            f"--etcd-servers=https://127.0.0.1:{self.home.port('etcd')}",
            f"--etcd-cafile={self.authority.pair.certificate}",
            f"--etcd-certfile={etcd.certificate}",
            f"--etcd-keyfile={etcd.key}",
            *self._reachable(),
            f"--secure-port={self.home.port('kube-apiserver')}",
            f"--tls-cert-file={serving.certificate}",
            f"--tls-private-key-file={serving.key}",
            f"--client-ca-file={self.authority.pair.certificate}",
            f"--authentication-config={config / 'authentication.yml'}",
            f"--authorization-config={config / 'authorization.yml'}",
            f"--service-account-issuer={self.issuer}",
            f"--service-account-jwks-uri={self.issuer}openid/v1/jwks",
            f"--service-account-key-file={accounts}",
            f"--service-account-signing-key-file={accounts}",
            f"--service-cluster-ip-range={self.network.services}",
            f"--audit-policy-file={config / 'audit.yml'}",
            f"--audit-log-path={self.audit / 'audit.log'}",
            "--audit-log-maxsize=50",
            "--audit-log-maxbackup=20",
            "--allow-privileged=true",
            # For workload identity alone; AKS has a webhook in its place.
            "--feature-gates=MutatingAdmissionPolicy=true",
            f"--runtime-config={POLICY_API}/mutatingadmissionpolicies=true,"
            f"{POLICY_API}/mutatingadmissionpolicybindings=true",
            "--profiling=false",
            "--shutdown-delay-duration=0s",
            "--v=1",
        ]

    def _reachable(self) -> list[str]:
        """Where the API server answers, and how it reaches kubelets."""
        if not self.node:
            return [
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                # The Service `kubernetes` may not point at a loopback address, and nothing runs that would use it.
                "--endpoint-reconciler-type=none",
            ]
        kubelet = self.identity("kube-apiserver-kubelet-client")
        return [
            "--bind-address=0.0.0.0",
            f"--advertise-address={self.node.address}",
            f"--kubelet-certificate-authority={self.authority.pair.certificate}",
            f"--kubelet-client-certificate={kubelet.certificate}",
            f"--kubelet-client-key={kubelet.key}",
            # Names of nodes resolve nowhere.
            "--kubelet-preferred-address-types=InternalIP",
        ]

    def _controller_manager(self) -> list[str]:
        own = self.kubeconfig("system:kube-controller-manager")
        ca = self.authority.pair
        return [
            *self._local_identity(own, "kube-controller-manager"),
            f"--service-account-private-key-file={self.folder / 'pki' / 'service-account.key'}",
            "--use-service-account-credentials",
            f"--root-ca-file={ca.certificate}",
            f"--cluster-signing-cert-file={ca.certificate}",
            f"--cluster-signing-key-file={ca.key}",
            f"--cluster-cidr={self.network.pods}",
            f"--service-cluster-ip-range={self.network.services}",
            "--allocate-node-cidrs",
            "--kube-api-qps=100",
            "--kube-api-burst=200",
        ]

    def _scheduler(self) -> list[str]:
        return [
            *self._local_identity(self.kubeconfig("system:kube-scheduler"), "kube-scheduler"),
            "--kube-api-qps=100",
            "--kube-api-burst=200",
        ]

    def _local_identity(self, kubeconfig: Path, part: str) -> list[str]:
        return [
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.home.port(part)}",
            "--profiling=false",
            *self._local_serving(),
        ]

    def _kwok(self) -> list[str]:
        return [
            f"--kubeconfig={self.kubeconfig('system:kwok', 'system:masters')}",
            f"--config={STAGES}",
            *(
                ["--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake"]
                if self.node
                else ["--manage-all-nodes=true"]
            ),
            "--node-lease-duration-seconds=40",
            f"--cidr={self.network.pods}",
            f"--server-address=127.0.0.1:{self.home.port('kwok')}",
        ]

    def _addons(self) -> list[str]:
        parts = str(self._cluster["id"]).split("/")
        return [
            f"--kubeconfig={self.kubeconfig('system:aks-addons', 'system:masters')}",
            f"--health-address=127.0.0.1:{self.home.port('aks-addons')}",
            f"--subscription={parts[2]}",
            f"--node-resource-group={node_resource_group(self._cluster)}",
            *(["--real-disks"] if self.node else []),
        ]

    def _gateways(self) -> list[str]:
        return [
            "control-plane",
            f"--config={CONFIGURATION}",
            f"--namespace={NAMESPACE}",
            f"--kubeconfig={self.kubeconfig('system:envoy-gateway', 'system:masters')}",
            f"--health-address=127.0.0.1:{self.home.port('envoy-gateway')}",
        ]

    def _write_configuration(self) -> None:
        config = self.folder / "config"
        self.audit.mkdir(parents=True, exist_ok=True)
        signing_key(self.folder / "pki" / "service-account.key")
        for name, document in {
            "authentication.yml": self._authentication(),
            "authorization.yml": self._authorization(),
            "webhook.kubeconfig": self._webhook(),
        }.items():
            write_private(config / name, yaml.safe_dump(document, sort_keys=False))
        write_private(config / "audit.yml", AUDIT_POLICY.read_text())

    def _authentication(self) -> dict[str, Any]:
        return {
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "AuthenticationConfiguration",
            "jwt": [
                {
                    "issuer": {
                        "url": f"{self.home.simulator_url}/{self._tenant_id}/",
                        "audiences": [AKS_SERVER_APPLICATION],
                        "certificateAuthority": self.home.ca_file.read_text(),
                    },
                    "claimValidationRules": [{"claim": "tid", "requiredValue": self._tenant_id}],
                    "claimMappings": {
                        "username": {"claim": "oid", "prefix": ""},
                        "groups": {"claim": "groups", "prefix": ""},
                    },
                    "userValidationRules": [
                        {
                            "expression": "!user.username.startsWith('system:')",
                            "message": "an Entra identity is no part of the system",
                        }
                    ],
                }
            ],
            "anonymous": {
                "enabled": True,
                "conditions": [{"path": "/livez"}, {"path": "/readyz"}, {"path": "/healthz"}],
            },
        }

    def _authorization(self) -> dict[str, Any]:
        return {
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "AuthorizationConfiguration",
            "authorizers": [
                {"type": "Node", "name": "node"},
                {"type": "RBAC", "name": "rbac"},
                {
                    "type": "Webhook",
                    "name": "azure",
                    "webhook": {
                        "timeout": "5s",
                        "authorizedTTL": "5s",
                        "unauthorizedTTL": "1s",
                        "subjectAccessReviewVersion": "v1",
                        "matchConditionSubjectAccessReviewVersion": "v1",
                        "failurePolicy": "NoOpinion",
                        "connectionInfo": {
                            "type": "KubeConfigFile",
                            "kubeConfigFile": str(self.folder / "config" / "webhook.kubeconfig"),
                        },
                        "matchConditions": [{"expression": "!request.user.startsWith('system:')"}],
                    },
                },
            ],
        }

    def _webhook(self) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "azure",
                    "cluster": {
                        "server": self.azure_url("authorize"),
                        "certificate-authority": str(self.home.ca_file),
                    },
                }
            ],
            "users": [{"name": "kube-apiserver", "user": {"token": self._control_token}}],
            "contexts": [{"name": "azure", "context": {"cluster": "azure", "user": "kube-apiserver"}}],
            "current-context": "azure",
        }


def _forget_leases(client: httpx.Client) -> None:
    """Let a new kwok take the nodes over at once: a killed one holds them for as long as its leases last."""
    client.delete("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases")


def node_resource_group(cluster: dict[str, Any]) -> str:
    """Return the resource group of the nodes: the chosen one, else MC_GROUP_CLUSTER_LOCATION as AKS names it."""
    chosen = cluster.get("properties", {}).get("nodeResourceGroup")
    if chosen:
        return str(chosen)
    parts = str(cluster["id"]).split("/")
    return f"MC_{parts[4]}_{parts[8]}_{cluster.get('location', '').replace(' ', '').lower()}"


def describe(cluster: dict[str, Any]) -> str:
    """Return a cluster body as it is kept on disk."""
    return json.dumps(cluster, indent=1, sort_keys=True)
